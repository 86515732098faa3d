"""The operators in the graphs that Paddle 3.3.1 exports: their inputs, outputs and attributes."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LIST_INPUTS", "NUMBER_INPUTS", "OPERATORS"]

# Operator -> number of inputs, number of outputs (None: any), and the type of each attribute.
OPERATORS: Mapping[str, tuple[int | None, int | None, Mapping[str, str]]] = {
    "0.combine": (None, 1, {}),
    "0.split": (1, None, {}),
    "1.add": (2, 1, {}),
    "1.all": (1, 1, {"axis": "i64s", "keepdim": "bool"}),
    "1.arange": (3, 1, {"dtype": "dtype", "place": "place"}),
    "1.argsort": (1, 2, {"axis": "i32", "descending": "bool", "stable": "bool"}),
    "1.assign_value_": (1, 1, {"shape": "i32s", "dtype": "dtype", "values": "numbers", "place": "place"}),
    "1.batch_norm_": (
        5,
        6,
        {
            "is_test": "bool",
            "momentum": "f32",
            "epsilon": "f32",
            "data_format": "str",
            "use_global_stats": "bool",
            "trainable_statistics": "bool",
        },
    ),
    "1.bmm": (2, 1, {}),
    "1.cast": (1, 1, {"dtype": "dtype"}),
    "1.clip": (3, 1, {}),
    "1.concat": (2, 1, {}),
    "1.conv2d": (
        2,
        1,
        {
            "strides": "i32s",
            "paddings": "i32s",
            "padding_algorithm": "str",
            "dilations": "i32s",
            "groups": "i32",
            "data_format": "str",
        },
    ),
    "1.conv2d_transpose": (
        3,
        1,
        {
            "strides": "i32s",
            "paddings": "i32s",
            "output_padding": "i32s",
            "padding_algorithm": "str",
            "groups": "i32",
            "dilations": "i32s",
            "data_format": "str",
        },
    ),
    "1.cumsum": (2, 1, {"flatten": "bool", "exclusive": "bool", "reverse": "bool"}),
    "1.data": (0, 1, {"name": "str", "shape": "intarray", "dtype": "dtype", "place": "place"}),
    "1.deformable_conv": (
        4,
        1,
        {
            "strides": "i32s",
            "paddings": "i32s",
            "dilations": "i32s",
            "deformable_groups": "i32",
            "groups": "i32",
            "im2col_step": "i32",
        },
    ),
    "1.distribute_fpn_proposals": (
        2,
        3,
        {
            "min_level": "i32",
            "max_level": "i32",
            "refer_level": "i32",
            "refer_scale": "i32",
            "pixel_offset": "bool",
        },
    ),
    "1.divide": (2, 1, {}),
    "1.equal": (2, 1, {}),
    "1.exp": (1, 1, {}),
    "1.expand": (2, 1, {}),
    "1.fetch": (1, 1, {"name": "str", "col": "i32"}),
    "1.flatten": (1, 1, {"start_axis": "i32", "stop_axis": "i32"}),
    "1.flip": (1, 1, {"axis": "i32s"}),
    "1.floor": (1, 1, {}),
    "1.full": (0, 1, {"shape": "intarray", "value": "f64", "dtype": "dtype", "place": "place"}),
    "1.full_int_array": (0, 1, {"value": "i64s", "dtype": "dtype", "place": "place"}),
    "1.full_like": (2, 1, {"dtype": "dtype", "place": "place"}),
    "1.gather": (3, 1, {}),
    "1.generate_proposals": (
        5,
        3,
        {
            "pre_nms_top_n": "i32",
            "post_nms_top_n": "i32",
            "nms_thresh": "f32",
            "min_size": "f32",
            "eta": "f32",
            "pixel_offset": "bool",
        },
    ),
    "1.greater_equal": (2, 1, {}),
    "1.greater_than": (2, 1, {}),
    "1.group_norm": (3, 3, {"epsilon": "f64", "groups": "i32", "data_format": "str"}),
    "1.less_than": (2, 1, {}),
    "1.matmul": (2, 1, {"transpose_x": "bool", "transpose_y": "bool"}),
    "1.maximum": (2, 1, {}),
    "1.mean": (2, 1, {"keepdim": "bool"}),
    "1.meshgrid": (1, 1, {}),
    "1.minimum": (2, 1, {}),
    "1.multiclass_nms3": (
        3,
        3,
        {
            "score_threshold": "f32",
            "nms_top_k": "i32",
            "keep_top_k": "i32",
            "nms_threshold": "f32",
            "normalized": "bool",
            "nms_eta": "f32",
            "background_label": "i32",
        },
    ),
    "1.multiply": (2, 1, {}),
    "1.nonzero": (1, 1, {}),
    "1.pool2d": (
        2,
        1,
        {
            "strides": "i64s",
            "paddings": "i64s",
            "ceil_mode": "bool",
            "exclusive": "bool",
            "data_format": "str",
            "pooling_type": "str",
            "global_pooling": "bool",
            "adaptive": "bool",
            "padding_algorithm": "str",
        },
    ),
    "1.relu": (1, 1, {}),
    "1.reshape": (2, 1, {}),
    "1.roi_align": (
        3,
        1,
        {
            "pooled_height": "i32",
            "pooled_width": "i32",
            "spatial_scale": "f32",
            "sampling_ratio": "i32",
            "aligned": "bool",
        },
    ),
    "1.scale": (2, 1, {"bias": "f32", "bias_after_scale": "bool"}),
    "1.shape64": (1, 1, {}),
    "1.sigmoid": (1, 1, {}),
    "1.slice": (3, 1, {"axes": "i64s", "infer_flags": "i64s", "decrease_axis": "i64s"}),
    "1.softmax": (1, 1, {"axis": "i32"}),
    "1.split": (3, 1, {}),
    "1.split_with_num": (2, 1, {"num": "i32"}),
    "1.squeeze": (2, 1, {}),
    "1.stack": (1, 1, {"axis": "i32"}),
    "1.strided_slice": (4, 1, {"axes": "i32s"}),
    "1.subtract": (2, 1, {}),
    "1.sum": (2, 1, {"dtype": "dtype", "keepdim": "bool"}),
    "1.tile": (2, 1, {}),
    "1.unsqueeze": (2, 1, {}),
}

# Operator -> the input that is a list of arrays; all others are arrays.
LIST_INPUTS = {"0.split": 0, "1.concat": 0, "1.stack": 0, "1.meshgrid": 0}
# Operators whose later inputs, an index or a shape, may also be lists of numbers that were computed one by one.
NUMBER_INPUTS = frozenset(
    {"1.reshape", "1.slice", "1.strided_slice", "1.expand", "1.tile", "1.split", "1.unsqueeze", "1.squeeze"}
)
