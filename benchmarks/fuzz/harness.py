"""The common part of the fuzzers: run a function on seed after seed in a bounded process, and count what comes of it.

A fuzzer is a module with a function ``try_one(random, folder)``. It makes one input from the random generator, in the empty
folder if it needs files, and gives it to the code under test. It returns a word for what came of it, such as ``"read"``. An
error of the project (:class:`~res2net_runtime.Res2NetError`) is a proper answer. Anything else is a finding: another
exception, a crash, an input that takes too long, or one that needs more memory than the limit. If the module has a function
``prepare()``, it is called once per process, before memory is limited. ``LONGEST_MESSAGE`` is the number of characters that
an error may have; without it, that is 1000.

Processor time counts, so that a busy machine is no finding. An input that only waits may take ten times as long.

The seed of an input decides all of it, so a finding is saved as the command that repeats it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import queue
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from benchmarks.harness import child_environment, peak_memory_gb, take_over_stdout
from res2net_runtime import Res2NetError
from res2net_runtime.texts import printable_lines

__all__ = ["Limits", "Report", "find_fault", "fuzz", "run_main", "try_seed"]

_START_S = 120.0  # for importing engines and for prepare()
_ERROR_CHARACTERS = 1000  # longer messages print the input, not what is wrong with it


@dataclass(frozen=True)
class Limits:
    """What the inputs may cost.

    Attributes:
        count: Number of inputs.
        minutes: Time for all of them together.
        case_s: Processor time for one input, in seconds.
        memory_gb: Memory of the process, in units of 1e9 bytes.
    """

    count: int = 10_000
    minutes: float = 5.0
    case_s: float = 10.0
    memory_gb: float = 2.0


@dataclass
class Report:
    """What came of a number of inputs.

    Attributes:
        outcomes: Number of inputs by what came of them.
        findings: The faults: seed and what happened.
        longest_s, longest_seed: The input with the most processor time.
        largest_gb, largest_seed: The input with the largest resident memory of the process.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[int, str] = field(default_factory=dict)
    longest_s: float = 0.0
    longest_seed: int | None = None
    largest_gb: float = 0.0
    largest_seed: int | None = None

    def add(self, seed: int, outcome: str, seconds: float, memory_gb: float) -> None:
        """Count one input that gave a proper answer."""
        self.outcomes[outcome] += 1
        if seconds > self.longest_s:
            self.longest_s, self.longest_seed = seconds, seed
        if memory_gb > self.largest_gb:
            self.largest_gb, self.largest_seed = memory_gb, seed

    def add_finding(self, seed: int, what: str) -> None:
        """Count one input that did not."""
        self.outcomes["FINDING"] += 1
        self.findings[seed] = what

    def __str__(self) -> str:
        lines = [f"{sum(self.outcomes.values())} inputs, {len(self.findings)} findings"]
        lines += [f"  {count:7d}  {outcome}" for outcome, count in self.outcomes.most_common()]
        lines.append(f"longest {self.longest_s:.2f} s (seed {self.longest_seed})")
        lines.append(f"largest {self.largest_gb:.2f} GB (seed {self.largest_seed})")
        return "\n".join(lines)


def fuzz(module: str, first_seed: int, limits: Limits) -> Report:
    """Try inputs until their number or the time is used up; a process that ends is replaced.

    Args:
        module: The fuzzer, a dotted name.
        first_seed: The seed of the first input; the others follow it.
        limits: What the inputs may cost.
    """
    report = Report()
    deadline = time.monotonic() + 60 * limits.minutes
    seed, end = first_seed, first_seed + limits.count
    while seed < end and time.monotonic() < deadline:
        seed = _run_process(module, seed, end, limits, deadline, report)
    return report


def _run_process(module: str, seed: int, end: int, limits: Limits, deadline: float, report: Report) -> int:
    """Try inputs in one process; return the seed to continue with."""
    command = [sys.executable, "-m", "benchmarks.fuzz.harness", module, str(seed), str(end), str(limits.memory_gb)]
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*command, folder], stdout=subprocess.PIPE, stderr=errors, text=True, env=child_environment(1)
        )
        try:
            answers = _answers(process)
            if answers.get(timeout=_START_S) is None:
                raise RuntimeError(f"{module} cannot start ({_exit_reason(process.wait())}): {_tail(errors)}")
            while seed < end and time.monotonic() < deadline:
                try:
                    answer = _wait(answers, process.pid, limits.case_s)
                except TimeoutError as error:
                    report.add_finding(seed, str(error))
                    return seed + 1
                if answer is None:
                    report.add_finding(seed, f"the process ended with {_exit_reason(process.wait())}: {_tail(errors)}")
                    return seed + 1
                if "finding" in answer:
                    report.add_finding(seed, answer["finding"])
                else:
                    report.add(seed, **answer)
                seed += 1
            return seed
        finally:
            process.kill()
            process.wait()


