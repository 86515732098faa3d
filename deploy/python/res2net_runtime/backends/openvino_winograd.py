"""Winograd's algorithm F(4x4, 3x3) in place of a detector's large 3x3 convolutions, written with OpenVINO's operators.

OpenVINO's kernels compute these convolutions directly. Winograd's algorithm needs a quarter of the multiplications, and
some for its transformations. The matrices are those of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
(2016).

Maps are cut into blocks that overlap by two pixels, of the shape ``(images, rows in a block, blocks below each other, columns
in a block, blocks beside each other x channels)``. All transformations are then matrix products over the second or the fourth
axis, and nothing needs to be transposed in between. A region of the mask head is one block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import openvino
    from openvino import Node, Output

__all__ = ["rewrite_convolutions"]

_TILE_PX = 4  # outputs of one tile, in each direction
_POINTS = _TILE_PX + 2
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float64) / 24
_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64)

_BLOCK_PX = 8  # outputs of one block of a map: the large maps of a pyramid are mostly cut without a remainder
_CHANNELS = 256  # of FPN, the RPN and the mask head; other numbers were not measured
_REGION_SIDES_PX = range(9, 29)  # the matrices of whole regions grow with their area


def rewrite_convolutions(network: openvino.Model, least_side_px: int) -> int:
    """Replace the convolutions for which Winograd's algorithm was measured to be faster. Only shapes decide.

    These are 3x3 convolutions of stride 1 with 256 input and output channels that keep the size: on square regions of a fixed
    side of 9 to 28 pixels (the mask head), and on maps of at least an eighth of the image's size (FPN and the RPN). Smaller
    maps gained little or nothing.

    Args:
        network: A model in float32 with its images' sides bounded from below. It is changed in place; sizes stay dynamic.
        least_side_px: That bound. It tells a map's stride.

    Returns:
        How many convolutions were replaced.
    """
    channels_last: dict[Output, Output] = {}  # by the channels-first tensor of the same values

    def choose(node: Node) -> Callable[[Node, dict[Output, Output]], None] | None:
        if node.get_type_name() != "Convolution" or not _is_3x3(node):
            return None
        sides = list(node.input(0).get_partial_shape())[2:]
        if all(side.is_static for side in sides):
            is_region = sides[0] == sides[1] and sides[0].get_length() in _REGION_SIDES_PX
            return _convolve_regions if is_region else None
        is_large = all(side.is_dynamic and side.get_min_length() * 8 >= least_side_px for side in sides)
        return _convolve_map if is_large else None

    # All choices come first, because replaced maps have no lower bounds.
    chosen = [(node, convolve) for node in network.get_ordered_ops() if (convolve := choose(node))]
    for node, convolve in chosen:
        convolve(node, channels_last)
    return len(chosen)


def _convolve_regions(convolution: Node, channels_last: dict[Output, Output]) -> None:
    from openvino import opset13 as ops

    source = convolution.input_value(0)
    side_px = convolution.input(0).get_partial_shape()[2].get_length()
    regions_last = channels_last.get(source) or ops.transpose(source, _integers(2, 3, 0, 1)).output(0)
    block = ops.reshape(regions_last, _integers(1, side_px, 1, side_px, -1), False)
    result, end = _convolve_blocks(block, convolution, _block_matrices(side_px, knows_border=True))
    result = ops.reshape(result, _integers(side_px, side_px, -1, _CHANNELS), False)
    channels_first = ops.transpose(result, _integers(2, 3, 0, 1)).output(0)
    channels_last[channels_first] = result.output(0)
    end.output(0).replace(channels_first)


def _convolve_map(convolution: Node, channels_last: dict[Output, Output]) -> None:
    from openvino import opset13 as ops

    source = convolution.input_value(0)
    size = ops.shape_of(source, "i64")
    count, height, width = (ops.gather(size, _integers(axis), _integers(0)) for axis in (0, 2, 3))
    rows, row_indices, row_padding = _plan_blocks(height)
    columns, column_indices, column_padding = _plan_blocks(width)
    map_last = channels_last.get(source) or ops.transpose(source, _integers(0, 2, 3, 1)).output(0)
    # Three dimensions: for four, OpenVINO chooses a layout meant for channels first, in which padding is slow.
    flat = ops.reshape(map_last, _join(count, height, _times(width, _CHANNELS)), False)
    end_padding = _join(0, row_padding, _times(column_padding, _CHANNELS))
    flat = ops.pad(flat, _integers(0, 1, _CHANNELS), end_padding, "constant", _floats(0))
    windows = ops.gather(flat, row_indices, _integers(1))
    window_px = _BLOCK_PX + 2
    windows = ops.reshape(windows, _join(count, _times(rows, window_px), -1, _CHANNELS), False)
    windows = ops.gather(windows, column_indices, _integers(2))
    windows = ops.reshape(windows, _join(count, window_px, rows, window_px, -1), False)
    result, end = _convolve_blocks(windows, convolution, _block_matrices(_BLOCK_PX, knows_border=False))

    def place(blocks: Node, depth: int) -> Node:
        blocks = ops.reshape(blocks, _join(count, _BLOCK_PX, rows, _BLOCK_PX, columns, depth), False)
        blocks = ops.transpose(blocks, _integers(0, 2, 1, 4, 3, 5))
        whole = _join(count, _times(rows, _BLOCK_PX), _times(columns, _BLOCK_PX), depth)
        placed = ops.reshape(blocks, whole, False)
        return ops.slice(placed, _integers(0, 0), _join(height, width), _integers(1, 1), _integers(1, 2))

    # The RPN reads its hidden map with 1x1 convolutions only. Computed in blocks, they spare it the way back to a map.
    for user in _users(end):
        if user.get_type_name() == "ShapeOf":
            known = ops.convert(_join(count, _CHANNELS, height, width), user.get_output_element_type(0))
            user.output(0).replace(known.output(0))
        elif _is_1x1(user):
            kernels = user.input_value(1).get_node().data
            small = ops.matmul(result, _floats(kernels.reshape(len(kernels), -1).T), False, False)
            small = ops.transpose(place(small, len(kernels)), _integers(0, 3, 1, 2))
            user.output(0).replace(small.output(0))
    result = place(result, _CHANNELS)
    channels_first = ops.transpose(result, _integers(0, 3, 1, 2))
    # OpenVINO's RoiAlign reads this layout ten times as slowly. A convolution that changes nothing restores its favourite.
    ones = _floats(np.ones((_CHANNELS, 1, 1, 1, 1)))
    channels_first = ops.group_convolution(channels_first, ones, [1, 1], [0, 0], [0, 0], [1, 1]).output(0)
    channels_last[channels_first] = result.output(0)
    end.output(0).replace(channels_first)


def _plan_blocks(length: Output) -> tuple[Node, Node, Node]:
    """Return the number of blocks along a side, the padded map's pixels that they read, and the padding at its end."""
    from openvino import opset13 as ops

    count = ops.divide(ops.add(length, _integers(_BLOCK_PX - 1)), _integers(_BLOCK_PX))
    padding = ops.subtract(_times(count, _BLOCK_PX), ops.subtract(length, _integers(1)))
    zero, one = (ops.constant(np.array(value, np.int64)) for value in (0, 1))
    starts = _times(ops.range(zero, ops.squeeze(count, _integers(0)), one, "i64"), _BLOCK_PX)
    offsets = ops.constant(np.arange(_BLOCK_PX + 2, dtype=np.int64)[:, None])
    return count, ops.reshape(ops.add(offsets, starts), _integers(-1), False), padding


