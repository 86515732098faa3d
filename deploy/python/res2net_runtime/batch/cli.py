"""The command line of batches: ``python -m res2net_runtime.batch``, and ``ppdet-res2net batch``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from res2net_runtime.arguments import (
    FlagParser,
    fraction,
    images_per_batch,
    path_text,
    positive_int,
    thread_count,
    whole_number,
)
from res2net_runtime.backends.base import TRUST_GRAPH_OPTION
from res2net_runtime.backends.cpu import available_cores
from res2net_runtime.batch.dispatch import Dispatcher
from res2net_runtime.batch.parquet import check_pyarrow
from res2net_runtime.batch.plan import write_plan
from res2net_runtime.batch.progress import ProgressDisplay
from res2net_runtime.batch.run_local import LOG_FORM, run_local
from res2net_runtime.batch.run_ray import check_ray, run_ray
from res2net_runtime.batch.sources import open_source
from res2net_runtime.batch.store import FAILURES, Store
from res2net_runtime.batch.work import FORMATS, WorkSettings, fingerprint
from res2net_runtime.console import configure_logging, ending_on_signals, python_command, run_command, say
from res2net_runtime.engines import BACKENDS, PRECISIONS, RUN_MODES
from res2net_runtime.errors import Res2NetError
from res2net_runtime.model_folder import read_model_config
from res2net_runtime.preprocess import DEFAULT_MAX_PIXELS
from res2net_runtime.texts import printable
from res2net_runtime.views import VIEW_OPTIONS, find_misused_views, view_settings

__all__ = ["main", "make_parser"]

MODULE = "res2net_runtime.batch"
_DEFAULT_TOP = 5
_INTERRUPTED = "Interrupted. The finished shards are kept; the same command goes on after them."


def make_parser(prog: str = f"python -m {MODULE}", program: str | None = None) -> FlagParser:
    """Return the parser; ``prog`` is the command's name in messages, ``program`` how a shell calls it."""
    parser = FlagParser(
        prog,
        "Run an exported detector or classifier on very many images, in several processes or on a cluster. A run that was "
        "ended goes on with the same command.",
        program or f"{python_command()} -m {MODULE}",
        examples=(
            "--model_dir output_inference/demo_mask_rcnn --images photos --recursive --output results --processes 4",
            "--model_dir output_inference/demo_mask_rcnn --images instances.json --list_root photos --output results",
            "--model_dir output_inference/demo_mask_rcnn --images table.jsonl --output results --address auto",
        ),
    )
    add = parser.add_argument
    add("--model_dir", type=path_text, required=True, metavar="DIR", help="folder that the export wrote")
    add(
        "--images",
        type=path_text,
        required=True,
        metavar="SOURCE",
        help="a folder of images, a list with one path per line, a COCO file, or a table of paths in JSON lines or Parquet",
    )
    add(
        "--output",
        type=path_text,
        required=True,
        metavar="DIR",
        help="folder for the results, a new one or that of the run to go on with",
    )
    add("--recursive", action="store_true", help="also read the images in subfolders")
    add(
        "--list_root",
        type=path_text,
        metavar="DIR",
        help="folder that the paths in a list, COCO file or table begin from (default: the folder of that file)",
    )
    add("--column", metavar="NAME", help="column of a table that has the paths (default: file_name, path or the like)")
    add(
        "--format",
        choices=FORMATS,
        default="jsonl",
        help="of the results; parquet needs pyarrow, the extra 'parquet' (default: %(default)s)",
    )
    add(
        "--shard_size",
        type=whole_number(1, 1_000_000),
        default=1000,
        metavar="N",
        help="images of a file with results, which is written as a whole (default: %(default)s)",
    )
    add(
        "--processes",
        type=whole_number(1, 100_000),
        metavar="N",
        help="processes, each with the model (default: 1; with --address, as many as the cluster has cores or GPUs for)",
    )
    add(
        "--address",
        metavar="ADDRESS",
        help="run on the Ray cluster at this address, such as auto or HOST:6379; needs the extra 'ray'",
    )
    add("--retry_failed", action="store_true", help="run shards again in which images have failed")
    add("--threshold", type=fraction, metavar="SCORE", help="keep detections with at least this score (default: all)")
    add(
        "--top_k",
        type=positive_int,
        metavar="K",
        help=f"classes of an image that a classifier keeps (default: {_DEFAULT_TOP})",
    )
    for flag, settings in VIEW_OPTIONS.items():
        add(flag, **settings)
    add("--device", default="CPU", metavar="NAME", help="CPU, GPU or GPU:<index> (default: %(default)s)")
    add(
        "--cpu_threads",
        type=thread_count,
        metavar="N",
        help="threads of the network in each process (default: the cores, divided by --processes; with --address: 1)",
    )
    add(
        "--batch_size",
        type=images_per_batch,
        default=1,
        metavar="N",
        help="number of images of one size that run together (default: %(default)s)",
    )
    add(
        "--max_pixels",
        type=positive_int,
        default=DEFAULT_MAX_PIXELS,
        metavar="N",
        help="refuse images with more pixels (default: %(default)s)",
    )
    add("--trust_graph", **TRUST_GRAPH_OPTION)
    add("--run_mode", choices=RUN_MODES, default="auto", help="engine and precision by one name (default: %(default)s)")
    add("--backend", choices=["auto", *BACKENDS], help="engine, instead of --run_mode")
    add("--precision", choices=PRECISIONS, help="precision, instead of --run_mode")
    return parser


