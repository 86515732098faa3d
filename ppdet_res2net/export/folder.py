"""A folder for deployment: a network in some formats, and ``infer_cfg.yml``, which describes it."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle
import yaml

import ppdet_res2net
from ppdet_res2net.errors import ExportError, did_you_mean
from res2net_runtime.model_folder import CONFIG_NAME, SCHEMA_NAME, SCHEMA_VERSION

if TYPE_CHECKING:
    import onnx

__all__ = ["FORMATS", "check_formats", "check_names", "write_folder"]

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


def check_formats(formats: Sequence[str]) -> None:
    """Refuse formats that do not exist, or whose packages are missing.

    Raises:
        ExportError: The message says which packages to install.
    """
    check_names("format", formats, FORMATS)
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
        raise ExportError(f"The folder '{folder}' cannot be written: {error}. Pass another --output_dir.") from error
    logger.info("exported to %s", folder)


def check_names(what: str, names: Sequence[str], known: Collection[str]) -> None:
    """Refuse names that are not known, and an empty list.

    Raises:
        ExportError: The message lists the known names.
    """
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
