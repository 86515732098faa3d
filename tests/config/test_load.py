"""Loading, merging, overriding, saving and finding configurations."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest

from ppdet_res2net.config import dump_config, load_config, resolve_config_path, save_config
from ppdet_res2net.config.yaml_io import read_yaml
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.registry import serializable_classes
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.zoo.catalog import get_model_spec

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RECIPES = sorted(file for file in CONFIGS.rglob("*.yml") if "_base_" not in file.parts)
MASK_VD = "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco"

# A checkout in PaddleDetection's layout: small, but with what its R-CNN files use.
PADDLEDETECTION = {
    "datasets/coco_instance.yml": """
        metric: COCO
        num_classes: 80
        TrainDataset:
          !COCODataSet
            image_dir: train2017
            anno_path: annotations/instances_train2017.json
            dataset_dir: dataset/coco
            data_fields: ['image', 'gt_bbox', 'gt_class', 'gt_poly', 'is_crowd']
        EvalDataset: {name: COCODataSet, image_dir: val2017, dataset_dir: dataset/coco}
        TestDataset: !ImageFolder {anno_path: annotations/instances_val2017.json}
        """,
    "runtime.yml": """
        use_gpu: true
        log_iter: 20
        save_dir: output
        snapshot_epoch: 1
        export: {post_process: True, nms: True, benchmark: False}
        """,
    "mask_rcnn/_base_/optimizer_1x.yml": """
        epoch: 12
        LearningRate:
          base_lr: 0.01
          schedulers:
          - !PiecewiseDecay {gamma: 0.1, milestones: [8, 11]}
          - !LinearWarmup {start_factor: 0.001, steps: 1000}
        OptimizerBuilder:
          optimizer: {momentum: 0.9, type: Momentum}
          regularizer: {factor: 0.0001, type: L2}
        """,
    "mask_rcnn/_base_/mask_rcnn_r50_fpn.yml": """
        architecture: MaskRCNN
        pretrain_weights: https://example.org/ResNet50.pdparams
        MaskRCNN: {backbone: ResNet, neck: FPN, rpn_head: RPNHead, bbox_head: BBoxHead, mask_head: MaskHead,
                   bbox_post_process: BBoxPostProcess, mask_post_process: MaskPostProcess}
        ResNet: {depth: 50, return_idx: [0, 1, 2, 3]}
        FPN: {out_channel: 256}
        RPNHead:
          anchor_generator: {aspect_ratios: [0.5, 1.0, 2.0], strides: [4, 8, 16, 32, 64]}
          train_proposal: {pre_nms_top_n: 2000, post_nms_top_n: 1000}
        BBoxHead: {head: TwoFCHead, roi_extractor: {resolution: 7}, bbox_assigner: BBoxAssigner}
        BBoxPostProcess: {decode: RCNNBox, nms: {name: MultiClassNMS, keep_top_k: 100}}
        """,
    "mask_rcnn/_base_/mask_fpn_reader.yml": """
        worker_num: 2
        TrainReader:
          sample_transforms:
          - Decode: {}
          - RandomFlip: {prob: 0.5}
          batch_transforms:
          - PadBatch: {pad_to_stride: 32}
          batch_size: 1
        """,
    "res2net/mask.yml": """
        _BASE_: [
          '../datasets/coco_instance.yml',
          '../runtime.yml',
          '../mask_rcnn/_base_/optimizer_1x.yml',
          '../mask_rcnn/_base_/mask_rcnn_r50_fpn.yml',
          '../mask_rcnn/_base_/mask_fpn_reader.yml',
        ]
        pretrain_weights: https://example.org/Res2Net50_vd.pdparams
        weights: output/mask/model_final
        MaskRCNN: {backbone: Res2Net}
        Res2Net: {depth: 50, width: 26, scales: 4, variant: d}
        epoch: 24
        LearningRate:
          schedulers:
          - !PiecewiseDecay {gamma: 0.1, milestones: [16, 22]}
          - !LinearWarmup {start_factor: 0.3333333333333333, steps: 500}
        TrainReader: {batch_size: 2}
        """,
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def plain(value: object) -> object:
    """Convert our tags, and the objects that ppdet's loader builds, to plain data that can be compared."""
    if isinstance(value, Tagged):
        return plain(vars(serializable_classes()[value.name](**value.kwargs)))
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if type(value).__name__ in serializable_classes():
        return plain(vars(value))
    return value


