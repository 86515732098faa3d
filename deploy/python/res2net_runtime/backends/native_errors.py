"""Turn the exceptions of an engine's native code into a :class:`BackendError` that says what to do."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from res2net_runtime.backends.graphs import UnknownOperatorError
from res2net_runtime.errors import BackendError, Res2NetError
from res2net_runtime.system_errors import find_remedy
from res2net_runtime.texts import clip, printable

__all__ = ["import_engine", "loading", "running"]

_MAX_CHARACTERS = 400


def import_engine(module: str, requirement: str = "") -> ModuleType:
    """Import an inference engine.

    Args:
        module: Its module.
        requirement: What to pass to pip; default: the module's name.

    Raises:
        BackendError: It is not installed, or its build does not fit this machine.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken installation may raise any type
        remedy = _remedy(error) or f"Install it with: pip install {requirement or module}."
        raise BackendError(f"Cannot import {module} ({error}). {remedy}") from error


@contextmanager
def loading(description: str, model_path: Path) -> Iterator[None]:
    """Wrap the loading of a network.

    Args:
        description: The engine.
        model_path: The graph.
    """
    try:
        yield
    except Res2NetError:
        raise
    except Exception as error:  # native code may raise any type
        if not _is_utf8(model_path):  # some engines read such paths, some do not
            raise BackendError(
                f"{description} cannot load '{printable(model_path)}': the path is not in UTF-8. Rename the file or folder."
            ) from error
        remedy = _remedy(error) or "Choose another backend, or export the model again."
        raise BackendError(
            f"{description} cannot load '{printable(model_path)}': {_summarize(error)}. {remedy}"
        ) from error


@contextmanager
def running(description: str, batch: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Wrap the run of a batch.

    Args:
        description: The engine.
        batch: The inputs.
    """
    try:
        yield
    except Exception as error:  # native code may raise any type
        raise BackendError(
            f"{description} failed on a batch of shape {tuple(batch['image'].shape)}: {_summarize(error)}. "
            "Choose another backend."
        ) from error


def _is_utf8(path: Path) -> bool:
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _remedy(error: Exception) -> str | None:
    if isinstance(error, UnknownOperatorError):
        return (
            "If you exported it yourself, with modules of your own, pass --trust_graph (trust_graph=True). Otherwise do not "
            "use it."
        )
    return find_remedy(error, "set TMPDIR to a folder on another disk")


def _summarize(error: Exception) -> str:
    """Return the informative lines of a native error, without C++ stacks and banners."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line.startswith(("(", "[Hint", "[operator"))]  # Paddle's
    summary = " ".join(telling) or " ".join(line for line in lines if line)
    return clip(summary or type(error).__name__, _MAX_CHARACTERS).rstrip(".")
