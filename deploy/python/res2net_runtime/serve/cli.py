"""The command line of the server: ``python -m res2net_runtime.serve``, and ``ppdet-res2net serve``."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from res2net_runtime.arguments import FlagParser, images_per_batch, path_text, positive_int, thread_count, whole_number
from res2net_runtime.console import python_command, run_command, say
from res2net_runtime.engines import BACKENDS, PRECISIONS, RUN_MODES
from res2net_runtime.errors import Res2NetError

__all__ = ["main"]

logger = logging.getLogger(__name__)

MODULE = "res2net_runtime.serve"
_PACKAGES = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")


def _number(least: float, most: float) -> Callable[[str], float]:
    """Return an argument type: a number in a range."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"got '{text}', expected a number from {least:g} to {most:g}")
        return value

    return parse


def make_parser(prog: str = f"python -m {MODULE}", program: str | None = None) -> FlagParser:
    """Return the parser; ``prog`` is the command's name in messages, ``program`` how a shell calls it."""
    parser = FlagParser(
        prog,
        "Answer requests over HTTP with exported detectors and classifiers, and show a page to try them.",
        program or f"{python_command()} -m {MODULE}",
        examples=(
            "--model_dir output_inference/demo_mask_rcnn",
            "--model_dir nuts=output_inference/nuts --model_dir output_inference/demo_mask_rcnn --port 8000",
            "--model_dir output_inference/demo_mask_rcnn --host 0.0.0.0 --api_key_file keys.txt --workers 2 --batch_size 4",
        ),
    )
    add = parser.add_argument
    add(
        "--model_dir",
        type=path_text,
        action="append",
        required=True,
        metavar="[NAME=]DIR",
        help="folder that the export wrote; may be given several times; its name is the folder's unless NAME says another",
    )
    add(
        "--host",
        default="127.0.0.1",
        metavar="HOST",
        help="address to listen at (default: %(default)s, this machine only)",
    )
    add(
        "--port",
        type=whole_number(0, 65535),
        default=8080,
        metavar="N",
        help="0 takes a free one (default: %(default)s)",
    )
    add(
        "--workers",
        type=whole_number(1, 256),
        default=1,
        metavar="N",
        help="processes, each with all models (default: 1)",
    )
    add(
        "--batch_size",
        type=images_per_batch,
        default=1,
        metavar="N",
        help="images of one size that run together, of whatever requests (default: %(default)s)",
    )
    add(
        "--max_wait_ms",
        type=_number(0, 60_000),
        default=5.0,
        metavar="T",
        help="how long an image waits for others of its size, if --batch_size is above 1 (default: %(default)s)",
    )
    add(
        "--max_queue",
        type=whole_number(1, 100_000),
        default=64,
        metavar="Q",
        help="images of a model that may wait in a process; further ones get status 503 (default: %(default)s)",
    )
    add(
        "--max_mb",
        type=_number(0.001, 1000),
        default=20.0,
        metavar="M",
        help="largest body in MB (default: %(default)s)",
    )
    add(
        "--max_pixels",
        type=positive_int,
        default=50_000_000,
        metavar="P",
        help="refuse images with more pixels (default: %(default)s)",
    )
    add(
        "--max_images",
        type=whole_number(1, 10_000),
        default=16,
        metavar="N",
        help="of a request (default: %(default)s)",
    )
    add(
        "--max_connections", type=whole_number(2, 100_000), default=512, metavar="N", help="open at once (default: 512)"
    )
    add(
        "--timeout_ms",
        type=whole_number(1, 3_600_000),
        default=30_000,
        metavar="T",
        help="how long requests wait for the network that do not say it themselves (default: %(default)s)",
    )
    add(
        "--body_timeout_s",
        type=_number(0.1, 3600),
        default=30.0,
        metavar="S",
        help="how long a client may take to send the headers, and the body (default: %(default)s)",
    )
    add(
        "--grace_s",
        type=_number(1, 3600),
        default=30.0,
        metavar="S",
        help="how long requests in flight may take after SIGTERM (default: %(default)s)",
    )
    add("--api_key_file", type=path_text, metavar="FILE", help="keys, one per line, of which clients must send one")
    add("--no_access_log", action="store_true", help="do not write a line of JSON for each request to standard output")
    add("--device", default="CPU", metavar="NAME", help="CPU, GPU or GPU:<index> (default: %(default)s)")
    add(
        "--cpu_threads",
        type=thread_count,
        metavar="N",
        help="threads of a network on a CPU (default: the cores, divided by --workers)",
    )
    add("--run_mode", choices=RUN_MODES, default="auto", help="engine and precision by one name (default: %(default)s)")
    add("--backend", choices=["auto", *BACKENDS], help="engine, instead of --run_mode")
    add("--precision", choices=PRECISIONS, help="precision, instead of --run_mode")
    add(
        "--trust_graph",
        action="store_true",
        help="pass the networks to the engine unchecked; only for models that you trust as you trust a program",
    )
    return parser


