"""Names and shapes of each source's tensors, written down independently of ``keymaps.py``.

A checksum in the golden files, taken from the original models' own state, proves that they are right.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from tests.goldens.synthetic import make_tensor

__all__ = ["checksum", "mmdet_detector_shapes", "source_shapes", "source_tensors"]

Shapes = dict[str, tuple[int, ...]]
_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 12, 48, 3)}


def source_tensors(spec) -> dict[str, np.ndarray]:
    """Return the synthetic weights of a published model, with the names and shapes of its source."""
    return {
        name: np.zeros((), np.int64) if name.endswith("num_batches_tracked") else make_tensor(name, shape)
        for name, shape in source_shapes(spec).items()
    }


def checksum(shapes: Shapes) -> int:
    """Return the number that ``make_goldens.py`` stores for the original's names and shapes."""
    return zlib.crc32(repr(sorted(shapes.items())).encode())


def source_shapes(spec) -> Shapes:
    """Return shapes by the source's names, for a record of the zoo; for a detector, those of its trunk."""
    name_convolution, name_norm, name_head = {
        "timm": (_torch, _torch_norm, ("fc.weight", "fc.bias")),
        "mmpretrain": (_mmpretrain, _torch_norm, ("head.fc.weight", "head.fc.bias")),
        "mmdet": (_mmdet, _torch_norm, None),
        "mindcv": (_mindcv, _mindcv_norm, ("classifier.weight", "classifier.bias")),
        "paddleclas": (_paddleclas, _paddle_norm, ("out.weight", "out.bias")),
        "ppdet": (_ppdet, _paddle_norm, None),
    }[spec.source]
    prefix = "backbone." if spec.task == "detector" else ""
    shapes: Shapes = {}
    if spec.depth == "dla60":
        return _dla(spec)
    for place, shape in _convolutions(spec):
        convolution, norm = name_convolution(spec, place)
        shapes[f"{prefix}{convolution}.weight"] = shape
        for leaf in name_norm:
            shapes[f"{prefix}{norm}.{leaf}"] = () if leaf == "num_batches_tracked" else (shape[0],)
    if name_head:
        is_paddle = spec.source == "paddleclas"
        shapes[name_head[0]] = (2048, 1000) if is_paddle else (1000, 2048)
        shapes[name_head[1]] = (1000,)
    return shapes


def mmdet_detector_shapes(spec) -> Shapes:
    """Return shapes by mmdetection's names, for one of its detectors."""
    layers: Shapes = {}
    for level, ins in enumerate((256, 512, 1024, 2048)):
        layers[f"neck.lateral_convs.{level}.conv"] = (256, ins, 1, 1)
        layers[f"neck.fpn_convs.{level}.conv"] = (256, 256, 3, 3)
    layers["rpn_head.rpn_conv"] = (256, 256, 3, 3)
    layers["rpn_head.rpn_cls"], layers["rpn_head.rpn_reg"] = (3, 256, 1, 1), (12, 256, 1, 1)
    is_cascade = "cascade" in spec.name
    for stage in (".0", ".1", ".2") if is_cascade else ("",):
        box, mask = f"roi_head.bbox_head{stage}", f"roi_head.mask_head{stage}"
        layers[f"{box}.shared_fcs.0"], layers[f"{box}.shared_fcs.1"] = (1024, 256 * 7 * 7), (1024, 1024)
        layers[f"{box}.fc_cls"], layers[f"{box}.fc_reg"] = (81, 1024), (4 if is_cascade else 320, 1024)
        if "mask" in spec.name:
            layers |= {f"{mask}.convs.{number}.conv": (256, 256, 3, 3) for number in range(4)}
            layers[f"{mask}.upsample"], layers[f"{mask}.conv_logits"] = (256, 256, 2, 2), (80, 256, 1, 1)
    shapes = source_shapes(spec)
    for layer, shape in layers.items():
        shapes[f"{layer}.weight"], shapes[f"{layer}.bias"] = shape, shape[:1]
    return shapes


