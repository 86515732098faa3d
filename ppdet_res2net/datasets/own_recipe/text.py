"""Writes a recipe as YAML with a comment for every choice."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import yaml

from ppdet_res2net.data.problems import say_count
from ppdet_res2net.datasets.own_recipe.measure import Measures
from ppdet_res2net.datasets.own_recipe.prepare import Prepared
from ppdet_res2net.datasets.own_recipe.settings import Settings
from ppdet_res2net.errors import DatasetError
from res2net_runtime.texts import printable, storable

__all__ = ["recipe_text"]

_WIDTH = 120
_BASES = "configs/res2net/_base_"
_PRETRAINED = {
    ("medium", False): "ppdet/faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco",
    ("medium", True): "ppdet/mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco",
    ("large", False): "paddleclas/Res2Net101_vd_26w_4s",
    ("large", True): "paddleclas/Res2Net101_vd_26w_4s",
}
_TRUNKS = {"medium": "res2net50_vb_26w_4s", "large": "res2net101_vd_26w_4s"}


def recipe_text(path: Path, prepared: Prepared, measures: Measures, settings: Settings) -> str:
    """Return the recipe.

    Args:
        path: Where it will be; its name is that of the run.
        prepared: The dataset.
        measures: What was measured.
        settings: What was chosen.
    """
    parts = (
        _head(measures, settings),
        _model(settings, measures),
        _schedule(path, settings, measures),
        _data(prepared, settings, measures),
        _readers(settings),
    )
    return "\n".join(parts)


def _head(measures: Measures, settings: Settings) -> str:
    counts = ", ".join(f"{printable(name)} {train}" for name, (train, _) in list(measures.class_counts.items())[:8])
    more = f" and {len(measures.class_counts) - 8} more classes" if len(measures.class_counts) > 8 else ""
    kind = "Mask R-CNN, as" if settings.has_masks else "Faster R-CNN:"
    width, height = measures.image_px
    bases = [f"- {_BASES}/runtime.yml"]
    if settings.size == "small":
        bases.append(f"- {_BASES}/detectors/demo_rcnn.yml")
    else:
        bases += [
            f"- {_BASES}/detectors/{'mask' if settings.has_masks else 'faster'}_rcnn_fpn.yml",
            f"- {_BASES}/backbones/{_TRUNKS[settings.size]}.yml",
        ]
    return _lines(
        _comment(
            f"Written by 'ppdet-res2net init --size {settings.size}' for {say_count(measures.train_images, 'image')} to train "
            f"on and {measures.val_images} to evaluate on, usually of {width}x{height} pixels, with "
            f"{say_count(measures.objects, 'object')} to train on: {counts}{more}. Every setting may be changed here, or for "
            "one run with -o. Paths are relative to the folder in which commands are run."
        ),
        "_BASE_:",
        *bases,
        "",
        _comment(f"{kind} {settings.why_kind}."),
        f"architecture: {'MaskRCNN' if settings.has_masks else 'FasterRCNN'}",
        "metric: COCO",
        f"num_classes: {len(measures.class_counts)}",
    )


def _model(settings: Settings, measures: Measures) -> str:
    anchors = settings.anchors
    if settings.size == "small":
        start = [
            _comment("A trunk of three short stages. It is trained from random weights: there are none to start from."),
            "pretrain_weights: null",
        ]
    else:
        weights = _PRETRAINED[settings.size, settings.has_masks]
        what = (
            "a detector that was trained on COCO, all but its last layers"
            if settings.size == "medium"
            else "ImageNet weights of the trunk"
        )
        start = [
            _comment(
                f"Training starts from {what}: few images are not enough to learn from nothing. The file is downloaded once. "
                f"Without internet, put the path of the file here; 'ppdet-res2net fetch {weights} --list' says "
                "where it is from."
            ),
            f"pretrain_weights: {weights}",
        ]
    levels = (
        f"the best ones for these objects: the overlap (IoU) of an object with the best anchor is {anchors.mean_overlap:.2f} "
        f"on average, and at least 0.5 for {anchors.covered:.0%} of them"
    )
    return _lines(
        "",
        *start,
        "",
        _comment(
            f"Anchors, in pixels after resizing. Nine of ten objects are larger than {settings.object_px:.0f}. One size for "
            f"each level, {levels}. The ratios are height by width."
        ),
        "RPNHead:",
        "  anchor_generator:",
        f"    anchor_sizes: {[[size] for size in anchors.sizes]}",
        f"    aspect_ratios: {list(anchors.ratios)}",
        f"    strides: {list(anchors.strides)}",
    )


def _schedule(path: Path, settings: Settings, measures: Measures) -> str:
    seen = settings.steps * settings.batch_size
    if settings.size == "small":
        rate = [
            _comment(
                "Adam learns from random weights in few steps. The rate falls to zero along a cosine, after a warm-up that "
                "keeps the first steps from spoiling the weights."
            ),
            "LearningRate:",
            "  base_lr: 0.002",
        ]
        optimizer = ["  optimizer: {type: Adam}", "  regularizer: null"]
    else:
        rate = [
            _comment(
                f"The rate of the published recipes, 0.01 for 16 images per step, for {settings.batch_size}; with more images "
                "per step, as on several GPUs, it rises in proportion. It falls to zero along a cosine, after a warm-up that "
                "keeps the first steps from spoiling the weights."
            ),
            f"base_batch_size: {settings.batch_size}",
            "LearningRate:",
            f"  base_lr: {0.01 * settings.batch_size / 16:g}",
        ]
        optimizer = ["  optimizer: {type: Momentum, momentum: 0.9}", "  regularizer: {type: L2, factor: 0.0001}"]
    return _lines(
        "",
        _comment(
            f"{settings.epochs} epochs of {say_count(settings.steps_per_epoch, 'step')}: a run sees {seen} images, each "
            f"{settings.epochs} times. If AP still rises at the end, double epoch and max_epochs."
        ),
        f"epoch: {settings.epochs}",
        _comment(
            f"An evaluation (with --eval) after so many {_unit_of(settings.eval_interval)}, and at the end; the best weights "
            f"are kept. All of them take about {_percent(settings.evaluation_share)} of the time of training, as an evaluated "
            "image takes a third of the time of one in training."
        ),
        f"eval_interval: {settings.eval_interval}",
        _comment("A checkpoint after so many epochs, to continue from; the newest two are kept."),
        f"snapshot_epoch: {settings.snapshot_epoch}",
        "keep_checkpoints: 2",
        f"log_iter: {settings.log_iter}",
        f"weights: {_quoted(f'output/{path.stem}/best_model')}  # what eval, export and infer use; train --eval writes it",
        "",
        *rate,
        "  schedulers:",
        f"  - !CosineDecay {{max_epochs: {settings.epochs}}}",
        f"  - !LinearWarmup {{start_factor: 0.1, steps: {settings.warmup_steps}}}",
        "",
        _comment("A single bad step must not undo the others, so its gradient is shortened."),
        "OptimizerBuilder:",
        "  clip_grad_by_norm: 10.0",
        *optimizer,
    )


def _data(prepared: Prepared, settings: Settings, measures: Measures) -> str:
    fields = ["image", "gt_bbox", "gt_class", *(["gt_poly"] if settings.has_masks else []), "is_crowd"]
    lines = []
    for key, one in (("TrainDataset", prepared.train), ("EvalDataset", prepared.val)):
        lines += [
            f"{key}: !COCODataSet",
            f"  image_dir: {_quoted(one.image_dir)}",
            f"  anno_path: {_quoted(one.annotation_path)}",
        ]
        if key == "TrainDataset":
            lines += [f"  data_fields: [{', '.join(fields)}]"]
            if measures.empty_images:
                lines += [
                    _comment(
                        f"{say_count(measures.empty_images, 'image')} without objects: left out, as they may not be annotated "
                        "yet. allow_empty: true takes them as background.",
                        "  # ",
                    )
                ]
        else:
            lines += ["  allow_empty: true  # whatever is detected in images without objects is wrong, and counts"]
    return _lines(
        "",
        *lines,
        "TestDataset: !ImageFolder  # the names of the classes",
        f"  anno_path: {_quoted(prepared.val.annotation_path)}",
    )


def _readers(settings: Settings) -> str:
    height, width = settings.input_px
    normalization = "{is_scale: true, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"
    train_px = [list(one) for one in settings.train_px]
    size = f"longer side {width}" if height == width else f"shorter side {height}, longer side at most {width}"
    return _lines(
        "",
        _comment(
            f"Input size: {size}; {settings.why_input}. Training shows the images at this size and a little smaller or larger, "
            "so that objects of all sizes are known; evaluation, export and prediction take this size."
        ),
        f"worker_num: {1 if settings.size == 'small' else 2}",
        "TrainReader:",
        "  sample_transforms:",
        "  - Decode: {}",
        "  - RandomResize:",
        f"      target_size: {train_px}",
        "      keep_ratio: true",
        "      interp: 1",
        f"  - RandomFlip: {{prob: {settings.flip}}}  # {settings.why_flip}",
        f"  - NormalizeImage: &normalization {normalization}",
        "  - Permute: {}",
        "  batch_transforms: &pad",
        "  - PadBatch: {pad_to_stride: 32}",
        f"  batch_size: {settings.batch_size}  # images per step; more of them need more memory, and make fewer steps",
        "  shuffle: true",
        "  drop_last: true",
        "  collate_batch: false",
        "",
        "EvalReader: &test_reader",
        "  sample_transforms:",
        "  - Decode: {}",
        f"  - Resize: {{target_size: [{height}, {width}], keep_ratio: true, interp: 1}}",
        "  - NormalizeImage: *normalization",
        "  - Permute: {}",
        "  batch_transforms: *pad",
        "  batch_size: 1",
        "",
        "TestReader: *test_reader",
        "",
    )


def _unit_of(interval: int | str) -> str:
    return "epochs" if isinstance(interval, int) else "steps"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "1%"


def _comment(text: str, start: str = "# ") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


def _quoted(value: object) -> str:
    """Return text in quotes, as YAML reads it.

    Raises:
        DatasetError: It has bytes that are not UTF-8.
    """
    text = str(value)
    if storable(text) != text:
        raise DatasetError(
            f"the path '{printable(text)}' is not UTF-8, so no recipe can name it. Rename the folder or file."
        )
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=sys.maxsize).rstrip("\n")


def _lines(*parts: str) -> str:
    return "\n".join(parts)
