"""Cascade R-CNN beyond paddledet's: crowds in training, a mask head for each stage, and the mean of logits."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppdet_res2net.detection.inference import RCNNInference
from ppdet_res2net.zoo.report import describe_contents
from tests.helpers import tiny_detector as tiny

TWO_OBJECTS = [(10, 10, 60, 60), (60, 60, 150, 140)]
MASK_HEADS = {
    "CascadeRCNN": {"mask_head": "CascadeMaskHead"},
    "CascadeMaskHead": {
        "head": "MaskFeat",
        "roi_extractor": {"resolution": 14, "sampling_ratio": 0, "aligned": True},
        "mask_assigner": "MaskAssigner",
    },
}


def build(**settings):
    """A detector that moves its regions little, so that those of every stage have objects."""
    model = tiny.build_ours(tiny.detector_config("CascadeRCNN", settings=settings))
    for layer in model.bbox_head.bbox_delta_list:
        layer.weight.set_value(layer.weight * 0.02)
        layer.bias.set_value(layer.bias * 0)
    model.train()
    return model


def train_once(model, batch):
    losses = model(batch)
    losses["loss"].backward()
    return {name: float(value) for name, value in losses.items()}


@pytest.fixture(scope="module")
def detector():
    return build()


@pytest.mark.parametrize("objects", [[TWO_OBJECTS, []], [[], []], [[]]], ids=["one of two", "none of two", "none"])
def test_training_with_images_without_objects(detector, objects):
    losses = train_once(detector, tiny.make_training_batch(objects))
    assert all(np.isfinite(value) for value in losses.values())
    regression = [losses[f"loss_bbox_reg_stage{stage}"] for stage in range(3)]
    assert all(value > 0 for value in regression) if any(objects) else regression == [0, 0, 0]
    detector.clear_gradients()


def test_regions_inside_crowds_are_ignored_in_every_stage():
    assigner = {"batch_size_per_im": 64, "use_random": False, "ignore_thresh": 0.5}
    model = tiny.build_ours(tiny.detector_config("CascadeRCNN", settings={"BBoxAssigner": assigner}))
    model.train()  # its regions move far, and some into the crowd
    batch = tiny.make_training_batch([TWO_OBJECTS])
    batch["is_crowd"] = [paddle.to_tensor([[0], [1]], "int32")]
    losses = train_once(model, batch)
    assert all(np.isfinite(value) for value in losses.values())
    counts = []
    for rois, rois_num, (labels, boxes, instances) in model.bbox_head.assigned_stages:
        assert len(rois[0]) == int(rois_num[0]) == len(labels[0]) == len(boxes[0]) == len(instances[0])
        assert labels[0].min() >= 0
        counts.append(len(rois[0]))
        inside = share_inside(rois[0].numpy(), TWO_OBJECTS[1])
        assert (inside[labels[0].numpy() == 5] <= 0.5).all()  # no background in the crowd
    assert counts[1] < 64  # some were left out


def share_inside(boxes, region):
    low, high = np.maximum(boxes[:, :2], region[:2]), np.minimum(boxes[:, 2:], region[2:])
    return np.clip(high - low, 0, None).prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def test_an_image_with_nothing_but_ignored_regions_keeps_one_as_background():
    from ppdet_res2net.compat.cascade_ignored import leave_out_ignored

    regions = [paddle.ones([2, 4]), paddle.ones([3, 4])]
    labels = [paddle.to_tensor([-1, -1], "int32"), paddle.to_tensor([1, -1, 5], "int32")]
    numbers = [paddle.zeros([2], "int64"), paddle.to_tensor([4, 5, 6])]
    rois, counts, targets = leave_out_ignored(regions, paddle.to_tensor([2, 3]), (labels, regions, numbers), 5)
    assert counts.tolist() == [1, 2]
    assert [one.shape for one in rois] == [[1, 4], [2, 4]]
    assert [one.tolist() for one in targets[0]] == [[5], [1, 5]]
    assert targets[2][1].tolist() == [4, 6]


def test_every_mask_head_is_trained_on_the_regions_of_its_stage():
    weights = [1.0, 0.5, 0.25]
    model = build(**MASK_HEADS, CascadeHead={**head_settings(), "stage_loss_weights": weights})
    seen = []
    for head in model.mask_head.stages:
        head.mask_assigner = spy(head.mask_assigner, seen)
    losses = train_once(model, tiny.make_training_batch([TWO_OBJECTS]))
    assert [name for name in losses if "mask" in name] == [f"loss_mask_stage{stage}" for stage in range(3)]
    for stage, head in enumerate(model.mask_head.stages):
        assert float(head.mask_fcn_logits.weight.grad.abs().max()) > 0
        np.testing.assert_array_equal(seen[stage], model.bbox_head.assigned_stages[stage][0][0].numpy())
    assert not np.array_equal(seen[0], seen[1])
    # The weight of a stage is that of its masks, too.
    model.bbox_head.stage_loss_weights = [2 * weight for weight in weights]
    doubled = train_once(model, tiny.make_training_batch([TWO_OBJECTS]))
    assert doubled["loss_mask_stage2"] == pytest.approx(2 * losses["loss_mask_stage2"], rel=0.01)


def head_settings():
    return tiny.detector_config("CascadeRCNN")["CascadeHead"]


def spy(assigner, seen):
    def assign(rois, *others):
        seen.append(rois[0].numpy())
        return assigner(rois, *others)

    return assign


def test_masks_are_the_mean_of_the_heads():
    model = tiny.build_ours(tiny.detector_config("CascadeRCNN", settings=MASK_HEADS))
    inputs = tiny.make_inputs([(150, 180)], [(1.5, 1.5)])
    together = tiny.detect(model, inputs)
    heads, alone = list(model.mask_head.stages), []
    for head in heads:
        model.mask_head.stages = paddle.nn.LayerList([head])
        alone.append(tiny.detect(model, inputs)["masks"])
    assert len(together["masks"]) >= 3
    np.testing.assert_allclose(together["masks"], np.mean(alone, axis=0), rtol=0, atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 0.1


def test_the_mean_of_logits_is_not_the_mean_of_probabilities():
    model = tiny.build_ours(tiny.detector_config("CascadeRCNN"))
    logits = [paddle.to_tensor([[4.0, 0.0, 0.0, 0.0, 0.0, 0.0]]), paddle.zeros([1, 6]), paddle.zeros([1, 6])]
    means = {}
    for averaged in ("probabilities", "logits"):
        model.bbox_head.averaged = averaged
        means[averaged] = model.bbox_head.average(logits).numpy()
    softmax = [np.exp(one) / np.exp(one).sum() for one in (t.numpy() for t in logits)]
    np.testing.assert_allclose(means["probabilities"], np.mean(softmax, axis=0), rtol=1e-5)
    mean = np.exp(np.mean([t.numpy() for t in logits], axis=0))
    np.testing.assert_allclose(means["logits"], mean / mean.sum(), rtol=1e-5)


def test_a_cascade_without_masks_has_no_masks(detector):
    assert RCNNInference(build(CascadeRCNN={"mask_head": None})).output_names == ("boxes", "scores", "labels", "num")
    shapes = {name: tensor.shape for name, tensor in detector.state_dict().items()}
    assert describe_contents(shapes).endswith(", a Cascade Mask R-CNN of 5 classes")
