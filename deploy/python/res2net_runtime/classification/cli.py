"""The part of ``deploy/python/infer.py`` for classifiers."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from res2net_runtime.classification.classifier import Classifier
from res2net_runtime.errors import ModelFolderError
from res2net_runtime.files import find_images, make_output_folder

__all__ = ["run_classifier"]

_TOP = 5


def run_classifier(args: argparse.Namespace, options: Mapping[str, Any]) -> int:
    """Classify, print and save; returns 0, or 1 if an image failed.

    Args:
        args: The command line of the runtime.
        options: Those of :class:`Classifier`.
    """
    if not (args.image_file or args.image_dir):
        raise ModelFolderError(f"'{args.model_dir}' is a classifier, which needs --image_file or --image_dir.")
    if args.threshold is not None:
        raise ModelFolderError(f"'{args.model_dir}' is a classifier; --threshold is for detectors. Leave it out.")
    paths = find_images(args.image_dir) if args.image_dir else [Path(args.image_file)]
    output_dir = make_output_folder(args.output_dir) if args.save_results else None
    results, failures, started = [], 0, time.perf_counter()
    with Classifier(args.model_dir, **options) as classifier:
        try:
            for path, prediction in zip(paths, classifier.predict_iter(paths)):
                if prediction.error is not None:
                    failures += 1
                    print(f"Error: {prediction.error}", file=sys.stderr)
                    continue
                classes = prediction.classification.top(_TOP)
                print(f"{path}: " + ", ".join(f"{name} {100 * score:.1f} %" for _, name, score in classes))
                rows = [{"label": label, "name": name, "score": round(score, 6)} for label, name, score in classes]
                results.append({"file_name": path.name, "classes": rows})
        finally:  # after Ctrl-C, too
            if output_dir is not None:
                (output_dir / "classes.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        engine = classifier.description
    print(f"{len(results)} of {len(paths)} images in {time.perf_counter() - started:.2f} s with {engine}")
    return 1 if failures else 0
