"""Speed of Mask R-CNN Res2Net50-vd-FPN on a CPU, from a decoded image to run-length encoded masks: ours and others'.

    python -m benchmarks.inference --photos DIR --torch_python TORCH_ENV/bin/python --json speed.json --plots docs

Contenders take turns in separate processes, with equal weights made for the purpose (see ``detector.py``): ours with every
engine, torchvision's Mask R-CNN on timm's res2net50d (``--torch_python``: a Python with torch, torchvision, timm,
safetensors and pycocotools), and paddledet's own export (``--paddledet_python``: a Python with Paddle 2.6, paddledet and the
requirements of this project). In the same turns, a product of two 4096x4096 matrices shows the machine's speed at the time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.harness import machine_line, run_main
from benchmarks.inference.contenders import Contender, measure
from benchmarks.inference.detector import prepare
from benchmarks.inference.operators import print_operators
from benchmarks.inference.plots import plot_sweeps
from benchmarks.inference.table import compare, make_row, print_table

OURS = ("openvino fp32", "openvino fp32 direct", "onnxruntime fp32", "onednn fp32", "openvino bf16", "onednn bf16")
IMAGE_HW = (480, 640)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="folder of photos to calibrate on; default: generated pictures")
    parser.add_argument("--work_dir", default="output/benchmark", help="weights and exports (default: %(default)s)")
    parser.add_argument("--torch_python", help="Python with torch, for torchvision and the matrix product")
    parser.add_argument("--paddledet_python", help="Python with Paddle 2.6, for paddledet's own export")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each contender (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contender (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contenders, by the names in the table")
    parser.add_argument("--json", metavar="FILE", help="file to write the machine, rows and ratios to")
    parser.add_argument("--plots", help="folder for inference.png: latency against batch, size and detections")
    parser.add_argument("--operators", action="store_true", help="print where the time goes, by operator")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a contender failed."""
    args = _parser().parse_args(argv)
    machine = machine_line(args.threads)
    print(machine)
    work_dir = Path(args.work_dir).resolve()
    prepared = prepare(work_dir, Path(args.photos) if args.photos else None, IMAGE_HW)
    contenders = _contenders(args, work_dir)
    if args.only:
        contenders = [c for c in contenders if c.name in args.only or c.group == "gemm"]
    measure(contenders, prepared.image, args.rounds, args.threads)
    ratios = compare(contenders, prepared.g_macs)
    rows = [make_row(contender, ratios, prepared.g_macs) for contender in contenders]
    print_table(rows, ratios, prepared.g_macs)
    if args.operators:
        print_operators(prepared.image, prepared.folder, args.threads)
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine, "rows": rows, "ratios": ratios}, indent=1))
    if args.plots:
        plot_sweeps(work_dir, prepared, args.threads, contenders, Path(args.plots) / "inference.png")
    failed = [c for c in contenders if c.error]
    for contender in failed:
        print(f"{contender.name} failed: {contender.error}", file=sys.stderr)
    return 1 if failed else 0


def _contenders(args: argparse.Namespace, work_dir: Path) -> list[Contender]:
    """Return the contenders, in order."""

    def add(name: str, group: str, precision: str, python: str, options: Mapping[str, object]) -> None:
        contenders.append(Contender(name, group, precision, python, {"kind": group, **options}))

    contenders: list[Contender] = []
    for name in OURS:
        backend, precision, *direct = name.split()
        options = {
            "folder": str(work_dir / "model"),
            "backend": backend,
            "precision": precision,
            "winograd": not direct,
        }
        add(name, "ours", precision, sys.executable, options)
    for precision in ("fp32", "bf16") if args.torch_python else ():
        weights = str(work_dir / "weights.safetensors")
        for suffix, compiled in (("", False), (" compiled", True)):
            choices = {"weights": weights, "precision": precision, "compiled": compiled}
            add(f"torchvision {precision}{suffix}", "torchvision", precision, args.torch_python, choices)
        add(f"matrix product {precision}", "gemm", precision, args.torch_python, {"precision": precision})
    if args.paddledet_python:
        files = {"weights": str(work_dir / "weights.pdparams"), "export_dir": str(work_dir / "paddledet")}
        add("paddledet fp32", "paddledet", "fp32", args.paddledet_python, files)
    return contenders


if __name__ == "__main__":
    run_main(main)
