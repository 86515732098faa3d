"""Evaluation: the figures equal those of pycocotools for all kinds of data, and data that does not fit is refused."""

from __future__ import annotations

import copy
import json
import re

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ppdet_res2net.data import annotations
from ppdet_res2net.data.coco_file import parse_coco
from ppdet_res2net.data.ground_truth import ScoredObjects, select_scored_objects
from ppdet_res2net.detection.coco_figures import STAT_NAMES, score_detections
from ppdet_res2net.detection.evaluate import (
    evaluate,
    evaluate_from_config,
    read_ground_truth,
)
from ppdet_res2net.detection.model import create_trained_detector
from ppdet_res2net.detection.task import train
from ppdet_res2net.errors import ConfigError, DatasetError, WeightsError
from tests.helpers.training_runs import (
    annotation_file,
    copy_data,
    edit_annotations,
    image_files,
    make_config,
    read_tensors,
)


@pytest.fixture
def ground_truth(demo_data) -> dict:
    return json.loads(annotation_file(demo_data, "val").read_text())


def _objects(ground_truth: dict, with_masks: bool = True) -> ScoredObjects:
    return select_scored_objects(parse_coco(ground_truth), with_masks, "truth.json")


def _perfect(ground_truth: dict) -> list[dict]:
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    detections = []
    for annotation in ground_truth["annotations"]:
        segmentation = copy.deepcopy(annotation["segmentation"])
        rle = mask_utils.frPyObjects(segmentation, *sizes[annotation["image_id"]])
        rle = mask_utils.merge(rle) if isinstance(rle, list) else rle
        entry = {key: annotation[key] for key in ("image_id", "category_id", "bbox")}
        counts = rle["counts"].decode() if isinstance(rle["counts"], bytes) else rle["counts"]
        detections.append({**entry, "score": 0.9, "segmentation": {"size": rle["size"], "counts": counts}})
    return detections


def _imperfect(ground_truth: dict) -> list[dict]:
    """Perfect detections, some of which are then removed, shifted, doubled, or given a different class."""
    rng = np.random.RandomState(0)
    detections = []
    for detection in _perfect(ground_truth)[:-2]:
        x, y, width, height = detection["bbox"]
        shifted = [x + rng.uniform(-2, 2), y + rng.uniform(-2, 2), width * rng.uniform(0.8, 1.2), height]
        detections.append({**detection, "bbox": shifted, "score": float(rng.uniform(0.2, 1.0))})
        if rng.rand() < 0.3:
            categories = [category["id"] for category in ground_truth["categories"]]
            detections.append({**detections[-1], "category_id": int(rng.choice(categories)), "score": 0.4})
    return detections


def _by_pycocotools_alone(ground_truth: dict, detections: list[dict], iou_type: str, folder) -> dict[str, float]:
    """The usual way: files, loadRes, evaluate."""
    truth_file, result_file = folder / "truth.json", folder / "result.json"
    truth_file.write_text(json.dumps(ground_truth))
    if iou_type == "segm":
        detections = [{k: v for k, v in detection.items() if k != "bbox"} for detection in detections]
    result_file.write_text(json.dumps(detections))
    truth = COCO(str(truth_file))
    scored = COCOeval(truth, truth.loadRes(str(result_file)), iou_type)
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    return dict(zip(STAT_NAMES, scored.stats))


def test_perfect_detections_score_one(ground_truth):
    figures, report = score_detections(_objects(ground_truth), _perfect(ground_truth), ["bbox", "segm"])
    for iou_type in ("bbox", "segm"):
        assert figures[iou_type]["AP"] == figures[iou_type]["AP50"] == figures[iou_type]["AR100"] == 1.0
        assert tuple(figures[iou_type]) == STAT_NAMES
    assert report.count("Average Precision") == 12 and report.count("Average Recall") == 12
    assert report.startswith("Boxes (bbox):") and "Masks (segm):" in report


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_the_figures_are_those_of_pycocotools(ground_truth, tmp_path, iou_type):
    detections = _imperfect(ground_truth)
    expected = _by_pycocotools_alone(ground_truth, detections, iou_type, tmp_path)
    figures, _ = score_detections(_objects(ground_truth), detections, ["bbox", "segm"])
    assert figures[iou_type] == pytest.approx(expected, abs=1e-6)
    assert figures[iou_type]["AP"] < 1.0


