"""Find images, create folders for results, and write files completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from res2net_runtime.errors import ImageError, Res2NetError
from res2net_runtime.owners import is_running, this_machine
from res2net_runtime.system_errors import explain, find_remedy, is_lasting
from res2net_runtime.texts import hide_password, is_url, meant_url, printable

__all__ = [
    "IMAGE_SUFFIXES",
    "check_space",
    "describe_kind",
    "find_images",
    "make_output_folder",
    "path_for_libraries",
    "read_image_bytes",
    "refuse_url",
    "remove_abandoned",
    "replacing",
    "save_text",
    "sync_to_disk",
    "unfinished_name",
]

logger = logging.getLogger(__name__)

# The formats that OpenCV and Pillow read. OpenCV reads GIF and AVIF from version 5 on; an older one refuses them by name.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".jp2", ".pbm", ".pgm", ".ppm", ".pnm", ".gif", ".avif"),
)
_KEPT_CHARACTERS = 30
_UNFINISHED = re.compile(r"\..*\.unfinished-(\d{1,20})-([0-9a-f]{8})-")  # process, machine
_SEARCHING_SHARE = 0.01  # of the time, at most, is spent looking for abandoned files
_next_search_s: dict[Path, float] = {}
_MAX_FILE_BYTES = 2**31 - 1  # what OpenCV decodes
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def describe_kind(mode: int) -> str | None:
    """Return what an entry of a folder is that is no regular file, such as "a named pipe"; None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), None)


