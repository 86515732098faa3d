"""Find images, create folders for results, and write files completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from res2net_runtime.errors import ImageError, Res2NetError

__all__ = ["IMAGE_SUFFIXES", "find_images", "make_output_folder", "replacing", "sync_to_disk"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


def find_images(directory: str | os.PathLike[str]) -> list[Path]:
    """Return the image files directly in a folder, by their suffix, sorted by name.

    Raises:
        ImageError: The folder does not exist or holds no image.
    """
    path = Path(directory)
    if not path.is_dir():
        raise ImageError(f"There is no image folder '{path}'. Check the path.")
    images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not images:
        raise ImageError(f"The folder '{path}' holds no image ({', '.join(IMAGE_SUFFIXES)}). Check the path.")
    return images


def make_output_folder(
    folder: str | os.PathLike[str],
    images: Iterable[Path] = (),
    option: str = "--output_dir",
    error_class: type[Res2NetError] = Res2NetError,
) -> Path:
    """Create a folder for results, and check that files can be written into it, before any work is done.

    The folder of the images is refused: pictures would replace them.

    Args:
        folder: The folder; its parents are created too.
        images: The images that will be read.
        option: The option with which the user chooses the folder, for the message.
        error_class: The class of the error.

    Raises:
        Res2NetError: The folder holds one of the images, cannot be created, or cannot be written into. The error is of
            class ``error_class``.
    """
    path = Path(folder)
    if path.resolve() in {image.resolve().parent for image in images}:
        raise error_class(f"{option} '{path}' holds the images themselves; pass another folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise error_class(f"The folder '{path}' cannot be created: {error}. Pass another {option}.") from error
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise error_class(f"The folder '{path}' cannot be written into: {error}. Pass another {option}.") from error
    return path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], unfinished: Path | None = None) -> Iterator[Path]:
    """Write a file or folder that appears under its name only when it is complete.

    The body of the ``with`` statement writes to the yielded path. Leaving the body moves the result to ``path``, where it
    replaces an earlier file or an empty folder. After an exception the result is deleted, and ``path`` is unchanged.
    Permissions follow the umask.

    Example:
        >>> with replacing("results.json") as unfinished:
        ...     unfinished.write_text("[]")

    Args:
        path: Where the file or folder belongs; its folder is created.
        unfinished: Where it is written, on the same disk. The default is a new hidden name beside ``path``, so that two
            processes can write the same file. A fixed name is for a caller that holds a lock: the next attempt then
            overwrites what a killed process left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if unfinished is None:
        unfinished = path.with_name(f".{path.stem}.unfinished-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)
        raise


def sync_to_disk(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive a power cut."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
