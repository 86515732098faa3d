"""The commands that commands propose next are valid and do what they say, for folders with unusual names as well."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from ppdet_res2net.cli import demo
from ppdet_res2net.cli.main import main
from res2net_runtime import cli as runtime
from tests.helpers.command_lines import parse_only
from tests.helpers.training_runs import image_files, overrides_for

UNUSUAL = '-run\'s "dir" $x'


def commands_in(text: str) -> list[list[str]]:
    """Return the words of every line that calls this package."""
    text = text.replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^\s*(?:next: )?(ppdet-res2net .*)$", text, flags=re.MULTILINE)]


@pytest.fixture
def run_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_after_training_a_detector(demo_data, run_in, caplog, capsys):
    overrides = overrides_for(demo_data, Path(UNUSUAL))
    assert main(["train", "-c", "demo_mask_rcnn", "--max_steps", "1", "-o", *overrides]) == 0
    evaluate, infer, export = commands_in(caplog.text)
    assert main(evaluate[1:]) == 0
    assert "Boxes (bbox):" in capsys.readouterr().out
    assert infer[-1] == "IMAGE"
    assert main([*infer[1:-1], str(image_files(demo_data)[0])]) == 0
    export.remove("--verify")  # which would double the time
    assert main([*export[1:], "--output_dir", UNUSUAL]) == 0
    (line,) = re.findall(r"run it with: (.*)", capsys.readouterr().out)
    words = shlex.split(line)
    assert words[1:3] == ["-m", "res2net_runtime"] and words[-1] == "IMAGE"
    assert runtime.main([*words[3:-1], str(image_files(demo_data)[0])]) == 0


def test_after_the_demo(tmp_path):
    figures = {"AP": 0.5, "AP50": 0.6}
    train, export = commands_in(demo._summary(tmp_path, {"images": 2, "bbox": figures, "segm": figures}, 60))
    assert parse_only(train[1], train[2:]).config == "demo_mask_rcnn"
    assert parse_only(export[1], export[2:]).verify


def test_after_converting_a_dataset(run_in, capsys):
    images = run_in / UNUSUAL
    images.mkdir()
    (images / "a.json").write_text(
        '{"imagePath": "a.jpg", "imageWidth": 9, "imageHeight": 9, "shapes": '
        '[{"label": "x", "shape_type": "rectangle", "points": [[1, 1], [5, 5]]}]}'
    )
    Image.new("RGB", (9, 9)).save(images / "a.jpg")
    assert main(["convert-dataset", "labelme", "--annotations", f"./{UNUSUAL}", "--out", "new's.json"]) == 0
    (check,) = commands_in(capsys.readouterr().out)
    assert parse_only(check[1], check[2:]).annotations == ["new's.json"]
    assert main(check[1:]) == 0


def test_a_dataset_that_is_refused(demo_data, run_in, capsys):
    """The error names the command that lists every problem."""
    Path(UNUSUAL).mkdir()
    file = Path(UNUSUAL, "bad.json")
    file.write_text(
        '{"images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}], "categories": [{"id": 1, "name": "x"}], '
        '"annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0}]}'
    )
    (Path(UNUSUAL) / "a.jpg").write_bytes(image_files(demo_data)[0].read_bytes())
    overrides = overrides_for(demo_data, Path("runs"))
    data = [f"TrainDataset.dataset_dir=./{UNUSUAL}", "TrainDataset.anno_path=bad.json", "TrainDataset.image_dir=."]
    assert main(["train", "-c", "demo_mask_rcnn", "--max_steps", "1", "-o", *overrides, *data]) == 1
    message = capsys.readouterr().err
    start = message.index("ppdet-res2net check-dataset")
    words = shlex.split(message[start : message.index(" DIR'", start)])
    assert parse_only(words[1], [*words[2:], "DIR"]).annotations == [f"./{UNUSUAL}/bad.json"]
