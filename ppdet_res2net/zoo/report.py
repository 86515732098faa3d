"""Reports on loaded weights, the rules for what may differ, and descriptions of what a file seems to be."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

from ppdet_res2net.modeling.res2net import STAGE_DEPTHS
from ppdet_res2net.zoo.keymaps import find_layout
from res2net_runtime.texts import printable

__all__ = ["RULES", "LoadReport", "Misshapen", "Rule", "describe_contents", "describe_names", "find_kind"]

_NAMED_AT_MOST = 5
_CHARACTERS_AT_MOST = 120
_BOX_SCORE, _CASCADE_SCORE = "bbox_head.bbox_score.bias", "bbox_head.bbox_score_stage0.bias"


@dataclasses.dataclass(frozen=True)
class Rule:
    """A difference between weights and model that is permitted.

    Attributes:
        name: Its name in reports.
        kind: ``missing`` from the file, ``unexpected`` in the file, or ``misshapen``.
        pattern: Must match the whole name of a tensor of ours.
    """

    name: str
    kind: str
    pattern: re.Pattern[str]


RULES = {
    rule.name: rule
    for rule in (
        # PyTorch counts the batches that normalisation has seen; neither Paddle nor inference uses the number.
        Rule("batch counters are not used", "unexpected", re.compile(r".*\.num_batches_tracked")),
        Rule("the classifier's layer is not used by a trunk", "unexpected", re.compile(r"fc\.(weight|bias)")),
        Rule("the classifier has a different number of classes", "misshapen", re.compile(r"fc\.(weight|bias)")),
        Rule(
            "a detector's other parts are not used by a trunk",
            "unexpected",
            re.compile(r"(neck|rpn_head|bbox_head|mask_head)\..*"),
        ),
        Rule(
            "the detector has a different number of classes",
            "misshapen",
            re.compile(
                r"bbox_head\.bbox_(score|delta)(_stage\d+)?\.(weight|bias)|mask_head\.(stages\.\d+\.)?mask_fcn_logits\.(weight|bias)"
            ),
        ),
        # Zero offsets make a deformable convolution an ordinary one.
        Rule(
            "deformable convolutions learn their offsets",
            "missing",
            re.compile(r".*\.conv_offset\.(weight|bias)"),
        ),
        # The authors' DLA has a projection in every tree, and uses only those of trees with one level.
        Rule(
            "projections that DLA never uses",
            "unexpected",
            re.compile(r"backbone\.(res3|res4|res4\.tree[12])\.project\..*"),
        ),
        Rule("the model has fewer stages", "unexpected", re.compile(r"backbone\.res[345]\..*")),
    )
}


@dataclasses.dataclass(frozen=True)
class Misshapen:
    """A tensor whose shape differs from the model's."""

    name: str
    got: tuple[int, ...]
    expected: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} (got {list(self.got)}, expected {list(self.expected)})"


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What matched between a weight file and a model.

    Attributes:
        source: Where the weights come from.
        matched: Names of the tensors that fit.
        missing: Names that only the model has.
        unexpected: Names that only the file has.
        misshapen: Tensors whose shape differs from the model's.
        allowed: Permitted differences: the name of a rule, and the names of the tensors it covers.
        note: What was taken of a larger file, and what was left out.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[Misshapen, ...] = ()
    allowed: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    note: str = ""

    @property
    def fits(self) -> bool:
        """Whether every difference is a permitted one."""
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        lines = [f"{self.source}: {_tensors(len(self.matched))} match."]
        if self.note:
            lines.append(f"  {self.note}")
        for title, names in (
            ("missing in the file", self.missing),
            ("unexpected in the file", self.unexpected),
            ("with a different shape", self.misshapen),
        ):
            if names:
                lines.append(f"  {len(names)} {title}: {describe_names(names)}")
        lines += [f"  {len(names)} left out ({rule}): {describe_names(names)}" for rule, names in self.allowed.items()]
        return "\n".join(lines)


def describe_names(names: Sequence[object]) -> str:
    """List at most five names, and count the others. Names come from files: they are made printable, and long ones are cut."""
    shown = ", ".join(printable(str(name)[:_CHARACTERS_AT_MOST]) for name in names[:_NAMED_AT_MOST])
    return shown + (f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else "")


