"""Prediction on image files: pictures, results, and images that cannot be read or written."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from ppdet_res2net.detection.export import export_model
from ppdet_res2net.detection.model import create_predictor, create_trained_detector
from ppdet_res2net.detection.predict import predict_files
from ppdet_res2net.errors import ConfigError, ImageError
from res2net_runtime.cli import main as deployed_infer
from tests.helpers.training_runs import image_files, make_config


@pytest.fixture
def config(detecting, demo_data, tmp_path):
    return make_config(demo_data, tmp_path, f"weights={detecting}")


def test_pictures_and_results_are_written(config, demo_data, tmp_path):
    files = image_files(demo_data)[:2]
    summary = predict_files(config, files, output_dir=str(tmp_path / "out"), draw_threshold=0.2, save_results=True)
    assert (summary.done, summary.failures, summary.output.directory) == (2, [], tmp_path / "out")
    for file in files:
        picture, original = cv2.imread(str(tmp_path / "out" / file.name)), cv2.imread(str(file))
        assert picture.shape == original.shape
        assert np.abs(picture.astype(int) - original).max() > 100  # something is drawn

    boxes = json.loads((tmp_path / "out" / "bbox.json").read_text())
    masks = json.loads((tmp_path / "out" / "mask.json").read_text())
    assert len(boxes) == len(masks) > 0
    assert set(boxes[0]) == {"image_id", "category_id", "bbox", "score", "file_name"}
    assert set(masks[0]) == {"image_id", "category_id", "segmentation", "score", "file_name"}
    assert {(entry["image_id"], entry["file_name"]) for entry in boxes} == {
        (int(file.stem), file.name) for file in files
    }


def test_a_high_threshold_draws_nothing_but_keeps_the_results(config, demo_data, tmp_path):
    file = tmp_path / "image.png"
    cv2.imwrite(str(file), cv2.imread(str(image_files(demo_data)[0])))
    predict_files(config, [file], output_dir=str(tmp_path / "out"), draw_threshold=1.0, save_results=True)
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "image.png")), cv2.imread(str(file)))
    assert json.loads((tmp_path / "out" / "bbox.json").read_text())


def test_without_save_results_there_are_pictures_only(config, demo_data, tmp_path):
    file = image_files(demo_data)[0]
    predict_files(config, [file], output_dir=str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [file.name]


def test_the_others_are_done_when_an_image_cannot_be_read(config, demo_data, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for file in image_files(demo_data)[:2]:
        shutil.copy(file, folder)
    (folder / "0_broken.jpg").write_bytes(b"no picture")
    files = [*sorted(folder.iterdir()), folder / "missing.jpg"]
    summary = predict_files(config, files, output_dir=str(tmp_path / "out"), save_results=True)
    assert summary.done == 2
    assert len(summary.failures) == 2
    assert "0_broken.jpg" in summary.failures[0] and "missing.jpg" in summary.failures[1]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(file.name for file in image_files(demo_data)[:2]), "bbox.json", "mask.json"
    }  # fmt: skip


def test_pictures_never_overwrite_the_images(config, demo_data):
    files = image_files(demo_data)
    before = files[0].read_bytes()
    with pytest.raises(ConfigError, match="--output_dir '.*val2017' holds the images themselves; pass another folder"):
        predict_files(config, files, output_dir=f"{demo_data}/annotations/../val2017")
    assert files[0].read_bytes() == before


def test_there_has_to_be_an_image(config, tmp_path):
    with pytest.raises(ConfigError, match="no images to predict. Pass --infer_img FILE or --infer_dir FOLDER"):
        predict_files(config, [], output_dir=str(tmp_path))


def test_an_image_with_another_ending_becomes_a_png(config, demo_data, tmp_path):
    file = shutil.copy(image_files(demo_data)[0], tmp_path / "photo.unknown")
    assert predict_files(config, [file], output_dir=str(tmp_path / "out")).done == 1
    assert (tmp_path / "out/photo.png").is_file()


def test_the_others_are_done_when_a_picture_cannot_be_written(config, demo_data, tmp_path):
    files = image_files(demo_data)[:2]
    (tmp_path / "out" / files[0].name).mkdir(parents=True)  # in the way of the first picture
    summary = predict_files(config, files, output_dir=str(tmp_path / "out"), save_results=True)
    assert summary.done == 1 and (tmp_path / "out" / files[1].name).is_file()
    (failure,) = summary.failures
    assert failure.startswith(f"The picture '{tmp_path}/out/{files[0].name}' cannot be written: Is a directory.")
    found = {entry["file_name"] for entry in json.loads((tmp_path / "out/bbox.json").read_text())}
    assert found == {files[1].name}


def test_results_are_those_of_the_deployed_model(config, demo_data, tmp_path, monkeypatch):
    """Equal files for equal detections; those of an export differ only in the last digits of their numbers."""
    folder = tmp_path / "images"
    folder.mkdir()
    for file in image_files(demo_data)[:3]:
        shutil.copy(file, folder)
    predict_files(config, sorted(folder.iterdir()), output_dir=str(tmp_path / "eager"), save_results=True)
    exported = export_model(config, str(tmp_path / "exported"))
    arguments = ["--model_dir", exported, "--image_dir", folder, "--output_dir", tmp_path / "deployed"]
    assert deployed_infer([*map(str, arguments), "--save_results", "--run_mode", "paddle"]) == 0
    for name in ("bbox.json", "mask.json"):
        eager, deployed = (json.loads((tmp_path / of / name).read_text()) for of in ("eager", "deployed"))
        assert len(eager) == len(deployed) > 0
        for one, other in zip(eager, deployed):
            assert list(one) == list(other)
            for key in ("file_name", "image_id", "category_id"):
                assert one[key] == other[key]
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)

    detector, classes = create_trained_detector(config)
    predictor = create_predictor(detector, config, classes, "TestReader")
    monkeypatch.setattr("res2net_runtime.cli.Predictor", lambda *args, **options: predictor)
    assert deployed_infer([*map(str, arguments), "--save_results"]) == 0
    for file in (tmp_path / "eager").iterdir():
        assert (tmp_path / "deployed" / file.name).read_bytes() == file.read_bytes(), file.name


def test_pictures_never_overwrite_each_other(config, demo_data, tmp_path):
    file = image_files(demo_data)[0]
    with pytest.raises(ImageError, match=f"Several images are called '{file.name}', so their pictures would overwrite"):
        predict_files(config, [file, tmp_path / "other" / file.name], output_dir=str(tmp_path / "out"))


def test_a_folder_that_cannot_be_made_is_an_error(config, demo_data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="The folder '.*file' cannot be created: .*Pass another --output_dir"):
        predict_files(config, image_files(demo_data)[:1], output_dir=str(tmp_path / "file"))
