"""Two reports side by side: figures are pycocotools', noise is called noise, and objects are gained and lost."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest

from ppdet_res2net.analysis.compare import compare_reports
from ppdet_res2net.analysis.matches import Matches
from ppdet_res2net.analysis.report import make_report, write_report
from ppdet_res2net.analysis.subject import Settings
from ppdet_res2net.errors import DatasetError
from tests.helpers.analysis import coco_eval, objects_of
from tests.helpers.made_detections import make_annotations, make_results


def save(folder, content, results, **settings):
    made = make_report(
        objects_of(content), results, source="a.json", title=folder.name, settings=Settings(boundary=False, **settings)
    )
    write_report(made, folder)
    return folder


@pytest.fixture(scope="module")
def content():
    return make_annotations(9, images=60, classes=3)


@pytest.fixture(scope="module")
def results(content):
    return make_results(content, 9, noise=0.3)


@pytest.fixture(scope="module")
def reports(content, results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    exact = make_results(content, 9, noise=0.02, background=1)
    other = copy.deepcopy(results)
    for place, one in enumerate(other):
        one["score"] = min(one["score"] + 0.001 * (place % 3), 1.0)
    return {
        "base": save(folder / "base", content, {"bbox": results, "segm": results}),
        "exact": save(folder / "exact", content, {"bbox": exact}),
        "alike": save(folder / "alike", content, {"bbox": other}),
    }


def test_figures_are_those_of_pycocotools(reports, content, results):
    compared = compare_reports(reports["base"], reports["exact"], resamples=20).kinds["bbox"]
    expected = coco_eval(content, results, "bbox")
    precision = expected.eval["precision"][..., 0, 2]
    assert {one.figure: one.before for one in compared.overall} == pytest.approx(
        {"AP": expected.stats[0], "AP50": expected.stats[1]}, abs=1e-6
    )
    places = {int(category): place for place, category in enumerate(expected.params.catIds)}
    for one in compared.classes:
        values = precision[:, :, places[one.category_id]]
        assert one.before == pytest.approx((values if one.figure == "AP" else values[0]).mean(), abs=1e-6)
        assert one.difference == pytest.approx(one.after - one.before, abs=2e-6)


def test_progress_is_told_from_noise(reports):
    progress = compare_reports(reports["base"], reports["exact"], resamples=200)
    assert [(one.figure, one.verdict) for one in progress.kinds["bbox"].overall] == [
        ("AP", "better"),
        ("AP50", "better"),
    ]
    assert all(one.low < one.difference < one.high for one in progress.kinds["bbox"].overall)
    back = compare_reports(reports["exact"], reports["base"], resamples=200)
    assert [one.verdict for one in back.kinds["bbox"].overall] == ["worse", "worse"]
    noise = compare_reports(reports["base"], reports["alike"], resamples=200)
    assert {one.verdict for one in noise.kinds["bbox"].overall} == {"noise"}
    assert list(noise.kinds) == ["bbox"]  # only one of them has masks


def test_the_seed_decides(reports):
    a, b, c = (compare_reports(reports["base"], reports["exact"], resamples=50, seed=seed) for seed in (1, 1, 2))
    assert a == b
    assert a.kinds["bbox"].overall[0].low != c.kinds["bbox"].overall[0].low


def test_an_interval_holds_what_samples_of_images_give(reports, content, results):
    """The same draws, with each image copied as often as it is drawn, scored by pycocotools."""
    exact = make_results(content, 9, noise=0.02, background=1)
    random, ids = np.random.default_rng(5), [one["id"] for one in content["images"]]
    differences = []
    for drawn in random.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=5):
        parts = [copies(content, one, drawn) for one in (results, exact)]
        differences.append(coco_eval(*parts[1], "bbox").stats[0] - coco_eval(*parts[0], "bbox").stats[0])
    compared = compare_reports(reports["base"], reports["exact"], resamples=5, seed=5).kinds["bbox"].overall[0]
    assert (compared.low, compared.high) == pytest.approx(np.percentile(differences, (2.5, 97.5)), abs=5e-3)


def copies(content, results, drawn):
    """Return annotations and results with each image as often as it is drawn."""
    images, annotations, found = [], [], []
    for image, times in zip(content["images"], drawn):
        for _ in range(times):
            number = len(images) + 1
            images.append({**image, "id": number})
            of_image = [one for one in content["annotations"] if one["image_id"] == image["id"]]
            annotations += [{**one, "image_id": number} for one in of_image]
            found += [{**one, "image_id": number} for one in results if one["image_id"] == image["id"]]
    numbered = [{**one, "id": number} for number, one in enumerate(annotations, 1)]
    return {**content, "images": images, "annotations": numbered}, found


def test_objects_that_only_one_run_finds(tmp_path):
    box, other = [10, 10, 40, 40], [80, 80, 40, 40]
    content = make_annotations(1, images=2)
    place = {"image_id": content["images"][1]["id"], "category_id": 1}
    content["annotations"] = [
        {**place, "id": 70, "bbox": box, "area": 1600, "iscrowd": 0},
        {**place, "id": 71, "bbox": other, "area": 1600, "iscrowd": 0},
    ]
    for name, found in (("a", box), ("b", other)):
        made = make_report(
            objects_of(content, False), {"bbox": [{**place, "bbox": found, "score": 0.9}]}, source="s", title=name
        )
        write_report(made, tmp_path / name)
    comparison = compare_reports(tmp_path / "a", tmp_path / "b" / "report.json", resamples=10)
    compared = comparison.kinds["bbox"]
    assert (compared.gained_count, compared.lost_count) == (1, 1)
    assert (compared.gained[0].annotation.id, compared.gained[0].detection.bbox_xywh) == (71, other)
    assert (compared.lost[0].annotation.id, compared.lost[0].detection.bbox_xywh) == (70, box)
    assert [image.id for image in comparison.named] == [place["image_id"]]
    assert {one.verdict for one in compared.classes} == {"too few"}


def test_reports_that_do_not_fit_are_refused(reports, content, results, tmp_path):
    fewer = {**content, "annotations": content["annotations"][1:]}
    with pytest.raises(
        DatasetError, match="are about different annotations: .* Evaluate both on the same annotation file"
    ):
        compare_reports(reports["base"], save(tmp_path / "fewer", fewer, {"bbox": results}))
    with pytest.raises(DatasetError, match="were made with the IoU 0.5 and 0.75. Make one of them again"):
        compare_reports(reports["base"], save(tmp_path / "iou", content, {"bbox": results}, iou=0.75))
    masks = save(tmp_path / "masks", content, {"segm": results})
    with pytest.raises(DatasetError, match="has figures of bbox, and .* of segm: there is nothing to compare"):
        compare_reports(reports["exact"], masks)
    shutil.copytree(reports["base"], tmp_path / "alone")
    (tmp_path / "alone" / "matches.npz").unlink()
    with pytest.raises(DatasetError, match="A report is compared by this file beside its report.json"):
        compare_reports(reports["base"], tmp_path / "alone")


DAMAGES = {
    "short": lambda column: column[:-1],
    "text": lambda column: column.astype("U8"),
    "deep": lambda column: column[..., None],
    "objects": lambda column: column.astype(object),
    "one number": lambda column: column[:1].reshape(-1)[0],
    "beyond": lambda column: np.full_like(column, 10**9),
}
PLACES = ("images", "classes", "scores", "taken", "object_images", "object_classes")
DAMAGED = [
    (field.name, damage)
    for field in dataclasses.fields(Matches)
    for damage in DAMAGES
    if damage != "beyond" or field.name in PLACES
]


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_a_damaged_file_of_matches_is_refused(reports, tmp_path, name, damage):
    """Whatever is changed: it is damaged, or it is not the report of these images."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    shutil.copy(reports["exact"] / "report.json", folder)
    with np.load(reports["exact"] / "matches.npz") as file:
        columns = dict(file)
    columns[f"bbox.{name}"] = DAMAGES[damage](columns[f"bbox.{name}"])
    np.savez(folder / "matches.npz", **columns)
    with pytest.raises(DatasetError, match="is damaged: .*Make the report again|are about different"):
        compare_reports(reports["base"], folder)


