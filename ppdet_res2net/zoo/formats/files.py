"""Reads a weight file into a dictionary of arrays, and writes one."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from ppdet_res2net.commands import program
from ppdet_res2net.errors import WeightsError, did_you_mean
from ppdet_res2net.files import replacing, sync_to_disk
from ppdet_res2net.zoo.formats.contents import find_weights
from ppdet_res2net.zoo.formats.dtypes import array_from_bytes
from ppdet_res2net.zoo.formats.limits import Limits
from ppdet_res2net.zoo.formats.mindspore_file import read_mindspore
from ppdet_res2net.zoo.formats.numpy_file import is_npz, read_npz
from ppdet_res2net.zoo.formats.paddle_file import METADATA_KEY, merge_split_parameters, write_paddle
from ppdet_res2net.zoo.formats.pickles import RefusedName, load_pickle
from ppdet_res2net.zoo.formats.stand_ins import as_array
from ppdet_res2net.zoo.formats.torch_file import LEGACY_MAGIC, read_torch_legacy, read_torch_zip
from ppdet_res2net.zoo.formats.unpickler import Opaque
from res2net_runtime.files import describe_kind
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import clip

__all__ = [
    "WeightsFile",
    "describe_damage",
    "load_weights_file",
    "read_weights_file",
    "resolve_weights_path",
    "save_weights_file",
]

_Result = TypeVar("_Result")

WEIGHT_SUFFIXES = (".pdparams", ".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pkl", ".npz")
_EXPORT_SUFFIXES = (".json", ".pdmodel", ".pdiparams", ".onnx", ".xml", ".bin")

# How pickles of protocols 2 and later begin, and the text of older ones
_PICKLE = re.compile(rb"\x80|\((d|l|i|c)|[\]}]|c[\w.]+\n")

_SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """What a weight file holds.

    Attributes:
        path: The file.
        format: ``paddle`` (a plain pickle), ``torch-zip``, ``torch-legacy``, ``safetensors``, ``mindspore`` or ``npz``.
        wrapper: The entries that led to the weights, e.g. ``("state_dict",)``; empty for a plain file.
        tensors: Arrays by the names in the file.
        others: Names of the entries that are not tensors, e.g. ``epoch``.
        metadata: What this package wrote beside the tensors: ``dialect``, and ``model``, a zoo name.
        note: Which copy of the weights was taken if there are several, as the beginning of a sentence; or "".
    """

    path: Path
    format: str
    wrapper: tuple[str, ...]
    tensors: dict[str, np.ndarray]
    others: tuple[str, ...]
    metadata: dict[str, str]
    note: str = ""


def resolve_weights_path(path: str | os.PathLike[str]) -> Path:
    """Return the file that ``path`` means; ``output/model_final`` stands for ``output/model_final.pdparams``.

    Raises:
        WeightsError: There is no such file.
    """
    path = Path(path).expanduser()
    with_suffix = path.with_name(f"{path.name}.pdparams") if path.name else path
    folder = path if path.is_dir() else path.parent
    if (path == folder or path.suffix in _EXPORT_SUFFIXES) and (folder / "infer_cfg.yml").is_file():
        raise WeightsError(
            f"weights: {path} belongs to an exported model, whose weights have been changed for inference. Pass the checkpoint "
            "that it was exported from, such as a run's best_model."
        )
    for candidate in (path, with_suffix):
        if candidate.is_file():
            return candidate
    nearby = sorted(p.name for p in folder.iterdir() if p.suffix in WEIGHT_SUFFIXES) if folder.is_dir() else []
    if path.is_dir():
        raise WeightsError(
            f"weights: {path} is a folder; pass a file"
            + (f", for instance {path / nearby[0]}." if nearby else f" ({', '.join(WEIGHT_SUFFIXES)}).")
        )
    for candidate in (path, with_suffix):
        if candidate.exists():
            kind = describe_kind(candidate.stat().st_mode)
            raise WeightsError(f"weights: {candidate} is {kind}, not a file of weights. Pass a regular file.")
    raise WeightsError(
        f"weights: neither {path} nor {with_suffix} exists.{did_you_mean(with_suffix.name, nearby)} "
        f"Pass a file, a url, or a name that '{program('models')}' lists."
    )


def load_weights_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the tensors of a weight file by the names in the file. See :func:`read_weights_file`."""
    return read_weights_file(path).tensors


