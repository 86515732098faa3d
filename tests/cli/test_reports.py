"""``eval --report``, ``--results`` and ``--compare``: reports of a model, of result files, and of two reports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import yaml

from ppdet_res2net.analysis.thresholds import read_report
from ppdet_res2net.cli.main import main
from tests.helpers.made_detections import SIZE, make_annotations, make_results
from tests.helpers.runtime_toys import toy_model_dir
from tests.helpers.training_runs import RECIPE, annotation_file, overrides_for


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Annotations, images, and the results of two detectors, the second of which is better."""
    folder = tmp_path_factory.mktemp("files")
    annotations = make_annotations(1, images=10)
    (folder / "val.json").write_text(json.dumps(annotations))
    (folder / "images").mkdir()
    for image in annotations["images"]:
        cv2.imwrite(str(folder / "images" / image["file_name"]), np.full((SIZE, SIZE, 3), 90, np.uint8))
    for name, noise, background in (("poor", 0.3, 8), ("good", 0.02, 0)):
        results = make_results(annotations, 2, noise, background)
        (folder / name).mkdir()
        for file, unused in (("bbox.json", "segmentation"), ("mask.json", "bbox")):
            content = [{key: value for key, value in one.items() if key != unused} for one in results]
            (folder / name / file).write_text(json.dumps(content))
    return folder


def report_call(files, name, *more):
    return [
        "eval", "--results", str(files / name / "bbox.json"), str(files / name / "mask.json"),
        "--anno_file", str(files / "val.json"), "--image_dir", str(files / "images"), "--report", *map(str, more),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def reports(files):
    for name in ("poor", "good"):
        assert main(report_call(files, name, files / f"report_{name}")) == 0
    return files / "report_poor", files / "report_good"


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))[1])


def failure(capsys, *words):
    try:
        code = main([*map(str, words)])
    except SystemExit as stopped:
        code = stopped.code
    assert code in (1, 2)
    return capsys.readouterr().err


def test_an_evaluation_writes_a_report_whose_threshold_is_deployed(detecting, demo_data, tmp_path, tmp_path_factory):
    words = [word for override in overrides_for(demo_data, tmp_path) for word in ("-o", override)]
    out, figures = tmp_path / "report", tmp_path / "figures.json"
    call = ["eval", "-c", RECIPE, *words, "--weights", detecting, "--report", str(out), "--json", str(figures)]
    assert main([*call, "--output_eval", str(tmp_path / "results"), "--max_pictures", "4"]) == 0
    report, expected = read_report(out), json.loads(figures.read_text())
    for kind in ("bbox", "segm"):
        of_report = {name: -1 if value is None else value for name, value in report.kinds[kind].figures.items()}
        assert of_report == pytest.approx({name: expected[kind][name] for name in of_report}, abs=1e-6)
    assert report.run.images_per_second > 0 and "eager" in report.run.engine and "demo_mask_rcnn" in report.title
    images = data_of(out / "index.html")["pictures"]["images"]
    assert sum(image["src"] is not None for image in images.values()) == 4
    # The same detections as files of another tool give the same report, without a network.
    again = tmp_path / "again"
    files = [str(tmp_path / "results" / name) for name in ("bbox.json", "mask.json")]
    assert main(["eval", "-c", RECIPE, *words, "--results", *files, "--report", str(again)]) == 0
    for kind, of_files in read_report(again).kinds.items():
        for name in ("figures", "classes", "pr", "curves", "best", "confusion", "errors", "calibration"):
            assert getattr(of_files, name) == getattr(report.kinds[kind], name)
    assert read_report(again).dataset.source == annotation_file(demo_data, "val").name
    model = shutil.copytree(toy_model_dir(tmp_path_factory), tmp_path / "model")
    settings = yaml.safe_load((model / "infer_cfg.yml").read_text())
    classes = {one.category_id: one.name for one in report.dataset.classes}
    settings |= {"label_list": [*classes.values()], "category_ids": [*classes]}
    (model / "infer_cfg.yml").write_text(yaml.safe_dump(settings))
    assert main(["set-threshold", "--model_dir", str(model), "--report", str(out), "--per_class"]) == 0
    deployed = yaml.safe_load((model / "infer_cfg.yml").read_text())
    assert deployed["draw_threshold"] == report.kinds["bbox"].best.score
    assert len(deployed["class_thresholds"]) == len(classes)


def test_result_files_need_neither_a_model_nor_paddle(files, tmp_path):
    code = (
        "import sys\nfrom ppdet_res2net.cli.main import main\ncode = main(sys.argv[1:])\n"
        "print(code, sorted({'paddle', 'ppdet', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, *report_call(files, "good", tmp_path / "report")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "Boxes (bbox): AP 0." in done.stdout and "Masks (segm): AP 0." in done.stdout
    assert f"The page is '{tmp_path / 'report' / 'index.html'}'." in done.stdout
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"index.html", "report.json", "matches.npz"}


