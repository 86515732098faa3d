"""Mask targets: paddledet's for polygons; run-length masks, crowds and images without foreground."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from pycocotools import mask as coco_mask

paddle = pytest.importorskip("paddle")
if importlib.util.find_spec("ppdet") is None:
    pytest.skip("paddledet is not installed", allow_module_level=True)

from ppdet_res2net.compat import prepare_ppdet  # noqa: E402
from ppdet_res2net.ppdet_modules.mask_assigner import MaskAssigner, rasterize_in_box  # noqa: E402
from tests.helpers import tiny_detector as tiny  # noqa: E402

prepare_ppdet()

from ppdet.modeling.proposal_generator.target_layer import MaskAssigner as PaddledetsMaskAssigner  # noqa: E402

CLASSES = 3
NAMES = ("rois", "rois_num", "classes", "masks", "index", "weights")


def random_boxes(rng, count):
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(2, 60, (count, 2))], axis=1).astype("float32")


def make_samples(seed, images=2, rois=9, objects=3):
    """RoIs with labels from ignored (-1) to background (CLASSES), and polygons in one or two parts."""
    rng = np.random.RandomState(seed)
    boxes, labels, indices, polygons = [], [], [], []
    for _ in range(images):
        boxes.append(paddle.to_tensor(random_boxes(rng, rois)))
        labels.append(
            paddle.to_tensor(rng.permutation([-1, CLASSES] + list(range(CLASSES)) * 3)[:rois].astype("int32"))
        )
        indices.append(paddle.to_tensor(rng.randint(0, objects, rois).astype("int32")))
        polygons.append([[tiny.octagon(*box) for box in random_boxes(rng, 1 + i % 2)] for i in range(objects)])
    return boxes, labels, indices, {"gt_poly": polygons}


def run(assigner_class, samples, resolution=28):
    """The assigner's six results as arrays; RoIs of all images joined."""
    results = dict(zip(NAMES, assigner_class(CLASSES, resolution)(*samples)))
    results["rois"] = paddle.concat(results["rois"])
    return {name: value.numpy() for name, value in results.items()}


@pytest.mark.parametrize("resolution", [14, 28])
@pytest.mark.parametrize("seed", range(4))
def test_targets_of_polygons_are_paddledets(seed, resolution):
    samples = make_samples(seed)
    found, expected = (run(cls, samples, resolution) for cls in (MaskAssigner, PaddledetsMaskAssigner))
    assert 0 < expected["masks"].mean() < 1
    for name in NAMES:
        np.testing.assert_array_equal(found[name].squeeze(), expected[name].squeeze(), err_msg=name)
        assert found[name].size == expected[name].size
    assert found["masks"].shape == (len(found["rois"]), resolution, resolution)


def test_polygons_may_be_float64_arrays():
    samples = make_samples(0)
    as_arrays = [[[np.asarray(part, "float64") for part in one] for one in image] for image in samples[3]["gt_poly"]]
    expected = run(MaskAssigner, samples)
    found = run(MaskAssigner, (*samples[:3], {"gt_poly": as_arrays}))
    for name in NAMES:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("objects", [3, 0])
def test_an_image_without_foreground_counts_for_nothing(objects):
    boxes, labels, indices, inputs = make_samples(1)
    labels[0] = paddle.to_tensor(np.array([CLASSES, -1] * 4 + [CLASSES], "int32"))
    inputs["gt_poly"][0] = inputs["gt_poly"][0][:objects]
    found = run(MaskAssigner, (boxes, labels, indices, inputs))
    assert found["rois_num"].tolist() == [1, int(((labels[1] >= 0) & (labels[1] != CLASSES)).sum())]
    assert found["weights"].tolist() == [0.0] + [1.0] * (found["rois_num"][1])
    assert not found["masks"][0].any()
    assert 0 <= found["classes"][0] < CLASSES
    alone = run(MaskAssigner, ([boxes[1]], [labels[1]], [indices[1]], {"gt_poly": inputs["gt_poly"][1:]}))
    for name in ("rois", "classes", "masks", "index", "weights"):
        np.testing.assert_array_equal(found[name][1:], alone[name])


