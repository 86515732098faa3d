"""Text that comes from elsewhere, such as file names and urls: made safe to print and to store."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit, urlunsplit

__all__ = ["clip", "hide_password", "is_url", "printable", "printable_lines", "storable"]

# Categories of Unicode that change a terminal or a line: controls, formats (such as a change of direction), lone
# surrogates, unassigned characters, and separators of lines and paragraphs.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # formats that Persian and emoji need, and that do no harm
_SHORT_LIST = 8


def printable(text: object) -> str:
    r"""Return a text with everything escaped that a terminal would not show as a character.

    Bytes of a file name that are not UTF-8, which Python keeps as lone surrogates, become ``\xd6``.
    """
    return "".join(
        _escape(one) if unicodedata.category(one) in _UNPRINTABLE and one not in _JOINERS else one for one in str(text)
    )


def printable_lines(text: object) -> str:
    """Return :func:`printable` of each line of a text."""
    return "\n".join(map(printable, str(text).split("\n")))


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
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(text)) is not None


def hide_password(url: str) -> str:
    """Return a url for a message: without user name and password, and without a query, which may hold a token."""
    try:
        parts = urlsplit(url)
    except ValueError:  # not a url in the end
        return printable(url.partition("://")[0] + "://...")
    host = parts.netloc.rpartition("@")[2]
    return printable(urlunsplit((parts.scheme, host, parts.path, "...=..." if parts.query else "", "")))


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte of a file name that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
