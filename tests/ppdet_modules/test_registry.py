"""Our modules in ppdet's registry, and objects made from configurations."""

from __future__ import annotations

import importlib.util

import pytest

pytest.importorskip("paddle")
if importlib.util.find_spec("ppdet") is None:
    pytest.skip("paddledet is not installed", allow_module_level=True)

from ppdet_res2net.data.coco import COCODataSet  # noqa: E402
from ppdet_res2net.errors import ConfigError  # noqa: E402
from ppdet_res2net.ppdet_modules.backbone import Res2Net, Res2NetC5  # noqa: E402
from ppdet_res2net.ppdet_modules.mask_assigner import MaskAssigner  # noqa: E402
from ppdet_res2net.ppdet_modules.registry import (  # noqa: E402
    create_dataset,
    create_from_config,
    instantiate,  # noqa: E402
    register_modules,
    serializable_classes,  # noqa: E402
)
from ppdet_res2net.ppdet_modules.tagged import Tagged  # noqa: E402

register_modules()

from ppdet.core.config.schema import SchemaDict  # noqa: E402
from ppdet.core.workspace import global_config  # noqa: E402

OURS = (Res2Net, Res2NetC5, COCODataSet, MaskAssigner)
TINY = {"depth": [1, 1, 1, 1], "width": 4}


def test_ours_replace_paddledets():
    for cls in OURS:
        assert getattr(global_config[cls.__name__].pymodule, cls.__name__) is cls
        assert serializable_classes()[cls.__name__] is cls


def test_registering_twice_changes_nothing():
    before = dict(global_config)
    register_modules()
    register_modules.__wrapped__()  # as in a process that has lost the cache
    assert set(global_config) == set(before)
    test_ours_replace_paddledets()


def test_the_global_norm_type_reaches_the_trunk():
    shared = create_from_config({"norm_type": "gn", "Res2Net": TINY}, "Res2Net")
    own = create_from_config({"norm_type": "gn", "Res2Net": {**TINY, "norm_type": "bn"}}, "Res2Net")
    kinds = [type(m.res2.blocks[0].branch2a.norm).__name__ for m in (shared, own)]
    assert kinds == ["GroupNorm", "BatchNorm2D"]


def test_nothing_of_one_configuration_reaches_the_next():
    first = {"norm_type": "gn", "Res2Net": {**TINY, "variant": "d", "freeze_at": 2}, "some_key": 1}
    assert create_from_config(first, "Res2Net").variant == "d"
    second = create_from_config({"Res2Net": TINY}, "Res2Net")
    assert (second.variant, second.freeze_at) == ("b", 0)
    assert type(second.res2.blocks[0].branch2a.norm).__name__ == "BatchNorm2D"
    assert "some_key" not in global_config
    assert first == {"norm_type": "gn", "Res2Net": {**TINY, "variant": "d", "freeze_at": 2}, "some_key": 1}


def test_objects_in_the_place_of_modules_do_not_unregister_them():
    registered = {name for name, value in global_config.items() if isinstance(value, SchemaDict)}
    dataset = Tagged("COCODataSet", {"anno_path": "a.json"})
    config = {
        "TrainDataset": dataset,
        "EvalDataset": {"name": "COCODataSet"},
        "MaskAssigner": Tagged("MaskAssigner", {"mask_resolution": 7}),
        "Res2Net": TINY,
    }
    for _ in range(2):
        create_from_config(config, "Res2Net")
        assert {name for name, value in global_config.items() if isinstance(value, SchemaDict)} == registered
        assert config["TrainDataset"] is dataset
    assert create_from_config({"MaskAssigner": {"mask_resolution": 9}}, "MaskAssigner").mask_resolution == 9


def test_a_configuration_that_fails_leaves_the_registry_whole():
    with pytest.raises(ConfigError, match="depth is 7"):
        create_from_config({"Res2Net": {"depth": 7}}, "Res2Net")
    assert create_from_config({"Res2Net": TINY}, "Res2Net").stage_depths == (1, 1, 1, 1)


