"""The table of speeds of the zoo."""

from __future__ import annotations

import json

import pytest

from benchmarks import zoo
from benchmarks.harness import ContenderError, call
from ppdet_res2net.errors import ConfigError

NAMES = ["mindcv/res2net50", "timm/res2net50d"]


@pytest.fixture
def measured(monkeypatch):
    """What was measured; the second model takes too long."""
    calls = []

    def measure(function, case, *, threads, time_limit_s):
        calls.append((case["model"], case["mode"], threads, time_limit_s))
        if case["model"] == NAMES[1]:
            raise ContenderError("took longer than 300 s")
        return {"device": "cpu", "train_ms": 2000.0, "infer_ms": 81.25}

    monkeypatch.setattr(zoo, "call", measure)
    monkeypatch.setattr(zoo, "machine_line", lambda threads: f"a CPU, {threads} threads")
    return calls


def test_lines_are_printed_and_kept(measured, tmp_path, capsys):
    words = ["--models", *NAMES, "--images", "100", "--json", str(tmp_path / "zoo.json")]
    assert zoo.main(words) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a CPU, 2 threads" and lines[2].count("|") == 8
    assert lines[4] == "| mindcv/res2net50 | CPUx2-E | 79.33 | 94.64 | 25.70 | 8 | 81.2 |"  # 4 steps of 32 images
    assert lines[7].startswith("| timm/res2net50d | CPUx2-G | ") and lines[7].endswith("| took longer than 300 s | - |")
    assert [call[:2] for call in measured] == [(name, mode) for name in NAMES for mode in ("eager", "graph")]
    del measured[:]
    assert zoo.main(words) == 1  # what failed is tried again, and nothing else
    assert measured == [(NAMES[1], mode, 2, 300) for mode in ("eager", "graph")]
    assert len(capsys.readouterr().out.splitlines()) == len(lines)
    del measured[:]
    assert zoo.main([*words, "--batch", "8", "--modes", "eager"]) == 1
    assert len(measured) == 2  # other settings are other lines


def test_other_files_and_machines_are_refused(measured, tmp_path):
    path = tmp_path / "zoo.json"
    path.write_text("[]")
    with pytest.raises(ConfigError, match="is no file of this benchmark"):
        zoo.main(["--json", str(path)])
    path.write_text(json.dumps({"machine": "another", "rows": []}))
    with pytest.raises(ConfigError, match="has lines of another machine or versions: another. Name another file"):
        zoo.main(["--json", str(path)])
    assert measured == []


def test_models():
    assert "ppdet/faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco" not in zoo.choose_models(None, None)
    assert all(name.startswith("mindcv/") for name in zoo.choose_models(None, "mindcv"))
    with pytest.raises(ConfigError, match="is a detector; name classifiers with --models"):
        zoo.choose_models(["ppdet/faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco"], None)
    with pytest.raises(ConfigError, match="Did you mean 'mindcv/res2net50'"):
        zoo.choose_models(["res2net50"], None)


def test_a_process_that_takes_too_long_is_ended():
    with pytest.raises(ContenderError, match="took longer than 0.01 s"):
        call("benchmarks.harness:machine_line", {"threads": 1}, threads=1, time_limit_s=0.01)


def test_the_fastest_call_counts():
    assert zoo.fastest_ms(lambda: None, 0.0) < 1000
