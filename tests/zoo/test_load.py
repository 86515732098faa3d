"""Weights into models: strict, with a report that says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")


from ppdet_res2net import create_backbone, create_classifier, get_model_spec, modeling  # noqa: E402
from ppdet_res2net.cli import convert_weights as convert_command  # noqa: E402
from ppdet_res2net.errors import ConfigError, WeightsError  # noqa: E402
from ppdet_res2net.ppdet_modules.backbone import Res2NetC5  # noqa: E402
from ppdet_res2net.zoo.formats import load_weights_file, read_weights_file, save_weights_file  # noqa: E402
from ppdet_res2net.zoo.load import load_into, load_pretrained  # noqa: E402
from ppdet_res2net.zoo.weights import read_weights, to_our_names  # noqa: E402
from tests.goldens.source_names import source_tensors  # noqa: E402
from tests.goldens.synthetic import without_random_weights  # noqa: E402

NAME = "timm/res2net50d"


@pytest.fixture(autouse=True, scope="module")
def quick_models():
    with without_random_weights():
        yield


@pytest.fixture(scope="module")
def tensors():
    return source_tensors(get_model_spec(NAME))


@pytest.fixture(scope="module")
def file(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_weights_file(path, tensors)
    return path


def error_of(call) -> str:
    with pytest.raises(WeightsError) as caught:
        call()
    return str(caught.value)


def test_report_of_a_good_load(file, tensors):
    model = create_classifier(NAME)
    report = load_pretrained(model, file)
    assert len(report.matched) == 437
    counters = [name for name in tensors if name.endswith("num_batches_tracked")]
    assert [(rule, len(names)) for rule, names in report.allowed.items()] == [
        ("batch counters are not used", len(counters))
    ]
    assert str(report).splitlines()[0] == f"{file}: 437 tensors match."
    assert (model.fc.weight.numpy() == tensors["fc.weight"].T).all()


def test_dla_has_projections_that_nothing_uses():
    name = "timm/dla60_res2net"
    tensors = source_tensors(get_model_spec(name))
    for unused in ("level3.project.0", "level4.tree2.project.0"):  # in the authors' files, not in timm's
        tensors[f"{unused}.weight"] = np.zeros((512, 256, 1, 1), np.float32)
    model = create_classifier(name)
    report = load_into(model, to_our_names(tensors))
    assert len(report.matched) == len(model.state_dict())
    assert report.allowed["projections that DLA never uses"] == (
        "backbone.res3.project.conv.weight",
        "backbone.res4.tree2.project.conv.weight",
    )
    text = error_of(lambda: load_into(create_classifier(NAME), to_our_names(tensors)))
    assert "The file seems to be a DLA-60 of Res2Net blocks 28w x 4s, a classifier of 1000 classes" in text
    with pytest.raises(ConfigError, match="multiples of 32, got about 76x98"):
        model(paddle.zeros([1, 3, 75, 98]))


def test_other_number_of_classes(file):
    model = create_classifier(NAME, weights=file, num_classes=10)
    assert (model.backbone.res1.conv1_1.conv.weight.numpy() != 0).any()
    assert (model.fc.weight.numpy() == 0).all()


def test_missing_unexpected_and_misshapen_stop_the_load(tensors):
    ours = to_our_names(tensors)
    model = create_classifier(NAME)
    damaged = dict(ours)
    for block in range(2):
        for leaf in ("weight", "bias", "_mean", "_variance"):
            del damaged[f"backbone.res5.blocks.{block}.branch2a.norm.{leaf}"]
    damaged["backbone.res9.x"] = np.zeros(3, np.float32)
    damaged["backbone.res1.conv1_1.conv.weight"] = np.zeros((32, 1, 3, 3), np.float32)
    text = error_of(lambda: load_into(model, damaged, source="mine.pth"))
    assert text.startswith("weights: the file does not fit the model. mine.pth: 428 tensors match.\n")
    first_line = "  8 missing in the file: " + ", ".join(
        f"backbone.res5.blocks.{name}"
        for name in (
            "0.branch2a.norm.weight",
            "0.branch2a.norm.bias",
            "0.branch2a.norm._mean",
            "0.branch2a.norm._variance",
            "1.branch2a.norm.weight",
        )
    )
    assert f"{first_line} and 3 more\n" in text
    assert "  1 unexpected in the file: backbone.res9.x\n" in text
    assert (
        "  1 with a different shape: backbone.res1.conv1_1.conv.weight (got [32, 1, 3, 3], expected [32, 3, 3, 3])\n"
        in text
    )
    assert "Nothing was loaded." in text
    assert (model.backbone.res2.blocks[0].branch2a.conv.weight.numpy() == 0).all()


@pytest.mark.parametrize(
    "model, text",
    [
        (
            "timm/res2net101d",
            "The file seems to be a Res2Net-50 26w x 4s with the deep stem and pooled shortcuts (variant d), "
            "a classifier of 1000 classes; the model is a Res2Net-101 26w x 4s",
        ),
        ("timm/res2net50_14w_8s", "the model is a Res2Net-50 14w x 8s with the plain stem (variant b)"),
        (
            "timm/res2next50",
            "the model is a Res2NeXt-50 32w x 4s in 8 groups with the plain stem (variant b)",
        ),
    ],
)
def test_guess_at_the_architecture(file, model, text):
    assert text in error_of(lambda: create_backbone(model, weights=file))


@pytest.mark.parametrize(
    "names, text",
    [
        (["layer1.0.conv1.weight", "layer1.0.conv2.weight"], "The file seems to be a ResNet, not a Res2Net"),
        (["blocks.0.attn.qkv.weight"], "The file seems to be a transformer, not a Res2Net"),
        (["weight"], "The file seems to be something other than a Res2Net"),
    ],
)
def test_guess_at_other_networks(tmp_path, names, text):
    save_weights_file(tmp_path / "x.pdparams", {name: np.zeros((2, 2), np.float32) for name in names})
    assert text in error_of(lambda: create_backbone(NAME, weights=tmp_path / "x.pdparams"))


@pytest.mark.parametrize("dialect", ["paddle", "ppdet", "mmdet"])
def test_dialect_is_known_from_names(file, dialect):
    text = error_of(lambda: create_backbone(NAME, weights=file, dialect=dialect))
    assert "has the official dialect (their names are those of the authors, timm or mmpretrain)" in text
    assert "Pass '-o Res2Net.dialect=official' on a command line, or dialect='official' in Python." in text


def test_dialect_is_known_from_a_published_file_name(tmp_path, tensors):
    """The file has PaddleDetection's names, without the pool in them, as PaddleDetection's own code would save it."""
    ours = to_our_names(tensors)
    plain = {
        name[len("backbone.") :]
        .replace("branch1.conv.conv.", "branch1.conv.")
        .replace("branch1.conv.norm.", "branch1.norm."): array
        for name, array in ours.items()
        if name.startswith("backbone.")
    }
    path = tmp_path / "Res2Net50_vd_26w_4s_pretrained.pdparams"
    save_weights_file(path, plain)
    assert "has the paddle dialect (they are published as paddleclas/Res2Net50_vd_26w_4s)" in error_of(
        lambda: create_backbone(NAME, weights=path)
    )
    model = create_backbone("ppdet/Res2Net50_vd_26w_4s_pretrained", weights=path)
    expected = plain["res3.blocks.0.branch1.conv.weight"]
    assert (model.res3.blocks[0].branch1.conv.conv.weight.numpy() == expected).all()


def test_fewer_stages_and_deformable_convolutions_are_rules(file):
    model = create_backbone(NAME, num_stages=3, return_idx=2, dcn_v2_stages=[2])
    report = load_pretrained(model, file)
    last_stage = [name for name in to_our_names(load_weights_file(file)) if name.startswith("backbone.res5.")]
    counters = [name for name in last_stage if name.endswith("num_batches_tracked")]
    assert len(report.allowed["the model has fewer stages"]) == len(last_stage) - len(counters)
    assert all("conv_offset" in name for name in report.allowed["deformable convolutions learn their offsets"])


def test_an_rcnn_without_fpn_has_its_last_stage_in_the_box_head(file, tensors):
    class Detector(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = create_backbone(NAME, num_stages=3, return_idx=2)
            self.bbox_head = paddle.nn.Layer()
            self.bbox_head.head = Res2NetC5(variant="d", dialect="official", freeze_norm=False)

    model = Detector()
    report = load_pretrained(model, file)
    assert len(report.matched) == 435 and "the model has fewer stages" not in report.allowed
    weight = model.bbox_head.head.res5.blocks[0].branch2a.conv.weight.numpy()
    assert (weight == tensors["layer4.0.conv1.weight"]).all()


def test_half_precision_becomes_the_models(tmp_path, tensors):
    save_weights_file(
        tmp_path / "half.safetensors", {n: a.astype(np.float16) if a.ndim else a for n, a in tensors.items()}
    )
    model = create_backbone(NAME, weights=tmp_path / "half.safetensors")
    assert model.res1.conv1_1.conv.weight.dtype == paddle.float32


def test_other_backbones_are_refused(file):
    with pytest.raises(ConfigError, match="Linear has no Res2Net trunk of this package .its backbone is NoneType."):
        load_pretrained(paddle.nn.Linear(2, 2), file)


def test_two_tensors_for_one_name():
    twice = {
        "layer1.0.convs.0.weight": np.zeros(1),
        "fc.weight": np.zeros((2, 2)),
        "head.fc.weight": np.zeros((2, 2)),
    }
    assert "two tensors of the file map to fc.weight" in error_of(lambda: to_our_names(twice))


# Conversion


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_convert_command(file, tensors, tmp_path, capsys, suffix):
    target = tmp_path / f"converted{suffix}"
    assert convert_command.main([NAME, str(file), str(target), "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{file}: 437 tensors match."
    assert lines[1].startswith("  87 left out (batch counters are not used): ")
    assert lines[2:] == [
        f"wrote 437 tensors to {target}",
        f"check: all 437 tensors of {target} are equal after a round trip",
    ]
    assert read_weights_file(target).metadata == {"model": NAME, "dialect": "official"}
    assert (load_weights_file(target)["fc.weight"] == tensors["fc.weight"].T).all()
    # The converted file keeps its dialect, although its names are PaddleDetection's.
    assert "(the file says so)" in error_of(lambda: create_backbone("paddleclas/Res2Net50_vd_26w_4s", weights=target))
    assert len(read_weights(target).tensors) == 437


def test_convert_refuses_another_model(file, tmp_path):
    text = error_of(lambda: convert_command.main(["timm/res2net101d", str(file), str(tmp_path / "x.pdparams")]))
    assert "the model is a Res2Net-101" in text
    assert not list(tmp_path.iterdir())


def test_convert_takes_detectors(tmp_path, capsys):
    name = "ppdet/faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco"
    trunk = source_tensors(get_model_spec(name))
    save_weights_file(tmp_path / "trunk.pdparams", trunk)
    save_weights_file(tmp_path / "all.pdparams", {**trunk, "rpn_head.x": np.zeros(2, np.float32)})
    assert convert_command.main([name, str(tmp_path / "all"), str(tmp_path / "out.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "1 tensors of the detector's other parts are kept as they are" in said
    assert "not used" not in said
    assert "rpn_head.x" in load_weights_file(tmp_path / "out.safetensors")
    text = error_of(lambda: convert_command.main([name, str(tmp_path / "trunk"), str(tmp_path / "x.pdparams")]))
    assert f"has only a backbone, but {name} is a detector. Pass the file of a whole detector." in text


@pytest.mark.parametrize(
    "file_name, names, kind, advice",
    [
        ("mine", ("bbox_head.bbox_score_stage0.bias",), "Cascade R-CNN", "Pass the name of a Cascade R-CNN."),
        (
            "mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco",
            ("bbox_head.bbox_score.bias", "mask_head.x"),
            "Mask R-CNN",
            "Pass the name of a Mask R-CNN, such as ppdet/mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco.",
        ),
    ],
)
def test_convert_refuses_a_detector_of_another_kind(tmp_path, file_name, names, kind, advice):
    name = "ppdet/faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco"
    heads = {other: np.zeros(2, np.float32) for other in ("rpn_head.x", *names)}
    file = tmp_path / f"{file_name}.pdparams"
    save_weights_file(file, {**source_tensors(get_model_spec(name)), **heads})
    text = error_of(lambda: convert_command.main([name, str(file), str(tmp_path / "x.pdparams")]))
    assert f"is a {kind}, but {name} is a Faster R-CNN. {advice}" in text
    assert not (tmp_path / "x.pdparams").exists()


def test_convert_proposes_another_name_for_another_dialect(file, tmp_path):
    name = "paddleclas/Res2Net50_26w_4s"
    arguments = [name, str(file), str(tmp_path / "x.pdparams"), "--dialect", "official"]
    text = error_of(lambda: convert_command.main(arguments))
    assert f"Pass the name of a model of that dialect instead of {name} ('ppdet-res2net models')." in text


def test_damaged_copy_fails_the_check(file, tmp_path):
    from ppdet_res2net.zoo.convert import check_round_trip

    save_weights_file(tmp_path / "x.pdparams", {"a": np.zeros(2)})
    text = error_of(lambda: check_round_trip(tmp_path / "x.pdparams", {"a": np.ones(2)}))
    assert "x.pdparams differs from the converted weights in 1 of 1 tensors, for example a. Convert again" in text


def test_rules_are_needed(tensors):
    """Without its rule, a trunk refuses a classifier's layer."""
    assert "2 unexpected in the file: fc.weight, fc.bias" in error_of(
        lambda: load_into(modeling.Res2Net(variant="d", dialect="official"), to_our_names(tensors))
    )
