"""``ppdet-res2net train``, under the name that PaddleDetection's users know."""

import sys

from ppdet_res2net.cli.main import main

sys.exit(main(["train", *sys.argv[1:]]))
