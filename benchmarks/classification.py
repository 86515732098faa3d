"""Res2Net classifiers at 224x224: images per second of this package, eager and exported, and of timm under torch.

    python -m benchmarks.classification [--torch_python /path/to/python] [--model timm/res2net50_26w_4s]
        [--batches 1 32] [--threads 2] [--rounds 3] [--precisions fp32 bf16] [--train] [--only NAME ...] [--json FILE]

Each contender runs in its own process, all with the same number of threads. The contenders take turns in each round, so
that other work on the machine disturbs all of them alike. The best round of each counts.

``--torch_python`` is a Python with torch and timm; without it timm is left out. ``--train`` adds a training step (forward,
backward, SGD) of batch 32. Weights are random, which changes no time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import ContenderError, call, machine_line, run_main

SIZE_PX, CLASSES, TRAIN_BATCH = 224, 1000, 32
MIN_SECONDS, MIN_RUNS = 2.0, 3
OURS = ("eager", "onednn", "onnxruntime", "openvino")
TIMM = ("timm eager", "timm channels_last", "timm torchscript", "timm compiled")
# Engine -> precisions that it offers on a CPU.
PRECISIONS = {
    "eager": ("fp32",),
    "onednn": ("fp32", "bf16"),
    "onnxruntime": ("fp32",),
    "openvino": ("fp32", "bf16"),
    "timm eager": ("fp32", "bf16"),
    "timm channels_last": ("fp32", "bf16"),
    "timm torchscript": ("fp32",),
    "timm compiled": ("fp32", "bf16"),
}


def images_per_s(run: Callable[[], object], batch: int) -> float:
    """Call ``run`` until enough time has passed, and return the speed of the fastest call."""
    run()
    best, started, calls = float("inf"), time.perf_counter(), 0
    while calls < MIN_RUNS or time.perf_counter() - started < MIN_SECONDS:
        before = time.perf_counter()
        run()
        best, calls = min(best, time.perf_counter() - before), calls + 1
    return batch / best


def make_images(batch: int) -> np.ndarray:
    """Return noise, float32 (batch, 3, 224, 224)."""
    return np.random.RandomState(0).standard_normal((batch, 3, SIZE_PX, SIZE_PX)).astype(np.float32)


def create_ours(model: str):
    """Set this process up as the tools do, and return the eager network."""
    from ppdet_res2net.training.device import select_device
    from ppdet_res2net.zoo import create_classifier

    select_device({"use_gpu": False})
    return create_classifier(model)


def open_ours(contender: str, precision: str, model: str, folder: str, threads: int, batch: int) -> Callable:
    """Return a function that runs one batch with one of our engines."""
    images = make_images(batch)
    if contender != "eager":
        from res2net_runtime.classification import Classifier

        classifier = Classifier(folder, backend=contender, precision=precision, cpu_threads=threads)
        return lambda: classifier.logits(images)
    network = create_ours(model)
    network.eval()
    import paddle

    tensor = paddle.to_tensor(images)

    def run() -> None:
        with paddle.no_grad():
            network(tensor).numpy()

    return run


def open_timm(contender: str, precision: str, model: str, threads: int, batch: int) -> Callable:
    """Return a function that runs one batch with timm."""
    import timm
    import torch

    torch.set_num_threads(threads)
    network = timm.create_model(model.partition("/")[2]).eval()
    images = torch.from_numpy(make_images(batch))
    if precision == "bf16":
        network, images = network.to(torch.bfloat16), images.to(torch.bfloat16)
    if contender in ("timm channels_last", "timm compiled"):
        network, images = (
            network.to(memory_format=torch.channels_last),
            images.contiguous(memory_format=torch.channels_last),
        )
    if contender == "timm torchscript":
        with torch.inference_mode():
            network = torch.jit.freeze(torch.jit.trace(network, images))
    if contender == "timm compiled":  # needs a C++ compiler
        import torch._inductor.config

        torch._inductor.config.freezing = True  # folds BatchNorm; works without gradients only
        network = torch.compile(network)

    def run() -> None:
        with torch.no_grad():
            network(images)

    return run


def open_training(contender: str, model: str, threads: int) -> Callable:
    """Return a function that does one training step."""
    images, labels = make_images(TRAIN_BATCH), np.arange(TRAIN_BATCH) % CLASSES
    if contender == "eager":
        return open_our_training(model, images, labels)
    return open_timm_training(model, images, labels, threads, contender == "timm channels_last")


def open_our_training(model: str, images: np.ndarray, labels: np.ndarray) -> Callable:
    """Return a function that does one training step with this package."""
    import paddle

    network = create_ours(model)
    network.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters(), weight_decay=1e-4)
    inputs, targets = paddle.to_tensor(images), paddle.to_tensor(labels)

    def run() -> None:
        paddle.nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
        optimizer.clear_grad()
        float(network.fc.bias[0])  # waits for the device

    return run


def open_timm_training(
    model: str, images: np.ndarray, labels: np.ndarray, threads: int, channels_last: bool
) -> Callable:
    """Return a function that does one training step with timm."""
    import timm
    import torch

    torch.set_num_threads(threads)
    network = timm.create_model(model.partition("/")[2]).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        inputs = inputs.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        torch.nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def measure(contender: str, precision: str, batch: int, train: bool, model: str, folder: str, threads: int) -> float:
    """Return the images per second of one contender, measured in this process."""
    if train:
        return images_per_s(open_training(contender, model, threads), TRAIN_BATCH)
    if contender.startswith("timm"):
        return images_per_s(open_timm(contender, precision, model, threads, batch), batch)
    return images_per_s(open_ours(contender, precision, model, folder, threads, batch), batch)


def export(model: str, folder: str) -> None:
    """Write the model with random weights in every format."""
    import dataclasses

    from ppdet_res2net.classification.export import export_classifier
    from ppdet_res2net.classification.model import LoadedClassifier, preprocessor_of_spec
    from ppdet_res2net.zoo import create_classifier, get_model_spec

    network = create_classifier(model)
    network.eval()
    preprocessor = dataclasses.replace(preprocessor_of_spec(get_model_spec(model)), size_px=SIZE_PX)
    classifier = LoadedClassifier(
        name=model, weights=model, network=network, preprocessor=preprocessor, class_names=None
    )
    export_classifier(classifier, folder, formats=("paddle", "onnx", "openvino"))


def tasks_of(args: argparse.Namespace, folder: str) -> list[dict]:
    """Return the measurements to make, in order."""
    contenders = [*OURS, *(TIMM if args.torch_python else ())]
    common = {"model": args.model, "threads": args.threads, "folder": folder}
    tasks = [
        {**common, "contender": contender, "precision": precision, "batch": batch, "train": False}
        for batch in args.batches
        for precision in args.precisions
        for contender in contenders
        if precision in PRECISIONS[contender]
    ]
    if args.train:
        trained = [name for name in contenders if name in ("eager", "timm eager", "timm channels_last")]
        tasks += [
            {**common, "contender": name, "precision": "fp32", "batch": TRAIN_BATCH, "train": True} for name in trained
        ]
    return tasks


def print_table(tasks: list[dict], speeds: list[float | None]) -> None:
    """Print the speeds, and each of ours as a multiple of timm's best in the same case."""
    print(f"{'':8} {'contender':20} {'precision':9} {'batch':>5}  images/s  of timm's best")
    for task, speed in zip(tasks, speeds):
        case = [task[key] for key in ("precision", "batch", "train")]
        rivals = [
            other
            for rival, other in zip(tasks, speeds)
            if other
            and rival["contender"].startswith("timm")
            and [rival[k] for k in ("precision", "batch", "train")] == case
        ]
        ratio = f"{speed / max(rivals):6.2f}" if speed and rivals else ""
        what = "training" if task["train"] else "forward"
        shown = f"{speed:9.2f}" if speed else "   failed"
        print(f"{what:8} {task['contender']:20} {task['precision']:9} {task['batch']:5} {shown}  {ratio}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a contender failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.classification",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--torch_python", metavar="PYTHON", help="Python with torch and timm")
    parser.add_argument("--model", default="timm/res2net50_26w_4s", help="default: %(default)s")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32], help="batch sizes (default: 1 32)")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], help="default: fp32 bf16")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contender (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--train", action="store_true", help="also measure a training step")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contenders, by the names in the table")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    args = parser.parse_args(argv)
    machine = machine_line(args.threads)
    print(machine)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        export(args.model, folder)
        tasks = [task for task in tasks_of(args, folder) if not args.only or task["contender"] in args.only]
        speeds: list[float | None] = [None] * len(tasks)
        for number in range(args.rounds):
            for i, task in enumerate(tasks):
                print(f"round {number + 1} of {args.rounds}, {i + 1} of {len(tasks)}: {task['contender']}", flush=True)
                python = args.torch_python if task["contender"].startswith("timm") else sys.executable
                try:
                    speed = call("benchmarks.classification:measure", task, threads=args.threads, python=python)
                except ContenderError as error:
                    print(f"{task['contender']} {task['precision']}: {error}", file=sys.stderr)
                    failed = True
                    continue
                speeds[i] = max(speed, speeds[i] or 0.0)
    print_table(tasks, speeds)
    if args.json:
        rows = [{**task, "images_per_s": speed} for task, speed in zip(tasks, speeds)]
        Path(args.json).write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
