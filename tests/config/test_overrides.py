"""What is typed after -o, and recipes of one's own: text stays text, whole numbers are whole, files are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppdet_res2net.config import load_config, resolve_config_path
from ppdet_res2net.errors import ConfigError

RECIPE = "demo_mask_rcnn"


def refusal(path: object, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    return str(error.value)


# ---------------------------------------------------------------- text

TEXTS = [
    "2024",
    "2024-05-01",
    "on",
    "off",
    "1e3",
    "0x10",
    "1_000",
    "12:30",
    ".5",
    "~",
    "a: b",
    "#1",
    "[x]",
    "*x",
    "&x",
    "@x",
]
TEXTS += ["C:\\data", "a, b", "{x}", "- a", "%20", "true", "null.txt", "données", "a #b", "a b"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("setting", ["TrainDataset.dataset_dir", "EvalDataset.anno_path", "save_dir", "weights"])
def test_text_stays_as_it_is_typed(setting, text):
    value: object = load_config(RECIPE, [f"{setting}={text}"])
    for key in setting.split("."):
        value = getattr(value, "kwargs", value)[key]
    assert value == text


def test_quotes_and_null_keep_their_meaning():
    config = load_config(
        RECIPE, ["weights='null'", 'save_dir="a b"', "pretrain_weights=null", "TrainDataset.image_dir="]
    )
    assert config["weights"] == "null" and config["save_dir"] == "a b"
    assert config["pretrain_weights"] is None and config["TrainDataset"].kwargs["image_dir"] is None


def test_a_dataset_that_an_override_names_takes_text_too():
    overrides = ["TrainDataset={name: COCODataSet}", "TrainDataset.dataset_dir=2024"]
    assert load_config(RECIPE, overrides)["TrainDataset"] == {"name": "COCODataSet", "dataset_dir": "2024"}


@pytest.mark.parametrize(
    "value, shown", [("2024", "2024"), ("2024-05-01", "datetime.date(2024, 5, 1)"), ("on", "True")]
)
def test_a_file_asks_for_quotes(value, shown, tmp_path):
    (tmp_path / "a.yml").write_text(f"_BASE_: [{RECIPE}]\nTrainDataset: {{dataset_dir: {value}}}")
    assert refusal(tmp_path / "a.yml") == (
        f"{tmp_path}/a.yml: 'TrainDataset.dataset_dir' is {shown}; expected text or null (folder that the other paths are "
        "relative to). If it is meant as text, put it into quotes: YAML reads some words as numbers, dates, or true and false."
    )
    (tmp_path / "a.yml").write_text(f"_BASE_: [{RECIPE}]\nTrainDataset: {{dataset_dir: '{value}'}}")
    assert load_config(tmp_path / "a.yml")["TrainDataset"].kwargs["dataset_dir"] == value


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("text, number", [("3.0", 3), ("3", 3), ("1e1", 10), ("0x10", 16)])
def test_exact_numbers_are_whole(text, number):
    config = load_config(
        RECIPE, [f"num_classes={text}", f"TrainReader.batch_size={text}", f"RPNHead.in_channel={text}"]
    )
    values = (config["num_classes"], config["TrainReader"]["batch_size"], config["RPNHead"]["in_channel"])
    assert values == (number,) * 3 and all(type(value) is int for value in values)


REFUSED = {
    "LearningRate.base_lr=abc": "'LearningRate.base_lr' is 'abc'; expected a number of 0 or more (learning rate after the",
    "LearningRate.base_lr=-1": "'LearningRate.base_lr' is -1; it must be 0 or more (learning rate after the warm-up).",
    "LearningRate.base_lr=.nan": "'LearningRate.base_lr' is nan; expected a number of 0 or more",
    "LearningRate.base_lr=1e300": "'LearningRate.base_lr' is 1e+300; it must be 1000000000 or less",
    "LearningRate.schedulers=[]": "'LearningRate.schedulers' has 0 entries; expected 1 to 2.",
    "LearningRate.schedulers=[!CosineDecay {}]": "schedulers has no warm-up after CosineDecay. Add one, such as '!LinearWarm",
    "LearningRate.schedulers=[!LinearWarmup {}]": "the first of schedulers is LinearWarmup; expected PiecewiseDecay or Cos",
    "LearningRate.schedulers.1=!CosineDecay {}": "the second of schedulers is CosineDecay; expected LinearWarmup or ExpWarm",
    "LearningRate.schedulers.1.steps=abc": "'LearningRate.schedulers.1.steps' is 'abc'; expected a whole number from 0 to",
    "LearningRate.schedulers.0=!PiecewiseDecay {milestones: [8, 3]}": "is [8, 3]; each entry must be larger than the one be",
    "LearningRate.schedulers.0=!PiecewiseDecay {milestones: [8], gamma: [1, 2]}": "gamma has 2 entries; expected 1, because",
    "OptimizerBuilder.regularizer=L2": "'OptimizerBuilder.regularizer' is 'L2'; expected a mapping such as {type: L2, factor",
    "OptimizerBuilder.regularizer={type: L2}": "'OptimizerBuilder.regularizer': L2 needs the argument 'factor'.",
    "OptimizerBuilder.clip_grad_by_norm=abc": "'OptimizerBuilder.clip_grad_by_norm' is 'abc'; expected a number above 0 or",
    "OptimizerBuilder.clip_grad_by_norm=0": "'OptimizerBuilder.clip_grad_by_norm' is 0; it must be above 0 (largest norm of",
    "OptimizerBuilder.optimizer={type: Momentum, momentum: 1}": "'OptimizerBuilder.optimizer.momentum' is 1; it must be below",
    "OptimizerBuilder.optimizer={type: AdamW, weight_decay: abc}": "'OptimizerBuilder.optimizer.weight_decay' is 'abc'; exp",
    "RPNHead.anchor_generator.strides=abc": "'RPNHead.anchor_generator.strides' is 'abc'; expected a list of at least 1, eac",
    "RPNHead.anchor_generator.strides=[4, 8]": "anchor_sizes has 4 lists, but strides has 2 entries; give one list for each",
    "RPNHead.anchor_generator.aspect_ratios=[1, [2]]": "aspect_ratios mixes numbers and lists; give numbers for all levels",
    "RPNHead.rpn_target_assign.negative_overlap=0.9": "negative_overlap is above positive_overlap, so an anchor could be both",
    "BBoxHead.roi_extractor.resolution=abc": "'BBoxHead.roi_extractor.resolution' is 'abc'; expected a whole number from 1 ",
    "BBoxPostProcess.nms.score_threshold=abc": "'BBoxPostProcess.nms.score_threshold' is 'abc'; expected a number from 0 to",
    "BBoxPostProcess.nms.score_threshold=50": "'BBoxPostProcess.nms.score_threshold' is 50; it must be 1 or less.",
    "BBoxAssigner.fg_thresh=abc": "'BBoxAssigner.fg_thresh' is 'abc'; expected a number from 0 to 1.",
    "FPN.out_channel=abc": "'FPN.out_channel' is 'abc'; expected a whole number from 1 to 16384 (channels of the output).",
    "FPN.out_channel=99999999999": "'FPN.out_channel' is 99999999999; it must be 16384 or less (channels of the output).",
    "MaskRCNN.neck=null": "'MaskRCNN.neck' is null, but Res2Net returns 3 maps. Set Res2Net.return_idx to one stage, or a neck",
    "BBoxHead.use_cot=true": "'BBoxHead': use_cot needs cot_classes, the number of classes of the weights that training",
    "MaskRCNN.neck=TwoFCHead": "'MaskRCNN.neck' is 'TwoFCHead', which is no neck. Expected one of FPN, HRFPN, BiFPN.",
    "Res2Net.return_idx=[0, 3]": "return_idx is [0, 3], but num_stages is 3; the first stage is 0.",
    "Res2Net.width=26.5": "'Res2Net.width' is 26.5; expected a whole number from 1 to 1024 (channels of one split of the",
    "TrainReader.sample_transforms.3.NormalizeImage.std=[1, 0, 1]": "NormalizeImage.std.1' is 0; it must be above 0.",
    "TrainReader.sample_transforms.3.NormalizeImage.mean=[1, 0]": "NormalizeImage.mean' has 2 entries; expected 3 (RGB).",
    "EvalReader.sample_transforms.1.Resize.target_size=[800]": "Resize.target_size' has 1 entries; expected 2.",
    "EvalReader.sample_transforms.1.Resize={target_size: 8, keep_ratio: false, round_size: true}": "round_size has no effect",
    "TrainReader.batch_transforms.0.PadBatch.pad_to_stride=abc": "PadBatch.pad_to_stride' is 'abc'; expected a whole number",
    "num_classes=3.5": "'num_classes' is 3.5; expected a whole number from 1 to 100000 (object classes, backgr",
    "ema_decay=1": "'ema_decay' is 1; it must be below 1 (decay of the moving average).",
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_value_out_of_range_is_refused_before_anything_is_built(override):
    found = refusal(RECIPE, override)
    assert found.startswith(f"override '{override}': ") and REFUSED[override] in found


def test_the_command_refuses_as_well(capsys):
    from ppdet_res2net.cli.main import main

    assert main(["config", "-c", RECIPE, "-o", "LearningRate.base_lr=-1"]) == 1
    assert (
        "Error: override 'LearningRate.base_lr=-1': 'LearningRate.base_lr' is -1; it must be" in capsys.readouterr().err
    )


# ---------------------------------------------------------------- architecture


def test_a_recipe_of_a_mask_rcnn_serves_a_faster_rcnn():
    config = load_config(RECIPE, ["architecture=FasterRCNN"])
    assert config["FasterRCNN"] == {
        "backbone": "Res2Net",
        "neck": "FPN",
        "rpn_head": "RPNHead",
        "bbox_head": "BBoxHead",
        "bbox_post_process": "BBoxPostProcess",
    }


def test_a_recipe_of_a_faster_rcnn_lacks_what_a_mask_rcnn_needs():
    found = refusal("faster_rcnn_res2net50_vd_26w_4s_fpn_1x_coco", "architecture=MaskRCNN", "MaskRCNN={neck: FPN}")
    assert found.startswith(
        "override 'architecture=MaskRCNN': 'architecture' is 'MaskRCNN', but MaskRCNN.backbone, MaskRCNN.rpn_head, "
        "MaskRCNN.bbox_head, MaskRCNN.mask_head, MaskRCNN.bbox_post_process, MaskRCNN.mask_post_process are not set. Use a "
    )


# ---------------------------------------------------------------- recipes of one's own


def test_a_base_may_be_the_name_of_a_shipped_recipe(tmp_path):
    (tmp_path / "mine.yml").write_text(f"_BASE_: [{RECIPE}]\nepoch: 7")
    assert load_config(tmp_path / "mine.yml") == {**load_config(RECIPE), "epoch": 7}
    (tmp_path / "mine.yml").write_text("_BASE_: [configs/res2net/_base_/schedules/1x.yml]\nepoch: 7")
    assert load_config(tmp_path / "mine.yml")["base_batch_size"] == 16
    (tmp_path / f"{RECIPE}.yml").write_text("epoch: 1")  # a file beside it comes first
    (tmp_path / "mine.yml").write_text(f"_BASE_: [{RECIPE}]")
    assert load_config(tmp_path / "mine.yml") == {"epoch": 1}


def test_a_file_is_found_without_its_ending(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bccd.yml").write_text("epoch: 1")
    Path("bccd").mkdir()  # such as the folder of the images
    Path("other.yaml").write_text("_BASE_: [bccd]\nlog_iter: 3")
    assert resolve_config_path("bccd") == Path("bccd.yml")
    assert load_config("other") == {"epoch": 1, "log_iter": 3}
    assert load_config(tmp_path / "other")["log_iter"] == 3


def test_close_names_are_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bccd_mask.yml").write_text("epoch: 1")
    assert " Did you mean 'bccd_mask.yml'?" in refusal("bcd_mask")
    assert f" Did you mean '{tmp_path}/bccd_mask.yml'?" in refusal(tmp_path / "bccd_maks.yml")
    Path("mine.yml").write_text("_BASE_: [demo_mask_rnn]")
    assert " Did you mean 'demo_mask_rcnn'?" in refusal("mine.yml")
    Path("mine.yml").write_text("_BASE_: [bccd_msk.yml]")
    assert " Did you mean 'bccd_mask.yml'?" in refusal("mine.yml")
