"""The datasets, transforms, schedules and optimizers that a recipe may name, with the values of their arguments.

As for modules (``modules.py``), each class was read: with these arguments it runs no code from the recipe. Left out are those
that unpickle files (``DecodeCache``), write pictures (``DebugVisibleImage``), or serve other tasks than Faster and Mask R-CNN.
"""

from __future__ import annotations

from collections.abc import Mapping

from ppdet_res2net.config.kinds import Kind, ListOf, MappingOf, Null, Number, OneOf, Switch, Text, Whole, nullable
from ppdet_res2net.data.coco import DATA_FIELDS
from res2net_runtime.classification.preprocess import INTERPOLATIONS, LIBRARIES

__all__ = [
    "DATASETS",
    "OPTIMIZERS",
    "PARAM_GROUPS",
    "REGULARIZERS",
    "SCHEDULES",
    "TRANSFORMS",
    "TRANSFORM_ARGUMENTS",
    "UNUSABLE_TRANSFORMS",
]

_SHARE = Number(0, 1)
_POSITIVE = Number(0, above=True)
_PATH = Text(meaning="path")
_SIDE_PX = Whole(1, 8192)  # a square image of this side takes 0.8 GB as float32
_LEVELS = Number(-255, 255)  # of a pixel
_SIZE = OneOf((_SIDE_PX, ListOf(_SIDE_PX, 2, 2)), meaning="side, or height and width, in pixels")
_COLOUR = OneOf((Number(0, 255), ListOf(Number(0, 255), 3, 3)))


def _interval(limit: Number) -> ListOf:
    return ListOf(limit, 2, 2, ordered=True)


_COCO = {
    "dataset_dir": nullable(Text(meaning="folder that the other paths are relative to")),
    "image_dir": nullable(Text(meaning="folder of the images")),
    "anno_path": nullable(Text(meaning="annotation file")),
    "data_fields": ListOf(Text(DATA_FIELDS), 1, 20, meaning="what a record holds"),
    "sample_num": Whole(-1, meaning="images to use; -1: all"),
    "empty_ratio": Number(meaning="share of images without objects"),
    "repeat": Whole(1, 100_000, meaning="how often each image occurs in an epoch"),
}

DATASETS: dict[str, Mapping[str, Kind]] = {
    "COCODataSet": _COCO,
    "ImageFolder": {**_COCO, "use_default_label": OneOf((Null(),))},
    # It can be named, so that the message can say that its annotations must be converted.
    "VOCDataSet": {**_COCO, "data_fields": ListOf(Text(), 1, 20), "label_list": nullable(_PATH)},
    "ClassFolderDataSet": {"dataset_dir": _PATH, "image_dir": _PATH, "label_file": nullable(_PATH)},
    "ClassListDataSet": {"dataset_dir": _PATH, "list_file": _PATH, "image_dir": _PATH, "label_file": nullable(_PATH)},
    "CIFARDataSet": {"dataset_dir": _PATH, "split": Text(("train", "val", "test"))},
    "ImageNetDataSet": {"dataset_dir": _PATH, "split": Text(("train", "val")), "label_file": nullable(_PATH)},
}

_WARMUP = {
    "steps": Whole(0, 1_000_000, meaning="steps of the warm-up"),
    "epochs": nullable(Whole(0, 1000, meaning="epochs of the warm-up, instead of steps")),
}
_EPOCHS = Whole(1, 100_000)

SCHEDULES: dict[str, Mapping[str, Kind]] = {
    "CosineDecay": {
        "max_epochs": _EPOCHS,
        "min_lr_ratio": _SHARE,
        "last_plateau_epochs": Whole(0, 100_000),
    },
    "PiecewiseDecay": {
        "gamma": OneOf((Number(0, 1000), ListOf(Number(0, 1000), 1, 1000)), meaning="factor of the rate"),
        "milestones": ListOf(Whole(1, 100_000), 1, 1000, rising=True, meaning="epochs at which the rate changes"),
        "values": nullable(ListOf(Number(0, 1000), 2, 1001)),
    },
    "LinearWarmup": {**_WARMUP, "start_factor": Number(0, 1000, meaning="factor of the rate at the first step")},
    "ExpWarmup": {**_WARMUP, "power": Number(0, 100)},
}

