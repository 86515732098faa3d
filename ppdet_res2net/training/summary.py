"""The last message of a run: what it leaves behind, and what to type next."""

from __future__ import annotations

from pathlib import Path

from ppdet_res2net.training.run_log import say_duration
from ppdet_res2net.training.run_state import Position
from ppdet_res2net.training.task import Task

__all__ = ["describe_run"]

# Files that a run leaves behind.
_FILES = {
    "model_final.pdparams": "final weights (.json: classes and figures; .pdstate: for resuming)",
    "best_model.pdparams": "weights with the best evaluation",
    "interrupted.pdparams": "weights when a signal stopped the run; -r auto continues the newest checkpoint",
    "last.pdparams": "weights within an epoch, or of an evaluation between two snapshots",
    "[0-9]*.pdparams": "weights after an epoch; 0 is the first one, as in PaddleDetection",
    "index.html": "page of the run for a browser: curves, pictures, configuration",
    "config.yml": "configuration, with its bases and overrides merged",
    "metrics.jsonl": "all figures, one JSON record per line",
    "curves.png": "plots of these figures; 'ppdet-res2net plot' compares runs",
    "train.log": "log of the run",
}


def describe_run(run_dir: Path, position: Position, task: Task, seconds: float, is_complete: bool) -> str:
    """Return the last message of a run.

    Args:
        run_dir: Folder of the run.
        position: How far the run has got.
        task: What was trained.
        seconds: How long training took, since it was started or resumed.
        is_complete: Whether nothing is left to train.
    """
    best = (
        f"; best {task.score_name} {position.best_score:.4f} after step {position.best_step}"
        if position.metrics
        else ""
    )
    lines = [
        f"{'done' if is_complete else 'stopped'} after {position.steps} steps. In {run_dir}:",
        *(f"  {name:24s}{meaning}" for name, meaning in _FILES.items() if any(run_dir.glob(name))),
        f"this took {say_duration(seconds)}{best}",
    ]
    if is_complete:
        name = "best_model" if (run_dir / "best_model.pdparams").exists() else "model_final"
        lines += ["next:", *(f"  {command}" for command in task.next_commands(str(run_dir / name)))]
    return "\n".join(lines)
