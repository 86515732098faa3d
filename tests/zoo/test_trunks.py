"""The trunk is taken out of what other frameworks save, and what is left out is said."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")

from ppdet_res2net import create_backbone, get_model_spec  # noqa: E402
from ppdet_res2net.cli import convert_weights as convert_command  # noqa: E402
from ppdet_res2net.errors import WeightsError  # noqa: E402
from ppdet_res2net.zoo.formats import read_weights_file  # noqa: E402
from ppdet_res2net.zoo.load import load_pretrained  # noqa: E402
from ppdet_res2net.zoo.weights import read_weights  # noqa: E402
from tests.goldens.source_names import source_tensors  # noqa: E402
from tests.goldens.synthetic import without_random_weights  # noqa: E402

NAME = "timm/res2net50d"
ONE = np.ones(2, np.float32)


@pytest.fixture(scope="module")
def tensors():
    return source_tensors(get_model_spec(NAME))


@pytest.fixture(scope="module")
def model():
    with without_random_weights():
        return create_backbone(NAME)


def trunk_of(tensors: dict, prefix: str = "") -> dict:
    return {f"{prefix}{name}": array for name, array in tensors.items() if not name.startswith("fc.")}


def openmmlab(tensors: dict) -> dict:
    """Return a trunk as mmdetection, mmsegmentation and mmpretrain name it."""
    renamed = {}
    for name, array in trunk_of(tensors).items():
        name = name.replace("conv1.", "stem.", 1) if name.startswith("conv1.") else name
        renamed["backbone." + (name.replace("bn1.", "stem.7.", 1) if name.startswith("bn1.") else name)] = array
    return renamed


def changed(tensors: dict) -> dict:
    return {name: array + 1 for name, array in tensors.items()}


def write(tmp_path, content: dict):
    (tmp_path / "x.pth").write_bytes(pickle.dumps(content, protocol=4))
    return tmp_path / "x.pth"


def first_weight(weights) -> np.ndarray:
    return weights.tensors["backbone.res1.conv1_1.conv.weight"]


def error_of(path, **choice) -> str:
    with pytest.raises(WeightsError) as caught:
        read_weights(path, **choice)
    return str(caught.value)


TORCHVISION = ("backbone.fpn.inner_blocks.0.0.weight", "rpn.head.conv.0.0.weight", "roi_heads.box_head.fc6.weight")
PARTS = {
    "torchvision's detectors": ("backbone.body.", TORCHVISION, ("backbone.fpn (1)", "rpn (1)", "roi_heads (1)")),
    "maskrcnn-benchmark": ("module.backbone.body.", ("module.rpn.head.conv.weight",), ("module.rpn (1)",)),
    "Lightning": ("model.", ("criterion.weight", "model.head.weight"), ("criterion (1)", "model.head (1)")),
    "Lightning, a detector": ("net.backbone.", ("net.neck.conv.weight",), ("net.neck (1)",)),
    "DDP and torch.compile": (
        "module._orig_mod.",
        ("module._orig_mod.decoder.weight",),
        ("module._orig_mod.decoder (1)",),
    ),
    "a U-Net": ("", ("decoder.0.weight", "segmentation_head.0.weight"), ("decoder (1)", "segmentation_head (1)")),
    "timm in OpenMMLab": ("backbone.timm_model.", ("bbox_head.conv.weight",), ("bbox_head (1)",)),
}


@pytest.mark.parametrize("who", PARTS)
def test_other_parts_are_left_out_and_named(tmp_path, tensors, model, who):
    prefix, others, named = PARTS[who]
    report = load_pretrained(model, write(tmp_path, {**trunk_of(tensors, prefix), **dict.fromkeys(others, ONE)}))
    assert len(report.matched) == 435 and report.fits
    line = str(report).splitlines()[1]
    assert line.startswith(
        f"  taken: the trunk under '{prefix}'; not used" if prefix else "  taken: the trunk; not used"
    )
    assert all(part in line for part in named)
    assert (model.res1.conv1_1.conv.weight.numpy() == tensors["conv1.0.weight"]).all()


def test_a_whole_file_needs_no_sentence(tmp_path, tensors):
    for prefix in ("", "module.", "backbone.", "_orig_mod."):
        assert read_weights(write(tmp_path, trunk_of(tensors, prefix))).note == ""


def test_a_changed_trunk_is_no_other_part(tmp_path, tensors, model):
    path = write(tmp_path, {**trunk_of(tensors, "backbone."), "backbone.layer1.0.se.fc.weight": ONE, "neck.x": ONE})
    with pytest.raises(WeightsError, match="1 unexpected in the file: layer1.0.se.fc.weight"):
        load_pretrained(model, path)


def test_a_stem_of_maskrcnn_benchmark(tmp_path):
    plain = source_tensors(get_model_spec("timm/res2net50_26w_4s"))
    names = {n: f"stem.{n}" if n.startswith(("conv1.", "bn1.")) else n for n in trunk_of(plain)}
    path = write(tmp_path, {f"module.backbone.body.{short}": plain[name] for name, short in names.items()})
    weights = read_weights(path)
    assert weights.dialects == ("official",)
    assert (weights.tensors["backbone.res1.conv1.conv.weight"] == plain["conv1.weight"]).all()


# Averaged weights


@pytest.mark.parametrize(
    "checkpoint, averaged, plain",
    [
        (lambda a, b: {"state_dict": b, "state_dict_ema": a, "epoch": 3}, "state_dict_ema", "state_dict"),
        (lambda a, b: {"model": b, "model_ema": {**prefixed(a, "module."), "n_averaged": ONE}}, "model_ema", "model"),
        (lambda a, b: {"model": b, "ema": a}, "ema", "model"),
        # mmengine and Lightning exchange the two while they save.
        (
            lambda a, b: {"state_dict": a, "ema_state_dict": {"steps": ONE, **prefixed(b, "module.")}},
            "state_dict",
            "ema_state_dict",
        ),
        (lambda a, b: {"state_dict": a, "current_model_state": b}, "state_dict", "current_model_state"),
    ],
    ids=["timm", "torchvision", "ema", "mmengine", "Lightning"],
)
def test_averaged_weights_are_taken(tmp_path, tensors, checkpoint, averaged, plain):
    path = write(tmp_path, checkpoint(changed(tensors), tensors))
    weights = read_weights(path)
    assert (first_weight(weights) == tensors["conv1.0.weight"] + 1).all()
    assert f"the averaged weights in '{averaged}'" in weights.note and f"not those in '{plain}'" in weights.note
    weights = read_weights(path, copy="plain")
    assert (first_weight(weights) == tensors["conv1.0.weight"]).all()
    assert f"the weights in '{plain}', not the averaged ones in '{averaged}'" in weights.note


def prefixed(tensors: dict, prefix: str) -> dict:
    return {f"{prefix}{name}": array for name, array in tensors.items()}


def test_averaged_weights_beside_the_plain_ones_of_one_module(tmp_path, tensors):
    path = write(
        tmp_path, {"state_dict": {**prefixed(tensors, "model."), **prefixed(changed(tensors), "ema_model.module.")}}
    )
    weights = read_weights(path)
    assert (first_weight(weights) == tensors["conv1.0.weight"] + 1).all()
    assert (
        "its averaged weights (the program that wrote them evaluates with these), not those under 'model.'"
        in weights.note
    )
    assert (first_weight(read_weights(path, copy="plain")) == tensors["conv1.0.weight"]).all()


def test_copies_of_mmcv_are_left_out(tmp_path, tensors):
    copies = {"ema_" + name.replace(".", "_"): array for name, array in trunk_of(changed(tensors), "backbone.").items()}
    weights = read_weights(write(tmp_path, {**trunk_of(tensors, "backbone."), **copies}))
    assert (first_weight(weights) == tensors["conv1.0.weight"]).all()
    assert f"ema_* ({len(copies)})" in weights.note


def test_a_choice_that_the_file_does_not_have(tmp_path, tensors):
    assert "has only averaged weights, in 'state_dict_ema'" in error_of(
        write(tmp_path, {"state_dict_ema": tensors}), copy="plain"
    )
    assert "x.pth has no averaged weights. Do not ask for them" in error_of(write(tmp_path, tensors), copy="averaged")


# Several trunks


def test_two_trunks_are_refused_unless_one_is_chosen(tmp_path, tensors):
    path = write(
        tmp_path, {**trunk_of(tensors, "teacher.backbone."), **trunk_of(changed(tensors), "student.backbone.")}
    )
    text = error_of(path)
    assert text.startswith(
        f"weights: {path} has 2 trunks, under 'teacher.backbone.', 'student.backbone.'. Choose one with"
    )
    weights = read_weights(path, prefix="student.backbone")
    assert (first_weight(weights) == tensors["conv1.0.weight"] + 1).all()
    assert "has no trunk under 'x'; it has 'teacher.backbone.', 'student.backbone.'" in error_of(path, prefix="x")


def test_two_models_in_one_dictionary(tmp_path, tensors):
    path = write(tmp_path, {"student": trunk_of(tensors), "teacher": trunk_of(changed(tensors)), "epoch": 3})
    assert "has 2 trunks, under 'student.', 'teacher.'" in error_of(path)


def test_one_trunk_under_two_names_is_one(tmp_path, tensors):
    path = write(tmp_path, {**trunk_of(tensors, "model.backbone."), **trunk_of(tensors, "encoder.")})
    assert len(read_weights(path).tensors) == len(trunk_of(tensors))


def test_parts_of_a_model_in_dictionaries_of_their_own(tmp_path, tensors):
    path = write(tmp_path, {"backbone": trunk_of(tensors), "head": {"weight": ONE}, "optimizer": {"state": {0: ONE}}})
    weights = read_weights(path)
    assert weights.note == "taken: the trunk under 'backbone.'; not used, with the number of tensors: head (1)"
    assert read_weights_file(path).others == ("optimizer",)


# mmdetection


HEADS = {
    "one stage": ("neck.fpn_convs.0.conv.weight", "bbox_head.cls_convs.0.conv.weight"),
    "two stages": ("neck.lateral_convs.0.conv.weight", "rpn_head.rpn_conv.weight", "roi_head.bbox_head.fc_cls.weight"),
    "mmsegmentation": ("decode_head.conv_seg.weight", "auxiliary_head.conv_seg.weight"),
    "queries": ("query_head.fc_cls.weight",),
    "only the trunk": (),
}


@pytest.fixture(scope="module")
def mmdet_model():
    with without_random_weights():
        return create_backbone(NAME, dialect="mmdet")


@pytest.mark.parametrize("who", HEADS)
def test_trunks_of_mmdetection_are_taken(tmp_path, tensors, mmdet_model, who):
    content = {**openmmlab(changed(tensors)), **dict.fromkeys(HEADS[who], ONE)}
    path = write(tmp_path, {"meta": {"epoch": 1}, "state_dict": content, "optimizer": {"state": {}}})
    report = load_pretrained(mmdet_model, path)
    assert len(report.matched) == 435 and report.fits
    assert (mmdet_model.res1.conv1_3.norm.bias.numpy() == tensors["bn1.bias"] + 1).all()
    if HEADS[who]:
        assert report.note.startswith("taken: the trunk under 'backbone.'; not used, with the number of tensors: ")
        assert all(f"{name.partition('.')[0]} (1)" in report.note for name in HEADS[who])


@pytest.mark.parametrize("who", HEADS)
def test_trunks_of_mmdetection_are_not_official(tmp_path, tensors, model, who):
    path = write(tmp_path, {"state_dict": {**openmmlab(tensors), **dict.fromkeys(HEADS[who], ONE)}})
    with pytest.raises(WeightsError) as caught:
        load_pretrained(model, path)
    text = str(caught.value)
    assert f"{path} has the mmdet dialect (they have a stem called 'stem.0', as mmdetection's," in text
    assert "say so with 'ppdet-res2net convert-weights --dialect official'" in text
    assert "Pass '-o Res2Net.dialect=mmdet' on a command line, or dialect='mmdet' in Python." in text
    assert read_weights(path, dialect="official").dialects == ("official",)


def test_averaged_weights_of_mmdetection_are_taken(tmp_path, tensors):
    """mmengine's hook exchanges the two while it saves; that of mmcv left its copies in the same dictionary."""
    trunk, averaged = openmmlab(tensors), openmmlab(changed(tensors))
    path = write(tmp_path, {"state_dict": averaged, "ema_state_dict": {"steps": ONE, **prefixed(trunk, "module.")}})
    weights = read_weights(path)
    assert weights.dialects == ("mmdet",) and (first_weight(weights) == tensors["conv1.0.weight"] + 1).all()
    assert read_weights(path, copy="plain").dialects == ("mmdet",)
    copies = {"ema_" + name.replace(".", "_"): array for name, array in averaged.items()}
    assert read_weights(write(tmp_path, {"state_dict": {**trunk, **copies}})).dialects == ("mmdet",)


