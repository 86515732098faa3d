"""What a server is told on its command line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from res2net_runtime.errors import Res2NetError
from res2net_runtime.texts import printable

__all__ = ["NAME_RULE", "ServeSettings", "name_models"]

NAME_RULE = "1 to 100 letters, digits, dots, dashes and underscores, beginning with a letter or digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class ServeSettings:
    """How a server behaves.

    Attributes:
        models: Folder of each model, by name.
        engine: Options of the predictors: ``device``, ``cpu_threads``, ``backend``, ``precision``, ``trust_graph``.
        batch_size: Images that run through the network together.
        max_wait_ms: How long an image waits for others of its size.
        max_queue: Images of one model that may wait at once; further ones are refused.
        max_mb: Largest body of a request, in units of 1,000,000 bytes.
        max_pixels: Larger images are refused before they are decoded.
        max_images: Images in one request.
        max_connections: Open connections; further ones are refused.
        timeout_ms: How long a request waits if it does not say so itself.
        body_timeout_s: How long a client may take to send the headers of a request, and to send its body.
        grace_s: How long requests in flight may take after SIGTERM.
        keys: Keys of which clients need one; none if the server is open to all.
        access_log: Whether each request is logged.
        shared_dir: A folder in which several workers leave each other notes; None for a single one.
    """

    models: Mapping[str, Path]
    engine: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 1
    max_wait_ms: float = 5.0
    max_queue: int = 64
    max_mb: float = 20.0
    max_pixels: int = 50_000_000
    max_images: int = 16
    max_connections: int = 512
    timeout_ms: int = 30_000
    body_timeout_s: float = 30.0
    grace_s: float = 30.0
    keys: tuple[str, ...] = field(default=(), repr=False)
    access_log: bool = True
    shared_dir: Path | None = None

    @property
    def max_bytes(self) -> int:
        """Largest body of a request, in bytes."""
        return int(self.max_mb * 1_000_000)


def name_models(values: list[str]) -> dict[str, Path]:
    """Return the folders that ``--model_dir`` names, by the name of each model: ``NAME=FOLDER``, or the folder's own name.

    Raises:
        Res2NetError: A name is missing, cannot be part of an address, or is used twice.
    """
    models: dict[str, Path] = {}
    for value in values:
        left, equals, right = value.partition("=")
        is_named = bool(equals) and os.sep not in left and not os.path.isdir(value)
        path = Path(right if is_named else value)
        name = left if is_named else Path(os.path.abspath(path)).name
        if not _NAME.fullmatch(name):
            raise Res2NetError(
                f"The model '{printable(value)}' cannot be called '{printable(name)}': a name has {NAME_RULE}. Pass "
                f"--model_dir NAME={printable(path)}."
            )
        if name in models:
            raise Res2NetError(
                f"Two models are called '{name}': '{printable(models[name])}' and '{printable(path)}'. Give one of them "
                f"another name: --model_dir NAME={printable(path)}."
            )
        models[name] = path
    return models
