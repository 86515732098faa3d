"""Losses on validation images, AP per class, and pictures of predictions while a detector trains: they change nothing."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import paddle
import pytest
from paddle import nn

from ppdet_res2net.data.ground_truth import ScoredObjects
from ppdet_res2net.detection import picture_grid
from ppdet_res2net.detection.coco_figures import _class_table
from ppdet_res2net.detection.model import Classes
from ppdet_res2net.detection.picture_grid import PictureGrid
from ppdet_res2net.detection.task import train
from ppdet_res2net.training.processes import ALONE, Processes
from ppdet_res2net.training.validation_losses import Share, ValidationLosses, _training_without_traces
from res2net_runtime.results import Detections
from tests.helpers.training_runs import (
    assert_equal_tensors,
    losses_by_step,
    make_config,
    messages,
    read_metrics,
    read_tensors,
)


def test_training_is_the_same_with_validation_losses(demo_data, tmp_path, caplog):
    caplog.set_level("INFO")
    runs = {}
    for name, setting in (("with", "eval_losses=0.5"), ("without", "eval_losses=null")):
        settings = ("TrainDataset.sample_num=4", "eval_interval=1 steps", setting)
        runs[name] = train(make_config(demo_data, tmp_path / name, *settings), evaluate=True).run_dir
        assert read_metrics(runs[name], "eval")[0]["bbox"]["classes"][0].keys() == {
            "class",
            "category_id",
            "AP",
            "AP50",
        }
    assert_equal_tensors(*(read_tensors(run / "model_final.pdparams") for run in runs.values()))
    assert losses_by_step(runs["with"]) == losses_by_step(runs["without"])
    evaluated = read_metrics(runs["with"], "eval")
    terms = {"loss_rpn_cls", "loss_rpn_reg", "loss_bbox_cls", "loss_bbox_reg", "loss_mask"}
    assert [record["step"] for record in evaluated] == [1, 2]
    for record in evaluated:
        losses = record["losses"]
        assert losses.keys() == terms | {"loss"}
        assert losses["loss"] == pytest.approx(sum(losses[name] for name in terms), abs=1e-4)
    assert evaluated[0]["losses"] != evaluated[1]["losses"]
    assert not any("losses" in record for record in read_metrics(runs["without"], "eval"))
    assert f"Losses on 3 of 6 images (eval_losses): loss {evaluated[1]['losses']['loss']:.4f}, mask" in messages(caplog)
    pictures = sorted((runs["with"] / "predictions").iterdir())
    assert [path.name for path in pictures] == ["step_00000001.jpg", "step_00000002.jpg"]
    assert cv2.imread(str(pictures[0])).shape[1] > 300
    page = (runs["with"] / "index.html").read_text("utf-8")
    assert "loss (validation)" in page and 'src="predictions/step_00000002.jpg"' in page and "AP per class" in page


class Tower(nn.Layer):
    """Everything that behaves differently in training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.seen = nn.BatchNorm2D(3), nn.Dropout(0.5), []

    def forward(self, image):
        self.seen.append((self.training, self.norm.training, self.drop.training))
        return self.drop(self.norm(image)).mean()


class Rows:
    """A dataset of ten records."""

    roidbs = [{"im_id": np.array([number])} for number in range(10)]

    def __len__(self) -> int:
        return 20  # repeated


class Batches:
    """A loader of a share: one image per batch, whose pixels are its id."""

    def __init__(self, share) -> None:
        self._share = share
        self.closed = 0

    def epoch(self, index):
        for record in self._share.roidbs:
            yield {"image": np.full((1, 3, 2, 2), record["im_id"][0], np.float32), "im_id": record["im_id"][None]}

    def close(self) -> None:
        self.closed += 1


def losses_of(model, batch):
    value = model(batch["image"])
    return {"loss_a": value, "loss_noise": paddle.rand([1]), "loss": value}


def test_losses_leave_the_model_and_the_generators_alone():
    paddle.seed(3)
    np.random.seed(3)
    model = Tower()
    model.eval()
    before = [tensor.numpy().copy() for tensor in model.state_dict().values()]
    validation = ValidationLosses(losses_of, model, Share(Rows(), 0.5, 1, ALONE), Batches, ALONE, 1)
    expected = np.random.RandomState(3).rand(), paddle.get_rng_state()[0].current_seed()
    first, second = validation.compute(), validation.compute()
    assert first == second and first["loss_noise"] > 0  # what is random follows from the image
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.state_dict().values()))
    assert (np.random.rand(), paddle.get_rng_state()[0].current_seed()) == expected
    assert set(model.seen) == {(True, False, False)}
    assert (model.training, model.norm.training, model.drop.training) == (False, False, False)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_modes_are_restored_after_an_error():
    model = Tower()
    model.norm.eval()
    with pytest.raises(KeyError), _training_without_traces(model):
        raise KeyError("an error of a loss")
    assert (model.training, model.norm.training, model.drop.training) == (True, False, True)


def test_a_loss_that_is_not_finite_is_null():
    def losses(model, batch):
        return {"loss_a": paddle.to_tensor([float("nan")]), "loss": paddle.to_tensor([1.0])}

    validation = ValidationLosses(losses, Tower(), Share(Rows(), 0.1, 1, ALONE), Batches, ALONE, 1)
    found = validation.compute()
    assert found == {"loss_a": None, "loss": 1.0}
    assert validation.describe(found) == "Losses on 1 of 10 images (eval_losses): loss 1.0000, a not finite"


