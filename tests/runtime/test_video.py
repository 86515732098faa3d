"""Videos and cameras: reading, detecting in every frame, and the annotated video."""

from __future__ import annotations

import functools
import http.server
import itertools
import json
import os
import threading

import cv2
import numpy as np
import pytest

from res2net_runtime import ImageError, video, video_writer
from res2net_runtime.cli import main
from res2net_runtime.video import Camera, VideoFile
from res2net_runtime.video_writer import CODECS, VideoWriter, has_pyav
from tests.helpers.runtime_toys import BRIGHT, DARK, picture, toy_model_dir

FPS = 10
INSTALLED = [name for name in CODECS if name != "h264" or has_pyav()]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return toy_model_dir(tmp_path_factory)


@pytest.fixture
def clip(tmp_path):
    """Twelve frames, of which the second half shows nothing."""
    path = tmp_path / "in" / "clip.mp4"
    path.parent.mkdir()
    with VideoWriter(path, FPS, "mpeg4") as writer:
        for value in [BRIGHT] * 6 + [DARK] * 6:
            writer.write(picture(48, 64, value))
    return path


def run(model_dir, output_dir, *arguments) -> int:
    paths = ["--model_dir", str(model_dir), "--output_dir", str(output_dir)]
    return main([*paths, "--run_mode", "paddle", "--cpu_threads", "1", *arguments])


def test_frames_of_a_file(clip):
    with VideoFile(clip) as frames:
        assert frames.fps == FPS and frames.frame_count == 12
        seen = list(frames)
    assert [frame.index for frame in seen] == list(range(12))
    assert seen[3].time_s == pytest.approx(0.3)
    assert seen[0].image.shape == (48, 64, 3) and seen[0].image.dtype == np.uint8
    assert abs(int(seen[0].image.mean()) - BRIGHT) < 5 and abs(int(seen[-1].image.mean()) - DARK) < 5


