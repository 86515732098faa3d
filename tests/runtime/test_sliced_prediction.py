"""Slices and test-time augmentation in the predictor, with a "network" that finds bright rectangles exactly."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from res2net_runtime import (
    BackendError,
    Detections,
    FailedPrediction,
    ImageError,
    Predictor,
    Slicing,
    TestTimeAugmentation,
    draw_detections,
)
from res2net_runtime.merge_slices import merge_slices
from res2net_runtime.merge_variants import merge_variants
from res2net_runtime.merging import overlaps
from res2net_runtime.model_folder import ModelInfo

OUTPUTS = ("boxes", "scores", "labels", "masks", "num")
SHARED = {"label_list": ("dim", "bright"), "category_ids": (3, 7), "mask_threshold": 0.5}


def model_info(resize: int | None = None) -> ModelInfo:
    operators: list[dict] = [{"type": "Permute"}, {"type": "PadStride", "stride": 8}]
    if resize is not None:
        operators.insert(0, {"type": "Resize", "target_size": [resize, resize], "keep_ratio": True})
    return ModelInfo("MaskRCNN", OUTPUTS, tuple(operators), SHARED["label_list"], SHARED["category_ids"], 0.5, 0.5)


class RectangleFinder:
    """Finds the bright rectangles in each image; the score is the share of 255 of their red values."""

    engine, description = "rectangles", "rectangles"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.shapes.append(batch["image"].shape)
        found: dict[str, list] = {"boxes": [], "scores": [], "labels": [], "num": []}
        for image, im_shape, scale in zip(batch["image"], batch["im_shape"], batch["scale_factor"]):
            red = image[0, : round(float(im_shape[0])), : round(float(im_shape[1]))]
            count, _, stats, _ = cv2.connectedComponentsWithStats((red > 60).astype(np.uint8), connectivity=4)
            for left, top, width, height, _ in stats[1:]:
                y, x = scale
                found["boxes"].append([left / x, top / y, (left + width) / x, (top + height) / y])
                value = float(red[top + height // 2, left + width // 2])
                found["scores"].append(value / 255)
                found["labels"].append(int(value > 150))
            found["num"].append(count - 1)
        total = len(found["scores"])
        return {
            "boxes": np.float32(found["boxes"]).reshape(total, 4),
            "scores": np.float32(found["scores"]),
            "labels": np.int32(found["labels"]),
            "masks": np.ones((total, 28, 28), np.float32),
            "num": np.int32(found["num"]),
        }

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "settings", [{}, {"slicing": Slicing(35, 300)}, {"tta": TestTimeAugmentation(True, (1.0, 2.0))}]
)
def test_sizes_in_whole_pixels_go_back_with_one_factor_per_axis(settings):
    """35 rows at a tenth of the size are 3.5 rows, which become 4."""
    resize = {"type": "Resize", "target_size": [40, 40], "keep_ratio": True, "round_size": True}
    info = model_info()
    info = dataclasses.replace(info, preprocess=(resize, *info.preprocess))
    found = Predictor.over(info, RectangleFinder(), **settings)(scene(35, 400, (100, 0, 200, 35)))
    np.testing.assert_allclose(found.boxes_xyxy, [[100, 0, 200, 35]], atol=1e-3)


def scene(height: int, width: int, *boxes: tuple[int, ...], value: int = 200) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = value
    return image


def predict(image: np.ndarray, resize: int | None = None, **settings) -> Detections:
    return Predictor.over(model_info(resize), RectangleFinder(), **settings)(image)


def detections(rows, image_hw=(100, 100)) -> Detections:
    """Rows are x0, y0, x1, y1, score, label."""
    rows = np.float32(rows).reshape(-1, 6)
    masks = np.ones((len(rows), 28, 28), np.float32)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), masks, image_hw, **SHARED)


def rows_of(found: Detections) -> list[tuple]:
    boxes = found.boxes_xyxy.astype(float).round(2).tolist()
    return [(*box, round(float(score), 3), int(label)) for box, score, label in zip(boxes, found.scores, found.labels)]


def same(a: Detections, b: Detections) -> bool:
    fields = ("boxes_xyxy", "scores", "labels", "masks")
    return a.image_hw == b.image_hw and all(np.array_equal(getattr(a, one), getattr(b, one)) for one in fields)


@pytest.mark.parametrize("combine", ["nmm", "nms"])
def test_halves_give_way_to_the_whole_in_a_neighbour(combine):
    # Slices begin at 0, 80 and 150: the first cuts the object, the second has it, and the whole image shows nothing.
    image = scene(100, 250, (85, 20, 115, 60))
    parts = [detections([], (100, 250)), detections([(85, 20, 100, 60, 0.9, 1)]), detections([(5, 20, 35, 60, 0.6, 1)])]
    slicing = Slicing(100, 100, combine=combine)
    regions = [(0, 0, 250, 100), (0, 0, 100, 100), (80, 0, 180, 100)]
    merged = merge_slices(parts, regions, (100, 250), slicing)
    assert rows_of(merged) == [(85, 20, 115, 60, 0.9, 1)]  # the box of the whole, and the score of the half
    assert rows_of(predict(image, slicing=slicing)) == [(85, 20, 115, 60, 0.784, 1)]


@pytest.mark.parametrize("combine", ["nmm", "nms"])
@pytest.mark.parametrize("score", [0.46, 0.95])
def test_halves_give_way_to_the_whole_in_the_full_view(combine, score):
    parts = [
        detections([(70, 20, 180, 60, score, 1)], (100, 250)),
        detections([(70, 20, 100, 60, 0.9, 1)]),
        detections([(0, 20, 99, 60, 0.8, 1)]),
        detections([(0, 21, 29, 60, 0.7, 1)]),
    ]
    regions = [(0, 0, 250, 100), (0, 0, 100, 100), (80, 0, 180, 100), (150, 0, 250, 100)]
    merged = merge_slices(parts, regions, (100, 250), Slicing(100, 100, combine=combine))
    assert rows_of(merged) == [(70, 20, 180, 60, round(max(score, 0.9), 3), 1)]
    assert merged.joined_rles is None


def test_a_whole_that_its_view_hardly_believes_in_replaces_nothing():
    parts = [detections([(70, 20, 180, 60, 0.3, 1)], (100, 250)), detections([(70, 20, 100, 60, 0.9, 1)])]
    merged = merge_slices(parts, [(0, 0, 250, 100), (0, 0, 100, 100)], (100, 250), Slicing(100, 100))
    assert rows_of(merged) == [(70, 20, 100, 60, 0.9, 1), (70, 20, 180, 60, 0.3, 1)]


def test_parts_that_nobody_has_as_a_whole_are_joined():
    parts = [
        detections([], (100, 330)),
        detections([(30, 20, 100, 60, 0.7, 1)]),
        detections([(0, 20, 100, 60, 0.9, 1)]),
        detections([(0, 20, 100, 62, 0.8, 1), (40, 70, 60, 90, 0.75, 1)]),
        detections([(0, 20, 40, 60, 0.6, 1)]),
    ]
    regions = [(0, 0, 330, 100), *Slicing(100, 100).regions((100, 330))[:4]]
    merged = merge_slices(parts, regions, (100, 330), Slicing(100, 100))
    assert rows_of(merged) == [(30, 20, 270, 62, 0.9, 1), (200, 70, 220, 90, 0.75, 1)]
    joined, alone = merged.rles()
    expected = np.zeros((100, 330), bool)
    expected[20:60, 30:270] = expected[60:62, 160:260] = True
    differing = coco_mask.decode(joined).astype(bool) != expected
    assert differing.mean() < 0.02 and merged.bitmaps()[0].sum() == coco_mask.area(joined)
    assert merged.masks[0].mean() > 0.9  # the probabilities, in the joined box
    assert coco_mask.area(alone) > 300 and merged.joined_rles[1] is None
    assert merged[[1]].joined_rles.tolist() == [None] and merged[[1]].rles() == [alone]
    assert merged.to_coco(5)[0]["segmentation"]["counts"] == joined["counts"].decode()
    drawn = draw_detections(np.zeros((100, 330, 3), np.uint8), merged[:1])
    assert drawn[40, 100].any() and drawn[40, 250].any()

    best = merge_slices(parts, regions, (100, 330), Slicing(100, 100, combine="nms"))
    assert rows_of(best) == [(80, 20, 180, 60, 0.9, 1), (200, 70, 220, 90, 0.75, 1), (230, 20, 270, 60, 0.6, 1)]


def test_other_classes_and_neighbours_stay():
    parts = [
        detections([], (100, 180)),
        detections([(60, 20, 100, 60, 0.9, 1), (60, 64, 100, 90, 0.8, 1)]),
        detections([(0, 20, 50, 60, 0.7, 0), (0, 64, 60, 90, 0.6, 1)]),
    ]
    regions = [(0, 0, 180, 100), (0, 0, 100, 100), (80, 0, 180, 100)]
    merged = merge_slices(parts, regions, (100, 180), Slicing(100, 100))
    assert rows_of(merged) == [
        (60, 20, 100, 60, 0.9, 1),
        (60, 64, 140, 90, 0.8, 1),
        (80, 20, 130, 60, 0.7, 0),
    ]


def test_the_edge_of_the_image_cuts_nothing():
    parts = [detections([], (100, 180)), detections([(0, 0, 40, 100, 0.5, 1), (5, 5, 40, 100, 0.9, 1)]), detections([])]
    regions = [(0, 0, 180, 100), (0, 0, 100, 100), (80, 0, 180, 100)]
    merged = merge_slices(parts, regions, (100, 180), Slicing(100, 100))
    assert rows_of(merged) == [(5, 5, 40, 100, 0.9, 1)]


@pytest.mark.parametrize("parts", [1, 3])
def test_nothing_found(parts):
    regions = [(0, 0, 100, 100)] * parts
    merged = merge_slices([detections([])] * parts, regions, (100, 100), Slicing(100, 100))
    assert len(merged) == 0 and merged.masks.shape == (0, 28, 28) and merged.to_coco(1) == []


@pytest.mark.parametrize("combine", ["nmm", "nms"])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_random_scenes_are_found_exactly(combine, overlap):
    rng = np.random.default_rng(0)
    for _ in range(5):
        height, width = (int(side) for side in rng.integers(50, 400, 2))
        cells = [(x, y) for y in range(0, height - 40, 45) for x in range(0, width - 40, 45)]
        boxes = []
        for x, y in cells:
            left, top = x + int(rng.integers(0, 8)), y + int(rng.integers(0, 8))
            boxes.append((left, top, left + int(rng.integers(8, 30)), top + int(rng.integers(8, 30))))
        found = predict(scene(height, width, *boxes), slicing=Slicing(96, 112, overlap, combine=combine))
        assert sorted(rows_of(found)) == sorted((*map(float, box), 0.784, 1) for box in boxes)


def test_images_that_are_not_larger_than_a_slice_are_predicted_as_before():
    image = scene(90, 70, *((x, y, x + 7, y + 9) for x in range(2, 60, 12) for y in range(3, 80, 15)))
    plain = predict(image, resize=64)
    sliced = predict(image, resize=64, slicing=Slicing(90, 70, batch_size=4))
    assert len(plain) > 5 and same(plain, sliced) and sliced.joined_rles is None


def test_slices_of_one_size_share_batches():
    backend = RectangleFinder()
    predictor = Predictor.over(model_info(), backend, batch_size=1, slicing=Slicing(64, 64, batch_size=4))
    predictor(scene(64, 200, (10, 10, 30, 30)))
    assert backend.shapes == [(1, 3, 64, 200), (4, 3, 64, 64)]
    backend.shapes.clear()
    predictor([scene(50, 60), scene(50, 60), scene(64, 70)])
    assert backend.shapes == [(2, 3, 56, 64), (1, 3, 64, 72), (2, 3, 64, 64)]


def test_a_stream_keeps_its_order_and_goes_on_after_a_bad_image(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    sources = [scene(64, 150, (90, 5, 120, 30)), tmp_path / "bad.png", scene(20, 20), scene(200, 64, (5, 90, 30, 120))]
    predictor = Predictor.over(model_info(), RectangleFinder(), slicing=Slicing(64, 64, batch_size=3))
    first, bad, empty, last = predictor.predict_iter(iter(sources))
    assert isinstance(bad, FailedPrediction) and bad.source is sources[1] and "bad.png" in str(bad.error)
    assert rows_of(first.detections) == [(90, 5, 120, 30, 0.784, 1)] and np.array_equal(first.image, sources[0])
    assert len(empty.detections) == 0
    assert rows_of(last.detections) == [(5, 90, 30, 120, 0.784, 1)] and last.source is sources[3]
    with pytest.raises(ImageError, match="bad.png"):
        predictor(sources[1])


def test_an_endless_stream_is_read_only_as_far_as_needed():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield scene(64, 150)

    predictor = Predictor.over(model_info(), RectangleFinder(), slicing=Slicing(64, 64), tta=TestTimeAugmentation(True))
    stream = predictor.predict_iter(endless())
    next(stream)
    stream.close()
    assert len(taken) <= 4


def test_too_many_slices_are_an_error_of_the_image():
    predictor = Predictor.over(model_info(), RectangleFinder(), slicing=Slicing(32, 32, 0.9))
    large, small = predictor.predict_iter([np.zeros((800, 800, 3), np.uint8), scene(40, 40)])
    assert "has 66049 slices of 32x32" in str(large.error) and small.error is None


def test_a_view_that_the_network_refuses_is_an_error_of_its_image(monkeypatch):
    backend = RectangleFinder()
    run = backend.run

    def refuse_the_whole(batch):
        if batch["image"].shape[3] > 64:
            raise BackendError("too wide")
        return run(batch)

    monkeypatch.setattr(backend, "run", refuse_the_whole)
    predictor = Predictor.over(model_info(), backend, slicing=Slicing(64, 64))
    wide, small = predictor.predict_iter([scene(64, 150), scene(20, 20)])
    assert str(wide.error) == "too wide" and wide.image.shape == (64, 150, 3) and small.error is None


def limits_of(box, region, image_hw) -> tuple:
    """The edges of its slice at which a box ends."""
    edges = (0, 0, image_hw[1], image_hw[0])
    limits = [-np.inf, -np.inf, np.inf, np.inf]
    for axis in range(4):
        side = region[axis % 2 + 2] - region[axis % 2]
        if region[axis] != edges[axis] and abs(box[axis] - region[axis]) <= 0.02 * side:
            limits[axis] = region[axis]
    return tuple(limits)


def plain_merge(rows, image_hw, combine: str) -> list[tuple]:
    """The rule, one pair at a time; rows are (box, score, label, region), and the results (box, score, label)."""
    found = [
        {
            "box": box,
            "score": score,
            "own": score,
            "label": label,
            "seen": {region},
            "limits": limits_of(box, region, image_hw),
        }
        for box, score, label, region in rows
    ]
    for one in found:
        one["is_part"] = any(map(np.isfinite, one["limits"]))

    def match(a: dict, b: dict) -> bool:
        pair = (np.array(one, float) for one in (a["box"], b["box"], a["limits"], b["limits"]))
        if a["is_part"] != b["is_part"]:
            whole, part = (b, a) if a["is_part"] else (a, b)
            if np.float32(whole["own"]) < np.float32(0.5) * np.float32(part["own"]):
                return False
        return a["label"] == b["label"] and overlaps(*pair) > 0.5

    def take(best: dict, left: list[dict]) -> list[dict]:
        best["score"] = max([best["score"], *(one["score"] for one in left if match(best, one))])
        return [one for one in left if not match(best, one)]

    kept, left = [], sorted(found, key=lambda one: (one["is_part"], -one["score"]))
    while left and (combine == "nms" or not left[0]["is_part"]):
        kept.append(left.pop(0))
        left = take(kept[-1], left)
    wholes = list(kept)
    while left:
        first = left.pop(0)
        while True:
            other = next((one for one in left if match(first, one) and not one["seen"] & first["seen"]), None)
            if other is None:
                break
            left.remove(other)
            for axis in range(4):
                if (other["box"][axis] < first["box"][axis]) if axis < 2 else (other["box"][axis] > first["box"][axis]):
                    for key in ("box", "limits"):
                        first[key] = (*first[key][:axis], other[key][axis], *first[key][axis + 1 :])
            first["seen"] |= other["seen"]
        left = [one for one in left if not match(first, one)]
        whole = next((one for one in wholes if match(first, one)), None)
        if whole is None:
            kept.append(first)
        else:
            whole["score"] = max(whole["score"], first["score"])
    return sorted((tuple(map(float, one["box"])), round(one["score"], 3), one["label"]) for one in kept)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), combine=st.sampled_from(["nms", "nmm"]))
def test_merging_of_slices_is_that_of_plain_loops(seed, combine):
    rng = np.random.default_rng(seed)
    slicing, image_hw = Slicing(64, 64, 0.25, combine=combine), (64, 160)
    regions = [(0, 0, 160, 64), *slicing.regions(image_hw)]
    scores = iter(rng.permutation(100)[:40] / 100)  # all different, so the order is plain
    parts, rows = [], []
    for region in regions:
        width = region[2] - region[0]
        inside = []
        for _ in range(int(rng.integers(0, 7))):
            x0, y0 = rng.choice([0, 0, 10, 20, 40], 2)
            x1, y1 = min(x0 + rng.choice([20, 30, 64]), width), min(y0 + rng.choice([20, 30]), 64)
            score, label = float(next(scores)), int(rng.integers(0, 2))
            inside.append((x0, y0, x1, y1, score, label))
            rows.append(((x0 + region[0], y0, x1 + region[0], y1), score, label, region))
        parts.append(detections(sorted(inside, key=lambda one: -one[4])))
    merged = merge_slices(parts, regions, image_hw, slicing)
    assert sorted((row[:4], row[4], row[5]) for row in rows_of(merged)) == plain_merge(rows, image_hw, combine)
    assert (np.diff(merged.scores) <= 0).all()


def test_the_number_of_workers_changes_nothing():
    images = [scene(64 + 20 * index, 150, (60, 5, 90, 30), (2, 40, 120, 60)) for index in range(5)]
    predictor = Predictor.over(model_info(), RectangleFinder(), slicing=Slicing(64, 64), batch_size=3)
    one, four = (list(predictor.predict_iter(images, workers=workers)) for workers in (1, 4))
    assert all(same(a.detections, b.detections) for a, b in zip(one, four)) and len(one) == len(four) == 5


def test_threads_share_a_predictor():
    images = [scene(64, 100 + 30 * index, (60, 5, 90, 30), (2, 40, 20, 60)) for index in range(4)]
    predictor = Predictor.over(model_info(), RectangleFinder(), slicing=Slicing(64, 64), tta=TestTimeAugmentation(True))
    alone = [rows_of(predictor(image)) for image in images]
    results: dict[int, list] = {}
    threads = [
        threading.Thread(target=lambda one=index: results.update({one: [rows_of(predictor(images[one]))] * 3}))
        for index in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[index] for index in range(4)] == [[one] * 3 for one in alone]


@pytest.mark.parametrize("merging", ["weighted", "nms"])
@pytest.mark.parametrize("sliced", [False, True])
def test_mirrored_and_scaled_views_find_the_same(merging, sliced):
    image = scene(80, 120, (8, 8, 40, 32), (64, 40, 112, 72))
    tta = TestTimeAugmentation(flip=True, scales=(0.5, 2.0), merging=merging)
    found = predict(image, resize=120, tta=tta, slicing=Slicing(60, 60) if sliced else None)
    assert {row[4:] for row in rows_of(found)} == {(0.784, 1)} and len(found) == 2
    order = np.argsort(found.boxes_xyxy[:, 0])
    np.testing.assert_allclose(found.boxes_xyxy[order], [[8, 8, 40, 32], [64, 40, 112, 72]], atol=2)


def test_a_single_view_is_as_without_augmentation():
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    assert same(predict(image, resize=64), predict(image, resize=64, tta=TestTimeAugmentation()))


def test_scales_need_a_model_that_resizes():
    with pytest.raises(ValueError, match="The model's preprocessing does not resize images"):
        Predictor.over(model_info(), RectangleFinder(), tta=TestTimeAugmentation(scales=(2,)))
    with pytest.raises(ValueError, match="The scale 4 makes the input 16000x16000 pixels, more than 67108864"):
        Predictor.over(model_info(4000), RectangleFinder(), tta=TestTimeAugmentation(scales=(4,)))


def test_merging_of_variants():
    parts = [
        detections([(0, 0, 10, 10, 0.9, 1), (50, 50, 60, 60, 0.4, 0)]),
        detections([(2, 0, 12, 10, 0.6, 1), (0, 0, 10, 10, 0.5, 0)]),
    ]
    parts[0].masks[0] = 0.8
    parts[1].masks[0] = 0.2
    weighted = merge_variants(parts, TestTimeAugmentation(True))
    assert rows_of(weighted) == [
        (0.8, 0, 10.8, 10, 0.75, 1),  # the mean of both boxes and scores
        (0, 0, 10, 10, 0.25, 0),  # found in one view of two
        (50, 50, 60, 60, 0.2, 0),
    ]
    assert weighted.masks[0, 14, 14] == pytest.approx((0.9 * 0.8 + 0.6 * 0.2) / 1.5, abs=1e-6)
    best = merge_variants(parts, TestTimeAugmentation(True, merging="nms"))
    assert [row[4:] for row in rows_of(best)] == [(0.9, 1), (0.5, 0), (0.4, 0)]
    assert rows_of(best)[0][:4] == (0, 0, 10, 10)
    soft = merge_variants(parts, TestTimeAugmentation(True, merging="soft"))
    assert [row[4:] for row in rows_of(soft)] == [(0.9, 1), (0.5, 0), (0.4, 0), (0.2, 1)]  # 0.6 times 1 - 80 / 120
    assert soft.masks[3, 0, 0] == pytest.approx(0.2)
    empty = merge_variants([detections([]), detections([])], TestTimeAugmentation(True))
    assert len(empty) == 0 and empty.masks.shape == (0, 28, 28)


def test_detectors_without_masks():
    parts = [
        Detections(np.float32([[70, 10, 100, 40]]), np.float32([0.9]), np.int32([1]), None, (100, 100), **SHARED),
        Detections(np.float32([[0, 10, 60, 40]]), np.float32([0.8]), np.int32([1]), None, (100, 100), **SHARED),
    ]
    merged = merge_slices(parts, [(0, 0, 100, 100), (80, 0, 180, 100)], (100, 180), Slicing(100, 100))
    assert rows_of(merged) == [(70, 10, 140, 40, 0.9, 1)] and merged.masks is None and merged.joined_rles is None
    assert merge_variants(parts, TestTimeAugmentation(True)).masks is None
