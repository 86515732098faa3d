"""The table of all keys of a configuration that do not name a module: their meaning and their values.

Any other key must be a registered module, or a setting that registered modules share (``__shared__``, for instance
``data_format``); else it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from ppdet_res2net.config.interval import Interval
from ppdet_res2net.config.kinds import Kind, ListOf, MappingOf, Number, PlainMapping, Switch, Text, Whole, nullable

__all__ = ["CLASSIFIER", "EXPORT_KEYS", "PLAIN_KEYS", "READER_KEYS", "is_classifier"]

CLASSIFIER = "Res2NetClassifier"  # the architecture of classifiers; all others are detectors


def is_classifier(config: Mapping) -> bool:
    """Return whether a configuration describes a classifier."""
    return config.get("architecture") == CLASSIFIER


_MOST_EPOCHS = 100_000

EXPORT_KEYS: dict[str, Kind] = {
    "post_process": Switch(meaning="the graph decodes boxes"),
    "nms": Switch(meaning="the graph removes overlapping boxes"),
    "benchmark": Switch(meaning="the graph does neither of the two; it only measures speed"),
    "fuse_conv_bn": Switch(meaning="fold normalization into the convolutions"),
}

PLAIN_KEYS: dict[str, Kind] = {
    # model
    "architecture": Text(
        meaning=f"registered module that is the whole model: FasterRCNN, MaskRCNN, CascadeRCNN or {CLASSIFIER}"
    ),
    "num_classes": Whole(1, 100_000, meaning="object classes, background not counted"),
    "norm_type": Text(("bn", "sync_bn", "gn"), meaning="normalization of every module that sets none itself"),
    "pretrain_weights": nullable(
        Text(
            meaning="url, hub address, file or model name of the weights that training starts from; null: random weights"
        )
    ),
    "weights": nullable(
        Text(meaning="url, hub address, file or model name of the weights to evaluate, export or predict with")
    ),
    # schedule
    "epoch": Whole(1, _MOST_EPOCHS, meaning="training epochs"),
    "base_batch_size": nullable(
        Whole(
            1,
            meaning="images per step (all devices, all accumulated batches) that LearningRate.base_lr is for; the rate is "
            "scaled in proportion. A file or -o that sets base_lr without it removes an inherited base_batch_size",
        )
    ),
    "scale_lr": Switch(meaning="scale the learning rate by base_batch_size"),
    "accumulate_steps": Whole(1, 1_000_000, meaning="batches whose gradients are averaged into one step"),
    "snapshot_epoch": Whole(1, meaning="epochs between two checkpoints"),
    "eval_interval": nullable(
        Interval(
            meaning="epochs between two evaluations while training, or steps, as in '200 steps'; null: as snapshot_epoch"
        )
    ),
    "eval_losses": nullable(
        Number(
            0,
            1,
            above=True,
            meaning="share of the images of EvalDataset on which an evaluation while training also computes the losses; "
            "null: none",
        )
    ),
    "snapshot_steps": nullable(
        Whole(1, meaning="steps between two saves of the checkpoint 'last' within an epoch; null: none")
    ),
    "keep_checkpoints": nullable(Whole(1, meaning="number of epoch checkpoints to keep, newest first; null: all")),
    "early_stop_patience": nullable(
        Whole(1, meaning="number of evaluations without a better score that ends training; null: never")
    ),
    "max_nonfinite_steps": Whole(
        0, meaning="number of steps to skip because their loss or gradient is not finite, before training stops"
    ),
    "recompute_backbone": Switch(
        meaning="keep only the input of the backbone's blocks and compute the rest again in the backward pass: less memory"
    ),
    "freeze": nullable(
        ListOf(
            Text(),
            1,
            1000,
            meaning="parts of the model that are not trained, such as backbone.res2; * stands for any text; null: none",
        )
    ),
    "seed": Whole(0, meaning="chooses all random numbers of training: initial weights, order, augmentation, sampling"),
    "log_iter": Whole(1, meaning="iterations between two lines of the log"),
    "save_dir": Text(meaning="folder for all runs; each has a subfolder with the name of its configuration file"),
    "find_unused_parameters": Switch(meaning="distributed training: allow parameters that get no gradient"),
    # exponential moving average of the weights
    "use_ema": Switch(meaning="average the weights over the steps, and evaluate and save the average"),
    "ema_decay": Number(0, 1, below=True, meaning="decay of the moving average"),
    "ema_decay_type": Text(("threshold", "normal", "exponential"), meaning="how the decay grows"),
    "cycle_epoch": Whole(-1, meaning="epochs after which the moving average starts again; -1: never"),
    "ema_black_list": nullable(ListOf(Text(), meaning="names of weights that are not averaged")),
    "ema_filter_no_grad": Switch(meaning="do not average weights that are not trained"),
    # mixed precision
    "amp": Switch(meaning="mixed precision; needs a GPU"),
    "amp_level": Text(meaning="mixed precision level: O1"),
    "amp_dtype": Text(("float16", "bfloat16"), meaning="type of mixed precision"),
    "init_loss_scaling": Number(0, 2.0**31, above=True, meaning="loss scale at the start, in mixed precision"),
    "custom_white_list": nullable(ListOf(Text(), meaning="operators that always run in low precision")),
    "custom_black_list": nullable(ListOf(Text(), meaning="operators that never run in low precision")),
    # data and metric
    "worker_num": Whole(0, 1000, meaning="processes that read and transform images; 0: the main process"),
    "worker_time_limit_s": Number(
        1,
        1e7,
        meaning="seconds that such a process may take for a batch before training stops and shows its stack (300)",
    ),
    "metric": Text(meaning="evaluation protocol: COCO"),
    "classwise": Switch(meaning="also report AP per class"),
    "output_eval": nullable(Text(meaning="folder to write the detections of an evaluation to, as COCO JSON")),
    "save_prediction_only": Switch(meaning="write the detections without computing AP"),
    # device
    "use_gpu": Switch(meaning="run on a GPU if there is one and Paddle is built for it"),
    "cpu_threads": nullable(
        Whole(
            1,
            1024,
            meaning="threads that compute on a CPU; null: as the environment variable OMP_NUM_THREADS says, else one per core",
        )
    ),
    "use_xpu": Switch(meaning="run on a Kunlun XPU"),
    "use_npu": Switch(meaning="run on an Ascend NPU"),
    "use_mlu": Switch(meaning="run on a Cambricon MLU"),
    # reports
    "print_flops": Switch(meaning="log the number of operations of the model"),
    "print_params": Switch(meaning="log the number of parameters of the model when training starts"),
    "use_vdl": Switch(meaning="write curves for VisualDL"),
    "vdl_log_dir": Text(meaning="folder for the curves"),
    "use_wandb": Switch(meaning="log to Weights & Biases; the same as wandb among the loggers"),
    "loggers": nullable(
        ListOf(
            Text(("visualdl", "tensorboard", "wandb", "mlflow")),
            meaning="programs that get the figures and pictures of training, besides the run's folder; null: none",
        )
    ),
    # export
    "export": MappingOf(EXPORT_KEYS, meaning="what an exported graph contains; see EXPORT_KEYS"),
    # classification
    "label_smoothing": Number(0, 1, below=True, meaning="share of a label that is spread evenly over all classes"),
}

# ppdet's readers accept any keyword (**kwargs), so a misspelt one would silently change nothing. This table prevents that.
# The two lists of transforms are added in parts.py.
READER_KEYS: dict[str, Kind] = {
    "batch_size": Whole(1, 100_000, meaning="images per batch and device"),
    "shuffle": Switch(meaning="random order"),
    "repeat_factor": nullable(
        Number(
            0,
            1,
            above=True,
            meaning="share of the images below which a class is rare: its images occur more often (LVIS' repeat factor); "
            "null: all images once",
        )
    ),
    "drop_last": Switch(meaning="leave out an incomplete last batch"),
    "drop_empty": Switch(meaning="leave out images without objects"),
    "num_classes": Whole(
        1, 100_000, meaning="object classes, if different from the setting of the whole configuration"
    ),
    "collate_batch": Switch(meaning="stack the targets of a batch into arrays"),
    "use_shared_memory": Switch(meaning="workers hand over batches in shared memory"),
    "inputs_def": PlainMapping(meaning="input shape of the exported graph (image_shape)"),
    "fuse_normalize": Switch(meaning="the exported graph normalizes images itself"),
    "mixup_epoch": Whole(-1, meaning="epochs with Mixup"),
    "cutmix_epoch": Whole(-1, meaning="epochs with Cutmix"),
    "mosaic_epoch": Whole(-1, meaning="epochs with Mosaic"),
    "pre_img_epoch": Whole(-1, meaning="epochs in which the previous frame is read too"),
}
