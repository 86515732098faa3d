"""``ppdet-res2net export``, under the name that PaddleDetection's users know."""

import sys

from ppdet_res2net.__main__ import main

sys.exit(main(["export", *sys.argv[1:]]))
