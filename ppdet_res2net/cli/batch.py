"""``ppdet-res2net batch``: the runtime's command for many images, ``python -m res2net_runtime.batch``."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet_res2net.commands import PROG, program
from res2net_runtime.batch import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 if every image worked."""
    return cli.main(argv, cli.make_parser(f"{PROG} batch", program("batch")))
