"""Builds an ONNX graph: values with arithmetic operators, constants from NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["OPSET", "Graph", "Value"]

OPSET = 17  # RoiAlign with half-pixel coordinates needs 16
_IR_VERSION = 8

Operand = Union["Value", "np.ndarray[Any, Any]", np.generic, float, int]


class Value:
    """A tensor of the graph. Arithmetic with other values and with NumPy arrays adds nodes."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name

    def __add__(self, other: Operand) -> Value:
        return self.graph.op("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        return self.graph.op("Sub", self, other)

    def __mul__(self, other: Operand) -> Value:
        return self.graph.op("Mul", self, other)

    def __truediv__(self, other: Operand) -> Value:
        return self.graph.op("Div", self, other)

    def __gt__(self, other: Operand) -> Value:
        return self.graph.op("Greater", self, other)

    def __ge__(self, other: Operand) -> Value:
        return self.graph.op("GreaterOrEqual", self, other)


class Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Sequence[str | int], dtype: type[np.generic] = np.float32) -> Value:
        """Declare an input. A name in ``shape`` is a dimension of any size."""
        self._inputs.append(helper.make_tensor_value_info(name, _onnx_type(dtype), list(shape)))
        return Value(self, name)

    def output(self, name: str, value: Value, shape: Sequence[str | int], dtype: type[np.generic]) -> None:
        """Declare a value as an output with this name."""
        self._nodes.append(helper.make_node("Identity", [value.name], [name], name=name))
        self._outputs.append(helper.make_tensor_value_info(name, _onnx_type(dtype), list(shape)))

    def op(self, kind: str, *inputs: Operand | None, **attributes: Any) -> Value:
        """Add a node of ONNX's operator ``kind``, which has one output.

        Args:
            kind: Name of the operator.
            *inputs: Values or constants; None leaves an optional input out. Bare numbers become float32 scalars.
            **attributes: Attributes of the operator.
        """
        name = f"{kind}_{len(self._nodes)}"
        return self._add(kind, name, [name], inputs, attributes)[0]

    def ops(self, kind: str, *inputs: Operand | None, outputs: int, **attributes: Any) -> tuple[Value, ...]:
        """Add a node with several outputs; the rest is as for :meth:`op`."""
        name = f"{kind}_{len(self._nodes)}"
        return self._add(kind, name, [f"{name}_{i}" for i in range(outputs)], inputs, attributes)

    def _add(
        self, kind: str, name: str, outputs: list[str], inputs: Sequence[Operand | None], attributes: dict[str, Any]
    ) -> tuple[Value, ...]:
        names = ["" if value is None else self.value(value).name for value in inputs]
        self._nodes.append(helper.make_node(kind, names, outputs, name=name, **attributes))
        return tuple(Value(self, output) for output in outputs)

    def value(self, operand: Operand) -> Value:
        """Return an operand as a value. Equal constants are stored once."""
        if isinstance(operand, Value):
            return operand
        array = np.ascontiguousarray(operand, None if isinstance(operand, np.ndarray) else np.float32)
        array = array.reshape(np.shape(operand))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, name))
            self._constants[key] = Value(self, name)
        return self._constants[key]

    def shape(self, value: Value, axis: int) -> Value:
        """Return the size of an axis, int64 (1,)."""
        return self.op("Shape", value, start=axis, end=axis + 1)

    def arange(self, count: Value) -> Value:
        """Return 0 to count - 1, int64 (count,); ``count`` is int64 (1,)."""
        zero, one = np.array(0, np.int64), np.array(1, np.int64)
        return self.op("Range", zero, self.op("Squeeze", count, integers(0)), one)

    def reshape(self, value: Value, *shape: int) -> Value:
        """Reshape. 0 keeps the size of an axis, -1 takes what remains."""
        return self.op("Reshape", value, integers(*shape))

    def unsqueeze(self, value: Value, *axes: int) -> Value:
        """Insert axes of size 1."""
        return self.op("Unsqueeze", value, integers(*axes))

    def slice(self, value: Value, axis: int, start: int, end: int) -> Value:
        """Return ``start`` to ``end`` (exclusive) of one axis."""
        return self.op("Slice", value, integers(start), integers(end), integers(axis))

    def concat(self, *values: Operand, axis: int = 0) -> Value:
        """Join values along an axis."""
        return self.op("Concat", *values, axis=axis)

    def gather(self, value: Operand, index: Operand, axis: int = 0) -> Value:
        """Return the entries of an axis that ``index`` selects."""
        return self.op("Gather", value, index, axis=axis)

    def where_true(self, condition: Value) -> Value:
        """Return the indices of the true elements of a vector, int64 (count,)."""
        return self.reshape(self.op("NonZero", condition), -1)

    def cast(self, value: Value, dtype: type[np.generic]) -> Value:
        """Convert the elements."""
        return self.op("Cast", value, to=_onnx_type(dtype))

    def model(self, producer: str, version: str) -> onnx.ModelProto:
        """Return the model, checked by ONNX."""
        graph = helper.make_graph(self._nodes, producer, self._inputs, self._outputs, self._initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name=producer,
            producer_version=version,
        )
        model.ir_version = _IR_VERSION
        onnx.checker.check_model(model)
        return model


def integers(*numbers: int) -> np.ndarray[Any, Any]:
    """Return numbers in the form that ONNX needs for axes and shapes: int64 (count,)."""
    return np.array(numbers, np.int64)


def _onnx_type(dtype: type[np.generic]) -> int:
    known = {np.float32: TensorProto.FLOAT, np.int32: TensorProto.INT32, np.int64: TensorProto.INT64}
    return int(known[dtype])
