"""The part of ``deploy/python/infer.py`` for classifiers."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from res2net_runtime.classification.classifier import Classifier
from res2net_runtime.console import say
from res2net_runtime.errors import ModelFolderError, Res2NetError
from res2net_runtime.files import make_output_folder, replacing
from res2net_runtime.image_lists import leave_out_done, select_images
from res2net_runtime.result_files import JsonLines, read_json_lines
from res2net_runtime.texts import printable, storable

__all__ = ["run_classifier"]

_TOP = 5


def run_classifier(args: argparse.Namespace, options: Mapping[str, Any]) -> int:
    """Classify, print and save; returns 0, or 1 if an image failed.

    Args:
        args: The command line of the runtime.
        options: Those of :class:`Classifier`.
    """
    if not (args.image_file or args.image_dir or args.image_list):
        raise ModelFolderError(
            f"'{args.model_dir}' is a classifier, which needs --image_file, --image_dir or --image_list."
        )
    if args.threshold is not None:
        raise ModelFolderError(f"'{args.model_dir}' is a classifier; --threshold is for detectors. Leave it out.")
    images = select_images(
        args.image_file,
        args.image_dir,
        args.image_list,
        recursive=args.recursive,
        list_root=args.list_root,
        shard=args.shard,
    )
    suffix = args.shard.suffix if args.shard else ""
    saves_lines = args.save_jsonl or args.skip_done
    output_dir = make_output_folder(args.output_dir) if args.save_results or saves_lines else Path()
    lines_path = output_dir / f"results{suffix}.jsonl"
    results: list[dict[str, Any]] = []
    failures, started = 0, time.perf_counter()
    with Classifier(args.model_dir, **options) as classifier, contextlib.ExitStack() as stack:
        lines = stack.enter_context(JsonLines(lines_path, keeps_old=args.skip_done)) if saves_lines else None
        if args.skip_done:
            results += _read_done(lines_path)
            images = leave_out_done(images, {record["file_name"]: record["image_id"] for record in results})
        skipped = len(results)
        try:
            predictions = classifier.predict_iter([image.path for image in images])
            for image, prediction in zip(images, predictions):
                if prediction.error is not None:
                    failures += 1
                    say(f"Error: {prediction.error}", sys.stderr)
                    continue
                classes = prediction.classification.top(_TOP)
                shown = ", ".join(f"{name} {100 * score:.1f} %" for _, name, score in classes)
                say(f"{printable(image.path)}: {printable(shown)}")
                rows = prediction.classification.rows(_TOP)
                results.append({"file_name": storable(image.name), "image_id": image.image_id, "classes": rows})
                if lines is not None:
                    lines.add(results[-1])
        finally:  # after Ctrl-C, too
            if args.save_results:
                content = [{key: value for key, value in one.items() if key != "image_id"} for one in results]
                with replacing(output_dir / f"classes{suffix}.json") as unfinished:
                    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        engine = classifier.description
    done_before = f" ({skipped} done before)" if skipped else ""
    count = f"{len(results) - skipped} of {len(images)} images{done_before}"
    say(f"{count} in {time.perf_counter() - started:.2f} s with {engine}")
    return 1 if failures else 0


def _read_done(path: Path) -> list[dict[str, Any]]:
    """Return the results of an earlier run.

    Raises:
        Res2NetError: The file holds something else.
    """
    records = list(read_json_lines(path))
    for record in records:
        if type(record.get("image_id")) is not int or not isinstance(record.get("classes"), list):
            raise Res2NetError(f"'{printable(path)}' does not hold classes. Move it away, or choose another folder.")
    return records
