"""The records: complete, true to the given figures, and counted in the models themselves."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GOLDENS = Path(__file__).parents[1] / "goldens"

from ppdet_res2net import create_backbone, create_classifier, get_model_spec, list_models  # noqa: E402
from ppdet_res2net.cli import models as models_command  # noqa: E402
from ppdet_res2net.config import load_config  # noqa: E402
from ppdet_res2net.errors import ConfigError, WeightsError  # noqa: E402
from ppdet_res2net.zoo.catalog import find_published, find_recipe_of_kind  # noqa: E402
from ppdet_res2net.zoo.model_spec import SOURCES  # noqa: E402
from tests.goldens.synthetic import without_random_weights  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"
# (parameters, multiply-accumulates at 224x224) as counted in timm.
GIVEN = {
    "timm/res2net50_48w_2s": (25_287_304, 4_159_832_064),
    "timm/res2net50_26w_4s": (25_699_120, 4_255_166_464),
    "timm/res2net50_14w_8s": (25_059_816, 4_178_898_944),
    "timm/res2net50_26w_6s": (37_051_448, 6_295_523_328),
    "timm/res2net50_26w_8s": (48_403_776, 8_335_880_192),
    "timm/res2net101_26w_4s": (45_206_688, 8_066_974_464),
    "timm/res2next50": (24_671_464, 4_172_677_120),
    "timm/res2net50d": (25_718_352, 4_494_807_040),
    "timm/res2net101d": (45_225_920, 8_306_615_040),
}


def test_counts_of_models():
    counts = {source: len(list_models(source)) for source in SOURCES}
    assert counts == {"timm": 11, "mmpretrain": 3, "mindcv": 6, "paddleclas": 8, "ppdet": 5, "mmdet": 5}
    assert len(list_models()) == sum(counts.values())


@pytest.mark.parametrize("name", GIVEN)
def test_given_figures(name):
    spec = get_model_spec(name)
    assert (spec.parameters, spec.macs) == GIVEN[name]


def test_every_published_detector_has_a_recipe_of_its_kind():
    detectors = [spec for spec in map(get_model_spec, list_models()) if spec.task == "detector"]
    for spec in detectors:
        config = load_config(spec.own_recipe)
        architecture = config["architecture"]
        masks = "mask_head" in config.get(architecture, ()) and architecture == "CascadeRCNN"
        of_recipe = {"FasterRCNN": "Faster R-CNN", "MaskRCNN": "Mask R-CNN"}.get(architecture, "Cascade R-CNN")
        assert spec.kind == (of_recipe.replace(" R", " Mask R") if masks else of_recipe)
        assert spec.variant == "b" or config["Res2Net"]["dialect"] == spec.dialect
    assert {get_model_spec(name).own_recipe for name in list_models("timm")} == {""}
    assert find_recipe_of_kind("mmdet", "Cascade Mask R-CNN") == "mmdet_cascade_mask_rcnn_res2net101_fpn_20e_coco"
    assert find_recipe_of_kind("ppdet", "Cascade R-CNN") == ""


@pytest.mark.parametrize("name", list_models())
def test_originals_have_the_same_figures(name):
    spec = get_model_spec(name)
    if name == "mmdet/res2net101_v1d_26w_4s_mmdetv2":
        pytest.skip("the authors' trunk under mmdetection's names: test_parity.py")
    source = f"{spec.source}_detectors" if spec.task == "detector" else spec.source
    golden = json.loads((GOLDENS / f"{source}.json").read_text())
    original = golden["models"][name[: -len("_ssld")] if name.endswith("_ssld") else name]
    assert original["parameters"] == spec.parameters
    assert original.get("macs", spec.macs) == spec.macs
    package, version = spec.proved_against.split()
    assert golden["versions"][package] == version


def size_of(name: str) -> tuple:
    """Return the properties that decide parameters and multiply-accumulates; the dialect is not one of them."""
    spec = get_model_spec(name)
    return spec.depth, spec.width, spec.scales, spec.variant, spec.groups


@pytest.mark.parametrize("size", sorted(set(map(size_of, list_models())), key=str))
def test_figures_of_our_models(size):
    paddle = pytest.importorskip("paddle")
    specs = [get_model_spec(name) for name in list_models() if size_of(name) == size]
    with without_random_weights():
        model = create_classifier(specs[0].name)
    macs = {"trunk": 0, "fc": 0}

    def count(layer, _, out):
        if isinstance(layer, paddle.nn.Conv2D):
            macs["trunk"] += int(np.prod(out.shape)) * int(np.prod(layer.weight.shape[1:]))
        elif isinstance(layer, paddle.nn.Linear):
            macs["fc"] += int(np.prod(layer.weight.shape))

    for layer in model.sublayers():
        layer.register_forward_post_hook(count)
    model.eval()
    with paddle.no_grad():
        model(paddle.zeros([1, 3, 224, 224]))
    statistics = ("_mean", "_variance")
    trunk = sum(int(np.prod(p.shape)) for n, p in model.backbone.state_dict().items() if not n.endswith(statistics))
    for spec in specs:
        if spec.task == "classifier":
            assert (spec.parameters, spec.macs) == (trunk + macs["fc"] + 1000, macs["trunk"] + macs["fc"])
        else:
            assert spec.macs == macs["trunk"]
            assert spec.task == "detector" or spec.parameters == trunk


def test_listing_does_not_import_paddle():
    code = (
        "import sys, ppdet_res2net as p; p.list_models(); p.get_model_spec('timm/res2net50d'); "
        "print('paddle' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_model_spec("timm/res2net50d").depth = 101
    with pytest.raises(TypeError):
        get_model_spec("timm/res2net50d").metrics["top1"] = 100.0


def test_published_files_are_known_by_name_and_url():
    assert find_published("res2net50_v1b_26w_4s-3cf99910.pth").name == "timm/res2net50d"
    assert (
        find_published("https://huggingface.co/timm/res2next50.in1k/resolve/main/model.safetensors").name
        == "timm/res2next50"
    )
    assert find_published("model.safetensors") is None


def test_backbone_takes_overrides_and_ppdet_input():
    paddle = pytest.importorskip("paddle")
    with without_random_weights():
        model = create_backbone("timm/res2net50_26w_4s", return_idx=[2, 3])
    features = model({"image": paddle.zeros([2, 3, 64, 64])})
    assert [f.shape for f in features] == [[2, 1024, 4, 4], [2, 2048, 2, 2]]


@pytest.mark.parametrize(
    "call, error, text",
    [
        (
            lambda: get_model_spec("timm/res2net50"),
            ConfigError,
            "unknown model 'timm/res2net50'. Did you mean 'timm/res2next50'?",
        ),
        (lambda: get_model_spec("res2net50d"), ConfigError, "Did you mean 'timm/res2net50d'?"),
        (
            lambda: list_models("tim"),
            ConfigError,
            "unknown source 'tim'; choose one of timm, mmpretrain, mindcv, paddleclas, ppdet, mmdet.",
        ),
        (
            lambda: create_classifier("ppdet/Res2Net50_26w_4s_pretrained", weights=True),
            ConfigError,
            "is published as a backbone, without a classifier's last layer. Use create_backbone",
        ),
        (
            lambda: create_backbone("mindcv/res2net152", weights=True),
            WeightsError,
            "no published weights of mindcv/res2net152. MindCV defines the model, but publishes no weights.",
        ),
    ],
)
def test_messages(call, error, text):
    with pytest.raises(error) as caught, without_random_weights():
        call()
    assert text in str(caught.value)


def test_models_command_lists_everything(capsys):
    assert models_command.main([]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in list_models())
    assert models_command.main(["--json", "--source", "ppdet"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["name"] for record in records] == list_models("ppdet")
    assert records[-1]["metrics"] == {"box_ap": 42.6, "mask_ap": 38.1} and records[-1]["dialect"] == "ppdet"


def test_the_page_in_docs_is_up_to_date(capsys):
    models_command.main(["--markdown"])
    page = (DOCS / "model_zoo.md").read_text(encoding="utf-8")
    assert page == capsys.readouterr().out, "run: ppdet-res2net models --markdown > docs/model_zoo.md"