def find_images(directory: str | os.PathLike[str], recursive: bool = False) -> list[Path]:
    """Return the image files in a folder, by their suffix, sorted by path. Hidden files and folders are left out.

    Args:
        directory: The folder.
        recursive: Also look into its subfolders, at any depth, linked ones included.

    Raises:
        ImageError: The folder does not exist or holds no image.
    """
    path = Path(directory)
    if not path.is_dir():
        url = " It is a url: download the images first." if is_url(directory) else ""
        name = hide_password(str(directory)) if is_url(directory) else printable(path)
        raise ImageError(f"There is no image folder '{name}'. Check the path.{url}")
    images: list[Path] = []
    others: set[str] = set()
    seen: set[str] = set()
    for parent, folders, names in os.walk(path, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(
            name
            for name in folders
            if recursive and name[0] != "." and os.path.realpath(os.path.join(parent, name)) not in seen
        )
        for name in names:
            file = Path(parent, name)
            if name[0] != "." and file.suffix.lower() in IMAGE_SUFFIXES and file.is_file():
                images.append(file)
            elif name[0] != "." and file.suffix:
                others.add(file.suffix.lower())
    if not images:
        found = f" It has files with other endings: {printable(', '.join(sorted(others)[:5]))}." if others else ""
        below = "" if recursive else " Images in subfolders are found with --recursive where the command has it."
        below = below if any(one.is_dir() for one in path.iterdir()) else ""
        raise ImageError(
            f"The folder '{printable(path)}' holds no image ({', '.join(IMAGE_SUFFIXES)}). Check the path.{found}{below}"
        )
    return sorted(images)


def read_image_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of an image file. Folders, pipes, sockets and devices are not opened.

    Raises:
        ImageError: The file cannot be read, is not a regular file, or is too large.
    """
    if is_url(path):
        name = hide_password(os.fspath(path))
        raise ImageError(f"Cannot read image '{name}': it is a url. Download the image, and pass the file.")
    name = printable(os.fspath(path))
    try:
        status = os.stat(path)
        kind = describe_kind(status.st_mode)
        if kind is not None:
            raise ImageError(f"Cannot read image '{name}': it is {kind}, not a file. Check the path.")
        if status.st_size > _MAX_FILE_BYTES:
            raise ImageError(
                f"Cannot read image '{name}': the file has {status.st_size} bytes, and an image at most {_MAX_FILE_BYTES}. "
                "Check the path."
            )
        with open(path, "rb", buffering=0) as file:  # all is read at once
            return file.readall()
    except OSError as error:
        remedy = find_remedy(error, "") if is_lasting(error) else "Check the path."
        raise ImageError(f"Cannot read image '{name}': {error.strerror or error}. {remedy}") from error
    except ValueError as error:  # a NUL in the name, or a lone surrogate; ImageError is one, too
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"Cannot read image '{name}': no file can have this name. Check the path.") from error


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
    refuse_url(folder, option, error_class)
    path = Path(folder)
    # Not Path.resolve, which fails for links that lead to themselves.
    if os.path.realpath(path) in {os.path.dirname(os.path.realpath(image)) for image in images}:
        raise error_class(f"{option} '{printable(path)}' holds the images themselves; pass another folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise error_class(
            f"The folder '{printable(path)}' cannot be created: {explain(error, f'pass another {option}')}"
        ) from error
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise error_class(
            f"The folder '{printable(path)}' cannot be written into: {explain(error, f'pass another {option}')}"
        ) from error
    return path


def refuse_url(folder: str | os.PathLike[str], option: str, error_class: type[Res2NetError]) -> None:
    """Refuse the address of a bucket or hub as a folder for results, instead of making folders of that name here.

    Raises:
        Res2NetError: It is one. The error is of class ``error_class``.
    """
    url = meant_url(folder)
    if url is not None:
        raise error_class(
            f"{option} '{hide_password(url)}' is an address, and results are written into folders of this "
            "machine only. Pass a folder, such as one where the bucket is mounted, or upload the results afterwards."
        )


@contextlib.contextmanager
def path_for_libraries(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a path for libraries in C++, of which some crash if a name is not UTF-8: such a file is then reached by its number.

    Raises:
        OSError: The file or folder does not exist, or cannot be read.
    """
    text = os.fspath(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        yield text


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], unfinished: Path | None = None) -> Iterator[Path]:
    """Write a file or folder that appears under its name only when it is complete.

    The body of the ``with`` statement writes to the yielded path. Leaving the body moves the result to ``path``, where it
    replaces an earlier file or an empty folder. After an exception the result is deleted, and ``path`` is unchanged.
    Permissions follow the umask.

    Example:
        >>> with replacing("results.json") as unfinished:
        ...     unfinished.write_text("[]")

    What earlier processes have left unfinished in the folder when they were killed is removed.

    Args:
        path: Where the file or folder belongs; its folder is created.
        unfinished: Where it is written, on the same disk. The default is a new hidden name beside ``path``, so that two
            processes can write the same file. A fixed name is for a caller that holds a lock: the next attempt then
            overwrites what a killed process left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if unfinished is None:
        _remove_abandoned_now_and_then(path.parent)
        unfinished = path.with_name(f"{unfinished_name(path.stem)}{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)
        raise


def unfinished_name(stem: str) -> str:
    """Return a new hidden name for what this process has not finished; :func:`remove_abandoned` knows such names."""
    # The name of the file may be as long as names can be.
    return f".{stem[:_KEPT_CHARACTERS]}.unfinished-{os.getpid()}-{this_machine()}-{secrets.token_hex(4)}"


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes of this machine have left unfinished in a folder."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        found = _UNFINISHED.match(name)
        if found is None or found[2] != this_machine() or is_running(int(found[1])):
            continue
        logger.info("removing '%s', which a process that was killed has left", printable(folder / name))
        try:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        except OSError as error:  # it is in nobody's way
            logger.warning("'%s' cannot be removed: %s", printable(folder / name), error.strerror or error)


def _remove_abandoned_now_and_then(folder: Path) -> None:
    """Do not search a folder with many pictures before each of them."""
    started_s = time.monotonic()
    if started_s >= _next_search_s.get(folder, 0.0):
        remove_abandoned(folder)
        ended_s = time.monotonic()
        _next_search_s[folder] = ended_s + (ended_s - started_s) / _SEARCHING_SHARE


def save_text(path: str | os.PathLike[str], text: str, error_class: type[Res2NetError] = Res2NetError) -> None:
    """Write a text as UTF-8: a file wholly or not at all; a pipe or a device directly.

    Raises:
        Res2NetError: It cannot be written. The error is of class ``error_class``.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            with replacing(os.path.realpath(path)) as unfinished:  # a link stays one
                unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise error_class(f"'{printable(path)}' cannot be written: {explain(error, 'choose another file')}") from error


def check_space(folder: Path, count_bytes: int) -> None:
    """Check that a file of this size can be written to a folder: Paddle, OpenVINO and ONNX Runtime cut theirs short silently.

    Raises:
        OSError: The disk is too full, or the file would be larger than a limit.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # takes the space without writing
            os.posix_fallocate(file.fileno(), 0, count_bytes)
        elif shutil.disk_usage(folder).free < count_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync_to_disk(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive a power cut."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
