"""Files that are written whole or not at all, folders for results, checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

from res2net_runtime.files import make_output_folder, replacing, sync_to_disk

__all__ = ["file_sha256", "make_output_folder", "replacing", "sync_to_disk"]

_BLOCK_BYTES = 1 << 22


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()  # hashlib.file_digest came with Python 3.11
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
