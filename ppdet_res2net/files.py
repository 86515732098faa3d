"""Files that are written whole or not at all, folders for results, checksums, images."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from res2net_runtime.files import (
    IMAGE_SUFFIXES,
    make_output_folder,
    remove_abandoned,
    replacing,
    save_text,
    sync_to_disk,
    unfinished_name,
)

__all__ = [
    "file_sha256",
    "files_below",
    "images_below",
    "make_output_folder",
    "remove_abandoned",
    "replacing",
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