def read_weights_file(path: str | os.PathLike[str], name: str | None = None, copy: str | None = None) -> WeightsFile:
    """Read a weight file of any supported format. The format is recognised by the contents, not by the name.

    Args:
        path: The file; ``.pdparams`` may be left off.
        name: What messages call the file; its path by default.
        copy: ``averaged`` or ``plain``: which weights to take if a checkpoint has both; by default the averaged ones.

    Raises:
        WeightsError: There is no such file, or it is empty, a web page, cut off, damaged, unsafe, of an unknown format, or
            without tensors.
    """
    path = resolve_weights_path(path)
    name = name or str(path)
    damage = describe_damage(path)
    if damage:
        raise WeightsError(f"weights: {name} {damage}")
    limits = Limits(path.stat().st_size)
    with open(path, "rb") as file:
        kind, content = _translated(name, lambda: _read(file, limits))
        choice = _translated(name, lambda: find_weights(content, limits, copy))
        entries = choice.entries
        tensors = _translated(name, lambda: _arrays(entries, limits))  # tensors are read here, not before
    if not isinstance(entries, Mapping) or not tensors:
        raise WeightsError(f"weights: {name} holds no tensors ({_describe_without_tensors(entries)}")
    others = tuple(str(key) for key in entries if key not in tensors and not str(key).endswith("@@"))
    return WeightsFile(path, kind, choice.path, tensors, others, _metadata(entries), choice.note)


