"""``python -m res2net_runtime.serve``."""

import sys

from res2net_runtime.serve.cli import main

if __name__ == "__main__":  # processes that the server starts may import this again
    sys.exit(main())
