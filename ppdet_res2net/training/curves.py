"""Plots of training runs, from their ``metrics.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.errors import ConfigError
from ppdet_res2net.files import save_figure

__all__ = ["PANELS", "VALIDATION", "list_series", "plot_runs", "read_metrics"]

# Key and title of each plot.
PANELS = (
    ("loss", "loss"),
    ("terms", "loss terms"),
    ("score", "evaluation"),
    ("lr", "learning rate"),
    ("grad_norm", "gradient norm"),
    ("images_per_s", "images per second"),
    ("memory_mib", "peak memory (MiB)"),
)
VALIDATION = " (validation)"  # ends the names of the losses on validation images
_COLUMNS = 3


def read_metrics(run_dir: Path) -> dict[str, dict[int, dict]]:
    """Read ``metrics.jsonl`` of a run.

    If a resumed run has repeated steps, the later records count. An incomplete line, left by a killed run, is skipped.

    Returns:
        Records by kind (``train``, ``eval``, ...) and step, in the order of the steps.

    Raises:
        ConfigError: The folder is not that of a run.
    """
    path = run_dir / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ConfigError(
            f"'{run_dir}' is not the folder of a run: {error}. Pass for example output/demo_mask_rcnn."
        ) from error
    records: dict[str, dict[int, dict]] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        records.setdefault(record["kind"], {})[record["step"]] = record
    return {kind: dict(sorted(by_step.items())) for kind, by_step in records.items()}


def plot_runs(run_dirs: Sequence[Path], target: Path) -> None:
    """Plot losses, scores, learning rate, speed and memory of one or more runs in one picture.

    Args:
        run_dirs: Folders of runs.
        target: File of the picture. Its suffix chooses the format (``.png``, ``.svg``, ...).

    Raises:
        ConfigError: A folder is not that of a run, or the picture cannot be written.
    """
    from matplotlib.figure import Figure  # not pyplot, which would select a display backend

    runs = {_label(run_dir, run_dirs): read_metrics(run_dir) for run_dir in run_dirs}
    rows = -(-len(PANELS) // _COLUMNS)
    figure = Figure(figsize=(5 * _COLUMNS, 3.2 * rows))
    figure.subplots_adjust(left=0.05, right=0.98, bottom=0.06, top=0.95, hspace=0.35)
    for index, (key, title) in enumerate(PANELS):
        axes = figure.add_subplot(rows, _COLUMNS, index + 1)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        for label, records in runs.items():
            prefix = f"{label} " if len(runs) > 1 else ""
            for name, points in list_series(records, key).items():
                style = ".--" if name.endswith(VALIDATION) else ".-"
                axes.plot(*zip(*points), style, label=f"{prefix}{name}", linewidth=1, markersize=3)
        if axes.lines:
            axes.legend(fontsize=7)
    save_figure(figure, target, dpi=110, error_class=ConfigError)


def list_series(records: dict[str, dict[int, dict]], key: str) -> dict[str, list[tuple[int, float]]]:
    """Return the lines of a plot: points (step, value) by name. Validation losses have names that say so.

    Args:
        records: As :func:`read_metrics` returns them.
        key: A key of :data:`PANELS`.
    """
    series: dict[str, list[tuple[int, float]]] = {}
    if key == "score":
        for step, record in records.get("eval", {}).items():
            for name, value in _scores(record):
                series.setdefault(name, []).append((step, value))
        return series
    for step, record in records.get("train", {}).items():
        names = [name for name in record if name.startswith("loss_")] if key == "terms" else [key]
        for name in names:
            if name in record:
                series.setdefault(name, []).append((step, record[name]))
    for step, record in records.get("eval", {}).items():
        for name, value in (record.get("losses") or {}).items():
            if value is not None and (name == key or key == "terms" and name != "loss"):
                series.setdefault(f"{name}{VALIDATION}", []).append((step, value))
    return series


def _scores(record: dict) -> list[tuple[str, float]]:
    """Return the figures of an evaluation to plot: AP of boxes and masks, or a classifier's accuracies."""
    nested = [(f"{kind} AP", part["AP"]) for kind, part in record.items() if isinstance(part, dict) and "AP" in part]
    flat = [(name, value) for name, value in record.items() if name.startswith("top") and isinstance(value, float)]
    return nested + flat


def _label(run_dir: Path, run_dirs: Sequence[Path]) -> str:
    """Return the name of a run's folder, with as much of its path as distinguishes it from the others."""
    parts = run_dir.resolve().parts
    for count in range(1, len(parts)):
        if sum(other.resolve().parts[-count:] == parts[-count:] for other in run_dirs) == 1:
            return "/".join(parts[-count:])
    return str(run_dir)
