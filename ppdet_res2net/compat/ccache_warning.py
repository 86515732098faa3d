"""Paddle's warning about ccache."""

from __future__ import annotations

import warnings

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import read_source

__all__ = ["DEFECT", "ignore_ccache_warning"]


def ignore_ccache_warning() -> None:
    """Add a warning filter for "No ccache found". ccache only helps people who compile operators for Paddle."""
    warnings.filterwarnings("ignore", message="No ccache found")


def _is_present() -> bool:
    return "No ccache found" in read_source("paddle", "utils/cpp_extension/extension_utils.py")


DEFECT = Defect(
    name="ccache_warning",
    what="importing Paddle warns that ccache is missing, although nothing is compiled",
    versions={"paddle": ">=3.0"},
    reference="paddle/utils/cpp_extension/extension_utils.py of Paddle 3.3.1",
    applied="while paddledet is imported, and in every command",
    is_present=_is_present,
)
