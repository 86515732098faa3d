"""Imports paddledet without its noise and side effects, and gives a useful message if that fails."""

from __future__ import annotations

import warnings

from ppdet_res2net.commands import program
from ppdet_res2net.compat.ccache_warning import ignore_ccache_warning
from ppdet_res2net.compat.import_noise import drop_import_noise
from ppdet_res2net.compat.outdated_pins import PADDLEDET_INSTALL
from ppdet_res2net.compat.truncated_images import keep_truncated_images_an_error
from ppdet_res2net.errors import SetupError

__all__ = ["import_ppdet_quietly"]


def import_ppdet_quietly() -> None:
    """Import ppdet without its output and without its change to Pillow.

    Raises:
        SetupError: paddle, paddledet or one of its dependencies is missing or cannot be loaded.
    """
    try:
        with drop_import_noise(), keep_truncated_images_an_error(), warnings.catch_warnings():
            ignore_ccache_warning()
            import ppdet.data
            import ppdet.modeling
            import ppdet.optimizer  # noqa: F401
    except ModuleNotFoundError as error:
        raise SetupError(_missing_module_message(error.name or str(error))) from error
    except ImportError as error:
        raise SetupError(
            f"paddledet cannot be imported: {error}. Run '{program('doctor')}', which names the package and the remedy."
        ) from error


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
