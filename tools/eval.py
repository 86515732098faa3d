"""``ppdet-res2net eval``, under the name that PaddleDetection's users know."""

import sys

from ppdet_res2net.__main__ import main

sys.exit(main(["eval", *sys.argv[1:]]))
