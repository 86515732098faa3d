"""The harness of the benchmarks: results and failures come back from other processes, and the machine is named."""

from __future__ import annotations

import os

import pytest

from benchmarks import classification, harness, train
from benchmarks.harness import ContenderError, call, child_environment, machine_line, run_main
from ppdet_res2net.errors import DatasetError


def test_a_function_runs_in_another_process_and_gives_its_result():
    peak_gb = call("benchmarks.harness:peak_memory_gb", {}, threads=1)
    assert 0.001 < peak_gb < 1  # of a process that has imported next to nothing
    assert call("os:getpid", {}, threads=1) != os.getpid()


def test_what_a_process_prints_does_not_mix_with_its_result():
    assert call("subprocess:call", {"args": ["echo", "noise"]}, threads=1) == 0


def test_a_process_that_fails_is_named_with_its_last_line():
    with pytest.raises(ContenderError, match="^os:stat failed with exit code 1: FileNotFoundError: .*'no-such-file'$"):
        call("os:stat", {"path": "no-such-file"}, threads=1)


def test_processes_get_their_number_of_threads():
    names = ("OMP_NUM_THREADS", "FLAGS_paddle_num_threads")
    assert [child_environment(3)[name] for name in names] == ["3", "3"]
    assert call("os:getenv", {"key": "OMP_NUM_THREADS"}, threads=3) == "3"


def test_the_machine_is_named(monkeypatch):
    monkeypatch.setattr("res2net_runtime.backends.cpu.cpu_name", lambda: "Some CPU")
    found = frozenset({"amx_bf16", "avx", "avx2", "avx512_bf16", "sse"})
    monkeypatch.setattr("res2net_runtime.backends.cpu.cpu_features", lambda: found)
    line = machine_line(threads=2)
    assert line.startswith("Some CPU, ") and "2 threads; avx2 avx512_bf16 amx_bf16; " in line and "paddle" in line


@pytest.mark.parametrize("benchmark", [train, classification])
def test_a_failing_contender_fails_the_benchmark_and_the_others_go_on(benchmark, monkeypatch, capsys):
    def fake_call(function, arguments, *, threads, python):
        if arguments["contender"] in ("ours", "eager"):
            raise ContenderError("it broke")
        figures = {"forward": [1.0, 2.0], "backward": [1.0, 2.0], "update": [1.0, 2.0], "peak_gb": 3.25}
        return figures if benchmark is train else 12.5

    monkeypatch.setattr(benchmark, "call", fake_call)
    monkeypatch.setattr(classification, "export", lambda model, folder: None)
    options = [] if benchmark is train else ["--rounds", "1", "--batches", "1", "--precisions", "fp32"]
    assert benchmark.main(options) == 1
    printed = capsys.readouterr()
    assert "it broke" in printed.out + printed.err
    assert ("3.25" if benchmark is train else "12.50") in printed.out
    assert harness.ROOT.is_dir()


def test_an_error_of_the_user_is_one_line():
    def main():
        raise DatasetError("annotation file not found: 'x.json'")

    with pytest.raises(SystemExit, match="^Error: annotation file not found: 'x.json'$"):
        run_main(main)
    with pytest.raises(SystemExit) as exit_info:
        run_main(lambda: 3)
    assert exit_info.value.code == 3
