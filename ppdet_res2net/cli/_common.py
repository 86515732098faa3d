"""What the commands share: the parser, the options for a recipe, logging, and errors without tracebacks."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ppdet_res2net.compat.ccache_warning import ignore_ccache_warning
from ppdet_res2net.errors import ConfigError, Res2NetError

__all__ = [
    "EXIT_INTERRUPTED",
    "CommaList",
    "CommandParser",
    "check_writable",
    "configure_console",
    "positive_int",
    "run",
]

PROG = "ppdet-res2net"
DEBUG_VARIABLE = "RES2NET_DEBUG"
EXIT_INTERRUPTED = 130  # what a shell reports for Ctrl-C


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. It takes options only in full, and they are spelled with underscores.

    Args:
        command: Name of the command.
        description: What it does.
        **settings: Further arguments of ``argparse.ArgumentParser``.
    """

    def __init__(self, command: str, description: str, **settings) -> None:
        # Abbreviations would change their meaning whenever an option is added.
        super().__init__(prog=f"{PROG} {command}", description=description, allow_abbrev=False, **settings)

    def add_recipe_arguments(self, required: bool = True) -> None:
        """Add ``-c/--config`` and ``-o/--opt`` with PaddleDetection's meaning; ``-o`` may be given several times."""
        self.add_argument(
            "-c", "--config", required=required, metavar="CFG", help="recipe: a YAML file, or the name of a shipped one"
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

    def parse_args(self, args=None, namespace=None):  # no annotations: the type of the result is that of ``namespace``
        """Parse a command line. An unknown option ends the program with exit code 2, as all wrong usage does."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            has_dashes = any("-" in word.lstrip("-") for word in unknown if word.startswith("--"))
            hint = ". Options are spelled with underscores, as in PaddleDetection" if has_dashes else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed


class CommaList(argparse.Action):
    """An option that takes several names with commas between them, as a list."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        names = [name.strip() for name in values.split(",")]
        if not all(names):
            raise argparse.ArgumentError(self, f"got {values!r}, expected names with commas between them")
        if getattr(namespace, self.dest) is not self.default:
            raise argparse.ArgumentError(self, "is given twice; give all names at once, with commas between them")
        setattr(namespace, self.dest, names)


def positive_int(text: str) -> int:
    """Argument type: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, expected at least 1")
    return value


def check_writable(file: str) -> None:
    """Create the folder of an output file and check that the file can be written, before any work is done.

    Raises:
        ConfigError: The file cannot be written.
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
    """Send this project's INFO lines and all warnings to stderr; logging that the caller has set up stays as it is."""
    logging.basicConfig(format="[%(asctime)s] %(levelname)s: %(message)s", datefmt="%H:%M:%S")
    for package in ("ppdet_res2net", "res2net_runtime"):
        logging.getLogger(package).setLevel(logging.INFO)
    ignore_ccache_warning()


def run(command: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a command's ``main`` and return its exit code.

    An error that the user can fix is printed as one message on stderr, and the exit code is 1; ``RES2NET_DEBUG=1`` shows
    the traceback. Any other exception is a defect of this project and is not caught.
    """
    configure_console()
    try:
        code = command(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The program that reads the output (head, less) has closed it. Python would complain again at exit.
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
