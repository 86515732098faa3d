"""The predictor on a tiny exported graph: results, batches, streams, threads, engines and broken folders."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

import res2net_runtime
from res2net_runtime import BackendError, FailedPrediction, ImageError, Predictor, find_images
from tests.helpers.runtime_toys import (
    BRIGHT,
    DARK,
    assert_a_list_gives_the_results_of_its_images,
    picture,
    toy_model_dir,
)

RUNTIME_DIR = Path(__file__).parents[2] / "deploy" / "python"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return toy_model_dir(tmp_path_factory)


@pytest.fixture
def predictor(model_dir):
    with Predictor(model_dir, cpu_threads=1) as predictor:
        yield predictor


@pytest.mark.parametrize("backend", ["auto", "paddle"])
def test_one_image(model_dir, backend, tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture(50, 70))
    with Predictor(model_dir, backend=backend, cpu_threads=1) as predictor:
        for source in (picture(50, 70), path, path.read_bytes()):
            detections = predictor(source)
            assert detections.class_names == ["dog"] and detections.image_hw == (50, 70)
            np.testing.assert_allclose(detections.boxes_xyxy, [[0, 0, 70, 50]], rtol=1e-5)
            assert detections.masks.shape == (1, 28, 28)
            assert detections.to_coco(3)[0]["category_id"] == 18
        assert predictor.description.startswith("Paddle") and predictor.label_list == ("cat", "dog")


def test_nothing_found_first_and_later(predictor):
    for value, count in ((DARK, 0), (BRIGHT, 1), (DARK, 0), (BRIGHT, 1)):
        detections = predictor(picture(60, 90, value))
        assert len(detections) == count
        assert detections.boxes_xyxy.shape == (count, 4) and detections.masks.shape == (count, 28, 28)
        assert len(detections.to_coco(1)) == count


@pytest.mark.parametrize("batch_size", [1, 3])
def test_list_of_mixed_sizes_gives_the_results_of_single_images(model_dir, batch_size):
    with Predictor(model_dir, batch_size=batch_size, cpu_threads=1) as predictor:
        assert_a_list_gives_the_results_of_its_images(predictor)
        assert predictor([]) == []


def test_images_of_one_padded_size_share_batches(model_dir, monkeypatch):
    with Predictor(model_dir, batch_size=3, backend="paddle", cpu_threads=1) as predictor:
        sizes = []
        run = predictor._backend.run

        def record(batch):
            sizes.append(batch["image"].shape)
            return run(batch)

        monkeypatch.setattr(predictor._backend, "run", record)
        predictor([picture(*size) for size in [(64, 96), (96, 64), (60, 90), (96, 64), (64, 96), (64, 96)]])
    assert sizes == [(3, 3, 64, 96), (2, 3, 96, 64), (1, 3, 64, 96)]


def test_stream_goes_on_after_a_bad_image(predictor, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"nonsense")
    sources = [picture(40, 60), tmp_path / "bad.jpg", tmp_path / "gone.jpg", picture(60, 40, DARK)]
    predictions = list(predictor.predict_iter(iter(sources)))
    assert [prediction.source for prediction in predictions][1:3] == sources[1:3]
    assert [prediction.error is None for prediction in predictions] == [True, False, False, True]
    assert isinstance(predictions[1].error, ImageError) and "bad.jpg" in str(predictions[1].error)
    assert isinstance(predictions[1], FailedPrediction) and predictions[1].image is None
    np.testing.assert_array_equal(predictions[0].image, sources[0])
    assert len(predictions[3].detections) == 0
    with pytest.raises(ImageError, match="bad.jpg"):
        predictor(sources)


def test_endless_stream_is_read_only_as_far_as_needed(predictor):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield picture(40, 60)

    stream = predictor.predict_iter(endless())
    assert len(next(stream).detections) == 1
    assert len(taken) < 10
    stream.close()


def test_the_next_images_are_prepared_while_the_network_runs(predictor, monkeypatch):
    prepare, run = predictor._prepare, predictor._backend.run
    prepared, all_prepared = [], threading.Event()

    def prepare_and_count(source):
        prepared.append(prepare(source))
        if len(prepared) == 4:
            all_prepared.set()
        return prepared[-1]

    def run_when_all_are_prepared(batch):
        assert all_prepared.wait(timeout=10)
        return run(batch)

    monkeypatch.setattr(predictor, "_prepare", prepare_and_count)
    monkeypatch.setattr(predictor._backend, "run", run_when_all_are_prepared)
    assert len(list(predictor.predict_iter([picture(40, 60)] * 4))) == 4


def test_a_batch_that_the_network_refuses_is_an_error_of_its_images(predictor, monkeypatch):
    run = predictor._backend.run

    def refuse_portraits(batch):
        if batch["image"].shape[2] > batch["image"].shape[3]:
            raise BackendError("no portraits")
        return run(batch)

    monkeypatch.setattr(predictor._backend, "run", refuse_portraits)
    good, bad, also_good = predictor.predict_iter([picture(40, 60), picture(60, 40), picture(40, 60)])
    assert good.error is None and also_good.error is None
    assert str(bad.error) == "no portraits" and bad.image.shape == (60, 40, 3)


def test_threads_share_a_predictor(predictor):
    failures = []

    def work(index: int) -> None:
        for step in range(10):
            size = (40 + index, 60 + step)
            found = predictor(picture(*size, DARK if (index + step) % 3 == 0 else BRIGHT))
            expected = [] if (index + step) % 3 == 0 else [[0, 0, size[1], size[0]]]
            if not np.allclose(found.boxes_xyxy, np.reshape(expected, (-1, 4)), rtol=1e-4):
                failures.append((size, found.boxes_xyxy))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_closed_predictor_says_so(model_dir):
    predictor = Predictor(model_dir, backend="paddle", cpu_threads=1)
    predictor.close()
    predictor.close()
    with pytest.raises(BackendError, match="This Predictor is closed. Create a new one."):
        predictor(picture(4, 4))


def test_image_above_the_pixel_limit(model_dir):
    predictor = Predictor(model_dir, max_pixels=100, backend="paddle")
    with predictor, pytest.raises(ImageError, match="20x10 = 200 pixels, more than the limit of 100"):
        predictor(picture(10, 20))


@pytest.mark.parametrize("name", ["batch_size", "cpu_threads", "max_pixels"])
def test_counts_must_be_positive(model_dir, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Predictor(model_dir, **{name: 0})


def test_find_images(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in find_images(tmp_path)] == ["a.jpg", "b.PNG"]
    with pytest.raises(ImageError, match="There is no image folder"):
        find_images(tmp_path / "gone")
    with pytest.raises(ImageError, match="holds no image .*.jpg"):
        find_images(tmp_path / "folder.jpg")


def test_stepping_down_is_quiet_when_all_works(model_dir, caplog):
    with caplog.at_level(logging.WARNING), Predictor(model_dir, backend="paddle", cpu_threads=1) as predictor:
        predictor(picture(40, 60))
    assert caplog.records == []


def test_public_names_are_lazy():
    code = (
        "import sys, res2net_runtime as r; heavy = {'cv2', 'numpy', 'paddle', 'ppdet'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(r.__all__) <= set(dir(r))\n"
        "assert all(getattr(r, name) for name in r.__all__)\n"
        "assert not {'paddle', 'ppdet', 'ppdet_res2net'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=RUNTIME_DIR)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        res2net_runtime.nothing  # noqa: B018
