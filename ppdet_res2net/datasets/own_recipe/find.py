"""Finds the annotated images in a folder, whichever tool has written them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ppdet_res2net.data.foreign_formats import recognise
from ppdet_res2net.data.text_files import read_json_file
from ppdet_res2net.datasets.own_recipe.find_coco import find_coco
from ppdet_res2net.datasets.own_recipe.find_others import find_labelme, find_voc, find_yolo
from ppdet_res2net.datasets.own_recipe.source import Source
from ppdet_res2net.datasets.own_recipe.tree import TEST, TRAIN, VAL, FileTree
from ppdet_res2net.errors import ConfigError, DatasetError

__all__ = ["FORMATS", "FoundSets", "find_sets", "take_images"]

# Format -> what it is called in messages, and what finds it.
FORMATS = {
    "coco": ("COCO", find_coco),
    "voc": ("Pascal VOC", find_voc),
    "labelme": ("labelme", find_labelme),
    "yolo": ("YOLO", find_yolo),
}
_SHOWN = 10


@dataclass(frozen=True)
class FoundSets:
    """The sets of annotated images of a dataset.

    Attributes:
        train: The images to train on; all of them, if they have yet to be split.
        val: The images to evaluate on; None if they have yet to be taken from the others.
        test: A set that neither is trained on nor evaluated on while training; None if there is none.
    """

    train: Source
    val: Source | None
    test: Source | None

    @property
    def all(self) -> list[Source]:
        """Those of ``train`` and ``val`` that there are."""
        return [self.train] if self.val is None else [self.train, self.val]


def find_sets(
    tree: FileTree, form: str | None = None, names: Path | None = None, images: Sequence[Path] = ()
) -> FoundSets:
    """Find the annotated images in a folder, and what they are for.

    Args:
        tree: The folder.
        form: A key of :data:`FORMATS`; None for the only one that occurs.
        names: A file with the class names, which datasets of YOLO need if no ``data.yaml`` is in the folder.
        images: The folder of the images, if it is known; or one for each of the sets to train and evaluate on.

    Raises:
        DatasetError: There are no annotations, or those of several formats, or several sets with nothing to say which is for
            training. The message lists them, and the flags that choose.
    """
    found: dict[str, list[Source]] = {}
    failed: dict[str, DatasetError] = {}
    for name in [form] if form else FORMATS:
        try:
            if sources := FORMATS[name][1](tree, names):
                found[name] = sources
        except DatasetError as error:
            failed[name] = error
    if len(failed) == 1 and not found:
        raise next(iter(failed.values()))
    if not found and not failed:
        what = FORMATS[form][0] if form else "COCO, Pascal VOC, labelme or YOLO"
        if known := _recognise_others(tree):
            raise DatasetError(f"there are no annotations of {what} in '{tree.root}'. {known}")
        raise DatasetError(
            f"there are no annotations of {what} in '{tree.root}', but {len(tree.images)} images. If they are elsewhere, pass "
            "the folder that has both, or --train FILE with annotations in COCO's format and --images DIR."
        )
    if len(found) + len(failed) > 1:
        lines = [f"\n- --format {name}: {FORMATS[name][0]}, {_list(sources, tree)}" for name, sources in found.items()]
        lines += [f"\n- --format {name}: {error}" for name, error in failed.items()]
        raise DatasetError(f"'{tree.root}' has annotations of several formats. Choose one:{''.join(lines)}")
    return take_images(_assign_roles(next(iter(found.values())), tree), images)


def take_images(found: FoundSets, images: Sequence[Path]) -> FoundSets:
    """Return the sets with the folders of their images.

    Args:
        found: The sets.
        images: A folder for each of the sets to train and evaluate on, or one for both; empty if they have yet to be found.

    Raises:
        ConfigError: There are more folders than sets.
    """
    if not images:
        return found
    if len(images) > len(found.all):
        raise ConfigError(
            f"--images names {len(images)} folders; expected one"
            + (
                ", as there is one set of annotated images."
                if found.val is None
                else " for each of the two sets, or one for both."
            )
        )
    if len(images) == 1 and found.train.form == "yolo":  # the labels of all of them are found from the images
        return FoundSets(replace(found.train, places=(images[0],), role=None), None, found.test)
    train, val = (_with_folder(one, place) for one, place in zip((found.train, found.val), (images[0], images[-1])))
    return FoundSets(train or found.train, val, found.test)


def _with_folder(source: Source | None, folder: Path) -> Source | None:
    if source is None or source.form != "yolo":
        return None if source is None else replace(source, image_dir=folder)
    return replace(source, places=(folder,))


def _recognise_others(tree: FileTree) -> str | None:
    """Say what the annotations are, if they are of a tool that has to export them in another format first."""
    for path in [path for ending in (".json", ".xml", ".txt") for path in tree.others[ending][:_SHOWN]]:
        try:
            content = read_json_file(path) if path.suffix.lower() == ".json" else None
        except DatasetError:  # no JSON, which is looked at as text
            content = None
        if known := recognise(path, content):
            return f"'{path}': {known}"
    return None


def _assign_roles(sources: Sequence[Source], tree: FileTree) -> FoundSets:
    by_role = {role: [one for one in sources if one.role == role] for role in (TRAIN, VAL, TEST, None)}
    if len(sources) == 1:
        return FoundSets(replace(sources[0], role=None), None, None)
    train = by_role[TRAIN] or by_role[None]
    if len(train) == 1 and len(by_role[VAL]) <= 1 and len(by_role[TEST]) <= 1:
        return FoundSets(train[0], next(iter(by_role[VAL]), None), next(iter(by_role[TEST]), None))
    raise DatasetError(
        f"'{tree.root}' has {len(sources)} sets of annotated images, and their names do not say which to train and evaluate "
        f"on: {_list(sources, tree)}. {_how_to_choose(sources)}"
    )


def _how_to_choose(sources: Sequence[Source]) -> str:
    if all(one.form == "coco" for one in sources):
        return "Choose with --train FILE --val FILE; 'ppdet-res2net merge-datasets' makes one of several."
    return "Pass the folder of one of them, or call their folders train and val."


def _list(sources: Sequence[Source], tree: FileTree) -> str:
    shown = [f"'{tree.relative(one.annotations)}'" for one in sources[:_SHOWN]]
    more = len(sources) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
