"""OpenVINO's graphs: ``model.xml``, and the weights, ``model.bin``, at the places that it names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from res2net_runtime.backends.graphs.errors import GraphError, check_count, check_known
from res2net_runtime.texts import clip

if TYPE_CHECKING:
    from res2net_runtime.model_folder import ModelFiles

__all__ = ["OPERATORS", "check"]

_MAX_BYTES = 64_000_000

# What OpenVINO 2025 and 2026 make of the exporter's ONNX models, and of others that only compute. None has a graph inside.
OPERATORS = frozenset(
    """
    Abs Add AvgPool Broadcast Ceiling Clamp Concat Const Convert Convolution ConvolutionBackpropData Cos CumSum DepthToSpace
    Divide Elu Equal Erf Exp Floor FloorMod Gather GatherElements GatherND Gelu Greater GreaterEqual GroupConvolution
    GroupNormalization HSigmoid HSwish HardSigmoid Interpolate LRN Less LessEqual Log LogSoftmax LogicalAnd LogicalNot LogicalOr
    LogicalXor MVN MatMul MaxPool Maximum Minimum Mish Mod Multiply Negative NonMaxSuppression NonZero NormalizeL2 NotEqual
    PReLU Pad Parameter Power ROIAlign Range ReLU ReduceL1 ReduceL2 ReduceLogicalAnd ReduceLogicalOr ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum Reshape Result Round ScatterElementsUpdate ScatterNDUpdate Select Selu ShapeOf Sigmoid Sign
    Sin Slice SoftMax SoftPlus SoftSign SpaceToDepth Split Sqrt SquaredDifference Squeeze StridedSlice Subtract Swish Tanh Tile
    TopK Transpose Unsqueeze VariadicSplit
    """.split()
)
_VERSIONS = frozenset(f"opset{number}" for number in range(1, 30))
# Bytes of an element.
_ELEMENT_BYTES = {
    **dict.fromkeys(("boolean", "i8", "u8"), 1),
    **dict.fromkeys(("i16", "u16", "f16", "bf16"), 2),
    **dict.fromkeys(("i32", "u32", "f32"), 4),
    **dict.fromkeys(("i64", "u64", "f64"), 8),
}


def check(files: ModelFiles) -> None:
    """Check a graph and the sizes of its weights; see :func:`~res2net_runtime.backends.graphs.check_graph`."""
    size = files.model_path.stat().st_size
    if size > _MAX_BYTES:
        raise GraphError(f"it has {size} bytes; a graph has at most {_MAX_BYTES}")
    net = _parse(files.model_path.read_bytes())
    if files.params_path is None:
        raise GraphError("it has no file of weights")
    weights_bytes = files.params_path.stat().st_size
    ports: dict[str, set[str]] = {}
    for layer in net.iterfind("layers/layer"):
        number = layer.get("id", "")
        if not (number.isascii() and number.isdigit() and len(number) < 10) or number in ports:
            raise GraphError(f"it has two layers, or none, numbered {clip(number)}")
        _check_layer(layer, weights_bytes, files.params_path.name)
        ports[number] = {port.get("id", "") for side in layer for port in side}
    if not ports:
        raise GraphError("it has no layers")
    for edge in net.iterfind("edges/edge"):
        for end in ("from", "to"):
            if edge.get(f"{end}-port") not in ports.get(edge.get(f"{end}-layer", ""), ()):
                raise GraphError(f"it has an edge {end} a layer that does not exist: {clip(edge.get(f'{end}-layer'))}")


def _parse(data: bytes) -> ElementTree.Element:
    head = data[:200].partition(b"?>")[0]
    # Entities of a document type could stand for more text than any memory holds.
    if b"<!" in data or b"\0" in data or b"encoding" in head and b"utf-8" not in head.lower():
        raise GraphError("it is not XML as OpenVINO writes it")
    try:
        net = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise GraphError(f"it is not XML ({clip(str(error), 100)}); it may be cut short") from error
    if net.tag != "net" or {child.tag for child in net} - {"layers", "edges", "rt_info", "meta_data"}:
        raise GraphError("it is not a graph of OpenVINO")
    return net


def _check_layer(layer: ElementTree.Element, weights_bytes: int, weights_name: str) -> None:
    kind, name = layer.get("type"), layer.get("name", "")
    check_known(kind, OPERATORS)
    if layer.get("version", "") not in _VERSIONS or layer.find("body") is not None:
        raise GraphError(f"the layer '{clip(name)}' is of the version {clip(layer.get('version'))}")
    if kind != "Const":
        return
    data = layer.find("data")
    element = "" if data is None else data.get("element_type", "")
    if data is None or element not in _ELEMENT_BYTES:
        raise GraphError(f"the layer '{clip(name)}' has elements of the type {clip(element)}")
    shape = [_integer(side, name) for side in data.get("shape", "").split(",") if side.strip()]
    offset, size = _integer(data.get("offset"), name), _integer(data.get("size"), name)
    if (
        size != max(1, check_count(shape)) * _ELEMENT_BYTES[element]
        and size != check_count(shape) * _ELEMENT_BYTES[element]
    ):
        raise GraphError(f"the layer '{clip(name)}' has {size} bytes for the shape {clip(shape)} of {element}")
    if offset + size > weights_bytes:
        raise GraphError(f"the weights in '{weights_name}' end before those of the layer '{clip(name)}'")


def _integer(value: str | None, name: str) -> int:
    if value is None or not re.fullmatch(r" ?[0-9]{1,18}", value):
        raise GraphError(f"the layer '{clip(name)}' has {clip(value)} where a whole number is expected")
    return int(value)
