"""``python -m res2net_runtime``."""

from __future__ import annotations

import sys

from res2net_runtime._interrupts import end_quietly_on_interrupt


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code. Ctrl-C during the imports ends it without a traceback.

    Args:
        argv: The arguments; by default, the process' own.
    """
    end_quietly_on_interrupt()
    from res2net_runtime.cli import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
