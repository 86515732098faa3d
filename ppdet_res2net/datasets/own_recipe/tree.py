"""The files of a dataset's folder, listed once, and what their names say."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ppdet_res2net.errors import DatasetError
from res2net_runtime.files import IMAGE_SUFFIXES

__all__ = ["TEST", "TRAIN", "VAL", "FileTree", "role_of"]

TRAIN, VAL, TEST = "train", "val", "test"
_ROLES = {
    **dict.fromkeys(("train", "training", "trainset", "trn"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset", "dev", "eval"), VAL),
    **dict.fromkeys(("test", "testing", "testset", "tst"), TEST),
}
_MOST_FILES = 2_000_000


def role_of(path: Path) -> str | None:
    """Return what a path says a set is for (``train``, ``val`` or ``test``), or None. The last part that says it counts.

    ``annotations/instances_train2017.json`` and ``train/_annotations.coco.json`` are for training; ``trainval.txt`` says
    nothing.
    """
    for part in reversed(path.parts):
        found = {_ROLES[word] for word in re.split("[^a-z]+", part.lower()) if word in _ROLES}
        if len(found) == 1:
            return found.pop()
    return None


@dataclass
class FileTree:
    """The files below a folder; hidden ones are left out, and links are followed.

    Attributes:
        root: The folder.
        images: The images, sorted.
        others: All other files by their ending in lower case, sorted.
    """

    root: Path
    images: list[Path] = field(default_factory=list)
    others: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, root: Path, without: Collection[Path] = ()) -> FileTree:
        """List a folder.

        Args:
            root: The folder.
            without: Folders in it that are not looked into.

        Raises:
            DatasetError: It is not there, or has too many files.
        """
        if not root.is_dir():
            raise DatasetError(f"there is no folder '{root}'. Check the path.")
        left_out = {os.path.realpath(folder) for folder in without}
        tree, seen, count = cls(root), {os.path.realpath(root)}, 0
        for parent, folders, names in os.walk(root, followlinks=True):
            inside = []
            for name in sorted(folders):
                real = os.path.realpath(os.path.join(parent, name))
                if name[0] != "." and real not in left_out and real not in seen:
                    seen.add(real)  # a link to a folder above would lead in a circle
                    inside.append(name)
            folders[:] = inside
            count += len(names)
            if count > _MOST_FILES:
                raise DatasetError(f"'{root}' has more than {_MOST_FILES} files. Pass the folder of one dataset.")
            for name in sorted(names):
                path = Path(parent, name)
                if name[0] == "." or not path.is_file():
                    continue
                (tree.images if name.lower().endswith(IMAGE_SUFFIXES) else tree.others[path.suffix.lower()]).append(
                    path
                )
        return tree

    @cached_property
    def _image_names(self) -> set[str]:
        return {name for path in self.images for name in (path.name, path.stem)}

    def is_per_image(self, path: Path) -> bool:
        """Tell whether a file has the name of an image, so that it is about this image alone: ``a.json`` or ``a.jpg.json``."""
        return path.stem in self._image_names

    def images_below(self, folder: Path) -> list[Path]:
        """Return the images in a folder and its subfolders."""
        return [path for path in self.images if folder in path.parents]

    def relative(self, path: Path) -> Path:
        """Return a path relative to the root."""
        return path.relative_to(self.root)
