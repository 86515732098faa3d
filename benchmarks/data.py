"""Training batches per second and core: this package's loader against paddledet's reader.

    python -m benchmarks.data --images ../shared/data/coco_tiny
    python -m benchmarks.data --images ../shared/data/coco_tiny --augmentations
    python -m benchmarks.data --memory 3000

Both run the same recipe on the same photos, up to tensors. Speeds per core count processor time, not wall time, which
other work on the machine disturbs. First the batches of both are compared: without random transforms, every pixel and
every mask must be equal.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
import os
import resource
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import paddle

from benchmarks.harness import machine_line, run_main
from ppdet_res2net.compat import prepare_ppdet
from ppdet_res2net.config import load_config
from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.data.loader import BatchLoader
from ppdet_res2net.datasets.demo import make_demo_data

RECIPE = "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco"
FIELDS = ["image", "gt_bbox", "gt_class", "gt_poly", "is_crowd"]


def main() -> None:
    """Run the comparison, or with ``--memory`` watch the memory over many batches."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="dataset in COCO's layout; default: a generated one")
    parser.add_argument("--recipe", default=RECIPE, metavar="CFG")
    parser.add_argument("--epochs", type=int, default=3, help="epochs to time, after one to warm up")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the second measurement")
    parser.add_argument("--augmentations", action="store_true", help="instead: the recipe with each augmentation")
    parser.add_argument("--memory", type=int, metavar="N", help="instead: memory of the processes over N batches")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    paddle.set_device("cpu")
    cv2.setNumThreads(1)
    prepare_ppdet()
    folder = args.images or make_demo_data("output/benchmark_data", 80, 1, image_size_px=640)
    reader = load_config(args.recipe)["TrainReader"]
    dataset = {
        "dataset_dir": str(folder),
        "image_dir": "train2017",
        "anno_path": "annotations/instances_train2017.json",
        "data_fields": FIELDS,
    }
    print(machine_line(threads=1))
    print(f"{args.recipe}, batch {reader['batch_size']}, {folder}; OpenCV {cv2.__version__}")
    if args.memory:
        watch_memory(our_loader(dataset, reader, args.workers), args.memory)
        return
    if args.augmentations:
        measure_augmentations(dataset, reader, args.epochs)
        return
    compare_batches(dataset, reader)
    for workers in (0, args.workers):
        rates = {}
        loaders = {
            "paddledet": their_reader(dataset, reader, workers),
            "this package": our_epochs(dataset, reader, workers),
        }
        for name, batches in loaders.items():
            rates[name] = measure(batches, args.epochs)
            per_core, per_second = rates[name]
            print(f"{workers} workers  {name:12}  {per_core:6.1f} images/s per core  {per_second:6.1f} images/s in all")
        ratio = rates["this package"][0] / rates["paddledet"][0]
        print(f"{workers} workers  {ratio:.2f} times paddledet's images per second and core")


def measure_augmentations(dataset: dict, reader: dict, epochs: int) -> None:
    """Print how fast this package's loader is with each augmentation, and paddledet's reader where it has a working one.

    Its RandomScaledCrop fails, its RandomCrop fails with masks and shapely 2, and its Mosaic is another transform.
    """
    decode, resize, *rest = reader["sample_transforms"]
    jitter = {"RandomScaledCrop": {"target_dim": 1024}}
    boxes = {**dataset, "data_fields": [field for field in FIELDS if field != "gt_poly"]}
    # By name: the transforms, the data, and whether paddledet can do it.
    chains: dict[str, tuple[list[dict], dict, bool]] = {
        "the recipe": ([resize], dataset, True),
        "RandomDistort": ([{"RandomDistort": {}}, resize], dataset, True),
        "RandomCrop": ([{"RandomCrop": {}}, resize], dataset, False),
        "RandomCrop, boxes only": ([{"RandomCrop": {}}, resize], boxes, True),
        "RandomScaledCrop": ([jitter], dataset, False),
        "RandomScaledCrop, CopyPaste": ([jitter, {"CopyPaste": {}}], dataset, False),
        "Mosaic, RandomScaledCrop": ([{"Mosaic": {}}, jitter], dataset, False),
    }
    plain = 0.0
    for name, (chain, data, is_theirs) in chains.items():
        augmented = {**reader, "sample_transforms": [decode, *chain, *rest]}
        rate, _ = measure(our_epochs(data, augmented, 0), epochs)
        plain = plain or rate
        line = f"{name:28}  {rate:6.1f} images/s per core, {rate / plain:.2f} times the recipe's"
        if is_theirs:
            theirs, _ = measure(their_reader(data, augmented, 0), epochs)
            line += f", {rate / theirs:.1f} times paddledet's"
        print(line, flush=True)


