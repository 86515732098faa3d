"""A task that trains in milliseconds: a trunk of one small stage, and pictures made from their numbers."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppdet_res2net.config import Config
from ppdet_res2net.modeling import Res2Net
from ppdet_res2net.training.task import Evaluation, Task
from ppdet_res2net.training.trainer import TrainOptions, run_training

IMAGES = 16


class ToyModel(nn.Layer):
    """Computes two numbers from a picture."""

    def __init__(self, **trunk) -> None:
        super().__init__()
        settings = {"depth": [2], "num_stages": 1, "width": 4, "scales": 2, "freeze_norm": True, "return_idx": [0]}
        self.backbone = Res2Net(**{**settings, **trunk})
        self.head = nn.Linear(256, 2)

    def forward(self, image):
        return self.head(self.backbone(image)[0].mean(axis=[2, 3]))


class ToyLoader:
    """Loads pictures that depend only on their number, in an order that depends only on the epoch."""

    def __init__(self, batch_size, rank=0, world_size=1, bad_images=()):
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.bad_images = bad_images

    def __len__(self):
        return IMAGES // (self.batch_size * self.world_size)

    def epoch(self, epoch_index, start_step=0):
        order = np.random.RandomState(epoch_index).permutation(IMAGES)
        joint = self.batch_size * self.world_size
        for step in range(start_step, len(self)):
            ids = np.array_split(order[step * joint : (step + 1) * joint], self.world_size)[self.rank]
            images = np.stack([np.random.RandomState(i).rand(3, 16, 16) for i in ids]).astype("float32")
            targets = np.stack([ids % 3, ids % 5], 1).astype("float32")
            is_bad = [i in self.bad_images for i in ids]
            images[is_bad], targets[is_bad] = np.nan, np.nan
            yield {"image": images, "target": targets, "im_id": ids[:, None]}

    def close(self):
        pass


class ToyTask(Task):
    """Trains the toy. Its own settings are under the key ``toy`` of the configuration."""

    score_name = "toy score"

    def __init__(self, config, processes):
        toy = config.get("toy", {})
        self.batch_size = config["TrainReader"]["batch_size"]
        self.loader = ToyLoader(self.batch_size, processes.rank, processes.world_size, toy.get("bad_images", ()))
        self.image_count = IMAGES
        self.model = ToyModel(**toy.get("trunk", {}))
        self.scores = iter(toy.get("scores", ()))
        self.step_s = toy.get("step_s", 0)
        self.class_names = toy.get("class_names", ["a", "b"])

    def losses(self, model, batch):
        time.sleep(self.step_s)
        difference = model(batch["image"]) - batch["target"]
        terms = {"loss_a": (difference[:, 0] ** 2).mean(), "loss_b": (difference[:, 1] ** 2).mean()}
        return {**terms, "loss": terms["loss_a"] + terms["loss_b"]}

    def evaluate(self):
        score = next(self.scores)
        return Evaluation({"toy": {"AP": score}}, "a table", score)

    def load_pretrained(self):
        pass

    def info(self):
        return {"class_names": self.class_names, "category_ids": list(range(1, len(self.class_names) + 1))}

    def next_commands(self, weights):
        return [f"look at {weights}"]


def toy_config(save_dir: Path, **settings) -> Config:
    """Return a configuration for two epochs of four steps with four pictures each."""
    defaults = {
        "save_dir": str(save_dir),
        "epoch": 2,
        "log_iter": 1,
        "use_gpu": False,
        "TrainReader": {"batch_size": 4},
        "LearningRate": {
            "base_lr": 0.0001,
            "schedulers": [{"name": "PiecewiseDecay", "milestones": [9], "use_warmup": False}],
        },
        "OptimizerBuilder": {"optimizer": {"type": "Momentum", "momentum": 0.9}, "regularizer": None},
    }
    return Config({**defaults, **settings}, Path("toy.yml"))


def train_toy(save_dir: Path, options: dict | None = None, **settings):
    """Train the toy. ``options`` are those of TrainOptions."""
    paddle.set_device("cpu")
    return run_training(toy_config(save_dir, **settings), ToyTask, TrainOptions(**(options or {})))