@pytest.fixture
def checkout(tmp_path):
    return write(tmp_path / "configs", PADDLEDETECTION)


def test_paddledetection_layout_gives_what_ppdet_itself_loads(checkout, monkeypatch):
    path = checkout / "res2net" / "mask.yml"
    config = load_config(path)
    from ppdet.core import workspace

    monkeypatch.setattr(workspace, "global_config", workspace.AttrDict())
    expected = dict(workspace.load_config(str(path)))
    assert expected.pop("filename") == config.name == "mask"
    assert plain(config) == plain(expected)
    assert config["MaskRCNN"]["backbone"] == "Res2Net" and config["MaskRCNN"]["neck"] == "FPN"
    assert config["LearningRate"]["schedulers"][0] == Tagged("PiecewiseDecay", {"gamma": 0.1, "milestones": [16, 22]})
    assert config["TrainReader"]["batch_size"] == 2 and len(config["TrainReader"]["sample_transforms"]) == 2


def test_later_bases_win_and_a_base_of_a_base_is_merged_before_it(tmp_path, monkeypatch):
    write(
        tmp_path,
        {
            "deep.yml": "epoch: 1\nlog_iter: 1\nworker_num: 1\nFPN: {out_channel: 1}",
            "first.yml": "_BASE_: [deep.yml]\nlog_iter: 2\nworker_num: 2\nFPN: {extra_stage: 2}",
            "second.yml": "worker_num: 3\nRes2Net: null",
            "top.yml": "_BASE_: [first.yml, second.yml]\nsave_dir: out\nRes2Net: {depth: 50}\nFPN: {use_c5: false}",
        },
    )
    config = load_config(tmp_path / "top.yml")
    assert config == {
        "epoch": 1,
        "log_iter": 2,
        "worker_num": 3,
        "FPN": {"out_channel": 1, "extra_stage": 2, "use_c5": False},
        "Res2Net": {"depth": 50},
        "save_dir": "out",
    }
    from ppdet.core import workspace

    monkeypatch.setattr(workspace, "global_config", workspace.AttrDict())
    assert {**config, "filename": "top"} == dict(workspace.load_config(str(tmp_path / "top.yml")))


def test_base_may_be_absolute_or_in_the_home_folder(tmp_path, monkeypatch):
    home = write(tmp_path / "home", {"a.yml": "epoch: 3"})
    write(tmp_path, {"b.yml": "log_iter: 7", "top.yml": f"_BASE_: ['~/a.yml', '{tmp_path / 'b.yml'}']"})
    monkeypatch.setenv("HOME", str(home))
    assert load_config(tmp_path / "top.yml") == {"epoch": 3, "log_iter": 7}


def test_mapping_over_tagged_part_changes_its_arguments(tmp_path):
    write(
        tmp_path,
        {
            "base.yml": "TrainDataset: !COCODataSet {dataset_dir: a, image_dir: b}",
            "top.yml": "_BASE_: [base.yml]\nTrainDataset: {dataset_dir: c}",
            "other.yml": "_BASE_: [base.yml]\nTrainDataset: {name: COCODataSet, dataset_dir: c}",
        },
    )
    top, other = load_config(tmp_path / "top.yml"), load_config(tmp_path / "other.yml")
    assert top["TrainDataset"] == Tagged("COCODataSet", {"dataset_dir": "c", "image_dir": "b"})
    assert other["TrainDataset"] == {"name": "COCODataSet", "dataset_dir": "c"}


def test_floats_are_those_of_yaml_1_2(tmp_path):
    write(tmp_path, {"a.yml": "LearningRate: {base_lr: 1e-3}\nema_decay: 5.E-1\nsave_dir: '1e-3'\nepoch: 12"})
    config = load_config(tmp_path / "a.yml")
    assert config == {"LearningRate": {"base_lr": 0.001}, "ema_decay": 0.5, "save_dir": "1e-3", "epoch": 12}
    assert type(config["LearningRate"]["base_lr"]) is float and type(config["epoch"]) is int
    write(tmp_path, {"b.yml": dump_config(config)})
    assert load_config(tmp_path / "b.yml") == config


def test_loading_changes_no_state_of_ppdet(tmp_path):
    write(tmp_path, {"a.yml": "FPN: {out_channel: 17}\nepoch: 3"})
    load_config(tmp_path / "a.yml")
    from ppdet.core.workspace import global_config

    before = copy.copy({key: dict(value) for key, value in global_config.items() if isinstance(value, dict)})
    load_config(tmp_path / "a.yml", ["log_iter=3", "FPN.extra_stage=5"])
    assert before == {key: dict(value) for key, value in global_config.items() if isinstance(value, dict)}


