"""Damaged and hostile exported folders: infer_cfg.yml, and graphs and weights of every format.

    python -m benchmarks.fuzz.exported_folder [--seed SEED] [--count COUNT] [--minutes MINUTES]

The folders are toys, detectors and a classifier, with bytes, words, numbers and files changed. Whatever is accepted also runs
once. Nothing outside of a folder may be read.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import os
import random
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fuzz.harness import run_main
from res2net_runtime import BackendError, Predictor
from res2net_runtime.classification import Classifier
from res2net_runtime.engines import BACKENDS
from res2net_runtime.plain_yaml import PlainYamlError, load_plain_yaml
from tests.helpers.runtime_toys import CONFIG, picture, save_toy

# Toy -> the engines that run it.
_ENGINES = {
    "paddle": ("paddle", "onednn"),
    "paddle2": ("paddle", "onednn"),
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
    "classifier": ("onnxruntime", "openvino"),
}
_GOLDENS = Path(__file__).parents[2] / "tests" / "goldens"
_CLASSIFIER_CONFIG = {
    "schema": CONFIG["schema"],
    "task": "classification",
    "outputs": ["logits"],
    "Preprocess": {"size_px": 32, "crop_fraction": 0.875, "library": "pillow", "mean": [0.5] * 3, "std": [0.25] * 3},
    "label_list": ["a", "b", "c"],
    "versions": {"onnx": "1.23"},
}
_HOSTILE_YAML = (
    "[" * 1000,
    "&a [" + "*a," * 3 + "]",
    "!!python/object/apply:os.abort []",
    "!!timestamp abc",
    "9" * 5000,
    "0b" + "1" * 20_000,
    "1e400",
    ".nan",
    "2024-13-45",
    '"\\ud800"',
    '"\\e[31m"',
    "~",
    "[]",
    "{}",
    "-1",
    "1000000000000",
    "/etc/passwd",
    "../infer_cfg.yml",
    "[1, [2, [3]]]",
    "{a: {b: c}}",
    "on",
)
_NUMBERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 255, 1024, 2**31 - 1, 2**31, 2**40, 2**63 - 1, 0.5, 1e30)


# Values of infer_cfg.yml.
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        "",
        "x" * 2000,
        "\x1b[31m",
        "\x9b2J",
        "\u202e",
        "\ud800",
        "a\0b",
        "NaN",
        "1e3",
        "no",
        b"bytes",
        1 + 2j,
    ),
    *(-1, 0, 1, 0.5, 1e400, -1e400, float("nan"), 2**31, 2**63, 10**30, -(10**18), 1e-320),
    *([], {}, [[]], [None], [1, [2, [3]]], ["x"] * 5000, {"a": {"b": 1}}, {1: 2, None: 3}, [{"type": "Permute"}] * 3),
    *(
        "/etc/passwd",
        "../infer_cfg.yml",
        "..\\x",
        "C:\\x",
        "//host/x",
        "~/.bashrc",
        ".",
        "..",
        "infer_cfg.yml",
        "file:///etc/passwd",
    ),
)


@functools.cache
def _toys() -> dict[str, dict[str, bytes]]:
    """Return the files of each toy by name, and their content. A folder on the disk would outlive a process that is killed."""
    toys = {}
    for name in ("paddle", "onnx", "openvino"):
        if all(importlib.util.find_spec(BACKENDS[engine].module) for engine in _ENGINES[name]):
            with tempfile.TemporaryDirectory() as folder:
                save_toy(Path(folder), (name,))
                toys[name] = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix != ".info"}
    graph, weights = ((_GOLDENS / f"paddle2_toy{suffix}").read_bytes() for suffix in (".pdmodel", ".pdiparams"))
    formats: dict[str, Any] = {"paddle": {"model_file": "model.pdmodel", "params_file": "model.pdiparams"}}
    config = yaml.safe_dump({**CONFIG, "formats": formats}).encode()
    toys["paddle2"] = {"model.pdmodel": graph, "model.pdiparams": weights, "infer_cfg.yml": config}
    if "onnx" in toys:
        formats = {"onnx": {"model_file": "model.onnx"}}
        config = yaml.safe_dump({**_CLASSIFIER_CONFIG, "formats": formats}).encode()
        toys["classifier"] = {"model.onnx": _make_classifier(), "infer_cfg.yml": config}
    return toys


def _make_classifier() -> bytes:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    value = helper.make_tensor_value_info
    image = value("image", TensorProto.FLOAT, ["n", 3, 32, 32])
    graph = helper.make_graph(nodes, "toy", [image], [value("logits", TensorProto.FLOAT, ["n", 3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def prepare() -> None:
    """Make the toys, and load every engine."""
    for name, files in _toys().items():
        with tempfile.TemporaryDirectory() as folder:
            for file, content in files.items():
                Path(folder, file).write_bytes(content)
            for engine in _ENGINES[name]:
                _run(name, Path(folder), engine)


def try_one(generator: random.Random, folder: Path) -> str:
    """Damage a toy, and load it."""
    model_dir = folder / "model"
    model_dir.mkdir()
    name = generator.choice(list(_toys()))
    files = _toys()[name]
    for file, content in files.items():
        (model_dir / file).write_bytes(content)
    what = generator.choices(sorted(files), [2 if file == "infer_cfg.yml" else 3 for file in sorted(files)])[0]
    leads_outside = False
    if generator.random() < 0.05:
        leads_outside = _replace(model_dir / what, generator)
        what += " replaced"
    else:
        _damage(model_dir / what, generator)
    engine = generator.choice(_ENGINES[name])
    outcome = f"{name}, {what}: {engine} runs it"
    try:
        _run(name, model_dir, engine)
    except BackendError as error:
        if "failed on a batch" not in str(error):
            raise
        outcome = f"{name}, {what}: loaded by {engine}, which refuses an image"
    if leads_outside:
        raise AssertionError(f"{what} leads out of the folder, and was read")
    return outcome


def _run(name: str, model_dir: Path, engine: str) -> None:
    session = Classifier if name == "classifier" else Predictor
    with session(model_dir, backend=engine, cpu_threads=1) as predictor:
        predictor(picture(50, 70))


def _replace(path: Path, generator: random.Random) -> bool:
    """Put something else in the place of a file; return whether it leads out of the folder."""
    content = path.read_bytes()
    outside = path.parent.parent / "outside"
    action = generator.choice(("link", "chain", "device", "pipe", "folder", "dangling", "circle", "sparse", "inside"))
    if action == "sparse":
        os.truncate(path, generator.choice((len(content) + 1, 10**7, 3 * 10**9, 10**11)))
        return False
    path.unlink()
    if action == "pipe":
        os.mkfifo(path)
    elif action == "folder":
        path.mkdir()
    elif action == "inside":
        (path.parent / "other").write_bytes(content)
        path.symlink_to("other")
    elif action == "chain":
        outside.mkdir()
        (outside / "file").write_bytes(content)
        (path.parent / "way").symlink_to(outside)
        path.symlink_to("way/file")
    else:
        outside.write_bytes(content)
        targets = {"link": str(outside), "device": "/dev/zero", "dangling": "nothing", "circle": path.name}
        path.symlink_to(targets[action])
    return action in ("link", "chain", "device")


def _damage(path: Path, generator: random.Random) -> None:
    data = path.read_bytes()
    changes = [_change_bytes, _cut, _move_bytes]
    if path.suffix in (".yml", ".xml"):
        changes += [_change_words] * 3
    if path.suffix == ".yml":
        changes += [_change_values] * 6 + [_change_tree] * 12
    if path.suffix == ".json":
        changes += [_change_json] * 12
    for _ in range(generator.choice((1, 1, 1, 2, 5))):
        data = generator.choice(changes)(data, generator)
    path.write_bytes(data)


def _change_bytes(data: bytes, generator: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(generator.choice((1, 1, 3, 20))):
        changed[generator.randrange(len(changed))] = generator.choice(
            (0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256))
        )
    return bytes(changed)


def _cut(data: bytes, generator: random.Random) -> bytes:
    start = generator.randrange(len(data) + 1)
    return data[:start] if generator.random() < 0.5 else data[:start] + data[start + generator.randrange(1, 50) :]


def _move_bytes(data: bytes, generator: random.Random) -> bytes:
    start, to = generator.randrange(len(data) + 1), generator.randrange(len(data) + 1)
    return data[:to] + data[start : start + generator.randrange(1, 200)] + data[to:]


def _change_words(data: bytes, generator: random.Random) -> bytes:
    words = list(re.finditer(rb"[A-Za-z_0-9.?-]+", data))
    if not words:
        return data
    one, other = generator.choice(words), generator.choice(words)
    number = str(generator.choice(_NUMBERS)).encode()
    new = number if one[0].isdigit() or generator.random() < 0.2 else other[0]
    return data[: one.start()] + new + data[one.end() :]


def _change_values(data: bytes, generator: random.Random) -> bytes:
    """Replace what follows a colon or a dash."""
    values = list(re.finditer(rb"(?<=[:-] ).+", data))
    if not values:
        return data
    one = generator.choice(values)
    return data[: one.start()] + generator.choice(_HOSTILE_YAML).encode() + data[one.end() :]


def _change_tree(data: bytes, generator: random.Random) -> bytes:
    """Replace, remove, repeat or nest a value of infer_cfg.yml."""
    try:
        config = load_plain_yaml(data)
        places: list[tuple[Any, Any]] = []
        _collect(config, places)
        container, key = generator.choice(places)
    except (PlainYamlError, TypeError, IndexError):  # damaged before
        return data
    action = generator.randrange(8)
    if action == 0:
        del container[key]
    elif action == 1 and isinstance(container, list):
        container[key:key] = [container[key]] * generator.choice((1, 1, 1000))
    elif action == 2:
        for _ in range(generator.choice((1, 5, 30))):
            container[key] = generator.choice(([container[key]], {"a": container[key]}))
    elif action == 3 and isinstance(container, dict):
        container[generator.choice(("extra", "x" * 2000, "\x1b[31m", "paddle", "tensorrt", ""))] = container[key]
    else:
        container[key] = copy.deepcopy(generator.choice(_VALUES))
    try:
        return yaml.dump(config, allow_unicode=True).encode("utf-8", "surrogatepass")
    except ValueError:  # a number of thousands of digits
        return data


def _change_json(data: bytes, generator: random.Random) -> bytes:
    """Replace, remove or repeat a part of a Paddle graph."""
    try:
        graph = json.loads(data)
    except ValueError:
        return data
    places: list[tuple[Any, Any]] = []
    _collect(graph, places)
    container, key = generator.choice(places)
    other, other_key = generator.choice(places)
    action = generator.randrange(5)
    if action == 0:
        del container[key]
    elif action == 1 and isinstance(container, list):
        container.insert(key, container[key])
    elif action == 2:
        container[key] = generator.choice(_NUMBERS)
    elif action == 3:
        container[key] = json.loads(json.dumps(other[other_key]))
    else:
        same = [(one, at) for one, at in places if type(one[at]) is type(container[key])]
        one, at = generator.choice(same)
        container[key] = json.loads(json.dumps(one[at]))
    return json.dumps(graph).encode()


def _collect(node: Any, places: list[tuple[Any, Any]]) -> None:
    for key in range(len(node)) if isinstance(node, list) else node if isinstance(node, dict) else ():
        places.append((node, key))
        if isinstance(node[key], (dict, list)):
            _collect(node[key], places)


if __name__ == "__main__":
    os.environ.setdefault("GLOG_minloglevel", "3")
    run_main("benchmarks.fuzz.exported_folder", __doc__ or "")
