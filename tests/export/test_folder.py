"""The exported folder: it is replaced whole or not at all, what is removed is named, and model.onnx describes itself."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ppdet_res2net.errors import ExportError
from ppdet_res2net.export.folder import NetworkWriter, write_folder
from tests.helpers.training_runs import messages

pytest.importorskip("onnx")

DESCRIPTION = {
    "task": "detection",
    "label_list": ["Bär", 'cat, "small"'],
    "category_ids": [1, 7],
    "Preprocess": [{"type": "NormalizeImage", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}],
    "draw_threshold": 0.5,
}


def _writer(factor: float = 1.0) -> NetworkWriter:
    from ppdet_res2net.export.onnx_builder import Graph

    def save_paddle(folder: Path) -> Path:
        (folder / "model.json").write_text(f"graph {factor}")
        (folder / "model.pdiparams").write_text(f"weights {factor}")
        return folder / "model.json"

    def make_onnx():
        graph = Graph()
        image = graph.input("image", ["N", 3])
        graph.output("scores", image * np.float32(factor), ["N", 3], np.float32)
        return graph.model("ppdet_res2net", "1.2.3")

    return NetworkWriter(save_paddle, make_onnx, DESCRIPTION)


def _content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _fail(_folder: Path) -> None:
    raise ExportError("The exported model does not give the eager model's results.")


def test_a_new_export_leaves_nothing_of_other_weights_and_says_so(tmp_path, caplog):
    folder = tmp_path / "model"
    write_folder(folder, ["paddle", "onnx"], _writer())
    assert "removed" not in messages(caplog)
    for name in ("model_int8.onnx", "notes.txt"):
        (folder / name).write_text("of the user")
    write_folder(folder, ["paddle"], _writer(2.0))
    assert set(_content(folder)) == {"infer_cfg.yml", "model.json", "model.pdiparams", "notes.txt"}
    assert (folder / "model.json").read_text() == "graph 2.0"
    said = messages(caplog)
    assert f"removed model.onnx of an earlier export from '{folder}'; its weights may be others." in said
    assert "To have it too: export with --format paddle,onnx" in said
    assert "removed model_int8.onnx of an" in said and "too: run 'python -m res2net_runtime.quantize'" in said
    assert list(yaml.safe_load((folder / "infer_cfg.yml").read_text())["formats"]) == ["paddle"]


def test_a_graph_of_an_older_paddle_does_not_stay_beside_the_new_one(tmp_path, caplog):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.pdmodel").write_text("of Paddle 2.6")
    write_folder(folder, ["paddle"], _writer())
    assert not (folder / "model.pdmodel").exists() and "removed" not in messages(caplog)  # the format is still there


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("a defect"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("existed", [True, False])
def test_an_export_that_fails_leaves_the_earlier_one_whole(tmp_path, monkeypatch, error, existed):
    folder = tmp_path / "model"
    if existed:
        write_folder(folder, ["paddle", "onnx"], _writer())
        before = _content(folder)

    def fail(*arguments):
        raise error

    monkeypatch.setattr("ppdet_res2net.export.formats.onnx.write", fail)  # after Paddle's files
    expected = ExportError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_folder(folder, ["paddle", "onnx"], _writer(2.0))
    if existed:
        assert _content(folder) == before
    else:
        assert not folder.exists()


def test_an_export_that_is_not_verified_does_not_replace_the_earlier_one(tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(ExportError, match=r"the eager model's results\. '.*model' was not written\."):
        write_folder(folder, ["paddle"], _writer(), _fail)
    assert not folder.exists()
    seen = []
    write_folder(folder, ["paddle"], _writer(), lambda unfinished: seen.append(_content(unfinished)))
    before = _content(folder)
    assert seen == [before]
    with pytest.raises(ExportError, match=r"the eager model's results\. '.*model' is as it was before\."):
        write_folder(folder, ["onnx"], _writer(2.0), _fail)
    assert _content(folder) == before


def test_what_a_killed_export_has_left_is_removed_by_the_next_one(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = tmp_path / "model"
    code = (
        "import os, signal, sys; from pathlib import Path; from ppdet_res2net.export.folder import *\n"
        "kill = lambda unfinished: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_folder(Path(sys.argv[1]), ['paddle'], NetworkWriter(lambda to: to / 'model.json', None, {}), kill)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    lock, left = sorted(folder.iterdir(), key=lambda path: path.is_dir())
    assert lock.name == ".lock" and left.name.startswith(".export.unfinished-")
    write_folder(folder, ["paddle"], _writer())
    assert set(_content(folder)) == {"infer_cfg.yml", "model.json", "model.pdiparams"}
    assert f"removing '{left}', which a process that was killed has left" in messages(caplog)


def test_two_exports_do_not_write_to_one_folder_at_once(tmp_path):
    folder = tmp_path / "model"

    def export_again(_unfinished: Path) -> None:
        with pytest.raises(ExportError, match=rf"^Another export is writing to this folder: process {os.getpid()}\. "):
            write_folder(folder, ["paddle"], _writer(2.0))

    write_folder(folder, ["paddle"], _writer(), export_again)
    assert (folder / "model.json").read_text() == "graph 1.0"
    assert set(_content(folder)) == {"infer_cfg.yml", "model.json", "model.pdiparams"}


def test_nothing_is_removed_on_a_drive_without_locks(tmp_path, monkeypatch):
    left = tmp_path / ".unfinished-a"
    left.mkdir()

    def fail(*_arguments):
        raise OSError(errno.EBADF, "Bad file descriptor")  # as on NFS

    monkeypatch.setattr("fcntl.flock", fail)
    write_folder(tmp_path, ["paddle"], _writer())
    assert left.is_dir() and (tmp_path / "model.json").is_file()


def test_a_folder_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "disk")
    write_folder(tmp_path / "model", ["paddle"], _writer())
    assert (tmp_path / "model").is_symlink() and (tmp_path / "disk" / "infer_cfg.yml").is_file()


def test_the_onnx_file_describes_itself(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    write_folder(tmp_path, ["onnx"], _writer())
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    meta = session.get_modelmeta()
    assert (meta.producer_name, meta.graph_name) == ("ppdet_res2net", "ppdet_res2net")
    entries = {name: json.loads(text) for name, text in meta.custom_metadata_map.items()}
    schema = {"name": "res2net_runtime", "version": 2}
    assert entries == {"schema": schema, **DESCRIPTION, "color_order": "RGB"}
    described = yaml.safe_load((tmp_path / "infer_cfg.yml").read_text())
    assert {name: described[name] for name in DESCRIPTION} == DESCRIPTION


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_folder(tmp_path / "model", ["paddle", "onnx"], _writer())
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "model").iterdir()}
    assert set(modes.values()) == {mode}, modes
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o777 & ~umask
