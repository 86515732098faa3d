"""``ppdet-res2net train-classifier`` as a script."""

import sys

from ppdet_res2net.cli.main import main

sys.exit(main(["train-classifier", *sys.argv[1:]]))
