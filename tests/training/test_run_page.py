"""The page of a run: it shows what the run has, runs nothing, and is renewed as the run goes on."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ppdet_res2net.training import run_page
from ppdet_res2net.training.charts import MAX_POINTS, line_chart
from ppdet_res2net.training.curves import list_series, read_metrics
from ppdet_res2net.training.run_log import RunLog
from ppdet_res2net.training.run_page import RunPage, write_run_page
from ppdet_res2net.training.run_pictures import MOST_PICTURES, keep_picture, list_pictures
from ppdet_res2net.training.task import Evaluation
from tests.helpers.toy_task import train_toy
from tests.helpers.training_runs import messages

EVIL = '<script>alert("1")</script>&\u202e'
GREY = np.full((40, 60, 3), 128, np.uint8)


def write_run(folder: Path, class_names=("cat", "dog"), losses=None) -> Path:
    """Write the files of a run of 40 steps with two evaluations."""
    folder.mkdir(exist_ok=True)
    lines = [
        {"kind": "train", "step": step, "loss": 2 / step, "loss_a": 1 / step, "lr": 0.1, "images_per_s": 3.0}
        for step in range(1, 41)
    ]
    for step in (20, 40):
        classes = [{"class": name, "AP": index / 100 + step / 100} for index, name in enumerate(class_names)]
        classes.append({"class": "absent", "AP": -1.0})
        record = {"kind": "eval", "step": step, "bbox": {"AP": step / 100, "classes": classes}, "images": 3}
        lines.append({**record, "losses": losses} if losses else record)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.yml").write_text(f"# {EVIL}\nepoch: 2\n")
    return folder


class Tags(HTMLParser):
    """Collects the tags of a page, and checks that they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.stack: list[str] = []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_a_page_shows_figures_classes_pictures_and_configuration(tmp_path):
    folder = write_run(tmp_path / "my run", losses={"loss": 0.75, "loss_a": 0.5})
    for step in (20, 40):
        keep_picture(folder, step, GREY)
    (folder / "report").mkdir()
    (folder / "report/index.html").write_text("report")
    (folder / "report/report.json").write_text("{}")
    write_run_page(folder, "running", 80)
    page = (folder / "index.html").read_text("utf-8")
    tags = Tags(page).found
    assert "step 40 of 80" in page and '<span class="chip running">running</span>' in page
    assert "<b>0.4000</b><span>best bbox AP, after step 40</span>" in page
    assert "loss (validation) <b>0.75</b>" in page and "loss_a (validation) <b>0.5</b>" in page
    assert page.index('title="dog"') < page.index('title="cat"') and "absent" not in page
    pictures = [attributes["src"] for tag, attributes in tags if tag == "img"]
    assert pictures == ["predictions/step_00000040.jpg", "predictions/step_00000020.jpg"]
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert all((folder / link).is_file() for link in links)
    assert "report/index.html" in links and "--report" not in page
    assert any(tag == "meta" and attributes.get("http-equiv") == "refresh" for tag, attributes in tags)


def test_nothing_in_a_page_can_run_or_load_anything(tmp_path):
    folder = write_run(tmp_path / 'a "quoted" <run>', class_names=(EVIL, "'onload='x"))
    write_run_page(folder, "done", 40)
    page = (folder / "index.html").read_text("utf-8")
    tags = Tags(page).found
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "span",
        "progress",
        "div",
    }
    allowed |= {
        "b",
        "i",
        "section",
        "svg",
        "path",
        "text",
        "polyline",
        "circle",
        "figure",
        "figcaption",
        "a",
        "details",
    }
    allowed |= {"summary", "pre", "code"}
    assert {tag for tag, _ in tags} <= allowed
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert "\u202e" not in page and "default-src 'none'" in page
    assert not re.search(r"https?://|url\(|@import", page)
    assert 'http-equiv="refresh"' not in page
    assert "&lt;script&gt;" in page


def test_a_page_of_eighty_classes_is_short(tmp_path):
    folder = write_run(tmp_path / "run", class_names=[f"class {index}" for index in range(80)])
    write_run_page(folder, "done", 40)
    page = (folder / "index.html").read_text("utf-8")
    assert "<summary>80 classes</summary>" in page and len(page) < 100_000


@pytest.mark.parametrize("records", ["", '{"kind": "skipped", "step": 1, "lr": 0.1}\n'])
def test_a_page_without_figures_says_so(tmp_path, records):
    (tmp_path / "metrics.jsonl").write_text(records)
    write_run_page(tmp_path, "failed", 40)
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "No figures yet." in page and '<span class="chip failed">failed</span>' in page
    Tags(page)


def test_a_page_names_the_command_for_a_report(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "best_model.pdparams").write_bytes(b"")
    write_run_page(folder, "done", 40)
    page = (folder / "index.html").read_text("utf-8")
    assert f"weights={folder / 'best_model'} --report {folder / 'report'}" in page