def save_weights_file(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays to ``path``: ``.pdparams`` (as ``paddle.save`` would) or ``.safetensors``.

    The file appears under its name only when it is complete.

    Args:
        path: The file to write; its folder is created.
        tensors: Arrays by name.
        metadata: Kept beside the tensors, where :func:`read_weights_file` finds it and other programs ignore it.

    Raises:
        WeightsError: The suffix is neither of the two, or the file cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix not in (".pdparams", ".safetensors"):
        raise WeightsError(f"weights: cannot write {path}: the name must end in .pdparams or .safetensors.")
    try:
        with replacing(path) as unfinished:
            with open(unfinished, "wb") as file:
                if path.suffix == ".pdparams":
                    write_paddle(file, tensors, metadata or {})
                else:
                    _write_safetensors(file, tensors, metadata or {})
            sync_to_disk(unfinished)
    except OSError as error:
        raise WeightsError(f"weights: cannot write {path}: {explain(error, 'choose another path')}") from error


def describe_damage(path: Path) -> str:
    """Return what is visibly wrong with a downloaded file, as the rest of a sentence; ``""`` if nothing is."""
    with open(path, "rb") as file:
        head = file.read(512)
        file.seek(257)
        is_tar = file.read(5) == b"ustar"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "is empty (0 bytes). Delete it and download it again."
    if text.startswith((b"<!doctype", b"<html", b"<?xml")) or text.startswith(b"<head"):
        return (
            "is a web page, not weights: the server sent HTML or XML, for instance a login or error page. "
            "Open the address in a browser, save the real file, and pass its path."
        )
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights themselves. Run 'git lfs pull' in its repository."
    if is_tar:
        return (
            "is a tar archive. Unpack it first; if PyTorch before 0.2 wrote it, load and save it once with a "
            "newer PyTorch."
        )
    return ""


def _read(file: BinaryIO, limits: Limits) -> tuple[str, object]:
    head = file.read(16)
    file.seek(0)
    if _is_safetensors(head):  # first: the length that it begins with can look like another format
        return "safetensors", _read_safetensors(_content(file, limits))
    if head.startswith(b"PK\x03\x04"):
        archive = zipfile.ZipFile(file)
        return ("npz", read_npz(archive, limits)) if is_npz(archive) else ("torch-zip", read_torch_zip(archive, limits))
    if _PICKLE.match(head):
        content = load_pickle(file, limits)
        return ("torch-legacy", read_torch_legacy(file, limits)) if content == LEGACY_MAGIC else ("paddle", content)
    if head.startswith(b"\x0a"):
        return "mindspore", read_mindspore(_content(file, limits), limits)
    raise WeightsError(
        f"has an unknown format (it begins with {head[:8]!r}). These formats are supported, under any "
        "file name: Paddle .pdparams, PyTorch .pth/.pt, .safetensors, MindSpore .ckpt and NumPy .npz."
    )


def _describe_without_tensors(entries: object) -> str:
    advice = "Save a state_dict, e.g. paddle.save(model.state_dict(), path) or torch.save(model.state_dict(), path)."
    if isinstance(entries, Opaque):
        return f"it is one object, of {entries.name}). {advice}"
    if not isinstance(entries, Mapping):
        return f"found: {type(entries).__name__}). {advice}"
    found = ", ".join(clip(key) for key in list(entries)[:5])
    return f"found: {found or 'nothing'}). {advice}"


def _is_safetensors(head: bytes) -> bool:
    """Return whether a file begins as this format does: eight bytes with the length of the JSON header, then the header."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def _content(file: BinaryIO, limits: Limits) -> bytes:
    return file.read(limits.file_bytes)  # without a number, what is in the buffer would be joined with the rest: a copy


def _read_safetensors(content: bytes) -> dict[str, object]:
    if int.from_bytes(content[:8], "little") + 8 > len(content):
        raise EOFError("the header is longer than the file")
    try:
        parts = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]  # written in Rust, has no types
    except safetensors.SafetensorError as error:
        raise EOFError(str(error)) from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    tensors: dict[str, object] = {METADATA_KEY: header.pop("__metadata__", {})}
    for name in header:  # the file's order; the library's is random
        dtype, shape = parts[name]["dtype"], tuple(parts[name]["shape"])
        tensors[name] = array_from_bytes(parts[name]["data"], _SAFETENSORS_DTYPES.get(dtype, dtype), shape)
    return tensors


def _write_safetensors(file: BinaryIO, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}
    file.write(safetensors.numpy.save(arrays, dict(metadata) or None))


def _arrays(entries: object, limits: Limits) -> dict[str, np.ndarray]:
    if not isinstance(entries, Mapping):
        return {}
    arrays = {name: as_array(value, limits) for name, value in entries.items() if isinstance(name, str)}
    return merge_split_parameters(entries, {name: array for name, array in arrays.items() if array is not None})


def _metadata(entries: Mapping[str, object]) -> dict[str, str]:
    metadata = entries.get(METADATA_KEY)
    return {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, Mapping) else {}


def _translated(name: str, read: Callable[[], _Result]) -> _Result:
    """Call ``read()``. If that fails, say what is wrong with the file.

    Damaged bytes can cause nearly any exception in a parser, so all exceptions are translated.
    """
    try:
        return read()
    except WeightsError as error:
        raise WeightsError(f"weights: {name} {error}") from error
    except RefusedName as error:
        raise WeightsError(
            f"weights: {name} is refused: reading it would call '{clip(error.name, 80)}', which weights do not need. "
            "Nothing was run. If you trust its author, save only the weights with the original program, for instance "
            'torch.save(torch.load(PATH, weights_only=False)["state_dict"], "weights.pth"); of a whole model, .state_dict().'
        ) from error
    except (EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"weights: {name} is cut off or damaged ({clip(str(error), 300)}). Delete it and download it again."
        ) from error
    except Exception as error:
        raise WeightsError(
            f"weights: {name} cannot be read ({type(error).__name__}: {clip(str(error), 300)}). Delete it and download it "
            "again, or convert it with the program that wrote it."
        ) from error
