"""ONNX models (``ModelProto`` of onnx.proto)."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

from res2net_runtime.backends.graphs.errors import GraphError, check_count, check_known
from res2net_runtime.backends.graphs.wire import Message, text
from res2net_runtime.texts import clip

if TYPE_CHECKING:
    from res2net_runtime.model_folder import ModelFiles

__all__ = ["OPERATORS", "check"]

# What the exporter writes, what ONNX Runtime's quantisation adds, and what modules of one's own often have. None of them has a
# graph inside.
OPERATORS = frozenset(
    """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Celu Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements
    GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity
    InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max MaxPool
    Mean Min Mish Mod Mul Neg NonMaxSuppression NonZero Not Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL1 ReduceL2
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RoiAlign Round
    ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze
    Sub Sum Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze Where Xor
    """.split()
)
_DOMAINS = ("", "ai.onnx")
# Bytes of an element of each type (TensorProto.DataType): float, uint8, int8, int16, int32, int64, bool, float16, double,
# uint32, uint64, bfloat16.
_ELEMENT_BYTES = {1: 4, 2: 1, 3: 1, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
_GRAPH_ATTRIBUTES = {6, 11, 15, 22, 23}  # graphs, types and sparse arrays
_EXTERNAL = 1


def check(files: ModelFiles) -> None:
    """Check a model and the sizes of its weights; see :func:`~res2net_runtime.backends.graphs.check_graph`."""
    model = Message(_map(files.model_path))
    if model.values(20) or model.values(25):
        raise GraphError("it has functions or parts for training, which the exporter does not write")
    graphs = model.parts(7)
    if len(graphs) != 1:
        raise GraphError(f"it has {len(graphs)} graphs, expected 1")
    _check_graph(Message(graphs[0]), files.model_path.parent)


def _map(path: Path) -> memoryview:
    """Return the bytes of a file without reading the weights among them. The map is closed with the last view of it."""
    if path.stat().st_size == 0:
        raise GraphError("it is empty")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _check_graph(graph: Message, folder: Path) -> None:
    if graph.values(15):
        raise GraphError("it has sparse weights, which the exporter does not write")
    known = {""}
    for data in graph.parts(5):
        tensor = Message(data)
        _check_tensor(tensor, folder)
        known.add(tensor.text(8))
    known.update(Message(data).text(1) for data in graph.parts(11))
    for data in graph.parts(1):
        node = Message(data)
        name = node.text(4)
        check_known(name, OPERATORS)
        if node.text(7) not in _DOMAINS:
            raise GraphError(f"its operator '{name}' is of the domain '{clip(node.text(7))}'")
        for value in map(text, node.parts(1)):
            if value not in known:
                raise GraphError(f"the operator '{name}' uses the value '{clip(value)}', which does not exist")
        for attribute in map(Message, node.parts(5)):
            if attribute.numbers() & _GRAPH_ATTRIBUTES:
                raise GraphError(f"the operator '{name}' has a graph inside")
            for part in (*attribute.parts(5), *attribute.parts(10)):
                _check_tensor(Message(part), folder)
        known.update(map(text, node.parts(2)))
    for output in map(Message, graph.parts(12)):
        if output.text(1) not in known:
            raise GraphError(f"the output '{clip(output.text(1))}' does not exist")


def _check_tensor(tensor: Message, folder: Path) -> None:
    name, kind = tensor.text(8), tensor.integer(2)
    if kind not in _ELEMENT_BYTES:
        raise GraphError(f"the array '{clip(name)}' has elements of the type {kind}")
    size = check_count(tensor.integers(1)) * _ELEMENT_BYTES[kind]
    if tensor.integer(14) == _EXTERNAL or tensor.values(13):
        _check_external(tensor, name, size, folder)
    elif tensor.values(9):
        found = len(tensor.parts(9)[-1])
        if found != size:
            raise GraphError(f"the array '{clip(name)}' has {found} bytes, expected {size}")


def _check_external(tensor: Message, name: str, size: int, folder: Path) -> None:
    """Check that an array in another file is in one of the folder, and not beyond its end."""
    where = {entry.text(1): entry.text(2) for entry in map(Message, tensor.parts(13))}
    location = where.get("location", "")
    path = folder / location
    if (
        not location
        or location != os.path.basename(location)
        or "\\" in location
        or path.resolve().parent != folder.resolve()
    ):
        raise GraphError(f"the array '{clip(name)}' is in the file '{clip(location)}', outside of the model folder")
    if not path.is_file():
        raise GraphError(
            f"the array '{clip(name)}' is in the file '{clip(location)}', which is not in the model folder"
        )
    try:
        offset, length = int(where.get("offset", "0")), int(where.get("length", str(size)))
    except ValueError as error:
        raise GraphError(f"the array '{clip(name)}' has a place in '{clip(location)}' that is not a number") from error
    if length != size or not 0 <= offset <= path.stat().st_size - size:
        raise GraphError(
            f"the array '{clip(name)}' has {length} bytes at {offset} of '{clip(location)}', expected {size}"
        )
