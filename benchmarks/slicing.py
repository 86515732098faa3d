"""What slicing and test-time augmentation do to the AP of an exported detector, and what they cost.

    python -m benchmarks.slicing --model_dir DIR --images nuts/val --annotations nuts/annotations/instances_val.json
    python -m benchmarks.slicing --model_dir DIR --images nuts/val --annotations FILE --memory 100

The photos of a COCO folder are pasted into large canvases, mirrored or not, at random places, and the detector searches these
as a whole and in slices of the size of a photo. Test-time augmentation is measured on the photos themselves. ``--memory``
prints the peak memory of one image of so many megapixels instead. Canvases and results are the same in every run; times are
processor time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import call, machine_line, run_main
from res2net_runtime import decode_image

__all__ = ["main", "make_canvases", "measure_memory"]

GREY = 114
# Factors of the size of photos in a canvas: of the photos' own, at which slices show them as the detector knows them.
SIZES = (0.7, 1.0, 1.4)
PLACES = 3  # photos of the common size along a side of a canvas


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.slicing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model_dir", required=True, help="the exported detector")
    parser.add_argument("--images", required=True, type=Path, help="folder of the photos")
    parser.add_argument("--annotations", required=True, type=Path, help="their annotations, in COCO's format")
    parser.add_argument("--canvases", type=int, default=8, help="number of canvases (default: %(default)s)")
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.2, 0.4], help="of slices (default: 0.2 0.4)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the network (default: %(default)s)")
    parser.add_argument("--memory", type=float, metavar="MP", help="measure the memory on an image of MP megapixels")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    machine = machine_line(args.threads)
    print(machine)
    rows = memory_rows(args) if args.memory else accuracy_rows(args)
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")


def accuracy_rows(args: argparse.Namespace) -> list[dict]:
    truth = json.loads(args.annotations.read_text(encoding="utf-8"))
    height, width = (int(np.median([image[side] for image in truth["images"]])) for side in ("height", "width"))
    with tempfile.TemporaryDirectory() as folder:
        canvases = make_canvases(truth, args.images, Path(folder), args.canvases)
        sliced: dict[str, dict] = {"whole image": {}}
        for overlap in args.overlaps:
            for combine, metric in (("nms", "iou"), ("nmm", "iou"), ("nmm", "ios")):
                size = {"height": height, "width": width, "overlap": overlap}
                sliced[f"slices {height},{width}, overlap {overlap:g}, {combine}, {metric}"] = {
                    "slicing": {**size, "combine": combine, "match_metric": metric}
                }
        first = evaluate_all(f"{args.canvases} canvases", sliced, args, canvases, Path(folder))
    augmented: dict[str, dict] = {"as they are": {}}
    for merging in ("nms", "soft", "weighted"):
        for name, views in (
            ("flip", {"flip": True}),
            ("flip, scales 0.8, 1.25", {"flip": True, "scales": [0.8, 1.25]}),
        ):
            augmented[f"{name}, {merging}"] = {"tta": {**views, "merging": merging}}
    return first + evaluate_all(f"{len(truth['images'])} photos", augmented, args, args.annotations, args.images)


def evaluate_all(
    what: str, settings: Mapping[str, Mapping], args: argparse.Namespace, annotations: Path, images: Path
) -> list[dict]:
    """Evaluate each way of searching, and print a table."""
    print(f"{what:48}{'box AP':>9}{'AP50':>7}{'mask AP':>9}{'AP50':>7}{'CPU s':>9}")
    rows = []
    for name, views in settings.items():
        arguments = {
            "model_dir": args.model_dir,
            "annotations": str(annotations),
            "images": str(images),
            "views": views,
        }
        row = call("benchmarks.slicing:evaluate", {**arguments, "threads": args.threads}, threads=args.threads)
        rows.append({"what": what, "how": name, **row})
        figures = [row.get(kind, {}).get(key, float("nan")) for kind in ("bbox", "segm") for key in ("AP", "AP50")]
        print(
            f"{name:48}{figures[0]:9.3f}{figures[1]:7.3f}{figures[2]:9.3f}{figures[3]:7.3f}{row['seconds_per_image']:9.2f}",
            flush=True,
        )
    return rows


def evaluate(model_dir: str, annotations: str, images: str, views: Mapping, threads: int) -> dict:
    """Return COCO's figures of an exported detector; called in a process of its own."""
    from ppdet_res2net.config import load_config
    from ppdet_res2net.detection.evaluate import evaluate_exported
    from res2net_runtime import Predictor, Slicing, TestTimeAugmentation, find_images

    overrides = [
        f"EvalDataset.{key}={json.dumps(value)}"
        for key, value in (("dataset_dir", ""), ("image_dir", images), ("anno_path", annotations))
    ]
    config = load_config("demo_mask_rcnn", [*overrides, f"cpu_threads={threads}"])
    slicing, tta = views.get("slicing"), views.get("tta")
    settings: dict = {
        "slicing": Slicing(**slicing) if slicing else None,
        "tta": TestTimeAugmentation(**{**tta, "scales": tuple(tta.get("scales", ()))}) if tta else None,
    }
    summary = evaluate_exported(model_dir, config, **settings).summary
    files = find_images(images)[:4]
    with Predictor(model_dir, cpu_threads=threads, **settings) as predictor:
        predictor(files[0])
        started = time.process_time()
        predictor(files)
        return {**summary, "seconds_per_image": round((time.process_time() - started) / len(files), 3)}


