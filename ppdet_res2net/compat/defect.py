"""The record of a defect in the registry."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Defect"]


@dataclass(frozen=True)
class Defect:
    """A known defect of Paddle or paddledet. The module of its name works around it.

    Attributes:
        name: Name of the module in this package.
        what: What goes wrong without the workaround, in one line.
        versions: Package -> versions that have the defect, as pip writes them. All must match. ``paddle`` stands for
            ``paddlepaddle`` and ``paddlepaddle-gpu``.
        reference: Where upstream has the defect: a source file, a function, a release.
        applied: When the workaround takes effect.
        is_present: Tests whether the installed packages have the defect. It is only meaningful in a process where
            nothing has been worked around: see ``registry.probe_defects``.
        platform: Start of ``sys.platform`` where the defect occurs; empty for all.
    """

    name: str
    what: str
    versions: Mapping[str, str]
    reference: str
    applied: str
    is_present: Callable[[], bool]
    platform: str = ""

    @property
    def versions_text(self) -> str:
        """The versions as one string, such as ``"paddledet<=2.6.0, paddle>=2.5"``."""
        return ", ".join(package + versions for package, versions in self.versions.items())

    def is_expected(self, installed: Mapping[str, str]) -> bool:
        """Return whether ``versions`` and ``platform`` say that these installed versions have the defect here."""
        from packaging.specifiers import SpecifierSet

        return sys.platform.startswith(self.platform) and all(
            package in installed and SpecifierSet(versions).contains(installed[package], prereleases=True)
            for package, versions in self.versions.items()
        )
