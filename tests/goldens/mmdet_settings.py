"""What mmdetection computes where PaddleDetection has a setting of its own or computes something else.

    python -m tests.goldens.mmdet_settings

writes ``mmdet_settings.json``, in the environment that ``make_goldens.py`` names for mmdet. The inputs are functions below,
which the tests call again. mmcv's compiled operators are not needed: ``batched_nms`` is written out here, level by level.
"""

from __future__ import annotations

import importlib.metadata
import json
import zlib
from pathlib import Path

import numpy as np

from tests.goldens.make_goldens import _do_without

FILE = Path(__file__).with_suffix(".json")
LIMITS = (800, 1333)
IMAGE_HW = (75, 98)
STANDARD_DEVIATIONS = (0.1, 0.1, 0.2, 0.2)
CLASSES = 3
STRIDES = (4, 8)
ANCHOR_SCALE = 2
RATIOS = (0.5, 1.0, 2.0)
MAPS = ((19, 25), (10, 13))
BEFORE_NMS, PROPOSALS, NMS_THRESHOLD = 200, 150, 0.7


def make_sizes() -> np.ndarray:
    """Return heights and widths of images; many scaled ones end near half a pixel."""
    fixed = [(480, 640), (427, 640), (640, 427), (333, 500), (1200, 301), (800, 1333), (799, 1333), (2000, 2000)]
    return np.concatenate([fixed, _random(1).randint(9, 2500, (60, 2))])


def make_deltas() -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (60, 4), and deltas for each class (60, 12), of which many are beyond the limits of the size."""
    deltas = _random(2).normal(0, 2, (60, CLASSES, 4))
    deltas[..., 2:] *= 8
    return make_boxes(_random(3), 60), deltas.reshape(60, -1).astype(np.float32)


def make_boxes(random: np.random.RandomState, count: int) -> np.ndarray:
    """Return boxes inside the image: float32 xyxy (count, 4)."""
    height, width = IMAGE_HW
    corners = random.uniform(0, 1, (count, 2, 2)) * [width, height]
    corners = np.sort(corners, axis=1)
    corners[:, 1] += 0.5
    return corners.reshape(count, 4).astype(np.float32)


def make_level_boxes() -> np.ndarray:
    """Return boxes of all sizes, float32 xyxy; many are as large as the border between two levels, or nearly."""
    sides = list(_random(4).uniform(2, 1300, (60, 2)))
    for border in (112.0, 224.0, 448.0):
        below, above = (np.nextafter(np.float32(border), np.float32(limit)) for limit in (0, 9999))
        sides += [(border, border), (below, border), (below, below), (above, above), (border / 2, border * 2)]
        sides += [(border * (1 + part), border) for part in (-4e-6, -2e-6, -1.2e-6, -8e-7, -6e-7, -3e-7, 1e-6)]
    sides = np.array(sides, np.float32)
    return np.concatenate([np.zeros_like(sides), sides], axis=1)


def make_rpn_outputs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return logits (A, H, W) and deltas (4 A, H, W) of each level. Many boxes shrink below one pixel."""
    random = _random(5)
    outputs = []
    for height, width in MAPS:
        logits = random.permutation(np.linspace(-6, 6, 3 * height * width)).reshape(3, height, width)
        deltas = random.normal(0, 1, (3, 4, height, width))
        deltas[:, 2:] = random.normal(-1.5, 2.5, (3, 2, height, width))
        outputs.append((logits.astype(np.float32), deltas.reshape(12, height, width).astype(np.float32)))
    return outputs


