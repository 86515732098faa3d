"""One shard, in this process: rows, failures, formats; and what is told while it runs."""

import dataclasses
import io
import json

import pytest

from res2net_runtime import Predictor
from res2net_runtime.batch.plan import BatchImage
from res2net_runtime.batch.work import Progress, ShardTask, Worker, WorkSettings, fingerprint
from res2net_runtime.errors import ModelFolderError
from tests.helpers.runtime_toys import save_toy_classifier

ENGINE = {"cpu_threads": 1, "backend": "onnxruntime"}


@pytest.fixture(scope="module")
def settings(model_dir, photos):
    return WorkSettings(str(model_dir), fingerprint(str(model_dir)), str(photos), True, ENGINE)


@pytest.fixture(scope="module")
def task():
    return ShardTask(3, [BatchImage(f"{index}.png", 10 + index) for index in range(7)])


def run(settings, task):
    worker = Worker(settings)
    *progress, result = worker.run(task)
    worker.close()
    return progress, result


@pytest.fixture(scope="module")
def swift(settings, task):
    return run(settings, task)[1]


def test_a_row_has_what_the_predictor_finds(settings, swift, model_dir, photos):
    rows = [json.loads(line) for line in swift.content.splitlines()]
    assert (swift.index, swift.done, swift.found, len(rows)) == (3, 6, 4, 6)
    detections = Predictor(model_dir, **ENGINE)(photos / "4.png")
    expected = [{"category": "dog", **one} for one in detections.to_coco(14)]
    for one in expected:
        del one["image_id"]
    assert rows[3] == {"file_name": "4.png", "image_id": 14, "width": 60, "height": 44, "detections": expected}
    assert rows[1]["detections"] == []


def test_a_failed_image_is_named_and_the_others_go_on(swift):
    (failure,) = swift.failures
    assert (failure["file_name"], failure["image_id"]) == ("2.png", 12)
    assert "it is damaged, cut short" in failure["error"]


def test_with_care_each_image_is_announced_and_some_are_skipped(settings, swift, task):
    progress, result = run(settings, dataclasses.replace(task, is_careful=True))
    assert progress == [Progress(index) for index in range(7)]
    assert (result.content, result.failures) == (swift.content, swift.failures)
    careful = dataclasses.replace(task, is_careful=True, skipped={0: "it has ended workers"})
    skipped = run(settings, careful)[1]
    assert skipped.content == b"".join(swift.content.splitlines(True)[1:])
    assert skipped.failures[0] == {"file_name": "0.png", "image_id": 10, "error": "it has ended workers"}


def test_a_threshold_leaves_detections_out(settings, task):
    assert run(dataclasses.replace(settings, threshold=1.0), task)[1].found == 0


def test_parquet_has_the_same_rows(settings, swift, task):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(io.BytesIO(run(dataclasses.replace(settings, format="parquet"), task)[1].content))
    assert table.to_pylist() == [json.loads(line) for line in swift.content.splitlines()]


def test_parquet_of_failures_only_has_no_rows(settings):
    parquet = pytest.importorskip("pyarrow.parquet")
    missing = ShardTask(0, [BatchImage("missing.png", 1)])
    result = run(dataclasses.replace(settings, format="parquet"), missing)[1]
    assert parquet.read_table(io.BytesIO(result.content)).num_rows == 0 and len(result.failures) == 1


def test_a_classifier(settings, photos, tmp_path, task):
    save_toy_classifier(tmp_path)
    model = str(tmp_path)
    result = run(WorkSettings(model, fingerprint(model), str(photos), False, ENGINE, top_k=2), task)[1]
    first = json.loads(result.content.splitlines()[0])
    assert (first["file_name"], result.done, result.found) == ("0.png", 6, 0)
    assert [sorted(one) for one in first["classes"]] == [["label", "name", "score"]] * 2


def test_another_model_is_refused(settings):
    with pytest.raises(ModelFolderError, match="is another one here than where the command was started"):
        Worker(dataclasses.replace(settings, model="0" * 64))


def test_the_fingerprint_is_about_content(model_dir, tmp_path):
    for file in model_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert fingerprint(str(tmp_path)) == fingerprint(str(model_dir))
    (tmp_path / ".lock").touch()
    assert fingerprint(str(tmp_path)) == fingerprint(str(model_dir))
    (tmp_path / "infer_cfg.yml").write_bytes((tmp_path / "infer_cfg.yml").read_bytes() + b"\n")
    assert fingerprint(str(tmp_path)) != fingerprint(str(model_dir))
