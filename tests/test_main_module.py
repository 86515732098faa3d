"""``python -m ppdet_res2net`` in a folder that has files of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ppdet_res2net
import res2net_runtime


def test_files_of_the_current_folder_hide_no_module(tmp_path):
    for name in ("numpy", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was run')\n")
    paths = [str(Path(package.__file__).parents[1]) for package in (ppdet_res2net, res2net_runtime)]
    result = subprocess.run(
        [sys.executable, "-m", "ppdet_res2net", "models"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "res2net50" in result.stdout
