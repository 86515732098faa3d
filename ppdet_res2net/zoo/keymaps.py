"""Maps the parameter names of other implementations to ours. Pure functions of names: no files are read.

Our names are PaddleDetection's, with the trunk under ``backbone.`` and a classifier's layer under ``fc.``. The layout of a
file is recognised by its names: each implementation has its own name for the first small convolution of the first
block. The text before that name is the prefix that wrappers have added (``module.``, ``backbone.``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable

from ppdet_res2net.zoo.mmdet_names import map_detector_name
from ppdet_res2net.zoo.targets import Target

__all__ = ["LAYOUTS", "Layout", "Target", "find_layout", "find_layouts", "map_names"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one family of implementations names its parameters.

    Attributes:
        name: ``torch``, ``mindcv``, ``paddleclas``, ``ppdet``, ``detectron2``, or of DLA ``torch_dla`` and ``dla``.
        who: The publishers whose files have this layout, for messages.
        anchor: Name of a tensor that every trunk of this layout has, and no other network.
        is_ours: Whether the names are ours.
        dialects: The dialects that such a file may have; all of them if the names do not tell, none if no dialect fits.
    """

    name: str
    who: str
    anchor: str
    dialects: tuple[str, ...]
    is_ours: bool = False


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("torch", "the authors, timm or mmpretrain", "layer1.0.convs.0.weight", ("official",)),
        Layout("mindcv", "MindCV", "layer1.0.convs.0.weight", ("official",)),
        Layout("paddleclas", "PaddleClas", "bb_0_0.conv0._conv.weight", ("paddle",)),
        Layout(
            "ppdet",
            "PaddleDetection or this package",
            "res2.blocks.0.branch2b.0.conv.weight",
            ("official", "paddle", "ppdet", "mmdet"),
            is_ours=True,
        ),
        Layout("torch_dla", "the authors or timm", "level2.tree1.convs.0.weight", ("official",)),
        Layout("dla", "this package", "res2.tree1.branch2b.0.conv.weight", ("official",), is_ours=True),
        Layout("detectron2", "the authors' fork of Detectron2", "res2.0.convs.0.weight", ()),
    )
}

_NORM_PARTS = {
    "weight": "weight",
    "bias": "bias",
    "running_mean": "_mean",
    "running_var": "_variance",
    "_mean": "_mean",
    "_variance": "_variance",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "_mean",
    "moving_variance": "_variance",
}
# PyTorch's deep stem is a flat sequence of convolution, normalisation and ReLU. The last normalisation is ``bn1`` (the
# authors, timm, MindCV: conv1.N), or part of the sequence (mmpretrain, mmdetection: stem.N).
_DEEP_STEM = {
    "0": "conv1_1.conv",
    "1": "conv1_1.norm",
    "3": "conv1_2.conv",
    "4": "conv1_2.norm",
    "6": "conv1_3.conv",
    "7": "conv1_3.norm",
}
_TORCH_BLOCK = re.compile(r"layer(\d)\.(\d+)\.(conv1|bn1|convs|bns|conv3|bn3|down_?sample)\.(?:(\d+)\.)?(\w+)")
# mmdetection's deformable convolutions of version 2; their channels have our order: two offsets per tap, then modulations.
_TORCH_OFFSETS = re.compile(r"layer(\d)\.(\d+)\.convs\.(\d+)\.conv_offset\.(weight|bias)")
_TORCH_PARTS = {
    "conv1": "branch2a.conv",
    "bn1": "branch2a.norm",
    "convs": "branch2b.{}.conv",
    "bns": "branch2b.{}.norm",
    "conv3": "branch2c.conv",
    "bn3": "branch2c.norm",
}
_PADDLECLAS_NAME = re.compile(
    r"(?:bb_(\d)_(\d+)\.)?(conv\d(?:_\d)?|short|res\w+_branch2b_(\d+))\.(_conv|_batch_norm)\.(\w+)"
)
_DLA_STEM = {"base_layer": "conv1_1", "level0": "conv1_2", "level1": "conv1_3"}
_DLA_PLACE = re.compile(r"level([2-5])((?:\.tree[12])*)\.(\w+)\.(?:(\d+)\.)?(\w+)")
_DLA_SEQUENCE = {"0": "conv", "1": "norm"}
_PLAIN_SHORTCUT = re.compile(r"(backbone\.res[345]\.blocks\.0\.branch1)\.((?:conv\.weight|norm\.).*)")


