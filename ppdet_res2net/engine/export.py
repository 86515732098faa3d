"""Export of a detector to a static graph that Paddle Inference runs, and the proof that both agree."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
import yaml
from paddle.static import InputSpec
from paddle.utils import unique_name

import ppdet_res2net
from ppdet_res2net.compat.static_graph import upsample_without_interpolate
from ppdet_res2net.data.demo_scenes import draw_scene
from ppdet_res2net.detection import RCNNInference
from ppdet_res2net.engine.config import Config
from ppdet_res2net.engine.detector import (
    EagerBackend,
    create_trained_detector,
    make_model_info,
    select_device,
)
from ppdet_res2net.errors import BackendError, ExportError
from res2net_runtime.files import find_images
from res2net_runtime.model_folder import CONFIG_NAME, SCHEMA_NAME, SCHEMA_VERSION
from res2net_runtime.predictor import Predictor
from res2net_runtime.results import Detections

__all__ = ["Agreement", "compare_detections", "export_model", "verify_export"]

logger = logging.getLogger(__name__)

# Two float32 runs of one network on other kernels. Scores and mask probabilities differ by about 1e-4; a detection at
# the edge of a threshold or of NMS may appear in one run only, hence the share of unmatched ones.
MIN_BOX_IOU = 0.99
MAX_SCORE_DIFFERENCE = 0.005
MAX_MASK_DIFFERENCE = 0.02
MAX_UNMATCHED_SHARE = 0.02


def export_model(
    config: Config, output_dir: str, *, verify: bool = False, verify_images: Sequence[str] | None = None
) -> Path:
    """Write ``output_dir/<name of the configuration>`` with the graph, its weights and ``infer_cfg.yml``.

    Args:
        config: The configuration, with ``weights``.
        output_dir: Parent of the folder.
        verify: Run the exported and the eager model on images and compare.
        verify_images: Image files or folders for that; default: generated pictures.

    Returns:
        The folder.

    Raises:
        ExportError: The graph cannot be written, or gives other results than the eager model.
    """
    select_device(config)
    with unique_name.guard():
        # The order of the weights in the file follows from the names of layers, which are then equal in every export.
        detector, classes = create_trained_detector(config)
        network = RCNNInference(detector)
    network.eval()
    folder = Path(output_dir) / config.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _save_graph(network, folder)
    except OSError as error:
        raise ExportError(f"The folder '{folder}' cannot be written: {error}. Pass another --output_dir.") from error
    info = make_model_info(config, classes, network.output_names)
    graph = next(path for path in (folder / "model.json", folder / "model.pdmodel") if path.is_file())
    description = {
        "schema": {"name": SCHEMA_NAME, "version": SCHEMA_VERSION},
        "task": "detection",
        "arch": info.arch,
        "backend": "paddle",
        "model_file": graph.name,
        "params_file": "model.pdiparams",
        "outputs": list(info.outputs),
        "Preprocess": list(info.preprocess),
        "label_list": list(info.label_list),
        "category_ids": [int(i) for i in info.category_ids],
        "draw_threshold": info.draw_threshold,
        "mask_threshold": info.mask_threshold,
        "versions": {"ppdet_res2net": ppdet_res2net.__version__, "paddle": paddle.__version__},
        "source_weights": os.path.basename(str(config["weights"])),
    }
    (folder / CONFIG_NAME).write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    logger.info("exported to %s", folder)
    if verify:
        eager = Predictor.over(info, EagerBackend(detector))
        agreement = verify_export(folder, eager, _images(verify_images, config))
        logger.info("verified: %s", agreement)
    return folder


def _save_graph(network: RCNNInference, folder: Path) -> None:
    for old in ("model.json", "model.pdmodel", "model.pdiparams", "model.pdiparams.info"):
        (folder / old).unlink(missing_ok=True)  # a graph of another Paddle must not stay beside the new one
    specs = [
        InputSpec([None, 3, None, None], "float32", "image"),
        InputSpec([None, 2], "float32", "im_shape"),
        InputSpec([None, 2], "float32", "scale_factor"),
    ]
    with upsample_without_interpolate(), warnings.catch_warnings():
        # Paddle's own code triggers both while it traces.
        warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface")
        warnings.filterwarnings("ignore", message=r"The Attr\(force_cpu\)")
        static = paddle.jit.to_static(network, input_spec=specs, full_graph=True)
        paddle.jit.save(static, str(folder / "model"))


@dataclass(frozen=True)
class Agreement:
    """How far two detectors agree; the largest differences over matched detections.

    Attributes:
        images: Images compared.
        detections: Detections of the first detector that count.
        unmatched: Those without a counterpart of the same class with an IoU of at least 0.5.
        min_box_iou: Smallest IoU of matched boxes.
        max_score_difference: Of matched detections.
        max_mask_difference: Of mask probabilities, 0 without masks.
    """

    images: int
    detections: int
    unmatched: int
    min_box_iou: float
    max_score_difference: float
    max_mask_difference: float

    @property
    def within_tolerance(self) -> bool:
        """Whether both give the same results up to float32 rounding."""
        return (
            self.unmatched <= MAX_UNMATCHED_SHARE * self.detections
            and self.min_box_iou >= MIN_BOX_IOU
            and self.max_score_difference <= MAX_SCORE_DIFFERENCE
            and self.max_mask_difference <= MAX_MASK_DIFFERENCE
        )

    def __str__(self) -> str:
        return (
            f"{self.images} images, {self.detections} detections, {self.unmatched} unmatched; box IoU at least "
            f"{self.min_box_iou:.5f} (limit {MIN_BOX_IOU}), scores within {self.max_score_difference:.2g} "
            f"({MAX_SCORE_DIFFERENCE}), mask probabilities within {self.max_mask_difference:.2g} ({MAX_MASK_DIFFERENCE})"
        )


def verify_export(folder: Path, eager: Predictor, images: Sequence) -> Agreement:
    """Compare an exported folder with the eager model on images.

    Raises:
        ExportError: They differ by more than float32 rounding explains, no image has a detection, or the export does
            not run.
    """
    expected = [eager(image) for image in images]
    try:
        with Predictor(folder) as exported:
            logger.info("verifying with %s", exported.description)
            actual = [exported(image) for image in images]
    except BackendError as error:
        raise ExportError(f"The exported model in '{folder}' cannot be run: {error}") from error
    agreement = compare_detections(expected, actual)
    if not agreement.within_tolerance:
        raise ExportError(
            f"The exported model in '{folder}' does not give the eager model's results: {agreement}. Do not use it; report "
            f"your Paddle version and configuration."
        )
    if agreement.detections == 0:
        raise ExportError(
            f"The exported model in '{folder}' could not be verified: no detections in {agreement.images} images. Pass "
            f"--verify_images with images that show the objects."
        )
    return agreement


def compare_detections(expected: Sequence[Detections], actual: Sequence[Detections]) -> Agreement:
    """Match detections of the same class by IoU, image by image, both ways."""
    ious, scores, masks, unmatched = [1.0], [0.0], [0.0], 0
    for one, other in zip(expected, actual):
        for a, b in ((one, other), (other, one)):
            iou = _box_iou(a.boxes_xyxy, b.boxes_xyxy)
            iou = np.where(a.labels[:, None] == b.labels[None, :], iou, 0.0)
            # Of several boxes over one object, the counterpart is the one with the most similar score.
            key = np.where(iou >= 0.5, iou - np.abs(a.scores[:, None] - b.scores[None, :]), -1.0)
            for i in range(len(a)):
                j = int(key[i].argmax()) if len(b) else -1
                if j < 0 or key[i, j] < 0:
                    unmatched += 1
                    continue
                ious.append(float(iou[i, j]))
                scores.append(float(abs(a.scores[i] - b.scores[j])))
                if a.masks is not None:
                    masks.append(float(np.abs(a.masks[i] - b.masks[j]).max()))
    detections = sum(len(d) for d in expected)
    # NumPy's min and max, unlike Python's, give nan where there is one, and nan is within no tolerance.
    extremes = float(np.min(ious)), float(np.max(scores)), float(np.max(masks))
    return Agreement(len(expected), detections, unmatched, *extremes)


def _box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None, :] - shared, 1e-9)


def _images(verify_images: Sequence[str] | None, config: Config) -> list:
    if not verify_images:
        generator = np.random.default_rng(0)
        return [draw_scene(generator, 320, with_objects=True, with_crowd=False)[0][:, :, ::-1] for _ in range(4)]
    files: list = []
    for path in verify_images:
        files += find_images(path) if os.path.isdir(path) else [path]
    return files