def main(argv: Sequence[str] | None = None, parser: FlagParser | None = None) -> int:
    """Run the command; returns 0 if every image worked, 1 otherwise.

    Args:
        argv: The arguments; those of the process by default.
        parser: A parser of :func:`make_parser`, if the command has another name.
    """
    parser = parser or make_parser()
    args = parser.parse_args(argv)
    if (args.backend or args.precision) and args.run_mode != "auto":
        parser.error("--run_mode already says backend and precision; leave out --run_mode, or both of the others")
    misused = find_misused_views(args)
    if misused:
        parser.error(misused)
    configure_logging(LOG_FORM, level=logging.INFO)
    return run_command(lambda: _run(args), _INTERRUPTED)


def _run(args: argparse.Namespace) -> int:
    if args.format == "parquet":
        check_pyarrow()
    if args.address is not None:
        check_ray()
        if ":" in args.device:
            raise Res2NetError(
                f"--device {printable(args.device)} names a GPU, but Ray chooses one for each process. Pass GPU."
            )
    source = open_source(args.images, recursive=args.recursive, list_root=args.list_root, column=args.column)
    work = _work_settings(args, source.root)
    with ending_on_signals():
        store = Store(
            args.output,
            _result_settings(args, work),
            lambda path: write_plan(source.entries(), path, args.shard_size),
            args.retry_failed,
        )
        with store:
            before = store.count("images")
            if before:
                say(f"{before} of {store.plan.count} images are done; going on with the others.", sys.stderr)
            with ProgressDisplay(store.plan.count, before) as display:
                dispatcher = Dispatcher(store, display)
                if args.address is None:
                    run_local(work, dispatcher, args.processes or 1)
                else:
                    run_ray(work, dispatcher, args.processes, args.address)
            store.finish()
        return _report(store)


def _work_settings(args: argparse.Namespace, root: str) -> WorkSettings:
    is_detector = read_model_config(args.model_dir)[0]["task"] == "detection"
    for_others = ("threshold", "slice", "tta") if not is_detector else ("top_k",)
    for name in for_others:
        if getattr(args, name) is not None:
            here, there = ("a detector", "classifiers") if is_detector else ("a classifier", "detectors")
            raise Res2NetError(f"--{name} is for {there}, and '{printable(args.model_dir)}' is {here}. Leave it out.")
    backend, precision = RUN_MODES[args.run_mode]
    threads = args.cpu_threads
    if threads is None:
        threads = 1 if args.address is not None else max(1, available_cores() // (args.processes or 1))
    session: dict[str, Any] = {
        "device": args.device,
        "cpu_threads": threads,
        "batch_size": args.batch_size,
        "backend": args.backend or backend,
        "precision": args.precision or precision,
        "max_pixels": args.max_pixels,
        "trust_graph": args.trust_graph,
        **(view_settings(args) if is_detector else {}),
    }
    return WorkSettings(
        model_dir=str(Path(args.model_dir).absolute()),
        model=fingerprint(args.model_dir),
        root=str(Path(root).absolute()),
        is_detector=is_detector,
        session=session,
        threshold=args.threshold,
        top_k=args.top_k or _DEFAULT_TOP,
        format=args.format,
    )


def _result_settings(args: argparse.Namespace, work: WorkSettings) -> dict[str, Any]:
    """Return what decides the results: a folder is only continued with the same. Threads and processes may change."""
    settings = {
        "model": work.model,
        "task": "detection" if work.is_detector else "classification",
        "format": work.format,
        "shard_size": args.shard_size,
        "backend": work.session["backend"],
        "precision": work.session["precision"],
        "max_pixels": args.max_pixels,
    }
    if not work.is_detector:
        return {**settings, "top_k": work.top_k}
    views = {name: repr(work.session[name]) for name in ("slicing", "tta") if name in work.session}
    return {**settings, "threshold": work.threshold, **views}


def _report(store: Store) -> int:
    total, failed = store.plan.count, store.count("failed")
    found = f", {store.count('detections')} detections" if store.has_detections else ""
    say(f"{total - failed} of {total} images{found}. Results are in '{printable(store.folder)}'.")
    engines = sorted({one["engine"] for one in store.done.values()})
    if len(engines) > 1:
        say(f"Note: different engines have run, whose results differ in the last digits: {'; '.join(engines)}.")
    if failed:
        path = store.folder / FAILURES
        say(f"{failed} of {total} images failed; see '{printable(path)}'. --retry_failed runs them again.", sys.stderr)
    return 1 if failed else 0