@pytest.mark.parametrize(
    "config, name, message",
    [
        (
            {},
            "Res2Nett",
            "'Res2Nett' is not a module that ppdet or this package registers. Did you mean 'Res2Net'?",
        ),
        ({"num_classes": 3}, "num_classes", "'num_classes' is not a module"),
        ({"Res2Net": {"depht": 50}}, "Res2Net", "Res2Net: .*unexpected keyword argument 'depht'"),
        ({"FPN": {"in_channels": [1], "out_channel": 8}}, "FPN", "FPN: "),
    ],
)
def test_what_cannot_be_created_is_refused(config, name, message):
    with pytest.raises(ConfigError, match=message):
        create_from_config(config, name)


# ---------------------------------------------------------------- tagged parts


@pytest.mark.parametrize(
    "value, expected",
    [
        (Tagged("Resize", {"keep_ratio": True}), Tagged("Resize", {"keep_ratio": True})),
        ({"name": "Resize", "keep_ratio": True}, Tagged("Resize", {"keep_ratio": True})),
        ({"keep_ratio": True}, None),
        ({"name": 3}, None),
        ("Resize", None),
    ],
    ids=str,
)
def test_either_spelling_is_read(value, expected):
    assert Tagged.from_value(value) == expected


def test_tagged_parts_become_objects_at_any_depth():
    made = instantiate({"a": [Tagged("MaskAssigner", {"num_classes": 3})], "b": (1, "x"), "c": None})
    assert type(made["a"][0]) is MaskAssigner and made["a"][0].num_classes == 3
    assert made["b"] == [1, "x"] and made["c"] is None


@pytest.mark.parametrize(
    "part, message",
    [
        (Tagged("os.system"), "!os.system: ppdet has no class of that name that YAML may create"),
        (Tagged("Callable", {"full_type": "os.getcwd"}), "!Callable: ppdet has no class of that name"),
        (Tagged("MaskAssigner", {"classes": 3}), "!MaskAssigner: .*unexpected keyword argument 'classes'"),
        (Tagged("Res2Net", {"depth": 7}), "Res2Net: depth is 7"),
    ],
    ids=str,
)
def test_parts_that_cannot_be_made_are_refused(part, message):
    with pytest.raises(ConfigError, match=message):
        instantiate(part)


# ---------------------------------------------------------------- datasets

ARGUMENTS = {"dataset_dir": "d", "anno_path": "a.json", "data_fields": ["image", "gt_bbox"]}


@pytest.mark.parametrize("value", [Tagged("COCODataSet", ARGUMENTS), {"name": "COCODataSet", **ARGUMENTS}], ids=str)
def test_either_spelling_gives_our_dataset(value):
    dataset = create_dataset({"TrainDataset": value, "num_classes": 3}, "TrainDataset")
    assert type(dataset) is COCODataSet
    assert dataset.dataset_dir == "d" and dataset.data_fields == ["image", "gt_bbox"]
    assert create_dataset({"TrainDataset": value}, "TrainDataset") is not dataset


def test_paddledets_other_datasets_can_be_named():
    dataset = create_dataset({"TestDataset": {"name": "ImageFolder", "anno_path": "a.json"}}, "TestDataset")
    assert type(dataset).__module__.startswith("ppdet.")


@pytest.mark.parametrize(
    "config, message",
    [
        (
            {},
            "TrainDataset is not set in the configuration; add for example 'TrainDataset: {name: COCODataSet",
        ),
        ({"TrainDataset": None}, "TrainDataset is not set"),
        (
            {"TrainDataset": {"anno_path": "a.json"}},
            "TrainDataset does not name a dataset class; expected for example",
        ),
        (
            {"TrainDataset": {"name": "COCODataset"}},
            "'COCODataset' is not a dataset class .* mean 'COCODataSet'?",
        ),
        ({"TrainDataset": Tagged("Resize")}, "TrainDataset: 'Resize' is not a dataset class"),
        (
            {"TrainDataset": Tagged("COCODataSet", {"anno": "x"})},
            "TrainDataset: COCODataSet: .* argument 'anno'",
        ),
        (
            {"TrainDataset": Tagged("COCODataSet", {"repeat": 0})},
            "COCODataSet: repeat must be at least 1, got 0",
        ),
    ],
    ids=str,
)
def test_datasets_that_cannot_be_made_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        create_dataset(config, "TrainDataset")