@pytest.mark.parametrize("name", [NAME, "timm/res2net50_26w_4s"], ids=["the authors' fork", "mmpretrain's trunk"])
def test_stems_of_other_code_beside_a_head_of_mmdetection_are_official(tmp_path, name):
    """mmdetection's own stem is never called ``conv1``: its trunk ignores ``deep_stem=False``."""
    trunk = trunk_of(source_tensors(get_model_spec(name)), "backbone.")
    weights = read_weights(write(tmp_path, {"state_dict": {**trunk, "neck.x": ONE, "bbox_head.x": ONE}}))
    assert weights.dialects == ("official",)


def test_deformable_convolutions_of_mmdetection(tmp_path, tensors, mmdet_model):
    offsets = {
        f"backbone.layer4.{block}.convs.{split}.conv_offset.{leaf}": np.full(shape, block + split, np.float32)
        for block in range(3)
        for split in range(3)
        for leaf, shape in {"weight": (27, 208, 3, 3), "bias": (27,)}.items()
    }
    path = write(tmp_path, {"state_dict": {**openmmlab(tensors), **offsets, "bbox_head.x": ONE}})
    model = create_backbone(NAME, dialect="mmdet", dcn_v2_stages=[3])
    assert len(load_pretrained(model, path).matched) == 435 + 18
    assert (model.res5.blocks[1].branch2b[2].conv_offset.bias.numpy() == 3).all()
    with pytest.raises(WeightsError, match=r"\(variant d\) and deformable convolutions \(dcn_v2_stages: \[3\]\);"):
        load_pretrained(mmdet_model, path)