_BETA = Number(0, 1, below=True)
_WEIGHT_DECAY = Number(0, 1000)
# ppdet's OptimizerBuilder takes this for every optimizer.
PARAM_GROUPS = ListOf(
    MappingOf(
        {
            "params": ListOf(Text(), 1, 1000),
            "learning_rate": Number(0, 1000),
            "weight_decay": _WEIGHT_DECAY,
            "beta1": _BETA,
            "beta2": _BETA,
            "epsilon": Number(0, 1),
        },
        required=("params",),
    ),
    1,
    1000,
    meaning="parts of the names of weights, with settings of their own",
)
_ADAM = {"beta1": _BETA, "beta2": _BETA, "epsilon": Number(0, 1)}

# Left out are the arguments that OptimizerBuilder sets itself, and those that are Python functions.
OPTIMIZERS: dict[str, Mapping[str, Kind]] = {
    "Momentum": {"momentum": _BETA, "rescale_grad": Number(0)},
    "SGD": {},
    "Adam": _ADAM,
    "AdamW": {**_ADAM, "weight_decay": _WEIGHT_DECAY},
    "Adamax": _ADAM,
    "Adagrad": {"epsilon": Number(0, 1), "initial_accumulator_value": Number(0)},
    "Adadelta": {"epsilon": Number(0, 1), "rho": _BETA},
    "RMSProp": {"epsilon": Number(0, 1), "rho": _BETA, "momentum": _BETA},
    "NAdam": {**_ADAM, "momentum_decay": _BETA},
    "RAdam": _ADAM,
}
REGULARIZERS: dict[str, Mapping[str, Kind]] = {kind: {"factor": _WEIGHT_DECAY} for kind in ("L1", "L2")}

# By name, for all transforms that do not have a kind of their own. Switches need no entry.
TRANSFORM_ARGUMENTS: dict[str, Kind] = {
    "prob": Number(0, 1, as_float=True, meaning="probability"),
    "p": _SHARE,
    "keep_ratio": Switch(),
    "round_size": Switch(meaning="round the resized size to whole pixels, as mmdetection does"),
    "interp": Whole(0, 4, meaning="OpenCV's interpolation: 0 nearest, 1 linear, 2 cubic, 3 area, 4 Lanczos"),
    "mean": ListOf(Number(), 3, 3, meaning="RGB"),
    "std": ListOf(_POSITIVE, 3, 3, meaning="RGB"),
    "num_attempts": Whole(1, 10_000),
    "thresholds": ListOf(_SHARE, 1, 100),
    "fill_value": _COLOUR,
}

