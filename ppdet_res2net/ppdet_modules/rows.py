"""Arithmetic on rows, such as boxes, that are grouped by image."""

from __future__ import annotations

import paddle

__all__ = ["count_per_image", "image_of_row", "rank_in_image"]


def image_of_row(num: paddle.Tensor, rows: paddle.Tensor) -> paddle.Tensor:
    """Return the image index (R,) int64 of R rows that are grouped by image; ``num`` (N,) counts them."""
    index = paddle.arange(0, paddle.shape(rows)[0], dtype="int64").unsqueeze(1)  # (R, 1)
    ends = paddle.cumsum(num.cast("int64")).unsqueeze(0)  # (1, N)
    return (index >= ends).cast("int64").sum(axis=1)


def rank_in_image(num: paddle.Tensor, rows: paddle.Tensor) -> paddle.Tensor:
    """Return the place (R,) int64, from 0, of each of R rows among those of its image; ``num`` (N,) counts them."""
    index = paddle.arange(0, paddle.shape(rows)[0], dtype="int64")
    num = num.cast("int64")
    return index - paddle.gather(paddle.cumsum(num) - num, image_of_row(num, rows))


def count_per_image(image_index: paddle.Tensor, per_image: paddle.Tensor) -> paddle.Tensor:
    """Return the number of rows of each image, (N,) int32; ``per_image`` (N, ...) is any tensor with a row per image."""
    images = paddle.arange(0, paddle.shape(per_image)[0], dtype="int64").unsqueeze(0)  # (1, N)
    return (image_index.unsqueeze(1) == images).cast("int32").sum(axis=0).cast("int32")
