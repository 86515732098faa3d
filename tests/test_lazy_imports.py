"""Every import statement works with the installed packages, even inside a function that no other test calls."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("paddle")

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ppdet_res2net", "deploy/python", "tools")
# Packages that an installation may lack, and what needs them.
OPTIONAL = {
    "ppdet": "paddledet; detectors need it",
    "onnx": "export to ONNX",
    "openvino": "an engine of the runtime, and its format",
    "visualdl": "train --use_vdl",
    "tensorboard": "train --loggers tensorboard",
    "wandb": "train --loggers wandb",
    "huggingface_hub": "addresses that begin with hf://",
    "mlflow": "train --loggers mlflow",
    "matplotlib": "plots",
    "sklearn": "make-class-folders --digits, and paddledet",
    "pyarrow": "batches: tables in Parquet",
    "ray": "batches on a cluster",
    "resource": "POSIX only; peak memory is not logged elsewhere",
}


@functools.cache
def statements() -> dict[str, list[tuple[str, str, str | None]]]:
    """Return place, module and name of each import, by top-level package; the name is None for ``import x.y``.

    From the standard library, only modules that an operating system may lack are included.
    """
    found: dict[str, list[tuple[str, str, str | None]]] = {}
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    imported = [(alias.name, None) for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    assert node.level == 0, f"{file}: relative imports are not used here, and not followed"
                    imported = [(str(node.module), alias.name) for alias in node.names]
                else:
                    continue
                for module, name in imported:
                    if module.partition(".")[0] in sys.stdlib_module_names - set(OPTIONAL):
                        continue
                    place = f"{file.relative_to(ROOT)}:{node.lineno}"
                    found.setdefault(module.partition(".")[0], []).append((place, module, name))
    return found


def problem(module: str, name: str | None) -> str:
    """Do the same as an import statement; return what is wrong, or ""."""
    try:
        found = importlib.import_module(module)
        if name is not None and not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("package", sorted(statements()))
def test_every_imported_name_exists(package):
    if package in OPTIONAL and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed ({OPTIONAL[package]})")
    if package in ("ppdet", "ppdet_res2net") and importlib.util.find_spec("ppdet") is not None:
        from ppdet_res2net.compat import prepare_ppdet

        prepare_ppdet()  # as everything does that imports ppdet
    problems = [(place, problem(module, name)) for place, module, name in statements()[package]]
    wrong = [f"{place}: {text}" for place, text in problems if text]
    assert not wrong, "\n".join(wrong)


def test_a_name_that_does_not_exist_is_found():
    assert problem("ppdet_res2net.errors", "NoSuchError").startswith(
        "ModuleNotFoundError: No module named 'ppdet_res2net.e"
    )
    assert problem("ppdet_res2net.no_such_module", None).startswith("ModuleNotFoundError")
    assert problem("ppdet_res2net.zoo", "catalog") == problem("os.path", "join") == problem("os.path", None) == ""