def test_one_roi_that_is_background():
    samples = (
        [paddle.to_tensor([[0.0, 0.0, 10.0, 10.0]])],
        [paddle.full([1], CLASSES, "int32")],
        [paddle.zeros([1], "int32")],
        {"gt_poly": [[]]},
    )
    found = run(MaskAssigner, samples)
    assert found["weights"].tolist() == [0.0]
    assert found["index"].tolist() == [0]


# ---------------------------------------------------------------- run-length masks

BITMAP = np.zeros((40, 50), "uint8")
BITMAP[8:32, 10:42] = 1
BITMAP[14:26, 18:34] = 0  # a hole, which polygons cannot say


def compressed():
    return coco_mask.encode(np.asfortranarray(BITMAP))


def uncompressed():
    changes = np.flatnonzero(np.diff(BITMAP.ravel(order="F"), prepend=0))
    counts = np.diff([0, *changes, BITMAP.size])
    return {"size": list(BITMAP.shape), "counts": counts.tolist()}


@pytest.mark.parametrize("rle", [compressed(), uncompressed()], ids=["compressed", "uncompressed"])
def test_a_run_length_mask_is_sampled_inside_the_box(rle):
    whole = rasterize_in_box(rle, np.array([10, 8, 42, 32], "float32"), 8)
    expected = np.ones((8, 8), "int32")
    expected[2:6, 2:6] = 0
    np.testing.assert_array_equal(whole, expected)
    assert whole.dtype == np.int32
    one_pixel_each = rasterize_in_box(rle, np.array([9, 3, 49, 43], "float32"), 40)
    np.testing.assert_array_equal(one_pixel_each[:37], BITMAP[3:40, 9:49])
    assert not one_pixel_each[37:].any()  # below the image


def test_a_box_beside_the_image_or_without_area_has_an_empty_target():
    assert not rasterize_in_box(compressed(), np.array([60, 50, 80, 70], "float32"), 8).any()
    assert not rasterize_in_box(compressed(), np.array([-30, -30, -5, -5], "float32"), 8).any()
    assert rasterize_in_box([tiny.octagon(5, 5, 20, 20)], np.array([8, 8, 8, 8], "float32"), 8).shape == (
        8,
        8,
    )


def test_polygons_and_run_lengths_of_one_shape_agree():
    rectangle = [[10.0, 8.0, 42.0, 8.0, 42.0, 32.0, 10.0, 32.0]]
    rle = coco_mask.merge(coco_mask.frPyObjects(rectangle, *BITMAP.shape))
    for box in ([10, 8, 42, 32], [0, 0, 50, 40], [20, 0, 60, 20]):
        box = np.array(box, "float32")
        different = rasterize_in_box(rectangle, box, 28) != rasterize_in_box(rle, box, 28)
        assert different.mean() <= 0.05


def test_polygons_and_run_lengths_mix_in_an_image():
    boxes, labels, indices, inputs = make_samples(2, images=1)
    expected = run(MaskAssigner, (boxes, labels, indices, inputs))
    inputs["gt_poly"][0][1] = compressed()  # as a crowd has
    found = run(MaskAssigner, (boxes, labels, indices, inputs))
    matched = indices[0].numpy()[found["index"]]
    assert (matched == 1).any() and (matched != 1).any()
    np.testing.assert_array_equal(found["masks"][matched != 1], expected["masks"][matched != 1])
    for mask, box in zip(found["masks"][matched == 1], found["rois"][matched == 1]):
        np.testing.assert_array_equal(mask, rasterize_in_box(compressed(), box, 28))


def test_training_with_a_crowd():
    """A crowd is ignored by the samplers when they are told to, and trained on as a mask otherwise."""
    for ignore_thresh in (-1.0, 0.5):
        config = tiny.detector_config(
            settings={"BBoxAssigner": {"batch_size_per_im": 64, "use_random": False, "ignore_thresh": ignore_thresh}}
        )
        model = tiny.build_ours(config)
        model.train()
        batch = tiny.make_training_batch([[(10, 10, 60, 60), (50, 50, 150, 120)]])
        whole = np.zeros(tiny.NETWORK_HW, "uint8")
        whole[50:120, 50:150] = 1
        batch["gt_poly"][0][1] = coco_mask.encode(np.asfortranarray(whole))
        batch["is_crowd"] = [paddle.to_tensor(np.array([[0], [1]], "int32"))]
        losses = {name: float(value) for name, value in model(batch).items()}
        assert all(np.isfinite(value) for value in losses.values())
        assert losses["loss_mask"] > 0
