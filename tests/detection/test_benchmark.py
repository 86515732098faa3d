"""``benchmark``: one line for every engine and precision, the figures of an evaluation, and a reason where there are none."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.detection import benchmark
from ppdet_res2net.detection.benchmark import Measurement, benchmark_engines, format_table
from ppdet_res2net.detection.evaluate import evaluate_exported
from ppdet_res2net.detection.export import export_model
from ppdet_res2net.errors import BackendError
from tests.helpers.training_runs import make_config, overrides_for


@pytest.fixture(scope="module")
def exported(detecting, demo_data, tmp_path_factory) -> Path:
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("export")
    config = make_config(folder / "no_data", folder, f"weights={detecting}")
    return export_model(config, str(folder / "out"), formats=["onnx"])


def test_engines_are_measured_and_the_others_have_a_reason(exported, demo_data, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    file = tmp_path / "engines.json"
    recipe = ["-c", "demo_mask_rcnn", "-o", *overrides_for(demo_data, tmp_path)]
    assert main(["benchmark", "--model_dir", str(exported), *recipe, "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["images"] == 6
    rows = {(row["backend"], row["precision"]): row for row in result["engines"]}
    config = make_config(demo_data, tmp_path)
    expected = evaluate_exported(exported, config, backend="onnxruntime").summary
    for engine in ("onnxruntime", "openvino"):
        row = rows[engine, "fp32"]
        for kind in ("bbox", "segm"):
            assert row["figures"][kind] == pytest.approx(expected[kind], abs=0.02)
        assert row["ms"] > 0 and row["images_per_s"] > 0 and 30 < row["memory_mib"] < 4000
        assert row["size_mib"] == pytest.approx((exported / "model.onnx").stat().st_size / 2**20)
    assert rows["paddle", "fp32"]["reason"] == "the folder has no paddle: export with --format onnx,paddle"
    assert rows["openvino", "int8"]["reason"].startswith("the folder has no onnx_int8: run 'python -m res2net_runtime")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "On 6 images, one after the other:"
    assert (
        lines[1].split() == "engine precision box AP box AP50 mask AP mask AP50 ms images/s memory MiB size MiB".split()
    )
    assert [line.split()[:2] for line in lines[2:4]] == [["openvino", "fp32"], ["openvino", "bf16"]]
    assert "paddle fp32: the folder has no paddle: export with --format onnx,paddle" in lines


def test_an_engine_that_fails_is_a_line_and_the_others_run(exported, demo_data, tmp_path, monkeypatch):
    reasons = iter(["out of luck", None])

    def run(order, limit):
        assert len(order["images"]) == 3 and limit == 7
        reason = next(reasons, "again")
        if reason is None:
            answer = {"engine": "x", "detections": [], "ms": 1.0, "images_per_s": 2.0, "memory_mib": None}
            Path(order["answer"]).write_text(json.dumps(answer))
        return reason

    monkeypatch.setattr(benchmark, "_run_worker", run)
    measured, images = benchmark_engines(exported, make_config(demo_data, tmp_path), images=3, time_limit_s=7)
    assert images == 3
    assert [one.reason for one in measured if one.precision != "int8"][:2] == ["out of luck", None]
    lines = format_table(measured, images).splitlines()
    assert lines[2].split()[0:2] == ["openvino", "bf16"] and lines[2].split()[-4:-1] == ["1.0", "2.00", "-"]
    assert "openvino fp32: out of luck" in lines and "onnxruntime fp32: again" in lines


@pytest.mark.parametrize(
    "code, said, reason",
    [
        (0, b"", None),
        (1, b"noise\nError: The engine refuses\x1b[31m this.\nmore noise", "The engine refuses\\x1b[31m this."),
        (1, b"Traceback\nKeyError: 'x'", "KeyError: 'x'"),
        (3, b"", "no message"),
        (-9, b"", "the process was ended by SIGKILL (often: too little memory)"),
        (-11, b"", "the process was ended by SIGSEGV"),
    ],
)
def test_the_reason_of_a_failure(monkeypatch, code, said, reason):
    done = subprocess.CompletedProcess([], code, stderr=said)
    monkeypatch.setattr(benchmark.subprocess, "run", lambda *args, **options: done)
    assert benchmark._run_worker({}, 1) == reason


def test_an_engine_that_takes_too_long_is_given_up(monkeypatch):
    def run(*args, timeout, **options):
        raise subprocess.TimeoutExpired("x", timeout)

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    assert benchmark._run_worker({}, 60) == "not done after 60 s; pass fewer --images or a larger --time_limit"


def test_a_worker_says_in_one_line_what_is_wrong(exported, tmp_path):
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    (broken / "model.onnx").write_bytes(b"not a graph")
    options = {"backend": "onnxruntime", "precision": "fp32"}
    order = {"model_dir": str(broken), "options": options, "images": [], "answer": str(tmp_path / "a.json")}
    reason = benchmark._run_worker(order, 120)
    assert reason is not None and "model.onnx" in reason and "\n" not in reason
    with pytest.raises(BackendError):
        from res2net_runtime import Predictor

        Predictor(broken, backend="onnxruntime")


def test_a_table_without_any_engine_says_so():
    table = format_table([Measurement("onednn", "bf16", "not installed: pip install paddlepaddle")], 5)
    assert table == "No engine ran.\nonednn bf16: not installed: pip install paddlepaddle"


def test_a_recipe_of_a_classifier_is_refused(tmp_path, capsys):
    assert main(["benchmark", "--model_dir", str(tmp_path), "-c", "digits"]) == 1
    assert "'digits' describes a classifier; benchmark compares detectors" in capsys.readouterr().err
