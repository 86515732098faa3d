"""What each flag of PaddleDetection's tools comes to here, where it is not a flag of the command itself.

``tests/cli/paddledetection_flags.json`` lists the flags of releases 2.0 to 2.7; a test compares.
``deploy/python/infer.py`` has its own table, in ``res2net_runtime/paddledetection_flags.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

from res2net_runtime.arguments import Answer, Means, Noted, Refused
from res2net_runtime.paddledetection_flags import INFER_FLAGS, SLICING

__all__ = ["FLAGS_OF_COMMAND"]

_SLIM = Refused(
    "Pruning, distillation and quantization-aware training are not offered. For a smaller and faster network, export it "
    "with --format onnx and make int8 of it with 'python -m res2net_runtime.quantize'."
)
_PROPOSALS = Refused("It belongs to SNIPER, which is not offered. Leave it out.")
_OF_EXPORTS = Refused("It is a flag of deploy/python/infer.py, which runs exported networks. Leave it out here.")
# What people pass to every tool: settings of the recipe, and flags of deploy/python/infer.py.
_COMMON: dict[str, Answer] = {
    **{flag.partition("=")[0]: _OF_EXPORTS for flag in INFER_FLAGS},
    "--slim_config": _SLIM,
    "--use_gpu": Means(("-o", "use_gpu={value}")),
}

_NAMES_OF_SLICING = {flag.partition("=")[0] for flag in SLICING}
# For commands that search images, in slices too.
_COMMON_WITH_SLICING = {**{flag: one for flag, one in _COMMON.items() if flag not in _NAMES_OF_SLICING}, **SLICING}

FLAGS_OF_COMMAND: Mapping[str, Mapping[str, Answer]] = {
    "train": {
        **_COMMON,
        "--gpus": Refused(
            "It comes before the script: 'python -m paddle.distributed.launch --gpus 0,1 tools/train.py -c CFG'. For one GPU, "
            "set CUDA_VISIBLE_DEVICES=0."
        ),
        "--fp16=true": Means(("--amp",)),
        "--fp16=false": Means(),
        "--enable_ce=false": Means(),
        "--enable_ce": Noted("Training always follows the recipe's seed, so it gives the same result each time."),
        "--fleet=false": Means(),
        "--fleet": Noted("Processes started by paddle.distributed.launch always average their gradients."),
        "--use_wandb=false": Means(),
        "--use_wandb": Means(("-o", "use_wandb=true")),
        "--to_static=false": Means(),
        "--to_static": Refused("Training runs without a static graph. Leave it out; export_model.py makes the graph."),
        "--profiler_options": Refused(
            "Leave it out; metrics.jsonl of the run's folder has seconds and memory of the steps."
        ),
        "--save_prediction_only=false": Means(),
        "--save_prediction_only": Refused("Train without it, then run eval.py with --output_eval DIR."),
        "--save_proposals=false": Means(),
        "--save_proposals": _PROPOSALS,
        "--proposals_path": _PROPOSALS,
    },
    "eval": {
        **_COMMON_WITH_SLICING,
        "--json_eval=false": Means(),
        "--json_eval": Refused(
            "Figures are computed from the model each time. bbox.json and mask.json of --output_eval are COCO results, "
            "which pycocotools' COCOeval scores."
        ),
        "--bias=false": Means(),
        "--bias": Refused("Boxes are written without an extra pixel, as COCO counts them. Leave it out."),
        "--save_prediction_only=false": Means(),
        "--save_prediction_only": Refused(
            "--output_eval DIR writes the detections beside computing AP. For images without annotations, use infer.py "
            "with --save_results."
        ),
        "--amp=false": Means(),
        "--amp": Refused("Evaluate an export in low precision instead: --exported DIR --precision bf16."),
    },
    "infer": {
        **_COMMON_WITH_SLICING,
        "--save_threshold": Refused("--save_results writes every detection with its score; filter them by 'score'."),
        "--save_txt=false": Means(),
        "--save_txt": Refused("--save_results writes bbox.json, and mask.json if there are masks."),
        "--do_eval=false": Means(),
        "--do_eval": Refused("Run eval.py, with the images as the recipe's EvalDataset."),
        "--rtn_im_file": Noted("Results always contain the name of the image file."),
        "--visualize=true": Means(),
        "--visualize=false": Means(("--no_pictures",)),
        "--use_vdl=false": Means(),
        "--use_vdl": Refused("The pictures are files in --output_dir. Leave it out."),
        "--vdl_log_dir": Refused("The pictures are files in --output_dir. Leave it out."),
    },
    "export": {
        **_COMMON,
        "--export_serving_model=false": Means(),
        "--export_serving_model": Refused(
            "The exported folder is run by deploy/python/infer.py or 'python -m res2net_runtime'; a folder for Paddle "
            "Serving is not written."
        ),
        "--for_fd=false": Means(),
        "--for_fd": Refused(
            "It renames the files for FastDeploy and PaddleX. --format paddledetection writes PaddleDetection's usual form."
        ),
    },
}
