"""Paddle 2.6 and Python's zlib."""

from __future__ import annotations

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "load_zlib_before_paddle"]


def load_zlib_before_paddle() -> None:
    """Load Python's zlib before Paddle's shared library. This is harmless if Paddle does not need it.

    Paddle 2.6.2 exports its own zlib symbols. If it is loaded first, extensions that decompress at import (scipy,
    pandas) bind to these symbols and fail or crash.
    """
    import zlib  # noqa: F401  (loading it is the whole point)


def _is_present() -> bool:
    import ctypes
    from pathlib import Path

    import paddle

    library = Path(paddle.__file__).parent / "base" / "libpaddle.so"
    return hasattr(ctypes.CDLL(str(library)), "inflate")


DEFECT = Defect(
    name="zlib_order",
    what="Paddle exports zlib symbols of its own; if it is loaded first, importing scipy or pandas fails or crashes",
    versions={"paddle": "<3"},
    reference="base/libpaddle.so of paddlepaddle 2.6.2",
    applied="before paddle is imported",
    is_present=_is_present,
    platform="linux",
)