def test_loading_still_works_after_a_dataset_took_the_place_of_its_module(tmp_path, monkeypatch):
    write(tmp_path, {"a.yml": "TrainDataset: {name: COCODataSet, dataset_dir: x}"})
    config = load_config(tmp_path / "a.yml")
    from ppdet.core.workspace import global_config

    monkeypatch.setitem(global_config, "TrainDataset", object())
    assert load_config(tmp_path / "a.yml") == config


def test_importing_imports_no_framework():
    code = "import sys, ppdet_res2net.cli.config; print({'paddle', 'ppdet'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda file: file.stem)
def test_recipe_loads_and_survives_saving(recipe, tmp_path):
    config = load_config(recipe)
    assert config.name == recipe.stem and config.path == recipe
    assert config["architecture"] in config or config["architecture"] == "Res2NetClassifier"
    if recipe.stem.startswith("mmdet_"):  # fine-tunes and evaluates a published detector
        assert get_model_spec(config["weights"]).recipe == recipe.stem
        assert config["pretrain_weights"] == config["weights"]
    else:
        assert config["weights"] == f"output/{recipe.stem}/model_final" or "eval" in recipe.stem
    save_config(config, tmp_path / "new" / "saved.yml")
    assert load_config(tmp_path / "new" / "saved.yml") == config
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["saved.yml"]


def test_recipes_keep_within_configs():
    files = list(CONFIGS.rglob("*.yml"))
    assert len(files) > len(RECIPES)
    for file in files:
        for base in read_yaml(file).get("_BASE_", []):
            assert CONFIGS in (file.parent / base).resolve().parents


def test_published_recipes_have_the_published_settings():
    faster = load_config("faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco")
    mask = load_config(MASK_VD)
    for config, epochs, milestones, warmup in (
        (faster, 12, [8, 11], {"start_factor": 0.1, "steps": 1000}),
        (mask, 24, [16, 22], {"start_factor": 0.3333333333333333, "steps": 500}),
    ):
        assert config["epoch"] == epochs and config["LearningRate"]["base_lr"] == 0.01
        assert config["LearningRate"]["schedulers"] == [
            Tagged("PiecewiseDecay", {"gamma": 0.1, "milestones": milestones}),
            Tagged("LinearWarmup", warmup),
        ]
        assert config["TrainReader"]["batch_size"] == 2 and config["Res2Net"]["dialect"] == "paddle"
    assert faster["Res2Net"]["variant"] == "b" and mask["Res2Net"]["variant"] == "d"
    assert "MaskRCNN" not in faster and "FasterRCNN" not in mask
    published = load_config(f"{MASK_VD}_ppdet_dialect_eval")
    assert published["Res2Net"] == {**mask["Res2Net"], "dialect": "ppdet"}
    assert published["weights"].endswith(f"/models/{MASK_VD}.pdparams") and published["pretrain_weights"] is None


def test_overrides(checkout):
    before = load_config(checkout / "res2net" / "mask.yml")
    unchanged = copy.deepcopy(before)
    config = load_config(
        checkout / "res2net" / "mask.yml",
        [
            "TrainReader.batch_size=1",
            " weights=output/a=b.pdparams ",
            "LearningRate.base_lr=1e-3",
            "LearningRate.schedulers.0.milestones=[8,11]",
            "LearningRate.schedulers.1=!ExpWarmup {steps: 10}",
            "TrainDataset.dataset_dir=/data/mine",
            "TrainReader.sample_transforms.1.RandomFlip.prob=0.25",
            "FPN={extra_stage: 0}",
            "RPNHead.test_proposal.nms_thresh=0.6",
            "norm_type=sync_bn",
            "pretrain_weights=",
        ],
    )
    assert config["TrainReader"]["batch_size"] == 1 and config["weights"] == "output/a=b.pdparams"
    assert config["LearningRate"]["base_lr"] == 0.001
    assert config["LearningRate"]["schedulers"] == [
        Tagged("PiecewiseDecay", {"gamma": 0.1, "milestones": [8, 11]}),
        Tagged("ExpWarmup", {"steps": 10}),
    ]
    assert config["TrainDataset"].kwargs["dataset_dir"] == "/data/mine"
    assert config["TrainReader"]["sample_transforms"] == [{"Decode": {}}, {"RandomFlip": {"prob": 0.25}}]
    assert config["FPN"] == {"out_channel": 256, "extra_stage": 0}
    assert config["RPNHead"]["test_proposal"] == {"nms_thresh": 0.6}
    assert config["norm_type"] == "sync_bn" and config["pretrain_weights"] is None
    assert before == unchanged


