"""Finds annotations in the formats of Pascal VOC, labelme and YOLO."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from ppdet_res2net.data.text_files import read_bytes, read_json_file, read_lines
from ppdet_res2net.datasets.convert.voc_xml import read_xml
from ppdet_res2net.datasets.convert.yolo_description import SPLITS, read_description, read_split
from ppdet_res2net.datasets.own_recipe.source import Source
from ppdet_res2net.datasets.own_recipe.tree import TEST, TRAIN, VAL, FileTree, role_of
from ppdet_res2net.errors import DatasetError

__all__ = ["find_labelme", "find_voc", "find_yolo"]

_LOOKED_AT = 5  # files of a folder
# VOC's and PaddleDetection's lists of images, and PaddleX's
_LISTS = {"train": TRAIN, "val": VAL, "valid": VAL, "test": TEST, "trainval": None}
_LISTS |= {f"{name}_list": role for name, role in _LISTS.items()}
_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "imgs", "img")
_MASKS = "SegmentationObject"
# Files with a class name per line, as labelImg, Label Studio, Darknet and CVAT call them
_CLASS_LISTS = ("classes.txt", "obj.names", "predefined_classes.txt", "classes.names", "names.txt", "labels.txt")
_LABEL_LINE = re.compile(r"\d+([ \t]+-?[\d.]+(e-?\d+)?){4,}\s*", re.IGNORECASE)


def find_voc(tree: FileTree, names: Path | None = None) -> list[Source]:
    """Return the folders of XML files: one for each split, or one for each list of images in ``ImageSets``."""
    del names
    folders = _folders_of(tree.others[".xml"], _is_voc)
    sources = [_voc_source(folder, tree) for folder in _by_role(folders, tree)]
    if len(sources) != 1:
        return sources
    (source,) = sources
    lists = {_LISTS[path.stem]: path for path in _voc_lists(tree)}
    if TRAIN not in lists and None not in lists:
        return sources
    if TRAIN in lists and VAL in lists:
        lists.pop(None, None)
    elif None in lists:
        lists.pop(TRAIN, None)
    return [
        Source("voc", source.annotations, role, source.image_dir, path, source.mask_dir) for role, path in lists.items()
    ]


def _is_voc(path: Path) -> bool:
    read_xml(path)  # refuses all others
    return True


def _voc_lists(tree: FileTree) -> list[Path]:
    """Return the lists of images: those of VOC's main task, or else those beside the folders, as PaddleDetection has them."""
    lists = [path for path in tree.others[".txt"] if path.stem in _LISTS]
    for wanted in (
        lambda path: path.parent.name == "Main",
        lambda path: path.parent in (tree.root, tree.root / "ImageSets"),
    ):
        if chosen := [path for path in lists if wanted(path)]:
            return chosen
    return []


def _voc_source(folder: Path, tree: FileTree) -> Source:
    files = [path for path in tree.others[".xml"] if folder in path.parents]
    masks = folder.parent / _MASKS
    has_all = masks.is_dir() and all((masks / f"{path.stem}.png").is_file() for path in files)
    role = role_of(tree.relative(folder))
    return Source("voc", folder, role, _images_of(folder, tree), mask_dir=masks if has_all else None)


def find_labelme(tree: FileTree, names: Path | None = None) -> list[Source]:
    """Return the folders of labelme's JSON files: one for each split."""
    del names
    folders = _folders_of(tree.others[".json"], _is_labelme)
    return [
        Source("labelme", folder, role_of(tree.relative(folder)), _images_of(folder, tree))
        for folder in _by_role(folders, tree)
    ]


def _is_labelme(path: Path) -> bool:
    content = read_json_file(path)
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def _folders_of(files: Iterable[Path], is_wanted: Callable[[Path], bool]) -> list[Path]:
    """Return the folders in which one of the first files is of a kind."""
    looked_at: dict[Path, list[bool]] = {}
    for path in files:
        seen = looked_at.setdefault(path.parent, [])
        if len(seen) < _LOOKED_AT and True not in seen:
            try:
                seen.append(is_wanted(path))
            except DatasetError:  # if its folder is taken, the conversion says what is wrong with it
                seen.append(False)
    return [folder for folder, seen in looked_at.items() if True in seen]


def _by_role(folders: list[Path], tree: FileTree) -> list[Path]:
    """Return a folder for each split; the one that holds all, if their names tell nothing about splits."""
    roles = {role_of(tree.relative(folder)) for folder in folders}
    by_role: dict[str | None, list[Path]] = {role: [] for role in roles}
    for folder in folders:
        by_role[role_of(tree.relative(folder))].append(folder)
    chosen = [_common(found) for found in by_role.values()]
    for one in chosen:
        inside = next((other for other in chosen if one in other.parents), None)
        if inside is not None:
            raise DatasetError(
                f"the annotations in '{one}' would also be those of its folder '{inside}', which seems to be another split. "
                "Move the files of each split to a folder of its own, such as train and val."
            )
    return chosen


