"""Who may import whom; docs/architecture.md says why."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the top; a room may import what stands in a later line. Rooms of one line do not import each other.
LAYERS = (
    ("cli",),
    ("detection", "classification"),
    ("training",),
    ("config",),
    ("ppdet_modules",),
    ("datasets",),
    ("data",),
    ("zoo", "export"),
    ("modeling",),
    ("compat",),
    ("errors", "files"),
    ("res2net_runtime",),
)
LEVELS = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
USERS_OF_DATASETS = {"cli", "detection", "datasets"}
ENGINES = {"paddle", "onnx", "onnxruntime", "openvino"}
RUNTIME_NEEDS = {"numpy", "cv2", "PIL", "pycocotools", "yaml", "tqdm"} | ENGINES | {"res2net_runtime"}


def imports(file: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(dotted: str) -> str | None:
    """Return the room that an imported name belongs to; None for other packages and for the package itself."""
    package, _, rest = dotted.partition(".")
    room = "res2net_runtime" if package == "res2net_runtime" else rest.partition(".")[0]
    return room if package in ("ppdet_res2net", "res2net_runtime") and room in LEVELS else None


def test_every_room_has_its_place():
    package = ROOT / "ppdet_res2net"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__", "__main__"} <= set(LEVELS)


@pytest.mark.parametrize("room", [room for room in LEVELS if room != "res2net_runtime"])
def test_imports_go_down(room):
    path = ROOT / "ppdet_res2net" / room
    for file in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
        for dotted in imports(file) if file.is_file() else ():
            other = room_of(dotted)
            is_allowed = other in (None, room) or LEVELS[other] > LEVELS[room]
            if other == "datasets":
                is_allowed = room in USERS_OF_DATASETS
            assert is_allowed, f"{file.relative_to(ROOT)} imports {dotted}"
            assert dotted.partition(".")[0] not in ("tools", "tests", "benchmarks"), f"{file} imports {dotted}"


def test_the_runtime_needs_little():
    for file in (ROOT / "deploy" / "python").rglob("*.py"):
        needed = {dotted.partition(".")[0] for dotted in imports(file)} - set(sys.stdlib_module_names)
        assert needed <= RUNTIME_NEEDS, f"{file.relative_to(ROOT)} imports {sorted(needed - RUNTIME_NEEDS)}"
