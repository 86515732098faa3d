"""How the latency of our engines grows with the batch, the size of the image and the number of detections."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.inference.contenders import Contender, measure
from benchmarks.inference.detector import Workload, export

__all__ = ["plot_sweeps"]

ENGINES = ("openvino", "onnxruntime")
BATCH_SIZES = (1, 2, 4)
SHORT_SIDES_PX = (320, 480, 640, 800, 960)
MAX_DETECTIONS = (1, 25, 50, 100)
_RUNS = 4


def plot_sweeps(work_dir: Path, prepared: Workload, threads: int, contenders: Sequence[Contender], path: Path) -> None:
    """Measure the sweeps, and draw them with the time that each contender took to its first result.

    Args:
        work_dir: Folder with the benchmark's weights; exports with other limits are written there.
        prepared: The result of ``detector.prepare``.
        threads: Threads of each process.
        contenders: Contenders that have been measured.
        path: Picture to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sized = {size: _folder_with_size(prepared.folder, work_dir / f"short_side_{size}", size) for size in SHORT_SIDES_PX}
    limited = {}
    for count in MAX_DETECTIONS:
        overrides = [f"BBoxPostProcess.nms.keep_top_k={count}"]
        limited[count] = export(work_dir, f"detections_{count}", ("onnx", "openvino"), overrides)
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
    series = (
        ("batch size", {n: (prepared.folder, n) for n in BATCH_SIZES}),
        ("short side of the network's input, pixels", {n: (folder, 1) for n, folder in sized.items()}),
        ("detections in the image", {n: (folder, 1) for n, folder in limited.items()}),
    )
    for (label, points), axis in zip(series, axes.flat):
        for engine in ENGINES:
            times = _fastest_ms(engine, list(points.values()), prepared.image, threads)
            print(f"{engine}, {label}: " + ", ".join(f"{n}: {ms:.0f} ms" for n, ms in zip(points, times)))
            axis.plot(list(points), times, marker="o", label=engine)
        axis.set(xlabel=label, ylabel=f"milliseconds, fastest of {_RUNS}", ylim=(0, None))
        axis.legend()
    measured = [contender for contender in contenders if contender.wall_s and contender.group != "gemm"]
    last = axes.flat[3]
    last.barh([contender.name for contender in measured], [contender.first_s for contender in measured])
    last.set(xlabel="seconds from process start to first result")
    last.invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")


def _fastest_ms(engine: str, points: Sequence[tuple[Path, int]], image: Path, threads: int) -> list[float]:
    """Return the fastest time of each (folder, batch size), measured in turns."""
    options = {"kind": "ours", "backend": engine, "precision": "fp32"}
    contenders = [
        Contender(
            f"sweep {engine} {folder.name} {batch}",
            "ours",
            "fp32",
            sys.executable,
            {**options, "folder": str(folder), "batch": batch},
        )
        for folder, batch in points
    ]
    measure(contenders, image, _RUNS, threads)
    for contender in contenders:
        if contender.error:
            raise SystemExit(f"{contender.name} failed: {contender.error}")
    return [min(contender.wall_s) * 1e3 for contender in contenders]


def _folder_with_size(folder: Path, target: Path, short_side_px: int) -> Path:
    """Make a folder with the same model that resizes images to a different short side."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in folder.iterdir():
        os.symlink(file, target / file.name)
    description = yaml.safe_load((folder / "infer_cfg.yml").read_text())
    resize = next(operator for operator in description["Preprocess"] if operator["type"] == "Resize")
    resize["target_size"] = [short_side_px, short_side_px * 5 // 3]
    (target / "infer_cfg.yml").unlink()
    (target / "infer_cfg.yml").write_text(yaml.safe_dump(description))
    return target