def our_loader(dataset: dict, reader: dict, workers: int) -> BatchLoader:
    """Return this package's loader."""
    records = COCODataSet(**dataset)
    records.parse_dataset()
    return BatchLoader.from_reader(records, reader, num_workers=workers, seed=0, num_classes=80)


def our_epochs(dataset: dict, reader: dict, workers: int) -> Iterable:
    """Yield epochs of this package's loader, as tensors."""
    loader = our_loader(dataset, reader, workers)
    epoch = 0
    while True:
        yield map(to_tensors, loader.epoch(epoch))
        epoch += 1


def their_reader(dataset: dict, reader: dict, workers: int) -> Iterable:
    """Yield epochs of paddledet's reader, with its own dataset."""
    from ppdet.data.reader import TrainReader
    from ppdet.data.source.coco import COCODataSet as PaddleDetectionDataSet

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it reads
        loader = TrainReader(**copy.deepcopy(reader))(PaddleDetectionDataSet(**dataset), workers)
    while True:
        yield loader


def to_tensors(batch: dict) -> dict:
    """Turn arrays, and arrays in lists, into tensors, as paddledet's reader does; polygons stay."""
    return {
        name: paddle.to_tensor(value)
        if isinstance(value, np.ndarray)
        else [paddle.to_tensor(part) if isinstance(part, np.ndarray) else part for part in value]
        for name, value in batch.items()
    }


def measure(epochs: Iterable, count: int) -> tuple[float, float]:
    """Return the median images per second of processor time, workers included, and per second of wall time."""
    per_core, per_second = [], []
    for number, batches in zip(range(count + 1), epochs):
        cpu_s, clock_s, images = processor_time_s(), time.perf_counter(), 0
        for batch in batches:
            images += len(batch["im_id"])
        cpu_s, clock_s = processor_time_s() - cpu_s, time.perf_counter() - clock_s
        if number:
            per_core.append(images / cpu_s)
            per_second.append(images / clock_s)
    return statistics.median(per_core), statistics.median(per_second)


def processor_time_s() -> float:
    """Return the processor time of this process and its children, including children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for pid in child_pids():
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def child_pids() -> list[int]:
    """Return the processes that this one has started."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def compare_batches(dataset: dict, reader: dict) -> None:
    """Check that both give the same batches. The recipe always flips and has one size, so nothing is random."""
    from ppdet.data.reader import BatchCompose, Compose
    from ppdet.data.source.coco import COCODataSet as PaddleDetectionDataSet

    fixed = []
    for transform in copy.deepcopy(reader["sample_transforms"]):
        for name, arguments in transform.items():
            if name == "RandomResize":
                name, arguments = "Resize", {**arguments, "target_size": arguments["target_size"][-1]}
            elif name == "RandomFlip":
                arguments = {"prob": 1.0}
            fixed.append({name: arguments or {}})
    ours = our_loader(dataset, {**reader, "sample_transforms": fixed}, 0)
    theirs = PaddleDetectionDataSet(**dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs.parse_dataset()
    records = {int(record["im_id"][0]): record for record in theirs.roidbs}
    sample, collate = Compose(fixed), BatchCompose(reader["batch_transforms"], collate_batch=False)
    compared = 0
    for batch in ours.epoch(0):
        other = collate([sample(copy.deepcopy(records[int(image_id)])) for image_id in batch["im_id"][:, 0]])
        for name in ("image", "im_shape", "scale_factor"):
            if not np.array_equal(batch[name], other[name]):
                raise SystemExit(f"image ids {batch['im_id'].ravel()}: '{name}' differs from paddledet's")
        if not all(map(same_masks, batch["gt_poly"], other["gt_poly"])):
            raise SystemExit(f"image ids {batch['im_id'].ravel()}: masks differ from paddledet's")
        compared += len(batch["im_id"])
    print(f"{compared} images: every pixel and mask equals paddledet's")


def same_masks(ours: list, theirs: list) -> bool:
    """Return whether the masks of an image are equal: run lengths, or polygons number by number."""
    return len(ours) == len(theirs) and all(
        one == other if isinstance(one, dict) else all(map(np.array_equal, one, other)) and len(one) == len(other)
        for one, other in zip(ours, theirs)
    )


def watch_memory(loader: BatchLoader, batches: int) -> None:
    """Print the memory of this process and its workers, ten times over many batches."""
    done, epoch = 0, 0
    while done < batches:
        for _ in loader.epoch(epoch):
            done += 1
            if done in (1, batches) or done % max(1, batches // 10) == 0:
                own = [memory_mb(pid) for pid in (os.getpid(), *child_pids())]
                print(
                    f"after {done:6} batches: main {own[0]:.0f} MB, workers {', '.join(f'{mb:.0f}' for mb in own[1:])} MB"
                )
            if done == batches:
                break
        epoch += 1
    loader.close()


def memory_mb(pid: int) -> float:
    """Return the memory of a process; memory that it shares with others is divided equally among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    run_main(main)