def find_layouts(names: Iterable[str]) -> list[tuple[Layout, str]]:
    """Return the layout and the prefix of every trunk of a Res2Net among these tensor names."""
    names = list(names)
    known = set(names)
    found: dict[str, Layout] = {}
    for layout in LAYOUTS.values():
        for name in names:
            if _ends_with_name(name, layout.anchor):
                prefix = name[: -len(layout.anchor)]
                is_mindcv = layout.name == "torch" and f"{prefix}layer1.0.bn1.gamma" in known
                found.setdefault(prefix, LAYOUTS["mindcv"] if is_mindcv else layout)
    return [(layout, prefix) for prefix, layout in found.items()]


def find_layout(names: Iterable[str]) -> tuple[Layout | None, str]:
    """Return the layout of these tensor names and the trunk's prefix; (None, "") if they are not a Res2Net's."""
    return min(find_layouts(names), key=lambda found: len(found[1]), default=(None, ""))


def map_names(names: Iterable[str], pools_shortcuts: bool = False) -> dict[str, Target]:
    """Map the names of a file to ours.

    Names without a counterpart are kept, without the wrapper's prefix, so that strict loading reports them.

    Args:
        names: All tensor names of one file.
        pools_shortcuts: Whether the file is known to be of variant d with average-pooled shortcuts. PaddleDetection, whose
            code had no pool, names their convolution ``branch1.conv``; we name it ``branch1.conv.conv``.
    """
    names = list(names)
    layout, prefix = find_layout(names)
    if layout is None:
        return {name: Target(name) for name in names}
    wrapper = prefix[: -len("backbone.")] if prefix.endswith("backbone.") else prefix
    stripped = {name: _without(_without(name, prefix), wrapper) for name in names}
    if layout.name not in _RENAMERS:
        return {name: Target(name) for name in names}
    rename = _RENAMERS[layout.name](set(stripped.values()), pools_shortcuts)
    return {name: rename(short) or Target(short) for name, short in stripped.items()}


def _torch_renamer(names: set[str], _: bool) -> Callable[[str], Target | None]:
    is_deep = "conv1.0.weight" in names or "stem.0.weight" in names

    def rename(name: str) -> Target | None:
        head = re.fullmatch(r"(?:head\.fc|fc|classifier)\.(weight|bias)", name)
        if head:
            return Target(f"fc.{head[1]}", is_transposed=head[1] == "weight")
        if name.startswith(("stem.conv1.", "stem.bn1.")):  # the authors' fork of maskrcnn-benchmark
            name = name[len("stem.") :]
        if name == "conv1.weight":
            return Target("backbone.res1.conv1.conv.weight")
        stem = re.fullmatch(r"(?:conv1|stem)\.(\d)\.(\w+)", name)
        if stem and stem[1] in _DEEP_STEM:
            return _tensor(f"res1.{_DEEP_STEM[stem[1]]}", stem[2])
        first_norm = re.fullmatch(r"bn1\.(\w+)", name)
        if first_norm:
            return _tensor("res1.conv1_3.norm" if is_deep else "res1.conv1.norm", first_norm[1])
        offsets = _TORCH_OFFSETS.fullmatch(name)
        if offsets:
            stage, index, number, leaf = offsets.groups()
            return Target(f"backbone.res{int(stage) + 1}.blocks.{index}.branch2b.{number}.conv_offset.{leaf}")
        block = _TORCH_BLOCK.fullmatch(name)
        if not block:
            return map_detector_name(name)
        stage, index, part, number, leaf = block.groups()
        place = f"res{int(stage) + 1}.blocks.{index}"
        if part in _TORCH_PARTS:
            return _tensor(f"{place}.{_TORCH_PARTS[part].format(number)}", leaf)
        # The shortcut is [pool,] convolution, normalisation. A pool of stride 1 (first stage) is an identity, which our
        # blocks leave out.
        shortcut = f"layer{stage}.{index}.{part}"
        has_pool = any(f"{shortcut}.2.{scale}" in names for scale in ("weight", "gamma"))
        kind = "norm" if number == ("2" if has_pool else "1") else "conv"
        return _tensor(f"{place}.branch1.{'conv.' if has_pool and stage != '1' else ''}{kind}", leaf)

    return rename


