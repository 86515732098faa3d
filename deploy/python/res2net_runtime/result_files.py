"""Write detections as COCO results, image by image. A long run then neither fills the memory nor loses its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

__all__ = ["ResultFiles"]

# The key that only this file has -> the file.
_FILES = {"bbox": "bbox.json", "segmentation": "mask.json"}


class ResultFiles:
    """``bbox.json``, and ``mask.json`` for a detector with masks: JSON lists of COCO results.

    The files are opened with the first image. When the context is left, even by an exception, they are complete JSON.

    Args:
        directory: An existing folder for the files.
        has_masks: Whether to write ``mask.json``.
    """

    def __init__(self, directory: Path, has_masks: bool) -> None:
        self._directory = directory
        self._kinds = ("bbox", "segmentation") if has_masks else ("bbox",)
        self._files: dict[str, TextIO] = {}
        self._is_empty = True

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            file.write("]\n")
            file.close()

    def add(self, entries: list[dict[str, Any]], **more: Any) -> None:
        """Append detections.

        Args:
            entries: What ``Detections.to_coco`` gives.
            **more: Further keys of each entry; they come first.

        Raises:
            OSError: The files cannot be written.
        """
        if not self._files:
            self._files = {kind: self._begin(_FILES[kind]) for kind in self._kinds}
        for entry in entries:
            for kind, file in self._files.items():
                kept = {key: value for key, value in entry.items() if key == kind or key not in _FILES}
                file.write(("" if self._is_empty else ",\n") + json.dumps({**more, **kept}))
            self._is_empty = False

    def _begin(self, name: str) -> TextIO:
        file = (self._directory / name).open("w", encoding="utf-8")
        file.write("[")
        return file
