"""What each flag of MindCV's ``train.py`` and ``validate.py`` comes to here, where it is not a flag of the command itself."""

from __future__ import annotations

from collections.abc import Mapping

from res2net_runtime.arguments import Answer, Means, Noted, Refused

__all__ = ["MINDCV_FLAGS_OF_COMMAND"]

_MODEL_ARTS = Refused("It belongs to ModelArts. Leave it out; --data names the data.")
# --opt is PaddleDetection's long form of -o; a name of an optimizer after it is MindCV's.
_OPTIMIZERS: dict[str, Answer] = {
    **{
        f"--opt={name}": Means(("--optimizer", name))
        for name in ("momentum", "sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad")
    },
    "--opt=lamb": Refused("Choose another --optimizer; 'ppdet-res2net train --help' lists them."),
}
_COMMON: dict[str, Answer] = {
    "--dataset=imagenet": Means(),  # the layout of --data tells
    "--dataset": Means(("--data", "{value}")),
    "--data_dir": Means(("--data", "{value}")),
    "--dataset_download=true": Means(("--download",)),
    "--dataset_download=false": Means(),
    "--mode": Noted("Training and evaluation run eagerly; exports are graphs."),
    "--num_parallel_workers": Means(("--workers", "{value}")),
    "--device_target": Means(("--device", "{value}")),
    "--enable_modelarts=false": Means(),
    "--enable_modelarts": _MODEL_ARTS,
}

MINDCV_FLAGS_OF_COMMAND: Mapping[str, Mapping[str, Answer]] = {
    "train": {
        **_COMMON,
        **_OPTIMIZERS,
        "--pretrained=false": Means(("--no_pretrained",)),
        "--no_pretrained=false": Means(("--pretrained",)),
        "--epoch_size": Means(("--epochs", "{value}")),
        "--image_resize": Means(("--image_size", "{value}")),
        "--val_while_train=true": Means(("--eval",)),
        "--val_while_train=false": Means(),
        "--val_interval": Means(("-o", "snapshot_epoch={value}")),
        "--log_interval": Means(("-o", "log_iter={value}")),
        "--ckpt_save_dir": Means(("-o", "save_dir={value}")),
        "--ckpt_save_interval": Means(("-o", "snapshot_epoch={value}")),
        "--keep_checkpoint_max": Means(("-o", "keep_checkpoints={value}")),
        "--ema=true": Means(("-o", "use_ema=true")),
        "--ema=false": Means(),
        "--ema_decay": Means(("-o", "ema_decay={value}")),
        "--ckpt_path": Refused(
            "To continue a run, pass -r auto or -r CHECKPOINT; to start from weights, pass --pretrain_weights FILE."
        ),
        "--distribute=false": Means(),
        "--distribute": Refused(
            "Several processes are started by Paddle: 'python -m paddle.distributed.launch --gpus 0,1 tools/train.py ...'."
        ),
        "--drop_remainder": Noted("The last images of an epoch that do not fill a step are left out."),
        "--amp_level=o0": Means(),
        "--amp_level": Means(("--amp",)),
        "--loss=ce": Means(),
        "--loss": Refused("Classifiers are trained with cross entropy. Leave it out."),
    },
    "eval": {
        **_COMMON,
        "--ckpt_path": Means(("--weights", "{value}")),
        "--val_split=validation": Means(("--split", "val")),
        "--val_split": Means(("--split", "{value}")),
        "--pretrained=true": Noted("Published weights are used unless --weights names others."),
        "--pretrained=false": Means(),
        "--num_classes": Noted("The number of classes is that of the weights."),
        "--drop_remainder": Noted("Every image is evaluated."),
    },
    "infer": {
        "--ckpt_path": Means(("--weights", "{value}")),
        "--image_path": Means(("--infer_img", "{value}")),
        "--pretrained=true": Noted("Published weights are used unless --weights names others."),
    },
    "export": {"--ckpt_path": Means(("--weights", "{value}"))},
}
