"""Paddle 3's graphs (PIR, ``model.json``).

The file is JSON with short keys: an operator has the name ``#``, attributes ``A``, inputs ``I``, outputs ``O`` and attributes
of its outputs ``OA``; ``%`` is the number of a value, ``TT`` its type; an attribute has the name ``N`` and the typed value
``AT``; ``D`` is the content of both. ``p`` is a weight.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from res2net_runtime.backends.graphs.errors import GraphError, check_count, check_known
from res2net_runtime.backends.graphs.paddle_operators import LIST_INPUTS, NUMBER_INPUTS, OPERATORS, OPTIONAL_INPUTS
from res2net_runtime.backends.graphs.paddle_params import check_params
from res2net_runtime.backends.graphs.ranges import RANGES, check_range
from res2net_runtime.texts import clip

if TYPE_CHECKING:
    from res2net_runtime.model_folder import ModelFiles

__all__ = ["check"]

_MAX_BYTES = 64_000_000
_MAX_OPERATORS = 100_000
_NO_VALUE = 0  # the number of an input that is left out

_OPTIONAL = {"struct_name": "str"}  # where in the network an operator comes from
_OUTPUT_ATTRIBUTES = ("stop_gradient", "persistable")

# Type of an element in the graph -> its number in the file of weights.
_ELEMENTS = {
    "0.t_bool": 0,
    "0.t_i16": 1,
    "0.t_i32": 2,
    "0.t_i64": 3,
    "0.t_f16": 4,
    "0.t_f32": 5,
    "0.t_f64": 6,
    "0.t_ui8": 20,
    "0.t_i8": 21,
    "0.t_bf16": 22,
}
_DTYPES = {
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "Undefined(ALL_DTYPE)",
}  # fmt: skip
_WORDS = {
    "padding_algorithm": {"EXPLICIT", "SAME", "VALID"},
    "data_format": {"NCHW", "NHWC", "NCDHW", "AnyLayout"},
    "pooling_type": {"max", "avg"},
}


def check(files: ModelFiles) -> None:
    """Check a graph and the sizes of its weights; see :func:`~res2net_runtime.backends.graphs.check_graph`."""
    size = files.model_path.stat().st_size
    if size > _MAX_BYTES:
        raise GraphError(f"it has {size} bytes; a graph has at most {_MAX_BYTES}")
    graph = _parse(files.model_path.read_bytes())
    weights = _check_program(graph)
    if files.params_path is None:
        raise GraphError("it has no file of weights")
    check_params(files.params_path, weights)


def _parse(data: bytes) -> Any:
    if re.search(rb"\\u[dD][89a-fA-F]", data):
        raise GraphError("it has a name that is not text")
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, GraphError):
            raise
        raise GraphError(f"it is not JSON ({clip(str(error), 100)}); it may be cut short") from error


def _refuse_constant(name: str) -> None:
    raise GraphError(f"it has the number {name}")


def _take(container: Any, key: str, kind: type) -> Any:
    value = container.get(key) if isinstance(container, dict) else None
    if type(value) is not kind:
        raise GraphError(f"the key '{key}' is missing somewhere, or of another type: {clip(value)}")
    return value


def _only(values: list[Any], what: str) -> Any:
    if len(values) != 1:
        raise GraphError(f"it has {len(values)} {what}, expected 1")
    return values[0]


def _check_program(graph: Any) -> dict[str, tuple[int, list[int]]]:
    """Check all operators; return type and shape of each weight."""
    base = _take(graph, "base_code", dict)
    if base.get("magic") != "pir" or type(base.get("version")) is not int or not 0 <= base["version"] < 1000:
        raise GraphError("it is not a graph of Paddle 3")
    region = _only(_take(_take(graph, "program", dict), "regions", list), "regions")
    block = _only(_take(region, "blocks", list), "blocks")
    if _take(block, "args", list):
        raise GraphError("its block has arguments")
    operators = _take(block, "ops", list)
    if len(operators) > _MAX_OPERATORS:
        raise GraphError(f"it has {len(operators)} operators; the limit is {_MAX_OPERATORS}")
    weights: dict[str, tuple[int, list[int]]] = {}
    kinds: dict[int, str] = {}  # of the values so far: t_dtensor or t_vec
    for operator in operators:
        if _take(operator, "#", str) == "p":
            _check_weight(operator, weights, kinds)
        else:
            _check_operator(operator, kinds)
    return weights


def _check_weight(operator: dict[str, Any], weights: dict[str, tuple[int, list[int]]], kinds: dict[int, str]) -> None:
    if set(operator) != {"#", "A", "DA", "O", "OA", "QA"}:
        raise GraphError("it has a weight with other keys than Paddle writes")
    arguments = _take(operator, "A", list)
    if len(arguments) != 4 or not all(type(one) is int and one in (0, 1) for one in arguments[:3]):
        raise GraphError(f"it has a weight described by {clip(arguments)}")
    name = arguments[3]
    if not isinstance(name, str) or name in weights:
        raise GraphError(f"it has two weights, or none, named '{clip(name)}'")
    output_flags = _take(operator, "OA", list)
    if len(output_flags) != 3 or not all(type(one) is int and one in (0, 1) for one in output_flags):
        raise GraphError(f"the weight '{clip(name)}' has the flags {clip(output_flags)}")
    if _take(operator, "DA", list) or _take(operator, "QA", list):
        raise GraphError(f"the weight '{clip(name)}' is distributed or quantised")
    element, shape = _check_output(_take(operator, "O", dict), kinds)
    if element is None:
        raise GraphError(f"the weight '{clip(name)}' is a list")
    check_count(shape)
    weights[name] = (_ELEMENTS[element], shape)


def _check_operator(operator: dict[str, Any], kinds: dict[int, str]) -> None:
    name = operator["#"]
    check_known(name, OPERATORS)
    inputs, outputs, attributes = OPERATORS[name]
    if set(operator) != {"#", "A", "I", "O", "OA"}:
        raise GraphError(f"the operator '{name}' has other keys than Paddle writes")
    given = _take(operator, "I", list)
    if len(given) != inputs and (inputs is not None or not given):
        raise GraphError(f"the operator '{name}' has {len(given)} inputs, expected {inputs or 'some'}")
    for position, value in enumerate(given):
        number = _take(value, "%", int)
        is_left_out = number == _NO_VALUE and position > 0 and name in OPTIONAL_INPUTS
        if set(value) != {"%"} or number not in kinds and not is_left_out:
            raise GraphError(f"the operator '{name}' uses the value {number}, which does not exist")
    made = _take(operator, "O", list)
    if len(made) != outputs and (outputs is not None or not made):
        raise GraphError(f"the operator '{name}' has {len(made)} outputs, expected {outputs or 'some'}")
    _check_lists(name, [kinds.get(value["%"], "0.t_dtensor") for value in given])
    found = _check_attributes(name, _take(operator, "A", list), attributes)
    if name == "1.assign_value_" and check_count(found["shape"]) != len(found["values"]):
        raise GraphError(
            f"the operator '{name}' has {len(found['values'])} values for the shape {clip(found['shape'])}"
        )
    for value in made:
        _check_output(value, kinds)
    for attribute in _take(operator, "OA", list):
        flags = _value(_take(attribute, "AT", dict), "bools")
        if attribute.get("N") not in _OUTPUT_ATTRIBUTES or len(flags) != len(made):
            raise GraphError(f"the operator '{name}' has a wrong attribute of its outputs")


def _check_lists(name: str, kinds: Sequence[str]) -> None:
    for position, kind in enumerate(kinds):
        may_be_list = position > 0 and name in NUMBER_INPUTS
        must_be_list = LIST_INPUTS.get(name) == position
        if (kind == "0.t_vec") != must_be_list and not may_be_list:
            raise GraphError(f"input {position} of the operator '{name}' is of another kind than it takes")


def _check_output(value: Any, kinds: dict[int, str]) -> tuple[str | None, list[int]]:
    """Check one value that an operator makes; return the type of its elements and its shape, or None if it is a list."""
    if not isinstance(value, dict) or set(value) != {"%", "TT"}:
        raise GraphError(f"an operator has an output described by {clip(value)}")
    number = _take(value, "%", int)
    if number in kinds or not 0 < number < 2**31:
        raise GraphError(f"the value {clip(number)} is made twice, or has no proper number")
    kind = _take(value["TT"], "#", str)
    kinds[number] = kind
    if kind == "0.t_vec":
        for part in _take(value["TT"], "D", list):
            _check_tensor(part)
        return None, []
    return _check_tensor(value["TT"])


def _check_tensor(described: Any) -> tuple[str, list[int]]:
    content = _take(described, "D", list)
    if described.get("#") != "0.t_dtensor" or len(content) != 5:
        raise GraphError(f"it has a value of the type {clip(described.get('#'))}")
    element, shape, layout, levels, offset = content
    if not isinstance(element, dict) or element.get("#") not in _ELEMENTS or set(element) != {"#"}:
        raise GraphError(f"it has an array of {clip(element)}")
    check_count(shape, may_be_open=True)
    if layout not in ("NCHW", "NHWC", "Undefined(AnyLayout)", "AnyLayout") or levels or offset:
        raise GraphError(f"it has an array of the layout {clip(layout)}")
    return element["#"], shape


def _check_attributes(name: str, listed: list[Any], expected: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in listed:
        key = _take(attribute, "N", str)
        kind = expected.get(key) or _OPTIONAL.get(key)
        if kind is None or key in found or set(attribute) != {"N", "AT"}:
            raise GraphError(f"the operator '{name}' has an attribute '{clip(key)}' that Paddle does not write")
        found[key] = value = _value(_take(attribute, "AT", dict), kind)
        if key in RANGES:
            check_range(name, key, value if isinstance(value, list) else [value])
        if key in _WORDS and value not in _WORDS[key]:
            raise GraphError(f"the operator '{name}' has {key} = '{clip(value)}'")
    if not expected.keys() <= found.keys():
        raise GraphError(f"the operator '{name}' lacks the attribute {', '.join(expected.keys() - found.keys())}")
    return found


def _is_float(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_i32(value: Any) -> bool:
    return type(value) is int and -(2**31) <= value < 2**31


def _is_i64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_place(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and value[0] in (0, 1) and value[1] == 0 and value[2] == ""


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_i64, value)) and check_count(value, may_be_open=True) >= 0


# Type -> Paddle's name for it, and whether a value is one.
_SCALARS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "bool": ("0.a_bool", lambda value: isinstance(value, bool)),
    "i32": ("0.a_i32", _is_i32),
    "i64": ("0.a_i64", _is_i64),
    "f32": ("0.a_f32", _is_float),
    "f64": ("0.a_f64", _is_float),
    "str": ("0.a_str", lambda value: isinstance(value, str)),
    "dtype": ("1.a_dtype", lambda value: isinstance(value, str) and value in _DTYPES),
    "place": ("1.a_place", _is_place),
    "intarray": ("1.a_intarray", _is_shape),
}
_ARRAYS = {"bools": ("bool",), "i32s": ("i32",), "i64s": ("i64",), "numbers": ("f64", "f32", "i64", "i32", "bool")}


def _value(typed: dict[str, Any], kind: str) -> Any:
    """Check a typed value of the graph, and return it as plain data."""
    if kind in _ARRAYS:
        if typed.get("#") != "0.a_array" or set(typed) != {"#", "D"}:
            raise GraphError(f"it has {clip(typed.get('#'))} where an array is expected")
        return [_value(one, _kind_of(one, _ARRAYS[kind])) for one in _take(typed, "D", list)]
    name, is_one = _SCALARS[kind]
    if typed.get("#") != name or set(typed) != {"#", "D"} or not is_one(typed["D"]):
        raise GraphError(f"it has {clip(typed.get('D'))} of the type {clip(typed.get('#'))} where {name} is expected")
    return typed["D"]


def _kind_of(typed: Any, kinds: Sequence[str]) -> str:
    """Return which of some types an element has."""
    if not isinstance(typed, dict):
        raise GraphError(f"it has {clip(typed)} in an array")
    return next((kind for kind in kinds if _SCALARS[kind][0] == typed.get("#")), kinds[0])
