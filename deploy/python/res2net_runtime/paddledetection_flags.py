"""What each flag of PaddleDetection's ``deploy/python/infer.py`` comes to in this runtime, where it is not a flag of its own.

``tests/cli/paddledetection_flags.json`` lists the flags of releases 2.0 to 2.7; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterable

from res2net_runtime.arguments import Answer, Means, Noted, Refused

__all__ = ["INFER_FLAGS", "SLICING"]

_KEYPOINTS = "It belongs to models of keypoints or actions, which this runtime does not run."
_TRACKING = Refused(
    "This runtime detects and classifies; it does not track. Feed bbox.json of --save_results to a tracker."
)
_ACTIONS = Refused(_KEYPOINTS + " Leave it out.")
_TENSORRT_SHAPES = Refused(
    "TensorRT takes the shapes from the exported network here. Leave it out; --run_mode trt_fp32 or trt_fp16 is enough."
)
_FOLDER = "--model_dir names the exported folder, which holds network and preprocessing."

# Further options of this name are those of ``views.py``.
SLICING: dict[str, Answer] = {
    "--slice_infer=true": Means(("--slice", "640,640"), yields=True),  # its size, unless --slice_size is given
    "--slice_infer=false": Means(),
    "--slice_size": Means(("--slice", "{value}")),
    "--overlap_ratio": Means(("--overlap", "{value}")),
    "--combine_method=concat": Refused(
        "Objects that several slices show would be found several times. Leave it out, or pass --combine_method nms."
    ),
}


def _all(names: Iterable[str], answer: Answer) -> dict[str, Answer]:
    return {f"--{name}": answer for name in names}


INFER_FLAGS: dict[str, Answer] = {
    # devices and engines
    "--use_gpu=true": Means(("--device", "GPU")),
    "--use_gpu=false": Means(),
    "--run_mode=fluid": Means(("--run_mode", "paddle")),
    "--run_mode=trt_int8": Refused(
        "TensorRT runs in fp32 and fp16 here (trt_fp32, trt_fp16). int8 runs on CPUs: make it with "
        "'python -m res2net_runtime.quantize', then pass --precision int8 instead of --run_mode."
    ),
    "--enable_mkldnn=true": Means(("--run_mode", "mkldnn")),
    # Whoever turns oneDNN off must not get it from 'auto'.
    "--enable_mkldnn=false": Means(("--run_mode", "paddle"), yields=True),
    "--enable_mkldnn_bfloat16=true": Means(("--run_mode", "mkldnn_bf16")),
    "--enable_mkldnn_bfloat16=false": Means(),
    "--trt_calib_mode=false": Means(),
    "--collect_trt_shape_info=false": Means(),
    "--use_dynamic_shape=false": Means(),
    **_all(
        (
            "trt_min_shape",
            "trt_max_shape",
            "trt_opt_shape",
            "trt_calib_mode",
            "use_dynamic_shape",
            "collect_trt_shape_info",
            "tuned_trt_shape_file",
        ),
        _TENSORRT_SHAPES,
    ),
    # speed
    "--run_benchmark=false": Means(),
    "--run_benchmark": Refused(
        "Leave it out, and time the command on a folder (--image_dir); docs/performance.md says how engines were measured."
    ),
    # images and results
    "--camera_id=-1": Means(),
    "--save_images=true": Means(),
    "--save_images=false": Means(("--no_pictures",)),
    "--use_coco_category": Noted("bbox.json always holds the category ids of the dataset."),
    "--scaled": Noted("Boxes are always in pixels of the original image."),
    "--task_type=detection": Means(),
    "--task_type": Refused("Results are upright boxes and masks. Leave it out."),
    # folders of other tools
    "--use_fd_format=false": Means(),
    "--use_fd_format": Refused(f"FastDeploy's folders are not read. {_FOLDER}"),
    "--infer_cfg": Refused(f"Leave it out: {_FOLDER}"),
    "--onnx_file": Refused(f"Leave it out: {_FOLDER} Add --backend onnxruntime for ONNX Runtime."),
    # tracking, keypoints, actions, small objects
    "--do_tracking=false": Means(),
    **_all(
        ("do_tracking", "save_mot_txts", "save_mot_txt_per_img", "tracker_config", "reid_model_dir", "reid_batch_size"),
        _TRACKING,
    ),
    "--use_dark": Noted(_KEYPOINTS),
    "--random_pad=false": Means(),
    **_all(("action_file", "window_size", "random_pad"), _ACTIONS),
    **SLICING,
}
