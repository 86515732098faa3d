"""Text that comes from elsewhere, such as file names and urls: made safe to print and to store."""

from __future__ import annotations

import json
import re
import unicodedata
from urllib.parse import urlsplit, urlunsplit

__all__ = ["clip", "hide_password", "is_url", "json_text", "printable", "printable_lines", "printable_path", "storable"]

# Categories of Unicode that change a terminal or a line: controls, formats (such as a change of direction), lone
# surrogates, unassigned characters, and separators of lines and paragraphs.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # formats that Persian and emoji need, and that do no harm
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")
_SHORT_LIST = 8


def printable(text: object) -> str:
    r"""Return a text with everything escaped that a terminal would not show as a character.

    Bytes of a file name that are not UTF-8, which Python keeps as lone surrogates, become ``\xd6``.
    """
    text = str(text)
    if text.isprintable():  # nearly all are, and this is much faster
        return text
    return _NOT_ASCII.sub(lambda match: _escape(match[0]) if _is_unprintable(match[0]) else match[0], text)


def printable_lines(text: object) -> str:
    """Return a message of one or several lines, each as :func:`printable` returns it; tabs stay, too."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in str(text).split("\n"))


def printable_path(path: object, length: int = 300) -> str:
    """Return a path or file name for a message: beginning and end of one that is longer than ``length`` characters."""
    text = str(path)
    if len(text) <= length:
        return printable(text)
    return f"{printable(text[: length // 3])}...{printable(text[-length // 2 :])}"


def json_text(content: object, indent: int | None = None, only_ascii: bool = False) -> str:
    """Return JSON that can be printed: letters stay, all that a terminal would not show is escaped as JSON does it."""
    text = json.dumps(content, indent=indent, ensure_ascii=only_ascii)
    lines = text.split("\n")  # the line breaks of the indentation; those of texts are escaped
    return "\n".join(_NOT_ASCII.sub(_escape_in_json, line) for line in lines)


def clip(value: object, length: int = 60) -> str:
    """Return the beginning of a value for a message, without characters that a terminal would not show."""
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to print very long numbers
        return f"a number of {value.bit_length()} bits"
    text = value if isinstance(value, str) else _outline(value)
    return printable(text if len(text) <= length else text[:length] + "...")


def _outline(value: object) -> str:
    """Return ``repr`` of a scalar or of a short list, and only the size of other lists and mappings."""
    if isinstance(value, dict):
        return f"a mapping of {len(value)} keys" if value else "{}"
    if isinstance(value, (list, tuple)):
        is_short = len(value) <= _SHORT_LIST and not any(isinstance(one, (dict, list, tuple)) for one in value)
        return f"[{', '.join(clip(one, 20) for one in value)}]" if is_short else f"a list of {len(value)} values"
    return repr(value)


def storable(text: str) -> str:
    r"""Return a text that every JSON reader takes: lone surrogates are escaped (``\xd6``), all else stays."""
    return re.sub("[\ud800-\udfff]", lambda match: _escape(match[0]), text)


def is_url(text: object) -> bool:
    """Whether a text begins with a scheme and ``://``, as no path of a file does."""
    text = str(text)
    return "://" in text and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def meant_url(path: object) -> str | None:
    """Return the url that a text, or a path made of it, was meant as; None if none. A path joins slashes: ``s3:/bucket``."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+", str(path))
    return None if match is None else f"{match[1]}://{str(path)[match.end() :]}"


def hide_password(url: str) -> str:
    """Return a url for a message: without user name and password, and without a query, which may hold a token."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # not a url in the end; what seems to be the port may be a password
        return printable(url.partition("://")[0] + "://...")
    host = parts.netloc.rpartition("@")[2]
    return printable(urlunsplit((parts.scheme, host, parts.path, "...=..." if parts.query else "", "")))


def _is_unprintable(character: str) -> bool:
    return unicodedata.category(character) in _UNPRINTABLE and character not in _JOINERS


def _escape_in_json(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if _is_unprintable(match[0]) else match[0]


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte of a file name that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
