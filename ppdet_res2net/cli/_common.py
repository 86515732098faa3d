"""What the commands share: the options for a configuration, logging, and errors without tracebacks."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from ppdet_res2net.errors import ConfigError, Res2NetError

__all__ = ["EXIT_INTERRUPTED", "add_config_arguments", "check_writable", "configure_console", "positive_int", "run"]

DEBUG_VARIABLE = "RES2NET_DEBUG"
EXIT_INTERRUPTED = 130  # what a shell reports for Ctrl-C


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``-c/--config`` and ``-o/--opt`` with PaddleDetection's meaning; ``-o`` may be given several times."""
    parser.add_argument("-c", "--config", required=True, metavar="CFG", help="YAML file, or the name of a recipe")
    parser.add_argument(
        "-o",
        "--opt",
        nargs="*",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="overrides, e.g. TrainReader.batch_size=1 weights=model.pdparams",
    )


def positive_int(text: str) -> int:
    """Argument type: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, expected at least 1")
    return value


def check_writable(file: str) -> None:
    """Create the folder of an output file and see whether the file can be written, before the work is done.

    Raises:
        ConfigError: It cannot.
    """
    path = Path(file)
    existed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise ConfigError(f"'{file}' cannot be written: {error}. Choose another file.") from error


def configure_console() -> None:
    """Send our INFO lines and everybody's warnings to stderr; where the caller has set up logging, that stays."""
    logging.basicConfig(format="[%(asctime)s] %(levelname)s: %(message)s", datefmt="%H:%M:%S")
    for package in ("ppdet_res2net", "res2net_runtime"):
        logging.getLogger(package).setLevel(logging.INFO)
    # Paddle 3 says at import that its extension builder would like ccache; nothing is built here.
    warnings.filterwarnings("ignore", message="No ccache found")


def run(command: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a command's ``main`` and return its exit code.

    An error that the user can mend is one message on stderr and exit code 1; ``RES2NET_DEBUG=1`` shows the traceback.
    Any other exception is a defect of this project and escapes.
    """
    configure_console()
    try:
        code = command(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output (head, less) has closed it; keep Python from complaining again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Res2NetError, OSError) as error:
        if os.environ.get(DEBUG_VARIABLE) == "1":
            raise
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
