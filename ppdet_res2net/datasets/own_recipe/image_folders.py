"""Finds the folder that the file names of a COCO file are relative to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ppdet_res2net.data.image_names import ImageFolder, composed
from ppdet_res2net.datasets.own_recipe.tree import FileTree, role_of
from ppdet_res2net.errors import DatasetError

__all__ = ["ImagePlace", "place_images"]

_SHOWN = 5


@dataclass(frozen=True)
class ImagePlace:
    """Where the images of an annotation file are.

    Attributes:
        folder: The folder that their names are relative to.
        renamed: The names that stand for no file there, and the files that they mean, relative to the folder.
    """

    folder: Path
    renamed: dict[str, str] = field(default_factory=dict)


def place_images(names: Sequence[str], annotation_path: Path, tree: FileTree) -> ImagePlace:
    """Find the folder of the images that an annotation file names.

    Where no folder has them under these names, as with absolute paths, urls or backslashes, each name must mean exactly one of
    the images by its last part.

    Args:
        names: The file names, as they are written.
        annotation_path: The annotation file; a folder beside it, or of the same split, is preferred to others.
        tree: Where to look.

    Raises:
        DatasetError: There is no such folder, or it is not certain which one is meant.
    """
    names = list(dict.fromkeys(names))
    votes = _count_by_folder(names, tree)
    complete = [folder for folder, count in votes.items() if count == len(names)]
    if complete:
        return ImagePlace(_choose(complete, annotation_path, tree))
    renamed = _find_meant(names, tree)
    if renamed is not None:
        return ImagePlace(tree.root, renamed)
    most = max(votes.values(), default=0)
    if 2 * most > len(names):  # the check names the files that are missing
        return ImagePlace(_choose([folder for folder, count in votes.items() if count == most], annotation_path, tree))
    raise DatasetError(
        f"'{annotation_path}' names {len(names)} images, first '{names[0][:200]}', but no folder in '{tree.root}' has more "
        f"than {most} of them. Copy the images there, or pass their folder with --images."
    )


def _count_by_folder(names: Sequence[str], tree: FileTree) -> Counter[Path]:
    """Return how many of the names each folder has."""
    by_name: dict[str, list[tuple[tuple[str, ...], Path]]] = defaultdict(list)
    for path in tree.images:
        parts = tuple(composed(part) for part in tree.relative(path).parts)
        by_name[parts[-1]].append((parts, path))
    votes: Counter[Path] = Counter()
    for name in names:
        wanted = PurePosixPath(composed(name)).parts
        for parts, path in by_name.get(wanted[-1], ()) if wanted else ():
            if parts[-len(wanted) :] == wanted:
                votes[path.parents[len(wanted) - 1]] += 1
    return votes


def _choose(folders: Sequence[Path], annotation_path: Path, tree: FileTree) -> Path:
    """Return the folder of the annotation file, or the one of its split, or the only one."""
    if len(folders) == 1:
        return folders[0]
    if annotation_path.parent in folders:
        return annotation_path.parent
    role = role_of(annotation_path)
    same = [folder for folder in folders if role is not None and role_of(tree.relative(folder)) == role]
    if len(same) == 1:
        return same[0]
    shown = ", ".join(f"'{folder}'" for folder in sorted(folders)[:_SHOWN])
    raise DatasetError(
        f"the images of '{annotation_path}' are in {len(folders)} folders: {shown}. Pass the right one with --images."
    )


def _find_meant(names: Sequence[str], tree: FileTree) -> dict[str, str] | None:
    """Return the image that each name means, or None if it is not certain for all of them."""
    folder = ImageFolder(tree.root)
    meant: dict[str, str] = {}
    for name in names:
        found = folder.likely(name)
        if len(found) != 1:
            return None
        meant[name] = Path(found[0]).as_posix()
    return meant if len(set(meant.values())) == len(names) else None
