"""Mixup and CutMix: each image of a batch is mixed with another, and its label with the other's."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["MixImages"]


class MixImages:
    """Mix the images of a batch in pairs.

    Sources: https://arxiv.org/abs/1710.09412 (mixup), https://arxiv.org/abs/1905.04899 (CutMix).

    Args:
        mixup_alpha: Parameter of the beta distribution of the shares; 0 for no mixup.
        cutmix_alpha: The same for CutMix. If both are above 0, one of the two is drawn for each batch.
        prob: How often a batch is mixed at all.
        switch_prob: How often CutMix is drawn if both are above 0.

    Raises:
        ValueError: Both are 0, or an argument is negative.
    """

    def __init__(
        self, mixup_alpha: float = 0.0, cutmix_alpha: float = 0.0, prob: float = 1.0, switch_prob: float = 0.5
    ) -> None:
        if min(mixup_alpha, cutmix_alpha) < 0 or max(mixup_alpha, cutmix_alpha) == 0:
            raise ValueError(
                f"mixup_alpha is {mixup_alpha} and cutmix_alpha {cutmix_alpha}; neither may be below 0, and one must be above."
            )
        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, cutmix_alpha
        self.prob, self.switch_prob = prob, switch_prob

    def __call__(self, samples: list[dict]) -> list[dict]:
        """Mix ``image`` (float32 (3, H, W)), and add ``other_label`` (int64 ()) and ``label_share`` (float32 ()).

        The target of an image is ``label_share`` of its own label and the rest of the other one.
        """
        images = np.stack([sample["image"] for sample in samples])
        labels = np.stack([sample["label"] for sample in samples])
        others, share = np.arange(len(samples)), 1.0
        if np.random.uniform() < self.prob:
            others = np.random.permutation(len(samples))
            cuts = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or np.random.uniform() < self.switch_prob)
            alpha = self.cutmix_alpha if cuts else self.mixup_alpha
            share = np.random.beta(alpha, alpha)
            images, share = (_cutmix if cuts else _mixup)(images, images[others], share)
        return [
            {**sample, "image": image, "other_label": labels[other], "label_share": np.array(share, np.float32)}
            for sample, image, other in zip(samples, images, others)
        ]


def _mixup(images: np.ndarray, others: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    kept = np.float32(share)  # a np.float64 would turn the images into float64
    return kept * images + (1 - kept) * others, float(kept)


def _cutmix(images: np.ndarray, others: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    height, width = images.shape[2:]
    side = math.sqrt(1 - share)  # of the pasted rectangle, as a fraction of the image's side
    cut_h, cut_w = int(height * side), int(width * side)
    centre_y, centre_x = np.random.randint(height), np.random.randint(width)
    top, bottom = np.clip([centre_y - cut_h // 2, centre_y + (cut_h + 1) // 2], 0, height)
    left, right = np.clip([centre_x - cut_w // 2, centre_x + (cut_w + 1) // 2], 0, width)
    mixed = images.copy()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)  # the border may have cut the rectangle
