"""Reads text that people and their tools have written: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

Other encodings are not guessed: the same bytes are a word in one and another word in the next. The error names the line and
shows how it would read, so that the user can tell.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
import unicodedata
from pathlib import Path

import yaml

from ppdet_res2net.errors import DatasetError, Res2NetError, did_you_mean
from res2net_runtime.plain_yaml import YamlSizeError, check_size

__all__ = [
    "MAX_BYTES_VARIABLE",
    "decode_text",
    "parse_json",
    "parse_json_with_keys",
    "parse_plain_yaml",
    "read_bytes",
    "read_json_file",
    "read_lines",
    "read_text",
]

MAX_BYTES_VARIABLE = "RES2NET_MAX_TEXT_BYTES"
MAX_BYTES = 4 << 30

# UTF-32's little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
# What a file that is not UTF-8 usually is; shown to the user, who can tell which one reads right.
_USUAL = ("gb18030", "windows-1252")
_LOOKED_AT = 4096  # bytes that are enough to tell text from other files
_SHOWN_CHARACTERS = 30
_JSON_SPACE = re.compile(r"[ \t\n\r]*")
_MAX_YAML_LEVELS, _MAX_YAML_VALUES = 20, 1_000_000  # a data.yaml may list every image
_ALLOWED_CONTROLS = "\t\n\r\f"
_NOT_TEXT = ("Cc", "Cn", "Co", "Cs")  # controls, unassigned, private, half of a pair
_LINE_END = re.compile("\r\n?")


def read_text(
    path: str | os.PathLike[str],
    what: str = "text file",
    error_class: type[Res2NetError] = DatasetError,
    may_be_empty: bool = False,
) -> str:
    """Read a text file in UTF-8, UTF-16 or UTF-32. Lines of the result end in ``\\n`` only, and there is no mark in it.

    Args:
        path: The file.
        what: What the file is, for messages: ``"annotation file"``.
        error_class: The class of the errors.
        may_be_empty: Whether a file without any text is no error.

    Raises:
        Res2NetError: The file is missing, a folder, not a regular file, too large, empty, unreadable, or in another encoding.
            The error is of class ``error_class`` and names the file, and for wrong bytes the line and column.
    """
    source = f"{what} '{path}'"
    text = decode_text(read_bytes(path, what, error_class), source, error_class)
    if not may_be_empty and not text.strip():
        raise error_class(f"{source} is empty; perhaps a copy was interrupted. Copy or write it again.")
    return text


def read_lines(
    path: str | os.PathLike[str],
    what: str = "text file",
    error_class: type[Res2NetError] = DatasetError,
    may_be_empty: bool = False,
) -> list[str]:
    """Read a text file as its lines, blank ones included; see :func:`read_text`.

    Unlike ``str.splitlines``, this counts lines as editors do.
    """
    return read_text(path, what, error_class, may_be_empty).removesuffix("\n").split("\n")


def read_json_file(
    path: str | os.PathLike[str], what: str = "JSON file", error_class: type[Res2NetError] = DatasetError
) -> object:
    """Read a JSON file; see :func:`read_text` and :func:`parse_json`."""
    return parse_json(read_text(path, what, error_class), f"{what} '{path}'", error_class)


def parse_json(text: str, source: str, error_class: type[Res2NetError] = DatasetError) -> object:
    """Parse JSON.

    Args:
        text: The document.
        source: What it is, for messages: ``"annotation file 'a.json'"``.
        error_class: The class of the errors.

    Raises:
        Res2NetError: The text is not JSON, is nested too deeply, or has a number of thousands of digits.
    """
    return parse_json_with_keys(text, source, error_class)[0]


def parse_json_with_keys(
    text: str, source: str, error_class: type[Res2NetError] = DatasetError
) -> tuple[object, list[str]]:
    """Parse JSON as :func:`parse_json`, and also return the keys of the outermost object, of which Python keeps each once."""
    try:
        return _load_with_keys(text)
    except json.JSONDecodeError as error:
        raise error_class(
            f"{source} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno} (character {error.pos} of "
            f"{len(error.doc)}). It may be cut off; copy or export it again."
        ) from error
    except RecursionError as error:
        raise error_class(f"{source} is nested too deeply to be read. Export it again.") from error
    except ValueError as error:  # Python refuses integers of thousands of digits
        raise error_class(f"{source} has a number that cannot be read: {error}. Correct the file.") from error


def _load_with_keys(text: str) -> tuple[object, list[str]]:
    """Return the document, and the keys of the outermost object with repetitions. Its values are parsed one by one."""
    content: dict[str, object] = {}
    keys: list[str] = []
    decode = json.JSONDecoder().raw_decode
    position = _after_space(text, 0)
    try:
        while text[position] == ("," if keys else "{"):
            key, position = decode(text, _after_space(text, position + 1))
            position = _after_space(text, position)
            if not isinstance(key, str) or text[position] != ":":
                break
            content[key], position = decode(text, _after_space(text, position + 1))
            keys.append(key)
            position = _after_space(text, position)
        if keys and text[position] == "}" and _after_space(text, position + 1) == len(text):
            return content, keys
    except (json.JSONDecodeError, IndexError):
        pass  # json.loads tells what is wrong, and where
    return json.loads(text), []


def _after_space(text: str, position: int) -> int:
    return _JSON_SPACE.match(text, position).end()  # type: ignore[union-attr]  # it matches nothing, too


def parse_plain_yaml(text: str, source: str, error_class: type[Res2NetError] = DatasetError) -> object:
    """Parse YAML into dicts, lists and text: ``no``, ``1e3``, ``007`` and ``null`` stay what they are in the file.

    Args:
        text: The document.
        source: What it is, for messages: ``"class names 'data.yaml'"``.
        error_class: The class of the errors.

    Raises:
        Res2NetError: The text is not YAML, is too large or nested too deeply, or has a key twice in one mapping.
    """
    try:
        check_size(yaml.parse(text, Loader=yaml.BaseLoader), _MAX_YAML_LEVELS, _MAX_YAML_VALUES)
        return _PlainLoader(text).get_single_data()
    except YamlSizeError as error:
        raise error_class(f"{source}, line {error.line}: {error}. Simplify the file.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise error_class(f"{source}{line}: this is not valid YAML: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise error_class(f"{source}: this is not valid YAML: {error}.") from error


class _PlainLoader(yaml.BaseLoader):
    """Reads every scalar as text; refuses repeated keys, of which YAML's readers otherwise take the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # the base class refuses it
            if key.value in lines:
                problem = f"'{key.value}' is there twice, first in line {lines[key.value]}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def read_bytes(
    path: str | os.PathLike[str], what: str = "file", error_class: type[Res2NetError] = DatasetError
) -> bytes:
    """Read a regular file whole.

    Pipes and devices are refused, because reading them may never end.

    Raises:
        Res2NetError: The file is missing, a folder, not a regular file, too large, or unreadable; of class ``error_class``.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise error_class(f"{what} expected, but '{path}' is a folder. Pass the file.")
        if not stat.S_ISREG(status.st_mode):
            raise error_class(f"{what} expected, but '{path}' is a pipe, a socket or a device. Pass a regular file.")
        limit = _max_bytes(error_class)
        if status.st_size > limit:
            raise error_class(
                f"{what} '{path}' has {status.st_size} bytes; at most {limit} are read. Check that it is the right file, or "
                f"set the environment variable {MAX_BYTES_VARIABLE}."
            )
        return path.read_bytes()
    except Res2NetError:
        raise  # some of these are a ValueError too
    except (FileNotFoundError, NotADirectoryError) as error:
        folder = path.absolute().parent
        close = did_you_mean(path.name, os.listdir(folder)) if folder.is_dir() else f" There is no folder '{folder}'."
        raise error_class(f"{what} not found: '{path}'.{close} Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        reason = getattr(error, "strerror", None) or error
        raise error_class(f"{what} '{path}' cannot be read: {reason}. Check its path and permissions.") from error


def decode_text(
    data: bytes, source: str, error_class: type[Res2NetError] = DatasetError, encoding: str | None = None
) -> str:
    """Decode the content of a text file. Line ends become ``\\n``, and a byte order mark is removed.

    A mark decides the encoding. Without one, the text is UTF-8, or UTF-16 or UTF-32 if only one of these makes sense.

    Args:
        data: The bytes.
        source: What they are, for messages: ``"label file 'a.txt'"``.
        error_class: The class of the error.
        encoding: The encoding that the file itself declares, used if there is no mark. Python must know it.

    Raises:
        Res2NetError: Some bytes are not in this encoding, or the text has NUL characters; line, column and byte are named.
    """
    mark, marked = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", None))
    data = data[len(mark) :]
    used = marked or encoding or (_wide_encoding(data) if b"\0" in data else None) or "utf-8"
    try:
        text = data.decode(used)
    except UnicodeDecodeError as error:
        raise error_class(_explain(data, error, used, source, is_declared=used == encoding)) from error
    if "\0" in text:
        raise error_class(
            f"{source}: {_position(text[: text.index(chr(0))])} has a NUL character, so this is not text, or it was damaged "
            "by a full disk or a crash. Copy or export it again."
        )
    text = text.lstrip("\ufeff")  # joined files have a second mark
    return _LINE_END.sub("\n", text) if "\r" in text else text


def _wide_encoding(data: bytes) -> str | None:
    """Return the only one of UTF-16 and UTF-32, in both byte orders, in which the bytes are text with some ASCII in it."""
    possible = []
    for encoding in _WIDE:
        try:
            characters = set(data.decode(encoding))
        except UnicodeDecodeError:
            continue
        is_text = all(one in _ALLOWED_CONTROLS or unicodedata.category(one) not in _NOT_TEXT for one in characters)
        if is_text and any(one.isascii() for one in characters):
            possible.append(encoding)
    return possible[0] if len(possible) == 1 else None


def _explain(data: bytes, error: UnicodeDecodeError, encoding: str, source: str, is_declared: bool) -> str:
    before = data[: error.start].decode(encoding, "replace")
    where = f"{source}: {_position(before)}"
    if error.end >= len(data) and error.reason in ("unexpected end of data", "truncated data"):
        return f"{where}: the file ends in the middle of a character. It may be cut off; copy or export it again."
    name = encoding.upper()
    message = f"{where}: the byte 0x{data[error.start]:02x} is not {name}{', which the file declares' * is_declared}."
    if encoding != "utf-8":
        return f"{message} Save the file as UTF-8."
    if any(byte < 32 and chr(byte) not in _ALLOWED_CONTROLS for byte in data[:_LOOKED_AT]):
        return (
            f"{message} There are control characters, too: this is no text, but perhaps an image, an archive or damaged. "
            "Pass the right file."
        )
    begin = data.rfind(b"\n", 0, error.start) + 1
    end = data.find(b"\n", error.start)
    line = data[begin : end if end >= 0 else len(data)]
    readings = [
        f"as {usual} it reads {text!r}" for usual in _USUAL if (text := _excerpt(line, error.start - begin, usual))
    ]
    shown = f" The line is in another encoding: {', '.join(readings)}." if readings else ""
    return f"{message}{shown} Save the file as UTF-8, in an editor or with 'iconv -f ENCODING -t UTF-8 FILE'."


def _excerpt(line: bytes, position: int, encoding: str) -> str | None:
    """Return the part of a line around a byte in another encoding; None if the line is not in it."""
    try:
        text, middle = line.decode(encoding), len(line[:position].decode(encoding, "ignore"))
    except UnicodeDecodeError:
        return None
    first = max(0, middle - _SHOWN_CHARACTERS // 2)
    return text[first : first + _SHOWN_CHARACTERS].strip()


def _position(before: str) -> str:
    """Return the place behind a text: ``"line 2, column 5"``, both from 1."""
    before = _LINE_END.sub("\n", before)
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


def _max_bytes(error_class: type[Res2NetError]) -> int:
    text = os.environ.get(MAX_BYTES_VARIABLE, str(MAX_BYTES))
    if not text.isdecimal():
        raise error_class(f"The environment variable {MAX_BYTES_VARIABLE} is {text!r}; expected a number of bytes.")
    return int(text)