def make_masks() -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (8, 28, 28) and boxes (8, 4), some of them beyond the image or smaller than a pixel."""
    random = _random(6)
    coarse = random.normal(0, 3, (8, 7, 7)).repeat(4, axis=1).repeat(4, axis=2) + random.normal(0, 1, (8, 28, 28))
    boxes = make_boxes(random, 8)
    boxes[:3] = [[-8.25, -3.5, 40.125, 30.0], [60.0, 50.5, 120.0, 90.0], [20.25, 20.25, 20.9, 20.7]]
    return (1 / (1 + np.exp(-coarse))).astype(np.float32), boxes


def _random(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)


def run_mmdet() -> dict:
    """Return what mmdetection computes from these inputs."""
    _do_without("torchvision")
    _do_without("mmcv._ext")
    import mmcv
    import torch
    from mmdet.models.dense_heads import rpn_head as rpn
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
    from mmdet.models.task_modules.coders import delta_xywh_bbox_coder as coder
    from mmdet.models.task_modules.prior_generators import AnchorGenerator
    from mmengine.config import ConfigDict
    from mmengine.model import ImgDataPreprocessor
    from pycocotools import mask as coco_mask

    sizes = make_sizes()
    new_sizes = [mmcv.rescale_size((int(w), int(h)), LIMITS[::-1]) for h, w in sizes]
    preprocessor = ImgDataPreprocessor(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32
    )
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1, 1)
    table = preprocessor({"inputs": [pixels]})["inputs"][0, :, 0].numpy()

    boxes, deltas = make_deltas()
    decoded = coder.DeltaXYWHBBoxCoder(target_stds=STANDARD_DEVIATIONS).decode(
        torch.tensor(boxes), torch.tensor(deltas), max_shape=IMAGE_HW
    )

    extractor = SingleRoIExtractor.__new__(SingleRoIExtractor)
    torch.nn.Module.__init__(extractor)
    extractor.finest_scale = 56
    level_boxes = make_level_boxes()
    rois = np.concatenate([np.zeros((len(level_boxes), 1), np.float32), level_boxes], axis=1)
    levels = extractor.map_roi_levels(torch.tensor(rois), 4)

    head = rpn.RPNHead.__new__(rpn.RPNHead)
    torch.nn.Module.__init__(head)
    head.bbox_coder = coder.DeltaXYWHBBoxCoder()
    head.use_sigmoid_cls, head.cls_out_channels = True, 1
    rpn.batched_nms = _nms_by_level
    anchors = AnchorGenerator(strides=STRIDES, ratios=RATIOS, scales=[ANCHOR_SCALE]).grid_priors(MAPS, device="cpu")
    outputs = [[torch.tensor(array) for array in pair] for pair in make_rpn_outputs()]
    proposals = head._predict_by_feat_single(
        [logits for logits, _ in outputs],
        [deltas for _, deltas in outputs],
        [],
        anchors,
        {"img_shape": IMAGE_HW},
        ConfigDict(nms_pre=BEFORE_NMS, max_per_img=PROPOSALS, nms={"iou_threshold": NMS_THRESHOLD}, min_bbox_size=0),
    )

    bitmaps = []
    for probabilities, box in zip(*make_masks()):
        bitmap = np.zeros(IMAGE_HW, np.uint8, order="F")
        pasted, place = _do_paste_mask(torch.tensor(probabilities[None, None]), torch.tensor(box[None]), *IMAGE_HW)
        bitmap[place] = (pasted[0] >= 0.5).numpy()
        bitmaps.append(coco_mask.encode(bitmap)["counts"].decode())
    return {
        "sizes": [[height, width] for width, height in new_sizes],
        "normalized_crc32": zlib.crc32(np.ascontiguousarray(table).tobytes()),
        "decoded": _numbers(decoded),
        "levels": levels.tolist(),
        "proposals": _numbers(proposals.bboxes),
        "proposal_scores": _numbers(proposals.scores),
        "masks": bitmaps,
    }


def _nms_by_level(boxes, scores, levels, config):
    import torch

    kept = []
    for index in scores.argsort(descending=True).tolist():
        x0, y0, x1, y1 = boxes[index]
        others = [other for other in kept if levels[other] == levels[index]]
        width = torch.minimum(x1, boxes[others, 2]) - torch.maximum(x0, boxes[others, 0])
        height = torch.minimum(y1, boxes[others, 3]) - torch.maximum(y0, boxes[others, 1])
        shared = width.clamp(min=0) * height.clamp(min=0)
        areas = (boxes[others, 2] - boxes[others, 0]) * (boxes[others, 3] - boxes[others, 1])
        if not (shared / ((x1 - x0) * (y1 - y0) + areas - shared) > config["iou_threshold"]).any():
            kept.append(index)
    return torch.cat([boxes[kept], scores[kept, None]], dim=1), torch.tensor(kept)


def _numbers(tensor) -> list:
    array = tensor.numpy()
    return [float(f"{value:.9g}") for value in array.ravel()]


if __name__ == "__main__":
    packages = ("mmdet", "mmengine", "mmcv-lite", "torch", "numpy")
    golden = {"versions": {name: importlib.metadata.version(name) for name in packages}, **run_mmdet()}
    FILE.write_text(json.dumps(golden, separators=(",", ":")).replace(',"', ',\n"') + "\n")
