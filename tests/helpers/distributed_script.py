"""The script that tests/training/test_processes.py runs in two processes: ``distributed_script.py WHAT FOLDER [DATA]``."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path

import paddle

from ppdet_res2net.detection.evaluate import evaluate
from ppdet_res2net.detection.model import create_trained_detector
from ppdet_res2net.errors import TrainingError
from ppdet_res2net.training import run_log
from ppdet_res2net.training.processes import join_processes
from tests.helpers.toy_task import ToyTask, train_toy
from tests.helpers.training_runs import make_config

logging.basicConfig(level=logging.INFO)
paddle.set_device("cpu")
what, folder, *data = sys.argv[1:]
folder = Path(folder)
rank = int(os.environ["PADDLE_TRAINER_ID"])
losses = ToyTask.losses
seen: list = []
stop_at = None  # how many batches process 1 has seen when it gets a signal


def noting_losses(self, model, batch):
    seen.append(batch["im_id"].numpy().reshape(-1).tolist())
    if what == "die" and rank == 1 and len(seen) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == 1 and stop_at is not None and len(seen) >= stop_at:
        os.kill(os.getpid(), signal.SIGTERM)
    return losses(self, model, batch)


ToyTask.losses = noting_losses
run_log.plot_runs = lambda *args: None  # drawing takes longer than all steps
two = {"TrainReader": {"batch_size": 2}}
if what == "die":
    train_toy(folder, **two)
else:
    train_toy(folder / "plain", **two)
    (folder / f"seen.{rank}.json").write_text(json.dumps(seen))
    train_toy(folder / "accumulated", TrainReader={"batch_size": 1}, accumulate_steps=2)
    train_toy(folder / "begun", {"max_steps": 5}, **two)
    for name, batches, evaluates in (("stopped", 1, False), ("unevaluated", 4, True)):
        stop_at = len(seen) + batches
        result = train_toy(folder / name, {"evaluate": evaluates}, epoch=4, **two)
        (folder / f"{name}.{rank}.json").write_text(json.dumps([result.steps, result.signal]))

    stop_at = None
    try:
        train_toy(folder / "nan", toy={"bad_images": [7]}, **two)
    except TrainingError as error:
        (folder / f"nan.{rank}.txt").write_text(str(error))

    config = make_config(Path(data[0]), folder, f"weights={data[1]}")
    detector, classes = create_trained_detector(config)
    output_dir = str(folder / "detections")
    summary = evaluate(detector, config, classes, output_dir=output_dir, processes=join_processes()).summary
    (folder / f"eval.{rank}.json").write_text(json.dumps(summary))
