"""Shows what the network is trained on: images after augmentation, with their boxes, masks and classes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import islice

import numpy as np

from ppdet_res2net.data.loader import BatchLoader
from ppdet_res2net.html import Shape, draw_picture, save_page

__all__ = ["restore_pixels", "write_browse_page"]

PICTURE_SIDE_PX = 560


def write_browse_page(
    loader: BatchLoader,
    class_names: Sequence[str],
    sample_transforms: Sequence[Mapping],
    path: str | os.PathLike,
    title: str,
    num_images: int = 24,
    epoch: int = 0,
) -> int:
    """Write a page with the first images of an epoch, exactly as training with the same seed gets them.

    Args:
        loader: The training loader.
        class_names: Class names by label.
        sample_transforms: The reader's, to undo the normalisation.
        path: HTML file to write. Images are embedded in it.
        title: Heading of the page.
        num_images: Number of images.
        epoch: Number of the epoch, from 0.

    Returns:
        The number of images written; an epoch may have fewer than asked for.

    Raises:
        DatasetError: The file cannot be written.
    """
    pictures = list(islice(_draw_epoch(loader, class_names, sample_transforms, epoch), num_images))
    text = (
        f'<p class="soft">{len(pictures)} images of epoch {epoch}, as the network gets them: resized, augmented and '
        "padded (the plain border). Hover over an object to see what it is.</p>"
    )
    gallery = f'<div class="gallery" style="--cell:420px">{"".join(pictures)}</div>'
    save_page(path, title, [f"<h1>{escape(title)}</h1>", text, gallery])
    return len(pictures)


def restore_pixels(image: np.ndarray, sample_transforms: Sequence[Mapping]) -> np.ndarray:
    """Undo ``NormalizeImage`` and ``Permute``.

    Args:
        image: float32 (3, H, W), as a batch holds it.
        sample_transforms: The reader's transforms.

    Returns:
        uint8 (H, W, 3) in RGB order.
    """
    pixels = image.transpose(1, 2, 0).astype(np.float64)
    for transform in sample_transforms:
        if "NormalizeImage" in transform:
            arguments = transform["NormalizeImage"] or {}
            if arguments.get("norm_type", "mean_std") == "mean_std":
                mean, std = (
                    arguments.get("mean", (0.485, 0.456, 0.406)),
                    arguments.get("std", (0.229, 0.224, 0.225)),
                )
                pixels = pixels * np.asarray(std) + np.asarray(mean)
            if arguments.get("is_scale", True):
                pixels = pixels * 255
    return pixels.round().clip(0, 255).astype(np.uint8)


def _draw_epoch(loader, class_names, sample_transforms, epoch: int) -> Iterator[str]:
    for step, batch in enumerate(loader.epoch(epoch)):
        for row, image in enumerate(batch["image"]):
            objects = {key: batch[key][row] for key in ("gt_bbox", "gt_class", "is_crowd", "gt_poly") if key in batch}
            height, width = image.shape[1:]
            caption = f"step {step}, image id {int(batch['im_id'][row, 0])}, {width}x{height}"
            yield draw_picture(
                restore_pixels(image, sample_transforms),
                (height, width),
                _shapes(objects, class_names),
                caption,
                PICTURE_SIDE_PX,
            )


def _shapes(objects: dict, class_names: Sequence[str]) -> Iterator[Shape]:
    boxes = objects.get("gt_bbox", ())
    for index, box in enumerate(boxes):
        label = int(objects["gt_class"][index, 0])
        is_crowd = "is_crowd" in objects and bool(objects["is_crowd"][index, 0])
        segmentation = objects["gt_poly"][index] if "gt_poly" in objects else None
        name = f"{class_names[label]}{' (crowd, ignored)' if is_crowd else ''}"
        yield Shape(label, name, box, segmentation)
