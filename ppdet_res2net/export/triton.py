"""An exported detector as a model repository of Triton Inference Server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from ppdet_res2net.export.folder import write_description
from res2net_runtime.model_folder import load_model_folder, read_model_config
from res2net_runtime.triton import ENCODED, FOUND, SIZE

__all__ = ["Tensor", "network_tensors", "write_repository"]

# Triton's names of backends, and of the types of tensors by ONNX' and OpenVINO's names.
_BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino"}
_TYPES = {
    "float": "TYPE_FP32", "f32": "TYPE_FP32", "int32": "TYPE_INT32", "i32": "TYPE_INT32", "int64": "TYPE_INT64",
    "i64": "TYPE_INT64",
}  # fmt: skip
_VERSION = "1"

_Field = Union[str, int, "_Word", Mapping[str, Any], Sequence[Any]]


class _Word(str):
    """A value that protobuf's text form writes without quotes."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model: its name, Triton's name of its type, and its shape, with -1 for any length."""

    name: str
    data_type: str
    dims: tuple[int, ...]


def write_repository(repository: Path, model_dir: Path, name: str) -> None:
    """Write a model repository: the network, a Python model before and after it, and an ensemble that joins them.

    Args:
        repository: The folder to write; it must not exist.
        model_dir: A detector as ``export`` writes it, in one format: ONNX or OpenVINO.
        name: Name of the ensemble; those of the other models begin with it.
    """
    folder = load_model_folder(model_dir)
    ((format_name, files),) = folder.formats.items()
    inputs, outputs = network_tensors(files.model_path)
    config, _ = read_model_config(model_dir)
    description = {key: value for key, value in config.items() if key != "formats"}
    encoded, size = (Tensor(one.name, one.data_type, one.dims) for one in (ENCODED, SIZE))
    found = [
        Tensor(one.name, one.data_type, one.dims) for one in FOUND if one.name != "RLES" or "masks" in folder.outputs
    ]
    prepare, network, finish = f"{name}_prepare", f"{name}_network", f"{name}_finish"

    _write_model(repository, prepare, {"backend": "python"}, [encoded], [*inputs, size])
    _write_python(repository / prepare, "PrepareModel", description)
    _write_model(repository, network, {"backend": _BACKENDS[format_name]}, inputs, outputs)
    for path in (files.model_path, files.params_path):
        if path is not None:
            shutil.copy(path, repository / network / _VERSION / path.name)
    _write_model(repository, finish, {"backend": "python"}, [*outputs, size], found)
    _write_python(repository / finish, "FinishModel", description)
    steps = [
        _step(prepare, [encoded], [*inputs, size]),
        _step(network, inputs, outputs),
        _step(finish, [*outputs, size], found),
    ]
    _write_model(repository, name, {"platform": "ensemble"}, [encoded], found, {"ensemble_scheduling": {"step": steps}})


def network_tensors(model_path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Read the inputs and outputs of a network from its file, ``.onnx`` or ``.xml``."""
    if model_path.suffix == ".onnx":
        import onnx

        graph = onnx.load(str(model_path), load_external_data=False).graph
        return _of_onnx(graph.input), _of_onnx(graph.output)
    import openvino

    model = openvino.Core().read_model(str(model_path))
    return _of_openvino(model.inputs), _of_openvino(model.outputs)


def _of_onnx(values: Iterable[Any]) -> list[Tensor]:
    from onnx import TensorProto

    tensors = []
    for value in values:
        kind = value.type.tensor_type
        dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
        tensors.append(Tensor(value.name, _TYPES[TensorProto.DataType.Name(kind.elem_type).lower()], dims))
    return tensors


def _of_openvino(ports: Iterable[Any]) -> list[Tensor]:
    return [
        Tensor(
            port.any_name,
            _TYPES[port.element_type.get_type_name()],
            tuple(dim.get_length() if dim.is_static else -1 for dim in port.partial_shape),
        )
        for port in ports
    ]


def _step(model: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, Any]:
    """Return a step of an ensemble. Its tensors have the names that they have in the models."""
    return {
        "model_name": model,
        "model_version": -1,
        "input_map": [{"key": one.name, "value": one.name} for one in inputs],
        "output_map": [{"key": one.name, "value": one.name} for one in outputs],
    }


def _write_model(
    repository: Path,
    name: str,
    kind: Mapping[str, str],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write ``config.pbtxt`` and the folder of the version. The shapes include the axis of the batch."""
    (repository / name / _VERSION).mkdir(parents=True)
    content = {
        "name": name,
        **kind,
        "max_batch_size": 0,
        "input": [_as_fields(one) for one in inputs],
        "output": [_as_fields(one) for one in outputs],
        **(more or {}),
    }
    (repository / name / "config.pbtxt").write_text("".join(_text_form(content)), encoding="utf-8")


def _write_python(model: Path, name: str, description: Mapping[str, Any]) -> None:
    (model / _VERSION / "model.py").write_text(
        f'"""Triton loads this file."""\n\nfrom res2net_runtime.triton import {name} as TritonPythonModel  # noqa: F401\n',
        encoding="utf-8",
    )
    write_description(model / _VERSION, description)


def _as_fields(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": _Word(tensor.data_type), "dims": list(tensor.dims)}


def _text_form(fields: Mapping[str, _Field], indent: str = "") -> Iterable[str]:
    """Yield the lines of a message in protobuf's text form."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name} {{\n"
            yield from _text_form(value, indent + "  ")
            yield f"{indent}}}\n"
        elif isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
            for one in value:
                yield from _text_form({name: one}, indent)
        else:
            yield f"{indent}{name}: {value if isinstance(value, _Word) else json.dumps(value)}\n"