def test_areas_of_mask_detections_are_those_of_the_masks():
    """A long thin diagonal has a large box and a small mask; the box would move an unmatched detection to 'large'."""
    size = 200
    mask = np.eye(size, dtype=np.uint8)
    rle = mask_utils.encode(np.asfortranarray(mask))
    rle["counts"] = rle["counts"].decode()
    small = np.zeros_like(mask)
    small[:20, :20] = 1
    truth_rle = mask_utils.encode(np.asfortranarray(small))
    truth_rle["counts"] = truth_rle["counts"].decode()
    truth = {
        "images": [{"id": 1, "height": size, "width": size, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 0,
             "segmentation": truth_rle}
        ],
    }  # fmt: skip
    hit = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20], "score": 0.5, "segmentation": truth_rle}
    miss = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 200, 200], "score": 0.9, "segmentation": rle}
    figures, _ = score_detections(_objects(truth), [miss, hit], ["bbox", "segm"])
    assert figures["bbox"]["APs"] == 1.0  # the miss is large by its box, and not counted among the small
    assert figures["segm"]["APs"] == pytest.approx(0.5)  # its mask of 200 pixels is small, and counts


def test_no_detections_score_zero(ground_truth):
    figures, report = score_detections(_objects(ground_truth), [], ["bbox", "segm"], classwise=True)
    assert figures["bbox"]["AP"] == figures["segm"]["AP"] == figures["bbox"]["AR100"] == 0.0
    assert "0.000   0.000" in report


def test_the_table_of_classes(ground_truth):
    missing = ground_truth["categories"][0]
    rest = {**ground_truth}
    rest["annotations"] = [a for a in ground_truth["annotations"] if a["category_id"] != missing["id"]]
    figures, report = score_detections(_objects(rest), _perfect(rest), ["bbox"], classwise=True)
    rows = {line.split()[0]: line.split()[1:] for line in report.splitlines() if line and line.startswith(" ")}
    for category in ground_truth["categories"]:
        expected = ["-", "-"] if category is missing else ["1.000", "1.000"]
        assert rows[category["name"]] == expected
        value = -1.0 if category is missing else 1.0
        of_class = {"class": category["name"], "category_id": category["id"], "AP": value, "AP50": value}
        assert of_class in figures["bbox"]["classes"]
    assert "classes" not in score_detections(_objects(rest), _perfect(rest), ["bbox"])[0]["bbox"]


def test_evaluation_writes_detections_that_give_its_own_figures(detecting, demo_data, tmp_path, ground_truth):
    config = make_config(demo_data, tmp_path, f"weights={detecting}")
    result = evaluate_from_config(config, classwise=True, output_dir=str(tmp_path / "eval"))
    assert set(result.summary) == {"bbox", "segm", "images", "seconds"}
    assert result.summary["images"] == 6 and result.summary["seconds"] > 0
    boxes = json.loads((tmp_path / "eval" / "bbox.json").read_text())
    masks = json.loads((tmp_path / "eval" / "mask.json").read_text())
    assert len(boxes) == len(masks) > 0
    assert {entry["image_id"] for entry in boxes} <= {image["id"] for image in ground_truth["images"]}
    for iou_type, entries in (("bbox", boxes), ("segm", masks)):
        expected = _by_pycocotools_alone(ground_truth, entries, iou_type, tmp_path)
        figures = dict(result.summary[iou_type])
        classes = figures.pop("classes")
        assert figures == pytest.approx(expected, abs=1e-6)
        assert [one["category_id"] for one in classes] == [one["id"] for one in ground_truth["categories"]]
        counted = [one["AP"] for one in classes if one["AP"] >= 0]  # AP is the mean over the classes
        assert sum(counted) / len(counted) == pytest.approx(figures["AP"], abs=1e-5)
    assert json.loads(json.dumps(result.summary)) == result.summary
    assert "class" in result.report


