"""COCO evaluation: box and mask AP of a detector on an annotated dataset."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from paddle import nn
from tqdm import tqdm

from ppdet_res2net.config import Config
from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.data.ground_truth import ScoredObjects, select_scored_objects
from ppdet_res2net.data.image_files import looks_complete
from ppdet_res2net.data.transforms import Decode
from ppdet_res2net.detection.coco_figures import score_detections
from ppdet_res2net.detection.model import (
    Classes,
    create_coco_dataset,
    create_predictor,
    create_trained_detector,
)
from ppdet_res2net.errors import ConfigError, DatasetError, ImageError
from ppdet_res2net.files import make_output_folder
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.training.device import select_device
from ppdet_res2net.training.processes import ALONE, Processes
from ppdet_res2net.training.threads import choose_threads
from res2net_runtime import Predictor
from res2net_runtime.console import ending_on_signals
from res2net_runtime.preprocess import decode_image
from res2net_runtime.result_files import ResultFiles
from res2net_runtime.results import Detections
from res2net_runtime.views import Slicing, TestTimeAugmentation

__all__ = [
    "EvalResult",
    "Evaluated",
    "GroundTruth",
    "evaluate",
    "evaluate_exported",
    "evaluate_from_config",
    "read_ground_truth",
]

logger = logging.getLogger(__name__)

# Gets the id of an image, the image (uint8 (H, W, 3), RGB), and the detections on it.
Observer = Callable[[int, np.ndarray, Detections], None]


@dataclass(frozen=True)
class EvalResult:
    """Result of an evaluation.

    Attributes:
        summary: ``{"bbox": {"AP": ...}, "segm": {...}, "images": n, "seconds": s}``. A figure is -1 if the data has no
            object that counts for it. With AP per class, each part also has ``classes``: a list of ``{"class": name,
            "category_id": id, "AP": ..., "AP50": ...}``.
        report: COCO's tables as text, with AP per class if requested.
    """

    summary: dict
    report: str


class GroundTruth(NamedTuple):
    """``EvalDataset``, read once for any number of evaluations.

    Attributes:
        dataset: Every image of the annotation file, also those without objects.
        objects: The objects of these images.
    """

    dataset: COCODataSet
    objects: ScoredObjects


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation has found, for a report.

    Attributes:
        ground_truth: What was detected on.
        detections: All detections, in COCO's result format.
        iou_types: What they have: ``bbox``, ``segm``.
        engine: Engine and precision.
        seconds: Time of the detection on all images.
    """

    ground_truth: GroundTruth
    detections: list[dict]
    iou_types: list[str]
    engine: str
    seconds: float


Finish = Callable[[Evaluated], None]


def evaluate_from_config(
    config: Config,
    *,
    classwise: bool = False,
    output_dir: str | None = None,
    slicing: Slicing | None = None,
    tta: TestTimeAugmentation | None = None,
    finish: Finish | None = None,
) -> EvalResult:
    """Evaluate the weights that ``config`` names on its ``EvalDataset``.

    Args:
        config: The configuration.
        classwise: Also report AP per class, as ``classwise`` of the configuration does.
        output_dir: Folder for ``bbox.json`` and ``mask.json``, the detections in COCO's result format. By default this is
            the configuration's ``output_eval``.
        slicing: As for :class:`res2net_runtime.Predictor`.
        tta: As for :class:`res2net_runtime.Predictor`.
        finish: Called in the end with what was found, by the first process.
    """
    select_device(config)
    detector, classes = create_trained_detector(config)
    classwise, output_dir = classwise or config.get("classwise", False), output_dir or config.get("output_eval")
    with ending_on_signals():  # after Paddle, which sets handlers of its own, has been loaded
        predictor = create_predictor(detector, config, classes, slicing=slicing, tta=tta)
        return _evaluate_predictor(predictor, config, classwise, output_dir, ALONE, finish=finish)


