"""Recognises annotations that are not in COCO's format, and says how to get a COCO file from them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ppdet_res2net.commands import command_line
from ppdet_res2net.data.text_files import parse_plain_yaml, read_text
from ppdet_res2net.errors import DatasetError

__all__ = ["recognise"]

_LOOKED_AT = 200  # files of a folder that are enough to recognise it
_YOLO_LINE = re.compile(r"\d+(\s+-?[\d.]+(e-?\d+)?){4,}\s*", re.IGNORECASE)
_YAML_SUFFIXES = (".yaml", ".yml")


def recognise(path: str | os.PathLike[str], content: object = None) -> str | None:
    """Say what a file or folder is, if another tool's annotations were given where a COCO file is expected.

    Args:
        path: What was given; it exists.
        content: The content of the file if it is JSON; None if it is not, or if ``path`` is a folder.

    Returns:
        Whole sentences with the command that converts it or what to export instead; None if it is not known.
    """
    path = Path(path)
    if path.is_dir():
        return _recognise_folder(path)
    return _recognise_text(path) if content is None else _recognise_json(path, content)


def _recognise_folder(folder: Path) -> str | None:
    names = sorted(os.listdir(folder))
    for name in names:
        if name.lower().endswith(_YAML_SUFFIXES) and (found := _recognise_text(folder / name)):
            return found
    if "Annotations" in names and (folder / "Annotations").is_dir():
        return _voc(folder / "Annotations", folder / "JPEGImages")
    suffixes = [Path(name).suffix.lower() for name in names[:_LOOKED_AT]]
    if ".xml" in suffixes:
        return _voc(folder, folder.parent / "JPEGImages")
    for name, suffix in zip(names, suffixes):
        if suffix == ".txt" and (found := _recognise_text(folder / name)):
            return found
    if ".json" in suffixes:
        return (
            f"It holds {sum(suffix == '.json' for suffix in suffixes)} or more JSON files. If each is for one image, as "
            f"labelme writes them: '{_command('labelme', annotations=folder)}'. If they are COCO's, pass one of them."
        )
    return None


def _recognise_text(path: Path) -> str | None:
    try:
        text = read_text(path)
        content = parse_plain_yaml(text, str(path)) if path.suffix.lower() in _YAML_SUFFIXES else None
    except DatasetError:
        return None  # the caller reads the file as what it should be, and says what is wrong with it
    if isinstance(content, dict) and "names" in content:
        return (
            f"This describes a dataset of YOLO: '{_command('yolo', images=_yolo_images(path, content), names=path)}'."
        )
    start = text.lstrip()
    if start.startswith("<"):
        if re.search(r"<annotations[\s>]", start):
            return "This is CVAT's own XML. In CVAT, export the task again as 'COCO 1.0'."
        if re.search(r"<(\w+:)?annotation[\s>]", start, re.IGNORECASE):
            return _voc(path.parent, path.parent.parent / "JPEGImages")
    if all(_YOLO_LINE.fullmatch(line) for line in start.splitlines()[:_LOOKED_AT]):
        parts = ["images" if part == "labels" else part for part in path.parent.parts]
        command = _command("yolo", images=Path(*parts), labels=path.parent, names="NAMES")
        return f"This is a label file of YOLO: '{command}', where NAMES is the dataset's data.yaml or list of classes."
    return None


def _recognise_json(path: Path, content: object) -> str | None:
    if isinstance(content, dict):
        if "shapes" in content:
            return f"This is a file of labelme, for one image: '{_command('labelme', annotations=path.parent)}'."
        regions = content.get("_via_img_metadata", content)
        if isinstance(regions, dict) and _all_have(regions.values(), "filename", "regions"):
            return "This is a project of VIA. In VIA, choose Annotation > Export Annotations (COCO format)."
        if isinstance(content.get("info"), dict) and content["info"].get("description") == "ISAT":
            return "This is ISAT's own file, for one image. In ISAT, convert the annotations to COCO."
        if "segments_info" in str(list(content.get("annotations") or [{}])[:1]):
            return "This is a panoptic file of COCO. Pass the file of instances ('instances_*.json')."
    if isinstance(content, list) and content:
        if _all_have(content, "image_id", "score"):
            return "These are detections, as evaluation writes them. Pass the annotation file that they were made for."
        if _all_have(content, "data", "annotations"):
            return "This is Label Studio's own export. Export the project again as 'COCO'."
        if _all_have(content, "image", "annotations"):
            return "This is CreateML's format. Export the annotations again as COCO."
    return None


def _all_have(entries: Iterable[object], *keys: str) -> bool:
    shown = list(entries)[:_LOOKED_AT]
    return bool(shown) and all(isinstance(entry, dict) and all(key in entry for key in keys) for entry in shown)


def _yolo_images(path: Path, content: dict) -> Path | str:
    """Return the folder of the training images that a ``data.yaml`` names; a word for the user to replace if there is none."""
    root = content.get("path")
    train = content.get("train")
    for base in (path.parent / str(root or ""), path.parent):
        if isinstance(train, str) and (base / train).is_dir():
            return base / train
    return "IMAGES"


def _voc(annotations: Path, images: Path) -> str:
    where = images if images.is_dir() else annotations.parent
    return f"These are annotations in Pascal VOC's format: '{_command('voc', annotations=annotations, images=where)}'."


def _command(tool: str, **options: Path | str) -> str:
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    return command_line("convert-dataset", tool, *given, "--out", "train.json")
