"""Make an int8 version of an exported model, with the ranges of its activations measured on images.

python -m res2net_runtime.quantize --model_dir output/my_model --image_dir photos
"""

# ruff: noqa: E402  # Ctrl-C is quiet before the other imports begin, which take a second

from __future__ import annotations

from res2net_runtime._interrupts import end_quietly_on_interrupt

if __name__ == "__main__":
    end_quietly_on_interrupt()

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from res2net_runtime.arguments import FlagParser, positive_int, thread_count
from res2net_runtime.backends.base import TRUST_GRAPH_OPTION
from res2net_runtime.backends.graphs import check_graph
from res2net_runtime.backends.native_errors import import_engine, loading
from res2net_runtime.boxes import box_iou
from res2net_runtime.console import configure_logging, ending_on_signals, python_command, run_command, say
from res2net_runtime.engines import FORMATS
from res2net_runtime.errors import ModelFolderError, Res2NetError
from res2net_runtime.files import check_space, find_images, replacing
from res2net_runtime.folder_changes import changing_folder
from res2net_runtime.model_folder import CONFIG_NAME, load_model_folder
from res2net_runtime.predictor import Predictor
from res2net_runtime.preprocess import Preprocessor, collate, decode_image
from res2net_runtime.results import Detections
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import printable

__all__ = ["QuantizationReport", "compare_precisions", "quantize_model"]

_FORMAT = "onnx_int8"
(MODEL_NAME,) = FORMATS[_FORMAT].files

# These take most of the time. The arithmetic on boxes would lose too much accuracy in int8.
_QUANTIZED_OPERATORS = ["Conv", "Gemm", "MatMul"]
_SAME_OBJECT_IOU = 0.5


def quantize_model(
    model_dir: str | os.PathLike[str], images: Sequence[str | os.PathLike[str]], trust_graph: bool = False
) -> Path:
    """Add the format ``onnx_int8`` to a folder that has ``onnx``; ``precision="int8"`` then runs it.

    Weights have 7 bits, because products of 8 bits overflow on CPUs without VNNI.

    Args:
        model_dir: The folder that ``export_model.py`` wrote.
        images: Some dozen images like those that the model will see.
        trust_graph: As for :class:`~res2net_runtime.Predictor`.

    Returns:
        The file of the quantised network.

    Raises:
        ModelFolderError: The folder is incomplete or has no format ``onnx``.
        ImageError: An image cannot be read.
        BackendError: A package is missing, or ONNX Runtime cannot quantise the network.
        Res2NetError: A disk is full, the folder cannot be written, or another process is writing to it. The folder is as it
            was before.
    """
    folder = load_model_folder(model_dir)
    if "onnx" not in folder.formats:
        raise ModelFolderError(
            f"The model folder '{folder.path}' holds {', '.join(folder.formats)}, but int8 is made from onnx. Export "
            "the model again with export_model.py --format onnx."
        )
    if not images:
        raise ValueError("Quantising needs at least one image.")
    import_engine("onnx")
    quantization = import_engine("onnxruntime.quantization", "onnxruntime")
    preprocessor = Preprocessor.from_config(folder.preprocess)

    batches = (collate([preprocessor(decode_image(image))]) for image in images)
    # Any object with this method serves as a CalibrationDataReader, whose module is only known at run time.
    reader = type("Reader", (quantization.CalibrationDataReader,), {"get_next": lambda self: next(batches, None)})()

    source, target = folder.formats["onnx"].model_path, folder.path / MODEL_NAME
    model_bytes = source.stat().st_size
    _require_space(Path(tempfile.gettempdir()), 3 * model_bytes, "set TMPDIR to a folder on another disk")
    _require_space(folder.path, model_bytes, "copy the model folder to another disk")
    with changing_folder(folder.path):
        # Both files are complete before the first one is moved to its place; the network goes first.
        with replacing(folder.path / CONFIG_NAME) as unfinished_config, replacing(target) as unfinished:
            with loading("ONNX Runtime", source):
                if not trust_graph:
                    check_graph(folder.formats["onnx"], "onnx")
                quantization.quantize_static(
                    source,
                    unfinished,
                    reader,
                    quant_format=quantization.QuantFormat.QDQ,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    per_channel=True,
                    reduce_range=True,
                    op_types_to_quantize=_QUANTIZED_OPERATORS,
                )
            _write_config(folder.path / CONFIG_NAME, unfinished_config)
    return target


def _require_space(folder: Path, count_bytes: int, remedy: str) -> None:
    """Check that a folder can take files of this size: ONNX Runtime would blame the model."""
    try:
        check_space(folder, count_bytes)
    except OSError as error:
        raise Res2NetError(
            f"Quantising needs {count_bytes / 1e6:.3g} MB in '{printable(folder)}', which cannot be had: "
            f"{explain(error, remedy)}"
        ) from error


def _write_config(config_path: Path, target: Path) -> None:
    """Write the folder's description with the new format."""
    config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
    config["formats"][_FORMAT] = {"model_file": MODEL_NAME}
    target.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


