"""How a training run survives kills, full disks and damaged files.

    python -m benchmarks.faults [--kills 50] [--damages 200] [--points 10] [--folder FOLDER]

Trains the demo recipe on generated data, again and again: kills it at random moments and continues with ``-r auto``,
fills the disk while it saves, kills a loader worker, and damages its checkpoints. The exit code is 1 if anything was lost.

Needs Linux. A full disk is a tmpfs if the user may mount one, otherwise a limit on the size of files.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.context import ForkProcess
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes are forked from this one, which must have no threads

from benchmarks.harness import machine_line, run_main  # noqa: E402
from ppdet_res2net.config import load_config  # noqa: E402
from ppdet_res2net.datasets.demo import make_demo_data  # noqa: E402
from ppdet_res2net.detection.task import train  # noqa: E402
from ppdet_res2net.errors import Res2NetError, WeightsError  # noqa: E402
from ppdet_res2net.training.checkpoint import load_training_state  # noqa: E402
from ppdet_res2net.training.run_folder import RunFolder  # noqa: E402

RECIPE = "demo_mask_rcnn"
STEPS = 12
STARTING_SHARE = 0.2  # of the kills that come before the first step
TMPFS_MIB = 256


def train_in_child(data: Path, save_dir: Path, *overrides: str, **options) -> ForkProcess:
    """Start a run in its own process, which writes its error to ``error.txt`` beside the data."""
    process = multiprocessing.get_context("fork").Process(target=_train, args=(data, save_dir, overrides, options))
    process.start()
    return process


def _train(data: Path, save_dir: Path, overrides: tuple, options: dict) -> None:
    os.setsid()  # distinguishes its workers from ours
    logging.disable(logging.WARNING)
    limit = options.pop("file_limit_bytes", None)
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    settings = {
        "save_dir": save_dir,
        "TrainDataset.dataset_dir": data,
        "TrainReader.batch_size": 1,
        "worker_num": 1,
    }
    settings.update({"use_gpu": "false", "epoch": STEPS // 4, "log_iter": 1, "snapshot_steps": 1, "snapshot_epoch": 1})
    try:
        train(
            load_config(RECIPE, [*(f"{k}={v}" for k, v in settings.items()), *overrides]),
            resume="auto",
            **options,
        )
    except Res2NetError as error:
        (data.parent / "error.txt").write_text(str(error))
        sys.exit(1)


def steps_done(run_dir: Path) -> int:
    """Return the steps of the newest whole checkpoint, 0 without one."""
    folder = RunFolder(run_dir)
    if not run_dir.is_dir():
        return 0
    folder.open()
    newest = folder.find_newest()
    folder.close()
    return load_training_state(newest).values["position"]["steps"] if newest else 0


def same_weights(one: Path, other: Path) -> bool:
    """Return whether the weights of two runs are equal bit for bit."""
    return (one / "model_final.pdparams").read_bytes() == (other / "model_final.pdparams").read_bytes()


def wait_for_step(process: ForkProcess, run_dir: Path) -> None:
    """Wait until the run logs another step or ends."""
    metrics = run_dir / "metrics.jsonl"
    before = _size_bytes(metrics)
    while process.is_alive() and _size_bytes(metrics) <= before:
        process.join(0.02)


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def kill_at_random(data: Path, folder: Path, whole: Path, kills: int, start_s: float, steps_s: float) -> bool:
    """Kill runs at random moments and continue them; start a new run when one has reached its end.

    Most moments are counted from the first step on, however long that takes on a busy machine. Otherwise no run would
    make progress.
    """
    draw = random.Random(0)
    moments: Counter[str] = Counter()
    lost = finished = equal = 0
    save_dir = folder / "killed"
    run_dir = save_dir / RECIPE
    before = done = 0
    while done < kills:
        process = train_in_child(data, save_dir)
        if draw.random() < STARTING_SHARE:
            process.join(draw.uniform(0.0, start_s))
        else:
            wait_for_step(process, run_dir)
            process.join(draw.uniform(0.0, steps_s))
        if process.is_alive():
            process.kill()
            process.join()
            done += 1
            saving = any(run_dir.glob(".*.sav*"))
            moments["while saving" if saving else "before or between"] += 1
            now = steps_done(run_dir)
            lost += now < before
            before = now
        elif process.exitcode:
            print((folder / "error.txt").read_text())
            return False
        if (run_dir / "model_final.pdstate").exists() and steps_done(run_dir) == STEPS:
            finished += 1
            equal += same_weights(run_dir, whole)
            shutil.rmtree(save_dir)
            before = 0
    where = ", ".join(f"{count} {moment}" for moment, count in sorted(moments.items()))
    print(
        f"kill -9             {kills} kills ({where}): {lost} lost a checkpoint; {finished} runs came to their end, ",
        end="",
    )
    print(f"{equal} of them with the weights of one that was not killed")
    return lost == 0 and finished == equal > 0


def fill_disk(data: Path, folder: Path, whole: Path, points: int) -> bool:
    """Fill the disk at several points of a save, then continue with enough space."""
    size_bytes = sum((whole / f"model_final.{suffix}").stat().st_size for suffix in ("json", "pdparams", "pdstate"))
    mount = folder / "full"
    mount.mkdir()
    has_tmpfs = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", mount], capture_output=True
    ).returncode == 0  # fmt: skip
    refused = intact = equal = 0
    try:
        for point in range(points):
            save_dir = mount / str(point)
            first = train_in_child(data, save_dir, max_steps=2)
            first.join()
            before = steps_done(save_dir / RECIPE)
            share = (point + 0.5) / points
            options = {}
            if has_tmpfs:
                free = shutil.disk_usage(mount).free
                (mount / "filler").write_bytes(bytes(max(0, int(free - share * size_bytes))))
            else:
                largest = (whole / "model_final.pdparams").stat().st_size
                options["file_limit_bytes"] = int(share * largest)
            process = train_in_child(data, save_dir, **options)
            process.join()
            refused += process.exitcode == 1 and "cannot be written" in (folder / "error.txt").read_text()
            (mount / "filler").unlink(missing_ok=True)
            intact += steps_done(save_dir / RECIPE) >= before > 0
            process = train_in_child(data, save_dir)
            process.join()
            equal += same_weights(save_dir / RECIPE, whole)
            shutil.rmtree(save_dir)
    finally:
        if has_tmpfs:
            subprocess.run(["umount", mount], check=True)
    kind = "tmpfs" if has_tmpfs else "limited file size"
    print(
        f"disk full           {points} points of a save ({kind}): {refused} ended with a message, {intact} kept the ",
        end="",
    )
    print(f"checkpoint before, {equal} went on to the same weights once there was space")
    return refused == intact == equal == points


def kill_worker(data: Path, folder: Path) -> bool:
    """Kill a worker of the loader; the run has to end with a message and keep its checkpoint."""
    save_dir = folder / "worker"
    process = train_in_child(data, save_dir, "epoch=1000")
    wait_for_step(process, save_dir / RECIPE)
    (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    started = time.monotonic()
    process.join(60)
    seconds = time.monotonic() - started
    message = (folder / "error.txt").read_text()
    print(f"loader worker       killed: the run ended after {seconds:.1f} s with: {message}")
    return process.exitcode == 1 and "was killed by SIGKILL" in message and steps_done(save_dir / RECIPE) > 0


def damage_files(folder: Path, whole: Path, damages: int) -> bool:
    """Flip one bit of each file of a checkpoint, or cut it off; each damaged copy has to be refused."""
    draw = random.Random(0)
    is_good = True
    for suffix in ("pdparams", "pdstate", "json"):
        for kind in ("bit flipped", "cut off"):
            copy = Path(shutil.copytree(whole, folder / "damaged"))
            file = copy / f"model_final.{suffix}"
            data = file.read_bytes()
            refused = 0
            for _ in range(damages):
                position = draw.randrange(len(data))
                flipped = data[position] ^ 1 << draw.randrange(8)
                changed = data[:position] + (bytes([flipped]) + data[position + 1 :] if kind == "bit flipped" else b"")
                file.write_bytes(changed)
                try:
                    load_training_state(copy / "model_final")
                except WeightsError:
                    refused += 1
            found = RunFolder(copy).find_newest()
            name = found.name if found else "nothing"
            print(f"{kind:19s} .{suffix}: {refused} of {damages} refused; -r auto went on from '{name}'")
            is_good &= refused == damages and found is not None and name != "model_final"
            shutil.rmtree(copy)
    return is_good


def main() -> int:
    """Run everything; returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--damages", type=int, default=200, help="damaged copies per file and kind (default: 200)")
    parser.add_argument(
        "--points", type=int, default=10, help="points of a save at which the disk is full (default: 10)"
    )
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    args = parser.parse_args()
    print(machine_line(threads=1))
    logging.getLogger("ppdet_res2net").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        data = make_demo_data(folder / "data", train_images=4, val_images=1, image_size_px=64)
        started = time.monotonic()
        whole = folder / "whole" / RECIPE
        process = train_in_child(data, folder / "whole")
        wait_for_step(process, whole)
        start_s = time.monotonic() - started
        process.join()
        steps_s = time.monotonic() - started - start_s
        print(
            f"one run: {STEPS} steps, each with a checkpoint, {steps_s:.1f} s after {start_s:.1f} s to start",
            flush=True,
        )
        results = [
            kill_at_random(data, folder, whole, args.kills, start_s, steps_s),
            fill_disk(data, folder, whole, args.points),
            kill_worker(data, folder),
            damage_files(folder, whole, args.damages),
        ]
    print("nothing was lost" if all(results) else "SOMETHING WAS LOST")
    return 0 if all(results) else 1


if __name__ == "__main__":
    run_main(main)
