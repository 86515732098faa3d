"""Settings that change nothing here.

PaddleDetection's files set some keys that have no counterpart in this package. Values that make no difference are accepted,
so that those files run unchanged. All other values are refused, because ignoring them would mislead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ppdet_res2net.config.keys import is_classifier
from ppdet_res2net.config.mistakes import show

__all__ = ["HARMLESS_READER_KEYS", "find_unsupported"]


class _Rule(NamedTuple):
    """The values of a key that make no difference, and why all others are refused. The key may also be absent."""

    harmless: tuple
    reason: str


_OTHER_DEVICE = _Rule((False,), "this package runs on CPUs and NVIDIA GPUs only")
_EVALUATED_IN_ORDER = "an evaluation uses every image once"

# By dotted key.
_RULES: dict[str, _Rule] = {
    "amp_level": _Rule(("O1",), "only 'O1' is supported"),
    "use_xpu": _OTHER_DEVICE,
    "use_npu": _OTHER_DEVICE,
    "use_mlu": _OTHER_DEVICE,
    "save_prediction_only": _Rule((False,), "an evaluation always computes AP; output_eval writes the detections too"),
    "print_flops": _Rule((False,), "operations are not counted"),
    "export.post_process": _Rule((True,), "an exported graph always decodes boxes"),
    "export.nms": _Rule((True,), "an exported graph always removes overlapping boxes"),
    "export.benchmark": _Rule((False,), "an exported graph always decodes boxes"),
    "export.fuse_conv_bn": _Rule((False,), "the inference engine folds normalization itself"),
}
_RULES_OF_READERS: dict[str, _Rule] = {
    "collate_batch": _Rule((False,), "images have different numbers of objects, so targets always stay lists"),
    "drop_empty": _Rule(
        (False,),
        "a reader leaves out no image; TrainDataset.allow_empty says whether images without objects are trained",
    ),
    "inputs_def": _Rule(
        ({}, *({"image_shape": shape} for shape in ([3, -1, -1], [-1, 3, -1, -1], [None, 3, None, None]))),
        "an exported graph takes images of any size, so nothing is resized to a fixed one",
    ),
    "num_classes": _Rule((), "the number of classes is that of the whole configuration"),
    "fuse_normalize": _Rule((False,), "images are normalized before the graph"),
    **{
        f"{name}_epoch": _Rule((-1,), "batches are made of whole images, in every epoch alike")
        for name in ("mixup", "cutmix", "mosaic", "pre_img")
    },
}
_RULES_OF_EVALUATION: dict[str, _Rule] = {
    "shuffle": _Rule((False,), f"{_EVALUATED_IN_ORDER}, in the order of the file"),
    "drop_last": _Rule((False,), _EVALUATED_IN_ORDER),
    "repeat_factor": _Rule((), _EVALUATED_IN_ORDER),
}
_RULES_OF_DETECTORS: dict[str, _Rule] = {
    "metric": _Rule(
        ("COCO",),
        "only COCO's is computed. Convert other annotations with 'ppdet-res2net convert-dataset'; their metric is then COCO",
    ),
    "label_smoothing": _Rule((0, 0.0), "only the loss of a classifier smooths labels"),
}
_RULES_OF_CLASSIFIERS: dict[str, _Rule] = {
    "metric": _Rule((), "a classifier is always evaluated by top-1 and top-5"),
    "classwise": _Rule((False,), "a classifier's accuracy per class is printed by 'eval --classwise'"),
    "output_eval": _Rule((), "the evaluation of a classifier writes no detections"),
    "EvalReader.batch_transforms": _Rule(([],), "images are evaluated as ClassifierInput prepares them"),
    "TestReader": _Rule(({},), "EvalReader says how a classifier's images are prepared, in prediction and export too"),
}

# Keys of a reader that accept any value, and why.
HARMLESS_READER_KEYS = {
    "use_shared_memory": (
        "workers pass large arrays in anonymous shared memory if the system has it. They never need /dev/shm, whose small "
        "size is the usual reason to turn this off"
    ),
}


def find_unsupported(config: dict) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the place of each setting that is meant to change something here but would not, and what is wrong."""
    rules = {**_RULES, **(_RULES_OF_CLASSIFIERS if is_classifier(config) else _RULES_OF_DETECTORS)}
    for reader in (key for key in config if str(key).endswith("Reader")):
        of_this = _RULES_OF_READERS if reader == "TrainReader" else {**_RULES_OF_READERS, **_RULES_OF_EVALUATION}
        rules.update({f"{reader}.{key}": rule for key, rule in of_this.items()})
    for dotted, rule in rules.items():
        place = tuple(dotted.split("."))
        value: object = config
        for key in place:
            value = value.get(key) if isinstance(value, dict) else None
        has_right_type = any(isinstance(value, type(part)) for part in rule.harmless) or not rule.harmless
        if value is not None and has_right_type and value not in rule.harmless:  # a wrong type has its own message
            advice = f", or pass -o {dotted}={_yaml(rule.harmless[0])}" if rule.harmless else ""
            yield place, f"{dotted} is {show(value)}, but {rule.reason}. Remove it{advice}."


def _yaml(value: object) -> str:
    """Write a value as it is typed after ``-o``."""
    return str(value).lower() if isinstance(value, bool) else str(value)
