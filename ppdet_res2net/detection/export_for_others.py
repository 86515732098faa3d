"""Export of a detector for other programs: PaddleDetection's own deployment, and Triton Inference Server."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppdet_res2net.analysis.thresholds import ChosenThresholds
from ppdet_res2net.config import Config
from ppdet_res2net.detection.agreement import (
    TOLERANCES,
    Agreement,
    compare_detections,
    match_detections,
    require_detections,
    verify_export,
)
from ppdet_res2net.detection.export import ExportSource, choose_images
from ppdet_res2net.detection.paddle_graph import save_detector_graph
from ppdet_res2net.detection.paddledetection_form import PaddleDetectionForm
from ppdet_res2net.errors import ExportError
from ppdet_res2net.export.folder import (
    check_formats,
    check_names,
    fill_folder,
    move_export,
    unfinished_folder,
    write_description,
)
from ppdet_res2net.export.other_forms import OTHER_FORMS, TRITON_FORMATS
from ppdet_res2net.export.triton import write_repository
from ppdet_res2net.export.verification import verify_engines
from ppdet_res2net.training.threads import choose_threads
from res2net_runtime.backends import create_backend
from res2net_runtime.masks import masks_to_bitmaps
from res2net_runtime.model_folder import ModelFiles, ModelInfo
from res2net_runtime.preprocess import Preprocessor, collate, decode_image
from res2net_runtime.results import Detections

__all__ = ["describe_for_paddledetection", "export_for_others"]

# PaddleDetection's own number for R-CNNs (ppdet/engine/export_utils.py): smaller parts of a graph do not go to TensorRT.
_MIN_SUBGRAPH_SIZE = 40
# By how much the probability of a pixel may have differed from the threshold, if its mask is not as expected.
_MASK_STEPS = (0.0, 0.001, 0.005, 0.02, 0.1, 0.3, 0.6)


def export_for_others(
    config: Config,
    output_dir: str,
    form: str,
    *,
    verify: bool = False,
    verify_images: Sequence[str] | None = None,
    verify_precisions: Sequence[str] = ("fp32",),
    thresholds: ChosenThresholds | None = None,
) -> Path:
    """Write ``output_dir/<name of the configuration>_<form>``, a folder that another program reads.

    Args:
        config: The configuration, with ``weights``.
        output_dir: Parent of the folder.
        form: One of :data:`~ppdet_res2net.export.other_forms.OTHER_FORMS`.
        verify: Run the eager model and the written network on images and compare.
        verify_images: Image files or folders for that; default: generated pictures.
        verify_precisions: Some of :data:`~ppdet_res2net.detection.agreement.TOLERANCES`.
        thresholds: The scores from which detections are drawn; default: 0.5.

    Returns:
        The folder.

    Raises:
        ConfigError: The thresholds are for other classes.
        ExportError: The form or a setting cannot be written, or the written network gives different results.
    """
    check_names("format", [form], OTHER_FORMS)
    check_names("precision", verify_precisions, TOLERANCES)
    if form in TRITON_FORMATS:
        check_formats([TRITON_FORMATS[form]])
    source = ExportSource.load(config, thresholds)
    images = choose_images(verify_images) if verify else None
    folder = Path(output_dir) / f"{config.name}_{form}"
    if form in TRITON_FORMATS:
        _write_triton(folder, source, TRITON_FORMATS[form], images, verify_precisions)
    else:
        _write_paddledetection(folder, source, images, verify_precisions)
    return folder


def _write_triton(
    folder: Path, source: ExportSource, format_name: str, images: list | None, precisions: Sequence[str]
) -> None:
    with unfinished_folder(folder) as unfinished:
        ours, repository = unfinished / "ours", unfinished / "repository"
        ours.mkdir()
        fill_folder(ours, [format_name], source.writer())
        if images is not None:
            verify_export(ours, source.predictor(), images, precisions, choose_threads(source.config))
        write_repository(repository, ours, source.config.name)
        move_export(folder, repository)


def _write_paddledetection(folder: Path, source: ExportSource, images: list | None, precisions: Sequence[str]) -> None:
    description = describe_for_paddledetection(source.info)
    with unfinished_folder(folder) as unfinished:
        form = PaddleDetectionForm(source.network, source.info.mask_threshold)
        form.eval()
        graph = save_detector_graph(form, unfinished)
        write_description(unfinished, description)
        if images is not None:
            files = ModelFiles(graph, unfinished / "model.pdiparams")
            _verify_paddledetection(files, source, form.output_names, images, precisions)
        move_export(folder, unfinished)


def describe_for_paddledetection(info: ModelInfo) -> dict[str, Any]:
    """Return ``infer_cfg.yml`` as PaddleDetection's export writes it for an R-CNN.

    Raises:
        ExportError: PaddleDetection's program cannot prepare images as the detector needs them, or has no such threshold.
    """
    operators = []
    for operator in info.preprocess:
        one = dict(operator)
        if one["type"] == "Resize":
            if one.pop("round_size", False):
                raise ExportError(
                    "TestReader's Resize has round_size: true, as models of mmdetection need it. PaddleDetection's "
                    "deploy/python/infer.py cannot resize like that, and would find other boxes. Use --format paddle, onnx or "
                    "openvino, with this project's deploy/python/infer.py."
                )
            size = one["target_size"]
            one["target_size"] = [size, size] if isinstance(size, int) else [int(side) for side in size]
            one = {**one, "keep_ratio": bool(one.get("keep_ratio", True)), "interp": int(one.get("interp", 1))}
        operators.append(one)
    return {
        "mode": "paddle",
        "draw_threshold": info.draw_threshold,
        "metric": "COCO",
        "use_dynamic_shape": True,
        "arch": "RCNN",
        "min_subgraph_size": _MIN_SUBGRAPH_SIZE,
        **({"mask": True} if "masks" in info.outputs else {}),
        "Preprocess": operators,
        "label_list": list(info.label_list),
    }


@dataclass(frozen=True)
class _Graph:
    """What an engine needs to know about the graph; see ``NetworkFolder``."""

    path: Path
    formats: Mapping[str, ModelFiles]
    outputs: tuple[str, ...]
    least_side_px: int


def _verify_paddledetection(
    files: ModelFiles, source: ExportSource, outputs: tuple[str, ...], images: list, precisions: Sequence[str]
) -> None:
    """Compare the graph with the eager model in Paddle's engines.

    Raises:
        ExportError: They differ by more than the tolerance, or no image has a detection.
    """
    eager = source.predictor()
    expected = [eager(image) for image in images]
    require_detections(expected)
    graph = _Graph(files.model_path.parent, {"paddle": files}, outputs, source.info.least_side_px)
    preprocessor = Preprocessor.from_config(source.info.preprocess)

    def compare(engine: str, precision: str) -> tuple[Agreement, str]:
        backend = create_backend(graph, engine, precision, "cpu", choose_threads(source.config), True)
        try:
            results = [backend.run(collate([preprocessor(decode_image(image))])) for image in images]
        finally:
            backend.close()
        return _compare(expected, results, precision), backend.description

    verify_engines(graph.formats, precisions, compare)


def _compare(expected: Sequence[Detections], results: Sequence[Mapping[str, np.ndarray]], precision: str) -> Agreement:
    boxes_only = [dataclasses.replace(one, masks=None) for one in expected]
    actual = [
        dataclasses.replace(
            one, boxes_xyxy=rows["bbox"][:, 2:], scores=rows["bbox"][:, 1], labels=rows["bbox"][:, 0].astype(np.int32)
        )
        for one, rows in zip(boxes_only, results)
    ]
    agreement = compare_detections(boxes_only, actual, TOLERANCES[precision])
    if expected[0].masks is None:
        return agreement
    worst = 0.0
    for one, other, rows in zip(expected, actual, results):
        for i, j, _ in match_detections(one, other, TOLERANCES[precision].matched_from_iou):
            # In the box that was found, so that a difference of the boxes does not count twice.
            placed = dataclasses.replace(one[[i]], boxes_xyxy=other.boxes_xyxy[[j]])
            worst = max(worst, _mask_difference(placed, rows["mask"][j] > 0))
    return dataclasses.replace(agreement, max_mask_difference=worst, max_mean_mask_difference=worst)


def _mask_difference(expected: Detections, bitmap: np.ndarray) -> float:
    """Return the first of the steps by which probabilities must differ to explain every pixel; 1 if none does."""
    threshold = expected.mask_threshold
    assert expected.masks is not None
    masks = expected.masks

    def pasted(least: float) -> np.ndarray:
        return masks_to_bitmaps(masks, expected.boxes_xyxy, bitmap.shape, min(max(least, 1e-6), 1.0))[0]

    for step in _MASK_STEPS:
        if not (pasted(threshold + step) & ~bitmap).any() and not (bitmap & ~pasted(threshold - step)).any():
            return step
    return 1.0
