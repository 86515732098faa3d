"""Which images a YOLO dataset has, and where the label file of each is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ppdet_res2net.data.image_names import composed
from ppdet_res2net.data.text_files import read_lines
from ppdet_res2net.datasets.convert.files import MOST_PARTS, find_files, list_images
from ppdet_res2net.errors import DatasetError
from res2net_runtime.files import IMAGE_SUFFIXES

__all__ = ["LabelFolders", "YoloImages"]


@dataclass(frozen=True)
class YoloImages:
    """Images to convert.

    Attributes:
        root: The folder that file names are relative to.
        paths: The images.
        is_complete: Whether these are all images of their folders. If not, label files of others are no surprise.
    """

    root: Path
    paths: list[Path]
    is_complete: bool = True

    @classmethod
    def below(cls, folder: Path) -> YoloImages:
        """Take all images of a folder with its subfolders.

        Raises:
            DatasetError: There are none, or no such folder.
        """
        return cls(folder, list_images(folder))

    @classmethod
    def of(cls, sources: Sequence[Path]) -> YoloImages:
        """Take the images of folders and of text files with an image per line, each once.

        Raises:
            DatasetError: A folder has no images, or a list names images that are not there.
        """
        if len(sources) == 1 and not sources[0].is_file():
            return cls.below(sources[0])
        paths, folders = set(), set()
        for source in sources:
            found = _read_list(source) if source.is_file() else list_images(source)
            paths |= {os.path.abspath(path) for path in found}
            folders |= (
                {os.path.abspath(path.parent) for path in found} if source.is_file() else {os.path.abspath(source)}
            )
        is_complete = not any(source.is_file() for source in sources)
        return cls(Path(os.path.commonpath(folders)), [Path(path) for path in sorted(paths)], is_complete)


class LabelFolders:
    """The label files of images.

    Args:
        images: The images.
        label_dir: The folder of the label files, with the same subfolders as the images' root; None: where YOLO looks for
            them. That is the folder whose path has ``labels`` in the place of the last ``images``, or the folder of the images.

    Raises:
        DatasetError: There is no such folder.
    """

    def __init__(self, images: YoloImages, label_dir: Path | None) -> None:
        if label_dir is not None and not label_dir.is_dir():
            raise DatasetError(f"there is no label folder '{label_dir}'. Pass the right one with --labels.")
        self._images = images
        self._given = label_dir
        self._folders = {folder: self._folder_of(folder) for folder in {path.parent for path in images.paths}}
        self.searched = _outermost(
            {*self._folders.values(), *([self._folder_of(images.root)] if images.is_complete else ())}
        )
        self._labels = {
            self._key(path.parent, path): path for folder in self.searched for path in find_files(folder, ".txt")
        }
        self._found: set[str] = set()

    def find(self, image: Path) -> Path | None:
        """Return the label file of an image, or None if it has none."""
        key = self._key(self._folders[image.parent], image)
        self._found.add(key)
        return self._labels.get(key)

    @property
    def looked_in(self) -> list[Path]:
        """The folders that may hold label files, also those that are not there."""
        expected = None if self._given else _with_labels(self._images.root)
        return [*([] if expected is None or expected in self.searched else [expected]), *self.searched]

    @property
    def others(self) -> list[Path]:
        """Label files that nobody has asked for."""
        return [self._labels[key] for key in sorted(self._labels.keys() - self._found)]

    def _folder_of(self, folder: Path) -> Path:
        if self._given is not None:
            return self._given / folder.relative_to(self._images.root)
        # The folder as given may lie in one called 'images' without saying so.
        candidates = (_with_labels(folder), _with_labels(folder.absolute()))
        return next((one for one in candidates if one is not None and one.is_dir()), folder)

    @staticmethod
    def _key(folder: Path, path: Path) -> str:
        """Return a key that is the same for an image and its label file, though one name may have composed letters."""
        return composed(os.path.abspath(folder / path.stem))


def _with_labels(folder: Path) -> Path | None:
    parts = folder.parts
    for index in reversed(range(len(parts))):
        if parts[index] == "images":
            return Path(*parts[:index], "labels", *parts[index + 1 :])
    return None


def _outermost(folders: set[Path]) -> list[Path]:
    """Return the folders that are there and do not lie in another one."""
    paths = {os.path.abspath(folder): folder for folder in folders if folder.is_dir()}
    return [paths[name] for name in sorted(paths) if not any(str(one) in paths for one in Path(name).parents)]


def _read_list(path: Path) -> list[Path]:
    """Read a list of images as YOLO's programs write it: paths relative to the list, to the working folder, or absolute.

    CVAT writes ``data/obj_train_data/a.png`` for ``obj_train_data/a.png`` beside the list, so folders that are not there are
    left away from the front.

    Raises:
        DatasetError: It is no list of images, or images are not there.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return [path]
    found, missing = [], []
    names = [line.strip() for line in read_lines(path, "list of images") if line.strip()]
    for name in names:
        image = _locate(name.replace("\\", "/"), path.parent)
        if image is None:
            missing.append(name)
        else:
            found.append(image)
    if missing:
        raise DatasetError(
            f"'{path}' names {len(missing)} images that are not there, of {len(names)}; the first is '{missing[0][:200]}'. "
            "Each line is the path of an image. Copy them there, or pass the folder of the images with --images."
        )
    return found


def _locate(name: str, folder: Path) -> Path | None:
    parts = PurePosixPath(name).parts[-MOST_PARTS:]
    candidates = [folder / name, Path(name), *(folder.joinpath(*parts[start:]) for start in range(1, len(parts)))]
    if not name.lower().endswith(IMAGE_SUFFIXES):
        return None
    try:
        return next((path for path in candidates if path.is_file()), None)
    except (OSError, ValueError):  # too long for a file name, or with a NUL character
        return None
