"""What ``doctor`` says about known defects of the installed packages."""

from __future__ import annotations

import inspect

from ppdet_res2net.compat.registry import ProbedDefect, probe_defects
from res2net_runtime.backends import paddle_quirks

__all__ = ["as_lines", "probe"]


def probe() -> dict[str, list[dict]]:
    """Return the defects that the training side works around, probed, and those that the runtime does, for JSON."""
    return {
        "training": [_as_json(finding) for finding in probe_defects()],
        "runtime": [_runtime_quirk(name) for name in paddle_quirks.__all__],
    }


def _as_json(finding: ProbedDefect) -> dict:
    defect = finding.defect
    return {
        "name": defect.name,
        "what": defect.what,
        "versions": defect.versions_text,
        "reference": defect.reference,
        "applied": defect.applied,
        "expected": finding.expected,
        "present": finding.present,
        "status": finding.status,
    }


def _runtime_quirk(name: str) -> dict:
    description = inspect.getdoc(getattr(paddle_quirks, name)) or ""
    return {"name": name, "what": description.partition("\n")[0].rstrip(".").replace("``", "")}


def as_lines(defects: dict[str, list[dict]]) -> list[str]:
    """Return what ``probe`` found, for people; the first line is empty."""
    rows = [(row["name"], row["status"], row["what"]) for row in defects["training"]]
    width = max(len(row["name"]) for part in defects.values() for row in part)
    lines = ["", "Known defects of Paddle and paddledet, and what is done about them (ppdet_res2net/compat/):"]
    lines += [f"  {name:{width}}  {status:13}  {what}" for name, status, what in rows]
    lines += ["", "What the runtime does to use Paddle safely (res2net_runtime/backends/paddle_quirks.py):"]
    return lines + [f"  {row['name']:{width}}  {row['what']}" for row in defects["runtime"]]
