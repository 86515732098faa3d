"""Changing an exported folder that is there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from res2net_runtime.errors import Res2NetError
from res2net_runtime.files import replacing
from res2net_runtime.locks import LockedError, WriterLock
from res2net_runtime.model_folder import LOCK_NAME, load_model_folder, read_model_config
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import printable

__all__ = ["changing_folder", "save_thresholds"]


@contextlib.contextmanager
def changing_folder(folder: Path) -> Iterator[None]:
    """Keep exports and other changes out of a folder, and say why if it cannot be written.

    Raises:
        Res2NetError: Another process is writing to it, or it cannot be written.
    """
    try:
        with WriterLock(folder / LOCK_NAME):
            yield
    except LockedError as error:
        raise Res2NetError(
            f"The model folder '{printable(folder)}' is being written by another process: {error}. Wait for it."
        ) from error
    except OSError as error:
        raise Res2NetError(
            f"The model folder '{printable(folder)}' cannot be written: {explain(error, 'copy it to another disk')} It is as "
            "it was before."
        ) from error


def save_thresholds(
    model_dir: str | os.PathLike[str], threshold: float, class_thresholds: Sequence[float] | None = None
) -> None:
    """Write the scores from which detections are drawn into a folder's ``infer_cfg.yml``. Nothing else in it changes.

    Args:
        model_dir: The folder of a detector that ``export_model.py`` wrote.
        threshold: ``draw_threshold``: the score for all classes.
        class_thresholds: ``class_thresholds``: one per class, used instead. None removes those of an earlier call.

    Raises:
        ValueError: There is not one number per class, or a number is outside 0 to 1.
        ModelFolderError: The folder is incomplete, or is that of a classifier.
        Res2NetError: It cannot be written, or another process is writing to it. It is as it was before.
    """
    for value in (threshold, *(class_thresholds or ())):
        if not 0 <= value <= 1:
            raise ValueError(f"A threshold must be a number from 0 to 1, got {value}.")
    load_model_folder(model_dir)  # refuses a folder that no predictor would take
    with changing_folder(Path(model_dir)):
        config, path = read_model_config(model_dir, "detection")
        if class_thresholds is not None and len(class_thresholds) != len(config["label_list"]):
            raise ValueError(f"Got {len(class_thresholds)} thresholds for {len(config['label_list'])} classes.")
        changed: dict[str, Any] = {}
        for key, value in config.items():
            if key != "class_thresholds":
                changed[key] = value
            if key == "draw_threshold":
                changed[key] = float(threshold)
                if class_thresholds is not None:
                    changed["class_thresholds"] = [float(one) for one in class_thresholds]
        with replacing(path) as unfinished:
            unfinished.write_text(yaml.safe_dump(changed, sort_keys=False, allow_unicode=True), encoding="utf-8")
