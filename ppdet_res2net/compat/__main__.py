"""Probe every known defect and print one JSON object per line for each: see ``registry.probe_defects``."""

from __future__ import annotations

import json
import sys

from ppdet_res2net.compat.registry import DEFECTS
from ppdet_res2net.compat.zlib_order import load_zlib_before_paddle


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what the packages print must not mix with the answers
    load_zlib_before_paddle()  # without it, Paddle 2.6 can end the process
    for defect in DEFECTS:
        try:
            answer: dict[str, object] = {"present": bool(defect.is_present())}
        except Exception as error:  # reported, not swallowed: an exception is the result of this probe
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"name": defect.name, **answer}), file=answers, flush=True)


if __name__ == "__main__":
    main()
