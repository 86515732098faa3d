"""``ppdet-res2net``: one command per tool; each is imported only when it is used."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import ppdet_res2net
from ppdet_res2net.cli._common import run
from ppdet_res2net.commands import PROG, program
from ppdet_res2net.errors import did_you_mean
from res2net_runtime.texts import printable_lines

# Command -> what it does. Its module has the same name, with '_' instead of '-'.
COMMANDS = {
    "demo": "train, evaluate, export and predict on a generated dataset",
    "init": "write a recipe for a dataset of your own",
    "train": "train a detector or a classifier",
    "fetch": "download the weights that a recipe needs, or list them",
    "plot": "draw the curves of training runs",
    "eval": "box and mask AP of a detector, top-1 and top-5 of a classifier",
    "infer": "detect objects in images, or classify them",
    "export": "write a detector or a classifier as a folder for deployment",
    "publish": "write a folder of a run for a hub of models, such as Hugging Face's",
    "batch": "run an exported model on very many images, in several processes or on a cluster",
    "serve": "answer requests over HTTP with exported models, and show a page to try them",
    "set-threshold": "choose the score from which an exported detector draws",
    "benchmark": "compare the engines that run an exported detector: AP, time, memory, size",
    "make-class-folders": "write small datasets for classification",
    "config": "check a configuration and print it whole",
    "models": "list the published models",
    "convert-weights": "convert a published weight file",
    "check-dataset": "find what is wrong with annotations and images",
    "browse-dataset": "show the images that the network is trained on",
    "convert-dataset": "Pascal VOC, labelme or YOLO annotations to COCO's format, and back",
    "split-dataset": "set images of a dataset aside for evaluation",
    "merge-datasets": "join datasets",
    "make-demo-data": "write the generated dataset",
    "doctor": "check the installation",
}


# What people of other tools type for some of them.
_OTHER_NAMES = {
    "export-model": "export",
    "test": "eval",
    "val": "eval",
    "evaluate": "eval",
    "predict": "infer",
    "server": "serve",
    "deploy": "serve",
    "x2coco": "convert-dataset",
    "check-env": "doctor",
    "download": "fetch",
    "upload": "publish",
    "push-to-hub": "publish",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable_lines(message))


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
    parser = _Parser(
        prog=PROG,
        usage=f"{PROG} [-h] [--version] COMMAND ...",
        description="The Res2Net family for PaddlePaddle: train, evaluate, export and run detectors and classifiers.",
        epilog=f"commands:\n{lines}\n\n'{PROG} COMMAND --help' describes one command and gives examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {ppdet_res2net.__version__}")
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if argv == ["help"]:
        argv = ["--help"]
    elif argv[:1] == ["help"]:
        argv = [argv[1], "--help"]
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    command = parser.parse_args(argv[:1]).command
    if command not in COMMANDS:
        parser.error(f"there is no command '{command}'.{_instead_of(command)}")
    module = f"ppdet_res2net.cli.{command.replace('-', '_')}"
    return run(lambda arguments: importlib.import_module(module).main(arguments), argv[1:])


def _instead_of(command: str) -> str:
    """Return a hint: what to type instead of an unknown command."""
    name = command.removesuffix(".py").replace("_", "-").lower()
    verb = name.removesuffix("-classifier")
    if verb != name and verb in COMMANDS:
        return f" '{program(verb)}' serves classifiers too: pass a recipe of a classifier with -c" + (
            "." if verb == "train" else ", or --model or --weights."
        )
    if name in _OTHER_NAMES:
        return f" Here it is called '{program(_OTHER_NAMES[name])}'."
    return did_you_mean(name, COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
