"""Finds the files that annotations name, inside the image folder and nowhere else."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from ppdet_res2net.errors import ImageError
from res2net_runtime.files import IMAGE_SUFFIXES
from res2net_runtime.texts import is_url, printable_path

__all__ = ["ImageFolder", "composed", "resolve_image_path"]

# A folder with more files is not searched further for a hint.
_MOST_FILES = 200_000
_SHOWN = 3
# Label Studio puts this before the names of files that are uploaded to it.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")


def resolve_image_path(folder: str | os.PathLike[str], file_name: str) -> str:
    """Return the file that an annotation names. For many names, use :class:`ImageFolder`, which lists a folder once.

    Raises:
        ImageError: There is no such file inside the folder.
    """
    images = ImageFolder(folder)
    path = images.find(file_name)
    if path is None:
        explanation = images.explain(file_name)
        raise ImageError(f"{explanation[0].upper()}{explanation[1:]}. Correct the file name or the image folder.")
    return path


def composed(name: str) -> str:
    """Return a name as most systems write it: macOS stores "é" as two characters."""
    return unicodedata.normalize("NFC", name)


class ImageFolder:
    """The folder of a dataset's images.

    File names in annotations are data that somebody else wrote, so only files inside the folder are found. An absolute name
    is fine if it leads into the folder. A dataset whose names are absolute paths therefore needs ``/`` as its image folder.
    Links inside the folder are followed: who owns the folder made them.

    A name is matched as it is, or else by its letters: macOS stores "é" as two characters, other systems as one. Everything
    else (``%20``, backslashes, another folder, case or suffix) is only a hint in :meth:`explain`, as it would be a guess.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder) or "."
        self._absolute = os.path.abspath(self.folder)
        self._found: dict[str, str | None] = {}
        self._listings: dict[str, dict[str, list[str]]] = {}

    def join(self, file_name: str) -> str:
        """Return the path that a name stands for, whether or not it exists."""
        return os.path.join(self.folder, file_name)

    def holds(self, file_name: str) -> bool:
        """Whether a name stands for a path inside the folder, whether or not there is such a file."""
        return self._is_inside(self.join(file_name))

    def find(self, file_name: str) -> str | None:
        """Return the path of a regular file inside the folder, or None if there is none of this name."""
        if file_name not in self._found:
            self._found[file_name] = self._find(file_name)
        return self._found[file_name]

    def explain(self, file_name: str) -> str:
        """Say why a name is not found, and which file is probably meant: a part of a sentence, without a full stop."""
        path = self.join(file_name)
        if not self._is_inside(path):
            return (
                f"'{printable_path(file_name)}' is outside the image folder '{printable_path(self.folder)}'; if this is "
                "intended, pass the folder that contains all images, such as '/' for absolute paths"
            )
        if os.path.lexists(path.replace("\0", "")) and not os.path.isfile(path):
            kind = "a folder" if os.path.isdir(path) else "not a file that can be read"
            return f"'{printable_path(path)}' is {kind}"
        same = self._same_letters(file_name)
        if len(same) > 1:
            names = " and ".join(ascii(name) for name in same[:_SHOWN])
            return f"there is no file '{printable_path(path)}', but several that look like it: {names}"
        return f"there is no file '{printable_path(path)}'{self.hint(file_name)}"

    def hint(self, file_name: str) -> str:
        """Return ``", but there is '...'"`` with files that may be meant, or an empty text."""
        found = self.likely(file_name)
        names = " and ".join(f"'{printable_path(name)}'" for name in found[:_SHOWN])
        return f", but there is {names}" if found else ""

    def likely(self, file_name: str) -> list[str]:
        """Return the images in the folder, as relative paths, that a name may mean though none has it."""
        return next((found for key in _keys(file_name) if (found := self._index.get(key))), [])

    def _find(self, file_name: str) -> str | None:
        path = self.join(file_name)
        if "\0" in file_name or not file_name or not self._is_inside(path):
            return None
        if os.path.isfile(path):
            return path
        same = self._same_letters(file_name)
        return same[0] if len(same) == 1 and os.path.isfile(same[0]) else None

    def _is_inside(self, path: str) -> bool:
        absolute = os.path.abspath(path)
        return absolute.startswith(os.path.join(self._absolute, ""))

    def _same_letters(self, file_name: str) -> list[str]:
        """Return the paths in the folder whose names are equal up to composed and decomposed letters."""
        if "\0" in file_name or not self._is_inside(self.join(file_name)):
            return []
        paths = [self.folder]
        relative = os.path.relpath(os.path.abspath(self.join(file_name)), self._absolute)
        for part in PurePosixPath(relative).parts:
            wanted = composed(part)
            paths = [os.path.join(path, name) for path in paths for name in self._names_in(path).get(wanted, ())]
        return paths

    def _names_in(self, folder: str) -> dict[str, list[str]]:
        """Return the names in one folder by their composed form."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            try:
                names = sorted(os.listdir(folder))
            except OSError:  # not a folder: nothing of this name is in it
                names = []
            for name in names:
                listing.setdefault(composed(name), []).append(name)
            self._listings[folder] = listing
        return self._listings[folder]

    @cached_property
    def _index(self) -> dict[str, list[str]]:
        """Relative paths of the images in the folder by everything that a hint may go by."""
        index: dict[str, list[str]] = {}
        if self._absolute == os.path.sep:  # would read the whole disk
            return index
        for relative in islice(self._walk(), _MOST_FILES):
            for key in dict.fromkeys(_keys(relative)):
                index.setdefault(key, []).append(relative)
        return index

    def _walk(self) -> Iterator[str]:
        for parent, folders, names in os.walk(self.folder):
            folders.sort()
            for name in sorted(names):
                if name.lower().endswith(IMAGE_SUFFIXES):
                    yield os.path.relpath(os.path.join(parent, name), self.folder)


def _keys(file_name: str) -> Iterator[str]:
    """Yield what two names of the same picture may have in common: the closest first."""
    plain = _without_url(file_name.replace("\\", "/"))
    for name in dict.fromkeys((plain, unquote(plain))):
        yield "path:" + composed(name).casefold()
    for name in dict.fromkeys((plain, unquote(plain))):
        base = PurePosixPath(name).name
        for one in dict.fromkeys((base, _UPLOAD_PREFIX.sub("", base))):
            yield "name:" + composed(one).casefold()
    for name in dict.fromkeys((plain, unquote(plain))):
        base = PurePosixPath(name).name
        for one in dict.fromkeys((base, _UPLOAD_PREFIX.sub("", base))):
            yield "stem:" + composed(PurePosixPath(one).stem).casefold()


def _without_url(name: str) -> str:
    """Return the path within a url, or within what Label Studio writes for files of its server."""
    try:
        parts = urlsplit(name)
        inner = parse_qs(parts.query).get("d") if "?d=" in name else None
    except ValueError:
        return name
    if inner:
        return inner[0]
    return parts.path if is_url(name) else name
