"""A detector with the outputs that PaddleDetection's exports have, which other programs know how to read."""

from __future__ import annotations

import paddle
from paddle import nn

from ppdet_res2net.compat.onednn_division import divide_out_of_place
from ppdet_res2net.detection.inference import RCNNInference, original_size
from ppdet_res2net.ppdet_modules.rows import image_of_row

__all__ = ["PaddleDetectionForm", "paste_masks"]


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
            image_index = image_of_row(num, boxes)
            pasted = paste_masks(masks[0], boxes, sizes.max(axis=0)) >= self.mask_threshold
            outside = _find_outside(pasted, paddle.gather(sizes, image_index))
            outputs.append(paddle.gather(pasted.cast("int32") - outside, real))
        return tuple(outputs)


def paste_masks(masks: paddle.Tensor, boxes: paddle.Tensor, size: paddle.Tensor) -> paddle.Tensor:
    """Return the masks as large as the image: ``paste_mask`` of ppdet, as two matrix products.

    Bilinear sampling is a product of a function of the row and one of the column, so no grid of points is needed, which would
    take twice the memory of the result.

    Args:
        masks: (M, m, m) float32, probabilities inside each box.
        boxes: (M, 4) float32, xyxy in pixels of the image.
        size: (2,) float32, height and width of the image.

    Returns:
        (M, height, width) float32.
    """
    rows = _sampling_weights(boxes[:, 1:2], boxes[:, 3:4], size[0], masks.shape[1])
    columns = _sampling_weights(boxes[:, 0:1], boxes[:, 2:3], size[1], masks.shape[2])
    return paddle.bmm(paddle.bmm(rows, masks), columns.transpose([0, 2, 1]))


def _find_outside(pasted: paddle.Tensor, sizes: paddle.Tensor) -> paddle.Tensor:
    """Return 1 where a pixel of (M, height, width) is outside of its own image, else 0; ``sizes`` (M, 2) are the images'."""
    rows, columns = (_find_beyond(paddle.shape(pasted)[1 + axis], sizes[:, axis : axis + 1]) for axis in (0, 1))
    return paddle.maximum(rows.unsqueeze(2), columns.unsqueeze(1))


def _find_beyond(length: paddle.Tensor, sides: paddle.Tensor) -> paddle.Tensor:
    """Return int32 (M, length), 1 for pixels from ``sides`` (M, 1) on."""
    return (paddle.arange(0, length, dtype="int64").cast("float32").unsqueeze(0) >= sides).cast("int32")


def _sampling_weights(first: paddle.Tensor, last: paddle.Tensor, pixels: paddle.Tensor, cells: int) -> paddle.Tensor:
    """Return the share (M, pixels, cells) that each cell of a mask has in each pixel along one axis."""
    centres = (paddle.arange(0, pixels.cast("int64"), dtype="int64").cast("float32") + 0.5).unsqueeze(0)
    position = divide_out_of_place(centres - first, last - first) * cells - 0.5  # (M, pixels), in cells
    cell = paddle.arange(0, cells, dtype="int64").cast("float32").reshape([1, 1, -1])
    return nn.functional.relu(1.0 - (position.unsqueeze(2) - cell).abs())
