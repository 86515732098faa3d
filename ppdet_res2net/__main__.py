"""``python -m ppdet_res2net``: the same as the command ``ppdet-res2net``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    if not __package__:
        # Run by its path, as paddle.distributed.launch does. Python then searches this folder first, where modules named
        # data, datasets or config would hide others of these names.
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from ppdet_res2net.cli.main import main

    sys.exit(main())
