"""Splits the images of a dataset in two, so that both have every class in proportion and no picture is in both."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ppdet_res2net.data.annotations import read_json
from ppdet_res2net.data.coco_file import CocoFile, parse_coco
from ppdet_res2net.datasets.check import DatasetSource, check_contents, refuse_errors
from ppdet_res2net.datasets.rearrange.alike import group_to_split
from ppdet_res2net.errors import DatasetError

__all__ = ["choose_held_out", "select_images", "split_dataset"]

logger = logging.getLogger(__name__)

_TRIES = 20
_MOST_TRIED = 5_000  # groups; of more, one order is as good as another


def choose_held_out(
    file: CocoFile, fraction: float, seed: int = 0, groups: Mapping[int, int] | None = None
) -> set[int]:
    """Choose the images to hold out, by iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011) over objects.

    The images of the rarest class are dealt out first, each to the part that lacks the most objects of this class. So rare
    classes are split in proportion while there is still a choice. Images without objects count as a class of their own. Of
    several random orders, the one that comes closest to the fraction is taken; the same seed gives the same images.

    Args:
        file: The dataset.
        fraction: The share to hold out, above 0 and below 1.
        seed: Chooses the orders.
        groups: The group of each image id; the images of a group stay together. None: each is alone.

    Returns:
        The ids of the images.

    Raises:
        DatasetError: There are fewer than two groups with objects.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for image in file.images:
        members[image.id if groups is None else groups[image.id]].append(image.id)
    if len(members) < 2:
        what = "one image alone" if len(file.images) < 2 else f"the {len(file.images)} images all look alike, so they"
        raise DatasetError(f"{what} cannot be split. Annotate images of other scenes to evaluate on.")
    counts = _count_objects(file, list(members.values()))
    if (counts[:, :-1].sum(axis=1) > 0).sum() < 2:
        raise DatasetError(
            "the objects are all in one image, or in images that look alike, which cannot be split. Annotate images of other "
            "scenes to evaluate on."
        )
    sizes = np.array([len(ids) for ids in members.values()], float)
    generator = np.random.default_rng(seed)
    tries = [_deal(counts, sizes, fraction, generator) for _ in range(_TRIES if len(sizes) <= _MOST_TRIED else 1)]
    best = min(tries, key=lambda is_held_out: _distance(counts, sizes, is_held_out, fraction))
    return {number for ids, is_out in zip(members.values(), best) if is_out for number in ids}


def select_images(content: dict, file: CocoFile, image_ids: set[int]) -> dict:
    """Return the content of an annotation file with some of its images and their annotations, as they are written.

    Args:
        content: The content of the file.
        file: What it holds.
        image_ids: Ids of the images.
    """
    images = [content["images"][image.position] for image in file.images if image.id in image_ids]
    annotations = [
        content["annotations"][one.position] for one in (*file.annotations, *file.unknown) if one.image.id in image_ids
    ]
    return {**content, "images": images, "annotations": annotations}


def split_dataset(
    annotation_path: Path,
    image_dir: Path,
    shares: Mapping[str, float],
    seed: int = 0,
    show_progress: bool = False,
) -> dict[str, dict]:
    """Split an annotation file.

    Args:
        annotation_path: The file.
        image_dir: The folder of its images, which are read to find those that look alike.
        shares: The share of the images for each part but ``train``, which gets the rest. Parts with a share of 0 are left out.
        seed: Chooses the images.
        show_progress: Show a bar while images are read.

    Returns:
        The content of each part by name, ``train`` first.

    Raises:
        DatasetError: The file or its images have errors, or there are too few images.
    """
    content = read_json(annotation_path)
    (report,) = check_contents([(DatasetSource(annotation_path, image_dir), content)], show_progress=show_progress)
    refuse_errors([report])
    groups, note = group_to_split(report.pictures, max(shares.values()))
    if note:
        logger.warning("%s", note)
    left, file = content, report.file
    parts: dict[str, dict] = {}
    for name, share in shares.items():
        if share:
            remaining = 1 - sum(shares[done] for done in parts)
            chosen = choose_held_out(file, share / remaining, seed, groups)
            parts[name] = select_images(left, file, chosen)
            left = select_images(left, file, {image.id for image in file.images} - chosen)
            file = parse_coco(left)
    return {"train": left, **{name: parts[name] for name in reversed(parts)}}


def _count_objects(file: CocoFile, members: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the objects of each class in each group, (groups, classes + 1). The last column counts images without objects."""
    group_of = {number: group for group, ids in enumerate(members) for number in ids}
    column_of = {category.id: column for column, category in enumerate(file.categories)}
    counts = np.zeros((len(members), len(column_of) + 1))
    empty = {image.id for image in file.images}
    for one in file.annotations:
        if not one.is_crowd and not one.is_ignored:
            counts[group_of[one.image.id], column_of[one.category_id]] += 1
            empty.discard(one.image.id)
    for number in empty:
        counts[group_of[number], -1] += 1
    return counts


def _deal(counts: np.ndarray, sizes: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Return for each group whether it is held out: bool (groups,)."""
    shares = np.array([1 - fraction, fraction])
    wanted = shares[:, None] * counts.sum(axis=0)  # (2, classes)
    wanted_images = shares * sizes.sum()
    part = np.full(len(sizes), -1)
    order = generator.permutation(len(sizes))
    left = counts.copy()
    while (part < 0).any():
        totals = left.sum(axis=0)
        rarest = int(np.where(totals > 0, totals, np.inf).argmin())
        candidates = [group for group in order if part[group] < 0 and counts[group, rarest] > 0]
        for group in sorted(candidates, key=lambda one: -sizes[one]):  # otherwise in random order
            needs = wanted[:, rarest]
            chosen = int(needs.argmax()) if needs[0] != needs[1] else int(wanted_images.argmax())
            part[group] = chosen
            wanted[chosen] -= counts[group]
            wanted_images[chosen] -= sizes[group]
            left[group] = 0
    with_objects = [group for group in order if counts[group, :-1].sum() > 0]
    for empty in (0, 1):
        if all(part[group] != empty for group in with_objects):
            part[min(with_objects, key=lambda group: sizes[group])] = empty
    return part == 1


def _distance(counts: np.ndarray, sizes: np.ndarray, is_held_out: np.ndarray, fraction: float) -> float:
    """Return how far a split is from the fraction, over images and classes; a class without training objects counts most."""
    totals = counts.sum(axis=0)
    held_out = counts[is_held_out].sum(axis=0)[totals > 0]
    totals = totals[totals > 0]
    off = np.abs(held_out / totals - fraction).mean() + abs(sizes[is_held_out].sum() / sizes.sum() - fraction)
    return off + float((held_out == totals).sum()) + 0.1 * float((held_out == 0).sum())
