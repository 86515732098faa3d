"""The modules that a recipe may name, with the arguments that it may set: an allow list.

ppdet evaluates the text of some arguments as Python, unpickles files, and loads weights that a recipe names. So a recipe may
name only what is listed here. Each module was read: with the arguments that may be set, it runs no code from the recipe, and
reads, writes and downloads nothing. ``tests/config/test_paddledet_sources.py`` finds the places in paddledet that would.

Which arguments a module has is read from its constructor; what values they take is in :data:`ARGUMENTS`, by name, and in
:data:`MODULES` where a module differs. Switches need no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ppdet_res2net.config.kinds import Kind, ListOf, Null, Number, OneOf, Switch, Text, Whole, nullable
from ppdet_res2net.modeling.dialect import DIALECTS
from ppdet_res2net.modeling.dla import DLA_LEVELS
from ppdet_res2net.modeling.norm import NORM_TYPES
from ppdet_res2net.modeling.res2net import STAGE_DEPTHS, VARIANTS
from ppdet_res2net.zoo.catalog import list_models

__all__ = ["ARGUMENTS", "MODULES", "NULLABLE_REFERENCES", "PARTS", "REFERENCES", "Module", "roles_of"]


class Module(NamedTuple):
    """A module that a recipe may name.

    Attributes:
        role: What it is in a detector. An argument that refers to a module names its role.
        arguments: Values of the arguments that differ from :data:`ARGUMENTS`.
        fixed: Arguments that a recipe may not set, with the reason.
    """

    role: str
    arguments: Mapping[str, Kind] = {}
    fixed: Mapping[str, str] = {}


SHARE = Number(0, 1)
POSITIVE = Number(0, above=True)
CHANNELS = Whole(1, 16384)
COUNT_OF_BOXES = Whole(1, 1_000_000)


def _choices(*names: str) -> Text:
    return Text(names)


_RESNET = {"depth": Whole(choices=(18, 34, 50, 101, 152)), "variant": _choices("a", "b", "c", "d")}
_STAGE_DEPTHS = Whole(choices=tuple(STAGE_DEPTHS))

# By name, for all modules that do not have a kind of their own.
ARGUMENTS: dict[str, Kind] = {
    # trunks
    "width": Whole(1, 1024, meaning="channels of one split of the first stage"),
    "scales": Whole(2, 64, meaning="splits of a block"),
    "groups": Whole(1, 1024, meaning="groups of the 3x3 convolutions"),
    "base_width": Whole(1, 1024, meaning="channels per group"),
    "norm_type": OneOf((Text(NORM_TYPES), Null()), meaning="normalization"),
    "norm_decay": Number(0, 1, meaning="weight decay of normalization"),
    "norm_momentum": SHARE,
    "norm_groups": Whole(1, 1024),
    "freeze_at": Whole(-1, 3, meaning="last stage that is not trained; -1: all are trained"),
    "return_idx": OneOf((Whole(0, 3), ListOf(Whole(0, 3), 1, 4)), meaning="stages whose features are returned"),
    "dcn_v2_stages": OneOf(
        (Whole(-1, 3), ListOf(Whole(-1, 3), 1, 4)), meaning="stages with deformable convolutions; -1: none"
    ),
    "num_stages": Whole(1, 4),
    "lr_mult_list": ListOf(Number(0, 1000), 4, 4, meaning="factor of the learning rate of each stage"),
    "lr_mult": Number(0, 1000),
    "ch_in": CHANNELS,
    # necks and heads
    "in_channel": Whole(1, 16384, meaning="channels of the input; taken from the part before it"),
    "in_channels": OneOf((CHANNELS, ListOf(CHANNELS, 1, 10)), meaning="channels of the inputs; taken from the trunk"),
    "out_channel": Whole(1, 16384, meaning="channels of the output"),
    "conv_dim": CHANNELS,
    "num_convs": Whole(0, 64, meaning="convolutions before the output"),
    "resolution": Whole(1, 256, meaning="side of the features of a region"),
    "spatial_scale": OneOf((POSITIVE, ListOf(POSITIVE, 1, 10)), meaning="taken from the trunk"),
    "spatial_scales": ListOf(Number(0, 1, above=True), 1, 10, meaning="1 / stride of each input"),
    "extra_stage": Whole(0, 10, meaning="maps made from the last one"),
    "sampling_ratio": Whole(-1, 64, meaning="samples per bin of RoIAlign; 0: as many as pixels"),
    "canconical_level": Whole(0, 10),
    "canonical_size": Whole(1, 16384),
    "level_epsilon": Number(
        0, 1e-3, meaning="added to the size of a region over canonical_size, before the logarithm that is its level"
    ),
    "start_level": Whole(0, 9),
    "end_level": Whole(0, 9),
    "stage_name": Text(),
    "num_cascade_stage": Whole(1, 10),
    "num_cascade_stages": Whole(1, 10),
    "num_classes": Whole(1, 100_000, meaning="object classes, background not counted"),
    "mask_resolution": Whole(1, 512, meaning="side of the masks that are learned"),
    "cot_classes": nullable(Whole(1, 100_000)),
    "cot_scale": Number(0),
    "cot_lambda": Number(0),
    # anchors, proposals, samples
    "anchor_sizes": ListOf(
        OneOf((POSITIVE, ListOf(POSITIVE, 1, 100))),
        1,
        100,
        meaning="sides of the anchors in pixels, or a list per level",
    ),
    "aspect_ratios": ListOf(
        OneOf((POSITIVE, ListOf(POSITIVE, 1, 100))), 1, 100, meaning="height / width of the anchors"
    ),
    "strides": ListOf(Number(1, 4096), 1, 10, meaning="pixels between two anchors, for each level"),
    "variance": ListOf(POSITIVE, 4, 4),
    "offset": SHARE,
    "pre_nms_top_n": COUNT_OF_BOXES,
    "post_nms_top_n": COUNT_OF_BOXES,
    "nms_thresh": SHARE,
    "min_size": Number(0, 100_000, meaning="pixels"),
    "exact_min_size": Switch(meaning="take min_size as it is, even below one pixel"),
    "limit_shrinking": Switch(meaning="let boxes shrink by no more than they may grow"),
    "eta": Number(0, 1, above=True),
    "batch_size_per_im": Whole(1, 1_000_000, meaning="samples per image"),
    "fg_fraction": SHARE,
    "positive_overlap": SHARE,
    "negative_overlap": SHARE,
    "fg_thresh": SHARE,
    "bg_thresh": SHARE,
    "ignore_thresh": Number(-1, 1),
    "cascade_iou": ListOf(SHARE, 1, 10),
    "num_bins": Whole(1, 100),
    # boxes
    "bbox_weight": ListOf(POSITIVE, 4, 4),
    "prior_box_var": ListOf(POSITIVE, 4, 4),
    "code_type": _choices("decode_center_size"),
    "score_threshold": SHARE,
    "post_threshold": SHARE,
    "nms_threshold": SHARE,
    "nms_eta": Number(0, 1, above=True),
    "nms_top_k": Whole(1, 1_000_000, unlimited=-1, meaning="boxes per class before NMS; -1: all"),
    "keep_top_k": Whole(1, 1_000_000, unlimited=-1, meaning="boxes per image after NMS; -1: all"),
    "binary_thresh": SHARE,
    # losses
    "loss_weight": Number(0),
    "beta": POSITIVE,
    "eps": Number(0, 1),
    "theta": Number(0, 100),
    "reduction": _choices("none", "mean", "sum"),
}

_ANYTHING_TRAINED = "is given to paddle.load, which unpickles files; pretrain_weights reads weights safely"
_PER_CASCADE_STAGE = ListOf(ListOf(POSITIVE, 4, 4), 1, 10)

MODULES: dict[str, Module] = {
    # whole models
    "FasterRCNN": Module("architecture"),
    "MaskRCNN": Module("architecture"),
    "CascadeRCNN": Module("architecture"),
    "Res2NetClassifier": Module("architecture"),
    # trunks
    "Res2Net": Module(
        "backbone",
        {
            "depth": OneOf(
                (_STAGE_DEPTHS, Text(tuple(DLA_LEVELS)), ListOf(Whole(1, 200), 1, 4)),
                meaning="all stages together, or the blocks of each stage",
            ),
            "variant": Text(VARIANTS),
            "dialect": Text(tuple(DIALECTS)),
            "model": nullable(
                Text(
                    tuple(list_models()),
                    meaning="a zoo name, which sets depth, width, scales, variant, groups and dialect",
                )
            ),
        },
    ),
    "ResNet": Module("backbone", _RESNET),
    "SENet": Module("backbone", _RESNET),
    "HRNet": Module("backbone", {"width": Whole(choices=(18, 30, 32, 40, 44, 48, 60, 64))}),
    "SwinTransformer": Module(
        "backbone",
        {
            "pretrain_img_size": Whole(1, 4096),
            "patch_size": Whole(1, 64),
            "in_chans": Whole(1, 64),
            "embed_dim": Whole(1, 2048),
            "depths": ListOf(Whole(1, 100), 1, 4),
            "num_heads": ListOf(Whole(1, 256), 1, 4),
            "window_size": Whole(1, 64),
            "mlp_ratio": Number(0, 16, above=True),
            "qk_scale": nullable(POSITIVE),
            "drop_rate": Number(0, 1, below=True),
            "attn_drop_rate": Number(0, 1, below=True),
            "drop_path_rate": Number(0, 1, below=True),
            "out_indices": ListOf(Whole(0, 3), 1, 4, rising=True),
            "frozen_stages": Whole(-1, 4),
        },
        fixed={"pretrained": _ANYTHING_TRAINED, "norm_layer": "is a class, which YAML cannot name"},
    ),
    # necks
    "FPN": Module("neck"),
    "HRFPN": Module("neck"),
    "BiFPN": Module(
        "neck",
        {
            "in_channels": ListOf(CHANNELS, 1, 10),
            "num_extra_levels": Whole(0, 10),
            "fpn_strides": ListOf(POSITIVE, 1, 10),
            "num_stacks": Whole(1, 32),
            "act": OneOf((_choices("swish", "relu"), Null())),
        },
    ),
    # the proposal stage
    "RPNHead": Module("rpn_head"),
    "AnchorGenerator": Module("anchor_generator"),
    "RPNTargetAssign": Module("rpn_target_assign"),
    "ProposalGenerator": Module("proposal"),
    # the second stage
    "BBoxHead": Module("bbox_head"),
    "CascadeHead": Module(
        "bbox_head",
        {
            "bbox_weight": _PER_CASCADE_STAGE,
            "stage_loss_weights": nullable(ListOf(Number(0), 1, 10)),
            "add_gt_as_proposals": ListOf(Switch(), 1, 10),
            "averaged": Text(("probabilities", "logits"), meaning="what the mean of all stages is taken of"),
        },
    ),
    "MaskHead": Module("mask_head"),
    "CascadeMaskHead": Module("mask_head"),
    "RoIAlign": Module("roi_extractor"),
    "TwoFCHead": Module("head"),
    "XConvNormHead": Module("head"),
    "CascadeTwoFCHead": Module("head"),
    "CascadeXConvNormHead": Module("head"),
    "MaskFeat": Module("head"),
    "Res2NetC5": Module(
        "head",
        {
            "depth": OneOf((_STAGE_DEPTHS, ListOf(Whole(1, 200), 4, 4))),
            "variant": Text(VARIANTS),
            "dialect": Text(tuple(DIALECTS)),
        },
    ),
    "Res5Head": Module("head", _RESNET),
    "SERes5Head": Module("head", _RESNET),
    "BBoxAssigner": Module("bbox_assigner"),
    "BBoxLibraAssigner": Module("bbox_assigner"),
    "MaskAssigner": Module("mask_assigner"),
    # losses
    "SmoothL1Loss": Module("loss"),
    "IouLoss": Module("loss"),
    "GIoULoss": Module("loss"),
    "DIouLoss": Module("loss"),
    "SIoULoss": Module("loss"),
    "COTLoss": Module("loss"),
    # schedule; what their lists and mappings take is in readers.py
    "LearningRate": Module("optim", {"base_lr": Number(0, meaning="learning rate after the warm-up")}),
    "OptimizerBuilder": Module(
        "optim",
        {
            "clip_grad_by_norm": nullable(Number(0, above=True, meaning="largest norm of all gradients together")),
            "clip_grad_by_value": nullable(Number(0, above=True, meaning="largest gradient of a weight")),
        },
    ),
    # results
    "BBoxPostProcess": Module("bbox_post_process"),
    "MaskPostProcess": Module("mask_post_process"),
    "RCNNBox": Module("decode"),
    "MultiClassNMS": Module("nms"),
}

# Arguments that refer to a module, and the role of that module.
REFERENCES = {
    **{name: name for name in ("backbone", "neck", "rpn_head", "bbox_head", "mask_head", "head", "decode", "nms")},
    **{name: name for name in ("bbox_assigner", "mask_assigner", "bbox_post_process", "mask_post_process")},
    **dict.fromkeys(("loss_rpn_bbox", "bbox_loss", "loss_cot"), "loss"),
}

NULLABLE_REFERENCES = frozenset({"neck", "loss_rpn_bbox", "bbox_loss"})

# Arguments that are a mapping of the arguments of a module.
PARTS = {
    "anchor_generator": "AnchorGenerator",
    "rpn_target_assign": "RPNTargetAssign",
    "train_proposal": "ProposalGenerator",
    "test_proposal": "ProposalGenerator",
    "roi_extractor": "RoIAlign",
}


def roles_of(role: str) -> tuple[str, ...]:
    """Return the modules that have this role."""
    return tuple(name for name, module in MODULES.items() if module.role == role)
