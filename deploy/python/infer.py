#!/usr/bin/env python3
"""Detect objects in images, or classify them, with an exported model; needs no training package. See docs/deployment.md."""

import sys

from res2net_runtime.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
