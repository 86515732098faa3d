"""Every published model against its original implementation, under synthetic weights."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")

GOLDENS = Path(__file__).parents[1] / "goldens"

from ppdet_res2net import create_backbone, create_classifier, get_model_spec, list_models, modeling  # noqa: E402
from ppdet_res2net.modeling.dialect import DIALECTS  # noqa: E402
from ppdet_res2net.zoo.keymaps import map_names  # noqa: E402
from ppdet_res2net.zoo.load import load_into  # noqa: E402
from ppdet_res2net.zoo.weights import to_our_names  # noqa: E402
from tests.goldens.source_names import checksum, source_shapes, source_tensors  # noqa: E402
from tests.goldens.synthetic import DLA_IMAGE_SHAPE, IMAGE_SHAPE, make_image, sample, without_random_weights  # noqa: E402

TOLERANCE = 1e-4  # of the output's standard deviation
STAGES = ("c2", "c3", "c4", "c5")


@pytest.fixture(autouse=True, scope="module")
def quick_models():
    with without_random_weights():
        yield


def golden_of(name: str) -> dict:
    source = name.partition("/")[0]
    return json.loads((GOLDENS / f"{source}.json").read_text())["models"][name]


def run(model: paddle.nn.Layer) -> dict[str, np.ndarray]:
    """Return the outputs of the four stages, and the logits of a classifier."""
    outputs = {}
    trunk = getattr(model, "backbone", model)
    for stage, layer in zip(STAGES, trunk.stages):
        layer.register_forward_post_hook(lambda _, __, out, stage=stage: outputs.update({stage: out.numpy()}))
    model.eval()
    with paddle.no_grad():
        result = model(paddle.to_tensor(make_image(DLA_IMAGE_SHAPE if trunk.is_dla else IMAGE_SHAPE)))
    if trunk is not model:
        outputs["logits"] = result.numpy()
    return outputs


def max_error(name: str, output: str, array: np.ndarray) -> float:
    """Return the largest error of samples and mean, relative to the golden's standard deviation."""
    golden = golden_of(name)["outputs"][output]
    ours = sample(f"{name}/{output}", array)
    assert ours["shape"] == golden["shape"]
    errors = np.abs(np.subtract(ours["values"], golden["values"]))
    return max(errors.max(), abs(ours["mean"] - golden["mean"])) / golden["std"]


def create(name: str, **overrides) -> paddle.nn.Layer:
    is_classifier = get_model_spec(name).task == "classifier"
    return (create_classifier if is_classifier else create_backbone)(name, **overrides)


# mmdetection's are below, and whole in tests/detection/test_mmdet_detectors.py.
ORIGINALS = [name for name in list_models() if not name.endswith("_ssld") and not name.startswith("mmdet/")]


@pytest.mark.parametrize("name", ORIGINALS)
def test_outputs_equal_the_original(name, record_property):
    spec = get_model_spec(name)
    golden = golden_of(name)
    assert checksum(source_shapes(spec)) == golden["names_crc32"], "the source has other tensors"
    model = create(name)
    report = load_into(model, to_our_names(source_tensors(spec)), source=name)
    assert len(report.matched) == len(model.state_dict())
    errors = {output: max_error(name, output, array) for output, array in run(model).items()}
    assert set(errors) == set(golden["outputs"])
    record_property("max_relative_error", float(max(errors.values())))
    print(f"{name}: {', '.join(f'{output} {error:.1e}' for output, error in errors.items())}")
    assert max(errors.values()) < TOLERANCE


@pytest.mark.parametrize("name", [name for name in list_models() if name.endswith("_ssld")])
def test_distilled_weights_are_of_the_same_model(name):
    assert get_model_spec(name).architecture == get_model_spec(name[: -len("_ssld")]).architecture


def mmdet_spec(depth: int, width: int, scales: int):
    """Return a record of a trunk that mmdetection can build. The zoo has one of them, in detectors."""
    name = f"mmdet/res2net{depth}_v1d_{width}w_{scales}s"
    architecture = {"depth": depth, "width": width, "scales": scales, "dialect": "mmdet"}
    return dataclasses.replace(get_model_spec("timm/res2net50d"), name=name, task="backbone", **architecture)


MMDET = [mmdet_spec(*sizes) for sizes in [(50, 26, 4), (101, 26, 4), (152, 26, 4), (50, 14, 8), (50, 48, 2)]]


@pytest.mark.parametrize("spec", MMDET, ids=[spec.name for spec in MMDET])
def test_trunks_equal_those_of_mmdetection(spec):
    assert checksum(source_shapes(spec)) == golden_of(spec.name)["names_crc32"], "the source has other tensors"
    model = modeling.Res2Net(**spec.architecture)
    report = load_into(model, to_our_names(source_tensors(spec)))
    assert len(report.matched) == len(model.state_dict())
    trained = [tensor.size for key, tensor in model.state_dict().items() if not key.endswith(("_mean", "_variance"))]
    assert sum(trained) == golden_of(spec.name)["parameters"]
    assert max(max_error(spec.name, output, array) for output, array in run(model).items()) < TOLERANCE


def test_mmdetection_renamed_the_authors_trunk():
    spec, authors = get_model_spec("mmdet/res2net101_v1d_26w_4s_mmdetv2"), get_model_spec("timm/res2net101d")
    assert spec.architecture == authors.architecture
    theirs = {name: shape for name, shape in mapped_shapes(authors).items() if not name.startswith("fc.")}
    assert mapped_shapes(spec) == theirs


def mapped_shapes(spec) -> dict[str, tuple[int, ...]]:
    shapes = source_shapes(spec)
    return {target.name: shapes[name] for name, target in map_names(shapes).items()}


VARIANT_D = {
    "official": "timm/res2net50d",
    "paddle": "paddleclas/Res2Net50_vd_26w_4s",
    "ppdet": "ppdet/mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco",
    "mmdet": MMDET[0].name,
}


@pytest.mark.parametrize("right, wrong", list(itertools.permutations(DIALECTS, 2)))
def test_every_other_dialect_fails_parity(right, wrong):
    name = VARIANT_D[right]
    spec = MMDET[0] if right == "mmdet" else get_model_spec(name)
    # Give the tensors of the shortcuts the wrong dialect's names, as silent loading by shape would.
    tensors = to_our_names(source_tensors(spec), pools_shortcuts=True)
    if DIALECTS[wrong].blocks_ignore_variant:
        tensors = {
            key.replace("branch1.conv.", "branch1.", 1) if ".branch1.conv." in key and "res2" not in key else key: array
            for key, array in tensors.items()
        }
    if spec.task == "classifier":
        model = create(name, dialect=wrong)
    else:
        model = modeling.Res2Net(**{**spec.architecture, "dialect": wrong})
        tensors = {key: array for key, array in tensors.items() if key.startswith("backbone.")}
    load_into(model, tensors)
    assert max_error(name, "c5", run(model)["c5"]) > 1e-2


def test_the_plain_variants_of_official_and_paddle_differ():
    name = "timm/res2net50_26w_4s"
    model = create(name, dialect="paddle")
    load_into(model, to_our_names(source_tensors(get_model_spec(name))))
    assert max_error(name, "c5", run(model)["c5"]) > 1e-2


def test_the_goldens_are_complete():
    for path in GOLDENS.glob("*.json"):
        golden = json.loads(path.read_text())
        if "models" in golden:  # not those of single functions
            assert "scale" in golden or tuple(golden["image_shape"]) == IMAGE_SHAPE
        assert golden["versions"]
