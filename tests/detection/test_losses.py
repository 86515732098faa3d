"""The losses that ppdet's heads can take instead of their own, by name in a recipe."""

from __future__ import annotations

import math

import paddle
import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.registry import create_from_config
from tests.helpers.tiny_detector import detector_config, make_training_batch

BOXES = [[(20, 30, 90, 100), (100, 20, 150, 60)], [(40, 40, 120, 130)]]


def _train(settings: dict, steps: int = 3) -> list[dict[str, float]]:
    """Return the losses of some steps, and the largest gradient of the layer that moves boxes as ``gradient``."""
    paddle.seed(1)
    model = create_from_config(detector_config("FasterRCNN", settings=settings), "FasterRCNN")
    model.train()
    optimizer = paddle.optimizer.Adam(0.002, parameters=model.parameters())
    layer = model.rpn_head.rpn_rois_delta if "RPNHead" in settings else model.bbox_head.bbox_delta
    records = []
    for _ in range(steps):
        losses = model(make_training_batch(BOXES))
        losses["loss"].backward()
        gradient = layer.weight.grad.abs().max()
        optimizer.step()
        optimizer.clear_grad()
        records.append({name: float(value) for name, value in {**losses, "gradient": gradient}.items()})
    return records


@pytest.mark.parametrize(
    "settings",
    [
        {"BBoxHead": {"bbox_loss": "GIoULoss"}},
        {"BBoxHead": {"bbox_loss": {"name": "GIoULoss", "loss_weight": 10.0}}},
        {"BBoxHead": {"bbox_loss": "SIoULoss"}},
        {"BBoxHead": {"bbox_loss": "SmoothL1Loss"}},
        {"RPNHead": {"loss_rpn_bbox": "SmoothL1Loss"}},
    ],
    ids=str,
)
def test_a_loss_is_learned(settings):
    for record in _train(settings):
        assert all(math.isfinite(value) for value in record.values())
        assert record["gradient"] > 0


def test_the_loss_of_boxes_is_the_one_that_was_named():
    plain, other, weighted = (
        _train({"BBoxHead": {"bbox_loss": loss}}, 1)[0]
        for loss in (None, "GIoULoss", {"name": "GIoULoss", "loss_weight": 10.0})
    )
    assert plain["loss_bbox_cls"] == pytest.approx(other["loss_bbox_cls"], rel=1e-5)
    assert plain["loss_bbox_reg"] != pytest.approx(other["loss_bbox_reg"], rel=0.1)
    assert weighted["loss_bbox_reg"] == pytest.approx(10 * other["loss_bbox_reg"], rel=1e-4)


@pytest.mark.parametrize(
    "override, message",
    [
        (
            "BBoxHead.bbox_loss=DIouLoss",
            "bbox_loss is DIouLoss, which multiplies with booleans, which Paddle refuses. Choose",
        ),
        (
            "BBoxHead.bbox_loss={name: IouLoss}",
            "bbox_loss is IouLoss, which takes boxes in a form that no R-CNN has. Choose",
        ),
        (
            "RPNHead.loss_rpn_bbox=GIoULoss",
            "loss_rpn_bbox is GIoULoss, but it is given offsets of boxes, not boxes. Choose",
        ),
    ],
)
def test_losses_that_cannot_work_are_refused(override, message):
    with pytest.raises(ConfigError) as error:
        load_config("demo_mask_rcnn", [override])
    assert message in str(error.value)


def test_losses_that_work_are_accepted():
    for override in ("BBoxHead.bbox_loss=GIoULoss", "BBoxHead.bbox_loss=null", "RPNHead.loss_rpn_bbox=SmoothL1Loss"):
        load_config("demo_mask_rcnn", [override])
