"""``ppdet-res2net convert-weights``, under the name that PaddleDetection's users know."""

import sys

from ppdet_res2net.__main__ import main

sys.exit(main(["convert-weights", *sys.argv[1:]]))
