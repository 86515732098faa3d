"""Damaged and hostile recipes and overrides: read, checked, written again, and built. Nothing in them may run as code.

python -m benchmarks.fuzz.recipes [--seed SEED] [--count COUNT] [--minutes MINUTES]
"""

from __future__ import annotations

import copy
import functools
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paddle
import yaml

from benchmarks.fuzz.harness import run_main
from benchmarks.fuzz.mutations import change_bytes, change_text, change_tree, list_places
from benchmarks.fuzz.watch import MARK, watched
from benchmarks.harness import ROOT
from ppdet_res2net.config import Config, is_classifier, load_config, save_config
from ppdet_res2net.data.coco import DATA_FIELDS, COCODataSet
from ppdet_res2net.data.loader import BatchLoader
from ppdet_res2net.detection.model import Classes, make_model_info
from ppdet_res2net.errors import Res2NetError
from ppdet_res2net.ppdet_modules.registry import (
    create_dataset,
    create_from_config,
    registered_classes,
    serializable_classes,
)
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.training.schedule import scale_learning_rate

__all__ = ["LONGEST_MESSAGE", "prepare", "try_one"]

LONGEST_MESSAGE = 20_000  # up to twenty mistakes, each with the list of what is allowed
_CONFIGS = ROOT / "configs" / "res2net"
_TAG = "!"  # the key that stands for the tag of a mapping
_LARGEST_BUILT = 64
_LARGEST_DRAWN = 512
_CODE = (
    f"__import__('os').system('touch {MARK}')",
    f"(lambda: open('{MARK}', 'w'))()",
    f"[c for c in ().__class__.__base__.__subclasses__() if '{MARK}']",
    f"exec('import os; os.mkdir(\"{MARK}\")')",
    f"nn.GELU  # {MARK}",
    f"lambda x: '{MARK}'",
    f"{{{{ {MARK} }}}}",
)
_NUMBERS = (
    -(2**63), -1, 0, 1, 2, 3, 7, 64, 255, 4096, 16_384, 2**31, 2**63, 10**30, 0.0, -0.5, 0.5, 1.0, 1e-300, 1e300,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
_TEXTS = (
    "", " ", "~", "null", "on", "off", "1e3", "1e400", "0x10", "1_000", "1:30", "2024-05-01", "2024-13-45", "é", "中",
    "\ud800", "a\0b", "\x1b[31m", "\u202e", "a" * 5000, "/dev/zero", "/dev/stdin", "~/x", "~nobody/x", "..", "pipe.yml",
    "${x}", "%s", "{}",
)  # fmt: skip
_YAML = (
    "!!python/object/apply:os.system [x]", "!!python/name:os.system", "!!python/module:os", "!!python/tuple [1, 2]",
    "!!python/object/new:os.system [x]", "!!timestamp abc", "!!timestamp 2024-13-45", "!!binary 0", "!!int abc",
    "!!float ''", "!!bool x", "!!set {a, b}", "!!omap [a: 1, b: 2]", "!!pairs [a: 1, a: 2]", "!!null x", "!!str 5",
    "!!map [1]", "!!seq {a: 1}", "!!merge x", "2024-05-01", "2024-05-01 25:61:61", "9" * 5000, "0x" + "f" * 5000,
    "0b" + "1" * 20_000, "0o" + "7" * 5000, "1:" * 2000 + "1", "1e400", ".nan", "-.inf", "<<", "{<<: {a: 1}}",
    "{<<: [{a: 1}, {a: 2}]}", "{<<: 3}", "*x", "&x 1", "&x [*x]", "{? [1]: 2}", "{? {a: 1}: 2}", "[" * 45, "{a: " * 45,
    "[" * 3000, "'", '"\\ud800"', '"\\0"', '"\\x1b[2J"', "|\n  a\n  b", "%YAML 9.9", "---", "...", "\t", "# x", "! x",
    "!<x> y", "!<tag:yaml.org,2002:python/name:os.system> ''", "!a!b c", "!CosineDecay", "!CosineDecay [1]",
    "!CosineDecay 5", "!Callable {name: os.system}", "{name: CosineDecay}", "{name: [1]}", "{1: 2}", "{null: 1}",
    "{true: 1}", "{1.5: 1}", "~", "",
)  # fmt: skip
_DOCUMENTS = (
    "k0: &a0 [x]\n" + "".join(f"k{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 9)),
    "k0: &m0 {x: 1}\n" + "".join(f"k{k}: &m{k} {{<<: [*m{k - 1}, *m{k - 1}]}}\n" for k in range(1, 30)),
    "epoch: 1\nepoch: 2\n", "trust_recipe: true\n", "- 1\n", "", "---\na: 1\n---\nb: 2\n", "\0", "&a *a",
    "".join(f"key_{k}: 1\n" for k in range(5000)), "_BASE_: x\n", "_BASE_: [[]]\n", "_BASE_: {}\n",
    "{_BASE_: [a.yml], _BASE_: []}",
)  # fmt: skip
_BASES = (
    "a.yml", "pipe.yml", "folder", "missing.yml", "demo_mask_rcnn", "_base_/runtime.yml", "../runtime.yml", "", ".",
    "..", "/", "/dev/zero", "/dev/stdin", "/proc/self/mem", "~", "~nobody/a.yml", "a" * 300, "x/" * 3000, "a\0.yml",
    "\ud800", "linked.yml", "demo_mask_rcnn.yml", "\x1b[31m.yml", "https://example.org/a.yml", "data.bin",
)  # fmt: skip
_SECTIONS = ("TrainReader", "EvalReader", "TestReader")
_DATASETS = ("TrainDataset", "EvalDataset", "TestDataset")


class _Dumper(yaml.SafeDumper):
    """Writes mappings with the key ``_TAG`` as values with a tag."""


def _represent(dumper: _Dumper, mapping: dict) -> yaml.Node:
    tag = mapping.get(_TAG)
    if isinstance(tag, str):
        return dumper.represent_mapping(f"!{tag}", {key: value for key, value in mapping.items() if key != _TAG})
    return dumper.represent_dict(mapping.items())


_Dumper.add_representer(dict, _represent)


@functools.cache
def _files() -> dict[str, str]:
    return {str(path.relative_to(_CONFIGS)): path.read_text("utf-8") for path in sorted(_CONFIGS.rglob("*.yml"))}


@functools.cache
def _recipes() -> list[str]:
    return [name for name in _files() if "_base_" not in name]


@functools.cache
def _trees() -> list[Any]:
    """Return the whole content of every shipped recipe; demo_mask_rcnn, which is fast to build, comes several times."""
    trees = [_to_tree(dict(load_config(_CONFIGS / name))) for name in _recipes()]
    return trees + [trees[_recipes().index("demo_mask_rcnn.yml")]] * 6


def _to_tree(value: Any) -> Any:
    if isinstance(value, Tagged):
        return {_TAG: value.name, **_to_tree(value.kwargs)}
    if isinstance(value, dict):
        return {key: _to_tree(part) for key, part in value.items()}
    return [_to_tree(part) for part in value] if isinstance(value, (list, tuple)) else value


@functools.cache
def _classes() -> tuple[str, ...]:
    return tuple(sorted({*registered_classes(), *serializable_classes(), "Callable", "object", "os.system"}))


@functools.cache
def _atoms() -> tuple[Any, ...]:
    classes = _classes()
    shapes: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"name": 1}, [1, 2, 3], {"x": {"y": 1}})
    named = [{_TAG: name} for name in classes] + [{"name": name} for name in classes]
    coded = [{_TAG: name, key: _CODE[0]} for name in classes[::7] for key in ("act", "norm_layer", "block_fn")]
    # Classes are many, so the others come several times.
    return (*(*_NUMBERS, *_TEXTS, *_CODE, *shapes) * 12, *classes, *named, *coded)


