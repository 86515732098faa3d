"""infer --save_labels: detections as labels for labelling tools, and what it does not replace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from res2net_runtime import jobs
from res2net_runtime.cli import main
from res2net_runtime.image_lists import ImageFile
from res2net_runtime.label_files import open_labels
from res2net_runtime.labels import LabelledImage, LabelOutput
from res2net_runtime.results import Detections
from tests.helpers.runtime_toys import BRIGHT, DARK, picture, toy_model_dir

NAMES, IDS = ("cat", "dog"), (17, 18)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return toy_model_dir(tmp_path_factory)


@pytest.fixture
def photos(tmp_path):
    for name, value in (("b.png", BRIGHT), ("dark.png", DARK), ("sub/a.png", BRIGHT)):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / name), picture(40, 60, value))
    return tmp_path / "photos"


def run(model_dir, photos, output_dir, *arguments) -> int:
    words = [
        "--model_dir",
        model_dir,
        "--image_dir",
        photos,
        "--output_dir",
        output_dir,
        "--recursive",
        "--no_pictures",
    ]
    return main([*map(str, words), "--run_mode", "paddle", "--cpu_threads", "1", *map(str, arguments)])


def write(folder: Path, name: str, detections: Detections, image: str = "photo.jpg", **options):
    """Write the labels of one image, and return the writer."""
    writer = open_labels(LabelOutput(name, folder, **options), NAMES, IDS, "")
    file = ImageFile(folder.parent / "photos" / image, image, 7)
    writer.prepare([file])
    with writer:
        writer.add(LabelledImage.of(file, detections))
    return writer


def detections_of(masks: list[np.ndarray] | None, boxes, hw=(40, 60)) -> Detections:
    """Return detections with these boxes; each mask is the probabilities inside its box, nearest pixel by pixel."""
    count = len(boxes)
    probabilities = None
    if masks is not None:
        resized = [cv2.resize(one.astype(np.float32), (28, 28), interpolation=cv2.INTER_AREA) for one in masks]
        probabilities = np.stack(resized)
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.6, count, dtype=np.float32),
        np.arange(count, dtype=np.int32) % 2,
        probabilities,
        hw,
        NAMES,
        IDS,
    )


def two_parts() -> np.ndarray:
    mask = np.zeros((28, 28), np.float32)
    mask[4:24, 2:10] = mask[4:24, 18:26] = 1
    return mask


def ring() -> np.ndarray:
    mask = np.zeros((28, 28), np.float32)
    mask[4:24, 4:24] = 1
    mask[10:18, 10:18] = 0
    return mask


def bitmap_of(polygons, hw) -> np.ndarray:
    rles = coco_mask.frPyObjects([np.asarray(one, float).reshape(-1).tolist() for one in polygons], *hw)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


def test_labelme_has_one_file_per_image_that_leads_to_the_image(model_dir, photos, tmp_path, capsys):
    assert run(model_dir, photos, tmp_path / "out", "--save_labels", "labelme") == 0
    assert f"Labels of 3 images are in '{tmp_path}/out/labels'." in capsys.readouterr().out
    for name, shapes in (("b", 1), ("dark", 0), ("sub/a", 1)):
        file = tmp_path / "out" / "labels" / f"{name}.json"
        content = json.loads(file.read_text())
        assert len(content["shapes"]) == shapes
        assert (content["imageHeight"], content["imageWidth"], content["imageData"]) == (40, 60, None)
        assert os.path.samefile(file.parent / content["imagePath"], photos / f"{name}.png")
        assert not os.path.isabs(content["imagePath"]) and "\\" not in content["imagePath"]
    (shape,) = content["shapes"]
    assert shape["label"] == "dog" and shape["shape_type"] == "polygon" and shape["group_id"] is None
    assert 0.5 < shape["score"] <= 1
    assert np.abs(np.ptp(shape["points"], axis=0) - (60, 40)).max() <= 1


def test_coco_is_one_file_with_all_images_and_categories(model_dir, photos, tmp_path):
    assert run(model_dir, photos, tmp_path / "out", "--save_labels", "coco", "--labels_dir", tmp_path / "mine") == 0
    content = json.loads((tmp_path / "mine" / "annotations.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["b.png", "dark.png", "sub/a.png"]
    assert content["categories"] == [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    by_image = {one["image_id"]: one for one in content["annotations"]}
    assert len(content["annotations"]) == 2 and {one["category_id"] for one in by_image.values()} == {18}
    one = content["annotations"][0]
    assert one["bbox"] == [0, 0, 60, 40] and 2350 < one["area"] <= 2400 and one["iscrowd"] == 0
    assert bitmap_of(one["segmentation"], (40, 60)).mean() > 0.95


def test_yolo_has_label_files_and_names(model_dir, photos, tmp_path):
    assert run(model_dir, photos, tmp_path / "out", "--save_labels", "yolo") == 0
    labels = tmp_path / "out" / "labels"
    assert (labels / "data.yaml").read_text() == "train: ../../photos\nnames:\n  0: cat\n  1: dog\n"
    assert (labels / "classes.txt").read_text() == "cat\ndog\n"
    assert (labels / "labels" / "dark.txt").read_text() == ""
    number, *values = (labels / "labels" / "sub" / "a.txt").read_text().split()
    assert number == "1" and len(values) >= 8 and all(0 <= float(value) <= 1 for value in values)


def test_boxes_are_rectangles_of_detectors_without_masks(tmp_path):
    found = detections_of(None, [[3.25, 4.5, 30, 20], [-5, 0, 70, 50]])
    write(tmp_path / "a", "labelme", found)
    shapes = json.loads((tmp_path / "a" / "photo.json").read_text())["shapes"]
    assert [shape["shape_type"] for shape in shapes] == ["rectangle"] * 2
    assert [shape["points"] for shape in shapes] == [[[3.25, 4.5], [30, 20]], [[0, 0], [60, 40]]]
    write(tmp_path / "b", "yolo", found)
    rows = (tmp_path / "b" / "labels" / "photo.txt").read_text().splitlines()
    assert rows == ["0 0.277083 0.306250 0.445833 0.387500", "1 0.500000 0.500000 1.000000 1.000000"]
    write(tmp_path / "c", "coco", found)
    annotations = json.loads((tmp_path / "c" / "annotations.json").read_text())["annotations"]
    assert [(one["bbox"], one["segmentation"]) for one in annotations] == [
        ([3.25, 4.5, 26.75, 15.5], []), ([0, 0, 60, 40], []),
    ]  # fmt: skip


def test_the_parts_of_a_mask_are_a_group(tmp_path):
    found = detections_of([two_parts(), two_parts()], [[0, 0, 56, 38], [10, 0, 60, 30]])
    write(tmp_path / "a", "labelme", found)
    shapes = json.loads((tmp_path / "a" / "photo.json").read_text())["shapes"]
    assert [(shape["label"], shape["group_id"]) for shape in shapes] == [("cat", 1)] * 2 + [("dog", 2)] * 2
    drawn = bitmap_of([shape["points"] for shape in shapes[:2]], (40, 60))
    assert iou(drawn, found.bitmaps()[0]) > 0.9
    write(tmp_path / "b", "coco", found)
    one = json.loads((tmp_path / "b" / "annotations.json").read_text())["annotations"][0]
    assert len(one["segmentation"]) == 2 and iou(bitmap_of(one["segmentation"], (40, 60)), found.bitmaps()[0]) > 0.9
    write(tmp_path / "c", "yolo", found)
    values = (tmp_path / "c" / "labels" / "photo.txt").read_text().splitlines()[0].split()[1:]
    joined = np.array(values, float).reshape(-1, 2) * (60, 40)
    assert iou(bitmap_of([joined], (40, 60)), found.bitmaps()[0]) > 0.9


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("name", ["coco", "labelme", "yolo"])
def test_holes_are_filled_and_counted(tmp_path, name):
    found = detections_of([ring()], [[0, 0, 56, 38]])
    writer = write(tmp_path / "a", name, found)
    assert writer.notes() == ["1 mask with holes, which are filled: polygons have none"]


def test_a_mask_without_a_pixel_is_written_as_its_box(tmp_path):
    found = detections_of([np.zeros((28, 28))], [[5, 5, 20, 25]])
    writer = write(tmp_path / "a", "labelme", found)
    (shape,) = json.loads((tmp_path / "a" / "photo.json").read_text())["shapes"]
    assert shape["shape_type"] == "rectangle" and shape["points"] == [[5, 5], [20, 25]]
    assert writer.notes() == ["1 mask without a pixel, of which the box is written"]
    write(tmp_path / "b", "yolo", found)
    assert len((tmp_path / "b" / "labels" / "photo.txt").read_text().split()) == 9
    write(tmp_path / "c", "coco", found)
    (one,) = json.loads((tmp_path / "c" / "annotations.json").read_text())["annotations"]
    assert one["segmentation"] == [] and one["area"] == 300


def test_a_box_without_area_is_no_label(tmp_path):
    write(tmp_path / "a", "coco", detections_of(None, [[5, 5, 5, 25], [70, 5, 80, 25]]))
    assert json.loads((tmp_path / "a" / "annotations.json").read_text())["annotations"] == []


def test_outlines_have_few_points(tmp_path):
    y, x = np.mgrid[:28, :28] - 13.5
    found = detections_of([(x**2 + y**2 < 150).astype(np.float32)], [[50, 50, 850, 850]], (900, 900))
    write(tmp_path / "a", "labelme", found)
    (shape,) = json.loads((tmp_path / "a" / "photo.json").read_text())["shapes"]
    assert len(shape["points"]) < 150
    assert iou(bitmap_of([shape["points"]], (900, 900)), found.bitmaps()[0]) > 0.99


@pytest.mark.parametrize(
    ("name", "file"), [("coco", "annotations.json"), ("labelme", "b.json"), ("yolo", "labels/b.txt")]
)
def test_corrected_labels_are_not_replaced(model_dir, photos, tmp_path, capsys, name, file):
    path = tmp_path / "mine" / file
    path.parent.mkdir(parents=True)
    path.write_text("corrected by hand")
    words = ["--save_labels", name, "--labels_dir", tmp_path / "mine", "--save_jsonl"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_text("earlier\n")
    assert run(model_dir, photos, tmp_path / "out", *words) == 1
    error = capsys.readouterr().err
    assert f"The label file '{path}' is there already. Choose another --labels_dir, or replace" in error
    assert path.read_text() == "corrected by hand"
    assert (tmp_path / "out" / "results.jsonl").read_text() == "earlier\n"
    assert run(model_dir, photos, tmp_path / "out", *words, "--overwrite_labels") == 0
    assert path.read_text() != "corrected by hand"


def test_names_of_other_classes_are_not_replaced(model_dir, photos, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.yaml").write_text("names: [bird]\n")
    words = ["--save_labels", "yolo", "--labels_dir", tmp_path / "mine"]
    assert run(model_dir, photos, tmp_path / "out", *words) == 1
    assert f"'{tmp_path}/mine/data.yaml' is there already, and has other content." in capsys.readouterr().err
    assert (tmp_path / "mine" / "data.yaml").read_text() == "names: [bird]\n"


def test_labels_may_lie_beside_the_images(model_dir, photos, tmp_path):
    assert run(model_dir, photos, tmp_path / "out", "--save_labels", "labelme", "--labels_dir", photos) == 0
    assert json.loads((photos / "sub" / "a.json").read_text())["imagePath"] == "a.png"


def test_the_path_of_the_image_is_right_where_the_folder_is_a_link(model_dir, photos, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "mine").symlink_to(tmp_path / "far" / "away")
    assert run(model_dir, photos, tmp_path / "out", "--save_labels", "labelme", "--labels_dir", tmp_path / "mine") == 0
    content = json.loads((tmp_path / "mine" / "b.json").read_text())
    assert os.path.samefile(os.path.join(tmp_path / "mine", content["imagePath"]), photos / "b.png")


def test_two_images_of_one_stem_are_refused(model_dir, photos, tmp_path, capsys):
    cv2.imwrite(str(photos / "b.jpg"), picture(40, 60))
    assert run(model_dir, photos, tmp_path / "out", "--save_labels", "labelme") == 1
    assert "The images 'b.jpg' and 'b.png' would share the label file '" in capsys.readouterr().err
    assert run(model_dir, photos, tmp_path / "out", "--save_labels", "coco") == 0


def test_a_name_that_is_not_utf8_fails_alone(model_dir, photos, tmp_path, capsys):
    (photos / os.fsdecode(b"\xd6.png")).write_bytes((photos / "b.png").read_bytes())
    assert run(model_dir, photos, tmp_path / "out", "--save_labels", "coco") == 1
    assert "is not UTF-8, so no label file can name it. Rename the image." in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "labels" / "annotations.json").read_text())["images"]) == 3


@pytest.mark.parametrize("name", ["coco", "labelme", "yolo"])
def test_an_interrupted_run_goes_on(model_dir, photos, tmp_path, monkeypatch, name):
    words = ["--save_labels", name, "--skip_done"]
    original = jobs._note

    def stop_at_the_second(summary, *args, **options):
        if summary.done == 1:
            raise KeyboardInterrupt
        original(summary, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_note", stop_at_the_second)
        assert run(model_dir, photos, tmp_path / "out", *words) == 130
    more = ["--overwrite_labels"] if name == "coco" else []
    assert run(model_dir, photos, tmp_path / "out", *words, *more) == 0
    assert run(model_dir, photos, tmp_path / "whole", "--save_labels", name) == 0
    files = [path for path in (tmp_path / "whole" / "labels").rglob("*") if path.is_file()]
    assert files
    for file in files:
        other = tmp_path / "out" / "labels" / file.relative_to(tmp_path / "whole" / "labels")
        assert other.read_text() == file.read_text()


def test_shares_have_files_of_their_own(model_dir, photos, tmp_path):
    for share in ("1/2", "2/2"):
        assert run(model_dir, photos, tmp_path / "out", "--save_labels", "coco", "--shard", share) == 0
    files = [tmp_path / "out" / "labels" / f"annotations.{number}-of-2.json" for number in (1, 2)]
    assert [len(json.loads(file.read_text())["images"]) for file in files] == [2, 1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--labels_dir", "x"], "--labels_dir goes with --save_labels"),
        (["--overwrite_labels"], "--overwrite_labels goes with --save_labels"),
        (["--save_labels", "voc"], "invalid choice: 'voc'"),
    ],
)
def test_options_that_do_not_fit(model_dir, photos, tmp_path, capsys, words, text):
    with pytest.raises(SystemExit) as stopped:
        run(model_dir, photos, tmp_path / "out", *words)
    assert stopped.value.code == 2 and text in capsys.readouterr().err


def test_videos_have_no_labels(capsys):
    with pytest.raises(SystemExit):
        main(["--model_dir", "x", "--video_file", "x.mp4", "--save_labels", "coco"])
    assert "--save_labels goes with --image_file, --image_dir and --image_list" in capsys.readouterr().err