def _dla(spec) -> Shapes:
    """Return the shapes of timm's DLA."""
    shapes: Shapes = {}

    def add(convolution: str, norm: str, *shape: int) -> None:
        shapes[f"{convolution}.weight"] = shape
        for leaf in _torch_norm:
            shapes[f"{norm}.{leaf}"] = () if leaf == "num_batches_tracked" else (shape[0],)

    def add_block(here: str, ins: int, outs: int, width: int) -> None:
        add(f"{here}.conv1", f"{here}.bn1", width * spec.scales, ins, 1, 1)
        for split in range(spec.scales - 1):
            add(f"{here}.convs.{split}", f"{here}.bns.{split}", width, width // spec.groups, 3, 3)
        add(f"{here}.conv3", f"{here}.bn3", outs, width * spec.scales, 1, 1)

    def add_tree(here: str, levels: int, ins: int, outs: int, width: int, root: int) -> None:
        if levels > 1:
            add_tree(f"{here}.tree1", levels - 1, ins, outs, width, 2 * outs)
            add_tree(f"{here}.tree2", levels - 1, outs, outs, width, root + outs)
            return
        add_block(f"{here}.tree1", ins, outs, width)
        add_block(f"{here}.tree2", outs, outs, width)
        if ins != outs:
            add(f"{here}.project.0", f"{here}.project.1", outs, ins, 1, 1)
        add(f"{here}.root.conv", f"{here}.root.bn", outs, root, 1, 1)

    stem = {"base_layer": (16, 3, 7, 7), "level0": (16, 16, 3, 3), "level1": (32, 16, 3, 3)}
    for place, shape in stem.items():
        add(f"{place}.0", f"{place}.1", *shape)
    ins = 32
    for stage, levels in enumerate((1, 2, 3, 1)):
        outs = 128 * 2**stage
        root = 2 * outs + (ins if stage else 0)
        add_tree(f"level{stage + 2}", levels, ins, outs, spec.width * 2**stage, root)
        ins = outs
    shapes["fc.weight"], shapes["fc.bias"] = (1000, 1024, 1, 1), (1000,)
    return shapes


def _convolutions(spec) -> Iterator[tuple[tuple, tuple[int, ...]]]:
    """Yield (place, shape) of each convolution; a place is ("stem", i) or (stage, block, part, split)."""
    stem = [(64, 3, 7, 7)] if spec.variant == "b" else [(32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3)]
    for i, shape in enumerate(stem):
        yield ("stem", i), shape
    ins = 64
    for stage, count in enumerate(_DEPTHS[spec.depth]):
        width, outs = spec.width * 2**stage, 256 * 2**stage
        for block in range(count):
            if block == 0:
                yield (stage, block, "short", 0), (outs, ins, 1, 1)
            yield (stage, block, "in", 0), (width * spec.scales, ins, 1, 1)
            for split in range(spec.scales - 1):
                yield (stage, block, "split", split), (width, width // spec.groups, 3, 3)
            yield (stage, block, "out", 0), (outs, width * spec.scales, 1, 1)
            ins = outs


_torch_norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_mindcv_norm = ("gamma", "beta", "moving_mean", "moving_variance")
_paddle_norm = ("weight", "bias", "_mean", "_variance")


def _torch(spec, place: tuple, shortcut: str = "downsample") -> tuple[str, str]:
    if place[0] == "stem":
        if spec.variant == "b":
            return "conv1", "bn1"
        return f"conv1.{3 * place[1]}", "bn1" if place[1] == 2 else f"conv1.{3 * place[1] + 1}"
    stage, block, part, split = place
    here = f"layer{stage + 1}.{block}"
    if part == "short":
        first = _shortcut_index(spec, stage)
        return f"{here}.{shortcut}.{first}", f"{here}.{shortcut}.{first + 1}"
    if part == "split":
        return f"{here}.convs.{split}", f"{here}.bns.{split}"
    number = {"in": 1, "out": 3}[part]
    return f"{here}.conv{number}", f"{here}.bn{number}"


def _shortcut_index(spec, stage: int) -> int:
    """A pool comes first in variant d; in the first stage PyTorch has an identity there, MindCV nothing."""
    return int(spec.variant == "d" and (spec.source != "mindcv" or stage > 0))


def _mmpretrain(spec, place: tuple) -> tuple[str, str]:
    convolution, norm = _torch(spec, place)
    return f"backbone.{convolution}", f"backbone.{norm}"


def _mmdet(spec, place: tuple) -> tuple[str, str]:
    if place[0] == "stem":
        return f"stem.{3 * place[1]}", f"stem.{3 * place[1] + 1}"
    return _torch(spec, place)


def _mindcv(spec, place: tuple) -> tuple[str, str]:
    return _torch(spec, place, "down_sample")


def _paddleclas(spec, place: tuple) -> tuple[str, str]:
    if place[0] == "stem":
        here = "conv1" if spec.variant == "b" else f"conv1_{place[1] + 1}"
    else:
        stage, block, part, split = place
        # A letter counts the blocks; in the third stage of deep models a number does (for 200, only in the vd
        # file).
        deep = spec.depth in (101, 152) or spec.depth == 200 and spec.variant == "d"
        label = ("a" if block == 0 else f"b{block}") if deep and stage == 2 else chr(97 + block)
        name = {"short": "short", "in": "conv0", "out": "conv2"}.get(
            part, f"res{stage + 2}{label}_branch2b_{split + 1}"
        )
        here = f"bb_{stage}_{block}.{name}"
    return f"{here}._conv", f"{here}._batch_norm"


def _ppdet(spec, place: tuple) -> tuple[str, str]:
    if place[0] == "stem":
        here = "res1.conv1" if spec.variant == "b" else f"res1.conv1_{place[1] + 1}"
    else:
        stage, block, part, split = place
        pooled = spec.variant == "d" and spec.dialect == "paddle" and stage > 0
        name = {"short": "branch1.conv" if pooled else "branch1", "in": "branch2a", "out": "branch2c"}.get(part)
        here = f"res{stage + 2}.blocks.{block}.{name or f'branch2b.{split}'}"
    return f"{here}.conv", f"{here}.norm"
