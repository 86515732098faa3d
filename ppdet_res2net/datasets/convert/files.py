"""Finds annotation files and the images that they are for, and measures images."""

from __future__ import annotations

import os
from collections import defaultdict
from itertools import chain
from pathlib import Path, PurePosixPath

from ppdet_res2net.data.image_names import ImageFolder, composed
from ppdet_res2net.datasets.convert.tally import Tally
from ppdet_res2net.errors import DatasetError
from ppdet_res2net.files import files_below, images_below
from res2net_runtime.files import IMAGE_SUFFIXES
from res2net_runtime.pillow_images import PILLOW_ERRORS, open_image
from res2net_runtime.texts import clip

__all__ = ["SIZE_DIFFERS", "ImageIndex", "find_files", "list_images", "measure_image", "take_size"]

SIZE_DIFFERS = "objects of images that do not have the annotated size (--measure_images takes the size of the image)"

OTHER_IMAGE = "annotation files that name another image than their own; the image of the file's own name was taken"
NO_OWN_IMAGE = "annotation files without an image of their own name; the image that they name was taken"

# Of a path in a file, so many last parts count. Folders that are not there are left away from the front, one after the other,
# which takes the square of their number.
MOST_PARTS = 50

NO_ANNOTATIONS = "images without an annotation file, which are not in the result"

# EXIF orientations that exchange the sides of an image.
ORIENTATION_TAG, TURNED = 0x0112, (5, 6, 7, 8)


class ImageIndex:
    """The images below a folder, to be found by the names that annotations give.

    Args:
        root: The folder.
        may_be_empty: Whether a folder without images, or none, is no error.

    Raises:
        DatasetError: It holds no images.
    """

    def __init__(self, root: Path, may_be_empty: bool = False) -> None:
        self.root = root
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        self._used: set[Path] = set()
        for path in [] if may_be_empty and not images_below(root) else list_images(root):
            self.add(path)

    def add(self, path: Path) -> None:
        """Add an image, which lies below the folder."""
        self._by_name[composed(path.name)].append(path)
        self._by_stem[composed(path.stem)].append(path)

    def has(self, annotation: Path, wanted: str) -> bool:
        """Tell whether there is an image, or several, for an annotation file; see :meth:`find`."""
        return bool(self._find_own(annotation) or self._find_named(wanted))

    def relative_name(self, path: Path) -> str:
        """Return the path of an image below the folder, with slashes."""
        return path.relative_to(self.root).as_posix()

    def find(self, annotation: Path, wanted: str, source: str, notes: Tally) -> Path:
        """Return the image of an annotation file: the one of the file's own name, or else the one that it names.

        Tools leave the name inside a file as it is when people rename files, so the file's own name is more reliable.

        Args:
            annotation: Path of the annotation file, relative to the folder of the annotations.
            wanted: The name inside the file, with slashes or backslashes.
            source: The annotation file, for messages.
            notes: Gets a note if the two names differ.

        Raises:
            DatasetError: There is no such image, or there are several.
        """
        own, named = self._find_own(annotation), self._find_named(wanted)
        both = [path for path in own if path in named]
        found = self._only(both or own, annotation.stem, source) or self._only(named, wanted, source)
        if found is None:
            hint = ImageFolder(self.root).hint(wanted)
            raise DatasetError(
                f"{source}: its image '{clip(wanted, 200)}' is not in '{self.root}'{hint}. Pass the image folder with "
                "--images, or copy the image there."
            )
        if not own:
            notes.add(NO_OWN_IMAGE, f"{source}: '{clip(wanted, 200)}'")
        elif not both:
            notes.add(OTHER_IMAGE, f"{source}: '{clip(wanted, 200)}'")
        return found

    def note_unused(self, notes: Tally) -> None:
        """Note the images that were not found for any annotation file."""
        for path in sorted(chain.from_iterable(self._by_name.values())):
            if path not in self._used:
                notes.add(NO_ANNOTATIONS, f"'{self.relative_name(path)}'")

    def find_named(self, wanted: str, source: str) -> Path:
        """Return the image of a name, whatever the name of the annotation file.

        Raises:
            DatasetError: There is no such image, or there are several.
        """
        found = self._only(self._find_named(wanted), wanted, source)
        if found is None:
            hint = ImageFolder(self.root).hint(wanted)
            raise DatasetError(
                f"{source}: there is no image '{clip(wanted, 200)}' in '{self.root}'{hint}. Pass its folder with --images."
            )
        return found

    def _find_own(self, annotation: Path) -> list[Path]:
        stem = composed(annotation.stem)
        found = self._by_name.get(stem) or self._by_stem.get(stem, [])
        return [path for path in found if path.parent == self.root / annotation.parent] or found

    def _find_named(self, wanted: str) -> list[Path]:
        """Return the images of a name: as deep in their folders as the name says, in any folder, or with another suffix."""
        parts = PurePosixPath(composed(wanted).replace("\\", "/")).parts[-MOST_PARTS:]
        found = self._by_name.get(parts[-1], []) if parts else []
        for start in range(len(parts)):
            exact = [path for path in found if composed(self.relative_name(path)) == "/".join(parts[start:])]
            if exact:
                return exact
        if found or not parts:
            return found
        # A dot in a name without ending need not begin one: 'frame.0012'.
        return self._by_stem.get(parts[-1]) or self._by_stem.get(PurePosixPath(parts[-1]).stem, [])

    def _only(self, found: list[Path], name: str, source: str) -> Path | None:
        if len(found) > 1:
            shown = " and ".join(f"'{self.relative_name(path)}'" for path in found[:2])
            raise DatasetError(
                f"{source}: {len(found)} images in '{self.root}' could be its image '{clip(name, 200)}', {shown} among them. "
                "Convert their folders one by one, or give the images different names."
            )
        self._used.update(found)
        return found[0] if found else None