def test_images_without_objects_are_evaluated_and_cost_precision(detecting, demo_data, tmp_path):
    data = copy_data(demo_data, tmp_path)
    ids = [image["id"] for image in json.loads(annotation_file(data, "val").read_text())["images"]]

    def empty_half(content):
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids[:3]]

    edit_annotations(data, empty_half, "val")
    config = make_config(data, tmp_path, f"weights={detecting}", "EvalDataset.allow_empty=false")
    result = evaluate_from_config(config, output_dir=str(tmp_path / "eval"))
    assert result.summary["images"] == 6
    detected_in = {entry["image_id"] for entry in json.loads((tmp_path / "eval" / "bbox.json").read_text())}
    assert detected_in & set(ids[3:])


def test_settings_of_the_configuration_count_as_the_flags_do(detecting, demo_data, tmp_path):
    settings = ("EvalDataset.sample_num=1", "classwise=true", f"output_eval={tmp_path}/eval")
    result = evaluate_from_config(make_config(demo_data, tmp_path, f"weights={detecting}", *settings))
    assert "class " in result.report
    assert (tmp_path / "eval" / "bbox.json").is_file()


def test_sample_num_leaves_the_other_images_out_of_the_score(detecting, demo_data, tmp_path):
    config = make_config(demo_data, tmp_path, f"weights={detecting}", "EvalDataset.sample_num=2")
    assert evaluate_from_config(config).summary["images"] == 2


def test_other_categories_are_refused(detecting, demo_data, tmp_path):
    data = copy_data(demo_data, tmp_path)
    edit_annotations(data, lambda content: content["categories"].reverse(), "val")
    with pytest.raises(ConfigError, match=r"has the categories \[\d .* \(3\), but the detector was trained on \[1 "):
        evaluate_from_config(make_config(data, tmp_path, f"weights={detecting}"))


def test_an_image_that_cannot_be_read_is_named(detecting, demo_data, tmp_path):
    data = copy_data(demo_data, tmp_path)
    broken = image_files(data)[1]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DatasetError, match=rf"image id 200001: .*{broken.name}"):
        evaluate_from_config(make_config(data, tmp_path, f"weights={detecting}"))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda whole: b"", r"image id \d+: Image '{}' is empty \(0 bytes\)"),
        (lambda whole: b"<html>not found</html>", r"image id \d+: Cannot decode image '{}'"),
        (lambda whole: whole[: len(whole) // 2], r"'{}'.* cut short"),
        (lambda whole: cv2.imencode(".jpg", np.zeros((9, 7, 3), np.uint8))[1].tobytes(), r"'{}' .* is 7x9 pixels"),
    ],
    ids=["empty", "text", "cut", "size"],
)
def test_an_image_that_cannot_be_scored_is_named_before_the_first_is_detected(
    detecting, demo_data, tmp_path, monkeypatch, spoil, message
):
    data = copy_data(demo_data, tmp_path)
    last = image_files(data)[-1]
    last.write_bytes(spoil(last.read_bytes()))
    monkeypatch.setattr("ppdet_res2net.detection.evaluate._detect_all", lambda *arguments: pytest.fail("detects"))
    with pytest.raises(DatasetError, match=message.replace("{}", re.escape(str(last)))):
        evaluate_from_config(make_config(data, tmp_path, f"weights={detecting}"))


def test_a_sound_image_with_data_after_its_end_is_scored(detecting, demo_data, tmp_path):
    data = copy_data(demo_data, tmp_path)
    for file in image_files(data):
        file.write_bytes(file.read_bytes() + b"of a camera")
    results = [evaluate_from_config(make_config(one, tmp_path, f"weights={detecting}")) for one in (demo_data, data)]
    assert results[0].report == results[1].report