def test_a_page_is_renewed_from_time_to_time_and_after_each_evaluation(tmp_path, monkeypatch):
    written = []
    clock = [0.0]
    monkeypatch.setattr(run_page.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(run_page, "write_run_page", lambda folder, state, steps: written.append((clock[0], state)))
    page = RunPage(tmp_path, 100)
    for second in range(0, 50, 10):
        clock[0] = float(second)
        page.log_numbers(second, {"train/loss": 1.0})
    clock[0] = 45.0
    page.log_numbers(45, {"eval/bbox/AP": 0.5})
    page.close("stopped")
    assert written == [(0, "running"), (20, "running"), (40, "running"), (45, "running"), (45, "stopped")]


def test_a_run_has_a_page_and_a_resumed_one_continues_it(tmp_path):
    run_dir = train_toy(tmp_path, {"evaluate": True, "max_steps": 4}, toy={"scores": [0.5]}).run_dir
    assert "step 4 of 4" in (run_dir / "index.html").read_text("utf-8")
    train_toy(tmp_path, {"evaluate": True, "resume": "auto"}, toy={"scores": [0.25]})
    page = (run_dir / "index.html").read_text("utf-8")
    assert "step 8 of 8" in page and "<b>0.5000</b><span>best toy AP, after step 4</span>" in page
    assert '<span class="chip done">done</span>' in page


def test_a_run_that_fails_says_so_on_its_page(tmp_path):
    with pytest.raises(StopIteration):  # the evaluation of the toy has no score
        train_toy(tmp_path, {"evaluate": True})
    page = (tmp_path / "toy" / "index.html").read_text("utf-8")
    assert '<span class="chip failed">failed</span>' in page


def test_a_page_that_cannot_be_written_does_not_end_the_run(tmp_path, caplog):
    (tmp_path / "toy" / "index.html").mkdir(parents=True)
    result = train_toy(tmp_path)
    assert result.steps == 8
    assert messages(caplog).count("The page index.html has failed (") == 1


def test_a_picture_that_cannot_be_written_does_not_end_the_run(tmp_path, caplog):
    log = RunLog(tmp_path, 1, "cpu")
    log.open(total_steps=4, steps_per_epoch=2, epochs=2)
    (tmp_path / "predictions").write_text("a file where the folder should be")
    log.note_evaluation(2, Evaluation({"bbox": {"AP": 0.5}}, "a table", 0.5, GREY))
    log.close()
    assert read_metrics(tmp_path)["eval"][2]["bbox"] == {"AP": 0.5}
    assert "step_00000002.jpg' cannot be written" in messages(caplog)


def test_pictures_are_bounded_and_cover_the_whole_run(tmp_path):
    for step in range(1, 101):
        keep_picture(tmp_path, step, GREY)
    steps = [step for step, _ in list_pictures(tmp_path)]
    assert len(steps) == MOST_PICTURES and (steps[0], steps[-1]) == (1, 100)
    assert max(np.diff(steps)) <= 8


def test_validation_losses_are_lines_of_their_own(tmp_path):
    folder = write_run(tmp_path / "run", losses={"loss": 0.75, "loss_a": None})
    records = read_metrics(folder)
    assert list_series(records, "loss")["loss (validation)"] == [(20, 0.75), (40, 0.75)]
    assert list(list_series(records, "terms")) == ["loss_a"]
    assert list(list_series(records, "lr")) == ["lr"]


@pytest.mark.parametrize(
    "points", [[(1, 0.5)], [(1, 0.5), (2, 0.5)], [(0, -1e9), (10**6, 1e9)], [(1, 1e-12), (2, 2e-12)], [(1, 0), (1, 0)]]
)
def test_charts_of_odd_ranges_stay_inside(points):
    chart = line_chart({"a": points})
    (line,) = re.findall(r'<polyline [^>]*points="([^"]+)"', chart)
    for x, y in (map(float, pair.split(",")) for pair in line.split()):
        assert 0 <= x <= 460 and 0 <= y <= 230
    Tags(chart)


def test_charts_leave_out_what_is_not_finite_and_average_many_points():
    assert line_chart({}) == "" and line_chart({"a": [(1, float("nan"))]}) == ""
    chart = line_chart({"a": [(step, 1.0) for step in range(10_000)], "b": [(1, float("inf")), (2, 3.0)]})
    lines = re.findall(r'<polyline [^>]*points="([^"]+)"', chart)
    assert MAX_POINTS / 2 < len(lines[0].split()) <= MAX_POINTS and len(lines[1].split()) == 1


def test_a_dashed_line_has_the_colour_of_its_name():
    chart = line_chart({"loss (validation)": [(1, 1)], "lr": [(1, 1)], "loss": [(1, 2)]}, dashed=["loss (validation)"])
    colours = dict(zip(["loss (validation)", "lr", "loss"], re.findall(r'stroke:var\(--c(\d)\)"', chart)))
    assert colours["loss"] == colours["loss (validation)"] != colours["lr"]
    assert chart.count("stroke-dasharray") == 1
