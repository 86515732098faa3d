"""The root of the project's exceptions, and the ones that the runtime raises.

Every message says what went wrong, what was found and expected, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from res2net_runtime.texts import printable_lines

__all__ = ["Res2NetError", "ImageError", "ModelFolderError", "BackendError", "HubError", "did_you_mean"]


class Res2NetError(Exception):
    """Base of every error that the user can cause and fix; command lines print it without a traceback.

    Its message can quote files. As text, it has no characters that would change a terminal.
    """

    def __str__(self) -> str:
        return printable_lines(super().__str__())


class ImageError(Res2NetError, ValueError):
    """An image cannot be read, or an array has a shape or dtype that no image has."""


class ModelFolderError(Res2NetError):
    """An exported model folder lacks a file, or was written by a different version."""


class HubError(Res2NetError):
    """A hub of models does not deliver what an address names, or must not be asked."""


class BackendError(Res2NetError, RuntimeError):
    """The chosen inference engine is missing or refuses the model."""


def did_you_mean(word: object, choices: Iterable[object]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest of ``choices``, ignoring case, or ``""`` if none is close."""
    by_lower_case = {str(choice).lower(): str(choice) for choice in choices}
    matches = difflib.get_close_matches(str(word).lower(), by_lower_case, n=1)
    return f" Did you mean '{by_lower_case[matches[0]]}'?" if matches else ""
