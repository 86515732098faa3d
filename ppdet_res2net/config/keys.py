"""The table of all keys of a configuration that do not name a module: their meaning and their values.

Any other key must be a registered module, or a setting that registered modules share (``__shared__``, for instance
``data_format``); else it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["CLASSIFIER", "EXPORT_KEYS", "PLAIN_KEYS", "READER_KEYS", "PlainKey", "is_classifier"]

CLASSIFIER = "Res2NetClassifier"  # the architecture of classifiers; all others are detectors


def is_classifier(config: Mapping) -> bool:
    """Return whether a configuration describes a classifier."""
    return config.get("architecture") == CLASSIFIER


class PlainKey(NamedTuple):
    """The types of a key's values, its meaning in one line, and the smallest number that makes sense."""

    types: tuple[type, ...]
    meaning: str
    minimum: int | None = None

    @property
    def expected(self) -> str:
        """Describe the types in words."""
        return " or ".join(_TYPE_NAMES[kind] for kind in self.types if kind is not int or float not in self.types)


_TYPE_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
    type(None): "null",
}


_TEXT, _COUNT, _NUMBER, _SWITCH = (str,), (int,), (float, int), (bool,)

PLAIN_KEYS: dict[str, PlainKey] = {
    # model
    "architecture": PlainKey(_TEXT, f"registered module that is the whole model: FasterRCNN, MaskRCNN or {CLASSIFIER}"),
    "num_classes": PlainKey(_COUNT, "object classes, background not counted"),
    "norm_type": PlainKey(_TEXT, "normalization of every module that sets none itself: bn, sync_bn or gn"),
    "pretrain_weights": PlainKey(
        (str, type(None)), "url, file or model name of the weights that training starts from; null: random weights"
    ),
    "weights": PlainKey(
        (str, type(None)), "url, file or model name of the weights to evaluate, export or predict with"
    ),
    # schedule
    "epoch": PlainKey(_COUNT, "training epochs", 1),
    "base_batch_size": PlainKey(
        (int, type(None)),
        "images per step (all devices, all accumulated batches) that LearningRate.base_lr is for; the rate is scaled in "
        "proportion. A file or -o that sets base_lr without it removes an inherited base_batch_size",
        1,
    ),
    "scale_lr": PlainKey(_SWITCH, "scale the learning rate by base_batch_size"),
    "accumulate_steps": PlainKey(_COUNT, "batches whose gradients are averaged into one step", 1),
    "snapshot_epoch": PlainKey(_COUNT, "epochs between two checkpoints, and between two evaluations while training", 1),
    "snapshot_steps": PlainKey(
        (int, type(None)), "steps between two saves of the checkpoint 'last' within an epoch; null: none", 1
    ),
    "keep_checkpoints": PlainKey((int, type(None)), "number of epoch checkpoints to keep, newest first; null: all", 1),
    "early_stop_patience": PlainKey(
        (int, type(None)), "number of evaluations without a better score that ends training; null: never", 1
    ),
    "max_nonfinite_steps": PlainKey(
        _COUNT, "number of steps to skip because their loss or gradient is not finite, before training stops", 0
    ),
    "recompute_backbone": PlainKey(
        _SWITCH,
        "keep only the input of the backbone's blocks and compute the rest again in the backward pass: less memory",
    ),
    "seed": PlainKey(
        _COUNT, "chooses all random numbers of training: initial weights, order, augmentation, sampling", 0
    ),
    "log_iter": PlainKey(_COUNT, "iterations between two lines of the log", 1),
    "save_dir": PlainKey(_TEXT, "folder for all runs; each has a subfolder with the name of its configuration file"),
    "find_unused_parameters": PlainKey(_SWITCH, "distributed training: allow parameters that get no gradient"),
    # exponential moving average of the weights
    "use_ema": PlainKey(_SWITCH, "average the weights over the steps, and evaluate and save the average"),
    "ema_decay": PlainKey(_NUMBER, "decay of the moving average"),
    "ema_decay_type": PlainKey(_TEXT, "how the decay grows: threshold, normal or exponential"),
    "cycle_epoch": PlainKey(_COUNT, "epochs after which the moving average starts again; -1: never"),
    "ema_black_list": PlainKey((list, type(None)), "names of weights that are not averaged"),
    "ema_filter_no_grad": PlainKey(_SWITCH, "do not average weights that are not trained"),
    # mixed precision
    "amp": PlainKey(_SWITCH, "mixed precision; needs a GPU"),
    "amp_level": PlainKey(_TEXT, "mixed precision level: O1"),
    "amp_dtype": PlainKey(_TEXT, "type of mixed precision: float16 (default) or bfloat16"),
    "init_loss_scaling": PlainKey(_NUMBER, "loss scale at the start, in mixed precision"),
    "custom_white_list": PlainKey((list, type(None)), "operators that always run in low precision"),
    "custom_black_list": PlainKey((list, type(None)), "operators that never run in low precision"),
    # data and metric
    "worker_num": PlainKey(_COUNT, "processes that read and transform images; 0: the main process", 0),
    "worker_time_limit_s": PlainKey(
        _NUMBER, "seconds that such a process may take for a batch before training stops and shows its stack (300)", 1
    ),
    "metric": PlainKey(_TEXT, "evaluation protocol: COCO"),
    "classwise": PlainKey(_SWITCH, "also report AP per class"),
    "output_eval": PlainKey((str, type(None)), "folder to write the detections of an evaluation to, as COCO JSON"),
    "save_prediction_only": PlainKey(_SWITCH, "write the detections without computing AP"),
    # device
    "use_gpu": PlainKey(_SWITCH, "run on a GPU if there is one and Paddle is built for it"),
    "cpu_threads": PlainKey(
        (int, type(None)),
        "threads that compute on a CPU; null: as the environment variable OMP_NUM_THREADS says, else one per core",
        1,
    ),
    "use_xpu": PlainKey(_SWITCH, "run on a Kunlun XPU"),
    "use_npu": PlainKey(_SWITCH, "run on an Ascend NPU"),
    "use_mlu": PlainKey(_SWITCH, "run on a Cambricon MLU"),
    # reports
    "print_flops": PlainKey(_SWITCH, "log the number of operations of the model"),
    "print_params": PlainKey(_SWITCH, "log the number of parameters of the model when training starts"),
    "use_vdl": PlainKey(_SWITCH, "write curves for VisualDL"),
    "vdl_log_dir": PlainKey(_TEXT, "folder for the curves"),
    # export
    "export": PlainKey((dict,), "what an exported graph contains; see EXPORT_KEYS"),
    # classification
    "label_smoothing": PlainKey(_NUMBER, "share of a label that is spread evenly over all classes", 0),
}

