"""Paddle 2's graphs (``ProgramDesc`` of Paddle's framework.proto, ``model.pdmodel``). Paddle 3 reads them, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from res2net_runtime.backends.graphs.errors import GraphError, check_count, check_known
from res2net_runtime.backends.graphs.paddle_params import ELEMENT_BYTES, check_params
from res2net_runtime.backends.graphs.ranges import check_range
from res2net_runtime.backends.graphs.wire import Message, text
from res2net_runtime.texts import clip

if TYPE_CHECKING:
    from res2net_runtime.model_folder import ModelFiles

__all__ = ["OPERATORS", "check"]

_MAX_BYTES = 64_000_000

# As Paddle 2.6.2 exports them, and others that only compute.
OPERATORS = frozenset(
    """
    abs arg_max argsort assign_value batch_norm bicubic_interp_v2 bilinear_interp_v2 bmm brelu cast celu clip concat conv2d
    conv2d_transpose cos cumsum deformable_conv depthwise_conv2d distribute_fpn_proposals elementwise_add elementwise_div
    elementwise_max elementwise_min elementwise_mul elementwise_sub elu equal erf exp expand_v2 feed fetch fill_any_like
    fill_constant flatten_contiguous_range flip floor gather gelu generate_proposals_v2 greater_equal greater_than group_norm
    hard_shrink hard_sigmoid hard_swish instance_norm layer_norm leaky_relu less_than log log_softmax logsigmoid logsumexp
    matmul_v2 meshgrid mish multiclass_nms3 nearest_interp_v2 p_norm pad3d pixel_shuffle pool2d pow prelu range reduce_all
    reduce_max reduce_mean reduce_min reduce_prod reduce_sum relu relu6 reshape2 roi_align rsqrt scale selu shape sigmoid sign
    silu sin size slice softmax softplus softshrink softsign split sqrt square squeeze2 stack strided_slice swish tanh
    tanh_shrink thresholded_relu tile top_k_v2 transpose2 unsqueeze2 where where_index
    """.split()
)
# Kinds of variables (VarType): arrays, and the lists of what is fed and fetched.
_ARRAY, _FEED, _FETCH = 7, 9, 10
# Kinds of attributes (AttrType) -> the field that holds the value. Blocks, which are programs inside an operator, are left out.
_ATTRIBUTES = {
    0: 3,
    1: 4,
    2: 5,
    3: 6,
    4: 7,
    5: 8,
    6: 10,
    7: 11,
    9: 13,
    11: 15,
    12: 16,
    13: 17,
    14: 18,
    15: 19,
    16: 20,
    17: 21,
}
_INTEGERS = (0, 3, 9, 11)


def check(files: ModelFiles) -> None:
    """Check a graph and the sizes of its weights; see :func:`~res2net_runtime.backends.graphs.check_graph`."""
    size = files.model_path.stat().st_size
    if size > _MAX_BYTES:
        raise GraphError(f"it has {size} bytes; a graph has at most {_MAX_BYTES}")
    blocks = Message(memoryview(files.model_path.read_bytes())).parts(1)
    if len(blocks) != 1:
        raise GraphError(f"it has {len(blocks)} blocks, expected 1")
    block = Message(blocks[0])
    if block.integer(1) != 0:
        raise GraphError("its block is not the first one")
    variables = _variables(block)
    for data in block.parts(4):
        _check_operator(Message(data), variables)
    if files.params_path is None:
        raise GraphError("it has no file of weights")
    check_params(files.params_path, {name: found for name, found in variables.items() if found is not None})


def _variables(block: Message) -> dict[str, tuple[int, list[int]] | None]:
    """Return the names of all variables, with type and shape of those that are weights."""
    found: dict[str, tuple[int, list[int]] | None] = {}
    for data in block.parts(3):
        variable = Message(data)
        name = variable.text(1)
        if not name or name in found:
            raise GraphError(f"it has two variables, or none, named '{clip(name)}'")
        kinds = variable.parts(2)
        kind = Message(kinds[-1]) if kinds else None
        if kind is None or kind.integer(1, -1) not in (_ARRAY, _FEED, _FETCH):
            raise GraphError(f"the variable '{clip(name)}' is not an array")
        found[name] = None
        if kind.integer(1) != _ARRAY:
            if name not in ("feed", "fetch"):
                raise GraphError(f"the variable '{clip(name)}' is a list of what is fed or fetched")
            continue
        is_weight = bool(variable.integer(3))
        described = Message(kind.parts(3)[-1]).parts(1) if kind.parts(3) else []
        if not described:
            raise GraphError(f"the array '{clip(name)}' has no type")
        tensor = Message(described[-1])
        element, shape = tensor.integer(1, -1), tensor.integers(2)
        if element not in ELEMENT_BYTES:
            raise GraphError(f"the array '{clip(name)}' has elements of the type {element}")
        check_count(shape, may_be_open=not is_weight)
        if is_weight:
            found[name] = (element, shape)
    return found


def _check_operator(operator: Message, variables: Mapping[str, object]) -> None:
    name = operator.text(3)
    check_known(name, OPERATORS)
    for field in (1, 2):
        for data in operator.parts(field):
            slot = Message(data)
            for argument in map(text, slot.parts(2)):
                if argument not in variables:
                    raise GraphError(
                        f"the operator '{name}' uses the variable '{clip(argument)}', which does not exist"
                    )
    seen = set()
    for data in operator.parts(4):
        attribute = Message(data)
        key, kind = attribute.text(1), attribute.integer(2, -1)
        if kind not in _ATTRIBUTES or key in seen or not attribute.numbers() <= {1, 2, _ATTRIBUTES[kind]}:
            raise GraphError(f"the operator '{name}' has an attribute '{clip(key)}' of another kind than Paddle writes")
        seen.add(key)
        if kind in _INTEGERS:
            check_range(name, key, attribute.integers(_ATTRIBUTES[kind]))
