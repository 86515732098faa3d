"""``ppdet-res2net browse-dataset``, as a script."""

import sys

from ppdet_res2net.__main__ import main

sys.exit(main(["browse-dataset", *sys.argv[1:]]))
