"""Finds annotation files in COCO's format."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ppdet_res2net.data.text_files import read_bytes, read_json_file
from ppdet_res2net.datasets.own_recipe.source import Source
from ppdet_res2net.datasets.own_recipe.tree import FileTree, role_of
from ppdet_res2net.errors import DatasetError

__all__ = ["find_coco"]

_LOOKED_AT = 50  # files of a folder
_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_OBJECTS, _KEYPOINTS = "instances", "keypoints"


def find_coco(tree: FileTree, names: Path | None = None) -> list[Source]:
    """Return the annotation files with objects; of several in COCO's own naming, those of its instances."""
    del names  # the files have them
    found = [path for path in _candidates(tree) if _holds_objects(path)]
    sources = [Source("coco", path, role_of(tree.relative(path))) for path in found]
    instances = [one for one in sources if one.annotations.name.startswith(_OBJECTS)]
    has_others = any(_KEYPOINTS in one.annotations.name for one in sources)
    return instances if instances and has_others else sources


def _candidates(tree: FileTree) -> list[Path]:
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in tree.others[".json"]:
        if not tree.is_per_image(path):
            by_folder[path.parent].append(path)
    return [path for paths in by_folder.values() for path in paths[:_LOOKED_AT]]


def _holds_objects(path: Path) -> bool:
    try:
        content = read_json_file(path)
    except DatasetError:
        if any(key in read_bytes(path) for key in _KEYS):
            raise  # it would be missing from the dataset
        return False
    if not isinstance(content, dict) or not content.get("images") or not content.get("categories"):
        return False
    first = next(iter(content.get("annotations") or []), None)
    return isinstance(first, dict) and "category_id" in first and "segments_info" not in first