@functools.cache
def _pictures() -> dict[str, bytes]:
    noise = np.random.RandomState(0)
    return {
        f"{number}.png": cv2.imencode(".png", noise.randint(0, 255, (48, 64, 3), np.uint8))[1].tobytes()
        for number in (1, 2, 3)
    }


def _dataset(folder: Path) -> COCODataSet:
    """Write a dataset of three pictures with an object each."""
    folder.mkdir()
    for name, data in _pictures().items():
        (folder / name).write_bytes(data)
    outline = [[5, 5, 35, 5, 35, 35, 5, 35]]
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": 48, "width": 64} for k in (1, 2, 3)],
        "categories": [{"id": 1, "name": "nut"}],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "bbox": [5, 5, 30, 30], "area": 900, "segmentation": outline}
            for k in (1, 2, 3)
        ],
    }  # fmt: skip
    (folder / "all.json").write_text(json.dumps(content))
    return COCODataSet("", str(folder), str(folder / "all.json"), DATA_FIELDS)


def prepare() -> None:
    """Read and build every recipe as it is, so that all is loaded that is loaded on first use."""
    paddle.set_device("cpu")
    _atoms()
    _trees()
    for name in _recipes():
        with tempfile.TemporaryDirectory() as folder:
            _build(load_config(_CONFIGS / name), Path(folder), with_model=name.startswith("demo"))