def evaluate_exported(
    model_dir: str | Path,
    config: Config,
    *,
    backend: str = "auto",
    precision: str = "fp32",
    classwise: bool = False,
    output_dir: str | None = None,
    trust_graph: bool = False,
    slicing: Slicing | None = None,
    tta: TestTimeAugmentation | None = None,
    finish: Finish | None = None,
) -> EvalResult:
    """Evaluate an exported detector on ``EvalDataset``, with one of the runtime's engines.

    Args:
        model_dir: The exported folder. It also says how images are prepared.
        config: The configuration, for ``EvalDataset``, ``EvalReader.batch_size``, ``use_gpu`` and ``cpu_threads``.
        backend: As for :class:`res2net_runtime.Predictor`.
        precision: As for :class:`res2net_runtime.Predictor`.
        classwise: As for :func:`evaluate_from_config`.
        output_dir: As for :func:`evaluate_from_config`.
        trust_graph: As for :class:`res2net_runtime.Predictor`.
        slicing: As for :class:`res2net_runtime.Predictor`.
        tta: As for :class:`res2net_runtime.Predictor`.
        finish: As for :func:`evaluate_from_config`.
    """
    classwise, output_dir = classwise or config.get("classwise", False), output_dir or config.get("output_eval")
    predictor = Predictor(
        model_dir,
        device=select_device(config),
        cpu_threads=choose_threads(config),
        batch_size=config.get("EvalReader", {}).get("batch_size", 1),
        backend=backend,
        precision=precision,
        trust_graph=trust_graph,
        slicing=slicing,
        tta=tta,
    )
    with predictor, ending_on_signals():
        logger.info("%s", predictor.description)
        return _evaluate_predictor(predictor, config, classwise, output_dir, ALONE, finish=finish)


def evaluate(
    detector: nn.Layer,
    config: Config,
    classes: Classes,
    *,
    classwise: bool = False,
    output_dir: str | None = None,
    processes: Processes = ALONE,
    ground_truth: GroundTruth | None = None,
    most_classes: int | None = None,
    observe: Observer | None = None,
) -> EvalResult:
    """Evaluate a detector on every image of ``EvalDataset``, including those without objects.

    Several processes share the images. Each of them returns the same result.

    Args:
        detector: A ppdet R-CNN.
        config: The configuration, for ``EvalDataset`` and ``EvalReader``.
        classes: The classes of the detector.
        classwise: As for :func:`evaluate_from_config`.
        output_dir: As for :func:`evaluate_from_config`; by default nothing is written.
        processes: The processes that take part.
        ground_truth: The result of :func:`read_ground_truth`. By default, the files are read now.
        most_classes: With ``classwise``, the report has at most this many classes, the best and the worst; None: all.
        observe: Called for each image that this process detects on.

    Raises:
        ConfigError: Detector and dataset have different classes.
        DatasetError: The dataset is wrong or an image cannot be read.
    """
    was_training = detector.training
    detector.eval()
    predictor = create_predictor(detector, config, classes)
    result = _evaluate_predictor(
        predictor, config, classwise, output_dir, processes, ground_truth, most_classes, observe
    )
    if was_training:
        detector.train()
    return result


def _evaluate_predictor(
    predictor: Predictor,
    config: Config,
    classwise: bool,
    output_dir: str | None,
    processes: Processes,
    ground_truth: GroundTruth | None = None,
    most_classes: int | None = None,
    observe: Observer | None = None,
    finish: Finish | None = None,
) -> EvalResult:
    iou_types = ["bbox"] + (["segm"] if "masks" in predictor.info.outputs else [])
    classes = Classes(predictor.info.label_list, predictor.info.category_ids)
    dataset, objects = ground_truth or read_ground_truth(config, classes, iou_types)
    if output_dir:  # now, rather than after hours of evaluation
        make_output_folder(output_dir, option="--output_eval", error_class=ConfigError)
    with contextlib.ExitStack() as stack:
        files = None
        if output_dir and processes.is_first:
            files = stack.enter_context(ResultFiles(Path(output_dir), has_masks="segm" in iou_types))
            files.lock()
        started = time.perf_counter()
        detections = _detect_all(predictor, dataset, processes, observe)
        seconds = time.perf_counter() - started
        if files is not None:
            files.replace(detections)
            logger.info("detections are in %s", output_dir)
    result = None
    if processes.is_first:
        figures, report = score_detections(objects, detections, iou_types, classwise, most_classes)
        result = EvalResult({**figures, "images": len(dataset.roidbs), "seconds": round(seconds, 3)}, report)
        if finish is not None:
            finish(Evaluated(GroundTruth(dataset, objects), detections, iou_types, predictor.description, seconds))
    return processes.gather(result)[0]


