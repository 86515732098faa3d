"""A report from annotations to report.json and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ppdet_res2net.analysis.matches import load_matches
from ppdet_res2net.analysis.report import make_report, write_report
from ppdet_res2net.analysis.subject import RunFacts, Settings
from ppdet_res2net.analysis.thresholds import read_report
from ppdet_res2net.errors import DatasetError
from tests.helpers.analysis import coco_eval, objects_of
from tests.helpers.made_detections import make_annotations, make_results


@pytest.fixture(scope="module")
def content():
    return make_annotations(2, images=30, classes=22)


@pytest.fixture(scope="module")
def results(content):
    return make_results(content, 2)


@pytest.fixture(scope="module")
def made(content, results):
    run = RunFacts(model="toy", seconds=3.0)
    return make_report(objects_of(content), {"bbox": results, "segm": results}, source="a.json", title="Toy", run=run)


def test_what_is_written_is_read_again(made, tmp_path):
    path = write_report(made, tmp_path / "new" / "report")
    assert read_report(path.parent) == made.report
    assert "NaN" not in path.read_text("utf-8")
    matches = load_matches(path.parent)
    assert list(matches) == ["bbox", "segm"]
    for kind, one in matches.items():
        for name, column in vars(one).items():
            assert np.array_equal(column, getattr(made.matches[kind], name)), name


def test_figures_and_curves_are_pycocotools(made, content, results):
    for kind in ("bbox", "segm"):
        expected, figures = coco_eval(content, results, kind), made.report.kinds[kind]
        assert [-1 if value is None else value for value in figures.figures.values()] == pytest.approx(
            expected.stats, abs=1e-6
        )
        places = {int(category): place for place, category in enumerate(expected.params.catIds)}
        precision = expected.eval["precision"][..., 0, 2]
        for one, curve in zip(figures.classes, figures.pr.classes):
            assert curve == pytest.approx(precision[:, :, places[one.category_id]], abs=1e-6)
            assert one.figures["AP"] == pytest.approx(precision[:, :, places[one.category_id]].mean(), abs=1e-6)
        assert figures.pr.mean == pytest.approx(precision.mean(axis=2), abs=1e-6)


def test_masks_have_boundary_figures_and_boxes_have_none(made):
    assert made.report.kinds["bbox"].boundary is None
    assert 0 < made.report.kinds["segm"].boundary["AP"] < made.report.kinds["segm"].figures["AP"]
    assert "boundary_AP" in made.report.kinds["segm"].classes[0].figures


def test_classes_are_grouped_by_the_images_that_have_them(made):
    groups = made.report.kinds["bbox"].frequencies
    assert [(one.name, one.classes) for one in groups] == [("rare", 22), ("common", 0), ("frequent", 0)]
    assert groups[0].figures["AP50"] == pytest.approx(made.report.kinds["bbox"].figures["AP50"], abs=1e-6)
    assert groups[1].figures["AP"] is None


def test_the_dataset_is_summarized(made, content):
    dataset = made.report.dataset
    real = [one for one in content["annotations"] if not one["iscrowd"]]
    assert (dataset.source, dataset.images, dataset.objects) == ("a.json", 30, len(real))
    assert dataset.set_aside == len(content["annotations"]) - len(real)
    assert dataset.empty_images == 30 - len({one["image_id"] for one in real})
    assert sum(dataset.sizes.values()) == len(real)
    assert [one.category_id for one in dataset.classes] == [one["id"] for one in content["categories"]]
    assert sum(one.objects for one in dataset.classes) == len(real)


def test_every_image_that_is_named_is_described(made):
    known = {one.id for one in made.report.images}
    for kind in made.report.kinds.values():
        assert {one.image_id for one in (*kind.worst_images, *kind.mistakes, *kind.suspects)} <= known
        assert {image for cell in kind.confusion.cells for image in cell.image_ids} <= known


def test_a_chosen_score_is_that_of_the_confusion_matrix(content, results):
    settings = Settings(score=0.75)
    made = make_report(objects_of(content), {"bbox": results}, source="a", title="T", settings=settings)
    figures = made.report.kinds["bbox"]
    found = sum(cell.count for cell in figures.confusion.cells if cell.found is not None)
    assert figures.confusion.score == 0.75
    assert 0 < found <= sum(one["score"] >= 0.75 for one in results)


def test_without_detections_everything_is_missed(content, tmp_path):
    made = make_report(objects_of(content), {"bbox": [], "segm": []}, source="a", title="T")
    write_report(made, tmp_path)
    for figures in read_report(tmp_path).kinds.values():
        assert figures.figures["AP"] == 0.0
        assert figures.best.score is None
        assert {cell.found for cell in figures.confusion.cells} == {None}
        assert all(one.type == "Miss" for one in figures.mistakes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(iou=0.05), r"must be above that of background \(0.1\), and not above 1; got 0.05"),
        (Settings(score=1.5), "The score of the confusion matrix must be from 0 to 1, got 1.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(content, settings, message):
    with pytest.raises(DatasetError, match=message):
        make_report(objects_of(content), {"bbox": []}, source="a", title="T", settings=settings)


def test_missing_and_damaged_matches_are_named(made, tmp_path):
    with pytest.raises(DatasetError, match="matches.npz' cannot be read: No such file .* make the report again"):
        load_matches(tmp_path)
    write_report(made, tmp_path)
    (tmp_path / "matches.npz").write_bytes((tmp_path / "matches.npz").read_bytes()[:2000])
    with pytest.raises(DatasetError, match="matches.npz' is damaged: .* Make the report again with eval --report"):
        load_matches(tmp_path)


def test_a_damaged_report_is_named(made, tmp_path):
    path = write_report(made, tmp_path)
    content = json.loads(path.read_text("utf-8"))
    del content["kinds"]["segm"]["best"]["score"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DatasetError, match="is not a report of this program: kinds.segm.best.score: it is missing"):
        read_report(tmp_path)
