"""``python -m ppdet_res2net``: the same as the command ``ppdet-res2net``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code. Ctrl-C during the imports ends it without a traceback.

    Args:
        argv: The command and its arguments; by default, the process' own.
    """
    from res2net_runtime._interrupts import end_quietly_on_interrupt

    end_quietly_on_interrupt()
    from ppdet_res2net.cli.main import main as run

    return run(argv)


if __name__ == "__main__":
    if not __package__:
        # Run by its path, as paddle.distributed.launch does. Python then searches this folder first, where modules named
        # data, datasets or config would hide others of these names.
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    elif sys.path[0] == os.getcwd() != str(Path(__file__).resolve().parents[1]):
        # With -m, Python searches the current folder first, where files named click.py or random.py would hide modules.
        # The command does not search it, and nothing of this package is there.
        del sys.path[0]
    sys.exit(main())
