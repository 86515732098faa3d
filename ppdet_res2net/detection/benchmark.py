"""Compares the engines and precisions that run an exported detector here: AP, time, memory and size."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppdet_res2net.config import Config
from ppdet_res2net.data.ground_truth import ScoredObjects
from ppdet_res2net.detection.coco_figures import score_detections
from ppdet_res2net.detection.evaluate import GroundTruth, read_ground_truth
from ppdet_res2net.detection.model import Classes
from ppdet_res2net.training.device import select_device
from ppdet_res2net.training.threads import choose_threads
from res2net_runtime.engines import BACKENDS, way_to_add
from res2net_runtime.model_folder import ModelFolder, load_model_folder
from res2net_runtime.texts import printable

__all__ = ["Measurement", "benchmark_engines", "format_table", "to_json"]

logger = logging.getLogger(__name__)

_WORKER = "ppdet_res2net.detection.benchmark_worker"
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Measurement:
    """One engine in one precision.

    Attributes:
        backend: The engine, a key of :data:`~res2net_runtime.engines.BACKENDS`.
        precision: The precision.
        reason: Why there are no figures; None if there are.
        format: The format of the network that was run.
        figures: ``{"bbox": {"AP": ..., ...}, "segm": {...}}``, as an evaluation has them.
        ms: Median time of an image, from the decoded picture to the detections, in milliseconds.
        images_per_s: Images per second, one after the other, with reading and decoding.
        memory_mib: Peak memory of the process that ran the engine; None if the system does not say.
        size_mib: Size of the network's files.
        engine: Engine, version, precision and device.
    """

    backend: str
    precision: str
    reason: str | None = None
    format: str = ""
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ms: float = 0.0
    images_per_s: float = 0.0
    memory_mib: float | None = None
    size_mib: float = 0.0
    engine: str = ""


def benchmark_engines(
    model_dir: str | Path,
    config: Config,
    *,
    images: int = 50,
    time_limit_s: float = 900.0,
    trust_graph: bool = False,
) -> tuple[list[Measurement], int]:
    """Run an exported detector with every engine and precision that this device has.

    Each runs in a process of its own, one after the other. One that fails does not end the others.

    Args:
        model_dir: The exported folder.
        config: The configuration, for ``EvalDataset``, ``use_gpu`` and ``cpu_threads``.
        images: Number of images, which are spread evenly over the dataset.
        time_limit_s: Longest time for one engine in one precision, in seconds.
        trust_graph: As for :class:`res2net_runtime.Predictor`.

    Returns:
        The measurements, and the number of images they are made on.

    Raises:
        ModelFolderError: The folder is not an exported detector.
        ConfigError, DatasetError: ``EvalDataset`` does not fit it, or cannot be read.
    """
    folder = load_model_folder(model_dir)
    device = select_device(config)
    iou_types = ["bbox", *(["segm"] if "masks" in folder.outputs else [])]
    classes = Classes(folder.label_list, folder.category_ids)
    records, objects = _choose_images(read_ground_truth(config, classes, iou_types), images)
    options = {"device": device, "cpu_threads": choose_threads(config), "trust_graph": trust_graph}
    measured = []
    for backend, precision, reason in _list_runs(folder, device.partition(":")[0]):
        one = Measurement(backend, precision, reason)
        if reason is None:
            logger.info("running %s in %s on %d images", backend, precision, len(records))
            one = _measure(folder, one, options, records, objects, iou_types, time_limit_s)
        measured.append(one)
    return measured, len(records)


def _choose_images(truth: GroundTruth, count: int) -> tuple[list[dict], ScoredObjects]:
    whole = truth.dataset.roidbs
    chosen = np.unique(np.linspace(0, len(whole) - 1, min(count, len(whole))).round().astype(int))
    records = [whole[int(index)] for index in chosen]
    ids = {int(record["im_id"][0]) for record in records}
    objects = truth.objects
    kept = [row for row, one in enumerate(objects.objects.annotations) if one.image.id in ids]
    selection = dataclasses.replace(
        objects.objects,
        annotations=[objects.objects.annotations[row] for row in kept],
        boxes_xyxy=objects.objects.boxes_xyxy[kept],
        segmentations=[objects.objects.segmentations[row] for row in kept],
    )
    images = [image for image in objects.images if image.id in ids]
    return records, dataclasses.replace(objects, images=images, objects=selection)


def _list_runs(folder: ModelFolder, device: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield engine, precision and, if it cannot be run, the reason."""
    for name, engine in BACKENDS.items():
        if device not in engine.devices:
            continue
        for precision, formats in engine.reads.items():
            reason = None
            if not any(one in folder.formats for one in formats):
                reason = f"the folder has no {' or '.join(formats)}: {way_to_add(formats[0], folder.formats)}"
            elif importlib.util.find_spec(engine.module) is None:
                reason = f"not installed: pip install {engine.package}"
            yield name, precision, reason


