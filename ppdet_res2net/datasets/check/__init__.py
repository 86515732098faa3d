"""Checks datasets: everything that can be wrong with annotation files in COCO's format and with their images."""

from __future__ import annotations

from ppdet_res2net.datasets.check.fix import fix_dataset
from ppdet_res2net.datasets.check.page import write_page
from ppdet_res2net.datasets.check.refuse import refuse_errors, say_warnings
from ppdet_res2net.datasets.check.run import (
    DatasetReport,
    DatasetSource,
    check_contents,
    check_datasets,
    compare_with_recipe,
)
from ppdet_res2net.datasets.check.text import format_report, summarize, to_json

__all__ = [
    "DatasetReport",
    "DatasetSource",
    "check_contents",
    "check_datasets",
    "compare_with_recipe",
    "fix_dataset",
    "format_report",
    "refuse_errors",
    "say_warnings",
    "summarize",
    "to_json",
    "write_page",
]
