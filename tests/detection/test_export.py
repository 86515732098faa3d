"""Export: the content of the folder, equal results to the eager model's, and the detection of a wrong export."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

from ppdet_res2net.cli.main import main
from ppdet_res2net.detection.agreement import TOLERANCES, compare_detections, verify_export
from ppdet_res2net.detection.evaluate import evaluate_exported, evaluate_from_config
from ppdet_res2net.detection.export import export_model
from ppdet_res2net.detection.model import create_predictor, create_trained_detector
from ppdet_res2net.detection.predict import predict_files
from ppdet_res2net.detection.task import train
from ppdet_res2net.errors import ExportError
from res2net_runtime import Predictor
from res2net_runtime.results import Detections
from tests.helpers.reports import small_report
from tests.helpers.training_runs import annotation_file, image_files, make_config, overrides_for, write_config


@pytest.fixture(scope="module")
def exported(detecting, demo_data, tmp_path_factory):
    """A verified export; its configuration names a dataset that does not exist."""
    folder = tmp_path_factory.mktemp("export")
    config = make_config(folder / "no_data", folder, f"weights={detecting}")
    images = [str(file) for file in image_files(demo_data)[:2]]
    return export_model(config, str(folder / "out"), verify=True, verify_images=images)


@pytest.fixture(scope="module")
def eager(detecting, demo_data, tmp_path_factory):
    config = make_config(demo_data, tmp_path_factory.mktemp("eager"), f"weights={detecting}")
    detector, classes = create_trained_detector(config)
    return create_predictor(detector, config, classes, "TestReader")


def test_the_folder_and_its_description(exported):
    assert exported.name == "demo_mask_rcnn"
    description = yaml.safe_load((exported / "infer_cfg.yml").read_text())
    graph = description["formats"]["paddle"]["model_file"]
    assert list(description["formats"]) == ["paddle"]
    assert graph in ("model.json", "model.pdmodel")
    files = {file.name for file in exported.iterdir()}
    assert {"infer_cfg.yml", graph, "model.pdiparams"} <= files <= {
        "infer_cfg.yml", graph, "model.pdiparams", "model.pdiparams.info"
    }  # fmt: skip
    assert description["schema"] == {"name": "res2net_runtime", "version": 2}
    assert description["arch"] == "MaskRCNN"
    assert sorted(description["outputs"]) == ["boxes", "labels", "masks", "num", "scores"]
    assert description["source_weights"] == "model"
    assert [operator["type"] for operator in description["Preprocess"]] == [
        "Resize", "NormalizeImage", "Permute", "PadStride"
    ]  # fmt: skip
    assert description["Preprocess"][0]["target_size"] == [128, 128]
    assert description["Preprocess"][-1]["stride"] == 32
    assert (description["draw_threshold"], description["mask_threshold"]) == (0.5, 0.5)


def test_class_names_are_those_of_the_training_data(exported):
    from ppdet_res2net.datasets.demo_scenes import CATEGORIES

    description = yaml.safe_load((exported / "infer_cfg.yml").read_text())
    assert description["label_list"] == list(CATEGORIES.values())
    assert description["category_ids"] == list(CATEGORIES)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_export_gives_the_results_of_the_eager_model(exported, eager, demo_data, batch_size):
    images = image_files(demo_data)[:4]
    expected = eager(images)
    with Predictor(exported, batch_size=batch_size) as predictor:
        actual = predictor(images)
    agreement = compare_detections(expected, actual)
    assert agreement.within_tolerance, agreement
    assert agreement.detections > 20
    assert all(len(one) == len(other) for one, other in zip(expected, actual))


@pytest.mark.parametrize("backend", ["paddle", "onednn"])
def test_the_export_scores_as_the_weights_do(exported, demo_data, detecting, tmp_path, backend):
    config = make_config(demo_data, tmp_path, f"weights={detecting}")
    expected = evaluate_from_config(config, output_dir=str(tmp_path / "eager")).summary
    actual = evaluate_exported(exported, config, backend=backend, output_dir=str(tmp_path / "export")).summary
    assert actual["images"] == expected["images"]
    for kind in ("bbox", "segm"):
        assert actual[kind] == pytest.approx(expected[kind], abs=2e-3)
    # The detector of the tests has almost no AP, so its detections are compared as well.
    found, wanted = (_scores_by_image(tmp_path / name / "bbox.json") for name in ("export", "eager"))
    assert found.keys() == wanted.keys() and sum(map(len, found.values())) > 20
    for image_id, scores in wanted.items():
        assert found[image_id] == pytest.approx(scores, abs=1e-3)


def _scores_by_image(file):
    scores = {}
    for detection in json.loads(file.read_text()):
        scores.setdefault(detection["image_id"], []).append(detection["score"])
    return {image_id: sorted(values) for image_id, values in scores.items()}


def test_an_export_is_scored_on_the_device_of_the_recipe(monkeypatch, tmp_path):
    from ppdet_res2net.detection import evaluate as module

    def refuse(model_dir, **options):
        raise ExportError(options["device"])

    monkeypatch.setattr(module, "select_device", lambda config: "gpu:3")
    monkeypatch.setattr(module, "Predictor", refuse)
    with pytest.raises(ExportError, match="gpu:3"):
        evaluate_exported(tmp_path, make_config(tmp_path, tmp_path))


def test_an_export_is_scored_with_the_threads_and_the_batches_of_the_recipe(monkeypatch, exported, demo_data, tmp_path):
    from ppdet_res2net.detection import evaluate as module

    asked = {}

    def note(model_dir, **options):
        asked.update(options)
        return Predictor(model_dir, **options)

    monkeypatch.setattr(module, "Predictor", note)
    overrides = ["cpu_threads=1", "EvalReader.batch_size=3", "EvalDataset.sample_num=4"]
    result = evaluate_exported(exported, make_config(demo_data, tmp_path, *overrides), backend="paddle")
    assert result.summary["images"] == 4
    assert (asked["cpu_threads"], asked["batch_size"]) == (1, 3)


def test_an_engine_is_for_an_export(capsys):
    with pytest.raises(SystemExit):
        main(["eval", "-c", "demo_mask_rcnn", "--backend", "paddle"])
    assert "add --exported DIR" in capsys.readouterr().err


def test_both_roads_to_predictions_agree(exported, eager, demo_data, detecting, tmp_path):
    file = image_files(demo_data)[0]
    config = make_config(demo_data, tmp_path, f"weights={detecting}")
    predict_files(config, [file], output_dir=str(tmp_path / "out"), save_results=True)
    from_tool = yaml.safe_load((tmp_path / "out" / "bbox.json").read_text())
    with Predictor(exported) as predictor:
        from_export = predictor(file).to_coco(0)
    assert len(from_tool) == len(from_export)
    assert sorted(e["score"] for e in from_tool) == pytest.approx(sorted(e["score"] for e in from_export), abs=1e-3)


def test_an_image_without_detections_gives_empty_arrays(trained, demo_data, tmp_path):
    from ppdet_res2net.zoo.formats import read_weights_file, save_weights_file

    file = read_weights_file(trained / "model_final.pdparams")
    tensors = dict(file.tensors)
    tensors["bbox_head.bbox_score.bias"] = np.array([-20, -20, -20, 20], "float32")
    save_weights_file(tmp_path / "blind.pdparams", tensors, file.metadata)
    shutil.copy(trained / "model_final.json", tmp_path / "blind.json")
    config = make_config(demo_data, tmp_path, f"weights={tmp_path}/blind")
    with pytest.raises(
        ExportError, match="could not be verified: no detections in 4 images.*images that show.*not written"
    ):
        export_model(config, str(tmp_path / "out"), verify=True)
    export_model(config, str(tmp_path / "out"))
    with Predictor(tmp_path / "out" / "demo_mask_rcnn", batch_size=2) as predictor:
        for found in predictor([np.zeros((60, 90, 3), np.uint8), np.full((60, 90, 3), 255, np.uint8)]):
            assert found.boxes_xyxy.shape == (0, 4)
            assert found.masks.shape[0] == 0
            assert found.bitmaps().shape == (0, 60, 90)
            assert found.to_coco(1) == []


def test_exporting_again_replaces_the_folder_and_other_weights_are_found_out(
    exported, eager, trained, demo_data, tmp_path
):
    folder = shutil.copytree(exported, tmp_path / "out" / exported.name)
    (folder / "model.pdmodel").write_text("of an older Paddle")
    (folder / "model.json").write_text("stale")
    (folder / "model.onnx").write_text("of another format")
    config = make_config(demo_data, tmp_path, f"weights={trained}/model_final")
    assert export_model(config, str(tmp_path / "out")) == folder
    (graph,) = [file for file in (folder / "model.pdmodel", folder / "model.json") if file.exists()]
    assert graph.stat().st_size > 1000
    assert not (folder / "model.onnx").exists()

    images = image_files(demo_data)[:2]
    with pytest.raises(
        ExportError, match="does not give the eager model's results with .* in fp32: .*limit 0.99.*Do not use it"
    ):
        verify_export(folder, eager, images)
    shutil.copy(exported / "model.pdiparams", folder)  # the order of the weights is the same in every export
    agreements = verify_export(folder, eager, images)
    assert set(agreements) == {("paddle", "fp32"), ("onednn", "fp32")}
    assert all(agreement.detections > 10 for agreement in agreements.values())
    (folder / "model.pdiparams").write_bytes((exported / "model.pdiparams").read_bytes()[:1000])
    with pytest.raises(ExportError, match="The exported model cannot be run: "):
        verify_export(folder, eager, images)


def test_a_folder_that_cannot_be_written_is_an_error(detecting, demo_data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    config = make_config(demo_data, tmp_path, f"weights={detecting}")
    with pytest.raises(ExportError, match="The folder '.*file/demo_mask_rcnn' cannot be written.*--output_dir"):
        export_model(config, str(tmp_path / "file"))


def _detections(**changes) -> Detections:
    values = {
        "boxes_xyxy": np.array([[10, 10, 50, 50], [60, 60, 90, 90]], "float32"),
        "scores": np.array([0.9, 0.8], "float32"),
        "labels": np.array([0, 1], "int32"),
        "masks": np.full((2, 28, 28), 0.7, "float32"),
        "image_hw": (100, 100),
        "label_list": ("a", "b"),
        "category_ids": (1, 2),
    }
    return Detections(**{**values, **changes})


def test_equal_detections_agree_in_any_order():
    one = _detections()
    turned = replace(one, boxes_xyxy=one.boxes_xyxy[::-1], scores=one.scores[::-1], labels=one.labels[::-1])
    agreement = compare_detections([one], [turned])
    assert agreement.within_tolerance
    assert (agreement.detections, agreement.unmatched, agreement.min_box_iou) == (2, 0, 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": np.array([0.9, 0.79], "float32")},
        {"scores": np.array([0.9, np.nan], "float32")},
        {"labels": np.array([0, 0], "int32")},
        {"boxes_xyxy": np.array([[10, 10, 50, 50], [60, 60, 90, 91]], "float32")},
        {"boxes_xyxy": np.array([[10, 10, 50, 50], [60, 60, 90, np.nan]], "float32")},
        {"masks": np.full((2, 28, 28), 0.75, "float32")},
        {"masks": np.full((2, 28, 28), np.nan, "float32")},
    ],
    ids=["score", "nan score", "label", "box", "nan box", "mask", "nan mask"],
)
def test_any_difference_is_found(changes):
    for pair in (([_detections()], [_detections(**changes)]), ([_detections(**changes)], [_detections()])):
        agreement = compare_detections(*pair)
        assert not agreement.within_tolerance, agreement


def test_detections_in_one_of_two_runs_are_found():
    one = _detections()
    none = replace(one.filter(2.0))
    for pair in (([one], [none]), ([none], [one])):
        agreement = compare_detections(*pair)
        assert agreement.unmatched == 2 and not agreement.within_tolerance


def test_masks_in_one_of_two_runs_are_found():
    one = _detections()
    for pair in (([one], [replace(one, masks=None)]), ([replace(one, masks=None)], [one])):
        agreement = compare_detections(*pair)
        assert agreement.max_mask_difference == 1 and not agreement.within_tolerance


def test_nothing_is_said_of_masks_where_there_are_none():
    boxes = _detections(masks=None)
    agreement = compare_detections([boxes], [boxes])
    assert agreement.within_tolerance and agreement.max_mask_difference is None
    assert "mask" not in str(agreement) and str(agreement).endswith("scores within 0 (0.005)")
    assert "mask probabilities within 0 (0.02), on average over a mask 0 (1.0)" in str(
        compare_detections([_detections()], [_detections()])
    )


def test_bfloat16_may_let_another_of_two_boxes_win():
    boxes = np.array([[10 * i, 10, 10 * i + 50, 60] for i in range(10)], "float32")
    one = _detections(boxes_xyxy=boxes, scores=np.full(10, 0.5, "float32"), labels=np.arange(10, dtype="int32"),
                      masks=np.full((10, 28, 28), 0.7, "float32"))  # fmt: skip
    moved = boxes.copy()
    moved[0] += 5
    for changed, agree in ((moved, True), (boxes + 5, False)):
        other = replace(one, boxes_xyxy=changed)
        agreement = compare_detections([one], [other], TOLERANCES["bf16"])
        assert agreement.within_tolerance == agree and agreement.unmatched == (1 if agree else 10)
        assert not compare_detections([one], [other]).within_tolerance
    assert "10 without a counterpart" in str(agreement) and "none matched" in str(agreement)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_masks_are_found(precision, value):
    blob = np.zeros((2, 28, 28), "float32")
    blob[:, 7:21, 7:21] = 1  # a quarter of the pixels
    one = _detections(masks=blob)
    other = replace(one, masks=np.full_like(blob, value))
    assert not compare_detections([one], [other], TOLERANCES[precision]).within_tolerance


def test_a_detection_is_nobody_elses_counterpart():
    one = _detections()
    twice = {name: np.concatenate([getattr(one, name)] * 2) for name in ("boxes_xyxy", "scores", "labels", "masks")}
    agreement = compare_detections([one], [_detections(**twice)])
    assert agreement.unmatched == 2 and not agreement.within_tolerance


def test_a_detector_without_masks_takes_the_whole_road(demo_data, tmp_path):
    from ppdet_res2net.config import load_config, resolve_config_path
    from ppdet_res2net.detection.evaluate import evaluate_from_config

    base = resolve_config_path("demo_mask_rcnn")
    recipe = write_config(
        tmp_path / "boxes.yml",
        [
            f"_BASE_: ['{base}']",
            "architecture: FasterRCNN",
            "FasterRCNN: {backbone: Res2Net, neck: FPN, rpn_head: RPNHead, bbox_head: BBoxHead,",
            "             bbox_post_process: BBoxPostProcess}",
            "BBoxPostProcess: {nms: {score_threshold: 0.0}}",
        ],
    )
    config = make_config(
        demo_data, tmp_path, "TrainDataset.data_fields=[image,gt_bbox,gt_class,is_crowd]", recipe=recipe
    )
    run_dir = train(config, max_steps=2).run_dir
    config = load_config(recipe, [*_datasets(demo_data), f"weights={run_dir}/model_final"])
    assert set(evaluate_from_config(config).summary) == {"bbox", "images", "seconds"}
    images = [str(file) for file in image_files(demo_data)[:2]]
    folder = export_model(config, str(tmp_path / "out"), verify=True, verify_images=images)
    with Predictor(folder) as predictor:
        found = predictor(cv2.cvtColor(cv2.imread(images[0]), cv2.COLOR_BGR2RGB))
    assert found.masks is None and len(found) > 0


def _datasets(data) -> list[str]:
    return [f"{name}Dataset.dataset_dir={data}" for name in ("Train", "Eval", "Test")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (0.5, None)),
        (["--threshold", "0.7"], (0.7, None)),
        (["--report", "{report}"], (0.62, None)),
        (["--report", "{report}", "--per_class"], (0.62, [0.3, 0.62, 0.62])),
    ],
)
def test_the_threshold_is_chosen_at_export(words, expected, detecting, demo_data, tmp_path, monkeypatch):
    categories = json.loads(annotation_file(demo_data).read_text())["categories"]
    names = {one["id"]: one["name"] for one in categories}
    report = small_report(names, 0.62, {categories[0]["id"]: 0.3})
    (tmp_path / "report.json").write_text(json.dumps(report.to_json()))
    described = []
    monkeypatch.setattr("ppdet_res2net.detection.export.write_folder", lambda *args: described.append(args[2]))
    settings = [word for override in overrides_for(demo_data, tmp_path) for word in ("-o", override)]
    call = ["export", "-c", "demo_mask_rcnn", *settings, "--weights", detecting, "--output_dir", str(tmp_path)]
    assert main([*call, *(word.format(report=tmp_path) for word in words)]) == 0
    description = described[0].description
    assert (description["draw_threshold"], description.get("class_thresholds")) == expected
