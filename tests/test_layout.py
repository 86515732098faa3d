"""Which modules may import which; docs/architecture.md says why."""

from __future__ import annotations

import ast
import functools
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the top layer to the bottom one. A room is a package or a single module in ppdet_res2net, or the runtime. It may import
# rooms of later lines. Rooms on one line do not import each other.
LAYERS = (
    ("cli",),
    ("detection", "classification"),
    ("training",),
    ("config",),
    ("ppdet_modules",),
    ("datasets", "analysis"),
    ("data",),
    ("zoo", "export"),
    ("modeling",),
    ("compat",),
    ("html",),
    ("errors", "files", "commands"),
    ("res2net_runtime",),
)
LEVELS = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
USERS_OF_DATASETS = {"cli", "detection"}  # and of analysis
ENGINES = {"paddle", "onnx", "onnxruntime", "openvino"}
# Of the extras ray and parquet, and of serve and client.
BATCH = {"ray", "pyarrow"}
SERVER = {"fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client", "httpx"}
RUNTIME_NEEDS = {"numpy", "cv2", "PIL", "pycocotools", "yaml", "tqdm", "av"} | ENGINES | {"res2net_runtime"}


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


@functools.cache
def modules() -> dict[str, Path]:
    """Return the file of every module of both packages, by dotted name; a package's is its ``__init__.py``."""
    found = {}
    for root in (ROOT, ROOT / "deploy" / "python"):
        for name in ("ppdet_res2net", "res2net_runtime"):
            for file in (root / name).rglob("*.py"):
                parts = file.relative_to(root).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def module_graph() -> dict[str, set[str]]:
    """Return the modules of both packages that every module imports, also in functions and for type checkers.

    The packages' own ``__init__.py`` are left out: they list names that are imported on first use.
    """
    files = modules()
    graph = {}
    for module, file in files.items():
        if "." not in module:
            continue
        names = (dotted if dotted in files else dotted.rpartition(".")[0] for dotted in imports(file))
        graph[module] = {name for name in names if name in files and "." in name and name != module}
    return graph


def package_of(module: str) -> str:
    return module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]


def test_modules_do_not_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(module_graph()).prepare()  # CycleError names the circle


def test_packages_do_not_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {}
    for module, imported in module_graph().items():
        package, others = package_of(module), {package_of(other) for other in imported}
        graph.setdefault(package, set()).update(other for other in others - {package} if "." in other)
    del graph["ppdet_res2net"], graph["res2net_runtime"]  # single modules such as errors.py, which LAYERS covers
    graphlib.TopologicalSorter(graph).prepare()


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
            if other in ("datasets", "analysis"):
                is_allowed = room in {other, *USERS_OF_DATASETS}
            assert is_allowed, f"{file.relative_to(ROOT)} imports {dotted}"
            assert dotted.partition(".")[0] not in ("tools", "tests", "benchmarks"), f"{file} imports {dotted}"


def test_the_runtime_needs_little():
    for file in (ROOT / "deploy" / "python").rglob("*.py"):
        needed = {dotted.partition(".")[0] for dotted in imports(file)} - set(sys.stdlib_module_names)
        is_of_server = file.parent.name in ("serve", "page") or file.name == "client.py"
        needed -= SERVER if is_of_server else BATCH if file.parent.name == "batch" else set()
        needed -= {"huggingface_hub"} if file.name == "hub.py" else set()  # of the extra hub
        assert needed <= RUNTIME_NEEDS, f"{file.relative_to(ROOT)} imports {sorted(needed - RUNTIME_NEEDS)}"
