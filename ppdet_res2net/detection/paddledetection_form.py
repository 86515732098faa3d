"""A detector with the outputs that PaddleDetection's exports have, which other programs know how to read."""

from __future__ import annotations

import paddle
from paddle import nn

from ppdet_res2net.compat.onednn_division import divide_out_of_place
from ppdet_res2net.detection.inference import RCNNInference, original_size
from ppdet_res2net.ppdet_modules.rows import image_of_row

__all__ = ["PaddleDetectionForm", "paste_masks"]

_FAR_BELOW = -100.0


class PaddleDetectionForm(nn.Layer):
    """Gives the results of a detector as PaddleDetection's exported graphs do.

    Args:
        network: The detector.
        mask_threshold: Smallest probability of a pixel that belongs to a mask.
    """

    def __init__(self, network: RCNNInference, mask_threshold: float) -> None:
        super().__init__()
        self.network = network
        self.mask_threshold = mask_threshold

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what ``forward`` returns, in order; Faster R-CNN has no ``mask``."""
        return ("bbox", "bbox_num", "mask") if self.network.mask_heads else ("bbox", "bbox_num")

    def forward(
        self, image: paddle.Tensor, im_shape: paddle.Tensor, scale_factor: paddle.Tensor
    ) -> tuple[paddle.Tensor, ...]:
        """Detect objects.

        Args:
            image: (N, 3, H, W) float32, normalised RGB, padded at the right and the bottom.
            im_shape: (N, 2) float32, height and width before padding.
            scale_factor: (N, 2) float32, network pixels per original pixel, vertical and horizontal.

        Returns:
            bbox: (M, 6) float32: label from 0, score, and the box xyxy in pixels of the original image.
            bbox_num: (N,) int32, detections per image.
            mask: (M, height, width) int32, 1 where a pixel belongs to the object (Mask R-CNN only). Height and width are the
                largest of the batch, and pixels outside of the object's own image are -1.
        """
        sizes = original_size(im_shape, scale_factor)
        # PaddleDetection's deployment rounds im_shape to whole pixels, unlike its evaluation. Where images are enlarged, this
        # finds the exact value again; otherwise it is no further from it.
        im_shape = sizes * scale_factor
        boxes, scores, labels, *masks, num, real = self.network.detect_with_spare_rows(image, im_shape, scale_factor)
        bbox = paddle.concat([labels.cast("float32").unsqueeze(1), scores.unsqueeze(1), boxes], axis=1)
        outputs = [paddle.gather(bbox, real), num - 1]
        if masks:
            own_sizes = paddle.gather(sizes, image_of_row(num, boxes))
            pasted = paste_masks(masks[0] / self.mask_threshold, boxes, own_sizes)
            # At least 1 becomes 1, what is less 0, and what is outside of the image -1.
            outputs.append(paddle.gather(pasted.clip(-1.0, 1.0).cast("int32"), real))
        return tuple(outputs)


def paste_masks(masks: paddle.Tensor, boxes: paddle.Tensor, sizes: paddle.Tensor) -> paddle.Tensor:
    """Return the masks as large as the largest image: ``paste_mask`` of ppdet, as two matrix products.

    Bilinear sampling is a product of a function of the row and one of the column, so no grid of points is needed, which would
    take twice the memory of the result.

    Args:
        masks: (M, m, m) float32, values inside each box, at most 50.
        boxes: (M, 4) float32, xyxy in pixels of the image.
        sizes: (M, 2) float32, height and width of the image of each box.

    Returns:
        (M, height, width) float32; below -1 outside of a box's own image.
    """
    largest = sizes.max(axis=0).cast("int64")
    rows, below = _sampling_weights(boxes[:, 1:2], boxes[:, 3:4], largest[0], sizes[:, 0:1], masks.shape[1])
    columns, beside = _sampling_weights(boxes[:, 0:1], boxes[:, 2:3], largest[1], sizes[:, 1:2], masks.shape[2])
    # Two more terms in the second product are much cheaper than an operation on the result.
    left = paddle.concat([paddle.bmm(rows, masks), below * _FAR_BELOW, paddle.full_like(below, _FAR_BELOW)], axis=2)
    right = paddle.concat([columns, paddle.ones_like(beside), beside], axis=2)
    return paddle.bmm(left, right.transpose([0, 2, 1]))


def _sampling_weights(
    first: paddle.Tensor, last: paddle.Tensor, pixels: paddle.Tensor, own_pixels: paddle.Tensor, cells: int
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return the share (M, pixels, cells) of each cell of a mask in each pixel along one axis, and 1 beyond ``own_pixels``."""
    pixel = paddle.arange(0, pixels, dtype="int64").cast("float32").unsqueeze(0)
    position = divide_out_of_place(pixel + 0.5 - first, last - first) * cells - 0.5  # (M, pixels), in cells
    cell = paddle.arange(0, cells, dtype="int64").cast("float32").reshape([1, 1, -1])
    weights = nn.functional.relu(1.0 - (position.unsqueeze(2) - cell).abs())
    return weights, (pixel >= own_pixels).cast("float32").unsqueeze(2)
