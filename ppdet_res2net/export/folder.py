"""A folder for deployment: a network in some formats, and ``infer_cfg.yml``, which describes it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import paddle
import yaml

import ppdet_res2net
from ppdet_res2net.errors import ExportError, did_you_mean
from ppdet_res2net.files import refuse_url, remove_abandoned, unfinished_name
from res2net_runtime.console import ending_on_signals
from res2net_runtime.engines import EXPORTED_FORMATS, FORMATS, way_to_add
from res2net_runtime.locks import LockedError, WriterLock
from res2net_runtime.model_folder import CONFIG_NAME, LOCK_NAME, SCHEMA_NAME, SCHEMA_VERSION
from res2net_runtime.system_errors import explain

if TYPE_CHECKING:
    import onnx

__all__ = [
    "NetworkWriter",
    "check_formats",
    "check_names",
    "fill_folder",
    "move_export",
    "unfinished_folder",
    "versions",
    "write_description",
    "write_folder",
]

logger = logging.getLogger(__name__)


class NetworkWriter:
    """Writes one network in the form that an export format is made from.

    Args:
        save_paddle: Writes Paddle's graph and weights into a folder, and returns the graph's path.
        make_onnx: Makes the ONNX model; called once at most.
        description: What ``infer_cfg.yml`` says beside schema, formats and versions. The ONNX model carries it too.
    """

    def __init__(
        self,
        save_paddle: Callable[[Path], Path],
        make_onnx: Callable[[], onnx.ModelProto],
        description: Mapping[str, Any],
    ) -> None:
        self.save_paddle = save_paddle
        self.description = {"schema": {"name": SCHEMA_NAME, "version": SCHEMA_VERSION}, **description}
        self._make_onnx = make_onnx

    @functools.cached_property
    def onnx_bytes(self) -> bytes:
        """The ONNX model, serialised. Its metadata are the entries of the description and ``color_order``, each in JSON."""
        from onnx import helper

        model = self._make_onnx()
        entries = {**self.description, "color_order": "RGB"}
        helper.set_model_props(model, {name: json.dumps(value, ensure_ascii=False) for name, value in entries.items()})
        serialised: bytes = model.SerializeToString()
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
    verify: Callable[[Path], object] | None = None,
) -> None:
    """Write a network in some formats, and ``infer_cfg.yml``. They replace an earlier export when all of them are complete.

    Files of formats that are not written again are removed, because their weights may be others.

    Args:
        folder: The folder.
        formats: Some of :data:`~res2net_runtime.engines.EXPORTED_FORMATS`.
        network: The network.
        verify: Raises an error if the folder that it is called with is not as it should be.

    Raises:
        ExportError: The folder cannot be written, another export is writing to it, or ``verify`` has raised it. The folder
            is as it was before.
    """
    with unfinished_folder(folder) as unfinished:
        fill_folder(unfinished, formats, network)
        if verify is not None:
            verify(unfinished)
        _replace_export(folder, unfinished, formats)


def fill_folder(folder: Path, formats: Sequence[str], network: NetworkWriter) -> None:
    """Write the files of :func:`write_folder` into an empty folder that is there."""
    settings = {
        **network.description,
        "formats": {name: _writer(name).write(folder, network) for name in EXPORTED_FORMATS if name in formats},
        "versions": versions(formats),
    }
    write_description(folder, settings)


def write_description(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write ``infer_cfg.yml``."""
    (folder / CONFIG_NAME).write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")


@contextlib.contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder inside of ``folder``, for an export that is moved to its place at the end of the block.

    Raises:
        ExportError: The folder cannot be written, another export is writing to it, or the block has raised it.
    """
    refuse_url(folder, "--output_dir", ExportError)
    existed = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # Within the folder, so that it is on the same disk even if the folder is a link or a mounted volume.
            with (
                ending_on_signals(),
                _locked(folder),
                tempfile.TemporaryDirectory(dir=folder, prefix=unfinished_name("export")) as directory,
            ):
                yield Path(directory)
        except BaseException:
            if not existed:
                folder.rmdir()
            raise
    except OSError as error:
        state = "It is as it was before." if existed else "Nothing was written."
        raise ExportError(
            f"The folder '{folder}' cannot be written: {explain(error, 'pass another --output_dir')} {state}"
        ) from error
    except ExportError as error:
        state = "is as it was before" if existed else "was not written"
        raise ExportError(f"{error} '{folder}' {state}.") from error
    logger.info("exported to %s", folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other exports and quantisations out of a folder, and remove what killed ones have left in it."""
    try:
        with WriterLock(folder / LOCK_NAME):
            remove_abandoned(folder)
            yield
    except LockedError as error:
        raise ExportError(
            f"Another export is writing to this folder: {error}. Wait for it, or pass another --output_dir."
        ) from error


def _replace_export(folder: Path, complete: Path, formats: Sequence[str]) -> None:
    """Move the files of a complete export to their places, and remove those of an earlier one.

    The description goes first and comes last: if this is interrupted, the folder has none, and every reader refuses it.
    """
    (folder / CONFIG_NAME).unlink(missing_ok=True)
    new = {file.name for file in complete.iterdir()}
    for name, one in FORMATS.items():
        stale = [file for file in one.files if file not in new and (folder / file).exists()]
        for file in stale:
            (folder / file).unlink()
        if stale and not new.intersection(one.files):
            logger.warning(
                "removed %s of an earlier export from '%s'; its weights may be others. To have it too: %s",
                " and ".join(stale),
                folder,
                way_to_add(name, formats),
            )
    for name in sorted(new, key=lambda name: name == CONFIG_NAME):
        os.replace(complete / name, folder / name)


def move_export(folder: Path, complete: Path) -> None:
    """Move the files and folders of a complete export for another program to their places, in place of earlier ones.

    Raises:
        ExportError: A folder is in the way that is not a model of a Triton repository.
    """
    for one in sorted(complete.iterdir()):
        if (folder / one.name).is_dir() and not (folder / one.name / "config.pbtxt").is_file():
            raise ExportError(
                f"'{folder / one.name}' is a folder of something else. Move it, or pass another --output_dir."
            )
    for name in {CONFIG_NAME, *FORMATS["paddle"].files}:
        (folder / name).unlink(missing_ok=True)
    for one in sorted(complete.iterdir(), key=lambda one: one.name == CONFIG_NAME):
        if (folder / one.name).is_dir():
            shutil.rmtree(folder / one.name)
        os.replace(one, folder / one.name)


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


def versions(formats: Sequence[str] = ()) -> dict[str, str]:
    """Return the versions of the packages that write some formats."""
    packages = dict.fromkeys(package for name in formats for package in _writer(name).PACKAGES)
    modules: list[ModuleType] = [ppdet_res2net, paddle, *map(importlib.import_module, packages)]
    return {module.__name__: module.__version__ for module in modules}
