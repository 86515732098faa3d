"""Export of a detector as a folder for deployment, in the formats of several inference engines, and the proof of it."""

from __future__ import annotations

from ppdet_res2net.engine.export.agreement import (
    TOLERANCES,
    Agreement,
    Tolerance,
    compare_detections,
    verify_export,
)
from ppdet_res2net.engine.export.folder import FORMATS, export_model

__all__ = [
    "FORMATS",
    "TOLERANCES",
    "Agreement",
    "Tolerance",
    "compare_detections",
    "export_model",
    "verify_export",
]