def _dla_renamer(_names: set[str], _: bool) -> Callable[[str], Target | None]:
    def rename(name: str) -> Target | None:
        head = re.fullmatch(r"fc\.(weight|bias)", name)
        if head:  # a 1x1 convolution
            return Target(name, is_transposed=head[1] == "weight")
        stem = re.fullmatch(r"(base_layer|level[01])\.([01])\.(\w+)", name)
        if stem:
            return _tensor(f"res1.{_DLA_STEM[stem[1]]}.{_DLA_SEQUENCE[stem[2]]}", stem[3])
        root = re.fullmatch(r"level([2-5](?:\.tree[12])*\.root)\.(conv|bn)\.(\w+)", name)
        if root:
            return _tensor(f"res{root[1]}.{'conv' if root[2] == 'conv' else 'norm'}", root[3])
        found = _DLA_PLACE.fullmatch(name)
        if not found:
            return None
        level, trees, part, number, leaf = found.groups()
        place = f"res{level}{trees}"
        if part in _TORCH_PARTS:
            return _tensor(f"{place}.{_TORCH_PARTS[part].format(number)}", leaf)
        if part == "project" and number in _DLA_SEQUENCE:
            return _tensor(f"{place}.project.{_DLA_SEQUENCE[number]}", leaf)
        return None

    return rename


def _paddleclas_renamer(names: set[str], _: bool) -> Callable[[str], Target | None]:
    pools_shortcuts = "conv1_1._conv.weight" in names

    def rename(name: str) -> Target | None:
        if name in ("out.weight", "out.bias"):
            return Target(name.replace("out", "fc"))
        match = _PADDLECLAS_NAME.fullmatch(name)
        if not match:
            return None
        stage, index, part, split, kind, leaf = match.groups()
        kind = "conv" if kind == "_conv" else "norm"
        if stage is None:
            return _tensor(f"res1.{part}.{kind}", leaf)
        if split:
            part = f"branch2b.{int(split) - 1}"
        elif part == "short":
            part = "branch1.conv" if pools_shortcuts and stage != "0" else "branch1"
        else:
            part = {"conv0": "branch2a", "conv2": "branch2c"}[part]
        return _tensor(f"res{int(stage) + 2}.blocks.{index}.{part}.{kind}", leaf)

    return rename


def _ppdet_renamer(_: set[str], pools_shortcuts: bool) -> Callable[[str], Target | None]:
    def rename(name: str) -> Target | None:
        if name in ("out.weight", "out.bias"):  # left over from PaddleClas
            return Target(name.replace("out", "fc"))
        if re.match(r"res[1-5]\.", name):
            name = f"backbone.{name}"
        if pools_shortcuts:
            name = _PLAIN_SHORTCUT.sub(r"\1.conv.\2", name)
        return Target(name)

    return rename


_RENAMERS = {
    "torch": _torch_renamer,
    "mindcv": _torch_renamer,
    "paddleclas": _paddleclas_renamer,
    "ppdet": _ppdet_renamer,
    "torch_dla": _dla_renamer,
    "dla": _ppdet_renamer,
}


def _tensor(place: str, leaf: str) -> Target | None:
    """Return our name of a convolution's or normalisation's tensor; None for an unknown one."""
    if place.endswith(".conv"):
        return Target(f"backbone.{place}.{leaf}")
    # ``num_batches_tracked`` has no counterpart and keeps its name, so that a rule of strict loading can drop it.
    return Target(f"backbone.{place}.{_NORM_PARTS.get(leaf, leaf)}")


def _ends_with_name(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith(f".{suffix}")


def _without(name: str, prefix: str) -> str:
    return name[len(prefix) :] if name.startswith(prefix) else name
