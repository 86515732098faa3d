"""``ppdet-res2net eval-classifier`` as a script."""

import sys

from ppdet_res2net.cli.main import main

sys.exit(main(["eval-classifier", *sys.argv[1:]]))
