"""No recipe reaches the places where paddledet runs code, unpickles, loads weights or downloads; new ones must be reviewed."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppdet_res2net.config.class_settings import DatasetSetting, ScheduleSetting, TransformList
from ppdet_res2net.config.module_settings import module_arguments
from ppdet_res2net.config.modules import MODULES
from ppdet_res2net.config.readers import DATASETS, OPTIMIZERS, SCHEDULES, TRANSFORMS
from ppdet_res2net.ppdet_modules.registry import registered_classes
from tests.config.paddledet_places import NOT_ALLOWED, NOT_CALLED, NOT_SETTABLE, REVIEWED

PACKAGE = Path(__file__).resolve().parents[2] / "ppdet_res2net"
BUILT_IN = {"eval", "exec", "compile", "__import__"}
FUNCTIONS = {"system", "popen", "import_module", "urlretrieve", "urlopen"}
FUNCTIONS |= {
    "get_path",
    "get_weights_path",
    "get_dataset_path",
    "get_config_path",
    "get_weights_path_from_url",
    "_download",
}
MODULES_OF_PYTHON = {"pickle", "subprocess", "requests", "marshal", "shelve", "joblib", "dill"}
LOADERS = {"paddle.load", "paddle.jit.load", "np.load", "numpy.load", "torch.load", "yaml.load"}
ALLOWED = {*MODULES, *DATASETS, *SCHEDULES, *TRANSFORMS["detector"]}


def sources() -> Path:
    spec = importlib.util.find_spec("ppdet")
    if spec is None or spec.origin is None:
        pytest.skip("paddledet is not installed")
    return Path(spec.origin).parent


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangerous(name: str) -> str | None:
    """Return how the list of reviewed places calls this function; None for a harmless one."""
    first, last = name.partition(".")[0], name.rpartition(".")[2]
    if name in BUILT_IN or name in LOADERS or first in MODULES_OF_PYTHON:
        return name
    if last in FUNCTIONS:
        return last if last.startswith(("get_", "_")) else name
    return None


def places(node: ast.AST, inside: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the enclosing class and function of every dangerous call, and what is called."""
    for child in ast.iter_child_nodes(node):
        here = (*inside, child.name) if isinstance(child, (ast.ClassDef, ast.FunctionDef)) else inside
        called = dangerous(dotted(child.func)) if isinstance(child, ast.Call) else None
        if called:
            yield ".".join(inside), called
        yield from places(child, here)


def found() -> set[tuple[str, str, str]]:
    root = sources()
    return {
        (file.relative_to(root).as_posix(), owner, called)
        for file in root.rglob("*.py")
        for owner, called in places(ast.parse(file.read_text("utf-8")))
    }


def test_every_place_in_paddledet_is_reviewed():
    new = sorted(found() - set(REVIEWED))
    assert new == [], "read each of these, and add it to paddledet_places.py with the reason why no recipe gets there"


def test_the_scan_finds_what_it_looks_for():
    code = "class A:\n  def f(self):\n    eval(x); paddle.load(y); os.system(z)\ndef g():\n  pickle.load(f); a.get_path(u)\n"
    assert list(places(ast.parse(code))) == [
        ("A.f", "eval"),
        ("A.f", "paddle.load"),
        ("A.f", "os.system"),
        ("g", "pickle.load"),
        ("g", "get_path"),
    ]


@pytest.mark.parametrize("place", REVIEWED, ids=lambda place: f"{place[1]}:{place[2]}")
def test_no_recipe_gets_there(place):
    _, owner, _ = place
    names, reason = owner.split("."), REVIEWED[place]
    if reason == NOT_ALLOWED:
        assert names[0] not in ALLOWED
    elif reason.startswith(NOT_SETTABLE):
        argument = reason.removeprefix(NOT_SETTABLE)
        assert argument in module_arguments(names[0]).fixed and argument not in module_arguments(names[0]).settings
    else:
        assert reason.startswith(NOT_CALLED) and names[0] not in ALLOWED


def test_no_base_class_of_an_allowed_class_has_such_a_place_unless_it_is_never_called():
    owners = {owner.partition(".")[0]: reason for (_, owner, _), reason in REVIEWED.items() if "." in owner}
    classes = [
        *(registered_classes()[name] for name in MODULES),
        *(found for name, found in DatasetSetting().classes().items() if name in DATASETS),
        *(found for name, found in ScheduleSetting().classes().items() if name in SCHEDULES),
        *(found for name, found in TransformList()._classes().items() if name in TRANSFORMS["detector"]),
    ]
    assert len(classes) > 70
    for cls in classes:
        for base in cls.__mro__:
            reason = owners.get(base.__name__, NOT_CALLED)
            assert reason.startswith(NOT_CALLED) or base.__name__ == "SwinTransformer", f"{cls} inherits from {base}"


def test_the_package_calls_none_of_these_functions():
    """The functions that are excused because nobody calls them are not even named in this package."""
    functions = {
        owner
        for (_, owner, _), reason in REVIEWED.items()
        if reason.startswith(NOT_CALLED) and "." not in owner and not owner.startswith(("_", "extract", "make_"))
    }
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ppdet.")
            for alias in node.names
        }
        assert not imported & functions, file
    assert "AdamWDL" not in OPTIMIZERS