def _block_matrices(size_px: int, *, knows_border: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return what takes a row of a block to the points of its tiles, and what takes these to the outputs.

    Args:
        size_px: Outputs in a row.
        knows_border: Whether the row lacks the pixels before its first and after its last output, because they are zero.
    """
    tiles = -(-size_px // _TILE_PX)
    window_px = size_px if knows_border else size_px + 2
    forward = np.zeros((_POINTS, tiles, window_px))
    inverse = np.zeros((size_px, _POINTS, tiles))
    for tile in range(tiles):
        start = tile * _TILE_PX
        for point in range(_POINTS):
            pixel = start + point - knows_border
            if 0 <= pixel < window_px:
                forward[:, tile, pixel] = _INPUT[:, point]
        outputs = min(_TILE_PX, size_px - start)
        inverse[start : start + outputs, :, tile] = _OUTPUT[:outputs]
    return forward.reshape(-1, window_px), inverse.reshape(size_px, -1)


def _convolve_blocks(blocks: Node, convolution: Node, matrices: tuple[np.ndarray, np.ndarray]) -> tuple[Node, Node]:
    """Return the blocks of the convolution's result, and the last node whose work they contain (its bias or ReLU)."""
    from openvino import opset13 as ops

    forward, inverse = matrices
    side_px, points = inverse.shape
    window_px, tiles = forward.shape[1], points // _POINTS
    weights = convolution.input_value(1).get_node().data.astype(np.float64)
    weights = np.einsum("ia,jb,kcab->ijck", _KERNEL, _KERNEL, weights)
    size = ops.shape_of(blocks, "i64")
    count, below, lanes = (ops.gather(size, _integers(axis), _integers(0)) for axis in (0, 2, 4))
    x = ops.reshape(blocks, _join(count, window_px, -1), False)
    x = ops.matmul(_floats(forward[None]), x, False, False)
    x = ops.reshape(x, _join(_times(_times(count, points), below), window_px, lanes), False)
    x = ops.matmul(_floats(forward[None]), x, False, False)
    per_row = ops.divide(_times(lanes, tiles), _integers(_CHANNELS))
    x = ops.reshape(x, _join(count, _POINTS, _times(below, tiles), _POINTS, per_row, _CHANNELS), False)
    x = ops.matmul(x, _floats(weights[None, :, None]), False, False)
    x = ops.reshape(x, _join(_times(_times(count, points), below), points, lanes), False)
    x = ops.matmul(_floats(inverse[None]), x, False, False)
    x = ops.reshape(x, _join(count, points, _times(_times(below, side_px), lanes)), False)
    x = ops.matmul(_floats(inverse[None]), x, False, False)
    beside = ops.divide(lanes, _integers(_CHANNELS))
    x = ops.reshape(x, _join(count, side_px, below, side_px, beside, _CHANNELS), False)
    end = convolution
    bias = _find_bias(convolution)
    if bias is not None:
        x, end = ops.add(x, _floats(bias)), _users(end)[0]
    if [user.get_type_name() for user in _users(end)] == ["Relu"]:
        x, end = ops.relu(x), _users(end)[0]
    return x, end


def _find_bias(convolution: Node) -> np.ndarray | None:
    users = _users(convolution)
    if [user.get_type_name() for user in users] != ["Add"]:
        return None
    constant = users[0].input_value(1).get_node()
    is_bias = constant.get_type_name() == "Constant" and list(constant.shape) == [1, _CHANNELS, 1, 1]
    return constant.data.reshape(-1) if is_bias else None


def _is_3x3(convolution: Node) -> bool:
    weights = convolution.input_value(1).get_node()
    attributes = convolution.get_attributes()
    return (
        weights.get_type_name() == "Constant"
        and list(weights.shape) == [_CHANNELS, _CHANNELS, 3, 3]
        and all(list(attributes[name]) == [1, 1] for name in ("strides", "dilations", "pads_begin", "pads_end"))
    )


def _is_1x1(node: Node) -> bool:
    if node.get_type_name() != "Convolution":
        return False
    weights = node.input_value(1).get_node()
    attributes = node.get_attributes()
    return (
        weights.get_type_name() == "Constant"
        and list(weights.shape)[1:] == [_CHANNELS, 1, 1]
        and list(attributes["strides"]) == [1, 1]
        and not any([*attributes["pads_begin"], *attributes["pads_end"]])
    )


def _users(node: Node) -> list[Node]:
    return [target.get_node() for target in node.output(0).get_target_inputs()]


def _integers(*values: int) -> Node:
    from openvino import opset13 as ops

    return ops.constant(np.array(values, np.int64))


def _floats(values: np.ndarray | float) -> Node:
    from openvino import opset13 as ops

    return ops.constant(np.asarray(values, np.float32))


def _times(value: Node, factor: int | Node) -> Node:
    from openvino import opset13 as ops

    return ops.multiply(value, _integers(factor) if isinstance(factor, int) else factor)


def _join(*parts: int | Node) -> Node:
    from openvino import opset13 as ops

    return ops.concat([_integers(part) if isinstance(part, int) else part for part in parts], 0)
