"""The fuzzers' common part: what counts as a finding, and that it can be repeated."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.fuzz import harness
from benchmarks.harness import child_environment

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fuzzers read /proc")

FUZZER = """
import os
from res2net_runtime import Res2NetError

class RawError(Res2NetError):
    __str__ = Exception.__str__

def try_one(random, folder):
    kind = random.choice(["read", "refused", "exception", "crash", "slow", "memory", "long", "colour"])
    if kind == "refused":
        raise Res2NetError("no")
    if kind == "long":
        raise Res2NetError("x" * 10_000)
    if kind == "colour":
        raise RawError("\\x1b[31m")
    if kind == "exception":
        raise KeyError("oops")
    if kind == "crash":
        os.abort()
    while kind == "slow":
        pass
    if kind == "memory":
        bytearray(3_000_000_000)
    return "read"
"""


@pytest.fixture
def fuzzer(tmp_path, monkeypatch):
    (tmp_path / "toy_fuzzer.py").write_text(FUZZER)
    paths = child_environment(1)["PYTHONPATH"]
    monkeypatch.setattr(
        harness,
        "child_environment",
        lambda threads: {**child_environment(threads), "PYTHONPATH": f"{paths}:{tmp_path}"},
    )
    return "toy_fuzzer"


def test_answers_and_findings(fuzzer):
    report = harness.fuzz(fuzzer, 0, harness.Limits(count=30, case_s=0.5))
    assert sum(report.outcomes.values()) == 30
    assert set(report.outcomes) == {"read", "refused: Res2NetError", "FINDING"}
    found = " ".join(report.findings.values())
    for what in (
        "KeyError: 'oops'",
        "SIGABRT",
        "took more than 0.5 s of processor time",
        "MemoryError",
        "10000 characters",
        "control",
    ):
        assert what in found
    seed = next(iter(report.findings))
    again = harness.fuzz(fuzzer, seed, harness.Limits(count=1, case_s=0.5))
    assert list(again.findings) == [seed]


def test_an_input_that_waits_for_ever(tmp_path, fuzzer):
    (tmp_path / "waiting.py").write_text("import time\n\ndef try_one(random, folder):\n    time.sleep(600)\n")
    report = harness.fuzz("waiting", 5, harness.Limits(count=1, case_s=0.1))
    assert report.findings == {5: "did not end within 1.0 s"}


def test_a_fuzzer_that_cannot_start(fuzzer):
    with pytest.raises(RuntimeError, match="no_such_fuzzer cannot start"):
        harness.fuzz("no_such_fuzzer", 0, harness.Limits(count=1))


def test_the_command_says_how_to_repeat_a_finding(tmp_path):
    (tmp_path / "broken.py").write_text("def try_one(random, folder):\n    raise KeyError(1)\n")
    code = "from benchmarks.fuzz.harness import run_main; run_main('broken', '')"
    command = [sys.executable, "-c", code, "--seed", "7", "--count", "1", "--findings", str(tmp_path / "found")]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(1), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "broken: seeds from 7" in done.stdout
    assert (tmp_path / "found" / "broken-7.txt").read_text().startswith("python -m broken --seed 7 --count 1 ")
