"""``ppdet-res2net check-dataset``, as a script."""

import sys

from ppdet_res2net.__main__ import main

sys.exit(main(["check-dataset", *sys.argv[1:]]))
