"""``ppdet-res2net train``, under the name that PaddleDetection's users know."""

import sys

from ppdet_res2net.__main__ import main

sys.exit(main(["train", *sys.argv[1:]]))
