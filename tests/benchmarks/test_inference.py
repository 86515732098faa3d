"""The benchmark of inference: its figures are right, and a contender's failure is reported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.inference import plots
from benchmarks.inference.contenders import Contender, measure
from benchmarks.inference.detector import Workload
from benchmarks.inference.table import GEMM_G_MACS, compare, make_row, print_table


def contender(group, precision, *wall_s, name="x"):
    return Contender(name, group, precision, "python", {}, wall_s=list(wall_s), cpu_s=list(wall_s), peak_gb=0.5)


def test_ratios_compare_the_best_of_each_side():
    measured = [
        contender("ours", "fp32", 3.0, 2.0, 4.0),
        contender("ours", "fp32", 2.0, 2.0, 9.0),
        contender("torchvision", "fp32", 4.0),
        contender("torchvision", "fp32", 5.0),
        contender("paddledet", "fp32", 12.0),
        contender("gemm", "fp32", GEMM_G_MACS / 100),
        contender("torchvision", "bf16", 4.0),
    ]
    ratios = compare(measured, g_macs=180.0)
    assert ratios["fp32_vs_torchvision"] == 2.0
    assert ratios["fp32_vs_paddledet"] == 6.0
    assert ratios["fp32_share_of_peak"] == pytest.approx(180 / 2 / 100)
    assert ratios["peak_gb"] == 0.5
    assert ratios["bf16_vs_torchvision"] is None and ratios["bf16_share_of_peak"] is None
    row = make_row(measured[1], ratios, 180.0)
    assert (row["median_ms"], row["max_ms"], row["runs"]) == (2000.0, 9000.0, 3)
    assert row["share_of_peak"] == pytest.approx(0.9)


def test_a_contender_that_fails_is_reported_and_the_others_go_on(tmp_path, capsys):
    image = tmp_path / "image.npy"
    np.save(image, np.zeros((4, 4, 3), "uint8"))
    broken = Contender("broken", "ours", "fp32", sys.executable, {"kind": "nothing"})
    measure([broken], image, rounds=1, threads=1)
    assert "KeyError: 'nothing'" in broken.error and "broken.log" in broken.error
    ratios = compare([broken], 1.0)
    assert set(ratios.values()) == {None}
    row = make_row(broken, ratios, 1.0)
    assert json.loads(json.dumps(row))["error"] == broken.error
    print_table([row], ratios, 1.0)
    assert "| broken | KeyError: 'nothing'" in capsys.readouterr().out


def test_plots_are_drawn_of_every_sweep(monkeypatch, tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "infer_cfg.yml").write_text("Preprocess: [{type: Resize, target_size: [800, 1333]}]")
    (folder / "model.xml").write_text("graph")
    sizes, exported = [], []

    def fake_measure(contenders, image, rounds, threads):
        for point in contenders:
            model_folder = Path(point.options["folder"])
            if model_folder.name.startswith("short_side"):
                assert (model_folder / "model.xml").read_text() == "graph"
                description = yaml.safe_load((model_folder / "infer_cfg.yml").read_text())
                sizes.append(description["Preprocess"][0]["target_size"])
            point.wall_s += [0.01 * point.options["batch"], 1.0]

    monkeypatch.setattr(plots, "measure", fake_measure)
    monkeypatch.setattr(plots, "export", lambda work_dir, name, *rest: exported.append(rest[1]) or work_dir / name)
    measured = [contender("ours", "fp32", 1.0)]
    prepared = Workload(folder, tmp_path / "image.npy", 1.0)
    plots.plot_sweeps(tmp_path, prepared, 1, measured, tmp_path / "docs" / "inference.png")
    assert (tmp_path / "docs" / "inference.png").read_bytes()[:4] == b"\x89PNG"
    assert sizes[: len(plots.SHORT_SIDES_PX)] == [[size, size * 5 // 3] for size in plots.SHORT_SIDES_PX]
    assert ["BBoxPostProcess.nms.keep_top_k=25"] in exported
    assert "openvino, batch size: 1: 10 ms, 2: 20 ms, 4: 40 ms" in capsys.readouterr().out