def _measure(
    folder: ModelFolder,
    one: Measurement,
    options: Mapping[str, Any],
    records: Sequence[dict],
    objects: ScoredObjects,
    iou_types: Sequence[str],
    time_limit_s: float,
) -> Measurement:
    with tempfile.TemporaryDirectory() as directory:
        answer_file = Path(directory) / "answer.json"
        order = {
            "model_dir": str(folder.path),
            "options": {**options, "backend": one.backend, "precision": one.precision},
            "images": [[int(r["im_id"][0]), str(r["im_file"]), int(r["h"]), int(r["w"])] for r in records],
            "answer": str(answer_file),
        }
        reason = _run_worker(order, time_limit_s)
        if reason is not None:
            return dataclasses.replace(one, reason=reason)
        answer = json.loads(answer_file.read_text("utf-8"))
    figures, _ = score_detections(objects, answer.pop("detections"), iou_types)
    name = next(name for name in BACKENDS[one.backend].reads[one.precision] if name in folder.formats)
    files = [path for path in dataclasses.astuple(folder.formats[name]) if path is not None]
    size_mib = sum(path.stat().st_size for path in files) / 2**20
    return dataclasses.replace(one, format=name, figures=figures, size_mib=size_mib, **answer)


def _run_worker(order: Mapping[str, Any], time_limit_s: float) -> str | None:
    """Run an engine in a new process; return why it failed, or None."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-m", _WORKER],
            input=json.dumps(order).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            timeout=time_limit_s,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {time_limit_s:g} s; pass fewer --images or a larger --time_limit"
    if not done.returncode:
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode < 0:
        number = -done.returncode
        killed = " (often: too little memory)" if number == signal.SIGKILL else ""
        return f"the process was ended by {signal.Signals(number).name}{killed}"
    reason = next((line for line in reversed(said) if line.startswith("Error: ")), said[-1] if said else "no message")
    return printable(reason.removeprefix("Error: "))[:_LONGEST_REASON]


def format_table(measured: Sequence[Measurement], images: int) -> str:
    """Return the table as text: the engines that ran, and below them why the others did not.

    Args:
        measured: The measurements.
        images: Number of images they are made on.
    """
    ran = [one for one in measured if one.reason is None]
    lines = [f"On {images} images, one after the other:"] if ran else ["No engine ran."]
    rows = [list(_row(one)) for one in ran]
    if rows:
        head = ["engine", "precision", *(name for kind in ran[0].figures for name in _columns(kind))]
        rows.insert(0, [*head, "ms", "images/s", "memory MiB", "size MiB"])
        widths = [max(map(len, column)) for column in zip(*rows)]
        for row in rows:
            cells = [
                cell.ljust(width) if index < 2 else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths))
            ]
            lines.append("  ".join(cells).rstrip())
    lines += [f"{one.backend} {one.precision}: {one.reason}" for one in measured if one.reason is not None]
    return "\n".join(lines)


def _columns(kind: str) -> tuple[str, str]:
    name = "box" if kind == "bbox" else "mask"
    return f"{name} AP", f"{name} AP50"


def _row(one: Measurement) -> Iterator[str]:
    yield from (one.backend, one.precision)
    for part in one.figures.values():
        yield from (f"{part[name]:.3f}" if part[name] >= 0 else "-" for name in ("AP", "AP50"))
    yield f"{one.ms:.1f}"
    yield f"{one.images_per_s:.2f}"
    yield "-" if one.memory_mib is None else f"{one.memory_mib:.0f}"
    yield f"{one.size_mib:.1f}"


def to_json(measured: Sequence[Measurement], images: int) -> dict[str, Any]:
    """Return the measurements as plain data; of an engine that did not run, only the reason."""
    rows = [
        dataclasses.asdict(one)
        if one.reason is None
        else {"backend": one.backend, "precision": one.precision, "reason": one.reason}
        for one in measured
    ]
    return {"images": images, "engines": rows}
