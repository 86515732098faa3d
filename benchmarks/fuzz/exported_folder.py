"""Damaged and hostile exported folders: infer_cfg.yml, and graphs and weights of every format.

    python -m benchmarks.fuzz.exported_folder [--seed SEED] [--count COUNT] [--minutes MINUTES]

The folders are the tests' toy network with bytes, words and numbers changed. Whatever is accepted also runs once.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fuzz.harness import run_main
from res2net_runtime import BackendError, Predictor
from res2net_runtime.engines import BACKENDS
from tests.helpers.runtime_toys import CONFIG, picture, save_toy

_ENGINES = {"paddle": ("paddle", "onednn"), "onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",)}
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


@functools.cache
def _toy() -> Path:
    """Return a folder with the toy in every format."""
    folder = Path(tempfile.mkdtemp(prefix="res2net-fuzz-"))
    save_toy(folder, tuple(_ENGINES))
    return folder


def prepare() -> None:
    """Write the toy, and load every engine."""
    folder = _toy()
    for engines in _ENGINES.values():
        for engine in engines:
            with Predictor(folder, backend=engine, cpu_threads=1) as predictor:
                predictor(picture(50, 70))


def try_one(generator: random.Random, folder: Path) -> str:
    """Damage a copy of the toy, and load it."""
    model_dir = folder / "model"
    shutil.copytree(_toy(), model_dir)
    name = generator.choice(list(_ENGINES))
    names: dict[str, str] = yaml.safe_load((_toy() / "infer_cfg.yml").read_text())["formats"][name]
    config = {**CONFIG, "formats": {name: names}}
    (model_dir / "infer_cfg.yml").write_text(yaml.safe_dump(config))
    files = [*names.values(), "infer_cfg.yml"]
    what = generator.choices(files, [6, 2, 3][: len(files)] if len(files) == 3 else [6, 3])[0]
    _damage(model_dir / what, generator)
    engine = generator.choice(_ENGINES[name])
    try:
        with Predictor(model_dir, backend=engine, cpu_threads=1) as predictor:
            try:
                predictor(picture(50, 70))
            except BackendError:
                return f"{what}: loaded by {engine}, which refuses an image"
            return f"{what}: {engine} runs it"
    finally:
        shutil.rmtree(model_dir)


def _damage(path: Path, generator: random.Random) -> None:
    data = path.read_bytes()
    changes = [_change_bytes, _cut, _move_bytes]
    if path.suffix in (".yml", ".xml"):
        changes += [_change_words] * 3
    if path.suffix == ".yml":
        changes += [_change_values] * 6
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
    for key in range(len(node)) if isinstance(node, list) else node:
        places.append((node, key))
        if isinstance(node[key], (dict, list)):
            _collect(node[key], places)


if __name__ == "__main__":
    assert set(BACKENDS) >= {engine for engines in _ENGINES.values() for engine in engines}
    os.environ.setdefault("GLOG_minloglevel", "3")
    run_main("benchmarks.fuzz.exported_folder", __doc__ or "")
