"""benchmarks/postprocess.py prints the rows that the documentation describes."""

from __future__ import annotations

import json

import cv2
import pytest

from benchmarks import postprocess


@pytest.fixture
def opencv_threads():
    threads = cv2.getNumThreads()
    yield
    cv2.setNumThreads(threads)


def test_rows_and_limits(tmp_path, capsys, opencv_threads):
    postprocess.main(["--repeats", "1", "--json", str(tmp_path / "rows.json")])
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    limits = {row["what"]: row["limit_ms"] for row in rows if row["limit_ms"]}
    assert limits == {"preprocessing 480x640": 25.0, "100 instances, 480x640, boxes of 5 to 50 %": 15.0}
    assert all(0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"] for row in rows)
    # A bitmap of each instance would take 1200 MB on 12 megapixels.
    assert max(row["peak_mb"] or 0 for row in rows) < 100
    assert all(row["what"] in capsys.readouterr().out for row in rows[:1])
