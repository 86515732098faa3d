"""Mask targets for the sampled RoIs; replaces ppdet's ``MaskAssigner``."""

from __future__ import annotations

import numpy as np
import paddle
from pycocotools import mask as mask_utils

__all__ = ["MaskAssigner"]


class MaskAssigner:
    """Selects the foreground RoIs and rasterises their instances inside them.

    It differs from paddledet's class in three ways. An instance may be COCO RLE (a mask with holes) as well as polygons.
    An image without foreground contributes one RoI of weight 0, instead of indexing a RoI that may not exist. Targets
    are computed in NumPy, with one transfer to the device per batch.

    Args:
        num_classes: Number of foreground classes, which is also the label of background RoIs.
        mask_resolution: Side of the square targets.
    """

    __shared__ = ["num_classes", "mask_resolution"]

    def __init__(self, num_classes: int = 80, mask_resolution: int = 14) -> None:
        self.num_classes = num_classes
        self.mask_resolution = mask_resolution

    def __call__(self, rois: list, tgt_labels: list, tgt_gt_inds: list, inputs: dict) -> tuple:
        """Return ppdet's tuple (rois, rois_num, classes, masks, index, weights).

        Args:
            rois: Per image, sampled RoIs (R, 4) xyxy in pixels of the network input.
            tgt_labels: Per image, labels (R,), ``num_classes`` for background and -1 for ignored.
            tgt_gt_inds: Per image, indices (R,) of the matched instance.
            inputs: The batch; ``gt_poly`` holds, per image and instance, polygons or an RLE dictionary.
        """
        resolution = self.mask_resolution
        mask_rois, counts, classes, masks, indices, weights = [], [], [], [], [], []
        for image_rois, labels, gt_inds, segments in zip(rois, tgt_labels, tgt_gt_inds, inputs["gt_poly"]):
            labels_np = labels.numpy().reshape(-1)
            foreground = np.flatnonzero((labels_np >= 0) & (labels_np != self.num_classes))
            if len(foreground):
                boxes, instances = image_rois.numpy()[foreground], gt_inds.numpy().reshape(-1)[foreground]
                # Many RoIs share an instance, and decoding its run lengths takes most of the time.
                drawn = {
                    i: decode_mask(segments[i]) if isinstance(segments[i], dict) else segments[i]
                    for i in set(instances)
                }
                masks.append(
                    np.stack([rasterize_in_box(drawn[i], box, resolution) for i, box in zip(instances, boxes)])
                )
                classes.append(labels_np[foreground])
                weights.append(np.ones(len(foreground), np.float32))
            else:  # the loss needs at least one RoI per image; this RoI has weight 0
                foreground = np.zeros(1, np.int64)
                masks.append(np.zeros((1, resolution, resolution), np.int32))
                classes.append(np.zeros(1, labels_np.dtype))
                weights.append(np.zeros(1, np.float32))
            index = paddle.to_tensor(foreground.astype(np.int64))
            selected = paddle.gather(image_rois, index)
            selected.stop_gradient = True
            mask_rois.append(selected)
            indices.append(index)
            counts.append(len(foreground))
        return (
            mask_rois,
            paddle.to_tensor(np.asarray(counts, np.int32)),
            paddle.to_tensor(np.concatenate(classes).astype(np.int64)),
            paddle.to_tensor(np.concatenate(masks)),
            paddle.concat(indices),
            paddle.to_tensor(np.concatenate(weights)),
        )


def decode_mask(rle: dict) -> np.ndarray:
    """Return COCO RLE, compressed or not, as uint8 (H, W) of 0 and 1."""
    if isinstance(rle["counts"], list):
        rle = mask_utils.frPyObjects(rle, *rle["size"])
    return mask_utils.decode(rle)


def rasterize_in_box(segment: list | dict | np.ndarray, box_xyxy: np.ndarray, resolution: int) -> np.ndarray:
    """Return the instance inside ``box_xyxy`` as an int32 (resolution, resolution) mask of 0 and 1.

    Args:
        segment: Polygons ``[[x0, y0, x1, y1, ...], ...]`` or COCO RLE in pixels of the input, or what :func:`decode_mask` makes
            of RLE.
        box_xyxy: The RoI.
        resolution: Side of the target.
    """
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    if isinstance(segment, dict):
        segment = decode_mask(segment)
    if isinstance(segment, np.ndarray):
        return _resample(segment, x0, y0, x1, y1, resolution)
    scale = np.array([resolution / max(x1 - x0, 0.1), resolution / max(y1 - y0, 0.1)])
    polygons = [
        ((np.asarray(polygon, np.float64).reshape(-1, 2) - [x0, y0]) * scale).reshape(-1) for polygon in segment
    ]
    rles = mask_utils.frPyObjects([polygon.tolist() for polygon in polygons], resolution, resolution)
    return mask_utils.decode(mask_utils.merge(rles)).astype(np.int32)


def _resample(bitmap: np.ndarray, x0: float, y0: float, x1: float, y1: float, resolution: int) -> np.ndarray:
    height, width = bitmap.shape
    centres = (np.arange(resolution) + 0.5) / resolution
    columns = np.floor(x0 + centres * (x1 - x0)).astype(int)
    rows = np.floor(y0 + centres * (y1 - y0)).astype(int)
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
    sampled = bitmap[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)[None, :]]
    return np.where(inside, sampled, 0).astype(np.int32)
