"""Write tide.json: what tidecv 1.0.1 says about detections made up from seeds.

Run it in an environment of its own, because tidecv needs seaborn and an old NumPy:

    python -m venv tidecv-env
    tidecv-env/bin/pip install tidecv==1.0.1 'numpy<2'
    tidecv-env/bin/python -m tests.analysis.make_tide_goldens
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.helpers.made_detections import make_annotations, make_results

# Seed, arguments of make_annotations, IoU of right detections, IoU of background
CASES = (
    (1, {}, 0.5, 0.1),
    (2, {"images": 30, "classes": 8}, 0.5, 0.1),
    (3, {"images": 20, "classes": 1, "objects": 12}, 0.75, 0.1),
    (4, {"images": 3, "classes": 20}, 0.5, 0.2),
    (5, {"images": 6, "classes": 2, "objects": 60}, 0.5, 0.1),
)


def main() -> None:
    """Write the file."""
    from tidecv import TIDE, datasets

    goldens = []
    with tempfile.TemporaryDirectory() as folder:
        for seed, options, iou, background_iou in CASES:
            content = make_annotations(seed, **options)
            truth, found = Path(folder, "truth.json"), Path(folder, "found.json")
            truth.write_text(json.dumps(content))
            found.write_text(json.dumps(make_results(content, seed)))
            for kind in (TIDE.BOX, TIDE.MASK):
                tide = TIDE(iou, background_iou, kind)
                run = tide.evaluate(datasets.COCO(str(truth)), datasets.COCOResult(str(found)), name="run")
                counts = {type_.short_name: number for type_, number in run.count_errors().items()}
                main_errors, special = tide.get_main_errors()["run"], tide.get_special_errors()["run"]
                goldens.append(
                    {
                        "seed": seed,
                        "options": options,
                        "iou": iou,
                        "background_iou": background_iou,
                        "kind": "bbox" if kind == TIDE.BOX else "segm",
                        "ap": run.ap,
                        "errors": main_errors,
                        "special": special,
                        "counts": counts,
                    }
                )
    Path(__file__).with_name("tide.json").write_text(json.dumps(goldens, indent=1) + "\n")


if __name__ == "__main__":
    main()
