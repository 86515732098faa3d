"""Res2Net classifiers at 224x224: images per second of this package, eager and exported, and of timm under torch.

Each contender runs in a process of its own, all on the same number of threads; rounds go through the contenders in turn, so
that other work on the machine disturbs all alike, and the best round of each counts.

    python benchmarks/classification.py [--torch_python /path/to/python] [--model timm/res2net50_26w_4s]
        [--batches 1 32] [--threads 2] [--rounds 3] [--precisions fp32 bf16] [--train] [--only NAME ...] [--json FILE]

``--torch_python`` is a Python with torch and timm; without it timm is left out. ``--train`` adds a training step (forward,
backward, SGD) of batch 32. Weights are random, which changes no time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

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


def images_per_s(run, batch: int) -> float:
    """Call ``run`` until enough time has passed, and return the speed of the fastest call."""
    run()
    best, started, calls = float("inf"), time.perf_counter(), 0
    while calls < MIN_RUNS or time.perf_counter() - started < MIN_SECONDS:
        before = time.perf_counter()
        run()
        best, calls = min(best, time.perf_counter() - before), calls + 1
    return batch / best


def make_images(batch: int) -> np.ndarray:
    """float32 (batch, 3, 224, 224)."""
    return np.random.RandomState(0).standard_normal((batch, 3, SIZE_PX, SIZE_PX)).astype(np.float32)


def create_ours(model: str):
    """Return the eager network in a process that is set up as the tools set theirs up."""
    from ppdet_res2net.training.device import select_device
    from ppdet_res2net.zoo import create_classifier

    select_device({"use_gpu": False})
    return create_classifier(model)


def open_ours(contender: str, precision: str, model: str, folder: str, threads: int, batch: int):
    """Return a function that runs one batch."""
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


def open_timm(contender: str, precision: str, model: str, threads: int, batch: int):
    """Return a function that runs one batch."""
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


def open_training(contender: str, model: str, threads: int):
    """Return a function that does one training step."""
    labels = np.arange(TRAIN_BATCH) % CLASSES
    if contender.startswith("timm"):
        import timm
        import torch

        torch.set_num_threads(threads)
        network = timm.create_model(model.partition("/")[2]).train()
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
        images, labels = torch.from_numpy(make_images(TRAIN_BATCH)), torch.from_numpy(labels)
        if contender == "timm channels_last":
            network = network.to(memory_format=torch.channels_last)
            images = images.contiguous(memory_format=torch.channels_last)

        def run() -> None:
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

        return run
    import paddle

    network = create_ours(model)
    network.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters(), weight_decay=1e-4)
    images, labels = paddle.to_tensor(make_images(TRAIN_BATCH)), paddle.to_tensor(labels)

    def run() -> None:
        paddle.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
        float(network.fc.bias[0])  # waits for the device

    return run


def measure_one(task: dict) -> float:
    """Measure one contender in this process."""
    contender, batch = task["contender"], task["batch"]
    if task["train"]:
        return images_per_s(open_training(contender, task["model"], task["threads"]), TRAIN_BATCH)
    if contender.startswith("timm"):
        return images_per_s(open_timm(contender, task["precision"], task["model"], task["threads"], batch), batch)
    run = open_ours(contender, task["precision"], task["model"], task["folder"], task["threads"], batch)
    return images_per_s(run, batch)


def in_own_process(task: dict, python: str) -> float | None:
    """Measure in a new process; None, with the reason on stderr, if that fails."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(task["threads"]),
        "FLAGS_paddle_num_threads": str(task["threads"]),
    }
    arguments = [python, os.path.abspath(__file__), "--task", json.dumps(task)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{task['contender']} {task['precision']}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def export(model: str, folder: str) -> None:
    """Write the model with random weights in every format."""
    import dataclasses

    from ppdet_res2net.classification.export import export_classifier
    from ppdet_res2net.classification.model import Classifier, preprocessor_of_spec
    from ppdet_res2net.zoo import create_classifier, get_model_spec

    network = create_classifier(model)
    network.eval()
    preprocessor = dataclasses.replace(preprocessor_of_spec(get_model_spec(model)), size_px=SIZE_PX)
    classifier = Classifier(model, network, preprocessor, None)
    export_classifier(classifier, folder, formats=("paddle", "onnx", "openvino"))


def tasks_of(args: argparse.Namespace, folder: str) -> list[dict]:
    """Return what is measured, in order."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--torch_python")
    parser.add_argument("--model", default="timm/res2net50_26w_4s")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contenders, by the names in the table")
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.task:
        print(json.dumps(measure_one(json.loads(args.task))))
        return
    with tempfile.TemporaryDirectory() as folder:
        export(args.model, folder)
        tasks = [task for task in tasks_of(args, folder) if not args.only or task["contender"] in args.only]
        speeds: list[float | None] = [None] * len(tasks)
        for number in range(args.rounds):
            for i, task in enumerate(tasks):
                print(f"round {number + 1} of {args.rounds}, {i + 1} of {len(tasks)}: {task['contender']}", flush=True)
                python = args.torch_python if task["contender"].startswith("timm") else sys.executable
                speed = in_own_process(task, python)
                speeds[i] = max(filter(None, (speed, speeds[i])), default=None)
    print_table(tasks, speeds)
    if args.json:
        rows = [{**task, "images_per_s": speed} for task, speed in zip(tasks, speeds)]
        Path(args.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