def main(argv: Sequence[str] | None = None, parser: FlagParser | None = None) -> int:
    """Run the server until a signal ends it; returns 0, or 1 if it could not start.

    Args:
        argv: The arguments; those of the process by default.
        parser: A parser of :func:`make_parser`, if the command has another name.
    """
    parser = parser or make_parser()
    args = parser.parse_args(argv)
    if (args.backend or args.precision) and args.run_mode != "auto":
        parser.error("--run_mode already says backend and precision; leave out --run_mode, or both of the others")
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    _check_packages()
    from res2net_runtime.serve.server import configure_server_logging, open_socket, run_server
    from res2net_runtime.serve.supervisor import run_workers

    settings = _settings(args)
    configure_server_logging()
    if not settings.keys and not _is_loopback(args.host):
        logger.warning(
            "everybody who reaches %s, port %s, may use this server. --api_key_file makes clients show a key.",
            args.host, args.port,
        )  # fmt: skip
    listening = open_socket(args.host, args.port)
    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def tell_ready() -> None:
        say(f"Serving {', '.join(settings.models)} at {address} - Ctrl-C or SIGTERM ends it.", sys.stderr)

    if args.workers == 1:
        run_server(settings, listening, tell_ready)
    else:
        run_workers(settings, listening, args.workers, tell_ready)
    say("Stopped.", sys.stderr)
    return 0


def _check_packages() -> None:
    missing = [name.replace("_", "-") for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise Res2NetError(
            f"The server needs {', '.join(missing)}, which the extra 'serve' installs: pip install 'deploy/python[serve]' in a "
            f"checkout, or pip install {' '.join(missing)}."
        )


def _settings(args: argparse.Namespace) -> Any:
    from res2net_runtime.backends.cpu import available_cores
    from res2net_runtime.model_folder import read_model_config
    from res2net_runtime.serve.keys import load_keys
    from res2net_runtime.serve.settings import ServeSettings, name_models

    models = name_models(args.model_dir)
    for folder in models.values():
        read_model_config(folder)  # a wrong path is told at once
    backend, precision = RUN_MODES[args.run_mode]
    threads = args.cpu_threads
    if threads is None and args.workers > 1:
        threads = max(1, available_cores() // args.workers)
    return ServeSettings(
        models=models,
        engine={
            "device": args.device,
            "cpu_threads": threads,
            "backend": args.backend or backend,
            "precision": args.precision or precision,
            "trust_graph": args.trust_graph,
        },
        batch_size=args.batch_size,
        max_wait_ms=args.max_wait_ms,
        max_queue=args.max_queue,
        max_mb=args.max_mb,
        max_pixels=args.max_pixels,
        max_images=args.max_images,
        max_connections=args.max_connections,
        timeout_ms=args.timeout_ms,
        body_timeout_s=args.body_timeout_s,
        grace_s=args.grace_s,
        keys=load_keys(args.api_key_file) if args.api_key_file else (),
        access_log=not args.no_access_log,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
