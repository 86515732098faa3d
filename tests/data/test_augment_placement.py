"""Boxes and masks follow the pixels: what is moved, cut and laid equals what slow references say."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from pycocotools import mask as mask_utils

from ppdet_res2net.data.augment.objects import join_objects, keep_objects
from ppdet_res2net.data.augment.outlines import visible_box
from ppdet_res2net.data.augment.placement import Placement

MARGIN = 200


def draw(polygons, height, width) -> np.ndarray:
    """Draw polygons with room around the picture, where pycocotools does not have to cut them."""
    moved = [(np.reshape(polygon, -1) + MARGIN).tolist() for polygon in polygons]
    if not moved:
        return np.zeros((height, width), np.uint8)
    rows, columns = height + 2 * MARGIN, width + 2 * MARGIN
    whole = mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(moved, rows, columns)))
    return whole[MARGIN:-MARGIN, MARGIN:-MARGIN]


def sample_of(masks, boxes=None) -> dict:
    """Return a sample whose objects can be told apart by each of their entries."""
    count = len(masks)
    numbers = np.arange(count, dtype=np.int32)[:, None]
    boxes = [around(mask) for mask in masks] if boxes is None else boxes
    return {
        "gt_bbox": np.array(boxes, np.float32).reshape(-1, 4),
        "gt_class": numbers, "is_crowd": numbers % 2, "difficult": numbers % 3, "gt_score": numbers / 10,
        "gt_poly": list(masks),
    }  # fmt: skip


def around(mask) -> np.ndarray:
    if isinstance(mask, dict):
        x, y, width, height = mask_utils.toBbox(mask)
        return np.array([x, y, x + width, y + height])
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in mask])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def random_polygon(generator, width, height) -> np.ndarray:
    """Return a polygon that may cross itself and reach beyond the picture."""
    low, high = np.array([-0.3 * width, -0.3 * height]), np.array([1.3 * width, 1.3 * height])
    points = generator.uniform(low, high, (generator.integers(3, 12), 2))
    return (points.round() if generator.integers(2) else points).reshape(-1)


def random_window(generator, width, height):
    x0, y0 = generator.integers(0, width - 5), generator.integers(0, height - 5)
    return int(x0), int(y0), int(generator.integers(x0 + 3, width + 1)), int(generator.integers(y0 + 3, height + 1))


@pytest.mark.parametrize("seed", range(8))
def test_a_cut_polygon_is_drawn_as_the_cut_drawing(seed):
    generator = np.random.default_rng(seed)
    different, drawn = 0, 0
    for _ in range(50):
        height, width = generator.integers(20, 120, 2).tolist()
        polygon = random_polygon(generator, width, height)
        x0, y0, x1, y1 = random_window(generator, width, height)
        placement = Placement((height, width), (height, width), (x0, y0, x1, y1), (y1 - y0 + 7, x1 - x0 + 9), (4, 3))
        sample = sample_of([[polygon]])
        placement.move_objects(sample)
        expected = np.zeros(placement.canvas_hw, np.uint8)
        expected[3 : 3 + y1 - y0, 4 : 4 + x1 - x0] = draw([polygon], height, width)[y0:y1, x0:x1]
        found = draw(sample["gt_poly"][0], *placement.canvas_hw) if sample["gt_poly"] else np.zeros_like(expected)
        # pycocotools rounds points to a fifth of a pixel, so cut edges may be off by that.
        inner = shapely.Polygon(polygon.reshape(-1, 2)).exterior
        rows, columns = np.nonzero(found != expected)
        for point in shapely.points(columns + x0 - 3.5, rows + y0 - 2.5):
            assert inner.distance(point) < 1.5
        different, drawn = different + len(rows), drawn + expected.sum()
    assert different < 0.02 * drawn


@pytest.mark.parametrize("seed", range(4))
def test_the_box_of_a_cut_polygon_is_that_of_its_visible_part(seed):
    generator = np.random.default_rng(seed)
    size = np.array([100.0, 75.0])
    empty = 0
    for _ in range(300):
        points = generator.uniform(-50, 150, (generator.integers(3, 14), 2)) - generator.choice([0, 60])
        visible = shapely.make_valid(shapely.Polygon(points)).intersection(shapely.box(0, 0, *size))
        found = visible_box(points, size)
        if visible.area == 0:
            assert found is None
            empty += 1
        else:
            np.testing.assert_allclose(found, visible.bounds, atol=1e-5)
    assert empty > 5


def test_polygons_that_touch_the_window_are_not_in_it():
    size = np.array([10.0, 8.0])
    beside = np.array([[-5.0, 0.0], [0.0, 0.0], [0.0, 8.0], [-5.0, 8.0]])
    corner = np.array([[0.0, 0.0], [-4.0, 0.0], [0.0, -4.0]])
    around_it = np.array([[-5.0, -5.0], [15.0, -5.0], [15.0, -1.0], [-1.0, -1.0], [-1.0, 12.0], [-5.0, 12.0]])
    for points in (beside, corner, around_it):
        assert visible_box(points, size) is None
    whole = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 8.0], [0.0, 8.0]])
    np.testing.assert_array_equal(visible_box(whole, size), [0, 0, 10, 8])
    np.testing.assert_array_equal(visible_box(whole * 3 - 5, size), [0, 0, 10, 8])


def test_a_box_does_not_reach_along_the_side_where_a_polygon_falls_apart():
    # It comes into the window at the left, and passes above it: clipping joins both parts along the sides.
    polygon = np.array([[-5, 60], [20, 60], [20, 50], [-2, 50], [-2, -4], [30, -4], [30, -8], [-5, -8]], float).reshape(
        -1
    )
    sample = sample_of([[polygon]])
    Placement((80, 80), (80, 80), (0, 0, 80, 80), (80, 80)).move_objects(sample)
    np.testing.assert_allclose(sample["gt_bbox"], [[0, 50, 20, 60]])
    expected = np.zeros((80, 80), np.uint8)
    expected[50:60, 0:20] = 1
    np.testing.assert_array_equal(draw(sample["gt_poly"][0], 80, 80), expected)


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_follow_the_pixels(seed):
    generator = np.random.default_rng(seed)
    bitmap = (generator.random((12, 15)) < 0.3).repeat(4, axis=0).repeat(4, axis=1).astype(np.uint8)
    rle = mask_utils.encode(np.asfortranarray(bitmap))
    resized_hw = tuple((16 * generator.integers(1, 8, 2)).tolist())  # so that no centre is on a line between two pixels
    x0, y0, x1, y1 = random_window(generator, resized_hw[1], resized_hw[0])
    placement = Placement((48, 60), resized_hw, (x0, y0, x1, y1), (130, 140), (5, 2))
    sample = sample_of([rle])
    placement.move_objects(sample)
    # The pixel that holds a pixel's centre, as Pillow's NEAREST takes it.
    rows = ((np.arange(y0, y1) + 0.5) * 48 / resized_hw[0]).astype(int)
    columns = ((np.arange(x0, x1) + 0.5) * 60 / resized_hw[1]).astype(int)
    expected = np.zeros((130, 140), np.uint8)
    expected[2 : 2 + y1 - y0, 5 : 5 + x1 - x0] = bitmap[rows][:, columns]
    np.testing.assert_array_equal(mask_utils.decode(sample["gt_poly"][0]), expected)
    np.testing.assert_array_equal(sample["gt_bbox"][0], around(sample["gt_poly"][0]))


def test_only_objects_that_are_cut_get_new_boxes():
    inside, cut = np.array([[10, 10, 30, 10, 20, 30]], float), np.array([[50, 10, 90, 10, 90, 50]], float)
    boxes = [[8, 8, 33, 33], [48, 8, 92, 52]]  # looser than the masks
    sample = sample_of([list(inside), list(cut)], boxes)
    Placement((60, 100), (120, 200), (0, 0, 150, 120), (128, 160)).move_objects(sample)
    # The triangle's left side rises from (50, 10) to (90, 50), and the window ends at 75.
    np.testing.assert_allclose(sample["gt_bbox"], [[16, 16, 66, 66], [100, 20, 150, 70]])


def test_without_masks_boxes_are_clipped():
    sample = {
        "gt_bbox": np.array([[8, 8, 33, 33], [48, 8, 92, 52], [80, 0, 99, 9]], np.float32),
        "gt_class": np.arange(3)[:, None],
    }
    Placement((60, 100), (120, 200), (0, 0, 150, 120), (128, 160)).move_objects(sample)
    np.testing.assert_array_equal(sample["gt_bbox"], [[16, 16, 66, 66], [96, 16, 150, 104]])
    assert sample["gt_class"].ravel().tolist() == [0, 1] and sample["gt_bbox"].dtype == np.float32


def test_all_entries_of_an_object_stay_together():
    square = np.array([[0, 0, 10, 0, 10, 10, 0, 10]], float)
    dot = np.zeros((60, 100), np.uint8)
    dot[5, 90] = 1
    masks = [list(square + 2), list(square + 70), list(square + 30), mask_utils.encode(np.asfortranarray(dot))]
    sample = sample_of(masks)
    Placement((60, 100), (60, 100), (0, 0, 60, 60), (60, 60)).move_objects(sample)
    assert sample["gt_class"].ravel().tolist() == [0, 2]
    assert sample["is_crowd"].ravel().tolist() == [0, 0] and sample["difficult"].ravel().tolist() == [0, 2]
    np.testing.assert_allclose(sample["gt_score"].ravel(), [0, 0.2])
    assert [around(mask).tolist() for mask in sample["gt_poly"]] == [[2, 2, 12, 12], [30, 30, 40, 40]]


def test_run_lengths_too_small_to_be_seen_are_left_out():
    dot = np.zeros((60, 100), np.uint8, order="F")
    dot[5, 50] = 1
    sample = sample_of([mask_utils.encode(dot)])
    Placement((60, 100), (6, 10), (0, 0, 10, 6), (6, 10)).move_objects(sample)
    assert sample["gt_bbox"].shape == (0, 4) and sample["gt_poly"] == []


def test_a_sample_without_objects():
    sample = sample_of([])
    Placement((60, 100), (30, 50), (0, 0, 40, 30), (30, 40)).move_objects(sample)
    assert sample["gt_bbox"].shape == (0, 4) and sample["gt_poly"] == [] and sample["gt_class"].shape == (0, 1)
    assert join_objects([sample, sample])["gt_bbox"].shape == (0, 4)
    keep_objects(sample, [])
    assert sample["gt_bbox"].dtype == np.float32


def test_an_image_that_shrinks_is_averaged_and_one_that_grows_is_interpolated():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    shrunk = Placement((64, 64), (8, 8), (0, 0, 8, 8), (8, 8)).cut_image(stripes, 1)
    assert (shrunk == 100).all()
    ramp = np.arange(0, 64, 4, dtype=np.uint8)[None].repeat(16, axis=0)
    grown = Placement((16, 16), (64, 64), (8, 0, 24, 64), (64, 16)).cut_image(ramp, 1)
    np.testing.assert_allclose(
        grown[0], np.interp((np.arange(8, 24) + 0.5) / 4 - 0.5, np.arange(16), ramp[0]), atol=0.51
    )
