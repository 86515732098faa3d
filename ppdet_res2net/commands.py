"""Command lines that messages propose: they work when they are pasted into a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from res2net_runtime.console import is_found, python_command

__all__ = ["PROG", "command_line", "program", "runtime_command_line", "short_name"]

PROG = "ppdet-res2net"
# The commands that also have a file in tools/, under PaddleDetection's name for it.
_TOOLS = {
    "train": "train",
    "eval": "eval",
    "infer": "infer",
    "export": "export_model",
    "convert-weights": "convert_weights",
    "check-dataset": "check_dataset",
    "browse-dataset": "browse_dataset",
    "convert-dataset": "convert_dataset",
}


def command_line(command: str, *arguments: str | os.PathLike[str]) -> str:
    """Return a command of this package as text for a shell, called in the way in which this process was.

    Args:
        command: Name of the command.
        *arguments: Its arguments, not quoted. A path-like one is also kept from being taken for an option.
    """
    return f"{program(command)} {shlex.join(map(_word, arguments))}".rstrip()


def runtime_command_line(*arguments: str | os.PathLike[str]) -> str:
    """Return a command of the runtime as text for a shell; it works with and without a checkout."""
    return f"{python_command()} -m res2net_runtime {shlex.join(map(_word, arguments))}".rstrip()


def short_name(command: str) -> str:
    """Return the name of a command in messages: the script in ``tools/`` that was started, else ``ppdet-res2net COMMAND``."""
    script = _script()
    return os.fspath(script) if _is_tool(script) else f"{PROG} {command}"


def program(command: str = "") -> str:
    """Return how to call a command, quoted for a shell: as this process was called, where that is known.

    That is ``python tools/eval.py``, ``python -m ppdet_res2net eval``, a path such as ``.venv/bin/ppdet-res2net eval``, or
    ``ppdet-res2net eval``, which is also the answer in other programs.
    """
    script = _script()
    if script.name == "__main__.py" and script.parent.name == "ppdet_res2net":
        start = f"{python_command()} -m ppdet_res2net"
    elif _is_tool(script):
        if command in _TOOLS:
            return f"{python_command()} {shlex.quote(_word(script.with_name(_TOOLS[command] + '.py')))}"
        start = PROG if shutil.which(PROG) else f"{python_command()} -m ppdet_res2net"
    elif script.name == PROG and not is_found(PROG, script):
        start = shlex.quote(_word(script))
    else:
        start = PROG
    return f"{start} {command}".rstrip()


def _script() -> Path:
    return Path(sys.argv[0] if sys.argv else "")


def _is_tool(script: Path) -> bool:
    return script.parent.name == "tools" and script.suffix == ".py" and script.stem in _TOOLS.values()


def _word(argument: str | os.PathLike[str]) -> str:
    text = os.fspath(argument)
    return os.path.join(".", text) if not isinstance(argument, str) and text.startswith("-") else text
