"""Prediction on image files with a detector that has not been exported."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ppdet_res2net.config import Config
from ppdet_res2net.detection.model import create_predictor, create_trained_detector
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.files import make_output_folder
from ppdet_res2net.training.device import select_device
from res2net_runtime.draw import draw_detections

__all__ = ["PredictSummary", "predict_files"]

logger = logging.getLogger(__name__)


@dataclass
class PredictSummary:
    """What a prediction run did.

    Attributes:
        output_dir: Where pictures and results are.
        succeeded: Number of images that were predicted.
        failed: One sentence per image that could not be.
    """

    output_dir: Path
    succeeded: int = 0
    failed: list[str] = field(default_factory=list)


def predict_files(
    config: Config,
    image_paths: Sequence[str | os.PathLike[str]],
    *,
    output_dir: str,
    draw_threshold: float = 0.5,
    save_results: bool = False,
) -> PredictSummary:
    """Draw the detections of each image, and write them in COCO's result format if asked.

    Args:
        config: The configuration, with ``weights``.
        image_paths: The images.
        output_dir: Folder for the pictures, and for ``bbox.json`` and ``mask.json`` with every detection.
        draw_threshold: Score from which detections are drawn.
        save_results: Write the JSON files. ``image_id`` counts the images from 0; ``file_name`` says which.

    Raises:
        ConfigError: No image is given, a picture would overwrite an image or another picture, or cannot be written.
    """
    if not image_paths:
        raise ConfigError("There are no images to predict. Pass --infer_img FILE or --infer_dir FOLDER.")
    paths = [Path(path) for path in image_paths]
    if len({path.name for path in paths}) < len(paths):
        raise ConfigError("Several images have the same name, so that their pictures would overwrite each other.")
    folder = make_output_folder(output_dir, paths, error_class=ConfigError)
    select_device(config)
    detector, classes = create_trained_detector(config)
    predictor = create_predictor(detector, config, classes, "TestReader")
    summary = PredictSummary(folder)
    results: list[dict] = []
    progress = tqdm(paths, unit="image", disable=len(paths) == 1 or not sys.stderr.isatty())
    for image_id, (path, prediction) in enumerate(zip(progress, predictor.predict_iter(paths))):
        if prediction.error is not None:
            summary.failed.append(str(prediction.error))
            continue
        picture = draw_detections(prediction.image, prediction.detections, draw_threshold)
        target = folder / path.name
        _write_picture(target, picture)
        if save_results:
            results += [{**entry, "file_name": path.name} for entry in prediction.detections.to_coco(image_id)]
        summary.succeeded += 1
        shown = len(prediction.detections.filter(draw_threshold))
        logger.info("%s: %d detections with a score of %g or more", path, shown, draw_threshold)
    if save_results:
        boxes = [{k: v for k, v in entry.items() if k != "segmentation"} for entry in results]
        (folder / "bbox.json").write_text(json.dumps(boxes), encoding="utf-8")
        if hasattr(detector, "mask_head"):
            masks = [{k: v for k, v in entry.items() if k != "bbox"} for entry in results]
            (folder / "mask.json").write_text(json.dumps(masks), encoding="utf-8")
    return summary


def _write_picture(path: Path, picture: np.ndarray) -> None:
    try:
        is_written = cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except cv2.error:  # its answer to an ending that it does not know
        is_written = False
    if not is_written:
        raise ConfigError(
            f"The picture '{path}' cannot be written. Check that its folder can be written and has space, and that its "
            f"ending is one of an image format."
        )
