"""ppdet's ``RoIAlign`` with a setting for the borders between levels of the pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.vision.ops import distribute_fpn_proposals, roi_align

from ppdet_res2net.ppdet_modules.rows import count_per_image, image_of_row

__all__ = ["PADDLE_LEVEL_EPSILON", "RoIAlign"]

PADDLE_LEVEL_EPSILON = 1e-8


class RoIAlign(nn.Layer):
    """ppdet's class of this name with one more setting.

    A region is pooled from level ``floor(log2(sqrt(area) / canonical_size + level_epsilon) + canconical_level)``.

    Args:
        resolution, spatial_scale, sampling_ratio, canconical_level, canonical_size, start_level, end_level, aligned: As in
            ppdet.
        level_epsilon: What is added to the quotient. 1e-8 is what Paddle's operator adds, and disappears in float32: a region
            that is as large as a border may come from the level below. mmdetection has 2.5e-7.
    """

    def __init__(
        self,
        resolution: int = 14,
        spatial_scale: float | Sequence[float] = 0.0625,
        sampling_ratio: int = 0,
        canconical_level: int = 4,
        canonical_size: int = 224,
        start_level: int = 0,
        end_level: int = 3,
        aligned: bool = False,
        level_epsilon: float = PADDLE_LEVEL_EPSILON,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.spatial_scale = spatial_scale if isinstance(spatial_scale, Sequence) else [spatial_scale]
        self.sampling_ratio = sampling_ratio
        self.canconical_level = canconical_level
        self.canonical_size = canonical_size
        self.start_level = start_level
        self.end_level = end_level
        self.aligned = aligned
        self.level_epsilon = level_epsilon

    @classmethod
    def from_config(cls, cfg: Mapping, input_shape: Sequence[Any]) -> dict[str, list[float]]:
        """Return the scales of the maps, as ppdet asks for them."""
        return {"spatial_scale": [1.0 / shape.stride for shape in input_shape]}

    @property
    def least_areas(self) -> np.ndarray | None:
        """Least area, float32 square pixels, of the regions of each level but the first; None: Paddle's operator decides.

        Each is the smallest one for which the formula, computed in float32, reaches the level. Engines then need no square
        root, quotient and logarithm, which differ between them in the last bits.

        Source: ``SingleRoIExtractor.map_roi_levels`` of mmdetection.
        """
        if self.level_epsilon == PADDLE_LEVEL_EPSILON or self.start_level == self.end_level:
            return None
        quotients = [2.0 ** (level + 3 - self.canconical_level) for level in range(self.start_level, self.end_level)]
        return np.array([self._least_area(quotient) for quotient in quotients], np.float32)

    def _least_area(self, quotient: float) -> np.float32:
        about = np.float32((self.canonical_size * (quotient - self.level_epsilon)) ** 2)
        areas = (about.view(np.int32) + np.arange(-16, 17, dtype=np.int32)).view(np.float32)  # neighbouring numbers
        reaches = np.sqrt(areas) / np.float32(self.canonical_size) + np.float32(self.level_epsilon) >= quotient
        return areas[np.argmax(reaches)]

    def forward(
        self, feats: Sequence[paddle.Tensor], roi: Sequence[paddle.Tensor], rois_num: paddle.Tensor
    ) -> paddle.Tensor:
        """Pool regions.

        Args:
            feats: The maps of the pyramid, each (N, C, H, W).
            roi: Regions of each image or of all, xyxy in network pixels.
            rois_num: (N,) int32, regions per image.

        Returns:
            (R, C, resolution, resolution), in the order of the regions.
        """
        regions = paddle.concat(roi) if len(roi) > 1 else roi[0]
        if len(feats) == 1:
            scale = self.spatial_scale[0]
            return roi_align(feats[self.start_level], regions, rois_num, self.resolution, scale, aligned=self.aligned)
        parts, order, counts = self._distribute(regions, rois_num)
        pooled = [
            roi_align(
                feats[level],
                parts[level - self.start_level],
                counts[level - self.start_level],
                output_size=self.resolution,
                spatial_scale=self.spatial_scale[level],
                sampling_ratio=self.sampling_ratio,
                aligned=self.aligned,
            )
            for level in range(self.start_level, self.end_level + 1)
        ]
        return paddle.gather(paddle.concat(pooled), order)

    def _distribute(
        self, regions: paddle.Tensor, rois_num: paddle.Tensor
    ) -> tuple[list[paddle.Tensor], paddle.Tensor, list[paddle.Tensor]]:
        """Return the regions of each level, where each region of the input is among all of them, and counts per image."""
        least_areas = self.least_areas
        if least_areas is None:
            first, last = self.start_level + 2, self.end_level + 2
            return distribute_fpn_proposals(
                regions, first, last, self.canconical_level, self.canonical_size, rois_num=rois_num
            )
        extent = regions[:, 2:] - regions[:, :2]
        area = (extent[:, 0] * extent[:, 1]).unsqueeze(1)
        levels = (area >= paddle.to_tensor(least_areas)).cast("int64").sum(axis=1) + self.start_level
        image = image_of_row(rois_num, regions)
        rows, counts = [], []
        for level in range(self.start_level, self.end_level + 1):
            is_here = levels == level
            rows.append(paddle.nonzero(is_here).flatten())
            # Counted among all regions, because Paddle 2.6 cannot compare arrays without elements.
            counts.append(count_per_image(paddle.where(is_here, image, paddle.full_like(image, -1)), rois_num))
        parts = [paddle.gather(regions, index) for index in rows]
        return parts, paddle.argsort(paddle.concat(rows)), counts
