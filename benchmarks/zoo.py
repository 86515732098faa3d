"""MindCV's table for every classifier of the zoo on this machine: training in s/epoch, inference in ms/step, eager and graph.

    python -m benchmarks.zoo [--models NAME ...] [--source mindcv] [--modes eager graph] [--batch 32] [--size 224]
        [--threads 2] [--seconds 300] [--images 1281167] [--json zoo.json]

Each line is measured in its own process, which is ended after ``--seconds``, and printed when it is known. ``--json`` also
keeps the lines in a file; a second call with the same settings on the same machine measures only what is not in it.

An epoch is not run: its time is that of the fastest training step (forward, backward, Momentum), with a batch of ``--batch``
images, times the steps for ``--images`` images, ImageNet-1k's by default. Reading images is not included. Inference is one
image per step. Weights are random, which changes no time. In the column Context, E is eager, and G is a graph of
``paddle.jit.to_static``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness import ContenderError, call, machine_line, run_main

MODES = {"eager": "E", "graph": "G"}
IMAGENET_IMAGES = 1_281_167
MIN_RUNS, MAX_RUNS = 2, 10
COLUMNS = ("Model", "Context", "Top-1 (%)", "Top-5 (%)", "Params (M)", "Train T. (s/epoch)", "Infer T. (ms/step)")


def fastest_ms(run: Callable[[], object], budget_s: float) -> float:
    """Call ``run`` once to warm up, then until the time is over or it has had enough calls; return the fastest call's time."""
    started = time.perf_counter()
    run()
    best, calls = math.inf, 0
    while calls < MIN_RUNS or (calls < MAX_RUNS and time.perf_counter() - started < budget_s):
        before = time.perf_counter()
        run()
        best, calls = min(best, 1000 * (time.perf_counter() - before)), calls + 1
    return best


def measure(model: str, mode: str, batch: int, size: int, seconds: float) -> dict:
    """Return the times of one model in this process: ``train_ms`` and ``infer_ms`` of a step, and the device."""
    import paddle

    from ppdet_res2net.training.device import select_device
    from ppdet_res2net.zoo import create_classifier

    device = select_device({"use_gpu": True})
    network = create_classifier(model)
    optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters(), weight_decay=1e-4)
    forward = paddle.jit.to_static(network, full_graph=True) if mode == "graph" else network
    images, labels = paddle.randn([batch, 3, size, size]), paddle.arange(batch) % network.num_classes

    def train() -> None:
        paddle.nn.functional.cross_entropy(forward(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
        float(network.fc.bias[0])  # waits for the device

    def infer() -> None:
        with paddle.no_grad():
            forward(images[:1]).numpy()

    network.eval()
    infer_ms = fastest_ms(infer, seconds / 8)
    network.train()
    train_ms = fastest_ms(train, seconds / 4)
    return {"device": device, "infer_ms": infer_ms, "train_ms": train_ms}


def choose_models(names: Sequence[str] | None, source: str | None) -> list[str]:
    """Return the classifiers to measure.

    Raises:
        ConfigError: A model is unknown or no classifier, or there is no such source.
    """
    from ppdet_res2net.errors import ConfigError
    from ppdet_res2net.zoo import get_model_spec, list_models

    for name in names or ():
        if get_model_spec(name).task != "classifier":
            raise ConfigError(f"{name} is a {get_model_spec(name).task}; name classifiers with --models.")
    return [name for name in names or list_models(source) if get_model_spec(name).task == "classifier"]


def as_line(row: dict, threads: int, images: int) -> str:
    """Return a line of the table."""
    from ppdet_res2net.zoo import get_model_spec

    spec = get_model_spec(row["model"])
    device = row.get("device", "cpu").partition(":")[0].upper()
    context = f"{device}x{threads if device == 'CPU' else 1}-{MODES[row['mode']]}"
    accuracies = [f"{spec.metrics[key]:.2f}" if key in spec.metrics else "-" for key in ("top1", "top5")]
    if "problem" in row:
        times = [row["problem"], "-"]
    else:
        times = [f"{row['train_ms'] / 1000 * math.ceil(images / row['batch']):.0f}", f"{row['infer_ms']:.1f}"]
    return f"| {' | '.join([spec.name, context, *accuracies, f'{spec.parameters / 1e6:.2f}', *times])} |"


def read_rows(path: Path, machine: str) -> list[dict]:
    """Return the lines of an earlier call on this machine.

    Raises:
        ConfigError: The file is none of this benchmark.
    """
    from ppdet_res2net.errors import ConfigError

    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text("utf-8"))
        found, rows = content["machine"], [row for row in content["rows"] if "problem" not in row]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--json {path} is no file of this benchmark: {error!r}. Name another one.") from error
    if found != machine:
        raise ConfigError(f"--json {path} has lines of another machine or versions: {found}. Name another file.")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a line could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.zoo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", metavar="NAME", help="classifiers of the zoo (default: all)")
    parser.add_argument("--source", help="only the models of one publisher, such as mindcv")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default: eager graph")
    parser.add_argument("--batch", type=int, default=32, help="images in a training step (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the images (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads on a CPU (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=300, help="most seconds for a line (default: %(default)s)")
    parser.add_argument("--images", type=int, default=IMAGENET_IMAGES, help="images in an epoch (default: ImageNet's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the lines in FILE, and continue from it")
    args = parser.parse_args(argv)
    machine = machine_line(args.threads)
    rows = read_rows(args.json, machine) if args.json else []
    cases = [
        {"model": model, "mode": mode, "batch": args.batch, "size": args.size, "seconds": args.seconds}
        for model in choose_models(args.models, args.source)
        for mode in args.modes
    ]
    print(f"{machine}\n\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}", flush=True)
    failed = False
    for case in cases:
        row = next((row for row in rows if all(row.get(key) == case[key] for key in case if key != "seconds")), None)
        if row is None:
            row = _measure_apart(case, args.threads)
            failed |= "problem" in row
            rows.append(row)
            if args.json:
                _save(args.json, machine, rows)
        print(as_line(row, args.threads, args.images), flush=True)
    return 1 if failed else 0


def _measure_apart(case: dict, threads: int) -> dict:
    try:
        times = call("benchmarks.zoo:measure", case, threads=threads, time_limit_s=case["seconds"])
    except ContenderError as error:
        return {**case, "problem": str(error).replace("|", "/")}
    return {**case, **times}


def _save(path: Path, machine: str, rows: list[dict]) -> None:
    from ppdet_res2net.files import save_text

    save_text(path, json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