def test_an_image_of_another_size_than_annotated_is_named(detecting, demo_data, tmp_path):
    data = copy_data(demo_data, tmp_path)
    resized = image_files(data)[2]
    cv2.imwrite(str(resized), np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(DatasetError, match=rf"{resized.name}' \(image id 200002\): the image is 50x40 pixels"):
        evaluate_from_config(make_config(data, tmp_path, f"weights={detecting}"))


def test_a_rotated_image_is_evaluated_as_it_was_annotated(detecting, demo_data, tmp_path):
    """The same stored pixels with and without an EXIF orientation: annotated as stored, so the same detections."""
    from PIL import Image

    data = copy_data(demo_data, tmp_path)
    image = next(file for file in image_files(data) if Image.open(file).size[0] != Image.open(file).size[1])
    config = make_config(data, tmp_path, f"weights={detecting}")
    evaluate_from_config(config, output_dir=str(tmp_path / "upright"))
    _set_exif_orientation(image, 6)
    # Reading turns it now: its height is the stored width.
    assert cv2.imread(str(image)).shape[:2] == Image.open(image).size
    evaluate_from_config(config, output_dir=str(tmp_path / "rotated"))
    for name in ("bbox.json", "mask.json"):
        assert (tmp_path / "upright" / name).read_text() == (tmp_path / "rotated" / name).read_text()


def _set_exif_orientation(path, orientation: int) -> None:
    """Insert an EXIF segment with nothing but the orientation behind the start of a JPEG."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\x00\x00"
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    payload = b"Exif\x00\x00" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + data[2:])


@pytest.mark.parametrize("segmentation", [None, [], [[1, 2, 3]], {"size": [9, 9], "counts": [1]}])
def test_annotations_without_masks_cannot_score_masks(detecting, demo_data, tmp_path, segmentation, caplog):
    """They count for boxes. For masks, detections on them are neither right nor wrong. Without any mask, nothing is scored."""
    data = copy_data(demo_data, tmp_path)
    edit_annotations(data, lambda content: content["annotations"][0].update(segmentation=segmentation), "val")
    config = make_config(data, tmp_path, f"weights={detecting}")
    whole = evaluate_from_config(make_config(demo_data, tmp_path, f"weights={detecting}"))
    assert evaluate_from_config(config).summary["bbox"] == whole.summary["bbox"]
    assert "1 annotation without a usable mask counts for boxes; for masks, its box is a region in which" in caplog.text

    def spoil_all(content):
        for annotation in content["annotations"]:
            annotation["segmentation"] = segmentation

    edit_annotations(data, spoil_all, "val")
    with pytest.raises(
        DatasetError,
        match=r"none of the \d+ annotations has a .*segmentation.*, but masks are to be scored.*Faster R-CNN",
    ):
        evaluate_from_config(config)


def test_objects_without_a_mask_are_neutral_for_masks(ground_truth):
    detections = _perfect(ground_truth)
    ground_truth["annotations"][0]["segmentation"] = []
    figures, _ = score_detections(_objects(ground_truth), detections, ["bbox", "segm"])
    assert figures["bbox"]["AP"] == figures["segm"]["AP"] == 1.0
    figures, _ = score_detections(_objects(ground_truth), detections[1:], ["bbox", "segm"])
    assert figures["bbox"]["AP"] < 1.0 and figures["segm"]["AP"] == 1.0


def test_ignored_objects_are_neither_found_nor_missed(ground_truth, caplog):
    detections = _perfect(ground_truth)
    ground_truth["annotations"][0]["ignore"] = 1
    for found in (detections, detections[1:], [detections[0], *detections]):
        figures, _ = score_detections(_objects(ground_truth), found, ["bbox", "segm"])
        assert figures["bbox"]["AP"] == figures["segm"]["AP"] == 1.0
    assert (
        "1 annotation with ignore: 1 is neither found nor missed, and detections on it are not counted" in caplog.text
    )


@pytest.mark.parametrize(
    "ids", [range(100), [5] * 100, [None] * 100, map(str, range(100)), range(-9, 91), [2**70] * 100]
)
def test_ids_of_annotations_do_not_change_the_score(ground_truth, ids):
    detections = _imperfect(ground_truth)
    expected, _ = score_detections(_objects(ground_truth), detections, ["bbox", "segm"])
    for annotation, number in zip(ground_truth["annotations"], ids):
        annotation["id"] = number
    assert score_detections(_objects(ground_truth), detections, ["bbox", "segm"])[0] == expected


def test_annotations_without_boxes_or_none_at_all_are_refused(detecting, demo_data, tmp_path, caplog):
    """One without a box is left out, as in training. Without any, there is nothing to score."""
    data = copy_data(demo_data, tmp_path)
    config = make_config(data, tmp_path, f"weights={detecting}")
    edit_annotations(data, lambda content: content["annotations"][1].pop("bbox"), "val")
    evaluate_from_config(config)
    assert "1 annotation without a box of four finite numbers is not used: annotation id 2" in caplog.text

    def ignore_all(content):
        for annotation in content["annotations"]:
            annotation["ignore"] = True

    edit_annotations(data, ignore_all, "val")
    with pytest.raises(DatasetError, match="can be scored: they are crowd regions, ignored, or have no usable box"):
        evaluate_from_config(make_config(data, tmp_path, f"weights={detecting}"))
    edit_annotations(data, lambda content: content.pop("annotations"), "val")
    with pytest.raises(DatasetError, match="has no annotations of these images, so there is nothing to score"):
        evaluate_from_config(config)


def test_the_annotations_are_read_once_however_often_a_run_evaluates(demo_data, tmp_path, monkeypatch):
    reads: list[str] = []

    def counting(path, *arguments):
        reads.append(str(path))
        return read_json(path, *arguments)

    read_json = annotations.read_json
    monkeypatch.setattr(annotations, "read_json", counting)
    config = make_config(demo_data, tmp_path, "epoch=2", "TrainDataset.sample_num=2", "EvalDataset.sample_num=2")
    result = train(config, evaluate=True)
    assert len(list(result.run_dir.glob("*.pdparams"))) > 2  # both epochs were evaluated, and the better one kept
    assert sorted(reads) == [str(annotation_file(demo_data, split)) for split in ("train", "val")]
    evaluate_from_config(make_config(demo_data, tmp_path, f"weights={result.run_dir}/model_final"))
    assert reads[2:] == [str(annotation_file(demo_data, "val"))]


def test_a_ground_truth_that_was_used_scores_the_same_again(detecting, demo_data, ground_truth, tmp_path):
    config = make_config(demo_data, tmp_path, f"weights={detecting}")
    detector, classes = create_trained_detector(config)
    once = read_ground_truth(config, classes, ["bbox", "segm"])
    results = [evaluate(detector, config, classes, ground_truth=truth) for truth in (None, once, once)]
    assert results[0].report == results[1].report == results[2].report
    detections = _imperfect(ground_truth)
    fresh, _ = score_detections(_objects(ground_truth), detections, ["bbox", "segm"])
    used, _ = score_detections(once.objects, detections, ["bbox", "segm"])
    assert used == fresh
    assert 0 < fresh["bbox"]["AP"] < 1 and 0 < fresh["segm"]["AP"] < 1


def test_weights_are_needed_and_have_to_fit(trained, demo_data, tmp_path):
    with pytest.raises(ConfigError, match="names no weights. Pass -o weights=PATH"):
        evaluate_from_config(make_config(demo_data, tmp_path, "weights=null"))
    with pytest.raises(WeightsError, match="neither nowhere/x nor nowhere/x.pdparams exists"):
        evaluate_from_config(make_config(demo_data, tmp_path, "weights=nowhere/x"))
    with pytest.raises(WeightsError, match="neither nowhere/x nor nowhere/x.pdparams exists"):
        evaluate_from_config(make_config(tmp_path / "no_data", tmp_path, "weights=nowhere/x"))
    wider = make_config(demo_data, tmp_path, f"weights={trained}/model_final", "TwoFCHead.out_channel=64")
    with pytest.raises(WeightsError, match="the file does not fit the model"):
        evaluate_from_config(wider)


def test_class_names_travel_with_the_weights_and_are_needed(trained, demo_data, tmp_path):
    import shutil

    shutil.copy(trained / "model_final.pdparams", tmp_path / "alone.pdparams")
    config = make_config(tmp_path / "no_data", tmp_path, f"weights={tmp_path}/alone")
    with pytest.raises(
        ConfigError, match="names of the 3 classes of .*alone' are unknown.*Keep the .json.*TestDataset.anno_path"
    ):
        evaluate_from_config(config)
    assert "bbox_head.bbox_score.bias" in read_tensors(tmp_path / "alone.pdparams")


def test_another_metric_is_refused(detecting, demo_data, tmp_path):
    with pytest.raises(ConfigError, match="metric is 'VOC', but only COCO's is computed"):
        evaluate_from_config(make_config(demo_data, tmp_path, f"weights={detecting}", "metric=VOC"))


def test_a_folder_for_detections_that_cannot_be_made_is_an_error(detecting, demo_data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    config = make_config(demo_data, tmp_path, f"weights={detecting}")
    with pytest.raises(ConfigError, match="The folder '.*file' cannot be created: .*Pass another --output_eval"):
        evaluate_from_config(config, output_dir=str(tmp_path / "file"))
