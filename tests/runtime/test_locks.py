"""Two processes do not write the same results: the second one learns which process is the first."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from res2net_runtime import locks
from res2net_runtime.files import remove_abandoned, replacing
from res2net_runtime.locks import LockedError, WriterLock
from res2net_runtime.owners import this_machine

HOLD = """
import os, sys, time; from pathlib import Path; from res2net_runtime.locks import WriterLock
lock = WriterLock(Path(sys.argv[1])); lock.acquire()
if sys.argv[2] == "child" and os.fork(): os._exit(0)
print(flush=True); sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path):
    """Start a process that holds the lock until its standard input is closed."""
    started = []

    def start(how: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), how]
        one = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(one)
        assert one.stdout is not None and one.stdout.readline() == "\n"
        return one

    yield start
    for one in started:
        one.stdin.close()
        one.wait()
        one.stdout.close()


def test_the_holder_is_named(tmp_path, hold):
    one = hold("itself")
    with pytest.raises(LockedError, match=f"^process {one.pid}$"):
        WriterLock(tmp_path / "lock").acquire()
    one.kill()
    one.wait()
    assert (tmp_path / "lock").exists()  # nobody was left to remove it
    with WriterLock(tmp_path / "lock"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_holder_that_has_ended_is_said_to(tmp_path, hold):
    one = hold("child")
    one.wait()
    with pytest.raises(LockedError, match=f"^a process that process {one.pid}, which has ended, has started$"):
        WriterLock(tmp_path / "lock").acquire()
    one.stdin.close()
    with WriterLock(tmp_path / "lock", timeout_s=60):  # it waits for the child, which ends now
        pass


@pytest.mark.parametrize(
    ("note", "holder"),
    [
        ("123 ffffffff other.host\n", "^process 123 on host 'other.host' .if it has ended, remove '.*lock'.$"),
        ("", "^a process that has left no name$"),
        ("\x1b[31m \xff x", "^a process that has left no name$"),
    ],
)
def test_holders_that_cannot_be_asked(tmp_path, note, holder):
    (tmp_path / "lock").write_text(note, encoding="latin-1")
    with open(tmp_path / "lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match=holder):
            WriterLock(tmp_path / "lock").acquire()


def test_without_locks_the_note_decides(tmp_path, monkeypatch, hold):
    one = hold("itself")

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(LockedError, match=f"^process {one.pid}$"):
        WriterLock(tmp_path / "lock").acquire()
    one.kill()
    one.wait()
    with WriterLock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text().split()[:2] == [str(os.getpid()), this_machine()]


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "file").write_text("content")
    (tmp_path / "lock").symlink_to(tmp_path / "file")
    with pytest.raises(OSError):
        WriterLock(tmp_path / "lock").acquire()
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_only_what_killed_processes_have_left_is_removed(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("res2net_runtime.files._SEARCHING_SHARE", 1e9)  # search before every file
    path = tmp_path / "result.json"
    write = "unfinished.write_text('half')" if kind == "file" else "unfinished.mkdir(); (unfinished / 'a').touch()"
    code = (
        "import os, signal, sys; from res2net_runtime.files import replacing\n"
        f"with replacing(sys.argv[1]) as unfinished: {write}; os.kill(os.getpid(), signal.SIGKILL)"
    )
    with replacing(tmp_path / "live") as live:
        live.touch()
        subprocess.run([sys.executable, "-c", code, str(path)], check=False)
        (left,) = set(tmp_path.iterdir()) - {live}
        elsewhere = left.with_name(left.name.replace(this_machine(), "ffffffff"))
        elsewhere.touch()
        with replacing(path) as unfinished:
            unfinished.write_text("whole")
        assert set(tmp_path.iterdir()) == {path, live, elsewhere}
    remove_abandoned(tmp_path)
    assert path.read_text() == "whole" and elsewhere.exists()
