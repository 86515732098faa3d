"""The tools with PaddleDetection's flags, end to end: their files, output and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppdet_res2net.cli.main import main
from tests.helpers.training_runs import image_files, overrides_for, write_config

ROOT = Path(__file__).resolve().parents[2]


def _arguments(data, save_dir, *overrides: str) -> list[str]:
    return ["-c", "demo_mask_rcnn", "-o", *overrides_for(data, save_dir), *overrides]


def test_eval_as_a_script_of_a_checkout(detecting, demo_data, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "tools" / "eval.py"),
        *_arguments(demo_data, tmp_path, f"weights={detecting}"),
    ]
    flags = ["--classwise", "--json", "figures/eval.json", "--output_eval", "detections"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "deploy" / "python")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *flags], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Boxes (bbox):" in done.stdout and "Masks (segm):" in done.stdout
    figures = json.loads((tmp_path / "figures" / "eval.json").read_text())
    assert set(figures) == {"bbox", "segm", "images", "seconds"}
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1"} <= set(figures["bbox"]) == set(figures["segm"])
    assert {file.name for file in (tmp_path / "detections").iterdir()} == {"bbox.json", "mask.json"}


def test_train_export_and_infer_by_their_flags(demo_data, tmp_path, detecting, capsys):
    command = ["train", *_arguments(demo_data, tmp_path, "log_iter=5"), "--max_steps", "1"]
    assert main([*command, "--amp"]) == 1
    assert "training runs on a CPU, where Paddle has none" in capsys.readouterr().err
    assert main(command) == 0
    assert (tmp_path / "demo_mask_rcnn" / "model_final.pdparams").is_file()

    arguments = _arguments(demo_data, tmp_path, f"weights={detecting}")
    assert main(["export", *arguments, "--output_dir", str(tmp_path / "exported")]) == 0
    assert (tmp_path / "exported" / "demo_mask_rcnn" / "infer_cfg.yml").is_file()

    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(image_files(demo_data)[0].read_bytes())
    out = ["--output_dir", str(tmp_path / "out"), "--save_results", "--draw_threshold", "0.2"]
    assert main(["infer", *arguments, "--infer_dir", str(folder), *out]) == 0
    assert "1 of 1 images" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"good.jpg", "bbox.json", "mask.json"}

    (folder / "bad.jpg").write_bytes(b"")
    assert main(["infer", *arguments, "--infer_dir", str(folder), *out]) == 1
    printed = capsys.readouterr()
    assert "1 of 2 images" in printed.out and "bad.jpg" in printed.err


@pytest.mark.parametrize(
    "command, sentence",
    [
        (["eval", "-c", "no_such_recipe"], "There is no configuration file no_such_recipe"),
        (["eval", "-c", "demo_mask_rcnn", "-o", "wieghts=x"], "Did you mean 'weights'"),
        (
            ["eval", "-c", "demo_mask_rcnn", "-o", "weights=none/here"],
            "neither none/here nor none/here.pdparams exists",
        ),
        (
            ["train", "-c", "demo_mask_rcnn", "-o", "TrainDataset.dataset_dir=none"],
            "dataset folder not found: 'none'",
        ),
        (["train", "-c", "demo_mask_rcnn", "-o", "epoch=many"], "epoch"),
        (["infer", "-c", "demo_mask_rcnn", "--infer_dir", "none"], "There is no image folder 'none'"),
        (["train", "-c", "demo_mask_rcnn", "--use_vdl"], "dataset folder not found"),
    ],
)
def test_an_error_is_one_message_and_exit_code_1(command, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("Error: ") == 1
    assert "Traceback" not in error


def test_visualdl_that_is_not_installed_is_said(demo_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    assert main(["train", *_arguments(demo_data, tmp_path), "--use_vdl", "--max_steps", "1"]) == 1
    assert "--use_vdl needs VisualDL, which is not installed: pip install visualdl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "dataset, sentence",
    [
        (
            "{name: ImageFolder}",
            "TrainDataset is ImageFolder; only COCODataSet can be trained and evaluated on.",
        ),
        (
            "{name: VOCDataSet}",
            "TrainDataset is VOCDataSet; only COCODataSet can be trained and evaluated on.",
        ),
        ("{name: CocoDataset}", "there is no dataset 'CocoDataset'"),
    ],
)
def test_a_dataset_of_another_kind_is_refused(dataset, sentence, tmp_path, capsys):
    from ppdet_res2net.config import resolve_config_path

    recipe = write_config(
        tmp_path / "x.yml",
        [f"_BASE_: ['{resolve_config_path('demo_mask_rcnn')}']", f"TrainDataset: {dataset}"],
    )
    assert main(["train", "-c", str(recipe), "-o", "use_gpu=false"]) == 1
    assert sentence in capsys.readouterr().err
