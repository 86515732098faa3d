"""The detectors that PaddleDetection published, by zoo name, url and file, on a machine without any dataset.

The weights are synthetic, with the published names and shapes. A server on this machine stands in for the publisher's.
"""

from __future__ import annotations

import dataclasses
import functools
import http.server
import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("paddle")
if importlib.util.find_spec("ppdet") is None:
    pytest.skip("paddledet is not installed", allow_module_level=True)

from ppdet_res2net import get_model_spec, list_models  # noqa: E402
from ppdet_res2net.cli import main as cli  # noqa: E402
from ppdet_res2net.config import load_config  # noqa: E402
from ppdet_res2net.datasets.demo_scenes import draw_scene  # noqa: E402
from ppdet_res2net.detection.model import create_predictor, create_trained_detector  # noqa: E402
from ppdet_res2net.errors import ConfigError, WeightsError  # noqa: E402
from ppdet_res2net.modeling.initial_values import without_initial_values  # noqa: E402
from ppdet_res2net.ppdet_modules.registry import create_from_config  # noqa: E402
from ppdet_res2net.zoo import catalog  # noqa: E402
from ppdet_res2net.zoo.coco_categories import COCO_CATEGORIES  # noqa: E402
from ppdet_res2net.zoo.convert import convert_weights  # noqa: E402
from ppdet_res2net.zoo.load import save_weights_file  # noqa: E402
from tests.goldens.synthetic import make_tensor  # noqa: E402
from tests.helpers.datasets import shared_data  # noqa: E402
from tests.helpers.servers import serving  # noqa: E402

RECIPES = {
    "ppdet/faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco": "faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco",
    "ppdet/mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco": "mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco",
    "ppdet/mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco": "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco_ppdet_dialect_eval",
}
FASTER = next(iter(RECIPES))
# The weights find only these labels; COCO's ids are 1, 13 and 90: first, after a gap, last.
FOUND_LABELS = [0, 11, 79]
FOUND_IDS = {1, 13, 90}
# The recipes' 800 pixels, 1000 proposals and 100 masks would take most of the time and make no difference here. The low
# threshold of suppression leaves few boxes of each label, so that all labels are among the best.
QUICKLY = [
    "BBoxPostProcess.nms.nms_threshold=0.05",
    "BBoxPostProcess.nms.keep_top_k=24",
    "RPNHead.test_proposal.post_nms_top_n=100",
    "TestReader.sample_transforms=[{Decode: {}}, {Resize: {interp: 2, target_size: [64, 128], keep_ratio: true}}, "
    "{NormalizeImage: {is_scale: true, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}, {Permute: {}}]",
    "use_gpu=false",
]


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch) -> Path:
    """An empty working folder without a dataset, and an empty cache."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RES2NET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("RES2NET_OFFLINE", raising=False)
    return folder


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), draw_scene(np.random.default_rng(0), 160, with_objects=True, with_crowd=False)[0])
    return path


@pytest.fixture
def publisher(tmp_path, monkeypatch):
    """A server that delivers the zoo's detectors. It has the folder that it serves, and a list of the requests."""
    folder = tmp_path / "published"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            self.server.requests.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    server.folder, server.requests = folder, []
    specs = {name: get_model_spec(name) for name in RECIPES}
    moved = {
        name: dataclasses.replace(spec, urls=(f"http://127.0.0.1:{server.server_port}/{spec.file_names[0]}",))
        for name, spec in specs.items()
    }
    monkeypatch.setattr(catalog, "_specs", lambda: moved)
    with serving(server):
        yield server


def save_synthetic(recipe: str, path: Path, *overrides: str) -> Path:
    """Write weights for a recipe; its detector finds only ``FOUND_LABELS``."""
    config = load_config(recipe, ["pretrain_weights=null", *overrides])
    with without_initial_values():
        model = create_from_config(config, config["architecture"])
    tensors = {key: make_tensor(key, tuple(tensor.shape)) for key, tensor in model.state_dict().items()}
    for name in ("bbox_head.bbox_score.weight", "bbox_head.bbox_delta.weight", "rpn_head.rpn_rois_delta.weight"):
        tensors[name] *= np.float32(0.1)  # the bias decides, and boxes are like their anchors
    tensors["bbox_head.bbox_score.bias"][:] = 0
    tensors["bbox_head.bbox_score.bias"][FOUND_LABELS] = 6
    save_weights_file(path, tensors)
    return path


def run(command: str, recipe: str, weights: object, *arguments: str) -> int:
    return cli.main([command, "-c", recipe, "-o", f"weights={weights}", *QUICKLY, *arguments])


def test_all_published_detectors_are_here():
    assert set(RECIPES) == {name for name in list_models("ppdet") if get_model_spec(name).task == "detector"}


