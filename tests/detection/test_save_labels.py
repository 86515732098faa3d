"""infer --save_labels with a detector that has not been exported: check-dataset and convert-dataset accept the labels."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.data.annotations import read_annotations
from tests.helpers.training_runs import image_files, overrides_for

SCORE = 0.2  # the detector, which has not learned anything, is not surer


@pytest.fixture(scope="module")
def predicted(detecting, demo_data, tmp_path_factory):
    """Run ``infer --save_labels`` on the demo's photos, once for each kind of labels; returns the folder of the labels."""

    @functools.cache
    def run(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        labels = folder / "labels"
        common = ["-c", "demo_mask_rcnn", "--infer_dir", f"{demo_data}/val2017", "--output_dir", f"{folder}/out"]
        options = [f"--draw_threshold={SCORE}", "--no_pictures", "--save_results", "--save_labels", name]
        options += ["--labels_dir", f"{labels}"] if name == "labelme" else []
        settings = ["-o", *overrides_for(demo_data, folder), f"weights={detecting}"]
        assert main(["infer", *common, *options, *settings]) == 0
        return labels if name == "labelme" else folder / "out" / "labels"

    return run


def boxes_of(annotations: Path) -> dict[str, list[list[float]]]:
    """Return the boxes of each image, x0, y0, x1, y1, by its name."""
    file = read_annotations(annotations)
    found: dict[str, list[list[float]]] = {image.file_name: [] for image in file.images}
    for one in file.annotations:
        x, y, width, height = one.box_xywh
        found[one.image.file_name].append([x, y, x + width, y + height])
    return found


def detected_boxes(results: Path) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    for one in json.loads(results.read_text()):
        x, y, width, height = one["bbox"]
        boxes = found.setdefault(one["file_name"], [])
        if one["score"] >= SCORE:
            boxes.append([x, y, x + width, y + height])
    return found


def assert_close(one: dict, other: dict, tolerance_px: float) -> None:
    assert sum(map(len, one.values())) > 0
    for name in one | other:
        np.testing.assert_allclose(one.get(name, []), other.get(name, []), atol=tolerance_px)


def test_coco_is_accepted_as_it_is(predicted, demo_data, capsys):
    labels = predicted("coco")
    assert_close(boxes_of(labels / "annotations.json"), detected_boxes(labels.parent / "bbox.json"), 0.002)
    words = ["--annotations", f"{labels}/annotations.json", "--images", f"{demo_data}/val2017"]
    assert main(["check-dataset", *words]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", ["labelme", "yolo"])
def test_others_are_accepted_after_conversion(predicted, demo_data, tmp_path, capsys, name):
    labels, images, out = predicted(name), f"{demo_data}/val2017", tmp_path / "converted.json"
    where = {
        "labelme": ["--annotations", f"{labels}", "--images", images],
        "yolo": ["--names", f"{labels}/data.yaml", "--labels", f"{labels}/labels", "--images", images],
    }
    assert main(["convert-dataset", name, *where[name], "--out", f"{out}"]) == 0, capsys.readouterr()
    assert main(["check-dataset", "--annotations", f"{out}", "--images", images]) == 0, capsys.readouterr().out
    outlines = json.loads((predicted("coco") / "annotations.json").read_text())
    assert_close(boxes_of(out), boxes_of_outlines(outlines), 0.01)


def boxes_of_outlines(content: dict) -> dict[str, list[list[float]]]:
    """Return the boxes around the outlines of each image, or the boxes of objects without one."""
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found: dict[str, list[list[float]]] = {name: [] for name in names.values()}
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        points = np.array(sum(one["segmentation"], []) or [x, y, x + width, y + height]).reshape(-1, 2)
        found[names[one["image_id"]]].append([*points.min(axis=0), *points.max(axis=0)])
    return found


def test_labels_have_no_flag_for_classifiers(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["infer", "--model", "timm/res2net50d", "--infer_img", "x.jpg", "--save_labels", "coco"])
    assert "--save_labels is only for detectors" in capsys.readouterr().err


def test_files_are_those_of_the_images(predicted, demo_data):
    labels = predicted("labelme")
    assert {path.stem for path in labels.iterdir()} == {path.stem for path in image_files(demo_data)}