def find_files(folder: Path, suffix: str) -> list[Path]:
    """Return the files below a folder whose names end in ``suffix``, in any case, sorted; hidden ones are left out.

    Raises:
        DatasetError: There is no such folder, or it is a file.
    """
    if folder.is_file():
        raise DatasetError(f"'{folder}' is a file. Pass its folder '{folder.parent}': all files in it are converted.")
    if not folder.is_dir():
        raise DatasetError(f"there is no folder '{folder}'. Check the path.")
    return sorted(path for path in map(Path, files_below(folder, suffix)) if path.is_file())


def list_images(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted.

    Raises:
        DatasetError: There are none, or no such folder.
    """
    files = sorted(path for path in map(Path, images_below(folder)) if path.is_file())
    if not files:
        problem = "there are no images in" if folder.is_dir() else "there is no image folder"
        raise DatasetError(
            f"{problem} '{folder}' (looked for {', '.join(IMAGE_SUFFIXES)}). Pass the folder of the images with --images."
        )
    return files


def measure_image(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image as it is shown, from the header of its file.

    Raises:
        DatasetError: It cannot be read.
    """
    (height, width), is_turned = _read_header(path)
    return (width, height) if is_turned else (height, width)


def take_size(path: Path, annotated: tuple[int, int] | None, measure: bool) -> tuple[int, int] | None:
    """Return (height, width) of an image: the annotated size if the image has it, as shown or as stored.

    Args:
        path: The image.
        annotated: What the annotation file says; None if it does not.
        measure: Take the size of the image, whatever the annotation file says.

    Returns:
        None if the image has another size than the annotated one.

    Raises:
        DatasetError: It cannot be read.
    """
    if annotated is None or measure:
        return measure_image(path)
    stored, is_turned = _read_header(path)
    return annotated if annotated == stored or (is_turned and annotated == stored[::-1]) else None


def _read_header(path: Path) -> tuple[tuple[int, int], bool]:
    """Return (height, width) as stored, and whether EXIF exchanges them."""
    try:
        with path.open("rb") as file, open_image(file) as image:
            return (image.height, image.width), image.getexif().get(ORIENTATION_TAG) in TURNED
    except PILLOW_ERRORS as error:
        raise DatasetError(f"cannot read image '{os.fspath(path)}': {error}. Copy it again, or remove it.") from error
