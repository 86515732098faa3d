"""The output folder: what is finished, what is refused, and how lost shards come back."""

import json

import pytest

from res2net_runtime.batch.dispatch import Dispatcher
from res2net_runtime.batch.plan import write_plan
from res2net_runtime.batch.progress import ProgressDisplay, describe_progress
from res2net_runtime.batch.sources import Entry
from res2net_runtime.batch.store import Store
from res2net_runtime.batch.work import Progress, ShardResult
from res2net_runtime.errors import Res2NetError

SETTINGS = {"model": "m", "task": "detection", "format": "jsonl", "shard_size": 2, "threshold": None}
ENTRIES = [Entry(name) for name in ("a", "b", "c", "d", "e")]


def open_store(folder, entries=ENTRIES, retry_failed=False, **settings) -> Store:
    return Store(str(folder), {**SETTINGS, **settings}, lambda path: write_plan(entries, path, 2), retry_failed)


def result(index, failed=()) -> ShardResult:
    failures = [{"file_name": name, "image_id": 0, "error": "damaged"} for name in failed]
    return ShardResult(index, b"shard %d\n" % index, 2 - len(failures), 3, failures, "an engine", 0.1)


def dispatcher_of(store) -> Dispatcher:
    return Dispatcher(store, ProgressDisplay(store.plan.count, 0))


def test_finished_shards_are_skipped_and_failures_collected(tmp_path):
    with open_store(tmp_path / "out") as store:
        store.add(result(2))
        store.add(result(0, ["b"]))
    with open_store(tmp_path / "out") as store:
        assert store.left == [1]
        store.add(result(1))
        store.finish()
    assert [json.loads(line)["file_name"] for line in open(tmp_path / "out" / "failures.jsonl")] == ["b"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["status"], manifest["images"]) == ("complete", {"done": 5, "failed": 1})
    assert (tmp_path / "out" / "results" / "000001.jsonl").read_bytes() == b"shard 1\n"
    with open_store(tmp_path / "out", retry_failed=True) as store:
        assert store.left == [0]


def test_a_shard_without_its_line_or_its_file_is_run_again(tmp_path, caplog):
    with open_store(tmp_path) as store:
        for index in range(3):
            store.add(result(index))
    journal = tmp_path / "shards.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])  # killed while it wrote the line
    (tmp_path / "results" / "000001.jsonl").write_bytes(b"sha")
    with open_store(tmp_path) as store:
        assert store.left == [1, 2]
        assert "000001.jsonl' is not as it was written; its images are run again" in caplog.text
        store.add(result(1))
        store.add(result(2))
    with open_store(tmp_path) as store:
        assert store.left == []


def test_other_settings_and_images_are_refused(tmp_path):
    with open_store(tmp_path):
        pass
    with pytest.raises(Res2NetError, match="other settings: threshold was not given and is 0.5. Pass the same"):
        open_store(tmp_path, threshold=0.5).__enter__()
    with pytest.raises(Res2NetError, match="other images: after its 5 images, 'f' is new. Pass the same"):
        open_store(tmp_path, [*ENTRIES, Entry("f")]).__enter__()
    with open_store(tmp_path) as store:  # the refusals have changed nothing
        assert store.left == [0, 1, 2]


def test_a_second_run_is_refused_with_the_process_of_the_first(tmp_path):
    with open_store(tmp_path):
        with pytest.raises(Res2NetError, match=r"^Another run writes into '.*': process \d+. Wait for it"):
            open_store(tmp_path).__enter__()


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(Res2NetError, match="holds other files, such as 'a.jpg'. Pass a new or an empty folder"):
        open_store(tmp_path).__enter__()
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(Res2NetError, match="manifest.json' was not written by this version"):
        open_store(tmp_path).__enter__()


def test_a_lost_shard_is_run_again_then_with_care_and_its_image_is_skipped(tmp_path):
    with open_store(tmp_path) as store:
        dispatcher = dispatcher_of(store)
        first, second = dispatcher.take(), dispatcher.take()
        assert dispatcher.receive(second, result(1))
        dispatcher.lose(first, "worker 5 was ended by SIGKILL")
        again = dispatcher.take()
        assert (again.index, again.is_careful) == (0, False)
        dispatcher.lose(again, "worker 6 was ended by SIGKILL")
        for _ in range(2):
            careful = dispatcher.take()
            assert (careful.index, careful.is_careful, careful.skipped) == (0, True, {})
            dispatcher.receive(careful, Progress(1))
            dispatcher.lose(careful, "worker 7 was ended by SIGSEGV")
        message = "Image 'b' is skipped: each time that it was run, worker 7 was ended by SIGSEGV."
        careful = dispatcher.take()
        assert careful.skipped == {1: message}
        assert dispatcher.receive(careful, result(0, ["b"]))
        assert dispatcher.receive(dispatcher.take(), result(2)) and dispatcher.is_done


def test_a_shard_that_is_always_lost_ends_the_run(tmp_path):
    with open_store(tmp_path) as store, pytest.raises(Res2NetError, match="Shard 0 has lost its worker 50 times"):
        dispatcher = dispatcher_of(store)
        while True:
            dispatcher.lose(dispatcher.take(), "a worker was lost")


def test_progress_tells_speed_and_the_time_that_is_left():
    text = describe_progress(300, 1000, 100, 2, 10.0)
    assert text == "300 of 1000 images (30.0 %), 20.0 images/s, 0:00:35 left, 2 failed"
    assert describe_progress(10, 4_000_000, 0, 0, 1.0).endswith(", 10.0 images/s, 4 d 15:06:39 left")
    assert describe_progress(0, 10, 0, 0, 1.0) == "0 of 10 images (0.0 %)"


@pytest.mark.parametrize(("key", "value"), [("failed", "x"), ("engine", None), ("failures", {})])
def test_a_journal_that_something_else_has_changed_is_refused(tmp_path, key, value):
    with open_store(tmp_path) as store:
        store.add(result(0))
    journal = tmp_path / "shards.jsonl"
    journal.write_text(json.dumps({**json.loads(journal.read_text()), key: value}) + "\n")
    with pytest.raises(Res2NetError, match=f"has the {key} .* for shard 0; something else has written into it"):
        open_store(tmp_path).__enter__()
