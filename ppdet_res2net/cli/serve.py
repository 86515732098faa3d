"""``ppdet-res2net serve``: the server of the runtime, ``python -m res2net_runtime.serve``."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet_res2net.commands import PROG, program
from res2net_runtime.serve import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 after a signal has ended it."""
    return cli.main(argv, cli.make_parser(f"{PROG} serve", program("serve")))