def test_images_that_are_missing_leave_out_their_pictures(files, tmp_path, caplog):
    images = shutil.copytree(files / "images", tmp_path / "images")
    next(images.iterdir()).unlink()
    call = [*report_call(files, "good", tmp_path / "report")]
    call[call.index("--image_dir") + 1] = str(images)
    assert main(call) == 0
    assert f"1 of 10 images are not in '{images}'; they have no pictures" in caplog.text


def test_a_comparison_says_what_is_more_than_chance(reports, files, tmp_path, capsys):
    poor, good = reports
    call = ["eval", "--compare", str(poor), str(good), "--out", str(tmp_path), "--image_dir", str(files / "images")]
    assert main([*call, "--anno_file", str(files / "val.json")]) == 0
    text = capsys.readouterr().out
    assert re.search(
        r"The box AP is better: it went from 0\.\d{3} to 0\.\d{3} \(\+0\.\d{3}\), and 95 % of 400 random", text
    )
    assert f"({good}) against bbox.json, mask.json" in text and "better by more than chance (box AP):" in text
    data = data_of(tmp_path / "index.html")
    (comparison,) = json.loads((tmp_path / "comparison.json").read_text())
    assert data["comparisons"][0]["kinds"]["bbox"]["gained_count"] == comparison["kinds"]["bbox"]["gained_count"]
    gained = comparison["kinds"]["bbox"]["gained"]
    crops = data["crops"][0]["bbox"]["gained"]
    assert len(crops) == len(gained) > 0 and all(one["src"].startswith("data:image/jpeg") for one in crops)


def test_a_report_compared_with_itself_differs_by_chance(reports, capsys):
    assert main(["eval", "--compare", str(reports[0]), str(reports[0]), "--json"]) == 0
    captured = capsys.readouterr()
    assert "The difference of the box AP may be chance" in captured.err and "which includes 0" in captured.err
    assert "no single class changed by more than chance" in captured.err
    (comparison,) = json.loads(captured.out)
    assert comparison["kinds"]["segm"]["lost_count"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--results b.json --report r", "--results needs annotations: add --anno_file FILE, or -c CFG for the recipe's Eval"),
        ("--results b.json --anno_file a.json", "--results needs --report DIR, where the figures go"),
        ("--results b.json --anno_file a --report r --exported d", "--results runs no model; leave out --exported"),
        ("--results b.json --data d", "--data is only for classifiers, but --results is for detectors"),
        ("--compare a", "--compare needs two reports or more"),
        ("--compare a b --report r", "--compare reads reports that are there; leave out --report"),
        ("--compare a b --max_pictures 3", "--compare reads reports that are there; leave out --max_pictures"),
        ("-c demo_mask_rcnn --max_pictures 3", "--max_pictures say what is in a report; add --report DIR"),
        ("-c demo_mask_rcnn --report r --anno_file a", "--anno_file and --image_dir go with --results"),
        ("-c demo_mask_rcnn --report r --out a", "--out is for the page of --compare; a report goes to --report DIR"),
    ],
)  # fmt: skip
def test_wrong_usage(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in failure(capsys, "eval", *words.split())
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_or_written_is_named(reports, files, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "--report" in failure(capsys, *report_call(files, "good", tmp_path / "file"))
    call = report_call(files, "good", tmp_path / "report")
    call[call.index("--image_dir") + 1] = str(tmp_path / "nowhere")
    assert "There is no folder '" in failure(capsys, *call)
    assert "There is no report '" in failure(capsys, "eval", "--compare", reports[0], tmp_path / "nowhere")


def test_a_page_of_something_else_is_kept(reports, files, tmp_path, capsys):
    page = tmp_path / "index.html"
    page.write_text("the page of a run")
    message = "it is the page of something else, and would be lost. Pass another"
    assert f"has an index.html without a report.json: {message} --report." in failure(
        capsys, *report_call(files, "good", tmp_path)
    )
    assert page.read_text() == "the page of a run" and list(tmp_path.iterdir()) == [page]
    before = (reports[0] / "index.html").read_bytes()
    words = ("eval", "--compare", *reports, "--out", reports[0])
    assert f"has an index.html without a comparison.json: {message} --out." in failure(capsys, *words)
    assert (reports[0] / "index.html").read_bytes() == before


def test_without_objects_the_option_of_result_files_is_named(files, tmp_path, capsys):
    content = json.loads((files / "val.json").read_text()) | {"annotations": []}
    (tmp_path / "val.json").write_text(json.dumps(content))
    call = report_call(files, "good", tmp_path / "report")
    call[call.index("--anno_file") + 1] = str(tmp_path / "val.json")
    assert "Annotate them, or pass another file with --anno_file FILE." in failure(capsys, *call)
