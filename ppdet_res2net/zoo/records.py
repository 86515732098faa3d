"""The published models. Figures: see ``metrics_source`` of each record."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from ppdet_res2net.zoo.model_spec import InputSpec, ModelSpec

__all__ = ["RECORDS"]

# (depth, width, scales, variant, groups) -> (parameters, multiply-accumulates) of the classifier with 1000
# classes.
_COMPLEXITY = {
    (50, 48, 2, "b", 1): (25_287_304, 4_159_832_064),
    (50, 26, 4, "b", 1): (25_699_120, 4_255_166_464),
    (50, 14, 8, "b", 1): (25_059_816, 4_178_898_944),
    (50, 26, 6, "b", 1): (37_051_448, 6_295_523_328),
    (50, 26, 8, "b", 1): (48_403_776, 8_335_880_192),
    (50, 4 * 8, 4, "b", 8): (24_671_464, 4_172_677_120),
    (50, 26, 4, "d", 1): (25_718_352, 4_494_807_040),
    (101, 26, 4, "b", 1): (45_206_688, 8_066_974_464),
    (101, 26, 4, "d", 1): (45_225_920, 8_306_615_040),
    (152, 26, 4, "b", 1): (61_275_248, 11_878_782_464),
    (152, 26, 4, "d", 1): (61_294_480, 12_118_423_040),
    (200, 26, 4, "d", 1): (76_215_536, 15_706_007_040),
    ("dla60", 28, 4, "b", 1): (20_848_072, 4_122_681_344),
    ("dla60", 4 * 8, 4, "b", 8): (17_032_984, 3_458_752_512),
}
_IMAGENET_HEAD = 2048 * 1000  # multiply-accumulates of the classifier's linear layer

# The packages that made ``tests/goldens``; a test compares.
_PROVED_AGAINST = {
    "timm": "timm 1.0.31",
    "mmpretrain": "mmpretrain 1.2.0",
    "mindcv": "mindcv 0.3.0",
    "paddleclas": "paddleclas 2.6.0",
    "ppdet": "paddledet 2.6.0",
    "mmdet": "mmdet 3.3.0",
}


def _classifier(
    name: str,
    dialect: str,
    source: str,
    licence: str,
    urls: tuple[str, ...],
    depth: int | str = 50,
    width: int = 26,
    scales: int = 4,
    variant: str = "b",
    groups: int = 1,
    note: str = "",
    **metrics: float,
) -> ModelSpec:
    parameters, macs = _COMPLEXITY[depth, width, scales, variant, groups]
    return ModelSpec(
        name=name,
        depth=depth,
        width=width,
        scales=scales,
        variant=variant,
        dialect=dialect,
        groups=groups,
        task="classifier",
        num_classes=1000,
        parameters=parameters,
        macs=macs,
        metrics=MappingProxyType(metrics),
        metrics_source=source if metrics else "",
        urls=urls,
        licence=licence,
        proved_against=_PROVED_AGAINST[name.partition("/")[0]],
        note=note,
    )


def _timm(name: str, file: str, **arguments: Any) -> ModelSpec:
    return _classifier(
        f"timm/{name}",
        "official",
        "timm's results-imagenet.csv, at 224x224",
        "unknown (according to timm's model cards); weights by the paper's authors",
        (
            f"https://huggingface.co/timm/{name}.in1k/resolve/main/model.safetensors",
            f"https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-res2net/{file}",
        ),
        **arguments,
    )


def _mmpretrain(name: str, file: str, **arguments: Any) -> ModelSpec:
    return _classifier(
        f"mmpretrain/{name}",
        "official",
        "mmpretrain's configs/res2net/metafile.yml",
        "Apache-2.0 (mmpretrain); weights by the paper's authors",
        (f"https://download.openmmlab.com/mmclassification/v0/res2net/{file}",),
        note="Converted by mmpretrain from the authors' weights.",
        **arguments,
    )


def _mindcv(name: str, file: str | None, note: str = "", **arguments: Any) -> ModelSpec:
    return _classifier(
        f"mindcv/{name}",
        "official",
        "MindCV's configs/res2net",
        "Apache-2.0 (MindCV)",
        (f"https://download.mindspore.cn/toolkits/mindcv/res2net/{file}",) if file else (),
        note=note or ("" if file else "MindCV defines the model, but publishes no weights."),
        **arguments,
    )


def _paddleclas(name: str, note: str = "", **arguments: Any) -> ModelSpec:
    return _classifier(
        f"paddleclas/{name}",
        "paddle",
        "PaddleClas, docs/zh_CN/models/ImageNet1k/Res2Net.md",
        "Apache-2.0 (PaddleClas)",
        (f"https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/{name}_pretrained.pdparams",),
        note=note,
        **arguments,
    )


_SSLD = "Distilled from a larger teacher (PaddleClas' SSLD)."


def _ppdet(
    name: str,
    task: str,
    file: str,
    variant: str,
    dialect: str,
    parameters: int,
    note: str = "",
    recipe: str = "",
    **metrics: float,
) -> ModelSpec:
    is_detector = task == "detector"
    return ModelSpec(
        name=f"ppdet/{name}",
        depth=50,
        width=26,
        scales=4,
        variant=variant,
        dialect=dialect,
        groups=1,
        task=task,
        num_classes=80 if is_detector else 1000,
        parameters=parameters,
        macs=_COMPLEXITY[50, 26, 4, variant, 1][1] - _IMAGENET_HEAD,
        metrics=MappingProxyType(metrics),
        metrics_source="PaddleDetection's configs/res2net/README.md" if metrics else "",
        urls=(f"https://paddledet.bj.bcebos.com/models/{file}",),
        licence="Apache-2.0 (PaddleDetection)",
        # PaddleDetection itself has no code for the paddle dialect of variant d.
        proved_against=_PROVED_AGAINST["paddleclas" if (variant, dialect) == ("d", "paddle") else "ppdet"],
        input=InputSpec((800, 1333), None, "bicubic") if is_detector else InputSpec(),
        recipe=recipe,
        note=note,
    )


_OPENMMLAB = "https://download.openmmlab.com"


def _mmdet(name: str, file: str, parameters: int, **metrics: float) -> ModelSpec:
    return ModelSpec(
        name=f"mmdet/{name}",
        depth=101,
        width=26,
        scales=4,
        variant="d",
        dialect="mmdet",
        groups=1,
        task="detector",
        num_classes=80,
        parameters=parameters,
        macs=_COMPLEXITY[101, 26, 4, "d", 1][1] - _IMAGENET_HEAD,
        metrics=MappingProxyType(metrics),
        metrics_source="mmdetection's configs/res2net/metafile.yml",
        urls=(f"{_OPENMMLAB}/mmdetection/v2.0/res2net/{file.rpartition('-')[0]}/{file}",),
        licence="Apache-2.0 (mmdetection)",
        proved_against=_PROVED_AGAINST["mmdet"],
        input=InputSpec((800, 1333), None, "bilinear"),
        recipe=f"mmdet_{name.replace('net-101', 'net101').replace('-', '_')}",
    )


_MMDET_TRUNK = ModelSpec(
    name="mmdet/res2net101_v1d_26w_4s_mmdetv2",
    depth=101,
    width=26,
    scales=4,
    variant="d",
    dialect="official",
    groups=1,
    task="backbone",
    num_classes=1000,
    parameters=45_225_920 - _IMAGENET_HEAD - 1000,
    macs=_COMPLEXITY[101, 26, 4, "d", 1][1] - _IMAGENET_HEAD,
    metrics=MappingProxyType({}),
    metrics_source="",
    urls=(f"{_OPENMMLAB}/pretrain/third_party/res2net101_v1d_26w_4s_mmdetv2-f0a600f9.pth",),
    licence="Apache-2.0 (mmdetection); weights by the paper's authors",
    proved_against=_PROVED_AGAINST["timm"],
    note="What mmdetection's recipes start from: the authors' res2net101_v1b_26w_4s (timm/res2net101d) under mmdetection's "
    "names, without the classifier. mmdetection fine-tunes it in its own dialect.",
)

_BACKBONE_NOTE = "What PaddleDetection's recipes start from: PaddleClas' dialect under PaddleDetection's names."

RECORDS = (
    _timm("res2net50_48w_2s", "res2net50_48w_2s-afed724a.pth", width=48, scales=2, top1=77.528, top5=93.562),
    _timm("res2net50_26w_4s", "res2net50_26w_4s-06e79181.pth", top1=77.994, top5=93.860),
    _timm("res2net50_14w_8s", "res2net50_14w_8s-6527dddc.pth", width=14, scales=8, top1=78.142, top5=93.852),
    _timm("res2net50_26w_6s", "res2net50_26w_6s-19041792.pth", scales=6, top1=78.586, top5=94.120),
    _timm(
        "res2net50_26w_8s",
        "res2net50_26w_8s-2c7c9f12.pth",
        scales=8,
        top1=78.950,
        top5=94.280,
        note="The model card says 79.19 / 94.37.",
    ),
    _timm("res2net101_26w_4s", "res2net101_26w_4s-02a759a1.pth", depth=101, top1=79.192, top5=94.466),
    # Four channels per group, eight groups.
    _timm("res2next50", "res2next50_4s-6ef7e7bf.pth", width=4 * 8, groups=8, top1=78.238, top5=93.904),
    _timm(
        "res2net50d",
        "res2net50_v1b_26w_4s-3cf99910.pth",
        variant="d",
        top1=80.280,
        top5=95.028,
        note="The authors' res2net50_v1b_26w_4s.",
    ),
    _timm(
        "res2net101d",
        "res2net101_v1b_26w_4s-0812c246.pth",
        depth=101,
        variant="d",
        top1=81.236,
        top5=95.346,
        note="The authors' res2net101_v1b_26w_4s.",
    ),
    _timm("dla60_res2net", "res2net_dla60_4s-d88db7f9.pth", depth="dla60", width=28, top1=78.480, top5=94.204),
    _timm(
        "dla60_res2next",
        "res2next_dla60_4s-d327927b.pth",
        depth="dla60",
        width=4 * 8,
        groups=8,
        top1=78.488,
        top5=94.144,
    ),
    _mmpretrain(
        "res2net50-w14-s8",
        "res2net50-w14-s8_3rdparty_8xb32_in1k_20210927-bc967bf1.pth",
        width=14,
        scales=8,
        top1=78.14,
        top5=93.85,
    ),
    _mmpretrain(
        "res2net50-w26-s8",
        "res2net50-w26-s8_3rdparty_8xb32_in1k_20210927-f547a94b.pth",
        scales=8,
        top1=79.20,
        top5=94.36,
    ),
    _mmpretrain(
        "res2net101-w26-s4",
        "res2net101-w26-s4_3rdparty_8xb32_in1k_20210927-870b6c36.pth",
        depth=101,
        top1=79.19,
        top5=94.44,
    ),
    _mindcv("res2net50", "res2net50-f42cf71b.ckpt", top1=79.33, top5=94.64),
    _mindcv("res2net101", "res2net101-8ae60132.ckpt", depth=101),
    _mindcv("res2net152", None, depth=152),
    _mindcv("res2net50_v1b", "res2net50_v1b-99304e92.ckpt", variant="d"),
    _mindcv("res2net101_v1b", "res2net101_v1b-7e6db001.ckpt", depth=101, variant="d"),
    _mindcv("res2net152_v1b", None, depth=152, variant="d"),
    _paddleclas("Res2Net50_26w_4s", top1=79.3, top5=94.6),
    _paddleclas("Res2Net50_14w_8s", width=14, scales=8, top1=79.5, top5=94.7),
    _paddleclas("Res2Net50_vd_26w_4s", variant="d", top1=79.8, top5=94.9),
    _paddleclas("Res2Net50_vd_26w_4s_ssld", variant="d", top1=83.1, top5=96.6, note=_SSLD),
    _paddleclas("Res2Net101_vd_26w_4s", depth=101, variant="d", top1=80.6, top5=95.2),
    _paddleclas("Res2Net101_vd_26w_4s_ssld", depth=101, variant="d", top1=83.9, top5=97.1, note=_SSLD),
    _paddleclas("Res2Net200_vd_26w_4s", depth=200, variant="d", top1=81.2, top5=95.7),
    _paddleclas("Res2Net200_vd_26w_4s_ssld", depth=200, variant="d", top1=85.1, top5=97.4, note=_SSLD),
    _ppdet(
        "Res2Net50_26w_4s_pretrained",
        "backbone",
        "pretrained/Res2Net50_26w_4s_pretrained.pdparams",
        "b",
        "paddle",
        25_699_120 - _IMAGENET_HEAD - 1000,
        _BACKBONE_NOTE,
    ),
    _ppdet(
        "Res2Net50_vd_26w_4s_pretrained",
        "backbone",
        "pretrained/Res2Net50_vd_26w_4s_pretrained.pdparams",
        "d",
        "paddle",
        25_718_352 - _IMAGENET_HEAD - 1000,
        _BACKBONE_NOTE,
    ),
    _ppdet(
        "faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco",
        "detector",
        "faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco.pdparams",
        "b",
        "ppdet",
        41_895_144,
        box_ap=40.6,
    ),
    _ppdet(
        "mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco",
        "detector",
        "mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco.pdparams",
        "b",
        "ppdet",
        44_538_424,
        box_ap=42.4,
        mask_ap=38.1,
    ),
    _ppdet(
        "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco",
        "detector",
        "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco.pdparams",
        "d",
        "ppdet",
        44_557_656,
        "Variant d in the stem only: its shortcuts have no average pool.",
        "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco_ppdet_dialect_eval",
        box_ap=42.6,
        mask_ap=38.1,
    ),
    _MMDET_TRUNK,
    _mmdet(
        "faster-rcnn_res2net-101_fpn_2x_coco",
        "faster_rcnn_r2_101_fpn_2x_coco-175f1da6.pth",
        61_421_944,
        box_ap=43.0,
    ),
    _mmdet(
        "mask-rcnn_res2net-101_fpn_2x_coco",
        "mask_rcnn_r2_101_fpn_2x_coco-17f061e8.pth",
        64_065_224,
        box_ap=43.6,
        mask_ap=38.7,
    ),
    _mmdet(
        "cascade-rcnn_res2net-101_fpn_20e_coco",
        "cascade_rcnn_r2_101_fpn_20e_coco-f4b7b7db.pth",
        89_063_654,
        box_ap=45.7,
    ),
    _mmdet(
        "cascade-mask-rcnn_res2net-101_fpn_20e_coco",
        "cascade_mask_rcnn_r2_101_fpn_20e_coco-8a7b41e1.pth",
        96_993_494,
        box_ap=46.4,
        mask_ap=40.0,
    ),
)