def test_classifiers_of_mmpretrain_are_official(tmp_path, tensors):
    path = write(tmp_path, {"state_dict": {**openmmlab(tensors), "head.fc.weight": np.ones((7, 2048), np.float32)}})
    weights = read_weights(path)
    assert weights.dialects == ("official",) and "fc.weight" in weights.tensors


def test_the_authors_detectron2_is_refused(tmp_path):
    path = write(tmp_path, {"model": {"backbone.bottom_up.res2.0.convs.0.weight": ONE}, "__author__": "x"})
    for dialect in (None, "official", "mmdet"):
        text = error_of(path, dialect=dialect)
        assert (
            f"{path} has a trunk of the authors' fork of Detectron2, which no dialect of this package computes" in text
        )
        assert "its stride is in the 1x1 convolutions, and it never pools the last split" in text


def test_convert_takes_the_choices(tmp_path, tensors, capsys):
    path = write(tmp_path, {**trunk_of(tensors, "teacher."), **trunk_of(changed(tensors), "student.")})
    target = tmp_path / "out.pdparams"
    with without_random_weights():
        assert (
            convert_command.main([NAME, str(path), str(target), "--prefix", "student.", "--dialect", "official"]) == 0
        )
    assert (
        "taken: the trunk under 'student.'; not used, with the number of tensors: teacher (522)"
        in capsys.readouterr().out
    )
    assert (first_weight(read_weights(target)) == tensors["conv1.0.weight"] + 1).all()


def test_names_in_messages_are_printable_and_short(tmp_path, tensors, model):
    path = write(tmp_path, {**trunk_of(tensors), "layer1.\x1b[31m" + "x" * 5000: ONE})
    with pytest.raises(WeightsError) as caught:
        load_pretrained(model, path)
    assert "layer1.\\x1b[31mxxx" in str(caught.value) and len(str(caught.value)) < 2000
