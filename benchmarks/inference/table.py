"""The figures of the contenders: ratios, rows and the table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.inference.contenders import Contender

__all__ = ["GEMM_G_MACS", "compare", "make_row", "print_table"]

GEMM_G_MACS = 4096**3 / 1e9  # of the matrix product


def _best(contenders: Sequence[Contender], group: str, precision: str) -> Contender | None:
    measured = [c for c in contenders if (c.group, c.precision) == (group, precision) and c.wall_s]
    return min(measured, key=lambda c: c.median_s, default=None)


def compare(contenders: Sequence[Contender], g_macs: float) -> dict[str, float | None]:
    """Compare the best of ours with the best of the others, and with the matrix product.

    Args:
        contenders: All contenders, measured.
        g_macs: Multiply-accumulates of the detector for the image, in units of 1e9.

    Returns:
        Name -> value, None where something was not measured. ``fp32_vs_torchvision``: how many times as fast as
        torchvision ours is. ``fp32_share_of_peak``: the rate of ours as a share of the matrix product's. And so on.
    """
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


def make_row(contender: Contender, ratios: dict, g_macs: float) -> dict:
    """Return a contender's figures under the names of the JSON file; of one that failed, its error only."""
    figures = {
        "name": contender.name,
        "group": contender.group,
        "precision": contender.precision,
        "error": contender.error,
    }
    if not contender.wall_s:
        return figures
    peak = ratios[f"{contender.precision}_peak_g_macs_per_s"]
    amount = GEMM_G_MACS if contender.group == "gemm" else g_macs
    return {
        **figures,
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


def print_table(rows: Sequence[dict], ratios: dict, g_macs: float) -> None:
    """Print rows as a Markdown table, and the ratios below it."""
    print(f"\n{g_macs:.0f} G multiply-accumulates; milliseconds")
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