def read_ground_truth(config: Config, classes: Classes, iou_types: Sequence[str]) -> GroundTruth:
    """Read ``EvalDataset`` and check that a detector with these classes can be scored on it.

    Args:
        config: The configuration, for ``EvalDataset``.
        classes: The classes of the detector.
        iou_types: What is scored: ``bbox``, ``segm``.

    Raises:
        ConfigError: Detector and dataset have different classes.
        DatasetError: The dataset is wrong, or an image cannot be read or has another size.
    """
    dataset = _every_image(config)
    file = dataset.read_file()
    if tuple(dataset.category_ids) != classes.category_ids:
        raise ConfigError(
            f"EvalDataset: '{dataset.annotation_path}' has the categories {_pairs(dataset.class_names, dataset.category_ids)}"
            f", but the detector was trained on {_pairs(classes.names, classes.category_ids)}. Evaluate on annotations with "
            f"the same categories in the same order, or train again."
        )
    image_ids = [int(record["im_id"][0]) for record in dataset.roidbs]
    try:
        objects = select_scored_objects(file, "segm" in iou_types, dataset.annotation_path, image_ids)
    except DatasetError as error:
        raise DatasetError(f"EvalDataset: {error}") from error
    for record in dataset.roidbs:
        if not looks_complete(record["im_file"], (int(record["h"]), int(record["w"]))):
            _check_image(record)
    return GroundTruth(dataset, objects)


def _every_image(config: Config) -> COCODataSet:
    """Return EvalDataset with all images of its annotation file. The records need no objects: the scorer has them."""
    part = Tagged.from_value(config.get("EvalDataset"))
    if part is None:
        raise ConfigError(f"'{config.name}' has no EvalDataset. Add one, as in _base_/datasets/coco_detection.yml.")
    complete = Tagged(part.name, {**part.kwargs, "allow_empty": True, "data_fields": ["image"], "load_crowd": False})
    return create_coco_dataset({"EvalDataset": complete}, "EvalDataset")


def _detect_all(predictor, dataset, processes: Processes, observe: Observer | None) -> list[dict]:
    """Return the detections on all images, in the order of the images. Each process detects on its share."""
    share = dataset.roidbs[processes.rank :: processes.world_size]
    predictions = predictor.predict_iter([record["im_file"] for record in share])
    is_quiet = not (processes.is_first and sys.stderr.isatty())
    progress = tqdm(share, unit="image", desc="evaluating", disable=is_quiet)
    found = [_to_coco(record, prediction, predictor, observe) for record, prediction in zip(progress, predictions)]
    shares = processes.gather(found)
    return [
        detection
        for index in range(len(dataset.roidbs))
        for detection in shares[index % processes.world_size][index // processes.world_size]
    ]


def _to_coco(record: dict, prediction, predictor, observe: Observer | None) -> list[dict]:
    image_id = int(record["im_id"][0])
    if prediction.error is not None:
        raise DatasetError(f"image id {image_id}: {prediction.error}") from prediction.error
    image, found = prediction.image, prediction.detections
    if found.image_hw != (int(record["h"]), int(record["w"])):
        # The photo was annotated without its EXIF rotation. Decode handles this, and raises an error on any other mismatch.
        image = _decode_as_annotated(record)
        found = predictor(image)
    if observe is not None:
        observe(image_id, image, found)
    return found.to_coco(image_id)


def _check_image(record: dict) -> None:
    try:
        decode_image(record["im_file"])
    except ImageError as error:
        raise DatasetError(f"image id {int(record['im_id'][0])}: {error}") from error
    _decode_as_annotated(record)


def _decode_as_annotated(record: dict) -> np.ndarray:
    try:
        return Decode()(dict(record))["image"]
    except DatasetError as error:
        raise DatasetError(f"'{record['im_file']}' (image id {int(record['im_id'][0])}): {error}") from error


def _pairs(names: Sequence[str], ids: Sequence[int]) -> str:
    shown = [f"{i} {name}" for i, name in zip(ids, names)][:5]
    return f"[{', '.join(shown)}{', ...' if len(names) > 5 else ''}] ({len(names)})"
