#!/usr/bin/env python3
"""Compares the results of two checkouts, to prove that a refactoring changed none of them.

    git worktree add ../before REVISION
    python tests/compare_checkouts.py ../before .

Not a pytest module. Both run in this Python, which must have everything that ``make test`` installs. It compares the names of
the tests, ``--help`` of every command, the page of the zoo, the weights after two training steps, the ONNX export, and the
outputs of the Paddle export. It prints differences of the first three. The last three must be equal; otherwise the exit code
is 1.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx

RECIPE = "demo_mask_rcnn"
RUN_EXPORT = """
import sys, hashlib, numpy as np
from res2net_runtime import Predictor, decode_image
from pathlib import Path
digest = hashlib.sha256()
for backend in ("paddle", "onnxruntime"):
    with Predictor(sys.argv[1], backend=backend, cpu_threads=1) as predictor:
        for path in sorted(Path(sys.argv[2]).iterdir()):
            found = predictor(str(path))
            for array in (found.boxes_xyxy, found.scores, found.labels, found.masks):
                digest.update(np.ascontiguousarray(array).tobytes())
print(len(found.scores), digest.hexdigest())
"""


class Checkout:
    """A checkout, whose code the commands run."""

    def __init__(self, root: Path, work_dir: Path) -> None:
        self.root, self.work_dir = root.resolve(), work_dir
        work_dir.mkdir()

    def run(self, *arguments: object, cwd: Path | None = None) -> str:
        """Run this Python with the checkout's packages; return what it prints."""
        path = os.pathsep.join([str(self.root), str(self.root / "deploy" / "python")])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd or self.work_dir, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{shlex.join(command)} in {self.root} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def test_names(self) -> str:
        """Return the names of the tests without their files, one per line."""
        lines = self.run("-m", "pytest", "--collect-only", "-q", cwd=self.root).splitlines()
        return "\n".join(sorted(line.partition("::")[2] for line in lines if "::" in line))

    def helps(self) -> str:
        """Return ``--help`` of every command."""
        overview = self.run("-m", "ppdet_res2net", "--help")
        commands = re.findall(r"^  ([a-z][a-z-]+)  ", overview.partition("commands:")[2], re.MULTILINE)
        texts = [overview, *(self.run("-m", "ppdet_res2net", command, "--help") for command in commands)]
        texts += [self.run("-m", module, "--help") for module in ("res2net_runtime", "res2net_runtime.quantize")]
        return "\n".join(texts)

    def zoo_page(self) -> str:
        """Return the page about the published models."""
        return self.run("-m", "ppdet_res2net", "models", "--markdown")

    def trained(self) -> str:
        """Train two steps; return the checksum of the weights."""
        self.run("-m", "ppdet_res2net", "make-demo-data", "data", "--train", 8, "--val", 4)
        self.run("-m", "ppdet_res2net", "train", "-c", RECIPE, "-o", *self._datasets(), "--max_steps", 2)
        return _checksum(self._weights())

    def onnx(self) -> str:
        """Export, after :meth:`trained`; return the checksum of the ONNX graph, which does not contain our version."""
        command = ["export", "-c", RECIPE, "-o", f"weights={self._weights()}", *self._datasets()]
        self.run("-m", "ppdet_res2net", *command, "--format", "paddle,onnx")
        model = onnx.load(self.work_dir / "output_inference" / RECIPE / "model.onnx")
        return hashlib.sha256(model.graph.SerializeToString()).hexdigest()

    def outputs(self) -> str:
        """Run the exports, after :meth:`onnx`; return the checksum of their detections."""
        return self.run("-c", RUN_EXPORT, Path("output_inference", RECIPE), Path("data", "val2017"))

    def _weights(self) -> Path:
        return self.work_dir / "output" / RECIPE / "model_final.pdparams"

    def _datasets(self) -> list[str]:
        return [f"{name}.dataset_dir=data" for name in ("TrainDataset", "EvalDataset", "TestDataset")]


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


COMPARED: dict[str, tuple[Callable[[Checkout], str], bool]] = {
    "names of the tests": (Checkout.test_names, False),
    "--help of every command": (Checkout.helps, False),
    "models --markdown": (Checkout.zoo_page, False),
    "weights after two steps": (Checkout.trained, True),
    "ONNX export": (Checkout.onnx, True),
    "outputs of the exports": (Checkout.outputs, True),
}


def main() -> int:
    """Compare; returns 1 if results differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, metavar="DIR", help="a checkout")
    parser.add_argument("after", type=Path, metavar="DIR", help="another one")
    parser.add_argument("--only", nargs="+", choices=COMPARED, metavar="WHAT", help="some of: " + ", ".join(COMPARED))
    args = parser.parse_args()
    has_failed = False
    with tempfile.TemporaryDirectory() as folder:
        checkouts = [
            Checkout(root, Path(folder, name)) for root, name in ((args.before, "before"), (args.after, "after"))
        ]
        for what, (look, must_be_equal) in COMPARED.items():
            if args.only and what not in args.only:
                continue
            before, after = (look(checkout) for checkout in checkouts)
            print(
                f"{what}: {'equal' if before == after else 'DIFFERENT'} ({len(before.splitlines())} lines)", flush=True
            )
            if before != after:
                lines = difflib.unified_diff(
                    before.splitlines(), after.splitlines(), "before", "after", n=0, lineterm=""
                )
                print("\n".join(f"  {line}" for line in lines))
                has_failed |= must_be_equal
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
