"""``train --seed`` and ``--device``, which eval, infer and export have as well."""

from __future__ import annotations

import pytest

from ppdet_res2net.cli import train as command
from ppdet_res2net.cli.main import main
from ppdet_res2net.training.trainer import TrainResult
from tests.helpers.command_lines import parse_only


@pytest.fixture
def trained_with(monkeypatch, tmp_path):
    """Run the command without training; returns the configuration that would be trained."""

    def run(*words: str):
        seen = []

        def keep(config, task, options):
            seen.append(config)
            config.memory_share = options.memory_share
            return TrainResult(tmp_path, None, 1, None)

        monkeypatch.setattr("ppdet_res2net.training.trainer.run_training", keep)
        assert command.main(["-c", "demo_mask_rcnn", *words]) == 0
        return seen[0]

    return run


def test_the_seed_and_the_device_of_the_command_line(trained_with):
    config = trained_with("--seed", "7", "--device", "CPU", "-o", "seed=3")
    assert config["seed"] == 7 and config.device == "cpu" and "device" not in config
    plain = trained_with()
    assert "seed" not in plain and plain.device is None


@pytest.mark.parametrize("name", ["train", "eval", "infer", "export"])
@pytest.mark.parametrize("typed, device", [("cpu", "cpu"), ("GPU", "gpu"), ("gpu:1", "gpu:1")])
def test_devices(name, typed, device):
    more = ["--infer_img", "x.jpg"] if name == "infer" else []
    assert parse_only(name, ["-c", "x", *more, f"--device={typed}"]).device == device


@pytest.mark.parametrize("value", ["tpu", "gpu:", "gpu:x", "1", "gpu:-1", ""])
def test_what_is_no_device_is_refused(value, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "-c", "demo_mask_rcnn", f"--device={value}"])
    assert stopped.value.code == 2
    assert f"argument --device: got '{value}', expected cpu, gpu, or one GPU such as gpu:1" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_an_error(capsys, tmp_path):
    words = ["-c", "digits", "--device", "gpu:9", "-o", f"save_dir={tmp_path}"]
    assert main(["train", *words]) == 1
    assert "--device is gpu:9, but this " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "weights"),
    [
        ("none", None),
        ("None", None),
        ("./none", "./none"),
        ("run/best_model", "run/best_model"),
        ("a b=[1].pdparams", "a b=[1].pdparams"),
        ("C:\\runs\\é.pth", "C:\\runs\\é.pth"),
        ("2024", "2024"),
    ],
)
def test_the_weights_to_start_from(trained_with, typed, weights):
    assert trained_with("-o", "pretrain_weights=other", "--pretrain_weights", typed)["pretrain_weights"] == weights


@pytest.mark.parametrize(("typed", "share"), [("auto", 0.6), ("AUTO", 0.6), ("-1", 0.6), ("0.8", 0.8)])
def test_the_batch_size_by_memory(trained_with, typed, share):
    config = trained_with("--batch_size", typed)
    assert (
        config.memory_share == share
        and config["TrainReader"]["batch_size"] == trained_with()["TrainReader"]["batch_size"]
    )


def test_the_batch_size_as_a_number(trained_with):
    config = trained_with("--batch_size", "3")
    assert config.memory_share is None and config["TrainReader"]["batch_size"] == 3


@pytest.mark.parametrize("value", ["0", "1.5", "-2", "many", "nan", "inf", ""])
def test_what_is_no_batch_size_is_refused(value, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "-c", "demo_mask_rcnn", f"--batch_size={value}"])
    assert stopped.value.code == 2
    assert (
        f"got '{value}', expected a number of images, auto, or a share of the memory such as 0.8"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-r", "auto"], "--find_lr goes with new runs only: leave out -r"),
        (["--batch_size", "auto"], "--find_lr goes with a number as --batch_size"),
    ],
)
def test_what_does_not_go_with_the_range_test(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "-c", "demo_mask_rcnn", "--find_lr", *words])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(("words", "steps"), [([], 100), (["--max_steps", "30"], 30)])
def test_the_range_test_takes_the_place_of_training(words, steps, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "ppdet_res2net.training.rate_finder.find_learning_rate",
        lambda config, task, *, steps, amp: seen.append((config.name, task.__name__, steps, amp)),
    )
    assert command.main(["-c", "demo_mask_rcnn", "--find_lr", "--eval", *words]) == 0
    assert seen == [("demo_mask_rcnn", "DetectionTask", steps, False)]