@pytest.mark.parametrize("name", RECIPES)
def test_from_the_server_to_pictures(name, publisher, photo, tmp_path):
    recipe, spec = RECIPES[name], catalog.get_model_spec(name)
    file = save_synthetic(recipe, publisher.folder / spec.file_names[0])
    has_masks = "mask" in name

    # By zoo name: downloaded.
    out = tmp_path / "pictures"
    arguments = ("--infer_img", str(photo), "--output_dir", str(out), "--save_results", "--draw_threshold", "0.2")
    assert run("infer", recipe, name, *arguments) == 0
    assert publisher.requests == [f"/{file.name}"]
    assert (cv2.imread(str(out / photo.name)) != cv2.imread(str(photo))).any()
    boxes = json.loads((out / "bbox.json").read_text())
    assert {box["category_id"] for box in boxes} == FOUND_IDS
    assert (out / "mask.json").is_file() == has_masks
    if has_masks:
        masks = json.loads((out / "mask.json").read_text())
        assert [mask["category_id"] for mask in masks] == [box["category_id"] for box in boxes]

    # By url: from the cache. The exported folder carries the classes.
    arguments = ("--output_dir", str(tmp_path / "exported"), "--verify", "--verify_images", str(photo))
    assert run("export", recipe, spec.urls[0], *arguments) == 0
    assert publisher.requests == [f"/{file.name}"]
    described = yaml.safe_load((tmp_path / "exported" / recipe / "infer_cfg.yml").read_text())
    assert described["label_list"] == list(COCO_CATEGORIES.values())
    assert described["category_ids"] == list(COCO_CATEGORIES)

    # By file, in Python; the ending may be left off.
    config = load_config(recipe, [f"weights={file.with_suffix('')}", *QUICKLY])
    detector, classes = create_trained_detector(config)
    assert dict(zip(classes.category_ids, classes.names)) == dict(COCO_CATEGORIES)
    predictor = create_predictor(detector, config, classes, "TestReader")
    found = predictor(photo).to_coco(0)
    assert [(one["category_id"], one["bbox"]) for one in found] == [(box["category_id"], box["bbox"]) for box in boxes]


# The choice of the classes is tested with a small detector that has a published name.
TINY = ["Res2Net.dialect=ppdet", "Res2Net.depth=[1, 1, 1, 1]", "num_classes=80"]


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A file with the name of a published one."""
    return save_synthetic("demo_mask_rcnn", tmp_path / get_model_spec(FASTER).file_names[0], *TINY)


def tiny_config(weights: object, *overrides: str):
    return load_config("demo_mask_rcnn", [*TINY, f"weights={weights}", "use_gpu=false", *overrides])


def write_categories(path: Path, names: list[str]) -> Path:
    categories = [{"id": 100 + i, "name": name} for i, name in enumerate(names)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    return path


def test_another_number_of_classes_in_the_recipe_is_corrected(tiny, caplog):
    config = tiny_config(tiny, "num_classes=3")
    detector, classes = create_trained_detector(config)
    assert len(classes.names) == config["num_classes"] == detector.bbox_head.num_classes == 80
    assert f"num_classes is set to 80, the number of classes of {tiny}; the configuration says 3" in caplog.text


def test_a_renamed_file_needs_its_class_names(tiny, tmp_path):
    renamed = tiny.rename(tmp_path / "renamed.pdparams")
    with pytest.raises(ConfigError) as caught:
        create_trained_detector(tiny_config(renamed))
    message = str(caught.value)
    assert f"The names of the 80 classes of '{renamed}' are unknown" in message
    assert "pass -o TestDataset.anno_path=FILE" in message
    assert "if you pass its zoo name ('ppdet-res2net models')" in message
    file = write_categories(tmp_path / "own.json", [f"thing {i}" for i in range(80)])
    _, classes = create_trained_detector(
        tiny_config(renamed, "TestDataset.dataset_dir=", f"TestDataset.anno_path={file}")
    )
    assert classes.names[79] == "thing 79" and classes.category_ids[79] == 179


def test_a_dataset_on_disk_counts_first(tiny, tmp_path):
    write_categories(tmp_path / "data" / "all.json", [f"thing {i}" for i in range(80)])
    place = [f"TestDataset.dataset_dir={tmp_path}/data", "TestDataset.anno_path=all.json"]
    assert create_trained_detector(tiny_config(tiny, *place))[1].names[0] == "thing 0"
    write_categories(tmp_path / "data" / "all.json", ["pear", "apple"])
    with pytest.raises(
        ConfigError, match="detects 80 classes, but TestDataset names 2: '.*all.json'. Pass -o TestDataset"
    ):
        create_trained_detector(tiny_config(tiny, *place))


def test_a_damaged_annotation_file_is_not_passed_over(tiny, tmp_path):
    (tmp_path / "all.json").write_text('{"categories": [')
    with pytest.raises(ValueError, match="all.json' is not valid JSON"):
        create_trained_detector(
            tiny_config(tiny, f"TestDataset.dataset_dir={tmp_path}", "TestDataset.anno_path=all.json")
        )


def test_a_converted_file_remembers_its_model(publisher, tmp_path):
    recipe = RECIPES[FASTER]
    file = save_synthetic(recipe, publisher.folder / catalog.get_model_spec(FASTER).file_names[0])
    convert_weights(FASTER, file, tmp_path / "mine.safetensors")
    config = load_config(recipe, [f"weights={tmp_path}/mine.safetensors", *QUICKLY])
    assert create_trained_detector(config)[1].names == tuple(COCO_CATEGORIES.values())


def test_a_published_classifier_is_no_detector(tmp_path):
    save_weights_file(tmp_path / "fc.pdparams", {"fc.weight": np.zeros((2048, 10), np.float32)})
    with pytest.raises(WeightsError, match="holds no detector; it seems to be .*train one first"):
        create_trained_detector(tiny_config(tmp_path / "fc.pdparams"))


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="unknown model 'ppdet/faster_rcnn_res2net50.*Did you mean"):
        create_trained_detector(tiny_config(f"{FASTER[:-5]}_coko"))


def test_the_categories_are_paddledets():
    from ppdet.data.source.category import _coco17_category

    id_of_label, name_of_id = _coco17_category()
    assert dict(COCO_CATEGORIES) == name_of_id
    assert list(COCO_CATEGORIES) == [id_of_label[label] for label in sorted(id_of_label)]


def test_the_categories_are_cocos():
    content = json.loads((shared_data("coco_tiny") / "annotations" / "instances_val2017.json").read_text())
    assert list(COCO_CATEGORIES.items()) == [(one["id"], one["name"]) for one in content["categories"]]