def test_frames_are_rgb(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[:, :, 0] = 250
    with VideoWriter(tmp_path / "red.mp4", FPS, "mpeg4") as writer:
        writer.write(red)
    with VideoFile(tmp_path / "red.mp4") as frames:
        colour = next(iter(frames)).image.mean(axis=(0, 1))
    assert colour[0] > 200 and colour[1] < 40 and colour[2] < 40


@pytest.mark.parametrize("batch_size", ["1", "5"])
def test_video_file(model_dir, clip, tmp_path, capsys, batch_size):
    output = tmp_path / "out"
    arguments = ["--video_file", str(clip), "--save_results", "--batch_size", batch_size]
    assert run(model_dir, output, *arguments) == 0
    assert "12 of 12 frames, 6 detections with a score of at least 0.5, Paddle" in capsys.readouterr().out
    with VideoFile(next(output.glob("clip.*"))) as frames:
        assert frames.fps == FPS
        pictures = [frame.image for frame in frames]
    assert len(pictures) == 12 and pictures[0].shape == (48, 64, 3)
    assert pictures[0].std() > 10 > pictures[-1].std()  # drawn where something was found
    boxes, masks = (json.loads((output / name).read_text()) for name in ("bbox.json", "mask.json"))
    assert [entry["image_id"] for entry in boxes] == list(range(6)) and len(masks) == 6
    assert boxes[3]["file_name"] == "clip.mp4" and boxes[3]["time_s"] == 0.3
    np.testing.assert_allclose(boxes[0]["bbox"], [0, 0, 64, 48], rtol=1e-4)


def test_video_that_breaks_off(model_dir, tmp_path, capsys):
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for _ in range(40):
        writer.write(picture(48, 64))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run(model_dir, tmp_path / "out", "--video_file", str(path), "--save_results") == 1
    captured = capsys.readouterr()
    assert "of 40 frames: it is damaged or cut short. Copy it again." in captured.err
    entries = json.loads((tmp_path / "out" / "bbox.json").read_text())
    assert 5 < len(entries) < 30  # what there is has been done
    assert f"{len(entries)} of {len(entries)} frames" in captured.out


def test_unreadable_videos(model_dir, tmp_path, capsys):
    with pytest.raises(ImageError, match="There is no video '.*gone.mp4'. Check the path."):
        VideoFile(tmp_path / "gone.mp4")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video at all")
    assert run(model_dir, tmp_path, "--video_file", str(tmp_path / "in" / "bad.mp4")) == 1
    message = capsys.readouterr().err
    assert "Error: Cannot open video '" in message and "Convert it to an MP4 file with H.264." in message


def test_video_is_not_overwritten(model_dir, clip, capsys):
    assert run(model_dir, clip.parent, "--video_file", str(clip)) == 1
    assert "holds the images themselves" in capsys.readouterr().err


def test_frames_of_another_size(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", FPS, "mpeg4") as writer:
        writer.write(picture(48, 64))
        with pytest.raises(ImageError, match=r"The frames change from \(64, 48\) to \(48, 64\)"):
            writer.write(picture(64, 48))


@pytest.mark.parametrize("codec", INSTALLED)
def test_video_that_cannot_be_written(tmp_path, codec):
    with VideoWriter(tmp_path / "nowhere" / "a.mp4", FPS, codec) as writer:
        with pytest.raises(
            ImageError, match=r"Cannot write the video '.*nowhere/a\.(mp4|webm)' \(.*Choose another folder"
        ):
            writer.write(picture(48, 64))


def test_pictures_that_stay(tmp_path):
    with VideoWriter(tmp_path / "slow.mp4", FPS, "mpeg4") as writer:
        writer.write(picture(48, 64, BRIGHT), until_s=1.0)
        writer.write(picture(48, 64, DARK), until_s=1.01)  # shorter than a frame, and shown all the same
    with VideoFile(tmp_path / "slow.mp4") as frames:
        values = [int(frame.image.mean()) for frame in frames]
    assert len(values) == 11 and values[9] > 150 > values[10]


class FakeCamera:
    """A camera of five frames that waits until a frame has been looked at."""

    def __init__(self, source, *options):
        self.source, self.released = source, False
        self._values = itertools.chain([BRIGHT] * 5)

    def isOpened(self):  # noqa: N802
        return self.source == 0

    def get(self, key):
        return 0.0

    def read(self):
        value = next(self._values, None)
        return value is not None, None if value is None else picture(48, 64, value)

    def release(self):
        self.released = True


def test_camera(model_dir, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(video.cv2, "VideoCapture", FakeCamera)
        assert run(model_dir, tmp_path / "out", "--camera_id", "0", "--save_results") == 0
    out = capsys.readouterr().out
    assert " frames, " in out and "detections with a score of at least 0.5" in out
    entries = json.loads((tmp_path / "out" / "bbox.json").read_text())
    assert 1 <= len(entries) <= 5 and entries[0]["file_name"].startswith("camera_0.")
    assert [entry["image_id"] for entry in entries] == list(range(len(entries)))
    with VideoFile(next((tmp_path / "out").glob("camera_0.*"))) as frames:
        assert len(list(frames)) >= len(entries)


def test_camera_gives_the_newest_frame(monkeypatch):
    monkeypatch.setattr(video.cv2, "VideoCapture", FakeCamera)
    with Camera(0) as camera:
        camera._reader.start()
        camera._reader.join()  # all five frames have come and gone
        monkeypatch.setattr(camera._reader, "start", lambda: None)
        frames = list(camera)
    assert len(frames) == 1 and camera._capture.released


def test_camera_that_hangs_does_not_hang_the_program(monkeypatch):
    unplugged = threading.Event()

    class Hanging(FakeCamera):
        def read(self):
            unplugged.wait(timeout=10)
            return False, None

    monkeypatch.setattr(video.cv2, "VideoCapture", Hanging)
    monkeypatch.setattr(video, "_MAX_WAIT_S", 0.05)
    with Camera(0) as camera:
        camera._reader.start()
    assert camera._reader.is_alive() and not camera._capture.released
    unplugged.set()
    camera._reader.join()


def test_camera_is_stopped_by_ctrl_c(model_dir, tmp_path, monkeypatch, capsys):
    class Interrupted(FakeCamera):
        def __init__(self, source):
            super().__init__(source)
            self._values = itertools.repeat(BRIGHT)  # endless

    from res2net_runtime import jobs

    note, count = jobs._note, itertools.count(1)

    def note_three(*arguments, **more):
        note(*arguments, **more)
        if next(count) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(video.cv2, "VideoCapture", Interrupted)
    monkeypatch.setattr(jobs, "_note", note_three)
    assert run(model_dir, tmp_path / "out", "--camera_id", "0", "--save_results") == 0
    assert "3 of 3 frames, 3 detections" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out" / "mask.json").read_text())) == 3


def test_no_such_camera(model_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(video.cv2, "VideoCapture", FakeCamera)
    assert run(model_dir, tmp_path, "--camera_id", "3") == 1
    message = capsys.readouterr().err
    assert "Error: Cannot open camera 3: check that it is connected, that no other program uses it" in message


@pytest.mark.parametrize("codec", INSTALLED)
@pytest.mark.parametrize("size", [(48, 64), (49, 63)])
def test_every_codec_keeps_pictures_and_time(tmp_path, codec, size):
    with VideoWriter(tmp_path / "a.avi", 29.97, codec) as writer:
        for value in (BRIGHT,) * 20 + (DARK,) * 10:
            writer.write(picture(*size, value))
    assert writer.path == tmp_path / f"a{CODECS[codec].suffix}" and list(tmp_path.iterdir()) == [writer.path]
    with VideoFile(writer.path) as frames:
        assert frames.fps == pytest.approx(29.97, abs=0.05)
        seen = [frame.image for frame in frames]
    assert len(seen) == 30
    assert seen[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert abs(int(seen[0].mean()) - BRIGHT) < 6 and abs(int(seen[-1].mean()) - DARK) < 6


@pytest.mark.skipif(not has_pyav(), reason="PyAV is not installed")
def test_h264_is_what_browsers_play(tmp_path):
    import av

    with VideoWriter(tmp_path / "a", FPS, "h264") as writer:
        for _ in range(5):
            writer.write(picture(48, 64, BRIGHT))
    with av.open(str(writer.path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.frames == 5
    content = writer.path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # the index comes first


def test_the_codec_follows_what_is_installed(monkeypatch, caplog, tmp_path):
    caplog.set_level("INFO", "res2net_runtime")
    monkeypatch.setattr(video_writer, "has_pyav", lambda: True)
    assert video_writer.choose_codec() == "h264" and caplog.text == ""
    monkeypatch.setattr(video_writer, "has_pyav", lambda: False)
    assert video_writer.choose_codec() == "vp8"
    assert "With PyAV (pip install av) they are H.264 in MP4" in caplog.text
    with pytest.raises(
        ImageError, match="H.264 is written with PyAV, which is not installed. pip install av, or choose vp8"
    ):
        VideoWriter(tmp_path / "a", FPS, "h264")


def test_the_log_says_how_a_video_is_written(model_dir, clip, tmp_path, caplog):
    caplog.set_level("INFO", "res2net_runtime")
    assert run(model_dir, tmp_path / "out", "--video_file", str(clip), "--video_codec", "vp8") == 0
    assert f"writing '{tmp_path}/out/clip.webm': VP8 in WebM, by OpenCV" in caplog.text


def test_a_video_without_pictures_gives_results_only(model_dir, clip, tmp_path, capsys):
    arguments = ["--video_file", str(clip), "--no_pictures", "--save_jsonl"]
    assert run(model_dir, tmp_path / "out", *arguments) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [(line["image_id"], line["time_s"]) for line in lines] == [(n, n / FPS) for n in range(12)]


def test_names_of_videos_that_are_not_utf8(model_dir, clip, tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"\xd6")
    os.mkdir(folder)
    path = os.path.join(folder, b"\xd0.mp4")
    os.rename(clip, path)
    output = os.path.join(os.fsencode(tmp_path), b"\xd7")
    assert run(model_dir, os.fsdecode(output), "--video_file", os.fsdecode(path)) == 0
    (name,) = os.listdir(output)
    assert name.startswith(b"\\xd0.") and os.path.getsize(os.path.join(output, name)) > 500


@pytest.fixture
def server(clip):
    """Serve the folder of the clip on this machine."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(clip.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_stream_is_read_as_a_camera(model_dir, server, tmp_path):
    assert run(model_dir, tmp_path / "out", "--stream_url", f"{server}/clip.mp4", "--save_results") == 0
    entries = json.loads((tmp_path / "out" / "bbox.json").read_text())
    assert entries == [] or entries[0]["file_name"].startswith("stream.")
    assert len(list((tmp_path / "out").glob("stream.*"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--stream_url", "http://me:secret@127.0.0.1:1/x?key=y"],
            "Cannot open stream 'http://127.0.0.1:1/x?...=...': check",
        ),
        (["--stream_url", "file:///etc/passwd"], "'file:///etc/passwd' is not the url of a stream: expected rtsp://"),
        (["--stream_url", "concat:a|b"], "'concat:a|b' is not the url of a stream"),
        (["--video_file", "rtsp://me:secret@host/x"], "'rtsp://host/x' is a url. Pass it as --stream_url"),
        (["--image_file", "http://me:secret@host/x.jpg"], "'http://host/x.jpg' is a url. Download the image first"),
        (["--image_dir", "s3://bucket/x"], "There is no image folder 's3://bucket/x'"),
    ],
)
def test_urls_are_read_only_when_asked_and_shown_without_secrets(model_dir, tmp_path, capsys, arguments, message):
    assert run(model_dir, tmp_path / "out", *arguments) == 1
    error = capsys.readouterr().err
    assert message in error and "secret" not in error
