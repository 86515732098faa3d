"""``set-threshold``: what a report recommends is what an exported folder draws from."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from ppdet_res2net.cli.main import main
from tests.helpers.reports import small_report
from tests.helpers.runtime_toys import toy_model_dir

CLASSES = {17: "cat", 18: "dog"}


@pytest.fixture
def model(tmp_path_factory, tmp_path):
    return shutil.copytree(toy_model_dir(tmp_path_factory), tmp_path / "model")


@pytest.fixture
def save(tmp_path):
    def save_report(*arguments, **kinds):
        (tmp_path / "report").mkdir(exist_ok=True)
        content = small_report(*arguments, **kinds).to_json()
        (tmp_path / "report" / "report.json").write_text(json.dumps(content))
        return str(tmp_path / "report")

    return save_report


def thresholds(model):
    settings = yaml.safe_load((model / "infer_cfg.yml").read_text())
    return settings["draw_threshold"], settings.get("class_thresholds")


def test_the_best_thresholds_of_a_report_are_written(model, save, capsys):
    report = save(CLASSES, 0.62, {17: 0.31, 18: None}, bbox=0.5, segm=0.4)
    call = ["set-threshold", "--model_dir", str(model)]
    assert main([*call, "--report", report]) == 0
    assert thresholds(model) == (0.62, None)
    assert capsys.readouterr().out == f"'{model}' draws detections from these scores on:\n  all classes: 0.62\n"
    assert main([*call, "--report", f"{report}/report.json", "--per_class", "--kind", "segm"]) == 0
    assert thresholds(model) == (0.62, [0.31, 0.62])  # no detection of a dog is right
    assert "  draw_threshold: 0.62\n  cat: 0.31\n  dog: 0.62\n" in capsys.readouterr().out
    assert main([*call, "--threshold", "0.8"]) == 0
    assert thresholds(model) == (0.8, None)


@pytest.mark.parametrize(
    ("classes", "best", "words", "message"),
    [
        ({17: "cat", 18: "cow"}, 0.5, [], "is about the classes [17 cat, 18 cow] (2), but the detector has [17 cat, 18 dog]"),
        ({17: "cat"}, 0.5, ["--per_class"], "is about the classes [17 cat] (1), but the detector has"),
        (CLASSES, None, [], "has no right detection, so no threshold is best. Pass --threshold SCORE."),
        (CLASSES, 0.5, ["--kind", "segm"], "has no figures of --kind segm, only of bbox."),
    ],
)  # fmt: skip
def test_reports_that_do_not_fit(model, save, classes, best, words, message, capsys):
    before = thresholds(model)
    assert main(["set-threshold", "--model_dir", str(model), "--report", save(classes, best), *words]) == 1
    assert message in capsys.readouterr().err and thresholds(model) == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--report", "nowhere"], 1, "There is no report 'nowhere'. Pass the folder that 'eval --report' wrote"),
        ([], 2, "one of the arguments --threshold --report is required"),
        (["--threshold", "0.5", "--report", "x"], 2, "--threshold and --report both say the score; leave one of them out"),
        (["--threshold", "0.5", "--per_class"], 2, "say which threshold of a report is taken; add --report DIR"),
        (["--threshold", "50"], 2, "got 50, expected a number from 0 to 1; for 50 percent, write 0.5"),
    ],
)  # fmt: skip
def test_wrong_usage(model, words, code, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    try:
        found = main(["set-threshold", "--model_dir", str(model), *words])
    except SystemExit as stopped:
        found = stopped.code
    assert found == code and message in capsys.readouterr().err


def test_what_is_not_a_report(model, tmp_path, capsys):
    for content, message in (
        ("{", "report.json' is not valid JSON"),
        ("[]", "of version 1, got something else"),
        (
            json.dumps(small_report(CLASSES, float("nan")).to_json()),
            "best score nan in kinds.bbox, expected a number from 0",
        ),
        (
            json.dumps(small_report(CLASSES, 0.5, {17: 7.0}).to_json()),
            "best score 7.0 in kinds.bbox, expected a number",
        ),
        (
            json.dumps(small_report(CLASSES).to_json() | {"kinds": {}}),
            "has no figures. Make it again with eval --report.",
        ),
    ):
        (tmp_path / "report.json").write_text(content)
        assert main(["set-threshold", "--model_dir", str(model), "--report", str(tmp_path)]) == 1
        assert message in capsys.readouterr().err
