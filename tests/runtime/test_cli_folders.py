"""The runtime's command line on many images: names of any kind, subfolders, shares, results as they come, going on."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from res2net_runtime import jobs
from res2net_runtime.cli import main
from res2net_runtime.errors import ImageError
from res2net_runtime.pictures import save_picture
from res2net_runtime.result_files import ResultFiles
from tests.helpers.runtime_toys import BRIGHT, picture, toy_model_dir

ROOT = Path(__file__).resolve().parents[2]
ODD_NAMES = [
    b"\xd6\xd0.png",
    b"new\nline.png",
    b"\x1b[31m.png",
    b"quote'\".png",
    b"#a?b%20c.png",
    b"-x.png",
    "\U0001f600 e\u0301.png".encode(),
    b"x" * 251 + b".png",
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return toy_model_dir(tmp_path_factory)


@pytest.fixture
def photos(tmp_path):
    encoded = cv2.imencode(".png", picture(40, 60, BRIGHT))[1].tobytes()
    for name in ("b.png", "sub/a.png", "sub/b.png", "sub/deep/c.png", "z.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(encoded)
    return tmp_path / "photos"


def run(model_dir, output_dir, *arguments) -> int:
    paths = ["--model_dir", str(model_dir), "--output_dir", str(output_dir)]
    return main([*paths, "--run_mode", "paddle", "--cpu_threads", "1", *map(str, arguments)])


def lines_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_names_of_any_kind(model_dir, tmp_path, capsys):
    folder = os.path.join(os.fsencode(tmp_path), b"in\xd6 \n'")
    os.mkdir(folder)
    encoded = cv2.imencode(".png", picture(40, 60, BRIGHT))[1].tobytes()
    for name in ODD_NAMES:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(encoded)
    with open(os.path.join(folder, b"bad\xff\n.png"), "wb") as file:
        file.write(b"no picture")
    output = os.path.join(os.fsencode(tmp_path), b"out\xd6")
    arguments = ["--image_dir", os.fsdecode(folder), "--save_results", "--save_jsonl"]
    assert run(model_dir, os.fsdecode(output), *arguments) == 1
    captured = capsys.readouterr()
    assert f"{len(ODD_NAMES)} of {len(ODD_NAMES) + 1} images" in captured.out and "out\\xd6'" in captured.out
    assert "bad\\xff\\x0a.png' (10 bytes)" in captured.err and "in\\xd6 \\x0a'/bad" in captured.err
    assert set(os.listdir(output)) == {*ODD_NAMES, b"bbox.json", b"mask.json", b"results.jsonl"}
    stored = {entry["file_name"] for entry in json.loads(Path(os.fsdecode(output), "bbox.json").read_text())}
    assert len(stored) == len(ODD_NAMES) and "\\xd6\\xd0.png" in stored and "new\nline.png" in stored
    "".join(stored).encode("utf-8")


def test_pipes_and_folders_are_not_opened(model_dir, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.png")
    assert run(model_dir, tmp_path / "out", "--image_file", tmp_path / "pipe.png") == 1
    assert "pipe.png': it is a named pipe, not a file" in capsys.readouterr().err


def test_subfolders_come_back_in_pictures_and_names(model_dir, photos, tmp_path):
    output = tmp_path / "out"
    assert run(model_dir, output, "--image_dir", photos, "--recursive", "--save_jsonl") == 0
    names = ["b.png", "sub/a.png", "sub/b.png", "sub/deep/c.png", "z.png"]
    assert files_below(output) == sorted([*names, "results.jsonl"])
    lines = lines_of(output / "results.jsonl")
    assert [(line["file_name"], line["image_id"]) for line in lines] == [(name, n) for n, name in enumerate(names)]
    assert (lines[0]["width"], lines[0]["height"]) == (60, 40)
    (detection,) = lines[0]["detections"]
    assert set(detection) == {"category", "category_id", "bbox", "score", "segmentation"}
    assert detection["category"] == "dog" and detection["category_id"] == 18


def test_results_below_the_images_are_not_read_again(model_dir, photos):
    arguments = ["--image_dir", photos, "--recursive"]
    for _ in range(2):
        assert run(model_dir, photos / "out", *arguments) == 0
    assert len(files_below(photos / "out")) == 5


def test_no_picture_replaces_an_image(model_dir, photos, tmp_path, capsys):
    for name in ("b.png", "z.png"):
        (photos / name).unlink()
    before = (photos / "sub" / "a.png").read_bytes()
    assert run(model_dir, photos, "--image_dir", photos, "--recursive") == 1
    assert "sub/a.png' would replace the image '" in capsys.readouterr().err
    (tmp_path / "linked").symlink_to(photos / "sub")
    (tmp_path / "list.txt").write_text("linked/a.png\n")
    assert run(model_dir, photos / "..", "--image_list", tmp_path / "list.txt") == 1
    assert (photos / "sub" / "a.png").read_bytes() == before


def test_a_picture_is_whole_or_not_there(tmp_path, monkeypatch):
    (tmp_path / "photo.png").write_bytes(b"the photo")
    (tmp_path / "out.png").symlink_to("photo.png")
    save_picture(tmp_path / "out.png", picture(4, 4))
    assert (tmp_path / "photo.png").read_bytes() == b"the photo" and not (tmp_path / "out.png").is_symlink()

    def fill_the_disk(path, content):
        with open(path, "wb") as file:
            file.write(content[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(ImageError, match="new.png' cannot be written: No space left on device"):
        save_picture(tmp_path / "new.png", picture(4, 4))
    assert files_below(tmp_path) == ["out.png", "photo.png"]


def test_a_link_to_itself_fails_alone(model_dir, photos, tmp_path, capsys):
    (photos / "loop.png").symlink_to("loop.png")
    (photos / "list.txt").write_text("loop.png\nb.png\n")
    assert run(model_dir, tmp_path / "out", "--image_list", photos / "list.txt") == 1
    captured = capsys.readouterr()
    assert "loop.png': Too many levels of symbolic links" in captured.err and "1 of 2 images" in captured.out


def test_an_empty_share_has_results(model_dir, photos, tmp_path, capsys):
    assert run(model_dir, tmp_path, "--image_dir", photos, "--save_results", "--save_jsonl", "--shard", "4/9") == 0
    assert "0 of 0 images" in capsys.readouterr().out
    assert (tmp_path / "bbox.4-of-9.json").read_text() == "[]\n" and (tmp_path / "results.4-of-9.jsonl").exists()


def test_without_pictures(model_dir, photos, tmp_path, capsys):
    output = tmp_path / "out"
    assert run(model_dir, output, "--image_dir", photos, "--no_pictures", "--save_results") == 0
    assert files_below(output) == ["bbox.json", "mask.json"]
    assert f"Results are in '{output}'." in capsys.readouterr().out
    assert run(model_dir, tmp_path / "none", "--image_file", photos / "b.png", "--no_pictures") == 0
    out = capsys.readouterr().out
    assert "dog " in out and " in '" not in out and files_below(tmp_path / "none") == []


def test_shares_can_be_put_together(model_dir, photos, tmp_path):
    common = ["--image_dir", photos, "--recursive", "--save_results", "--save_jsonl"]
    assert run(model_dir, tmp_path / "whole", *common) == 0
    for index in (1, 2, 3):
        assert run(model_dir, tmp_path / "shares", *common, "--shard", f"{index}/3") == 0
    whole, shares = tmp_path / "whole", tmp_path / "shares"
    together = [line for file in sorted(shares.glob("results.*.jsonl")) for line in lines_of(file)]
    assert sorted(together, key=lambda line: line["image_id"]) == lines_of(whole / "results.jsonl")
    boxes = [entry for file in shares.glob("bbox.*-of-3.json") for entry in json.loads(file.read_text())]
    assert sorted(boxes, key=lambda one: one["image_id"]) == json.loads((whole / "bbox.json").read_text())
    assert {name for name in files_below(shares) if name.endswith(".png")} == {
        name for name in files_below(whole) if name.endswith(".png")
    }


def test_an_interrupted_run_goes_on(model_dir, photos, tmp_path, capsys, monkeypatch):
    arguments = ["--image_dir", photos, "--recursive", "--save_results", "--skip_done"]
    assert run(model_dir, tmp_path / "whole", *arguments) == 0
    output, note, done = tmp_path / "out", jobs._note, []

    def note_and_interrupt(*values, **more):
        note(*values, **more)
        done.append(more["file_name"])
        if len(done) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_note", note_and_interrupt)
        assert run(model_dir, output, *arguments) == 130
    assert len(json.loads((output / "bbox.json").read_text())) == 2
    with (output / "results.jsonl").open("a") as file:
        file.write('{"file_name": "sub/b.png", "image')  # a line that a killed process has not finished
    capsys.readouterr()
    assert run(model_dir, output, *arguments) == 0
    assert "3 of 3 images, 2 done before, " in capsys.readouterr().out
    for name in files_below(tmp_path / "whole"):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert run(model_dir, output, *arguments) == 0
    assert "0 of 0 images, 5 done before, " in capsys.readouterr().out


def test_going_on_in_a_folder_of_something_else(model_dir, photos, tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text('{"file_name": "b.png", "image_id": 0, "classes": []}\n')
    assert run(model_dir, tmp_path, "--image_dir", photos, "--skip_done") == 1
    assert "results.jsonl' does not hold detections. Move it away" in capsys.readouterr().err
    (tmp_path / "results.jsonl").write_text('{"file_name": "b.png", "image_id": 0, "detections": [1]}\n')
    assert run(model_dir, tmp_path, "--image_dir", photos, "--skip_done", "--save_results") == 1
    assert "results.jsonl' does not hold detections. Move it away" in capsys.readouterr().err
    (tmp_path / "results.jsonl").unlink()
    os.mkfifo(tmp_path / "results.jsonl")
    assert run(model_dir, tmp_path, "--image_dir", photos, "--skip_done") == 1
    assert "results.jsonl' cannot be written: it is not a file. Remove it" in capsys.readouterr().err


def test_results_that_cannot_be_written_are_an_error(model_dir, photos, tmp_path, capsys):
    (tmp_path / "out" / "bbox.json").mkdir(parents=True)
    assert run(model_dir, tmp_path / "out", "--image_dir", photos, "--save_results") == 1
    error = capsys.readouterr().err
    assert "bbox.json' cannot be written: Is a directory" in error and "Choose another folder" in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_results_and_video_are_whole_after_a_signal(model_dir, tmp_path, number):
    """The program sends the signal to itself after two frames of a video."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(30):
        writer.write(picture(48, 64))
    writer.release()
    code = (
        "import os, sys; from res2net_runtime import cli, jobs\n"
        "note, seen = jobs._note, []\n"
        "def send(*values, **more):\n"
        "    note(*values, **more); seen.append(1)\n"
        "    if len(seen) == 2: os.kill(os.getpid(), int(sys.argv[1]))\n"
        "jobs._note = send\n"
        "sys.exit(cli.main(sys.argv[2:]))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(int(number)),
        "--model_dir",
        model_dir,
        "--video_file",
        tmp_path / "clip.avi",
    ]
    command += ["--output_dir", tmp_path / "out", "--save_results", "--run_mode", "paddle", "--video_codec", "mpeg4"]
    path = os.pathsep.join([str(ROOT / "deploy" / "python"), str(ROOT)])
    done = subprocess.run([*map(str, command)], env={**os.environ, "PYTHONPATH": path}, check=False, timeout=120)
    assert done.returncode == 128 + number
    assert len(json.loads((tmp_path / "out" / "bbox.json").read_text())) >= 2
    video = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert video.isOpened() and video.read()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image_file", "a", "--recursive"], "--recursive goes with --image_dir"),
        (["--image_dir", "a", "--list_root", "b"], "--list_root goes with --image_list"),
        (["--video_file", "a", "--shard", "1/2"], "--shard goes with --image_dir and --image_list"),
        (["--camera_id", "0", "--skip_done"], "--skip_done goes with --image_dir and --image_list"),
        (
            ["--image_dir", "a", "--no_pictures"],
            "--no_pictures leaves nothing to write; add --save_results, --save_jsonl or --save_labels",
        ),
        (
            ["--image_dir", ""],
            "argument --image_dir: got an empty text, expected a path; is a variable of the shell not",
        ),
        (["--image_dir", "a", "--shard", "3/2"], "argument --shard: got '3/2', expected i/n with i from 1 to n"),
    ],
)
def test_options_that_do_not_fit(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--model_dir", "m", *arguments])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_results_of_classes_without_masks(tmp_path):
    with ResultFiles(tmp_path, has_masks=False, suffix=".1-of-2") as files:
        files.add([])
    assert (tmp_path / "bbox.1-of-2.json").read_text() == "[]\n"
