"""What the commands share: the parser, the options for a recipe, logging, and errors without tracebacks."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ppdet_res2net.cli._mindcv_flags import MINDCV_FLAGS_OF_COMMAND
from ppdet_res2net.cli._paddledetection_flags import FLAGS_OF_COMMAND
from ppdet_res2net.commands import command_line, program, short_name
from ppdet_res2net.compat.ccache_warning import ignore_ccache_warning
from ppdet_res2net.errors import ConfigError
from res2net_runtime.arguments import (
    STDOUT,
    FlagParser,
    fraction,
    images_per_batch,
    json_option,
    positive_int,
    text_output,
    whole_number,
    write_json,
)
from res2net_runtime.console import DEBUG_VARIABLE, EXIT_INTERRUPTED, configure_logging, run_command, say
from res2net_runtime.system_errors import explain

__all__ = [
    "DEBUG_VARIABLE",
    "EXIT_INTERRUPTED",
    "STDOUT",
    "CommaList",
    "CommandParser",
    "FlagParser",
    "Once",
    "json_option",
    "check_writable",
    "command_line",
    "configure_console",
    "fraction",
    "images_per_batch",
    "positive_int",
    "program",
    "run",
    "say",
    "text_output",
    "whole_number",
    "write_json",
]

# What people type as a flag of its own, although the recipe has it. Settings of modules are known by their dot.
_SETTINGS = {
    "--epoch": "epoch",
    "--epochs": "epoch",
    "--lr": "LearningRate.base_lr",
    "--learning_rate": "LearningRate.base_lr",
    "--batch_size": "TrainReader.batch_size",
    "--workers": "worker_num",
    "--worker_num": "worker_num",
    "--seed": "seed",
    "--save_dir": "save_dir",
    "--output_dir": "save_dir",
    "--log_iter": "log_iter",
    "--snapshot_epoch": "snapshot_epoch",
    "--num_classes": "num_classes",
    "--pretrain_weights": "pretrain_weights",
    "--dataset_dir": "TrainDataset.dataset_dir",
    "--weights": "weights",
    "--use_ema": "use_ema",
    "--cpu_threads": "cpu_threads",
}


class Once(argparse.Action):
    """An option that may be given only once, since a second value would silently replace the first."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        first = getattr(namespace, self.dest)
        if first is not None:
            raise argparse.ArgumentError(self, f"is given twice, as '{first}' and '{values}'; leave one of them out")
        setattr(namespace, self.dest, values)


class CommandParser(FlagParser):
    """The parser of one command. It takes options only in full, and they are spelled with underscores.

    Args:
        command: Name of the command.
        description: What it does.
        examples: Its arguments in examples for the help.
        **settings: Further arguments of ``argparse.ArgumentParser``.
    """

    def __init__(self, command: str, description: str, examples: Sequence[str] = (), **settings) -> None:
        foreign = {**MINDCV_FLAGS_OF_COMMAND.get(command, {}), **FLAGS_OF_COMMAND.get(command, {})}
        super().__init__(
            short_name(command), description, program(command), examples, foreign, self._explain_word, **settings
        )
        self._has_recipe = False

    def add_recipe_arguments(self, required: bool = True) -> None:
        """Add ``-c/--config`` and ``-o/--opt`` with PaddleDetection's meaning; ``-o`` may be given several times."""
        self._has_recipe = True
        self.add_argument(
            "-c",
            "--config",
            action=Once,
            required=required,
            metavar="CFG",
            help="recipe: a YAML file, the name of a shipped one, or hf://OWNER/REPO",
        )
        self.add_argument(
            "-o",
            "--opt",
            nargs="*",
            action="extend",
            default=[],
            metavar="KEY=VALUE",
            help="overrides of the recipe, e.g. TrainReader.batch_size=1 weights=model.pdparams",
        )
        self.add_argument(
            "--trust_recipe",
            action="store_true",
            help="allow every module that is registered with ppdet, also those that run code from the recipe; only for recipes "
            "that you trust as you trust a program",
        )

    def add_device_argument(self) -> None:
        """Add ``--device``."""
        self.add_argument(
            "--device",
            type=_device_name,
            metavar="D",
            help="cpu, gpu, or one GPU such as gpu:1 (default: a GPU if there is one and the recipe's use_gpu is not false)",
        )

    def _explain_word(self, word: str) -> str:
        flag, _, value = word.partition("=")
        if not self._has_recipe:
            return ""
        if not word.startswith("-"):
            if value:
                return f"Settings of the recipe follow -o: -o {word}"
            return f"A recipe follows -c: -c {word}" if re.search(r"\.ya?ml$", word) else ""
        key = _SETTINGS.get(flag) or (flag.lstrip("-") if "." in flag else None)
        return f"The recipe has this setting: -o {key}={value or 'VALUE'}" if key else ""


def _device_name(text: str) -> str:
    """Argument type: a device. PaddleDetection writes CPU and GPU."""
    name = text.strip().lower()
    if not re.fullmatch("cpu|gpu(:[0-9]{1,4})?", name):
        raise argparse.ArgumentTypeError(f"got '{text}', expected cpu, gpu, or one GPU such as gpu:1")
    return name


class CommaList(argparse.Action):
    """An option that takes several names with commas between them, as a list."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        names = [name.strip() for name in values.split(",")]
        if not all(names):
            raise argparse.ArgumentError(self, f"got {values!r}, expected names with commas between them")
        if getattr(namespace, self.dest) is not self.default:
            raise argparse.ArgumentError(self, "is given twice; give all names at once, with commas between them")
        setattr(namespace, self.dest, names)


def check_writable(file: str) -> None:
    """Create the folder of an output file and check that the file can be written, before any work is done.

    Args:
        file: The file; ``-`` stands for standard output.

    Raises:
        ConfigError: The file cannot be written.
    """
    if file == STDOUT:
        return
    path = Path(file)
    existed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise ConfigError(f"'{file}' cannot be written: {explain(error, 'choose another file')}") from error


def configure_console() -> None:
    """Send this project's INFO lines and all warnings to stderr; logging that the caller has set up stays as it is."""
    configure_logging("[%(asctime)s] %(levelname)s: %(message)s", datefmt="%H:%M:%S")
    for package in ("ppdet_res2net", "res2net_runtime"):
        logging.getLogger(package).setLevel(logging.INFO)
    ignore_ccache_warning()


def run(command: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a command's ``main`` and return its exit code.

    An error that the user can fix is printed as one message on stderr, and the exit code is 1; ``RES2NET_DEBUG=1`` shows
    the traceback. Any other exception is a defect of this project and is not caught.
    """
    configure_console()
    return run_command(lambda: command(argv))
