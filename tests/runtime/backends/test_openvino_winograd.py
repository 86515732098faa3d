"""Winograd's algorithm gives what the direct convolution gives, where it replaces it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

openvino = pytest.importorskip("openvino", exc_type=ImportError)

from openvino import opset13 as ops  # noqa: E402

from res2net_runtime import Predictor  # noqa: E402
from res2net_runtime.backends import openvino_runtime  # noqa: E402
from res2net_runtime.backends.openvino_winograd import rewrite_convolutions  # noqa: E402
from res2net_runtime.cli import main  # noqa: E402
from tests.helpers.runtime_toys import toy_model_dir  # noqa: E402

LEAST_SIDE_PX = 32
LARGE = openvino.Dimension(4, -1)  # a map of an eighth of the image
CHANNELS = 256


def convolve(x, rng, *, side_px=3, channels=CHANNELS, has_bias=True):
    weights = rng.standard_normal((channels, CHANNELS, side_px, side_px)).astype(np.float32) / (16 * side_px)
    x = ops.convolution(x, ops.constant(weights), [1, 1], [side_px // 2] * 2, [side_px // 2] * 2, [1, 1])
    return ops.add(x, ops.constant(rng.standard_normal((1, channels, 1, 1)).astype(np.float32))) if has_bias else x


def pyramid(x, rng):
    """An output of FPN, which is a result as well, and an RPN on it, which uses its hidden map's size."""
    output = convolve(x, rng, has_bias=False)
    hidden = ops.relu(convolve(output, rng))
    return [output, convolve(hidden, rng, side_px=1, channels=3), ops.shape_of(hidden)]


def mask_head(x, rng):
    for _ in range(2):
        x = ops.relu(convolve(x, rng))
    return [x]


def build(network, sides):
    x = ops.parameter(openvino.PartialShape([-1, CHANNELS, *sides]), np.float32)
    return openvino.Model([ops.result(value) for value in network(x, np.random.default_rng(0))], [x])


def compile_both(network, sides):
    """Return the network as it is, and rewritten; and how many convolutions were replaced."""
    core, direct, rewritten = openvino.Core(), build(network, sides), build(network, sides)
    count = rewrite_convolutions(rewritten, LEAST_SIDE_PX)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return [core.compile_model(model, "CPU", settings) for model in (direct, rewritten)], count


@pytest.fixture(scope="module")
def pyramids():
    return compile_both(pyramid, (LARGE, LARGE))


def assert_close(models, shape):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected, actual = ([*model(x).values()] for model in models)
    assert len(expected) == len(actual)
    for one, other in zip(expected, actual):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, atol=3e-4)


@pytest.mark.parametrize("shape", [(1, 16, 24), (2, 9, 13), (1, 4, 5)], ids=str)
def test_maps_of_any_size(pyramids, shape):
    models, count = pyramids
    assert count == 2
    assert_close(models, (shape[0], CHANNELS, *shape[1:]))


@pytest.mark.parametrize("side_px", [14, 12])
def test_regions_of_any_number(side_px):
    models, count = compile_both(mask_head, (side_px, side_px))
    assert count == 2
    for regions in (0, 1, 3):
        assert_close(models, (regions, CHANNELS, side_px, side_px))


def test_no_3x3_convolution_is_left():
    network = build(pyramid, (LARGE, LARGE))
    rewrite_convolutions(network, LEAST_SIDE_PX)
    left = [node for node in network.get_ordered_ops() if node.get_type_name() == "Convolution"]
    assert left == []


@pytest.mark.parametrize("sides", [(openvino.Dimension(2, -1),) * 2, (7, 7), (14, 15), (32, 32)], ids=str)
def test_other_sizes_stay_as_they_are(sides):
    assert rewrite_convolutions(build(pyramid, sides), LEAST_SIDE_PX) == 0


def test_other_convolutions_stay_as_they_are():
    def others(x, rng):
        fewer = convolve(x, rng, channels=128)
        weights = ops.constant(np.zeros((CHANNELS, CHANNELS, 3, 3), np.float32))
        return [fewer, ops.convolution(x, weights, [2, 2], [1, 1], [1, 1], [1, 1])]

    assert rewrite_convolutions(build(others, (LARGE, LARGE)), LEAST_SIDE_PX) == 0


@pytest.fixture(scope="module")
def toy_dir(tmp_path_factory):
    return toy_model_dir(tmp_path_factory, "openvino")


@pytest.fixture
def rewritten(monkeypatch):
    """Networks that were rewritten, by the lower bound of their images' sides."""
    calls = []
    monkeypatch.setattr(openvino_runtime, "rewrite_convolutions", lambda network, side_px: calls.append(side_px))
    return calls


def test_float32_is_rewritten_unless_asked_not_to(toy_dir, rewritten):
    for winograd, count in ((True, 1), (False, 1), (True, 2)):
        Predictor(toy_dir, backend="openvino", cpu_threads=1, winograd=winograd).close()
        assert len(rewritten) == count


@pytest.mark.parametrize(("flags", "count"), [([], 1), (["--no_winograd"], 0)], ids=["default", "off"])
def test_the_command_can_turn_it_off(toy_dir, rewritten, tmp_path, flags, count):
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.zeros((50, 70, 3), np.uint8))
    command = ["--model_dir", str(toy_dir), "--image_file", str(image), "--backend", "openvino", "--cpu_threads", "1"]
    assert not main([*command, "--output_dir", str(tmp_path / "out"), *flags])
    assert len(rewritten) == count
