"""check-dataset: every problem is found with its id and remedy, by the definitions that training uses."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.data.problems import Finding, describe
from ppdet_res2net.data.transforms import Decode
from ppdet_res2net.datasets.check import DatasetSource, check_datasets, format_report, to_json, write_page
from ppdet_res2net.datasets.demo import make_demo_data
from ppdet_res2net.errors import DatasetError, ImageError
from tests.helpers.datasets import shared_data
from tests.helpers.spoilt_dataset import CASES, HEIGHT, WIDTH, Dataset, found, ids


@pytest.fixture
def data(tmp_path) -> Dataset:
    return Dataset(tmp_path)


@pytest.mark.parametrize(("spoil", "code", "subject_id", "words"), CASES.values(), ids=CASES)
def test_each_problem_is_found_and_named(data, spoil, code, subject_id, words):
    assert found(data.check()) == {}
    spoil(data)
    report = data.check()
    assert ids(report, code) == [subject_id]
    (finding,) = found(report)[code]
    assert words in finding.detail
    text = format_report(report)
    assert f"[{code}]" in text and finding.problem.remedy.split()[0] in text
    (problem,) = [one for one in to_json([report])["datasets"][0]["problems"] if one["code"] == code]
    assert problem["count"] == 1 and problem["remedy"] and problem["findings"][0]["detail"] == finding.detail


def test_a_truncated_jpeg_is_found_and_refused(data):
    path = data.images_dir / "2.jpg"
    picture = np.kron(np.random.RandomState(0).randint(0, 255, (5, 5, 3), np.uint8), np.ones((8, 12, 1), np.uint8))
    encoded = cv2.imencode(".jpg", cv2.resize(picture, (WIDTH * 8, HEIGHT * 8)))[1].tobytes()
    path.write_bytes(encoded + b"what cameras append")
    data.content["images"][1].update(file_name="2.jpg", width=WIDTH * 8, height=HEIGHT * 8)
    assert "unreadable-image" not in found(data.check())
    path.write_bytes(encoded[: len(encoded) * 2 // 3])
    (finding,) = found(data.check())["unreadable-image"]
    assert "cut short" in finding.detail
    with pytest.raises(ImageError, match="cut short"):
        Decode()({"im_file": str(path)})


def test_a_turned_image_is_judged_as_it_is_trained(turned_jpeg, tmp_path):  # noqa: F811
    data = Dataset(tmp_path / "data", images=1)
    (data.images_dir / "1.png").write_bytes(Path(turned_jpeg).read_bytes())
    data.content["annotations"].clear()
    data.annotate(bbox=[2, 2, 10, 10], segmentation=[[2, 2, 12, 2, 12, 12, 2, 12]])
    data.content["images"][0].update(height=40, width=20)
    assert found(data.check()) == {}
    data.content["images"][0].update(height=20, width=40)
    (finding,) = found(data.check())["stored-turned"]
    assert finding.problem.severity == "note" and "annotated as 40x20" in finding.detail


def test_classes_are_counted(data):
    data.content["categories"].append({"id": 5, "name": "pear"})
    for number in range(120):
        data.annotate(1, bbox=[number % 40, number % 30, 10, 10], segmentation=[], iscrowd=number % 2)
    for number in range(100):
        data.annotate(2, bbox=[number % 40, number % 30, 9, 10], segmentation=[], category_id=3)
    data.annotate(2, category_id=5)
    report = data.check(with_masks=False)
    assert found(report)["imbalance"][0].detail == "'pear': 1 object in 1 image; the most frequent one has 224"
    assert report.groups and ids(report, "imbalance") == [5]
    facts = report.statistics
    assert facts["classes"][0] == {"id": 3, "name": "apple", "objects": 224, "images": 4}
    assert facts["crowds"] == 60 and facts["box_area"]["small"] == facts["annotations"] == 225


def test_box_only_data_for_masks_is_one_error(data):
    for annotation in data.content["annotations"]:
        annotation["segmentation"] = []
    assert found(data.check()) == {}
    report = data.check(with_masks=True)
    assert list(found(report)) == ["no-masks-at-all"] and report.count("error") == 1
    assert "Use a Faster R-CNN recipe, or annotate masks." in format_report(report)


def test_splits_are_compared(tmp_path):
    train, val = Dataset(tmp_path / "train"), Dataset(tmp_path / "validation")
    rng = np.random.RandomState(3)
    picture = cv2.resize(rng.randint(0, 255, (8, 12, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(train.images_dir / "1.png"), picture)
    cv2.imwrite(str(val.images_dir / "2.png"), np.clip(picture.astype(int) + 1, 0, 255))  # not the same file
    (val.images_dir / "3.png").write_bytes((train.images_dir / "4.png").read_bytes())
    val.content["categories"] = [{"id": 4, "name": "pear"}]
    for annotation in val.content["annotations"]:
        annotation["category_id"] = 4
    sources = []
    for name, data in (("train", train), ("val", val)):
        data.file.write_text(json.dumps(data.content))
        sources.append(DatasetSource(data.file, data.images_dir, name))
    first, second = check_datasets(sources)
    assert found(first) == {}
    details = {finding.subject_id: finding.detail for finding in found(second)["in-both-splits"]}
    assert "'3.png' is the same file as" in details[3] and "4.png'" in details[3]
    assert "'2.png' looks like" in details[2] and "1.png'" in details[2] and len(details) == 2
    (finding,) = found(second)["categories-differ"]
    assert finding.detail == "compared with train, it lacks 'apple' and it adds 'pear'"


def test_the_command(data, capsys, tmp_path):
    assert main(data.arguments()) == 0
    assert "dataset" not in capsys.readouterr().err
    data.annotate(category_id=9)
    page, fixed = tmp_path / "page.html", tmp_path / "fixed.json"
    assert main(data.arguments("--html", str(page), "--fix", str(fixed))) == 1
    out = capsys.readouterr().out
    assert "error:   1 annotation of a category that the file does not define [unknown-category]" in out
    assert "removed annotations of unknown images or categories: id 15 (1 in all)" in out
    assert "left to correct by hand: fixed: 1 note" in out
    html = page.read_text()
    assert "annotation id 15" in html and html.count("data:image/jpeg;base64,") >= 4 and "<script" not in html
    assert main([*data.arguments("--json")[:-1], "--json"]) == 1
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["errors"] == 1 and parsed["datasets"][0]["statistics"]["images"] == 4
    assert main(data.arguments("--skip_images")) == 1
    assert main(["check-dataset", "--annotations", str(data.file), "--skip_images"]) == 1


def test_a_file_without_any_sound_entry_is_reported(data, tmp_path):
    for image in data.content["images"]:
        del image["height"]
    report = data.check()
    assert ids(report, "image-without-size") == [1, 2, 3, 4]
    assert "0-0x0-0 pixels" in format_report(report) and json.dumps(to_json([report]))
    write_page([report], tmp_path / "page.html")
    assert "images without a valid width and height" in (tmp_path / "page.html").read_text()


def test_wrong_usage(data, capsys):
    for arguments, words in (
        (["check-dataset"], "needs either -c CFG, or --annotations FILE with --images DIR"),
        ([*data.arguments(), "--fix", "x.json", "--skip_images"], "leave out --skip_images"),
        ([*data.arguments(), "--only", "eval"], "-o and --only belong to a recipe; add -c CFG, or leave them out"),
        (["check-dataset", "-c", "demo_mask_rcnn", "--images", "d"], "--images belongs to --annotations"),
        (["check-dataset", "-c", "digits"], "TrainDataset is ClassFolderDataSet; only COCODataSet can be checked here"),
        (
            ["check-dataset", "--annotations", "a", "b", "c", "--images", "d", "e"],
            "3 files, but --images 2 folders",
        ),
        (
            ["check-dataset", "--annotations", str(data.file) + "x", "--images", "d"],
            "annotation file not found",
        ),
    ):
        assert main(arguments) == 1
        assert words in capsys.readouterr().err
    data.arguments()
    assert main(["check-dataset", "--annotations", str(data.file), "--images", "nowhere"]) == 1
    assert "image folder not found: 'nowhere'" in capsys.readouterr().err


def test_a_recipe_is_checked(tmp_path, capsys):
    folder = make_demo_data(tmp_path / "demo", 12, 3, image_size_px=64)
    overrides = [f"{name}Dataset.dataset_dir={folder}" for name in ("Train", "Eval")]
    assert main(["check-dataset", "-c", "demo_mask_rcnn", "-o", *overrides]) == 0
    out = capsys.readouterr().out
    assert "TrainDataset: " in out and "EvalDataset: " in out and "image-without-objects" in out
    assert main(["check-dataset", "-c", "demo_mask_rcnn", "--only", "eval", "-o", *overrides]) == 0
    assert "TrainDataset" not in capsys.readouterr().out
    assert main(["check-dataset", "-c", "demo_mask_rcnn", "--fix", "x.json", "-o", *overrides]) == 1
    assert "--fix corrects one annotation file" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "split"), [("coco_tiny", "2017"), ("nuts", "")])
def test_real_data_has_no_false_alarms(name, split):
    folder = shared_data(name)
    sources = [
        DatasetSource(folder / f"annotations/instances_{part}{split}.json", folder / f"{part}{split}", part)
        for part in ("train", "val")
    ]
    for report in check_datasets(sources):
        assert set(found(report)) <= {"imbalance", "crowd"}
        assert len(report.pictures) == report.statistics["images"]


def test_pages_escape_names(data, tmp_path):
    data.content["categories"][0]["name"] = "<b>&</b>"
    write_page([data.check()], tmp_path / "page.html")
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in (tmp_path / "page.html").read_text()
    with pytest.raises(DatasetError, match="cannot write '.*Choose another folder"):
        write_page([data.check()], data.file / "page.html")


def test_an_unknown_category_is_marked_in_its_picture(data, tmp_path):
    data.annotate(1, category_id=9, bbox=[30, 20, 9, 9])
    write_page([data.check()], tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert '<rect class="box marked"' in html and "unknown category</text>" in html
    assert "unknown category, annotation id 15" in html


def test_one_and_several_are_said_in_good_english(data):
    data.annotate(bbox=[5, 5, 0, 9])
    assert "1 annotation with a box of zero or negative size" in format_report(data.check())
    data.annotate(bbox=[5, 5, 9, 0])
    text = format_report(data.check())
    assert "2 annotations with a box of zero or negative size" in text
    assert "In training and scoring, they are not used." in text and "[is/are]" not in text


def test_a_file_without_usable_objects_is_an_error(data):
    for annotation in data.content["annotations"]:
        annotation["ignore"] = 1
    report = data.check()
    assert [finding.detail for finding in found(report)["no-objects"]] == ["none of 4 annotations can be used"]
    assert "no-objects" not in found(data.check(allow_empty=True))


def test_findings_without_ids_are_described():
    from ppdet_res2net.data.structure import NO_ID

    assert (
        describe(NO_ID["image"], [Finding(NO_ID["image"])])
        == "1 image whose id is not a whole number of at most 64 bits is refused"
    )
