"""A sound annotation file with random changes: check, training and scoring never crash, and agree about every file.

Some of the files make a step of a tiny detector, in bounded memory.

``RES2NET_EXAMPLES`` sets how many files are tried.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ppdet_res2net.data.annotations import read_annotations, read_json
from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.data.ground_truth import select_scored_objects
from ppdet_res2net.data.instances import DROPPED, DROPPED_BOX
from ppdet_res2net.data.problems import ERROR
from ppdet_res2net.datasets.check import DatasetSource, check_datasets, fix_dataset
from ppdet_res2net.datasets.check.run import NO_OBJECTS
from ppdet_res2net.errors import DatasetError
from tests.helpers import tiny_detector
from tests.helpers.datasets import FIELDS, loader_for

EXAMPLES = int(os.environ.get("RES2NET_EXAMPLES", "100"))
HEIGHT, WIDTH = 30, 44
SQUARE = [4.0, 4.0, 20.0, 4.0, 20.0, 18.0, 4.0, 18.0]


def _sound() -> dict:
    bitmap = np.zeros((HEIGHT, WIDTH), np.uint8)
    bitmap[2:12, 22:40] = 1
    compressed = mask_utils.encode(np.asfortranarray(bitmap))
    rle = {"size": [HEIGHT, WIDTH], "counts": compressed["counts"].decode()}
    runs = {"size": [HEIGHT, WIDTH], "counts": [100, 20, HEIGHT * WIDTH - 120]}
    masks = [[SQUARE], [SQUARE, [1.0, 1.0, 3.0, 1.0, 3.0, 3.0]], rle, runs, [SQUARE]]
    boxes = [[4, 4, 16, 14], [1, 1, 19, 17], [22, 2, 18, 10], [3.5, 0, 5, 30], [4, 4, 16, 14]]
    return {
        "info": {"description": "made for a test"},
        "images": [
            {"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH, "license": 1}
            for number in (1, 2)
        ],
        "categories": [{"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 5, "name": "dog"}],
        "annotations": [
            {"id": 11 + k, "image_id": 1 + k % 2, "category_id": (1, 5)[k % 2], "bbox": box, "area": 120.0,
             "iscrowd": int(k == 3), "segmentation": mask}
            for k, (box, mask) in enumerate(zip(boxes, masks))
        ],
    }  # fmt: skip


NUMBERS = [
    0, 1, -1, 2, 5, 11, 0.0, 1.0, 1.5, -0.5, 44, 1e9, -1e9, 2e8, 1e300, -1e300, 2**31, 2**53 + 1, 2**63, 2**64, 10**40,
    float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
TEXTS = [
    "",
    " ",
    "1",
    " 1 ",
    "1.0",
    "11",
    "true",
    "False",
    "null",
    "a7",
    "12.5",
    "1e3",
    "½",
    "é",
    "\ud800",
    "nan",
    "0x1",
]
ATOMS = [*NUMBERS, *TEXTS, True, False, None, [], {}, [[]], [None], [{}], [[[]]], [1], {"id": 1}]
SEGMENTATIONS = [
    SQUARE, [SQUARE[:4]], [SQUARE[:5]], [SQUARE[:7]], [[], SQUARE], [None, SQUARE], [[5, 5], SQUARE], [[SQUARE]], [[[SQUARE]]],
    [[[4, 4], [20, 4], [20, 18]]], [[4, 4], [20, 4], [20, 18]], [list(map(str, SQUARE))], [[True] * 6], [[*SQUARE[:7], None]],
    [[*SQUARE[:6], 2.08e8, 3.5e8]], [[-1e300, 0, 1e300, 0, 0, 1e300]], [[1e9] * 6], [[0, 0, 1e6, 0, 0, 1e6] * 50],
    "[[4, 4, 20, 4, 20, 18]]", "[[4, 4", [[[[4, 4]], [[20, 4]], [[20, 18]]]], [[0] * WIDTH for _ in range(HEIGHT)],
    [[[4, 4], [20, 4], [20, 18], [4, 18]], [[6, 6], [9, 6], [9, 9]]],
    {"all_points_x": [4, 20, 20], "all_points_y": [4, 4, 18]}, {"size": [HEIGHT, WIDTH], "counts": "garbage\0"},
    {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH + 0.0]}, {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]},
    {"size": [HEIGHT, WIDTH], "counts": ["0", str(HEIGHT * WIDTH)]}, {"size": [10**5, 10**4], "counts": [10**9]},
    {"size": ["30", 44.0], "counts": [0, HEIGHT * WIDTH]}, {"size": [HEIGHT, WIDTH], "counts": "`" * 50},
    [{"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}, SQUARE], {"size": [HEIGHT, WIDTH], "counts": [-5, 5]},
]  # fmt: skip
BOXES = [
    ["4", "4", "16", "14"],
    [4, 4, 16],
    {"x": 4},
    [[4, 4, 16, 14]],
    [90, 5, 5, 5],
    [5, 5, 0, 9],
    [-5, -5, 1e300, 1e300],
    "[4, 4, 16, 14]",
]
VALUES = {
    "segmentation": SEGMENTATIONS, "bbox": BOXES, "height": [30.0, "30", 60000, 10**9, 0], "width": [44.0, "44", 60000, 10**9],
    "file_name": ["1.png", "2.png", "../1.png", "x\0y", "/etc/hosts"], "name": ["cat", "Cat ", "a/b"], "ignore": [1, 0, "1", 2],
}  # fmt: skip


@st.composite
def mutated_files(draw) -> dict:
    """Return the content of a sound annotation file after one to four changes."""
    content = copy.deepcopy(_sound())
    for _ in range(draw(st.integers(1, 4))):
        key = draw(st.sampled_from(["annotations", "annotations", "annotations", "images", "categories"]))
        entries = content[key]
        change = draw(st.sampled_from(["value", "value", "value", "atom", "remove", "copy", "drop", "all"]))
        if not entries:
            continue
        entry = draw(st.sampled_from(entries))
        field = draw(st.sampled_from([*sorted(entry), "ignore"]))
        if change in ("value", "atom"):
            pool = VALUES.get(field, ATOMS) if change == "value" else ATOMS
            entry[field] = copy.deepcopy(draw(st.sampled_from(pool)))
        elif change == "remove":
            entry.pop(field, None)
        elif change == "copy":
            entries.append({**copy.deepcopy(entry), "id": draw(st.sampled_from([entry.get("id"), 99]))})
        elif change == "drop":
            entries.remove(entry)
        else:  # the same change everywhere, as a tool makes it
            value = draw(st.sampled_from(VALUES.get(field, ATOMS)))
            spell = draw(st.sampled_from([str, float, None]))
            for one in entries:
                if spell is None:
                    one[field] = copy.deepcopy(value)
                elif type(one.get(field)) is int and abs(one[field]) < 2**53:
                    one[field] = spell(one[field])
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mutated")
    rng = np.random.RandomState(0)
    (folder / "images").mkdir()
    for number in (1, 2):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), rng.randint(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    return folder


@contextlib.contextmanager
def _quiet():
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _check(file: Path, images: Path, read_images: bool = False):
    (report,) = check_datasets([DatasetSource(file, images, with_masks=True)], read_images=read_images)
    return report


def _train(file: Path, images: Path) -> list[int] | None:
    """Return the number of objects of each record, after a batch was made; None if the file is refused."""
    dataset = COCODataSet("", str(images), str(file), FIELDS)
    try:
        dataset.parse_dataset()
    except DatasetError as error:
        assert str(error)
        return None
    for record in dataset.roidbs:
        assert np.isfinite(record["gt_bbox"]).all() and len(record["gt_poly"]) == len(record["gt_bbox"])
    if any((record["h"], record["w"]) != (HEIGHT, WIDTH) for record in dataset.roidbs):
        return [len(record["gt_bbox"]) for record in dataset.roidbs]  # the loader refuses it when it reads the picture
    for batch in loader_for(dataset, batch_size=1, num_classes=9).epoch(0):
        assert all(np.isfinite(boxes).all() for boxes in batch["gt_bbox"])
    return [len(record["gt_bbox"]) for record in dataset.roidbs]


def _score(file: Path) -> list[int] | None:
    """Return the ids of the objects that are scored, after scoring perfect detections; None if the file is refused."""
    try:
        objects = select_scored_objects(read_annotations(file), True, str(file))
    except DatasetError as error:
        assert str(error)
        return None
    for iou_type in ("bbox", "segm"):
        truth, found = COCO(), COCO()
        truth.dataset = objects.to_coco(iou_type)
        truth.createIndex()
        found.dataset = {
            **truth.dataset,
            "annotations": [{**a, "iscrowd": 0, "score": 0.5} for a in truth.dataset["annotations"]],
        }
        found.createIndex()
        scored = COCOeval(truth, found, iou_type)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
        counted = [one for one in truth.dataset["annotations"] if not one["iscrowd"]]
        if counted and iou_type == "bbox" and all(one["area"] <= 1e10 for one in counted):
            assert scored.stats[0] > 0
    return [one.id for one in objects.objects.annotations]


def _usable(report, *problems) -> list:
    return report.instances.without(*problems).annotations


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
@given(content=mutated_files())
def test_check_training_and_scoring_agree(folder, content):
    file, images = folder / "all.json", folder / "images"
    file.write_text(json.dumps(content))
    with _quiet():
        try:
            read_json(file)
        except DatasetError:  # a list is empty
            assert _train_refuses(file, images) and _score_refuses(file)
            return
        report = _check(file, images)
        errors = [problem for problem in report.groups if problem.severity == ERROR]
        names = {image.file_name for image in report.file.images}
        trained, scored = None, _score(file)
        if names <= {"1.png", "2.png"}:  # check finds other names when it reads the images
            trained = _train(file, images)
            assert (trained is None) == bool(errors)
        assert scored is not None or errors
        assert scored is None or set(errors) <= {NO_OBJECTS}
        if trained is not None:
            used = [one for one in _usable(report, *DROPPED) if not one.is_crowd and not one.is_ignored]
            assert sum(trained) == len(used)
        if scored is not None:
            assert scored == [one.id for one in _usable(report, *DROPPED_BOX)]


def _train_refuses(file: Path, images: Path) -> bool:
    return _train(file, images) is None


def _score_refuses(file: Path) -> bool:
    return _score(file) is None


@settings(
    max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
@given(content=mutated_files())
def test_what_fix_writes_passes_check_and_keeps_what_can_be_read(folder, content):
    file, images, fixed = folder / "all.json", folder / "images", folder / "fixed.json"
    file.write_text(json.dumps(content))
    with _quiet():
        try:
            report = _check(file, images, read_images=True)
            fix_dataset(report, fixed)
        except DatasetError as error:
            assert str(error)
            return
        again = _check(fixed, images, read_images=True)
    assert again.count(ERROR) == 0
    written = json.loads(fixed.read_text())
    assert written["info"] == {"description": "made for a test"}
    numbers = [one["id"] for one in written["annotations"]]
    assert len(set(numbers)) == len(numbers) and all(type(number) is int for number in numbers)
    if not report.count(ERROR):
        copies = [f.subject_id for p, found in report.groups.items() if p.code == "repeated-annotation" for f in found]
        kept = [one.id for one in _usable(report, *DROPPED_BOX) if one.id not in copies]
        assert set(kept) <= set(numbers)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _to_tensors(value):
    return list(map(paddle.to_tensor, value)) if isinstance(value, list) else paddle.to_tensor(value)


def _step(detector, dataset: COCODataSet) -> list[float]:
    """Return the losses of a training step on each image."""
    losses = []
    for batch in loader_for(dataset, batch_size=1, num_classes=9).epoch(0):
        loss = detector({name: value if name == "gt_poly" else _to_tensors(value) for name, value in batch.items()})
        loss["loss"].backward()
        detector.clear_gradients()
        losses += [float(value) for value in loss.values()]
    return losses


@pytest.fixture(scope="module")
def detector_and_peak(folder):
    """A tiny Mask R-CNN that has made a step on the sound file, and the memory that this took."""
    detector = tiny_detector.build_ours(tiny_detector.detector_config(num_classes=9))
    detector.train()
    (folder / "sound.json").write_text(json.dumps(_sound()))
    assert _step(detector, COCODataSet("", str(folder / "images"), str(folder / "sound.json"), FIELDS))
    return detector, _peak_mb()


@settings(
    max_examples=max(EXAMPLES // 8, 1),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
@given(content=mutated_files())
def test_a_training_step_is_finite_and_needs_no_more_memory(folder, detector_and_peak, content):
    detector, peak_mb = detector_and_peak
    file = folder / "all.json"
    file.write_text(json.dumps(content))
    dataset = COCODataSet("", str(folder / "images"), str(file), FIELDS, load_crowd=True, allow_empty=True)
    with _quiet():
        try:
            losses = _step(detector, dataset)
        except DatasetError as error:
            assert str(error)
        else:
            assert np.isfinite(losses).all()
    assert _peak_mb() - peak_mb < 300


MEMORY = """
import json, resource, sys
from ppdet_res2net.data.coco_file import parse_coco
from ppdet_res2net.data.ground_truth import select_scored_objects
content = json.load(open(sys.argv[1]))
entry = content["annotations"][0]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
for segmentation in json.load(open(sys.argv[2])):
    entry["segmentation"] = segmentation
    select_scored_objects(parse_coco(content), True, "a.json").to_coco("segm")
for width, height in ((60000, 60000), (10**9, 1), (1, 10**9)):
    content["images"][0].update(width=width, height=height)
    parse_coco(content)
print(peak() - before)
"""


def test_no_segmentation_needs_more_memory_than_its_image(tmp_path):
    """A vertex at 2e8 took 20 GB, and one at 1e9 ended the process."""
    far = [
        [4, 4, 20, 4, 2.08e8, 3.5e8],
        [0, 0, 1e9, 1e9, 5, 1e12],
        [-1e300, 0, 1e300, 0, 0, 1e300],
        [0, 0, 9e99, 1, 1, -9e99],
    ]
    zigzag = [value for k in range(20_000) for value in (0 if k % 2 else 80, k % 28)]
    cases = [[part] for part in far] + [[zigzag], {"size": [10**5, 10**5], "counts": [10**10]}]
    cases += [{"size": [HEIGHT, WIDTH], "counts": counts} for counts in ("0" * 10**6, "o" * 10**6, "P" * 10**5 + "0")]
    for name, content in (("a.json", _sound()), ("cases.json", cases)):
        (tmp_path / name).write_text(json.dumps(content))
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "a.json"), str(tmp_path / "cases.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 150  # MB
