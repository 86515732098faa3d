"""The trunk against paddledet's own class, its options, and every argument that it refuses."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
if importlib.util.find_spec("ppdet") is None:
    pytest.skip("paddledet is not installed", allow_module_level=True)

from ppdet_res2net import get_model_spec, modeling  # noqa: E402
from ppdet_res2net.compat import prepare_ppdet  # noqa: E402
from ppdet_res2net.errors import ConfigError  # noqa: E402
from ppdet_res2net.modeling.norm import NormOptions, make_norm  # noqa: E402
from ppdet_res2net.ppdet_modules.backbone import Res2Net, Res2NetC5  # noqa: E402
from tests.helpers import tiny_detector as tiny  # noqa: E402

prepare_ppdet()

from ppdet.modeling.backbones import res2net as paddledets  # noqa: E402

SMALL = {"depth": [1, 2, 1, 1], "width": 8}


def randomize(model, seed=0):
    """Give every parameter and running statistic a random value; the activations of a whole network stay in range."""
    rng = np.random.RandomState(seed)
    for name, tensor in model.state_dict().items():
        shape = tensor.shape
        if name.endswith("_mean"):
            value = rng.randn(*shape) * 0.1
        elif name.endswith("_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif "norm.weight" in name:
            value = rng.uniform(0.5, 1.0, shape)
        elif len(shape) > 1:
            value = rng.randn(*shape) * np.sqrt(1.0 / np.prod(shape[1:]))
        else:
            value = rng.randn(*shape) * 0.1
        tensor.set_value(value.astype("float32"))


def make_pair(seed=0, **options):
    """Return our trunk in paddledet's dialect, and paddledet's trunk, with equal weights."""
    with tiny.paddledet_depth(list(options.get("depth", (3, 4, 6, 3)))):
        theirs = paddledets.Res2Net(**{**options, "depth": 50})
    ours = Res2Net(**options, dialect="ppdet")
    randomize(ours, seed)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    tiny.load_equal_weights(theirs, ours.state_dict())
    return ours, theirs


def noise(*shape, seed=0):
    return paddle.to_tensor(np.random.RandomState(seed).randn(*shape).astype("float32"))


def assert_same_features(ours, theirs, image):
    with paddle.no_grad():
        found, expected = ours({"image": image}), theirs({"image": image})
    assert len(found) == len(expected) > 0
    for mine, reference in zip(found, expected):
        scale = float(reference.abs().max())
        assert np.isfinite(scale) and scale > 0.01
        np.testing.assert_allclose(mine.numpy(), reference.numpy(), rtol=0, atol=1e-6 * scale)
    assert [(s.channels, s.stride) for s in ours.out_shape] == [(s.channels, s.stride) for s in theirs.out_shape]
    assert [list(f.shape[1:2]) for f in found] == [[s.channels] for s in ours.out_shape]


# ---------------------------------------------------------------- parity


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "a"},
        {"variant": "b"},
        {"variant": "c"},
        {"variant": "d"},
        {"variant": "d", "groups": 4},
        {"scales": 6, "width": 4},
        {"dcn_v2_stages": [1, 2]},
        {"dcn_v2_stages": 3, "variant": "a"},
        {"num_stages": 3, "return_idx": [0, 2]},
        {"num_stages": 1, "return_idx": 0},
        {"return_idx": [3]},
        {"freeze_norm": False},
    ],
    ids=str,
)
def test_features_are_paddledets(options):
    ours, theirs = make_pair(**{**SMALL, **options})
    for model in (ours, theirs):
        model.eval()
    assert_same_features(ours, theirs, noise(2, 3, 75, 97))


def test_depth_50_is_paddledets():
    ours, theirs = make_pair(depth=(3, 4, 6, 3), variant="d", width=26)
    for model in (ours, theirs):
        model.eval()
    assert_same_features(ours, theirs, noise(1, 3, 64, 64))


@pytest.mark.parametrize("depth", [50, 101, 152, 200])
def test_published_depths_have_paddledets_parameters(depth):
    options = {"width": 1, "scales": 2, "num_stages": 4}
    with paddle.LazyGuard():  # names and shapes, without making a thousand tensors
        ours, theirs = Res2Net(depth=depth, **options), paddledets.Res2Net(depth=depth, **options)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [(n, p.shape) for n, p in theirs.named_parameters()]


@pytest.mark.parametrize("variant", ["b", "c", "d"])
def test_c5_is_paddledets(variant):
    ours, theirs = (
        Res2NetC5(width=8, variant=variant, dialect="ppdet"),
        paddledets.Res2NetC5(width=8, variant=variant),
    )
    randomize(ours)
    tiny.load_equal_weights(theirs, ours.state_dict())
    features = noise(2, 1024, 8, 8)
    for model in (ours, theirs):
        model.eval()
    with paddle.no_grad():
        found, expected = ours(features, stage=0).numpy(), theirs(features).numpy()
    assert found.shape == (2, 2048, 4, 4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert [(s.channels, s.stride) for s in ours.out_shape] == [(2048, 32)]


def test_c5_of_variant_a_runs():
    # paddledet's fails: its stage block pools the last split with stride 2, but the others have stride 1.
    features = Res2NetC5(width=8, variant="a")(noise(1, 1024, 8, 8))
    assert list(features.shape) == [1, 2048, 4, 4]


@pytest.mark.parametrize("freeze_norm", [True, False])
@pytest.mark.parametrize("freeze_at", [-1, 0, 2])
def test_freezing_trains_what_paddledet_trains(freeze_at, freeze_norm):
    ours, theirs = make_pair(**SMALL, freeze_at=freeze_at, freeze_norm=freeze_norm)
    for model in (ours, theirs):
        model.train()
        model({"image": noise(1, 3, 64, 64)})[-1].mean().backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    trained = 0
    for name, parameter in ours.named_parameters():
        assert (parameter.grad is None) == (expected[name] is None), name
        if parameter.grad is not None:
            trained += 1
            scale = float(expected[name].abs().max())
            np.testing.assert_allclose(parameter.grad.numpy(), expected[name].numpy(), rtol=0, atol=1e-5 * scale)
    assert trained > 0
    stem = ours.res1.conv1
    assert (stem.conv.weight.grad is None) == (freeze_at >= 0)
    assert (stem.norm.weight.grad is None) == (freeze_norm or freeze_at >= 0)
    statistics = [(n, t.numpy(), theirs.state_dict()[n].numpy()) for n, t in ours.state_dict().items() if "._" in n]
    assert statistics
    for name, mine, reference in statistics:
        np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-6, err_msg=name)


def test_defaults_are_paddledets():
    ours = Res2Net(**SMALL)
    assert (ours.freeze_norm, ours.freeze_at, ours.variant) == (True, 0, "b")
    assert not any(p.trainable for n, p in ours.named_parameters() if n.startswith(("res1", "res2")) or "norm" in n)
    assert all(p.trainable for n, p in ours.named_parameters() if n.startswith("res3") and ".conv." in n)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("freeze_norm", [True, False])
@pytest.mark.parametrize("norm_type", ["bn", "sync_bn", "gn"])
def test_norm_types_run_and_freeze(norm_type, freeze_norm):
    model = modeling.Res2Net(**SMALL, norm_type=norm_type, freeze_norm=freeze_norm)
    norm = model.res3.blocks[0].branch2a.norm
    # On a CPU, sync_bn has nothing to synchronise with, and Paddle has no operator for it.
    assert type(norm) is (paddle.nn.GroupNorm if norm_type == "gn" else paddle.nn.BatchNorm2D)
    model.train()
    before = {name: value.numpy().copy() for name, value in norm.state_dict().items()}
    features = model(noise(2, 3, 64, 64))
    assert [list(f.shape) for f in features] == [
        [2, 256, 16, 16],
        [2, 512, 8, 8],
        [2, 1024, 4, 4],
        [2, 2048, 2, 2],
    ]
    features[-1].mean().backward()
    assert (norm.weight.grad is None) == freeze_norm
    for name, value in norm.state_dict().items():
        moves = name.startswith("_") and not freeze_norm  # running statistics
        assert np.array_equal(value.numpy(), before[name]) != moves, name


@pytest.mark.parametrize("freeze_norm", [True, False])
@pytest.mark.parametrize("norm_type", ["bn", "gn"])
def test_overwriting_what_is_not_needed_changes_no_gradient(norm_type, freeze_norm, monkeypatch):
    def gradients():
        paddle.seed(0)
        model = modeling.Res2Net(**SMALL, norm_type=norm_type, freeze_norm=freeze_norm, freeze_at=-1)
        randomize(model)
        model.train()
        image = noise(2, 3, 64, 64)
        image.stop_gradient = False
        sum((feature**2).mean() for feature in model(image)).backward()
        return [image.grad.numpy(), *(p.grad.numpy() for p in model.parameters() if p.grad is not None)]

    in_place = gradients()
    monkeypatch.setattr(modeling.blocks, "_relu_in_place", paddle.nn.functional.relu)
    in_memory_of_its_own = gradients()
    assert len(in_place) == len(in_memory_of_its_own) > 10
    assert all(map(np.array_equal, in_place, in_memory_of_its_own))


def test_sync_bn_on_many_gpus(monkeypatch):
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:0")
    options = NormOptions("sync_bn", decay=0.1)
    assert type(make_norm(8, options)) is paddle.nn.SyncBatchNorm
    assert type(make_norm(8, NormOptions("bn"))) is paddle.nn.BatchNorm2D
    frozen = make_norm(8, NormOptions("sync_bn", frozen=True))  # nothing to synchronise
    assert type(frozen) is paddle.nn.BatchNorm2D
    names = list(make_norm(8, options).state_dict())
    assert names == list(frozen.state_dict())


def test_group_norm_has_groups_that_divide_the_channels():
    groups = [make_norm(channels, NormOptions("gn"))._num_groups for channels in (64, 26, 7, 3)]
    assert groups == [32, 26, 7, 3]


def test_learning_rates_and_decay_arrive_at_the_parameters():
    model = modeling.Res2Net(**SMALL, lr_mult_list=[0.1, 0.2, 0.3, 0.4], norm_decay=0.05)
    assert model.res1.conv1.conv.weight.optimize_attr["learning_rate"] == 1.0
    for i, stage in enumerate(model.stages):
        block = stage.blocks[0]
        for layer in (block.branch2b[0], block.branch2c, block.branch1):
            for parameter in (layer.conv.weight, layer.norm.weight, layer.norm.bias):
                assert parameter.optimize_attr["learning_rate"] == pytest.approx(0.1 * (i + 1))
            assert layer.conv.weight.regularizer is None
            for parameter in (layer.norm.weight, layer.norm.bias):
                assert "0.05" in str(parameter.regularizer)


def test_a_tensor_is_taken_as_well_as_a_batch():
    model = modeling.Res2Net(**SMALL)
    model.eval()
    image = noise(1, 3, 32, 32)
    with paddle.no_grad():
        for a, b in zip(model(image), model({"image": image})):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_depth_is_a_number_or_a_list():
    counts = [len(stage.blocks) for stage in modeling.Res2Net(depth=[2, 1, 3, 1], width=1).stages]
    assert counts == [2, 1, 3, 1]
    assert modeling.Res2Net(depth=50, width=1).stage_depths == (3, 4, 6, 3)
    assert modeling.Res2Net(depth=[3, 2, 1], width=1, num_stages=2, return_idx=1).stage_depths == (3, 2)


def test_a_zoo_name_sets_the_architecture():
    spec = get_model_spec("timm/res2net50d")
    model = Res2Net(model="timm/res2net50d", num_stages=1, return_idx=0)
    assert spec.architecture["dialect"] == model.dialect.name == "official"
    assert (model.width, model.scales, model.groups) == (spec.width, spec.scales, spec.groups)
    assert model.variant == spec.variant == "d"
    assert model.stage_depths == (3,)
    assert Res2Net(model="timm/res2net50d", variant="d", num_stages=1, return_idx=0).variant == "d"


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"depth": 51},
            r"Res2Net: depth is 51; choose one of 50, 101, 152, 200, dla60, or give the number of blocks of each",
        ),
        ({"depth": [3, 4]}, r"depth is \[3, 4\]; .* each of the 4 stages, e.g. \[3, 4, 6, 3\]"),
        ({"depth": [3, 4, 0, 3]}, "depth is"),
        ({"depth": [3, 4, 6.5, 3]}, "depth is"),
        ({"depth": "50"}, "depth is '50'; choose one of 50"),
        ({"depth": True}, "depth is True"),
        ({"depth": None}, "depth is None"),
        ({"num_stages": 5}, "num_stages is 5; it must be a whole number from 1 to 4"),
        ({"num_stages": 2.0}, "num_stages is 2.0; it must be a whole number"),
        (
            {"num_stages": 2},
            r"return_idx is \(0, 1, 2, 3\); it takes stage indices from 0 to 1 \(num_stages is 2\)",
        ),
        ({"return_idx": [0, 4]}, r"return_idx is \[0, 4\]; it takes stage indices from 0 to 3"),
        ({"return_idx": []}, r"return_idx is \[\]"),
        ({"return_idx": None}, "return_idx is None"),
        ({"return_idx": -1}, "return_idx is -1; it takes stage indices from 0 to 3"),
        ({"dcn_v2_stages": [4]}, r"dcn_v2_stages is \[4\]; it takes stage indices from -1 to 3"),
        (
            {"width": 26, "groups": 8},
            "width 26 cannot be divided into 8 groups; .* multiple of groups, e.g. 24",
        ),
        ({"width": 0}, "width is 0; it must be a whole number of 1 or more"),
        ({"width": 26.0}, "width is 26.0; it must be a whole number"),
        ({"width": True}, "width is True; it must be a whole number"),
        ({"scales": 1}, "scales is 1; it must be a whole number of 2 or more"),
        ({"groups": "2"}, "groups is '2'; it must be a whole number of 1 or more"),
        ({"variant": "e"}, "variant is 'e'; choose one of a, b, c, d"),
        (
            {"dialect": "offical"},
            "unknown dialect 'offical'; choose one of official, paddle, ppdet, mmdet. Did you mean 'official'?",
        ),
        (
            {"depth": "dla60", "dialect": "paddle"},
            "depth is dla60, which exists with dialect: official only; got 'paddle'",
        ),
        (
            {"depth": "dla60", "dialect": "official", "variant": "d"},
            "depth is dla60, which exists with variant: b only; got 'd'",
        ),
        ({"depth": "dla34"}, "depth is 'dla34'; choose one of 50, 101, 152, 200, dla60, or give"),
        ({"dialect": ["paddle"]}, r"unknown dialect \['paddle'\]"),
        (
            {"norm_type": "syncbn"},
            "norm_type is 'syncbn'; choose one of bn, sync_bn, gn. Did you mean 'sync_bn'?",
        ),
        ({"lr_mult_list": [1.0, 1.0]}, r"lr_mult_list is \[1.0, 1.0\]; it needs 4 factors, one per stage"),
        ({"lr_mult_list": 0.1}, "lr_mult_list is 0.1; it needs 4 factors"),
        ({"freeze_at": 4}, "freeze_at is 4; it must be a whole number from -1 to 3"),
        ({"freeze_at": -2}, "freeze_at is -2; it must be"),
        ({"freeze_at": 0.5}, "freeze_at is 0.5; it must be"),
        (
            {"model": "timm/res2net50d", "variant": "c"},
            "model timm/res2net50d has variant 'd', but variant: 'c' is given",
        ),
        (
            {"model": "timm/res2net50d", "width": 14},
            "has width 26, but width: 14 is given as well. Remove one",
        ),
        ({"model": "timm/res2net50dd"}, "unknown model 'timm/res2net50dd'. Did you mean 'timm/res2net50d'?"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Res2Net(**options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"depth": 51}, "depth is 51; choose one of 50, 101, 152, 200"),
        ({"depth": [1, 1, 1]}, "depth is"),
        ({"width": 26, "groups": 4}, "width 26 cannot be divided into 4 groups"),
        ({"variant": "e"}, "variant is 'e'"),
        ({"dialect": "ppdets"}, "Did you mean 'ppdet'?"),
    ],
    ids=str,
)
def test_c5_refuses_the_same(options, message):
    with pytest.raises(ConfigError, match=message):
        Res2NetC5(**options)
