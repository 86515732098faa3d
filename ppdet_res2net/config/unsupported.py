"""PaddleDetection's settings that have no counterpart here: accepted as PaddleDetection's files set them, else refused."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["find_unsupported"]

# Dotted key -> the values that ask for nothing, and why others are refused. A setting that is not there asks for nothing.
_UNSUPPORTED: dict[str, tuple[tuple, str]] = {
    "amp_level": (("O1",), "only 'O1' is supported"),
    "use_xpu": ((False,), "it runs on CPUs and NVIDIA GPUs only"),
    "use_npu": ((False,), "it runs on CPUs and NVIDIA GPUs only"),
    "use_mlu": ((False,), "it runs on CPUs and NVIDIA GPUs only"),
    "save_prediction_only": ((False,), "an evaluation always computes AP; output_eval writes the detections too"),
    "print_flops": ((False,), "operations are not counted"),
    "export.post_process": ((True,), "an exported graph always decodes boxes"),
    "export.nms": ((True,), "an exported graph always removes overlapping boxes"),
    "export.benchmark": ((False,), "an exported graph always decodes boxes"),
    "export.fuse_conv_bn": ((False,), "the inference engine folds normalization itself"),
}
_UNSUPPORTED_OF_READERS: dict[str, tuple[tuple, str]] = {
    "fuse_normalize": ((False,), "images are normalized before the graph"),
    **{
        f"{name}_epoch": ((-1,), "batches are made of whole images, in every epoch alike")
        for name in ("mixup", "cutmix", "mosaic", "pre_img")
    },
}


def find_unsupported(config: dict) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the place of each setting that would change nothing although it asks for something, and what is wrong."""
    rules = dict(_UNSUPPORTED)
    for reader in (key for key in config if str(key).endswith("Reader")):
        rules.update({f"{reader}.{key}": rule for key, rule in _UNSUPPORTED_OF_READERS.items()})
    for dotted, (harmless, reason) in rules.items():
        place = tuple(dotted.split("."))
        value: object = config
        for key in place:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, type(harmless[0])) and value not in harmless:
            yield place, f"{dotted} is {value!r}, but {reason}. Remove it, or pass -o {dotted}={_yaml(harmless[0])}."


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