def _common(folders: list[Path]) -> Path:
    first, *others = folders
    return next(one for one in (first, *first.parents) if all(one == other or one in other.parents for other in others))


def _images_of(folder: Path, tree: FileTree) -> Path:
    """Return the folder of the images for a folder of annotations: itself, one beside it, or all of the dataset."""
    parts = tree.relative(folder).parts
    mirrored = [
        tree.root.joinpath(*parts[:index], name, *parts[index + 1 :])
        for index in range(len(parts))
        for name in _IMAGE_FOLDERS
    ]
    for candidate in (folder, *mirrored, *(folder.parent / name for name in _IMAGE_FOLDERS), folder.parent):
        if (candidate == tree.root or tree.root in candidate.parents) and tree.images_below(candidate):
            return candidate
    return tree.root


def find_yolo(tree: FileTree, names: Path | None = None) -> list[Source]:
    """Return the splits of a ``data.yaml``; without one, the folders of label files, if a list of classes is there.

    Raises:
        DatasetError: There are label files and no list of classes, or several.
    """
    descriptions = [
        path for path in (*tree.others[".yaml"], *tree.others[".yml"], *tree.others[".data"]) if _describes(path)
    ]
    if len(descriptions) > 1:
        shown = ", ".join(f"'{tree.relative(path)}'" for path in descriptions)
        raise DatasetError(
            f"'{tree.root}' has several descriptions of a dataset of YOLO: {shown}. Pass one of them instead."
        )
    note = ""
    try:
        if descriptions and (sources := _described(descriptions[0])):
            return sources
    except DatasetError as error:  # the folders may tell, though the paths are those of another machine
        note = f"{error} The folders of label files were taken instead"
        if not (folders := _label_folders(tree)):
            raise
    else:
        folders = _label_folders(tree)
    if not folders:
        return []
    table = names or (descriptions[0] if descriptions else _class_list(tree))
    by_role: dict[str | None, list[Path]] = {}
    for folder in folders:
        by_role.setdefault(role_of(tree.relative(folder)), []).append(folder)
    return [
        Source("yolo", table, role, places=tuple(map(_yolo_images, found)), note=note)
        for role, found in by_role.items()
    ]


def _describes(path: Path) -> bool:
    try:
        content = read_description(path, "description of a dataset")
    except DatasetError:
        if b"names" in read_bytes(path):
            raise  # the dataset would be another one without it
        return False
    return content is not None and "names" in content


def _described(path: Path) -> list[Source]:
    content = read_description(path, "description of a dataset") or {}
    roles = [role for role, keys in SPLITS.items() if any(content.get(key) for key in keys)]
    places = {role: tuple(read_split(path, role)) for role in roles}
    note = ""
    if VAL in places and places[VAL] == places.get(TRAIN):
        del places[VAL]
        note = f"'{path}' names the same images for training and validation, so they count as one set"
    return [Source("yolo", path, role, places=found, note=note) for role, found in places.items()]


def _label_folders(tree: FileTree) -> list[Path]:
    files = [path for path in tree.others[".txt"] if tree.is_per_image(path)]
    return _folders_of(files, _is_labels)


def _is_labels(path: Path) -> bool:
    lines = [line for line in read_lines(path, "label file", may_be_empty=True) if line.strip()]
    return bool(lines) and _LABEL_LINE.fullmatch(lines[0]) is not None


def _yolo_images(folder: Path) -> Path:
    """Return the folder of the images whose label files are in a folder: in the place of 'labels', or itself."""
    for index in reversed(range(len(folder.parts))):
        if folder.parts[index] == "labels":
            images = Path(*folder.parts[:index], "images", *folder.parts[index + 1 :])
            if images.is_dir():
                return images
    return folder


def _class_list(tree: FileTree) -> Path:
    files = [path for paths in tree.others.values() for path in paths]
    found = [path for path in files if path.name in _CLASS_LISTS or path.suffix == ".names"]
    if len(found) == 1:
        return found[0]
    if not found:
        raise DatasetError(
            f"'{tree.root}' has label files of YOLO, but neither a data.yaml nor a classes.txt, so the classes have no names. "
            "Pass a file with one name per line with --names."
        )
    same = {tuple(read_lines(path, "class names")) for path in found}
    if len(same) == 1:
        return found[0]
    shown = ", ".join(f"'{tree.relative(path)}'" for path in found)
    raise DatasetError(f"'{tree.root}' has several lists of classes: {shown}. Choose one with --names.")
