"""What a run prints: lines that fit a terminal, epochs counted from 1, and at least one line for every epoch."""

from __future__ import annotations

import itertools
import re
import time

import pytest

from ppdet_res2net.training.run_log import RunLog
from tests.helpers.toy_task import train_toy
from tests.helpers.training_runs import messages, read_metrics

PREFIX = "[12:34:56] INFO: "
CASCADE = [f"loss_bbox_{kind}_stage{stage}" for stage in range(3) for kind in ("cls", "reg")]
MASK = ["loss_bbox_cls", "loss_bbox_reg", "loss_mask"]


@pytest.mark.parametrize("heads", [MASK, [*CASCADE, "loss_mask"], []])
def test_lines_fit_a_terminal(tmp_path, caplog, monkeypatch, heads):
    caplog.set_level("INFO")
    seconds = itertools.count(0, 20)  # a step that takes no time has a speed of a million images per second
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    log = RunLog(tmp_path, 1, "cpu")
    log.open(total_steps=180000, steps_per_epoch=7500, epochs=24)
    losses = dict.fromkeys(["loss_rpn_cls", "loss_rpn_reg", *heads, "loss"], 12.3456)
    log.step(89999, 11, losses, 0.00125, 16, 12.5, 0.5)
    log.close()
    (record,) = caplog.records
    lines = record.getMessage().splitlines()
    assert len(PREFIX + lines[0]) <= 120 and max(map(len, lines)) <= 116
    assert lines[0].startswith("epoch 12 of 24, step 89999/180000: loss 12.3456, lr 0.001250, 0.80 images/s, ")
    assert lines[0].endswith(", ETA 20 d 20 h")
    terms = ", ".join(line.strip().removesuffix(",") for line in lines[1:]).split(", ")
    expected = [f"{name.removeprefix('loss_')} 12.3456" for name in losses if name != "loss"]
    assert terms[:-1] == expected and terms[-1].startswith("data 12.500 s of ")


@pytest.mark.parametrize("interval, steps", [(50, [4, 8, 12]), (6, [4, 6, 12]), (3, [3, 6, 9, 12]), (4, [4, 8, 12])])
def test_every_epoch_has_a_line(tmp_path, interval, steps):
    run_dir = train_toy(tmp_path, epoch=3, log_iter=interval).run_dir
    assert [record["step"] for record in read_metrics(run_dir)] == steps


def _log_steps(tmp_path, monkeypatch, caplog, step_s: float, count: int, interval: int) -> tuple[list[str], list[dict]]:
    """Log steps of this length; return the lines about them, and the records."""
    caplog.set_level("INFO")
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    log = RunLog(tmp_path, interval, "cpu")
    log.open(total_steps=100, steps_per_epoch=50, epochs=2)
    for step in range(1, count + 1):
        clock[0] += step_s
        log.step(step, (step - 1) // 50, {"loss_a": float(step), "loss": float(step)}, 0.01, 4, 0.5)
    log.close()
    return [record.getMessage() for record in caplog.records], read_metrics(tmp_path)


def test_the_log_never_stands_still_for_long(tmp_path, monkeypatch, caplog):
    lines, records = _log_steps(tmp_path, monkeypatch, caplog, step_s=3.0, count=20, interval=18)
    assert [int(line.split("step ")[1].split("/")[0]) for line in lines] == [1, 5, 9, 13, 17, 18]
    assert [record["step"] for record in records] == [18]
    assert records[0]["loss"] == pytest.approx(9.5) and records[0]["images_per_s"] == pytest.approx(4 / 3)
    assert lines[1].startswith("epoch 1 of 2, step 5/100: loss 3.0000, lr 0.010000, 1.33 images/s")
    assert ", ETA 0:04:45\n" in lines[1]


def test_slow_steps_have_a_line_each(tmp_path, monkeypatch, caplog):
    lines, records = _log_steps(tmp_path, monkeypatch, caplog, step_s=12.0, count=4, interval=50)
    assert len(lines) == 4 and records == []


def test_fast_steps_have_their_records_only(tmp_path, monkeypatch, caplog):
    lines, records = _log_steps(tmp_path, monkeypatch, caplog, step_s=0.01, count=40, interval=20)
    assert [line.split("/")[0][-2:].strip() for line in lines] == ["1", "20", "40"]
    assert [record["step"] for record in records] == [20, 40]


def test_a_resumed_run_reports_the_same_steps(tmp_path):
    train_toy(tmp_path, {"max_steps": 5}, epoch=3, log_iter=6)
    run_dir = train_toy(tmp_path, {"resume": "auto"}, epoch=3, log_iter=6).run_dir
    assert [record["step"] for record in read_metrics(run_dir)] == [4, 5, 6, 12]  # 5 was the last one of the first run


def test_epochs_count_from_one(tmp_path, caplog):
    caplog.set_level("INFO")
    train_toy(tmp_path)
    said = messages(caplog)
    assert "training toy on cpu: 16 images, 2 epochs of 4 steps of 4 images" in said
    assert "epoch 1 of 2, step 1/8: loss " in said and "epoch 2 of 2, step 8/8: loss " in said
    assert "weights after an epoch; 0 is the first one, as in PaddleDetection" in said


def test_the_last_message_says_how_it_went(tmp_path, caplog):
    caplog.set_level("INFO")
    train_toy(tmp_path, {"evaluate": True}, epoch=3, toy={"scores": [0.1, 0.456, 0.2]})
    assert re.search(
        r"\nthis took 0:00:\d\d; best toy score 0\.4560 after step 8\nnext:\n  look at .*/best_model$", messages(caplog)
    )
    caplog.clear()
    train_toy(tmp_path, {"max_steps": 1})
    assert re.search(r"\nthis took 0:00:\d\d\nnext:\n  look at .*/model_final$", messages(caplog))
