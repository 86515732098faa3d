"""``python -m ppdet_res2net``: the same as the command ``ppdet-res2net``."""

import sys

from ppdet_res2net.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