def test_override_of_a_shared_anchor_changes_one_place_only(tmp_path):
    write(
        tmp_path,
        {
            "a.yml": "EvalReader: {sample_transforms: &t [{Decode: {}}, {RandomFlip: {prob: 0.5}}]}\n"
            "TestReader: {sample_transforms: *t}"
        },
    )
    config = load_config(tmp_path / "a.yml", ["TestReader.sample_transforms.1.RandomFlip.prob=1"])
    assert config["EvalReader"]["sample_transforms"][1] == {"RandomFlip": {"prob": 0.5}}
    assert config["TestReader"]["sample_transforms"][1] == {"RandomFlip": {"prob": 1}}


def test_config_can_be_copied():
    config = load_config(MASK_VD)
    twin = copy.deepcopy(config)
    twin["TrainDataset"].kwargs["dataset_dir"] = "elsewhere"
    assert twin.name == config.name and config["TrainDataset"].kwargs["dataset_dir"] == "dataset/coco"


def test_saving_replaces_the_file_as_a_whole(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text("x" * 10000)
    save_config({"epoch": 3, "use_gpu": True}, path)
    assert path.read_text() == "epoch: 3\nuse_gpu: true\n"


def test_saving_where_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"Cannot write the configuration to .*file/a\.yml: .*Choose a folder that"):
        save_config({"epoch": 3}, tmp_path / "file" / "a.yml")


def test_shipped_recipes_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = CONFIGS / "res2net" / f"{MASK_VD}.yml"
    for given in (MASK_VD, f"{MASK_VD}.yml", f"configs/res2net/{MASK_VD}.yml"):
        assert resolve_config_path(given) == expected
    (tmp_path / f"{MASK_VD}.yml").write_text("epoch: 1")
    assert resolve_config_path(f"{MASK_VD}.yml") == Path(f"{MASK_VD}.yml")  # as given comes first


def test_configs_inside_an_installed_package_are_found(tmp_path, monkeypatch):
    import ppdet_res2net

    package = write(
        tmp_path / "site",
        {"ppdet_res2net/__init__.py": "", "ppdet_res2net/configs/res2net/x.yml": "epoch: 1"},
    )
    monkeypatch.setattr(ppdet_res2net, "__file__", str(package / "ppdet_res2net" / "__init__.py"))
    expected = package / "ppdet_res2net" / "configs" / "res2net" / "x.yml"
    assert resolve_config_path("x") == resolve_config_path("configs/res2net/x.yml") == expected


def test_unknown_recipe_lists_close_names():
    with pytest.raises(ConfigError) as error:
        resolve_config_path("mask_rcnn_res2net50_vd_2x.yml")
    assert str(error.value).startswith(
        "There is no configuration file mask_rcnn_res2net50_vd_2x.yml, and no recipe of that name comes with "
        f"this package. Recipes to choose from: {MASK_VD}"
    )
    with pytest.raises(ConfigError, match="is a folder; expected a YAML file in it"):
        resolve_config_path(CONFIGS)


def test_command_prints_a_configuration_that_loads(tmp_path, capsys):
    from ppdet_res2net.cli.config import main

    assert main(["-c", MASK_VD, "-o", "epoch=3", "TrainReader.batch_size=1"]) == 0
    (tmp_path / "printed.yml").write_text(capsys.readouterr().out)
    assert load_config(tmp_path / "printed.yml") == load_config(MASK_VD, ["epoch=3", "TrainReader.batch_size=1"])


def test_tagged_reads_both_spellings():
    tagged = Tagged("COCODataSet", {"dataset_dir": "x"})
    assert Tagged.from_value(tagged) is tagged
    assert Tagged.from_value({"name": "COCODataSet", "dataset_dir": "x"}) == tagged
    assert Tagged.from_value({"dataset_dir": "x"}) is None and Tagged.from_value(3) is None
    assert "Callable" not in serializable_classes() and "PiecewiseDecay" in serializable_classes()


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    def deny(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.yml").write_text("epoch: 1")
    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(
        ConfigError, match=r"configuration '.*a\.yml' cannot be read: Permission denied\. Check its path"
    ):
        load_config(tmp_path / "a.yml")
