"""convert-dataset with several wrong files: all are named at once, and nothing is written."""

from __future__ import annotations

import json

import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.datasets.convert.failures import Failures
from ppdet_res2net.errors import DatasetError

WRONG = {
    "voc": {"a.xml": "<annotation><object/></annotation>", "b.xml": "<annotation>", "c.xml": "<annotation/>"},
    "labelme": {"a.json": "{", "b.json": '{"shapes": [{"points": []}]}', "c.json": '{"shapes": []}'},
    "yolo": {"a.txt": "0 2 2 2 2\n0 3 3 3 3", "b.txt": "nut", "c.txt": ""},
}
EXPECTED = {
    "voc": ("a.xml', object 1: <object> has no <name>", "b.xml' is not a readable XML file"),
    "labelme": ("a.json' is not valid JSON", "b.json', shape 1 has no label"),
    "yolo": ("a.txt', line 1 has the coordinate 2;", "b.txt', line 1: 'nut' is not a list of numbers"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_all_wrong_files_are_named_at_once(folder, write_image, capsys, kind):
    for name, text in WRONG[kind].items():
        (folder / "labels" / name).write_text(text)
        write_image(folder / "images" / f"{name[0]}.png")
    (folder / "n.txt").write_text("nut\n")
    labels = "--labels" if kind == "yolo" else "--annotations"
    arguments = [labels, str(folder / "labels"), "--images", str(folder / "images"), "--names", str(folder / "n.txt")]
    assert main(["convert-dataset", kind, *arguments, "--out", str(folder / "o.json")]) == 1
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "Error: 2 files cannot be converted:" and len(lines) == 2
    assert all(line.startswith("- ") and expected in line for line, expected in zip(lines, EXPECTED[kind]))
    assert not (folder / "o.json").exists()


def test_many_failures_are_counted():
    failures = Failures()
    for number in range(25):
        with failures.collect():
            raise DatasetError(f"file {number}")
    with pytest.raises(DatasetError) as caught:
        failures.raise_if_any()
    lines = str(caught.value).splitlines()
    assert lines[0] == "25 files cannot be converted:" and lines[1] == "- file 0"
    assert lines[-1] == "- and 5 more" and len(lines) == 22


def test_without_failures_nothing_is_raised():
    failures = Failures()
    with failures.collect():
        json.loads("{}")
    failures.raise_if_any()