_OF_DETECTORS: dict[str, Mapping[str, Kind]] = {
    "Decode": {},
    "Resize": {"target_size": _SIZE},
    "RandomResize": {"target_size": OneOf((_SIDE_PX, ListOf(_SIZE, 1, 100)))},
    "RandomShortSideResize": {"short_side_sizes": ListOf(_SIDE_PX, 1, 100), "max_size": nullable(_SIDE_PX)},
    "RandomFlip": {},
    "NormalizeImage": {"norm_type": Text(("mean_std", "none"))},
    "Permute": {},
    "RandomCrop": {"aspect_ratio": _interval(_POSITIVE), "scaling": _interval(_SHARE)},
    "RandomScaledCrop": {"target_dim": _SIZE, "scale_range": _interval(Number(0, 10, above=True))},
    "CopyPaste": {
        "max_num_pasted": Whole(1, 10_000),
        "bbox_occluded_thr": Number(0, 16384),
        "mask_occluded_thr": Number(0),
    },
    "Mosaic": {
        "input_dim": _SIZE,
        "center_ratio_range": _interval(Number(0, 2)),
        "pad_val": Number(0, 255),
    },
    "RandomSizeCrop": {"min_size": _SIDE_PX, "max_size": _SIDE_PX},
    "RandomResizeCrop": {
        "resizes": ListOf(_SIZE, 1, 100),
        "cropsizes": ListOf(ListOf(_SIDE_PX, 2, 2), 1, 100),
        "mode": Text(("long", "short")),
    },
    "RandomExpand": {"ratio": Number(1.01, 100, above=True)},
    "RandomDistort": {
        "hue": ListOf(Number(-180, 180), 3, 3),
        "brightness": ListOf(_LEVELS, 3, 3),
        **dict.fromkeys(("saturation", "contrast"), ListOf(Number(0, 100), 3, 3)),
        "count": Whole(0, 4),
    },
    "RandomColorJitter": dict.fromkeys(("brightness", "contrast", "saturation", "hue"), _SHARE),
    "RandomGrayscale": {},
    "RandomGaussianBlur": {"sigma": _interval(Number(0, 100, above=True))},
    "RandomErasingImage": dict.fromkeys(("lower", "higher", "aspect_ratio"), _SHARE),
    "RandomErasingCrop": {},
    "Lighting": {
        "eigval": ListOf(Number(), 3, 3),
        "eigvec": ListOf(ListOf(Number(), 3, 3), 3, 3),
        "alphastd": Number(0),
    },
    "AugmentHSV": {"fraction": _SHARE, **dict.fromkeys(("hgain", "sgain", "vgain"), nullable(_SHARE))},
    "AutoAugment": {"autoaug_type": Text(("v0", "v1", "v2", "v3", "test"))},
    "RandomSelect": {},
    "StrongAugImage": {},
    "Poly2Mask": {},
    "Pad": {
        "size": _SIZE,
        "size_divisor": Whole(1, 4096),
        "pad_mode": Whole(-1, 2),
        "offsets": nullable(ListOf(Whole(0, 16384), 2, 2)),
    },
    "PadBatch": {"pad_to_stride": Whole(-1, 4096, meaning="sides become a multiple of it; -1 or 0: none")},
    "PadMaskBatch": {"pad_to_stride": Whole(-1, 4096)},
    "BatchRandomResize": {"target_size": OneOf((_SIDE_PX, ListOf(_SIZE, 1, 100)))},
}

# Transforms of ppdet that change nothing here or fail, and why; not even a trusted recipe may use them.
UNUSABLE_TRANSFORMS: dict[str, str] = {
    "GridMask": "it needs the number of the step, which a transform does not learn here",
    "MultiscaleTestResize": "a reader gives one size; the flag --tta of eval and infer searches several",
    **dict.fromkeys(("Mixup", "Cutmix"), "it needs two images, and is given one"),
}

_INTERPOLATION = Text(("nearest", "bilinear", "bicubic", "lanczos", "hamming", "box"))
_OF_CLASSIFIERS: dict[str, Mapping[str, Kind]] = {
    "Decode": {},
    "RandomResizedCrop": {
        "size": _SIDE_PX,
        "scale": _interval(Number(0, 1, above=True)),
        "ratio": _interval(_POSITIVE),
        "interpolation": _INTERPOLATION,
    },
    "RandomCrop": {"size": _SIDE_PX, "padding": Whole(0, 4096)},
    "Resize": {"size": _SIDE_PX, "interpolation": _INTERPOLATION},
    "RandomHorizontalFlip": {},
    "ColorJitter": {**dict.fromkeys(("brightness", "contrast", "saturation"), Number(0, 100)), "hue": Number(0, 0.5)},
    "RandAugment": {"count": Whole(1, 100), "magnitude": Number(0, 1000)},
    "Normalize": {},
    "RandomErasing": {
        "scale": _interval(_SHARE),
        "ratio": _interval(_POSITIVE),
        "mode": Text(("const", "pixel")),
    },
    "ClassifierInput": {
        "size_px": _SIDE_PX,
        "crop_fraction": Number(0, 1, above=True),
        "interpolation": Text(tuple(INTERPOLATIONS)),
        "library": Text(LIBRARIES),
    },
    "MixImages": {"mixup_alpha": Number(0, 1000), "cutmix_alpha": Number(0, 1000), "switch_prob": _SHARE},
}

TRANSFORMS = {"detector": _OF_DETECTORS, "classifier": _OF_CLASSIFIERS}
