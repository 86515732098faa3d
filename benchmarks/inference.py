"""Speed of Mask R-CNN Res2Net50-vd-FPN on a CPU, from a decoded image to run-length encoded masks, ours and others'.

    python benchmarks/inference.py --photos DIR --torch_python TORCH_ENV/bin/python --json speed.json --plots docs

Contenders run in turns in processes of their own, with equal weights made for the purpose (see ``_model.py``): ours with every
engine, torchvision's Mask R-CNN on timm's res2net50d (``--torch_python``: a Python with torch, torchvision, timm, safetensors
and pycocotools), and paddledet's own export (``--paddledet_python``: a Python with Paddle 2.6 and paddledet). A product of two
4096x4096 matrices in the same turns tells what the machine can do at the time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _contenders import Contender, measure

GEMM_G_MACS = 4096**3 / 1e9
OURS = ("openvino fp32", "onnxruntime fp32", "onednn fp32", "openvino bf16", "onednn bf16")
IMAGE_HW = (480, 640)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="folder of photos to calibrate on; default: generated pictures")
    parser.add_argument("--work_dir", default="output/benchmark", help="weights and exports (default: %(default)s)")
    parser.add_argument("--torch_python", help="Python interpreter for torchvision and the matrix product")
    parser.add_argument("--paddledet_python", help="Python interpreter for paddledet's own export")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each contender (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contender (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contenders, by the names in the table")
    parser.add_argument("--json", help="file to write rows and ratios to")
    parser.add_argument("--plots", help="folder for inference.png: latency against batch, size and detections")
    parser.add_argument("--operators", action="store_true", help="print where the time goes, by operator")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a contender failed."""
    args = _parser().parse_args(argv)
    # Only now, as it takes seconds; and not here at all in the processes of the contenders.
    from _model import prepare

    work_dir = Path(args.work_dir).resolve()
    prepared = prepare(work_dir, Path(args.photos) if args.photos else None, IMAGE_HW)
    contenders = _contenders(args, work_dir)
    if args.only:
        contenders = [c for c in contenders if c.name in args.only or c.group == "gemm"]
    measure(contenders, prepared.image, args.rounds, args.threads)
    ratios = _ratios(contenders, prepared.g_macs)
    rows = [_row(c, ratios, prepared.g_macs) for c in contenders]
    _print_table(rows, ratios, prepared.g_macs, args.threads)
    if args.operators:
        from _operators import print_operators

        print_operators(prepared.image, prepared.folder, args.threads)
    if args.json:
        Path(args.json).write_text(json.dumps({"rows": rows, "ratios": ratios}, indent=1))
    if args.plots:
        from _plots import plot_sweeps

        plot_sweeps(work_dir, prepared, args.threads, contenders, Path(args.plots) / "inference.png")
    failed = [c for c in contenders if c.error]
    for contender in failed:
        print(f"{contender.name} failed: {contender.error}", file=sys.stderr)
    return 1 if failed else 0


def _contenders(args: argparse.Namespace, work_dir: Path) -> list[Contender]:
    contenders = []
    for name in OURS:
        backend, precision = name.split()
        options = {
            "kind": "ours",
            "folder": str(work_dir / "model"),
            "backend": backend,
            "precision": precision,
        }
        contenders.append(Contender(name, "ours", precision, sys.executable, options))
    if args.torch_python:
        for precision in ("fp32", "bf16"):
            for compiled in (False, True):
                options = {"kind": "torchvision", "weights": str(work_dir / "weights.safetensors")}
                options.update(precision=precision, compiled=compiled)
                name = f"torchvision {precision}{' compiled' if compiled else ''}"
                contenders.append(Contender(name, "torchvision", precision, args.torch_python, options))
            options = {"kind": "gemm", "precision": precision}
            contenders.append(Contender(f"matrix product {precision}", "gemm", precision, args.torch_python, options))
    if args.paddledet_python:
        options = {"kind": "paddledet", "weights": str(work_dir / "weights.pdparams")}
        options.update(export_dir=str(work_dir / "paddledet"))
        contenders.append(Contender("paddledet fp32", "paddledet", "fp32", args.paddledet_python, options))
    return contenders


def _best(contenders: Sequence[Contender], group: str, precision: str) -> Contender | None:
    measured = [c for c in contenders if (c.group, c.precision) == (group, precision) and c.wall_s]
    return min(measured, key=lambda c: c.median_s, default=None)


def _ratios(contenders: Sequence[Contender], g_macs: float) -> dict[str, float | None]:
    """How often the best of ours is faster, and its share of what the matrix product reaches; None if not measured."""
    ratios: dict[str, float | None] = {}
    for precision, others in (("fp32", ("torchvision", "paddledet")), ("bf16", ("torchvision",))):
        ours, gemm = _best(contenders, "ours", precision), _best(contenders, "gemm", precision)
        for group in others:
            other = _best(contenders, group, precision)
            ratios[f"{precision}_vs_{group}"] = other.median_s / ours.median_s if ours and other else None
        peak = GEMM_G_MACS / gemm.median_s if gemm else None
        ratios[f"{precision}_peak_g_macs_per_s"] = peak
        ratios[f"{precision}_share_of_peak"] = g_macs / ours.median_s / peak if ours and peak else None
    fastest = _best(contenders, "ours", "fp32")
    ratios["peak_gb"] = fastest.peak_gb if fastest else None
    return ratios


def _row(contender: Contender, ratios: dict, g_macs: float) -> dict:
    row = {
        "name": contender.name,
        "group": contender.group,
        "precision": contender.precision,
        "error": contender.error,
    }
    if not contender.wall_s:
        return row
    peak = ratios[f"{contender.precision}_peak_g_macs_per_s"]
    amount = GEMM_G_MACS if contender.group == "gemm" else g_macs
    return {
        **row,
        "median_ms": contender.median_s * 1e3,
        "min_ms": min(contender.wall_s) * 1e3,
        "max_ms": max(contender.wall_s) * 1e3,
        "cpu_ms": float(np.median(contender.cpu_s)) * 1e3,
        "share_of_peak": amount / contender.median_s / peak if peak else None,
        "peak_gb": contender.peak_gb,
        "first_result_ms": contender.first_s * 1e3,
        "detections": contender.detections,
        "runs": len(contender.wall_s),
    }


def _print_table(rows: Sequence[dict], ratios: dict, g_macs: float, threads: int) -> None:
    print(f"\n{g_macs:.0f} G multiply-accumulates, {threads} threads; milliseconds")
    print("| | median | min to max | processor time | share of peak | peak memory, GB | first result | found | runs |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        if "median_ms" not in row:
            print(f"| {row['name']} | {row['error']} |")
            continue
        share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
        print(
            f"| {row['name']} | {row['median_ms']:.0f} | {row['min_ms']:.0f} to {row['max_ms']:.0f} | {row['cpu_ms']:.0f} | "
            f"{share} | {row['peak_gb']:.2f} | {row['first_result_ms']:.0f} | {row['detections']} | {row['runs']} |"
        )
    print()
    for name, value in ratios.items():
        print(f"{name}: {'not measured' if value is None else f'{value:.3g}'}")


if __name__ == "__main__":
    sys.exit(main())
