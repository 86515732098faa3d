"""Checks every message about a wrong configuration by its text, and that configurations run no code."""

from __future__ import annotations

import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.errors import ConfigError

MASK_VD = "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco"


def message(path: object, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    return str(error.value)


OVERRIDE_MISTAKES = {
    # keys and modules
    "BBoxHead.loss_cls=FocalLoss": "'loss_cls'. ppdet's heads have no such setting. Only the loss of boxes can be chosen, as",
    "BBoxHead.bbox_los=GIoULoss": "'BBoxHead' has no argument 'bbox_los'. Did you mean 'bbox_loss'?",
    "epochs=3": "unknown key 'epochs'. Did you mean 'epoch'? Correct its name, or remove it.",
    "FASTERRCNN.neck=FPN": "no module named 'FASTERRCNN' is registered. Did you mean 'FasterRCNN'?",
    "FasterRCN.neck=FPN": "no module named 'FasterRCN' is registered. Did you mean 'FasterRCNN'? Correct its",
    "architecture=FasterRCN": "'architecture' is 'FasterRCN', which is not registered. Did you mean 'FasterR",
    "architecture=TwoFCHead": "'TwoFCHead', which is a module but not a whole detector. Expected for instanc",
    "MaskRCNN.backbone=Res2Nett": "'MaskRCNN.backbone' is 'Res2Nett', but no module of that name is "
    "registered. Did you mean 'Res2Net'?",
    "BBoxHead.head=TwoFCHed": "'BBoxHead.head' is 'TwoFCHed', but no module of that name is registered. Did",
    "BBoxPostProcess.nms.name=MultiNMS": "'BBoxPostProcess.nms' is 'MultiNMS', but no module of that name",
    # arguments
    "Res2Net.dialekt=paddle": "'Res2Net' has no argument 'dialekt'. Did you mean 'dialect'?",
    "TwoFCHead.zzz=1": "'TwoFCHead' has no argument 'zzz'. It has: in_channel, out_channel, resolution.",
    "BBoxPostProcess.nms.score_thresh=0.1": "'BBoxPostProcess.nms' has no argument 'score_thresh'. Did you m",
    "BBoxPostProcess.nms.keep_top_k=0": "'BBoxPostProcess.nms.keep_top_k' is 0; it must be 1 or more (boxes per image after "
    "NMS; -1: all).",
    "RPNHead.anchor_generator.anchor_size=[[3]]": "'RPNHead.anchor_generator' has no argument 'anchor_size'.",
    "BBoxHead.roi_extractor.resolutoin=3": "'BBoxHead.roi_extractor' has no argument 'resolutoin'. Did you m",
    "FPN=3": "'FPN' is 3; expected a mapping of its arguments ({} for none).",
    "FPN=": "'FPN' is None; expected a mapping of its arguments ({} for none).",
    # plain keys
    "epoch=abc": "'epoch' is 'abc'; expected a whole number from 1 to 100000 (training epochs).",
    "epoch=true": "'epoch' is True; expected a whole number from 1 to 100000 (training epochs).",
    "use_gpu=ture": "'use_gpu' is 'ture'; expected true or false (run on a GPU if there is one and Paddle is built for it).",
    "ema_decay=high": "'ema_decay' is 'high'; expected a number of 0 or more and below 1 (decay of the moving average).",
    "export.nmss=true": "'export' has no argument 'nmss'. Did you mean 'nms'?",
    "export.nms=5": "'export.nms' is 5; expected true or false (the graph removes overlapping boxes).",
    # readers and transforms
    "TrainReader.batchsize=3": "'TrainReader' has no argument 'batchsize'. Did you mean 'batch_size'?",
    "TrainReader.batch_size=two": "'TrainReader.batch_size' is 'two'; expected a whole number from 1 to 100000 (im",
    "TrainReader.sample_transforms=[{RandomFlp: {}}]": "'TrainReader.sample_transforms.0': there is no "
    "transform 'RandomFlp'. Did you mean 'RandomFlip'?",
    "EvalReader.batch_transforms=[{PadBach: {}}]": "'EvalReader.batch_transforms.0': there is no transform '",
    "TrainReader.sample_transforms.2.RandomFlip.prop=1": "'TrainReader.sample_transforms.2.RandomFlip' has "
    "no argument 'prop'. Did you mean 'prob'?",
    "TrainReader.sample_transforms=[{Resize: {}}]": "'TrainReader.sample_transforms.0.Resize': Resize needs "
    "the arguments 'target_size', 'keep_ratio'.",
    "TrainReader.sample_transforms=[Decode]": "'TrainReader.sample_transforms.0' is 'Decode'; expected one "
    "transform and its arguments: 'Decode: {}'.",
    "TrainReader.sample_transforms=[Decode: 3]": "'TrainReader.sample_transforms.0.Decode' is 3; "
    "expected its arguments ('Decode: {}' for none).",
    # schedules, optimizers, datasets: tagged and by name
    "LearningRate.schedulers.0.milestone=[1]": "'LearningRate.schedulers.0' has no argument 'milestone'. "
    "Did you mean 'milestones'?",
    "LearningRate.schedulers=[{name: PieceDecay}]": "'LearningRate.schedulers.0': there is no learning rate "
    "schedule 'PieceDecay'. Did you mean 'PiecewiseDecay'?",
    "LearningRate.schedulers=[!Decode {}]": "'LearningRate.schedulers.0': there is no learning rate schedule",
    "LearningRate.schedulers=[{gamma: 1}]": "'LearningRate.schedulers.0' does not say which learning rate "
    "schedule it is. Add 'name: ...', one of CosineDecay, PiecewiseDecay",
    "OptimizerBuilder.optimizer.type=Momentun": "'OptimizerBuilder.optimizer.type' is 'Momentun', which "
    "Paddle does not have. Did you mean 'Momentum'?",
    "OptimizerBuilder.regularizer.type=Lasso": "'OptimizerBuilder.regularizer.type' is 'Lasso', which "
    "Paddle does not have. Expected one of L1, L2.",
    "TrainDataset.datasetdir=x": "'TrainDataset' has no argument 'datasetdir'. Did you mean 'dataset_dir'?",
    "TrainDataset={name: COCODataset}": "'TrainDataset': there is no dataset 'COCODataset'. Did you mean 'CO",
    "TrainDataset=!Decode {}": "'TrainDataset': there is no dataset 'Decode'.",
}


@pytest.mark.parametrize("override", OVERRIDE_MISTAKES)
def test_mistake_in_an_override_is_named(override):
    assert message(MASK_VD, override).startswith(f"override '{override}': ")
    assert OVERRIDE_MISTAKES[override] in message(MASK_VD, override)


@pytest.mark.parametrize("override", ["epoch", "=3", "a b=3", "a..b=3", ""])
def test_override_without_key_and_value(override):
    assert message(MASK_VD, override) == (
        f"Cannot read the override '{override}': expected key=value. "
        "Example: -o TrainReader.batch_size=1 LearningRate.base_lr=0.00125"
    )


UNREACHABLE = {
    "epoch.x=1": "'epoch' is 24, which has no parts to set.",
    "MaskRCNN.backbone.depth=101": "'MaskRCNN.backbone' is 'Res2Net', which has no parts to set. "
    "Did you mean 'Res2Net.depth'?",
    "LearningRate.schedulers.2.steps=1": "is a list of 2 entries and has no entry '2' (the first is 0).",
    "LearningRate.schedulers.LinearWarmup.steps=1": "no entry 'LinearWarmup' (the first is 0).",
}


@pytest.mark.parametrize("override", UNREACHABLE)
def test_override_of_something_that_has_no_such_part(override):
    text = message(MASK_VD, override)
    assert text.startswith(f"Cannot apply the override '{override}': ") and text.endswith(UNREACHABLE[override])


def test_override_with_broken_yaml():
    text = message(MASK_VD, "LearningRate.schedulers.0.milestones=[8,")
    assert text.startswith("override 'LearningRate.schedulers.0.milestones=[8,', line 1: this is not valid YAML: ")


def test_several_mistakes_are_told_at_once_each_with_the_file_that_made_it(tmp_path):
    (tmp_path / "base.yml").write_text("FPN: {out_chanel: 3}\nepoch: 1")
    (tmp_path / "top.yml").write_text("_BASE_: [base.yml]\nFPN: {use_c5: false}\nlog_itr: 5\nTestReader:")
    assert message(tmp_path / "top.yml", "epoch=x").splitlines() == [
        "The configuration has 4 mistakes:",
        f"  {tmp_path}/base.yml: 'FPN' has no argument 'out_chanel'. Did you mean 'out_channel'?",
        "  override 'epoch=x': 'epoch' is 'x'; expected a whole number from 1 to 100000 (training epochs).",
        f"  {tmp_path}/top.yml: unknown key 'log_itr'. Did you mean 'log_iter'? Correct its name, or remove it.",
        f"  {tmp_path}/top.yml: 'TestReader' is None; expected a mapping of its arguments ({{}} for none).",
    ]


FILE_MISTAKES = {
    "": "holds nothing; expected a mapping of keys such as 'architecture: MaskRCNN'.",
    "- a": "holds a list; expected a mapping of keys such as 'architecture: MaskRCNN'.",
    "epoch: [1\nx: 2": "a.yml, line 2: this is not valid YAML: ",
    "epoch: 1\nlog_iter: 2\nepoch: 3": "a.yml, line 3: the key 'epoch' is given twice. Keep one of the two.",
    "FPN: &a {x: *a}": "the alias *a is inside of what it stands for. Simplify the file.",
    "epoch: 2020-13-45": "this is not valid YAML: month must be in 1..12",
    "_BASE_: runtime.yml": "_BASE_ is 'runtime.yml'; expected a list of files such as ['../runtime.yml'].",
    "_BASE_: [a.yml]": "_BASE_ is circular: ",
    "x:\n  !Unknown {}": "a.yml, line 2: the tag !Unknown does not name a class that ppdet declares serializable.",
    "x: !PiecewiseDeca {}": "the tag !PiecewiseDeca does not name a class that ppdet declares serializable. Did "
    "you mean 'PiecewiseDecay'? Only such classes are accepted, because any other tag could run code.",
    "x: !PiecewiseDecay [0.1]": "!PiecewiseDecay takes its arguments by name, for example '!PiecewiseDecay {",
    "epoch: 1\nx: \0": "line 2, column 4 has a NUL character, so this is not text",
    "x: \7": "this is not valid YAML: unacceptable character",
    "x: " + "[" * 9999: "the values are nested more than 40 deep. Simplify the file.",
    "x: !!unknown 3": "this is not valid YAML: could not determine a constructor for the tag",
}


@pytest.mark.parametrize("text", FILE_MISTAKES, ids=range(len(FILE_MISTAKES)))
def test_mistake_in_a_file_is_named(text, tmp_path):
    (tmp_path / "a.yml").write_text(text)
    found = message(tmp_path / "a.yml")
    assert f"{tmp_path}/a.yml" in found and FILE_MISTAKES[text] in found


def test_binary_file_is_refused(tmp_path):
    (tmp_path / "a.yml").write_bytes(b"epoch: \xff\xfe")
    assert message(tmp_path / "a.yml").startswith(
        f"configuration '{tmp_path}/a.yml': line 1, column 8: the byte 0xff is not UTF-8."
    )


def test_missing_base_names_both_files(tmp_path):
    (tmp_path / "a.yml").write_text("_BASE_: ['../none/b.yml']")
    assert message(tmp_path / "a.yml") == (
        f"{tmp_path}/a.yml: _BASE_ names '../none/b.yml', but there is no file {tmp_path}/../none/b.yml, and no recipe "
        "of that name comes with this package. "
        "Correct the entry (it is relative to the file that holds it), or add the file."
    )


def test_circle_of_bases_is_shown(tmp_path):
    (tmp_path / "a.yml").write_text("_BASE_: [b.yml]")
    (tmp_path / "b.yml").write_text("_BASE_: [a.yml]")
    a, b = (tmp_path / "a.yml").resolve(), (tmp_path / "b.yml").resolve()
    assert f"_BASE_ is circular: {a} -> {b} -> {a}. Remove one of these entries." in message(tmp_path / "a.yml")


CODE = {
    '!!python/object/apply:os.system ["touch {flag}"]': "the tag !!python/object/apply:os.system is "
    "refused, because it lets a configuration run Python code. Write plain YAML",
    '!!python/object/new:pathlib.Path ["{flag}"]': "the tag !!python/object/new:pathlib.Path is refused",
    "!!python/name:os.system": "the tag !!python/name:os.system is refused",
    '!Callable {{full_type: os.system, args: ["touch {flag}"]}}': "the tag !Callable is refused, because it "
    "lets a configuration call any Python function.",
    '!<tag:yaml.org,2002:python/object/apply:os.system> ["touch {flag}"]': "is refused, because it lets a co",
}


@pytest.mark.parametrize("where", ["file", "base", "override", "argument"])
@pytest.mark.parametrize("code", CODE)
def test_no_code_is_executed(code, where, tmp_path):
    flag = tmp_path / "executed"
    attack = code.format(flag=flag)
    (tmp_path / "clean.yml").write_text("epoch: 1")
    (tmp_path / "bad.yml").write_text(f"epoch: 1\nsave_dir: {attack}")
    (tmp_path / "child.yml").write_text("_BASE_: [bad.yml]")
    (tmp_path / "nested.yml").write_text(f"LearningRate:\n  schedulers:\n  - !LinearWarmup\n    steps: {attack}")
    path, overrides, line = {
        "file": ("bad.yml", (), 2),
        "base": ("child.yml", (), 2),
        "override": ("clean.yml", (f"save_dir={attack}",), 1),
        "argument": ("nested.yml", (), 4),
    }[where]
    found = message(tmp_path / path, *overrides)
    assert CODE[code] in found and f", line {line}: " in found
    assert not flag.exists()


def test_the_attack_of_the_test_above_works_on_ppdets_loader(tmp_path):
    import yaml

    flag = tmp_path / "executed"
    yaml.load(next(iter(CODE)).format(flag=flag), Loader=yaml.Loader)
    assert flag.exists()
