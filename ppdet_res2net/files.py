"""Files that are written whole or not at all, folders for results, checksums, images."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from res2net_runtime.errors import Res2NetError
from res2net_runtime.files import (
    IMAGE_SUFFIXES,
    check_space,
    make_output_folder,
    refuse_url,
    remove_abandoned,
    replacing,
    save_text,
    sync_to_disk,
    unfinished_name,
)
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "check_space",
    "file_sha256",
    "files_below",
    "images_below",
    "make_output_folder",
    "new_folder",
    "refuse_url",
    "remove_abandoned",
    "replacing",
    "save_figure",
    "save_text",
    "sync_to_disk",
    "unfinished_name",
]

_BLOCK_BYTES = 1 << 22


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()  # hashlib.file_digest came with Python 3.11
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def new_folder(folder: str | os.PathLike[str], option: str, error_class: type[Res2NetError]) -> Iterator[Path]:
    """Yield a folder to fill. After an error there is nothing, or the empty folder that was there before.

    Args:
        folder: The folder, which is new or empty. A new one gets its name when everything is in it. One that is there, such as
            a mounted disk or a link, gets its content at the end.
        option: The option with which the user chooses the folder, for the message.
        error_class: The class of the error.

    Raises:
        Res2NetError: The folder holds something or cannot be written. The error is of class ``error_class``.
    """
    refuse_url(folder, option, error_class)
    path = Path(folder)
    try:
        if not path.exists():
            with replacing(os.path.realpath(path)) as unfinished:
                unfinished.mkdir()
                yield unfinished
            return
        remove_abandoned(path)
        if any(path.iterdir()):
            raise error_class(
                f"The folder '{printable(path)}' is not empty. Pass another {option}, or remove what is in it."
            )
        with tempfile.TemporaryDirectory(dir=path, prefix=unfinished_name(path.name)) as directory:
            yield Path(directory)
            for name in os.listdir(directory):
                os.rename(os.path.join(directory, name), path / name)
    except OSError as error:
        raise error_class(
            f"The folder '{printable(path)}' cannot be written: {explain(error, f'pass another {option}')}"
        ) from error


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int, error_class: type[Res2NetError]) -> None:
    """Write a picture: a file wholly or not at all; a pipe or a device directly.

    Args:
        figure: The picture.
        path: The file; its folder is created. Its suffix chooses the format (``.png``, ``.svg``, ...); without one, it is PNG.
        dpi: Pixels per inch.
        error_class: The class of the error.

    Raises:
        Res2NetError: It cannot be written, or there is no such format. The error is of class ``error_class``.
    """
    path = Path(path)
    form = path.suffix[1:] or "png"
    try:
        if path.exists() and not path.is_file():
            figure.savefig(path, dpi=dpi, format=form)
        else:
            with replacing(os.path.realpath(path)) as unfinished:  # a link stays one
                figure.savefig(unfinished, dpi=dpi, format=form)
    except (OSError, ValueError) as error:
        reason = f"{error}. Pass a path that ends in .png or .svg."
        if isinstance(error, OSError):
            reason = explain(error, "choose another file")
        raise error_class(f"The picture '{printable(path)}' cannot be written: {reason}") from error


def images_below(folder: str | os.PathLike[str]) -> list[str]:
    """Return the paths of the images in a folder, as :func:`files_below` does."""
    return files_below(folder, IMAGE_SUFFIXES)


def files_below(folder: str | os.PathLike[str], suffixes: str | tuple[str, ...]) -> list[str]:
    """Return the paths of files with these endings in a folder, at any depth: hidden ones left out, links followed, sorted.

    Args:
        folder: The folder.
        suffixes: An ending or several, in lower case; those of the files may be in any case.
    """
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        found += [
            os.path.join(parent, name) for name in sorted(files) if name[0] != "." and name.lower().endswith(suffixes)
        ]
    return found
