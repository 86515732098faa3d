"""``python -m res2net_runtime.batch``."""

import sys

from res2net_runtime._interrupts import end_quietly_on_interrupt

if __name__ == "__main__":  # processes that the command starts may import this again
    end_quietly_on_interrupt()
    from res2net_runtime.batch.cli import main

    sys.exit(main())