def try_one(generator: random.Random, folder: Path) -> str:
    """Damage a recipe or its overrides, read it, write it, and build what a command builds.

    Raises:
        AssertionError: Something ran as code or touched what it must not, or the recipe changed by being written.
    """
    path, overrides = _write(generator, folder), _overrides(generator)
    with watched(folder, may_read=True):  # a recipe names files, with the rights of whoever runs it
        config = load_config(path, overrides)
        save_config(config, folder / "again.yml")
        again = load_config(folder / "again.yml")
        assert repr(dict(again)) == repr(dict(config)), "another recipe after it was written"
        try:
            with_model = generator.random() < 0.3
            return "built" if _build(config, folder / "built", with_model) else "read and built in part"
        except Res2NetError as error:
            return f"read, not built: {type(error).__name__}"


def _write(generator: random.Random, folder: Path) -> Path:
    """Write a damaged recipe with files to refer to, and return its path."""
    kind = generator.random()
    if kind < 0.5:
        text = _dump(_change_values(generator))
        base = "_base_"
    else:
        name = generator.choice(list(_files()))
        text = _files()[name]
        base = str(Path(name).parent)
    if kind > 0.95:
        text = generator.choice(_DOCUMENTS) + generator.choice(("", text))
    for _ in range(generator.choice((0, 1, 1, 3)) if kind >= 0.5 else generator.choice((0, 0, 1))):
        text = generator.choice((_change_value, _change_value, _change_name, _change_lines, _change_base))(
            text, generator
        )
    data = text.encode(generator.choices(("utf-8", "utf-16", "latin-1"), (20, 1, 1))[0], "backslashreplace")
    for _ in range(generator.choice((0, 0, 0, 0, 1, 3))):
        data = change_bytes(data, generator)
    for name, content in _files().items():
        if "imagenet" not in name or "imagenet" in base:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
    path = folder / base / "recipe.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "a.yml").write_text(
        generator.choice(("epoch: 3\n", "_BASE_: [recipe.yml]\n", "_BASE_: [a.yml]\n", "["))
    )
    (path.parent / "data.bin").write_bytes(bytes(range(256)))
    (path.parent / "linked.yml").symlink_to("linked.yml")
    (path.parent / "folder").mkdir()
    os.mkfifo(path.parent / "pipe.yml")
    path.write_bytes(data)
    return path


def _change_values(generator: random.Random) -> Any:
    tree = copy.deepcopy(generator.choice(_trees()))
    for _ in range(generator.choice((0, 1, 1, 1, 2, 4))):
        change_tree(tree, _atoms(), generator)
    if generator.random() < 0.05 and isinstance(tree, dict):
        tree = dict(generator.sample(list(tree.items()), len(tree)))
    return tree


def _dump(tree: Any) -> str:
    return yaml.dump(tree, Dumper=_Dumper, allow_unicode=True, sort_keys=False, default_flow_style=None)


def _value(generator: random.Random) -> str:
    kind = generator.randrange(6)
    if kind == 0:
        return generator.choice(_CODE).join(generator.choice(("''", '""', "  ", "[]")))
    if kind == 1:
        return str(generator.choice(_NUMBERS))
    if kind == 2:
        return generator.choice(
            ("{0}", "!{0}", "!{0} {{}}", "!{0} {{act: {1!r}}}", "{{name: {0}}}", "[{0}: {{}}]")
        ).format(generator.choice(_classes()), _CODE[0])
    return generator.choice((*_YAML, *_TEXTS))


def _change_value(text: str, generator: random.Random) -> str:
    return change_text(text, r"(?<=[:-] )[^\n]+", [_value(generator)], generator)


def _change_name(text: str, generator: random.Random) -> str:
    return change_text(text, r"!?\b\w+\b:?", [generator.choice(("!", "")) + generator.choice(_classes())], generator)


