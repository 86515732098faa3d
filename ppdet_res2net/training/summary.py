"""The last message of a run: what it leaves behind, and what to type next."""

from __future__ import annotations

from pathlib import Path

from ppdet_res2net.training.task import Task

__all__ = ["describe_run"]

# Files that a run leaves behind.
_FILES = {
    "model_final.pdparams": "final weights (.json: classes and figures; .pdstate: for resuming)",
    "best_model.pdparams": "weights with the best evaluation",
    "interrupted.pdparams": "weights when a signal stopped the run; -r auto continues the newest checkpoint",
    "last.pdparams": "weights within an epoch, or of an evaluation between two snapshots",
    "[0-9]*.pdparams": "weights after an epoch; 0 is the first one, as in PaddleDetection",
    "config.yml": "configuration, with its bases and overrides merged",
    "metrics.jsonl": "all figures, one JSON record per line",
    "curves.png": "plots of these figures; 'ppdet-res2net plot' compares runs",
    "train.log": "log of the run",
}


def describe_run(run_dir: Path, steps: int, task: Task | None) -> str:
    """Return the last message of a run.

    Args:
        run_dir: Folder of the run.
        steps: Steps done.
        task: The task that has been trained to the end; None if the run was stopped before.
    """
    lines = [
        f"{'done' if task else 'stopped'} after {steps} steps. In {run_dir}:",
        *(f"  {name:24s}{meaning}" for name, meaning in _FILES.items() if any(run_dir.glob(name))),
    ]
    if task:
        name = "best_model" if (run_dir / "best_model.pdparams").exists() else "model_final"
        lines += ["next:", *(f"  {command}" for command in task.next_commands(str(run_dir / name)))]
    return "\n".join(lines)