def test_a_file_that_unpacks_to_gigabytes_is_refused(reports, tmp_path, monkeypatch):
    monkeypatch.setattr("ppdet_res2net.analysis.matches._MOST_BYTES", 1000)
    with pytest.raises(DatasetError, match="it unpacks to [0-9]+ bytes, and at most 1000 are read"):
        compare_reports(reports["base"], reports["exact"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 1}, "different classes of annotations"),
        ({"bbox": [1, 1, 30, 30]}, "different boxes of annotations: 1 of"),
        ({"iscrowd": 1}, "different crowd regions or ignored annotations: 1 of"),
    ],
)
def test_annotations_that_changed_are_refused(reports, content, results, tmp_path, change, message):
    changed = copy.deepcopy(content)
    place = next(i for i, one in enumerate(changed["annotations"]) if one["category_id"] != 1 and not one["iscrowd"])
    changed["annotations"][place].update(change)
    other = save(tmp_path / "changed", changed, {"bbox": results})
    with pytest.raises(DatasetError, match=message):
        compare_reports(reports["base"], other)


def test_files_of_two_reports_are_refused(reports, tmp_path):
    folder = shutil.copytree(reports["exact"], tmp_path / "copy")
    shutil.copy(reports["base"] / "matches.npz", folder)  # which has masks, too
    with pytest.raises(DatasetError, match="report.json and matches.npz of .* are not of one report"):
        compare_reports(folder, reports["base"])
    shutil.copy(reports["exact"] / "matches.npz", folder)
    content = json.loads((folder / "report.json").read_text())
    content["dataset"]["classes"].pop()
    (folder / "report.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="are not of one report: they have other classes"):
        compare_reports(folder, reports["base"])


def test_a_folder_that_is_not_there_is_not_the_one_above(reports):
    with pytest.raises(DatasetError, match="There is no report '.*typo'"):
        compare_reports(reports["exact"], reports["base"] / "typo")
