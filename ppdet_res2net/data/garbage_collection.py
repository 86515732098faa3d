"""Pauses Python's garbage collector while a large file is read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["paused_garbage_collection"]


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Pause the search for circular references.

    While millions of small objects are made and none is dropped, it looks at all of them again and again, in vain.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
