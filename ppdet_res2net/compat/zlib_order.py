"""Paddle 2.6 and Python's zlib."""

from __future__ import annotations

__all__ = ["load_zlib_before_paddle"]


def load_zlib_before_paddle() -> None:
    """Load Python's own zlib before Paddle's shared library does.

    Paddle 2.6.2 exports its private zlib symbols. When it is loaded first, extensions that decompress at import (scipy,
    pandas) bind to those and fail or crash. Versions: paddlepaddle 2.6.x on Linux; harmless elsewhere.
    """
    import zlib  # noqa: F401  (loading it is the whole point)