def _answers(process: subprocess.Popen[str]) -> queue.Queue[dict[str, Any] | None]:
    """Return what the process answers, line by line; None is the end."""
    answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
    lines = process.stdout
    assert lines is not None

    def read() -> None:
        with lines:
            for line in lines:
                answers.put(json.loads(line))
        answers.put(None)

    threading.Thread(target=read, daemon=True).start()
    return answers


def _wait(answers: queue.Queue[dict[str, Any] | None], pid: int, case_s: float) -> dict[str, Any] | None:
    """Return the next answer of a process.

    Raises:
        TimeoutError: It has used ``case_s`` of processor time, or ten times as much has passed.
    """
    start_s, used_s = time.monotonic(), _processor_s(pid)
    while time.monotonic() < start_s + 10 * case_s:
        try:
            return answers.get(timeout=case_s)
        except queue.Empty:
            if _processor_s(pid) - used_s > 0.9 * case_s:  # the clock of the system is coarse
                raise TimeoutError(f"took more than {case_s} s of processor time") from None
    raise TimeoutError(f"did not end within {10 * case_s} s")


def _processor_s(pid: int) -> float:
    """Return the processor time that all threads of a process have used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _exit_reason(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _tail(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace")[-_ERROR_CHARACTERS:].strip()


def find_fault(message: str, longest: int = _ERROR_CHARACTERS) -> str | None:
    """Return what is wrong with a message: it is long because it prints the input, or would control a terminal."""
    if len(message) > longest:
        return f"a message of {len(message)} characters: {message[:200]}..."
    if printable_lines(message) != message:
        return f"a message with control characters: {message!r}"
    return None


def try_seed(module: Any, seed: int, folder: Path) -> dict[str, Any]:
    """Try one input; return the arguments of :meth:`Report.add`, or what was found."""
    Path("/proc/self/clear_refs").write_text("5")  # the largest resident memory is counted from now on
    start_s = time.process_time()
    try:
        with tempfile.TemporaryDirectory(dir=folder) as inputs:
            outcome = module.try_one(random.Random(seed), Path(inputs))
    except Res2NetError as error:
        if fault := find_fault(str(error), getattr(module, "LONGEST_MESSAGE", _ERROR_CHARACTERS)):
            return {"finding": fault}
        outcome = f"refused: {type(error).__name__}"
    except Exception:
        return {"finding": traceback.format_exc()[-_ERROR_CHARACTERS:]}
    return {"outcome": outcome, "seconds": time.process_time() - start_s, "memory_gb": peak_memory_gb()}


def _work(module_name: str, first: str, end: str, memory_gb: str, folder: str) -> None:
    """Run as the process of ``fuzz``."""
    answers = take_over_stdout()
    module = importlib.import_module(module_name)
    if hasattr(module, "prepare"):
        module.prepare()
    limit = int(float(memory_gb) * 1e9)
    # Not RLIMIT_AS: engines reserve more addresses than they ever use.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("{}", file=answers, flush=True)
    for seed in range(int(first), int(end)):
        print(json.dumps(try_seed(module, seed, Path(folder))), file=answers, flush=True)


def run_main(module: str, description: str) -> NoReturn:
    """Run a fuzzer's command line, and exit with 1 if it has found something.

    Args:
        module: The fuzzer, a dotted name.
        description: What it tries.
    """
    parser = argparse.ArgumentParser(
        description=description, prog=f"python -m {module}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = Limits()
    parser.add_argument("--seed", type=int, help="of the first input; default: a random one, which is printed")
    parser.add_argument("--count", type=int, default=defaults.count, help="number of inputs (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="for all inputs (default: %(default)s)")
    parser.add_argument(
        "--case_s", type=float, default=defaults.case_s, help="of processor time, for one input (default: %(default)s)"
    )
    parser.add_argument("--memory_gb", type=float, default=defaults.memory_gb, help="default: %(default)s")
    parser.add_argument("--findings", type=Path, default=Path("output/fuzz"), help="folder (default: %(default)s)")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(10**9) if args.seed is None else args.seed
    print(f"{module}: seeds from {seed}", flush=True)
    limits = Limits(args.count, args.minutes, args.case_s, args.memory_gb)
    report = fuzz(module, seed, limits)
    print(report)
    for found, what in report.findings.items():
        args.findings.mkdir(parents=True, exist_ok=True)
        command = f"python -m {module} --seed {found} --count 1 --case_s {limits.case_s} --memory_gb {limits.memory_gb}"
        target = args.findings / f"{module.rpartition('.')[2]}-{found}.txt"
        target.write_text(f"{command}\n\n{what}\n", encoding="utf-8")
        print(f"\n{command}\n{what}")
    sys.exit(1 if report.findings else 0)


if __name__ == "__main__":
    _work(*sys.argv[1:])
