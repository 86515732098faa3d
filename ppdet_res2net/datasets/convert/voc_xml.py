"""Reads one XML file of Pascal VOC's family: its encoding, its elements, numbers and flags."""

from __future__ import annotations

import codecs
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.data.foreign_formats import recognise
from ppdet_res2net.data.text_files import decode_text, read_bytes
from ppdet_res2net.data.values import to_flag
from ppdet_res2net.errors import DatasetError

__all__ = ["read_flag", "read_number", "read_numbers", "read_text_of", "read_xml"]

_DECLARATION = re.compile(rb"\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']")
# Windows writes the larger encoding and declares the smaller one, of which it is a superset.
_LARGER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "cp950",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-1": "cp1252",
}
# Python's codecs for text that are not for files
_NOT_FOR_FILES = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined")
# Tools write it where they mean "no".
_UNSPECIFIED = "unspecified"


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file in any encoding that it declares and Python knows. Tags come in lower case and without namespaces.

    Raises:
        DatasetError: The file is missing, in another encoding than declared, not XML, not an annotation, or defines entities:
            these can make a small file take all memory. Line and column are named.
    """
    data = read_bytes(path, "XML file")
    text = decode_text(data, f"'{path}'", encoding=_declared_encoding(data, path))
    if "<!ENTITY" in text:
        raise DatasetError(
            f"'{path}' defines entities, which no annotation tool does; it is not read. Export it again."
        )
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise DatasetError(f"'{path}' is not a readable XML file: {error}. Export it again.") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    if root.tag != "annotation":
        remedy = recognise(path) or "Check that the file is in Pascal VOC's format."
        raise DatasetError(f"'{path}' has the root <{root.tag}>; expected <annotation>. {remedy}")
    return root


def read_text_of(element: ElementTree.Element, key: str, where: str, default: str | None = None) -> str:
    """Return the text of an element below another one; ``where`` names the file, and the object, in messages.

    Raises:
        DatasetError: It is missing or empty, and there is no default.
    """
    found = element.findtext(key)
    if found is None or not found.strip():
        if default is None:
            raise DatasetError(
                f"{where}: <{element.tag}> has no <{key}>. Check that the file is in Pascal VOC's format."
            )
        return default
    return found.strip()


def read_number(element: ElementTree.Element, key: str, where: str, default: float | None = None) -> float:
    """Return the number in an element below another one.

    Raises:
        DatasetError: It is not a finite number; or it is missing, and there is no default.
    """
    text = read_text_of(element, key, where, None if default is None else str(default))
    try:
        number = float(text)
    except ValueError as error:
        raise DatasetError(f"{where}: <{key}> is '{text[:60]}', expected a number. Correct the file.") from error
    if not math.isfinite(number):
        raise DatasetError(f"{where}: <{key}> is '{text}', expected a finite number. Correct the file.")
    return number


def read_numbers(element: ElementTree.Element, parent: str, keys: Sequence[str], where: str) -> list[float]:
    """Return the numbers in several elements with one parent, such as the sides of ``bndbox``."""
    return [read_number(element, f"{parent}/{key}", where) for key in keys]


def read_flag(element: ElementTree.Element, key: str, where: str) -> bool:
    """Return a flag such as ``difficult``: 0, 1, or how tools spell these. A missing one is False.

    Raises:
        DatasetError: It is none.
    """
    text = read_text_of(element, key, where, "0")
    flag = False if text.lower() == _UNSPECIFIED else to_flag(text)
    if flag is None:
        raise DatasetError(f"{where}: <{key}> is '{text[:60]}', expected 0 or 1. Correct the file.")
    return flag


def _declared_encoding(data: bytes, path: Path) -> str | None:
    match = _DECLARATION.match(data)
    if match is None:  # none declared; or UTF-16, which its own form tells
        return None
    declared = match[1].decode()
    try:
        name = codecs.lookup(declared).name
        is_known = (
            name not in _NOT_FOR_FILES and "".encode(name) is not None
        )  # LookupError: not for text, such as 'hex'
    except LookupError:
        is_known = False
    if not is_known:
        raise DatasetError(
            f"'{path}', line 1: the encoding '{declared}' is not known. Save the file as UTF-8 and declare that."
        )
    if name.startswith(("utf-16", "utf-32")):
        return None  # the declaration was read byte by byte, so the file cannot be in it
    return _LARGER.get(name, name)
