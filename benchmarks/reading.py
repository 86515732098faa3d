"""How long two checkouts take to read files: images, weights, annotations, exported networks.

    git worktree add ../before REVISION
    python -m benchmarks.reading ../before . images
    python -m benchmarks.reading ../before . graphs --model_dir output_inference/demo_mask_rcnn

Both run in this Python, in two processes that take turns: A B, B A, ... The ratio of a pair compares measurements that follow
each other, and times are processor time, so other work on the machine hardly matters.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["compare", "main"]

# Short readings are repeated until they take this long. Short turns are better than long ones: what else the machine does
# changes within seconds.
_LEAST_S = 0.03
_ENGINES = ("paddle", "onednn", "onnxruntime", "openvino")
_IMAGE_READERS = {
    "detector": "res2net_runtime:decode_image",
    "classifier": "res2net_runtime.classification.preprocess:open_rgb",
}


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reading", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, metavar="BEFORE", help="a checkout")
    parser.add_argument("after", type=Path, metavar="AFTER", help="another one")
    parser.add_argument("kind", choices=_MAKERS, help="what is read")
    parser.add_argument("--pairs", type=int, default=60, metavar="N", help="pairs of each row (default: %(default)s)")
    parser.add_argument(
        "--processes",
        type=int,
        default=3,
        metavar="N",
        help="the pairs are shared by N pairs of processes (default: 3)",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name has this text")
    parser.add_argument("--model_dir", type=Path, metavar="DIR", help="exported folder; needed for graphs")
    args = parser.parse_args()
    if args.kind == "graphs" and args.model_dir is None:
        parser.error("graphs needs --model_dir DIR")
    with tempfile.TemporaryDirectory() as folder:
        readings = _MAKERS[args.kind](Path(folder) if args.kind != "graphs" else args.model_dir.resolve())
        chosen = {name: reading for name, reading in readings.items() if args.only in name}
        if not chosen:
            parser.error(f"no row has '{args.only}' in its name; there are {', '.join(readings)}")
        compare([args.before, args.after], chosen, args.pairs, args.processes)


def compare(checkouts: Sequence[Path], readings: dict[str, tuple[str, Any]], pairs: int, processes: int) -> None:
    """Print a line per reading: median times of both checkouts, and median and quartiles of the pairs' ratios.

    Args:
        checkouts: Two of them.
        readings: The reader (``module:function``) and its argument, by name. JSON must be able to hold the argument.
        pairs: Pairs of measurements.
        processes: Pairs of processes that share them.
    """
    times_s: dict[str, list[list[float]]] = {name: [] for name in readings}
    for _ in range(processes):
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(_worker(checkout)) for checkout in checkouts]
            for name, (reader, argument) in readings.items():
                for measure in workers:
                    measure(reader, argument, 1)  # imports
                repeats = 1 + int(_LEAST_S / workers[0](reader, argument, 1))
                for number in range(-(-pairs // processes)):
                    order = (0, 1) if number % 2 == 0 else (1, 0)
                    pair = {index: workers[index](reader, argument, repeats) / repeats for index in order}
                    times_s[name].append([pair[0], pair[1]])
    print(f"{'':40s}  before ms   after ms   after/before (quartiles)")
    for name, measured in times_s.items():
        before_ms, after_ms = (1e3 * statistics.median(column) for column in zip(*measured))
        low, ratio, high = statistics.quantiles([after / before for before, after in measured], n=4)
        print(f"{name:40s} {before_ms:10.2f} {after_ms:10.2f}   {ratio:.3f} ({low:.3f} to {high:.3f})", flush=True)


@contextlib.contextmanager
def _worker(checkout: Path) -> Iterator[Callable[[str, Any, int], float]]:
    """Start a process with a checkout's packages; yield a function that lets it read, and returns processor seconds."""
    root = checkout.resolve()
    path = os.pathsep.join([str(root), str(root / "deploy" / "python")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "3"}
    # glibc keeps memory or returns it to the system, depending on what was allocated before. A JPEG of 640x480 then takes 3 or
    # 4 ms in the same code, by the number of page faults.
    environment |= {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "10000000000"}
    # As a script: the checkout has another benchmarks package, or none.
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdin is not None and process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def measure(reader: str, argument: Any, repeats: int) -> float:
        requests.write(json.dumps([reader, argument, repeats]) + "\n")
        requests.flush()
        answer = answers.readline()
        if not answer:
            sys.exit(f"The process for '{checkout}' has ended while it ran {reader} on {argument}; see above.")
        return float(answer)

    try:
        yield measure
    finally:
        requests.close()
        process.wait()
        answers.close()


def _work() -> None:
    """Run as a worker: measure what each line of stdin asks for."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    for line in sys.stdin:
        reader, argument, repeats = json.loads(line)
        module, _, name = reader.partition(":")
        # Readers of this file are not in the checkout.
        read = globals()[name] if not module else getattr(importlib.import_module(module), name)
        gc.collect()
        start_s = time.process_time()
        for _ in range(repeats):
            read(argument)
        print(time.process_time() - start_s, file=answers, flush=True)


def _make_images(folder: Path) -> dict[str, tuple[str, Any]]:
    import cv2
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    photo = cv2.GaussianBlur(noise, (5, 5), 1)
    files = {
        "JPEG 640x480": ("small.jpg", photo[:480, :640]),
        "PNG 640x480": ("small.png", photo[:480, :640]),
        "JPEG 4000x3000": ("large.jpg", photo),
        "PNG 4000x3000": ("large.png", photo),
        "WebP 640x480": ("small.webp", photo[:480, :640]),
        "TIFF 640x480": ("small.tif", photo[:480, :640]),
        "BMP 640x480": ("small.bmp", photo[:480, :640]),
    }
    readings: dict[str, tuple[str, Any]] = {}
    for what, (name, pixels) in files.items():
        path = str(folder / name)
        cv2.imwrite(path, pixels)
        readings |= {f"{what}, {user}": (reader, path) for user, reader in _IMAGE_READERS.items()}
        readings[f"{what}, training"] = (":_read_for_training", [path, list(pixels.shape[:2])])
    return readings


def _read_for_training(argument: tuple[str, list[int]]) -> None:
    from ppdet_res2net.data.image_files import decode_as_annotated, read_image_file

    path, (height, width) = argument
    decode_as_annotated(read_image_file(path), (height, width))


def _make_weights(folder: Path) -> dict[str, tuple[str, Any]]:
    import numpy as np

    from ppdet_res2net.zoo.formats import save_weights_file

    generator = np.random.default_rng(0)
    sets = {
        "25 tensors, 100 MB": {f"layer{i}.weight": generator.random(2**20, dtype=np.float32) for i in range(25)},
        "3000 tensors, 12 MB": {f"layer{i}.weight": generator.random(1000, dtype=np.float32) for i in range(3000)},
    }
    readings: dict[str, tuple[str, Any]] = {}
    for what, tensors in sets.items():
        for suffix in (".pdparams", ".safetensors"):
            path = folder / f"{len(tensors)}{suffix}"
            save_weights_file(path, tensors)
            readings[f"{suffix}, {what}"] = ("ppdet_res2net.zoo.formats:load_weights_file", str(path))
    return readings


def _make_annotations(folder: Path) -> dict[str, tuple[str, Any]]:
    """Make files with a tenth of instances_val2017.json: 500 images, 3600 objects."""
    import numpy as np
    from pycocotools import mask

    generator = np.random.default_rng(0)
    (folder / "images").mkdir()
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480} for i in range(500)]
    for image in images:
        (folder / "images" / str(image["file_name"])).write_bytes(b"\xff\xd8\xff\xd9")
    corners = generator.uniform(0, 300, (3600, 2)).round(2)
    angles = np.sort(generator.uniform(0, 2 * np.pi, (3600, 24)), axis=1)
    outlines = (corners[:, None] + 75 + 75 * np.stack([np.cos(angles), np.sin(angles)], axis=2)).round(2)
    square = np.zeros((480, 640), np.uint8, order="F")
    square[100:200, 50:200] = 1
    counts = mask.encode(square)["counts"].decode()
    segmentations: dict[str, Callable[[int], dict[str, Any]]] = {
        "boxes": lambda _: {},
        "polygons": lambda i: {"segmentation": [outlines[i].ravel().tolist()]},
        "run lengths": lambda _: {"segmentation": {"size": [480, 640], "counts": counts}},
    }
    readings: dict[str, tuple[str, Any]] = {}
    for what, make in segmentations.items():
        annotations = [
            {
                "id": i + 1,
                "image_id": int(i % 500),
                "category_id": 1 + i % 80,
                "bbox": [*corners[i].tolist(), 150.0, 100.0],
                "area": 15_000.0,
                "iscrowd": 0,
                **make(i),
            }
            for i in range(3600)
        ]
        categories = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
        path = folder / f"{what}.json"
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
        for fields in (
            ["image", "gt_bbox", "gt_class", "is_crowd"],
            ["image", "gt_bbox", "gt_class", "is_crowd", "gt_poly"],
        ):
            with_masks = " with masks" if "gt_poly" in fields else ""
            if what != "boxes" or not with_masks:
                readings[f"{what}{with_masks}, training"] = (":_read_annotations", [str(folder), path.name, fields])
        readings[f"{what}, check-dataset"] = (":_check_annotations", [str(folder), path.name])
    return readings


def _read_annotations(argument: tuple[str, str, list[str]]) -> None:
    from ppdet_res2net.data.coco import COCODataSet

    folder, name, fields = argument
    COCODataSet(folder, "images", name, data_fields=fields).parse_dataset()


def _check_annotations(argument: tuple[str, str]) -> None:
    from ppdet_res2net.datasets.check import DatasetSource, check_datasets

    folder, name = (Path(part) for part in argument)
    check_datasets([DatasetSource(folder / name, folder / "images")], read_images=False)


def _list_graphs(model_dir: Path) -> dict[str, tuple[str, Any]]:
    import yaml

    from res2net_runtime.engines import BACKENDS

    config = yaml.safe_load((model_dir / "infer_cfg.yml").read_text("utf-8"))
    engines = [name for name in _ENGINES if set(BACKENDS[name].reads["fp32"]) & set(config["formats"])]
    return {f"{engine} loads it": (":_load_network", [str(model_dir), engine]) for engine in engines}


def _load_network(argument: tuple[str, str]) -> None:
    from res2net_runtime import Predictor

    model_dir, engine = argument
    Predictor(model_dir, backend=engine, cpu_threads=1).close()


_MAKERS: dict[str, Callable[[Path], dict[str, tuple[str, Any]]]] = {
    "images": _make_images,
    "weights": _make_weights,
    "annotations": _make_annotations,
    "graphs": _list_graphs,
}


if __name__ == "__main__":
    if __package__:
        main()
    else:
        sys.path.remove(str(Path(__file__).resolve().parent))
        _work()