@pytest.mark.parametrize("share, count", [(1.0, 10), (0.5, 5), (0.31, 4), (1e-6, 1)])
def test_a_share_is_chosen_by_the_seed_and_split_between_processes(share, count):
    whole = Share(Rows(), share, 1, ALONE)
    ids = [int(record["im_id"][0]) for record in whole.roidbs]
    assert len(whole) == whole.count == count == len(set(ids)) and ids == sorted(ids)
    parts = [Share(Rows(), share, 1, Processes(rank, 3)) for rank in range(3)]
    assert sorted(int(record["im_id"][0]) for part in parts for record in part.roidbs) == ids
    assert all(part.count == count for part in parts)
    if 1 < count < 10:
        assert [int(r["im_id"][0]) for r in Share(Rows(), share, 2, ALONE).roidbs] != ids


def test_processes_average_over_all_images(monkeypatch):
    """Two processes with three and two images, one after the other."""
    values = []

    class Both(Processes):
        def gather(self, value):
            values.append(value)
            return list(values)

    def losses(model, batch):
        value = batch["image"].mean()
        return {"loss_a": value, "loss": value}

    for rank in range(2):
        processes = Both(rank, 2)
        share = Share(Rows(), 0.5, 1, processes)
        found = ValidationLosses(losses, Tower(), share, Batches, processes, 1).compute()
    ids = [int(record["im_id"][0]) for record in Share(Rows(), 0.5, 1, ALONE).roidbs]
    assert found["loss"] == pytest.approx(np.mean(ids), abs=1e-5)


def test_the_log_has_the_best_and_the_worst_classes():
    classes = [{"class": f"c{number}", "AP": number / 100, "AP50": 0.5} for number in range(80)]
    classes += [{"class": "absent", "AP": -1.0, "AP50": -1.0}]
    lines = _class_table(classes, 5)
    assert [line.split()[0] for line in lines[1:-1]] == ["c79", "c78", "c77", "c1", "c0"]
    assert lines[-1] == " the best and the worst of 81 classes; metrics.jsonl has all"
    assert len(_class_table(classes)) == 82
    assert _class_table(classes[-1:] * 9, 4)[1:] == [" the best and the worst of 9 classes; metrics.jsonl has all"]


def detections(*boxes, labels=(), masks=None, image_hw=(80, 120)) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.1, len(boxes), dtype=np.float32),
        np.array(labels, np.int32),
        masks,
        image_hw,
        ("red", "green"),
        (7, 9),
    )


@pytest.fixture(scope="module")
def scored(demo_data) -> ScoredObjects:
    from ppdet_res2net.data.annotations import read_annotations
    from ppdet_res2net.data.ground_truth import select_scored_objects

    path = str(demo_data / "annotations/instances_val2017.json")
    return select_scored_objects(read_annotations(path), True, path)


def test_a_grid_has_fixed_images_with_their_objects(scored, monkeypatch):
    monkeypatch.setattr(picture_grid, "IMAGES", 2)
    classes = Classes(tuple(one.name for one in scored.categories), tuple(one.id for one in scored.categories))
    grid = PictureGrid(scored, classes, 0, ALONE)
    drawn = []
    monkeypatch.setattr(
        picture_grid,
        "draw_detections",
        lambda image, found, score, with_scores=True: drawn.append((found, with_scores)) or image,
    )
    for _ in range(2):
        for image in scored.images:
            none = np.zeros((0, 28, 28), np.float32)
            found = detections(masks=none, image_hw=image.size)
            grid.observe(image.id, np.zeros((*image.size, 3), np.uint8), found)
        assert grid.take().dtype == np.uint8
    assert grid.take() is None
    assert len(drawn) == 8  # two sides of two images, twice
    annotated = [found for found, with_scores in drawn if not with_scores]
    assert [one.boxes_xyxy.tolist() for one in annotated[:2]] == [one.boxes_xyxy.tolist() for one in annotated[2:]]
    for one in annotated:
        assert len(one) > 0
        for box, bitmap in zip(one.boxes_xyxy, one.bitmaps()):
            ys, xs = np.nonzero(bitmap)  # the mask that is drawn fills the box of the annotation
            assert np.allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], box, atol=2.5)


def test_a_grid_shows_only_what_is_likely_enough(scored):
    classes = Classes(tuple(one.name for one in scored.categories), tuple(one.id for one in scored.categories))
    grid = PictureGrid(scored, classes, 0, ALONE)
    (first, *_) = grid._chosen
    size = next(image.size for image in scored.images if image.id == first)
    image = np.full((*size, 3), 255, np.uint8)
    pictures = []
    for score in (0.29, 0.31):
        one = Detections(
            np.array([[10, 10, 60, 60]], np.float32), np.array([score], np.float32), np.array([0], np.int32), None, size,
            classes.names, classes.category_ids,
        )  # fmt: skip
        grid.observe(first, image, one)
        pictures.append(grid.take())
    found = [picture[:, picture.shape[1] // 2 + 6 :] for picture in pictures]
    assert (found[0] != found[1]).any() and (pictures[0] == pictures[1])[:, : pictures[0].shape[1] // 2 - 6].all()


def test_large_images_become_small_and_other_processes_get_nothing(scored):
    classes = Classes(tuple(one.name for one in scored.categories), tuple(one.id for one in scored.categories))

    class Second(Processes):
        def gather(self, value):
            return [{}, value]

    grid = PictureGrid(scored, classes, 0, Second(1, 2))
    (first, *_) = grid._chosen
    found = dataclasses.replace(detections(image_hw=(3000, 2000)), label_list=classes.names)
    grid.observe(first, np.zeros((3000, 2000, 3), np.uint8), found)
    assert max(grid._pairs[0].shape[:2]) <= 2 * picture_grid.SIDE_PX + picture_grid._GAP_PX
    assert grid.take() is None
