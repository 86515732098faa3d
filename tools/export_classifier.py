"""``ppdet-res2net export-classifier`` as a script."""

import sys

from ppdet_res2net.cli.main import main

sys.exit(main(["export-classifier", *sys.argv[1:]]))
