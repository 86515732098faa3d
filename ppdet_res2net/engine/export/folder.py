"""Write a detector as a folder for deployment."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import yaml
from paddle.utils import unique_name

import ppdet_res2net
from ppdet_res2net.data.demo_scenes import draw_scene
from ppdet_res2net.detection import RCNNInference
from ppdet_res2net.engine.config import Config
from ppdet_res2net.engine.detector import (
    EagerBackend,
    create_trained_detector,
    make_model_info,
    select_device,
)
from ppdet_res2net.engine.export.agreement import TOLERANCES, verify_export
from ppdet_res2net.engine.export.paddle_graph import save_paddle_graph
from ppdet_res2net.errors import ExportError, did_you_mean
from res2net_runtime.files import find_images
from res2net_runtime.model_folder import CONFIG_NAME, SCHEMA_NAME, SCHEMA_VERSION
from res2net_runtime.predictor import Predictor

if TYPE_CHECKING:
    import onnx

__all__ = ["FORMATS", "check_formats", "export_model", "write_folder"]

logger = logging.getLogger(__name__)

# Format -> packages that writing it takes; they are optional, and installed by the extra of the format's name.
FORMATS = {"paddle": (), "onnx": ("onnx",), "openvino": ("onnx", "openvino")}

# Everything that any export may have written: a graph of another Paddle or format must not stay beside the new one.
_GRAPH_FILES = (
    "model.json",
    "model.pdmodel",
    "model.pdiparams",
    "model.pdiparams.info",
    "model.onnx",
    "model_int8.onnx",  # of res2net_runtime.quantize
    "model.xml",
    "model.bin",
)


def export_model(
    config: Config,
    output_dir: str,
    *,
    formats: Sequence[str] = ("paddle",),
    verify: bool = False,
    verify_images: Sequence[str] | None = None,
    verify_precisions: Sequence[str] = ("fp32",),
) -> Path:
    """Write ``output_dir/<name of the configuration>`` with the network in some formats and ``infer_cfg.yml``.

    Args:
        config: The configuration, with ``weights``.
        output_dir: Parent of the folder.
        formats: Some of :data:`FORMATS`. ``onnx`` is also what OpenVINO's files are made from.
        verify: Run the eager and every exported model on images and compare.
        verify_images: Image files or folders for that; default: generated pictures.
        verify_precisions: Some of :data:`TOLERANCES`; each exported model runs in those that its engine offers.

    Returns:
        The folder.

    Raises:
        ExportError: A format is unknown, its package is missing, the network cannot be written in it, or gives other
            results than the eager model.
    """
    check_formats(formats)
    _check_names("precision", verify_precisions, TOLERANCES)
    select_device(config)
    with unique_name.guard():
        # The order of the weights in the file follows from the names of layers, which are then equal in every export.
        detector, classes = create_trained_detector(config)
        network = RCNNInference(detector)
    network.eval()
    folder = Path(output_dir) / config.name
    info = make_model_info(config, classes, network.output_names)
    write_folder(
        folder,
        formats,
        lambda: save_paddle_graph(network, folder),
        lambda: _make_onnx(network),
        {
            "task": "detection",
            "arch": info.arch,
            "outputs": list(info.outputs),
            "Preprocess": list(info.preprocess),
            "label_list": list(info.label_list),
            "category_ids": [int(i) for i in info.category_ids],
            "draw_threshold": info.draw_threshold,
            "mask_threshold": info.mask_threshold,
            "source_weights": os.path.basename(str(config["weights"])),
        },
    )
    if verify:
        eager = Predictor.over(info, EagerBackend(detector))
        verify_export(folder, eager, _images(verify_images), verify_precisions)
    return folder


def check_formats(formats: Sequence[str]) -> None:
    """Refuse formats that do not exist, or whose packages are missing.

    Raises:
        ExportError: The message says which packages to install.
    """
    _check_names("format", formats, FORMATS)
    for name in formats:
        _require_packages(name)


def write_folder(
    folder: Path,
    formats: Sequence[str],
    save_paddle: Callable[[], Path],
    make_onnx: Callable[[], onnx.ModelProto],
    description: Mapping[str, Any],
) -> None:
    """Write a network in some formats, and ``infer_cfg.yml``; what an earlier export has left is removed.

    Args:
        folder: The folder.
        formats: Some of :data:`FORMATS`.
        save_paddle: Writes Paddle's graph into the folder, and returns its path.
        make_onnx: Makes the ONNX model.
        description: What ``infer_cfg.yml`` says beside schema, formats and versions.

    Raises:
        ExportError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*_GRAPH_FILES, CONFIG_NAME):
            (folder / name).unlink(missing_ok=True)
        settings = {
            "schema": {"name": SCHEMA_NAME, "version": SCHEMA_VERSION},
            **description,
            "formats": _save_networks(folder, formats, save_paddle, make_onnx),
            "versions": _versions(formats),
        }
        (folder / CONFIG_NAME).write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise ExportError(
            f"The folder '{folder}' cannot be written: {error}. Pass another --output_dir."
        ) from error
    logger.info("exported to %s", folder)


def _check_names(what: str, names: Sequence[str], known: dict) -> None:
    for name in names:
        if name not in known:
            raise ExportError(
                f"There is no {what} '{name}'; choose one of {', '.join(known)}.{did_you_mean(name, known)}"
            )
    if not names:
        raise ExportError(f"No {what} was given; choose some of {', '.join(known)}.")


def _require_packages(name: str) -> None:
    for package in FORMATS[name]:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ExportError(
                f"--format {name} needs the package {package}, which cannot be imported ({error}). Install it with: "
                f"pip install {package}"
            ) from error


def _make_onnx(network: RCNNInference) -> onnx.ModelProto:
    from ppdet_res2net.engine.export.onnx_detector import make_onnx_model

    return make_onnx_model(network)


def _save_networks(
    folder: Path,
    formats: Sequence[str],
    save_paddle: Callable[[], Path],
    make_onnx: Callable[[], onnx.ModelProto],
) -> dict[str, dict[str, str]]:
    """Write the network in every format; returns what ``infer_cfg.yml`` says of each."""
    files = {}
    if "paddle" in formats:
        files["paddle"] = {"model_file": save_paddle().name, "params_file": "model.pdiparams"}
    if "onnx" in formats or "openvino" in formats:
        onnx_path = folder / "model.onnx"
        onnx_path.write_bytes(make_onnx().SerializeToString())
        if "openvino" in formats:
            _save_openvino(onnx_path, folder / "model.xml")
            files["openvino"] = {"model_file": "model.xml", "params_file": "model.bin"}
        if "onnx" in formats:
            files["onnx"] = {"model_file": "model.onnx"}
        else:
            onnx_path.unlink()
    return {name: files[name] for name in FORMATS if name in files}


def _save_openvino(onnx_path: Path, path: Path) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(str(onnx_path)), str(path), compress_to_fp16=False)


def _versions(formats: Sequence[str]) -> dict[str, str]:
    packages = dict.fromkeys(package for name in formats for package in FORMATS[name])
    modules: list[Callable] = [ppdet_res2net, paddle, *map(importlib.import_module, packages)]
    return {module.__name__: module.__version__ for module in modules}


def _images(verify_images: Sequence[str] | None) -> list:
    if not verify_images:
        generator = np.random.default_rng(0)
        return [
            draw_scene(generator, 320, with_objects=True, with_crowd=False)[0][:, :, ::-1] for _ in range(4)
        ]
    files: list = []
    for path in verify_images:
        files += find_images(path) if os.path.isdir(path) else [path]
    return files
