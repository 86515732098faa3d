"""Imports paddledet without its noise and side effects, and gives a useful message if that fails."""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

from ppdet_res2net.commands import program
from ppdet_res2net.compat.ccache_warning import ignore_ccache_warning
from ppdet_res2net.compat.import_noise import drop_import_noise
from ppdet_res2net.compat.outdated_pins import PADDLEDET_INSTALL
from ppdet_res2net.compat.truncated_images import keep_truncated_images_an_error
from ppdet_res2net.compat.unused_imports import defer_unused_imports
from ppdet_res2net.errors import SetupError

__all__ = ["import_ppdet_quietly"]


def import_ppdet_quietly() -> None:
    """Import ppdet without its output, its change to Pillow, and the packages that only its other models use.

    Raises:
        SetupError: paddle, paddledet or one of its dependencies is missing, hidden by a file of the user, or cannot be loaded.
    """
    try:
        with (
            drop_import_noise(),
            keep_truncated_images_an_error(),
            defer_unused_imports(),
            warnings.catch_warnings(),
        ):
            ignore_ccache_warning()
            import ppdet.data
            import ppdet.modeling
            import ppdet.optimizer  # noqa: F401
    except Exception as error:
        _explain(error)
        raise


def _explain(error: Exception) -> None:
    """Raise what the user can do about a failed import. Nothing is raised for a defect of the packages themselves."""
    hidden = _find_hidden_modules()
    if hidden:
        files = ", ".join(f"'{file}' hides the module '{name}'" for name, file in hidden.items())
        raise SetupError(
            f"paddledet cannot be imported ({error}), because Python finds other modules in its place: {files}. Rename what "
            "hides a module, or start the command in another folder and without that folder in PYTHONPATH."
        ) from error
    if isinstance(error, ModuleNotFoundError):
        raise SetupError(_missing_module_message(error.name or str(error))) from error
    if isinstance(error, ImportError):
        raise SetupError(
            f"paddledet cannot be imported: {error}. Run '{program('doctor')}', which names the package and the remedy."
        ) from error


def _find_hidden_modules() -> dict[str, Path]:
    """Return the modules of the current folder that have the name of an installed package or of Python's own library."""
    here, hidden = Path.cwd(), {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or "." in name or name == "__main__":
            continue
        found = Path(file).absolute()
        found = found.parent if found.name == "__init__.py" else found
        if found.parent == here:
            hidden[name] = found
    known = importlib.metadata.packages_distributions() if hidden else {}
    installed = {name for name in hidden if _is_installed_elsewhere(known.get(name, ()), hidden[name])}
    return {name: hidden[name] for name in hidden if name in installed or name in sys.stdlib_module_names}


def _is_installed_elsewhere(distributions: Iterable[str], path: Path) -> bool:
    """Tell whether one of these distributions has a file for the module of ``path`` in another place."""
    module = path.name.removesuffix(".py")
    for name in distributions:
        # Relative where sys.path holds '', the current folder
        found = Path(str(importlib.metadata.distribution(name).locate_file(module))).absolute()
        if any(one != path and one.exists() for one in (found, found.with_suffix(".py"))):
            return True
    return False


def _missing_module_message(name: str) -> str:
    top = name.split(".")[0]
    if top == "ppdet":
        return (
            "paddledet is not installed. Install it without its outdated requirements: "
            f"'{PADDLEDET_INSTALL}'; then run '{program('doctor')}'."
        )
    if top == "paddle":
        return "Paddle is not installed. Run 'pip install paddlepaddle' (CPU) or 'pip install paddlepaddle-gpu'."
    return f"paddledet needs the module '{name}', which is not installed. Run '{program('doctor')}' for the remedy."