def make_canvases(truth: Mapping, images: Path, folder: Path, count: int) -> Path:
    """Write canvases and their annotations; returns the annotation file.

    Each canvas has a grid of cells for photos. A cell shows a photo in one of ``SIZES``, mirrored or not, at a random place.
    """
    rng = np.random.default_rng(0)
    photos = [(image, read(images / image["file_name"])) for image in truth["images"]]
    objects: dict[int, list[dict]] = {image["id"]: [] for image in truth["images"]}
    for annotation in truth["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    cell = max(max(pixels.shape[:2]) for _, pixels in photos) * max(SIZES)
    side = int(cell * PLACES)
    records: list[dict] = []
    annotations: list[dict] = []
    for number in range(count):
        canvas = np.full((side, side, 3), GREY, np.uint8)
        for place in range(PLACES**2):
            image, pixels = photos[rng.integers(len(photos))]
            size, is_mirrored = float(rng.choice(SIZES)), bool(rng.integers(2))
            pixels = np.asarray(cv2.resize(pixels, None, fx=size, fy=size, interpolation=cv2.INTER_AREA))
            pixels = pixels[:, ::-1] if is_mirrored else pixels
            height, width = pixels.shape[:2]
            top, left = (
                int(cell * index + rng.uniform(0, cell - extent))
                for index, extent in zip(divmod(place, PLACES), (height, width))
            )
            canvas[top : top + height, left : left + width] = pixels
            for one in objects[image["id"]]:
                moved = move(one, size, width if is_mirrored else None, left, top)
                annotations.append({**moved, "id": len(annotations) + 1, "image_id": number})
        cv2.imwrite(str(folder / f"{number}.png"), canvas, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        records.append({"id": number, "file_name": f"{number}.png", "width": side, "height": side})
    file = folder / "canvases.json"
    content = {"images": records, "annotations": annotations, "categories": truth["categories"]}
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def read(file: Path) -> np.ndarray:
    """Return the pixels of an image in OpenCV's order."""
    return decode_image(file)[:, :, ::-1]


def move(annotation: Mapping, size: float, mirrored_width: int | None, left: int, top: int) -> dict:
    """Return an annotation of polygons where it is in a canvas."""

    def place(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = x * size, y * size
        x = x if mirrored_width is None else mirrored_width - x
        return np.stack([x + left, y + top], axis=1)

    polygons = [place(*np.reshape(polygon, (-1, 2)).astype(float).T).round(2) for polygon in annotation["segmentation"]]
    x, y, width, height = annotation["bbox"]
    corners = place(np.array([x, x + width], float), np.array([y, y + height], float))
    low, high = corners.min(axis=0), corners.max(axis=0)
    return {
        **annotation,
        "bbox": [*low.round(2).tolist(), *(high - low).round(2).tolist()],
        "area": annotation["area"] * size**2,
        "segmentation": [polygon.ravel().tolist() for polygon in polygons],
    }


def memory_rows(args: argparse.Namespace) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        photo = read(sorted(args.images.iterdir())[0])
        side = round((args.memory * 1e6) ** 0.5)
        times = -(-side // photo.shape[0]), -(-side // photo.shape[1])
        file = Path(folder) / "large.jpg"
        cv2.imwrite(str(file), np.tile(photo, (*times, 1))[:side, :side])
        print(f"{side}x{side} pixels: {3 * side**2 / 1e9:.2f} GB decoded")
        print(f"{'':48}{'peak GB':>9}{'seconds':>9}{'found':>9}")
        for name, slicing in (("nothing but the network", None), ("slices of the photos' size", list(photo.shape[:2]))):
            arguments = {"model_dir": args.model_dir, "file": str(file), "slice_hw": slicing, "threads": args.threads}
            arguments["is_idle"] = slicing is None
            row = call("benchmarks.slicing:measure_memory", arguments, threads=args.threads)
            rows.append({"how": name, **row})
            print(f"{name:48}{row['peak_gb']:9.2f}{row['seconds']:9.1f}{row['found']:9d}", flush=True)
    return rows


def measure_memory(model_dir: str, file: str, slice_hw: list[int] | None, threads: int, is_idle: bool) -> dict:
    """Return the peak memory of predicting an image; called in a process of its own.

    Args:
        model_dir: The exported detector.
        file: The image.
        slice_hw: Size of slices.
        threads: Threads of the network.
        is_idle: Predict one small grey image instead.
    """
    from benchmarks.harness import peak_memory_gb
    from res2net_runtime import Predictor, Slicing

    slicing = Slicing(slice_hw[0], slice_hw[1]) if slice_hw else None
    started = time.perf_counter()
    with Predictor(model_dir, cpu_threads=threads, slicing=slicing) as predictor:
        found = predictor(np.full((600, 800, 3), GREY, np.uint8) if is_idle else file)
        rles = found.to_coco(1)
    return {
        "peak_gb": round(peak_memory_gb(), 3),
        "seconds": round(time.perf_counter() - started, 1),
        "found": len(rles),
    }


if __name__ == "__main__":
    run_main(main)
