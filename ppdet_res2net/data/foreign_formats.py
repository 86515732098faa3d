"""Recognises annotations that are not in COCO's format, and says how to get a COCO file from them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ppdet_res2net.commands import command_line
from ppdet_res2net.data.text_files import parse_plain_yaml, read_text
from ppdet_res2net.errors import DatasetError
from res2net_runtime.files import IMAGE_SUFFIXES

__all__ = ["recognise"]

_LOOKED_AT = 200  # files of a folder that are enough to recognise it
_YOLO_LINE = re.compile(r"\d+(\s+-?[\d.]+(e-?\d+)?){4,}\s*", re.IGNORECASE)
_IMAGE = rf"\S.*(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))})"
_IMAGE_LINE = re.compile(_IMAGE, re.IGNORECASE)
_PAIR_LINE = re.compile(rf"{_IMAGE}[\s,]+\S.*\.xml", re.IGNORECASE)
_LABELLED_LINE = re.compile(rf"{_IMAGE}[\s,]+[0-9]{{1,6}}", re.IGNORECASE)
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
        if name.lower().endswith((*_YAML_SUFFIXES, ".data")) and (found := _recognise_text(folder / name)):
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
        command = _command("labelme", annotations=folder)
        return (
            f"It holds JSON files. If each is for one image, as labelme writes them: '{command}'. If they are COCO's, pass one "
            "of them."
        )
    return None


def _recognise_text(path: Path) -> str | None:
    try:
        text = read_text(path)
        content = parse_plain_yaml(text, str(path)) if path.suffix.lower() in _YAML_SUFFIXES else None
    except DatasetError:
        return None  # the caller reads the file as what it should be, and says what is wrong with it
    start = text.lstrip()
    if isinstance(content, dict) and "names" in content:
        return _yolo(path, "train" in content)
    if re.search(r"^names[ \t]*=", start, re.MULTILINE) and not start.startswith(("{", "[", "<")):
        return _yolo(path, bool(re.search(r"^train[ \t]*=", start, re.MULTILINE)))
    if start.startswith("version https://git-lfs"):
        return "This is a pointer of Git LFS in the place of the file: 'git lfs pull' downloads the file itself."
    if re.match(r"<(!doctype )?html", start, re.IGNORECASE):
        return "This is a web page, perhaps one for signing in, in the place of a download. Download the file again."
    if start.startswith("<"):
        if re.search(r"<annotations[\s>]", start):
            return "This is CVAT's own XML. In CVAT, export the task again as 'COCO 1.0'."
        if re.search(r"<(\w+:)?annotation[\s>]", start, re.IGNORECASE):
            return _voc(path.parent, path.parent.parent / "JPEGImages")
    lines = [line.strip() for line in start.splitlines()[:_LOOKED_AT] if line.strip()]
    if lines and all(_PAIR_LINE.fullmatch(line) for line in lines):
        command = _command("voc", annotations="ANNOTATIONS", images="IMAGES", list=path)
        return (
            f"This is a list of images and VOC's XML files: '{command}', where ANNOTATIONS is the folder of the XML files, and "
            "IMAGES that of the images."
        )
    if lines and all(_IMAGE_LINE.fullmatch(line) for line in lines):
        return "This is a list of images and holds no objects. Pass the annotation file that belongs to it."
    if lines and all(_LABELLED_LINE.fullmatch(line) for line in lines):
        return "This is a list of images with labels, for classification (ClassListDataSet); it holds no objects."
    if lines and all(_YOLO_LINE.fullmatch(line) for line in lines):
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
        entries = content.get("annotations")
        if isinstance(entries, list) and _all_have(entries[:1], "segments_info"):
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


def _yolo(path: Path, says_images: bool) -> str:
    command = _command("yolo", names=path, **({"split": "train"} if says_images else {"images": "IMAGES"}))
    where = "" if says_images else ", where IMAGES is the folder of the images"
    return f"This describes a dataset of YOLO: '{command}'{where}."


def _voc(annotations: Path, images: Path) -> str:
    where = images if images.is_dir() else annotations.parent
    return f"These are annotations in Pascal VOC's format: '{_command('voc', annotations=annotations, images=where)}'."


def _command(tool: str, **options: Path | str) -> str:
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    return command_line("convert-dataset", tool, *given, "--out", "train.json")
