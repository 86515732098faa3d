"""The model card of a run: ``README.md`` with the metadata that a hub reads, filled from what the run has recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

import ppdet_res2net
from ppdet_res2net.config import is_classifier
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.training.publication.run import PublishedRun
from ppdet_res2net.zoo.catalog import find_model, find_published
from res2net_runtime.texts import hide_password, is_url, printable

__all__ = ["Figure", "list_figures", "write_card"]

_LIBRARY = "ppdet-res2net"
_MOST_CLASSES = 200
_IOU_TYPES = {"bbox": "box", "segm": "mask"}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of an evaluation.

    Attributes:
        name: Its name, such as ``box AP50``.
        metric: Its type among a hub's metadata.
        percent: Its value.
    """

    name: str
    metric: str
    percent: float


def list_figures(metrics: Mapping[str, Any] | None) -> list[Figure]:
    """Return the figures of a run's evaluation; none if these weights were not evaluated."""
    metrics = metrics or {}
    figures = [
        Figure(f"{word} {name}", "mAP" if name == "AP" else f"mAP@{name[2:]}", 100 * metrics[key][name])
        for key, word in _IOU_TYPES.items()
        if isinstance(metrics.get(key), Mapping)
        for name in ("AP", "AP50", "AP75")
        if metrics[key].get(name, -1) >= 0
    ]
    return figures + [
        Figure(name, metric, 100 * metrics[key])
        for key, name, metric in (("top1", "top-1", "accuracy"), ("top5", "top-5", "top-5 accuracy"))
        if key in metrics
    ]


def write_card(run: PublishedRun, licence: str, repo: str, dataset: str | None, formats: Sequence[str]) -> str:
    """Return the text of the card.

    Args:
        run: What is published.
        licence: The hub's name of the licence.
        repo: ``OWNER/NAME``, for the commands.
        dataset: What the data of the evaluation are called; None: as the recipe's folders are.
        formats: The formats of the export.
    """
    task = _pipeline_tag(run)
    dataset = dataset or _name_of_dataset(run.config)
    figures = list_figures(run.info.get("metrics"))
    metadata: dict[str, Any] = {
        "license": licence,
        "library_name": _LIBRARY,
        "pipeline_tag": task,
        "tags": ["res2net", "paddlepaddle", str(run.config["architecture"]).lower(), task],
    }
    if figures:
        metadata["model-index"] = [_index_entry(run, task, dataset, figures)]
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    parts = [
        f"# {_text(run.name)}",
        _introduction(run),
        "## Figures\n\n" + _figures(run, dataset, figures),
        "## Use\n\n" + _use(run, repo, formats),
        "## Training\n\n" + _training(run),
        "## Classes\n\n" + _classes(run.info["class_names"]),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _pipeline_tag(run: PublishedRun) -> str:
    if is_classifier(run.config):
        return "image-classification"
    return "image-segmentation" if "Mask" in run.config["architecture"] else "object-detection"


def _name_of_dataset(config: Mapping[str, Any]) -> str:
    part = Tagged.from_value(config.get("EvalDataset") or config.get("TrainDataset"))
    folder = PurePosixPath(str((part.kwargs.get("dataset_dir") if part else None) or "")).name
    return folder or "the data of its recipe"


def _index_entry(run: PublishedRun, task: str, dataset: str, figures: Sequence[Figure]) -> dict[str, Any]:
    slug = "".join(letter if letter.isalnum() else "-" for letter in dataset.lower())
    return {
        "name": run.name,
        "results": [
            {
                "task": {"type": task},
                "dataset": {"type": slug, "name": dataset},
                "metrics": [{"type": one.metric, "name": one.name, "value": round(one.percent, 2)} for one in figures],
            }
        ],
    }


def _introduction(run: PublishedRun) -> str:
    trunk = run.config.get("Res2Net") or {}
    described = f"Res2Net-{trunk['depth']}" if isinstance(trunk.get("depth"), int) else "Res2Net"
    what = "classifier" if is_classifier(run.config) else f"{run.config['architecture']} detector"
    count = len(run.info["class_names"])
    return (
        f"A {what} on {described} for PaddlePaddle, with {count} {'class' if count == 1 else 'classes'}. Its folder was "
        f"written by ppdet-res2net {ppdet_res2net.__version__}."
    )


def _figures(run: PublishedRun, dataset: str, figures: Sequence[Figure]) -> str:
    if not figures:
        return "The run has no evaluation of these weights."
    metrics = run.info["metrics"]
    lines = [
        f"On {metrics.get('images', '?')} images of {_text(dataset)}, from the run's own evaluation:",
        "",
        "| figure | % |",
        "|---|---|",
        *(f"| {one.name} | {one.percent:.1f} |" for one in figures),
    ]
    classes = (metrics.get("bbox") or {}).get("classes")
    if classes and len(classes) <= _MOST_CLASSES:
        lines += ["", "| class | box AP (%) |", "|---|---|"]
        lines += [
            f"| {_text(one['class'])} | {100 * one['AP']:.1f} |"
            if one["AP"] >= 0
            else f"| {_text(one['class'])} | no objects |"
            for one in classes
        ]
    return "\n".join(lines)


def _use(run: PublishedRun, repo: str, formats: Sequence[str]) -> str:
    address = f"hf://{repo}"
    loader = ".classification import Classifier" if is_classifier(run.config) else " import Predictor"
    name = loader.rpartition(" ")[2]
    return (
        "With ppdet-res2net and `huggingface_hub`:\n\n"
        "```\n"
        f"ppdet-res2net infer -c {address} --infer_img photo.jpg\n"
        f"ppdet-res2net eval -c {address} -o EvalDataset.dataset_dir=DIR\n"
        f"ppdet-res2net train -c {address} -o TrainDataset.dataset_dir=DIR\n"
        "```\n\n"
        f"The folder `export` holds the network for deployment ({', '.join(formats)}). It needs the runtime only:\n\n"
        "```python\n"
        f"from res2net_runtime{loader}\n\n"
        f'model = {name}("{address}")\n'
        'print(model("photo.jpg"))\n'
        "```"
    )


def _training(run: PublishedRun) -> str:
    config = run.config
    rate = (config.get("LearningRate") or {}).get("base_lr")
    batch = (config.get("TrainReader") or {}).get("batch_size")
    rows = {
        "recipe": "`config.yml`",
        "steps": run.info.get("step"),
        "epochs of the recipe": config.get("epoch"),
        "images per batch and device": batch,
        "learning rate of the recipe": rate,
        "weights": "moving average (EMA)" if config.get("use_ema") else "as trained",
        "started from": _start(config.get("pretrain_weights")),
    }
    return "\n".join(
        [
            "| setting | value |",
            "|---|---|",
            *(f"| {key} | {value} |" for key, value in rows.items() if value is not None),
        ]
    )


def _start(weights: str | None) -> str:
    """Describe the weights that training started from, without paths of this machine."""
    if not weights:
        return "random weights"
    spec = find_model(weights) or find_published(weights)
    if spec is not None:
        return f"{spec.name} (licence: {_text(spec.licence)})"
    return _text(hide_password(weights)) if is_url(weights) else "weights of a file"


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(_text(name) for name in names[:_MOST_CLASSES])
    return shown + (f" and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else "")


def _text(value: object) -> str:
    """Return a text without what Markdown and HTML would take for their own."""
    text = printable(value)
    for letter in "\\`*_[]<>|#":
        text = text.replace(letter, f"\\{letter}")
    return text
