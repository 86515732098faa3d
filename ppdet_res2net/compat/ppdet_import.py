"""Importing paddledet without its noise and side effects, and with a useful sentence where it cannot be imported."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings

from PIL import ImageFile

from ppdet_res2net.errors import SetupError

__all__ = ["PADDLEDET_INSTALL", "import_ppdet_quietly"]

PADDLEDET_INSTALL = "pip install --no-deps paddledet==2.6.0"


def import_ppdet_quietly() -> None:
    """Import ppdet; drop the lines it prints about packages for object tracking, which R-CNNs never use.

    ppdet/engine/trainer.py of 2.6.0 also makes Pillow fill up truncated images with grey for the whole process, without
    a word. That is taken back.

    paddledet 2.6.0 prints up to five of them to stdout (ppdet/metrics/mot_metrics.py and others), and Paddle 3 warns
    about a missing ccache when ppdet imports its extension builder. Anything else that is printed stays.
    """
    printed = io.StringIO()
    load_truncated_images = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No ccache found")
            # paddledet 2.6.0 has invalid escape sequences in docstrings; Python 3.12 and later say so at compile time.
            warnings.filterwarnings("ignore", category=SyntaxWarning, module=r"ppdet\b")
            import ppdet.data
            import ppdet.modeling
            import ppdet.optimizer  # noqa: F401
    except ModuleNotFoundError as error:
        raise SetupError(_missing_module_message(error.name or str(error))) from error
    except ImportError as error:
        raise SetupError(
            f"paddledet cannot be imported: {error}. Run 'ppdet-res2net doctor', which names the package and the remedy."
        ) from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = load_truncated_images
        kept = [line for line in printed.getvalue().splitlines() if not line.startswith("Warning: Unable to use ")]
        if kept:
            sys.stdout.write("\n".join(kept) + "\n")


def _missing_module_message(name: str) -> str:
    top = name.split(".")[0]
    if top == "ppdet":
        return (
            "paddledet is not installed. Install it without its outdated dependency pins: "
            f"'{PADDLEDET_INSTALL}'; then run 'ppdet-res2net doctor'."
        )
    if top == "paddle":
        return "Paddle is not installed. Run 'pip install paddlepaddle' (CPU) or 'pip install paddlepaddle-gpu'."
    return f"paddledet needs the module '{name}', which is not installed. Run 'ppdet-res2net doctor' for the remedy."