@dataclass(frozen=True)
class QuantizationReport:
    """How a quantised network compares with the original.

    Attributes:
        engine: The engine that ran it.
        images: Images compared.
        fp32_s: Median CPU time of an image, from array to detections, in float32, summed over the threads. Unlike wall
            time, it does not count other programs.
        int8_s: The same in int8.
        detections: Detections of float32 that would be drawn.
        missing: Those for which int8 has no box of the same class with an IoU of at least 0.5, at any score.
        added: Detections of int8 that would be drawn, but for which float32 has no such box.
    """

    engine: str
    images: int
    fp32_s: float
    int8_s: float
    detections: int
    missing: int
    added: int

    def __str__(self) -> str:
        return (
            f"{self.images} images: {self.fp32_s:.3g} s of CPU time each in fp32, {self.int8_s:.3g} s in int8 "
            f"({self.fp32_s / self.int8_s:.2f} times as fast), {self.engine}. Of {self.detections} detections that fp32 "
            f"would draw, int8 misses {self.missing}; it adds {self.added}."
        )


def compare_precisions(
    model_dir: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    cpu_threads: int | None = None,
    trust_graph: bool = False,
) -> QuantizationReport:
    """Run a quantised folder in float32 and int8 on images, on the engine that ``auto`` takes for int8.

    Args:
        model_dir: The folder.
        images: The images.
        cpu_threads: Threads of the engine, or None for one per available core.
        trust_graph: As for :class:`~res2net_runtime.Predictor`.

    Raises:
        Res2NetError: What :class:`~res2net_runtime.Predictor` raises.
    """
    arrays = [decode_image(image) for image in images]
    with Predictor(model_dir, precision="int8", cpu_threads=cpu_threads, trust_graph=trust_graph) as predictor:
        engine, description = predictor.engine, predictor.description
        int8, int8_s = _run_timed(predictor, arrays)
    with Predictor(model_dir, backend=engine, cpu_threads=cpu_threads, trust_graph=trust_graph) as predictor:
        fp32, fp32_s = _run_timed(predictor, arrays)
        threshold = predictor.info.least_scores
    return QuantizationReport(
        engine=description,
        images=len(arrays),
        fp32_s=fp32_s,
        int8_s=int8_s,
        detections=sum(len(one.filter(threshold)) for one in fp32),
        missing=sum(_count_missing(a.filter(threshold), b) for a, b in zip(fp32, int8)),
        added=sum(_count_missing(b.filter(threshold), a) for a, b in zip(fp32, int8)),
    )


def _run_timed(predictor: Predictor, images: Sequence[np.ndarray]) -> tuple[list[Detections], float]:
    results, times_s = [], []
    for image in images:
        predictor(image)  # engines prepare themselves for each new size
        start_s = time.process_time()
        results.append(predictor(image))
        times_s.append(time.process_time() - start_s)
    return results, statistics.median(times_s)


def _count_missing(wanted: Detections, found: Detections) -> int:
    """Return how many of the wanted detections have no counterpart of the same class among the found ones."""
    is_same = box_iou(wanted.boxes_xyxy, found.boxes_xyxy) >= _SAME_OBJECT_IOU
    is_same &= wanted.labels[:, None] == found.labels[None]
    return int((~is_same.any(axis=1)).sum())


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = FlagParser(
        "python -m res2net_runtime.quantize",
        "Make an int8 version of an exported model, which infer.py --precision int8 runs, and compare the two.",
        f"{python_command()} -m res2net_runtime.quantize",
        examples=("--model_dir output_inference/demo_mask_rcnn --image_dir photos --max_images 16",),
    )
    parser.add_argument(
        "--model_dir", required=True, metavar="DIR", help="folder that export_model.py --format onnx wrote"
    )
    parser.add_argument("--image_dir", required=True, metavar="DIR", help="images like those that the model will see")
    parser.add_argument(
        "--max_images",
        type=positive_int,
        default=32,
        metavar="N",
        help="how many of them are used (default: %(default)s)",
    )
    parser.add_argument(
        "--cpu_threads", type=thread_count, metavar="N", help="threads of the comparison (default: all cores)"
    )
    parser.add_argument("--trust_graph", **TRUST_GRAPH_OPTION)
    args = parser.parse_args(argv)
    configure_logging("%(levelname)s: %(message)s", level=logging.INFO)
    root = logging.getLogger()
    root.addFilter(_is_for_the_user)
    try:
        return run_command(lambda: _quantize(args))
    finally:
        root.removeFilter(_is_for_the_user)


def _quantize(args: argparse.Namespace) -> int:
    images = find_images(args.image_dir)[: args.max_images]
    say(f"Measuring activations on {len(images)} images ...")
    with ending_on_signals():
        target = quantize_model(args.model_dir, images, args.trust_graph)
    say(f"Wrote '{target}', {target.stat().st_size / 1e6:.1f} MB.")
    say(compare_precisions(args.model_dir, images, args.cpu_threads, args.trust_graph))
    return 0


def _is_for_the_user(record: logging.LogRecord) -> bool:
    # ONNX Runtime uses the root logger for advice that is meant for programmers.
    return record.name != "root"


if __name__ == "__main__":
    sys.exit(main())