def _change_base(text: str, generator: random.Random) -> str:
    names = [json.dumps(generator.choice(_BASES)) for _ in range(generator.choice((1, 1, 2, 150)))]
    return f"_BASE_: [{', '.join(names)}]\n" + (text if generator.random() < 0.5 else text.replace("_BASE_", "x"))


def _change_lines(text: str, generator: random.Random) -> str:
    lines = text.split("\n")
    place, other = generator.randrange(len(lines)), generator.randrange(len(lines))
    action = generator.randrange(5)
    if action == 0:
        lines.insert(place, lines[other])
    elif action == 1:
        lines[place] = generator.choice((" ", "  ", "\t", "- ", "? ", "#")) + lines[place]
    elif action == 2:
        lines[place] = lines[place].strip()
    elif action == 3:
        lines[place], lines[other] = lines[other], lines[place]
    else:
        del lines[place]
    return "\n".join(lines)


def _overrides(generator: random.Random) -> list[str]:
    return [_override(generator) for _ in range(generator.choice((0, 0, 1, 2)))]


def _override(generator: random.Random) -> str:
    keys: list[str] = []
    tree = generator.choice(_trees())
    while isinstance(tree, (dict, list)) and tree and (not keys or generator.random() < 0.8):
        key = generator.choice(range(len(tree)) if isinstance(tree, list) else list(tree))
        keys.append(str(key) if key != _TAG else "name")
        tree = tree[key]
    if generator.random() < 0.2:
        odd = (
            "",
            "0",
            "-1",
            "99",
            "9" * 5000,
            "name",
            "\0",
            "\x1b[0m",
            "\ud800",
            "__class__",
            "x" * 500,
            generator.choice(_classes()),
        )
        keys[generator.randrange(len(keys)) :] = generator.choices(odd, k=generator.choice((1, 1, 2, 50)))
    value = generator.choice((_value(generator), _value(generator), _dump(tree).strip()))
    return ".".join(keys) + generator.choice(("=", "=", "=", "=", " = ", "")) + value


def _build(config: Config, folder: Path, with_model: bool) -> bool:
    """Build what the commands build; return whether nothing was left out because it would be large.

    Raises:
        Res2NetError: A part refuses its settings.
    """
    for key in ("TrainDataset", "EvalDataset", "TestDataset"):
        if config.get(key) is not None:
            create_dataset(config, key)
    if "LearningRate" in config and "epoch" in config:
        rates = scale_learning_rate(config, 8, 50)
        schedule = create_from_config({**config, "LearningRate": rates}, "LearningRate")(50)
        if "OptimizerBuilder" in config:
            create_from_config(config, "OptimizerBuilder")(schedule, paddle.nn.Linear(2, 2))
    if is_classifier(config):
        return True
    folder.mkdir(exist_ok=True)
    dataset = _dataset(folder / "pictures")
    complete = True
    for key in ("TrainReader", "EvalReader", "TestReader"):
        if config.get(key) is None:
            continue
        reader = {**config[key], "batch_size": min(config[key].get("batch_size", 1), 3), "drop_last": False}
        loader = BatchLoader.from_reader(dataset, reader, num_workers=0, seed=0, num_classes=1)
        if _largest(config[key]) <= _LARGEST_DRAWN:
            next(loader.epoch(0), None)
        else:
            complete = False
        if key != "TrainReader" and "architecture" in config:
            make_model_info(config, Classes(("nut",), (1,)), ("boxes",), key)
    config.set_num_classes(1, "the test")
    if with_model and "architecture" in config:
        sections = [
            value for key, value in config.items() if key[:1].isupper() and not key.endswith(("Reader", "Dataset"))
        ]
        if _largest(sections) <= _LARGEST_BUILT:
            create_from_config(config, config["architecture"])
        else:
            complete = False
    return complete


def _largest(value: Any) -> float:
    """Return the largest number in a part of a recipe, except those of the demo, which are known to be small enough."""
    tree = [_to_tree(value)]
    numbers = (one[key] for one, key in list_places(tree) if type(one[key]) in (int, float))
    return max((abs(number) for number in numbers if number not in _demo_numbers()), default=0)


@functools.cache
def _demo_numbers() -> frozenset[float]:
    tree = _to_tree(dict(load_config(_CONFIGS / "demo_mask_rcnn.yml")))
    return frozenset(one[key] for one, key in list_places(tree) if type(one[key]) in (int, float))


if __name__ == "__main__":
    run_main("benchmarks.fuzz.recipes", __doc__ or "")
