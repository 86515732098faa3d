"""``python -m res2net_runtime``."""

import sys

from res2net_runtime.cli import main

sys.exit(main())
