"""The lines and warnings that importing paddledet prints."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import read_source

__all__ = ["DEFECT", "drop_import_noise"]

_NOISE = "Warning: Unable to use "


@contextlib.contextmanager
def drop_import_noise() -> Iterator[None]:
    """While active, drop the lines and warnings that importing paddledet gives. Everything else is printed at the end.

    Up to five lines go to stdout. They are about packages for object tracking, which R-CNNs never use. The warnings are
    about invalid escape sequences in docstrings; Python 3.12 and later give them when they compile the files.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=SyntaxWarning, module=r"ppdet\b")
            yield
    finally:
        kept = [line for line in printed.getvalue().splitlines() if not line.startswith(_NOISE)]
        if kept:
            sys.stdout.write("\n".join(kept) + "\n")


def _is_present() -> bool:
    return _NOISE in read_source("ppdet", "metrics/mot_metrics.py")


DEFECT = Defect(
    name="import_noise",
    what="importing paddledet prints lines about packages for object tracking",
    versions={"paddledet": "<=2.6.0"},
    reference="ppdet/metrics/mot_metrics.py and others of paddledet 2.6.0",
    applied="while paddledet is imported",
    is_present=_is_present,
)