EXPORT_KEYS: dict[str, PlainKey] = {
    "post_process": PlainKey(_SWITCH, "the graph decodes boxes"),
    "nms": PlainKey(_SWITCH, "the graph removes overlapping boxes"),
    "benchmark": PlainKey(_SWITCH, "the graph does neither of the two; it only measures speed"),
    "fuse_conv_bn": PlainKey(_SWITCH, "fold normalization into the convolutions"),
}

# ppdet's readers accept any keyword (**kwargs), so a misspelt one would silently change nothing. This table prevents that.
READER_KEYS: dict[str, PlainKey] = {
    "sample_transforms": PlainKey((list,), "transforms of one image"),
    "batch_transforms": PlainKey((list,), "transforms of a batch"),
    "batch_size": PlainKey(_COUNT, "images per batch and device", 1),
    "shuffle": PlainKey(_SWITCH, "random order"),
    "drop_last": PlainKey(_SWITCH, "leave out an incomplete last batch"),
    "drop_empty": PlainKey(_SWITCH, "leave out images without objects"),
    "num_classes": PlainKey(_COUNT, "object classes, if different from the setting of the whole configuration"),
    "collate_batch": PlainKey(_SWITCH, "stack the targets of a batch into arrays"),
    "use_shared_memory": PlainKey(_SWITCH, "workers hand over batches in shared memory"),
    "inputs_def": PlainKey((dict,), "input shape of the exported graph (image_shape)"),
    "fuse_normalize": PlainKey(_SWITCH, "the exported graph normalizes images itself"),
    "mixup_epoch": PlainKey(_COUNT, "epochs with Mixup"),
    "cutmix_epoch": PlainKey(_COUNT, "epochs with Cutmix"),
    "mosaic_epoch": PlainKey(_COUNT, "epochs with Mosaic"),
    "pre_img_epoch": PlainKey(_COUNT, "epochs in which the previous frame is read too"),
}
