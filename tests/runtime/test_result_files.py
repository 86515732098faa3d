"""Files with results are whole at any time, whatever ends the process."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from res2net_runtime import locks
from res2net_runtime.errors import Res2NetError
from res2net_runtime.result_files import JsonLines, ResultFiles, read_json_lines

KILLS = 80
# Kills a process that writes without pause; fails with the file that is not JSON; prints how many files had grown.
KILL = f"""
import json, os, random, signal, sys, time; from pathlib import Path; from res2net_runtime.result_files import ResultFiles
folder, random_s, grown = Path(sys.argv[1]), random.Random(0), 0
for _ in range({KILLS}):
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        with ResultFiles(folder, False) as files:
            files.add([])
            os.write(writing, b".")
            while True: files.add([{{"bbox": "x" * 300_000}}])
    os.read(reading, 1)
    time.sleep(random_s.uniform(0.0, 0.02))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    grown += bool(json.loads((folder / "bbox.json").read_text()))
print(grown)
"""
ENTRY = {"image_id": 1, "category_id": 2, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}


def test_the_files_are_whole_after_every_image(tmp_path):
    with ResultFiles(tmp_path, has_masks=True) as files:
        assert list(tmp_path.iterdir()) == []
        for count in range(4):
            files.add([{**ENTRY, "segmentation": {"size": [1, 1], "counts": "01"}}] * count, file_name="x.jpg")
            boxes, masks = (json.loads((tmp_path / name).read_text()) for name in ("bbox.json", "mask.json"))
            assert len(boxes) == len(masks) == sum(range(count + 1))
    assert boxes[0] == {"file_name": "x.jpg", **ENTRY}
    assert "segmentation" in masks[0] and "bbox" not in masks[0]


def test_a_shorter_file_replaces_a_longer_one(tmp_path):
    for count in (50, 1):
        with ResultFiles(tmp_path, has_masks=False) as files:
            files.add([ENTRY] * count)
    assert json.loads((tmp_path / "bbox.json").read_text()) == [ENTRY]


@pytest.mark.parametrize("taken", [0, 7])
def test_a_full_disk_leaves_what_was_written_before(tmp_path, taken, monkeypatch):
    class AlmostFull:
        """A file on a disk that has room for a few more bytes."""

        def __init__(self, file):
            self._file, self._room = file, taken
            self.is_full = False

        def write(self, content):
            if not self.is_full or self._file.tell() + len(content) <= self.size:
                return self._file.write(content)
            if self._room:
                content, self._room = content[: self._room], 0
                return self._file.write(content)
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name):
            return getattr(self._file, name)

    with ResultFiles(tmp_path, has_masks=False) as files:
        files.add([ENTRY])
        spare = files._files["bbox"]._spare
        disk = spare._file = AlmostFull(spare._file)
        disk.is_full, disk.size = True, spare.path.stat().st_size
        with pytest.raises(
            Res2NetError, match=r"The results '.*bbox.json' cannot be written: No space left.*Free some space"
        ):
            files.add([ENTRY] * 5)
        assert json.loads((tmp_path / "bbox.json").read_text()) == [ENTRY]
        disk.is_full = False
        files.add([ENTRY])
    assert json.loads((tmp_path / "bbox.json").read_text()) == [ENTRY] * 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_process_leaves_whole_files(tmp_path, number):
    code = (
        "import os, sys; from pathlib import Path; from res2net_runtime.result_files import JsonLines, ResultFiles\n"
        "with ResultFiles(Path(sys.argv[1]), False) as files, JsonLines(Path(sys.argv[1], 'r.jsonl')) as lines:\n"
        "    for n in range(3): files.add([{'image_id': n, 'bbox': []}]); lines.add({'file_name': str(n)})\n"
        "    os.kill(os.getpid(), int(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(int(number))], check=False)
    assert done.returncode == -number
    assert [entry["image_id"] for entry in json.loads((tmp_path / "bbox.json").read_text())] == [0, 1, 2]
    assert [record["file_name"] for record in read_json_lines(tmp_path / "r.jsonl")] == ["0", "1", "2"]


def test_a_process_that_is_killed_in_the_middle_of_a_write_leaves_a_whole_file(tmp_path):
    # Linux ends a write of many pages after any of them. Only a part of the kills hits a write: hence so many of them.
    done = subprocess.run([sys.executable, "-c", KILL, str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) >= KILLS / 2, done.stderr
    with ResultFiles(tmp_path, has_masks=False) as files:
        files.add([ENTRY])
    assert [path.name for path in tmp_path.iterdir()] == ["bbox.json"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_disk_without_hard_links_is_said(tmp_path, monkeypatch, caplog, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with ResultFiles(tmp_path, has_masks=False) as files:
        for count in range(1, 4):
            files.add([ENTRY])
            assert json.loads((tmp_path / "bbox.json").read_text()) == [ENTRY] * count
    assert (
        caplog.text.count("is on a disk without hard links: kill -9 can leave the last image in it half written") == 1
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bbox.json"]


def test_a_disk_that_is_full_while_a_file_is_published_leaves_the_one_before(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with ResultFiles(tmp_path, has_masks=False) as files:
        files.add([ENTRY])
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", refuse)
            with pytest.raises(Res2NetError, match=r"bbox.json' cannot be written: No space left"):
                files.add([ENTRY] * 50)
        assert json.loads((tmp_path / "bbox.json").read_text()) == [ENTRY]
        files.add([ENTRY])
        assert json.loads((tmp_path / "bbox.json").read_text()) == [ENTRY] * 2
        files.add([ENTRY])
    assert json.loads((tmp_path / "bbox.json").read_text()) == [ENTRY] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["bbox.json"]


def test_two_writers_are_refused(tmp_path):
    with JsonLines(tmp_path / "r.jsonl") as lines:
        lines.add({"file_name": "a"})
        message = rf"'.*r.jsonl' are being written by another process: process {os.getpid()}\. Wait.*--shard"
        with pytest.raises(Res2NetError, match=message):
            JsonLines(tmp_path / "r.jsonl")
    assert [record["file_name"] for record in read_json_lines(tmp_path / "r.jsonl")] == ["a"]


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with JsonLines(tmp_path / "r.jsonl") as lines:
        lines.add({"file_name": "a"})
    assert "is on a disk without locks: do not let two processes write there" in caplog.text


def test_a_line_that_was_not_finished_is_replaced(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"file_name": "a"}\n{"file_name": "b')
    assert [record["file_name"] for record in read_json_lines(path)] == ["a"]
    with JsonLines(path, keeps_old=True) as lines:
        lines.add({"file_name": "c"})
    assert path.read_text() == '{"file_name": "a"}\n{"file_name": "c"}\n'
    JsonLines(path).__exit__()
    assert path.read_text() == ""


@pytest.mark.parametrize("line", ["[]", "{}", "no JSON", '{"file_name": 1}', "[" * 100_000])
def test_another_file_of_this_name_is_named(tmp_path, line):
    (tmp_path / "r.jsonl").write_text(f'{{"file_name": "a"}}\n{line}\n')
    with pytest.raises(
        Res2NetError, match=r"Line 2 of '.*r.jsonl' is not a result of this program. Move the file away"
    ):
        list(read_json_lines(tmp_path / "r.jsonl"))


def test_names_that_are_not_utf8_are_stored_escaped(tmp_path):
    with ResultFiles(tmp_path, has_masks=False) as files:
        files.add([ENTRY], file_name="\udcd6.png")
    assert json.loads((tmp_path / "bbox.json").read_text())[0]["file_name"] == "\\xd6.png"