def describe_contents(shapes: Mapping[str, Sequence[int]]) -> str:
    """Say what a file or model with tensors of these names, ours or foreign, seems to be.

    Returns:
        For instance ``a Res2Net-101 26w x 4s with the deep stem and pooled shortcuts (variant d)``.
    """
    trunk = {name[len("backbone.") :]: shape for name, shape in shapes.items() if name.startswith("backbone.res")}
    trunk = trunk or {name: shape for name, shape in shapes.items() if re.match(r"res[1-5]\.", name)}
    if "res2.tree1.branch2b.0.conv.weight" in trunk:
        return _describe_dla(trunk) + _describe_heads(shapes)
    first = trunk.get("res2.blocks.0.branch2b.0.conv.weight")
    if first is None:
        return _describe_foreign(shapes)
    depths = tuple(_count(trunk, rf"res{stage}\.blocks\.(\d+)\.") for stage in range(2, 6))
    scales = _count(trunk, r"res2\.blocks\.0\.branch2b\.(\d+)\.") + 1
    groups = first[0] // first[1]
    depth = next((str(d) for d, counts in STAGE_DEPTHS.items() if counts == depths), f"{list(depths)}")
    text = f"a {'Res2NeXt' if groups > 1 else 'Res2Net'}-{depth} {first[0]}w x {scales}s"
    text += f" in {groups} groups" if groups > 1 else ""
    if "res1.conv1_1.conv.weight" not in trunk:
        text += " with the plain stem (variant b)"
    elif "res3.blocks.0.branch1.conv.conv.weight" in trunk:
        text += " with the deep stem and pooled shortcuts (variant d)"
    else:
        text += " with the deep stem, without pooled shortcuts (variant d of the ppdet dialect, or c)"
    deformable = sorted({int(m[1]) - 2 for m in (re.match(r"res(\d)\..*\.conv_offset\.", name) for name in trunk) if m})
    text += f" and deformable convolutions (dcn_v2_stages: {deformable})" if deformable else ""
    return text + _describe_heads(shapes)


def _describe_dla(trunk: Mapping[str, Sequence[int]]) -> str:
    first = trunk["res2.tree1.branch2b.0.conv.weight"]
    scales = _count(trunk, r"res2\.tree1\.branch2b\.(\d+)\.") + 1
    groups = first[0] // first[1]
    text = f"a DLA-60 of {'Res2NeXt' if groups > 1 else 'Res2Net'} blocks {first[0]}w x {scales}s"
    return text + (f" in {groups} groups" if groups > 1 else "")


def find_kind(names: Collection[str]) -> str:
    """Return which detector has tensors of these names of ours, for instance ``Cascade Mask R-CNN``; "" if none has."""
    has_masks = any(name.startswith("mask_head.") for name in names)
    if _BOX_SCORE in names:
        return "Mask R-CNN" if has_masks else "Faster R-CNN"
    if _CASCADE_SCORE in names:
        return "Cascade Mask R-CNN" if has_masks else "Cascade R-CNN"
    return ""


def _describe_heads(shapes: Mapping[str, Sequence[int]]) -> str:
    if "fc.weight" in shapes:
        return f", a classifier of {shapes['fc.weight'][-1]} classes"
    kind = find_kind(shapes)
    if not kind:
        return ""
    return f", a {kind} of {shapes[_BOX_SCORE if _BOX_SCORE in shapes else _CASCADE_SCORE][0] - 1} classes"


def _describe_foreign(shapes: Mapping[str, Sequence[int]]) -> str:
    names = list(shapes)
    if find_layout(names)[0] is not None:
        return "a Res2Net"
    if any(
        re.search(r"layer1\.0\.conv2\.weight|res2\.res2a\.branch2b|res2\.blocks\.0\.branch2b\.conv\.weight", n)
        for n in names
    ):
        return "a ResNet, not a Res2Net"
    if any("attn" in name for name in names):
        return "a transformer, not a Res2Net"
    return "something other than a Res2Net"


def _count(names: Collection[str], pattern: str) -> int:
    return 1 + max((int(m[1]) for m in (re.match(pattern, name) for name in names) if m), default=-1)


def _tensors(count: int) -> str:
    return f"{count} tensor{'s' * (count != 1)}"
