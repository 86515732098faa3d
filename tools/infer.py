"""``ppdet-res2net infer``, under the name that PaddleDetection's users know."""

import sys

from ppdet_res2net.__main__ import main

sys.exit(main(["infer", *sys.argv[1:]]))
