"""Time the steps around the network: from a JPEG to its input, and from its output to RLE masks, on one core.

    python -m benchmarks.postprocess [--image FILE] [--json FILE]

Times are processor time, so that other programs do not count. Without an image, one is generated. Boxes and masks are
generated too: boxes with sides of 5 to 50 % of the image (objects of COCO have 16 and 21 % on average), and masks shaped
like objects. Times depend on the boxes and masks, not on the weights.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import machine_line, run_main
from res2net_runtime import Detections, Preprocessor, decode_image

INSTANCES = 100
MASK_SIZE = 28
SIZES_HW = {"480x640": (480, 640), "12 megapixels": (3000, 4000)}
BOX_SIDES = {"5 to 50 %": (0.05, 0.5), "95 to 100 %": (0.95, 1.0)}
LIMITS_MS = {"preprocessing 480x640": 25.0, "100 instances, 480x640, boxes of 5 to 50 %": 15.0}
PREPROCESS: list[dict] = [
    {"type": "Resize", "target_size": [800, 1333], "keep_ratio": True, "interp": 1},
    {"type": "NormalizeImage", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    {"type": "Permute"},
    {"type": "PadStride", "stride": 32},
]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.postprocess",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--image", help="a photo for the first rows; default: a generated JPEG of 640x480")
    parser.add_argument("--repeats", type=int, default=30, help="timed runs of each row (default: %(default)s)")
    parser.add_argument("--json", help="also write the rows to this file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    cv2.setNumThreads(1)
    machine = machine_line(threads=1)
    print(machine)
    rng = np.random.default_rng(0)
    data = Path(args.image).read_bytes() if args.image else make_jpeg(rng)
    rows = preprocessing_rows(data, args.repeats) + postprocessing_rows(rng, args.repeats)
    print(f"{'':58}{'median ms':>10}{'10 %':>8}{'90 %':>8}{'limit':>8}{'peak MB':>9}")
    for row in rows:
        limit = f"{row['limit_ms']:.0f}" if row["limit_ms"] else ""
        peak = f"{row['peak_mb']:.1f}" if row["peak_mb"] else ""
        times = f"{row['median_ms']:10.1f}{row['p10_ms']:8.1f}{row['p90_ms']:8.1f}"
        print(f"{row['what']:58}{times}{limit:>8}{peak:>9}")
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")


def preprocessing_rows(data: bytes, repeats: int) -> list[dict]:
    preprocessor = Preprocessor.from_config(PREPROCESS)
    image = decode_image(data)
    size = f"{image.shape[0]}x{image.shape[1]}"
    return [
        measure(f"  decoding {size} ({len(data) / 1000:.0f} kB)", lambda: decode_image(data), repeats),
        measure(f"  resizing {size} and normalising", lambda: preprocessor(image), repeats),
        measure(f"preprocessing {size}", lambda: preprocessor(decode_image(data)), repeats),
    ]


def postprocessing_rows(rng: np.random.Generator, repeats: int) -> list[dict]:
    rows = []
    for size, image_hw in SIZES_HW.items():
        for sides, (low, high) in BOX_SIDES.items():
            outputs = make_outputs(rng, image_hw, low, high)

            def run(outputs: dict = outputs, image_hw: tuple[int, int] = image_hw) -> None:
                (detections,) = Detections.from_outputs(
                    outputs, [image_hw], label_list=("object",), category_ids=(1,), mask_threshold=0.5
                )
                detections.rles()

            row = measure(f"{INSTANCES} instances, {size}, boxes of {sides}", run, repeats)
            tracemalloc.start()
            run()
            row["peak_mb"] = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
            rows.append(row)
    return rows


def measure(what: str, run: Callable[[], object], repeats: int) -> dict:
    """Time a function and return a row of the table; the first run does not count."""
    run()
    times_ms = []
    for _ in range(repeats):
        start_s = time.process_time()
        run()
        times_ms.append(1e3 * (time.process_time() - start_s))
    low, median, high = np.percentile(times_ms, [10, 50, 90]).tolist()
    limit_ms = LIMITS_MS.get(what)
    return {
        "what": what, "median_ms": median, "p10_ms": low, "p90_ms": high, "limit_ms": limit_ms, "peak_mb": None
    }  # fmt: skip


def make_jpeg(rng: np.random.Generator) -> bytes:
    """Return a JPEG of 640x480 about as large as a photo of COCO."""
    noise = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    _, encoded = cv2.imencode(".jpg", cv2.GaussianBlur(noise, (5, 5), 1), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return encoded.tobytes()


def make_outputs(rng: np.random.Generator, image_hw: tuple[int, int], low: float, high: float) -> dict[str, np.ndarray]:
    """Return the outputs of a network for one image; the sides of the boxes are shares of the image's."""
    image_wh = np.array(image_hw[::-1])
    sizes = rng.uniform(low, high, (INSTANCES, 2)) * image_wh
    corners = rng.random((INSTANCES, 2)) * (image_wh - sizes)
    return {
        "boxes": np.concatenate([corners, corners + sizes], axis=1).astype(np.float32),
        "scores": rng.random(INSTANCES, dtype=np.float32),
        "labels": np.zeros(INSTANCES, np.int32),
        "masks": np.stack([make_mask(rng) for _ in range(INSTANCES)]),
        "num": np.array([INSTANCES], np.int32),
    }


def make_mask(rng: np.random.Generator) -> np.ndarray:
    """Return the probabilities of a round shape with bumps, float32 (28, 28)."""
    y, x = np.mgrid[-1 : 1 : MASK_SIZE * 1j, -1 : 1 : MASK_SIZE * 1j]
    angle = np.arctan2(y, x)
    radius = 0.75 + sum(rng.normal(0, 0.12) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(1, 6))
    return (1 / (1 + np.exp(-8 * (radius - np.hypot(x, y))))).astype(np.float32)


if __name__ == "__main__":
    run_main(main)
