"""Parses command lines of every program of this project without running them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import pytest

from ppdet_res2net.cli import main as cli
from res2net_runtime import cli as runtime
from res2net_runtime import quantize
from res2net_runtime.arguments import FlagParser
from res2net_runtime.batch import cli as batch
from res2net_runtime.serve import cli as serve

# Command -> how it is called with arguments; the formats of convert-dataset have options of their own.
MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    **{name: lambda argv, name=name: cli.main([name, *argv]) for name in cli.COMMANDS},
    **{
        f"convert-dataset {name}": lambda argv, name=name: cli.main(["convert-dataset", name, *argv])
        for name in ("voc", "labelme", "yolo", "coco")
    },
    "runtime": lambda argv: runtime.main([*argv]),
    "quantize": lambda argv: quantize.main([*argv]),
    "runtime.batch": lambda argv: batch.main([*argv]),
    "runtime.serve": lambda argv: serve.main([*argv]),
}


class Parsed(Exception):
    """Carries the parser and the arguments of a command out of it, before it does anything."""


def parse_only(command: str, words: Sequence[str]) -> argparse.Namespace:
    """Return what a command parses its arguments into; it does nothing else.

    Raises:
        SystemExit: The arguments are wrong.
    """
    original = FlagParser.parse_args

    def parse_and_stop(self, args=None, namespace=None):
        raise Parsed(original(self, args, namespace))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlagParser, "parse_args", parse_and_stop)
        with pytest.raises(Parsed) as stopped:
            MAINS[command](words)
    return stopped.value.args[0]
