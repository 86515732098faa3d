"""The checkpoint of a run that is published, and what is known about it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdet_res2net.commands import program
from ppdet_res2net.config import Config, load_config
from ppdet_res2net.errors import WeightsError
from ppdet_res2net.training.checkpoint import checkpoint_base, read_checkpoint_info
from res2net_runtime.texts import printable

__all__ = ["PublishedRun", "find_run"]

# The results of a run, the better one first.
_RESULTS = ("best_model", "model_final")


@dataclasses.dataclass(frozen=True)
class PublishedRun:
    """A checkpoint of a run.

    Attributes:
        checkpoint: Its path, without a suffix.
        config: The run's recipe, whose ``weights`` are the checkpoint's.
        info: What is beside the weights: ``class_names``, ``metrics`` and more.
    """

    checkpoint: Path
    config: Config
    info: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        """The file of the weights; they are the average if the run kept one."""
        return Path(f"{self.checkpoint}.pdparams")

    @property
    def name(self) -> str:
        """The run's name."""
        return self.checkpoint.resolve().parent.name


def find_run(run: str | os.PathLike[str]) -> PublishedRun:
    """Find the checkpoint to publish.

    Args:
        run: The folder of a run, of which the best weights are taken, or else the final ones; or a checkpoint.

    Raises:
        ConfigError: The run's recipe cannot be read.
        WeightsError: There is no such run, or what belongs to the weights is missing.
    """
    path = Path(run).expanduser()
    if path.is_dir():
        found = next((path / name for name in _RESULTS if (path / f"{name}.pdparams").is_file()), None)
        if found is None:
            raise WeightsError(
                f"'{printable(path)}' has neither {' nor '.join(f'{name}.pdparams' for name in _RESULTS)}. Pass the folder of "
                "a run that is done, or one of its checkpoints."
            )
        base = found
    else:
        base = checkpoint_base(path)
    for file in (Path(f"{base}.pdparams"), Path(f"{base}.json"), base.parent / "config.yml"):
        if not file.is_file():
            raise WeightsError(
                f"There is no '{printable(file)}', which belongs to a run. Pass the folder of a run, as "
                f"'{program('train')}' writes it, or a checkpoint in it."
            )
    info = read_checkpoint_info(base)
    assert info is not None  # its file was there just now
    config = load_config(base.parent / "config.yml")
    config["weights"] = str(base)
    return PublishedRun(base, config, info)
