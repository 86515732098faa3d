"""``ppdet-res2net infer-classifier`` as a script."""

import sys

from ppdet_res2net.cli.main import main

sys.exit(main(["infer-classifier", *sys.argv[1:]]))
