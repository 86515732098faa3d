"""A folder for deployment: a network in some formats, and ``infer_cfg.yml``, which describes it."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import paddle
import yaml

import ppdet_res2net
from ppdet_res2net.errors import ExportError, did_you_mean
from res2net_runtime.engines import EXPORTED_FORMATS, FORMATS
from res2net_runtime.model_folder import CONFIG_NAME, SCHEMA_NAME, SCHEMA_VERSION

if TYPE_CHECKING:
    import onnx

__all__ = ["NetworkWriter", "check_formats", "check_names", "write_folder"]

logger = logging.getLogger(__name__)


class NetworkWriter:
    """Writes one network in the form that an export format is made from.

    Args:
        save_paddle: Writes Paddle's graph and weights into the folder, and returns the graph's path.
        make_onnx: Makes the ONNX model; called once at most.
    """

    def __init__(self, save_paddle: Callable[[], Path], make_onnx: Callable[[], onnx.ModelProto]) -> None:
        self.save_paddle = save_paddle
        self._make_onnx = make_onnx

    @functools.cached_property
    def onnx_bytes(self) -> bytes:
        """The ONNX model, serialised."""
        serialised: bytes = self._make_onnx().SerializeToString()
        return serialised


def check_formats(formats: Sequence[str]) -> None:
    """Refuse formats that do not exist, or whose packages are missing.

    Raises:
        ExportError: The message says which packages to install.
    """
    check_names("format", formats, EXPORTED_FORMATS)
    for name in formats:
        _require_packages(name)


def write_folder(
    folder: Path,
    formats: Sequence[str],
    network: NetworkWriter,
    description: Mapping[str, Any],
) -> None:
    """Write a network in some formats, and ``infer_cfg.yml``; what an earlier export has left is removed.

    Args:
        folder: The folder.
        formats: Some of :data:`~res2net_runtime.engines.EXPORTED_FORMATS`.
        network: The network.
        description: What ``infer_cfg.yml`` says beside schema, formats and versions.

    Raises:
        ExportError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A graph in a different format, or of a different Paddle, must not stay beside the new one.
        for name in (CONFIG_NAME, *(name for one in FORMATS.values() for name in one.files)):
            (folder / name).unlink(missing_ok=True)
        settings = {
            "schema": {"name": SCHEMA_NAME, "version": SCHEMA_VERSION},
            **description,
            "formats": {name: _writer(name).write(folder, network) for name in EXPORTED_FORMATS if name in formats},
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
    for package in _writer(name).PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ExportError(
                f"--format {name} needs the package {package}, which cannot be imported ({error}). Install it with: "
                f"pip install {package}"
            ) from error


def _writer(name: str) -> ModuleType:
    """Return the module that writes a format."""
    return importlib.import_module(f"ppdet_res2net.export.formats.{name}")


def _versions(formats: Sequence[str]) -> dict[str, str]:
    packages = dict.fromkeys(package for name in formats for package in _writer(name).PACKAGES)
    modules: list[ModuleType] = [ppdet_res2net, paddle, *map(importlib.import_module, packages)]
    return {module.__name__: module.__version__ for module in modules}
