"""``ppdet-res2net convert-dataset``, as a script."""

import sys

from ppdet_res2net.__main__ import main

sys.exit(main(["convert-dataset", *sys.argv[1:]]))
