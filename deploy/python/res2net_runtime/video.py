"""Read frames of a video file or a camera, and write annotated ones."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from res2net_runtime.errors import ImageError

__all__ = ["Camera", "Frame", "VideoFile", "VideoWriter"]

# Used if a container or a camera gives no frame rate, or an impossible one.
_DEFAULT_FPS = 25.0
_MAX_FPS = 1000.0
_CODEC = "mp4v"  # MPEG-4: the one that every build of OpenCV can write into an MP4 file
_MAX_WAIT_S = 5.0  # for a camera to deliver its last frame
# Containers state the number of frames only roughly; a file that ends earlier than this is damaged.
_MISSING_FRAMES, _MISSING_SHARE = 5, 0.02

_Self = TypeVar("_Self", bound="_Capture")  # typing.Self needs Python 3.11


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        index: Its number, from 0.
        time_s: Seconds since the first frame.
        image: uint8 (H, W, 3), RGB.
    """

    index: int
    time_s: float
    image: np.ndarray


class _Capture:
    """An open ``cv2.VideoCapture``; use it as a context manager."""

    def __init__(self, source: str | int, name: str, advice: str) -> None:
        self.name = name
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            self._capture.release()
            raise ImageError(f"Cannot open {name}: {advice}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= _MAX_FPS else _DEFAULT_FPS

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._capture.release()

    def _read(self) -> np.ndarray | None:
        is_read, image = self._capture.read()
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if is_read else None


class VideoFile(_Capture):
    """A video file, frame by frame.

    Attributes:
        fps: Frames per second.
        frame_count: Number of frames that the file states, or None if it states none.

    Raises:
        ImageError: The file is missing or cannot be decoded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if not path.is_file():
            raise ImageError(f"There is no video '{path}'. Check the path.")
        advice = (
            f"it is damaged, empty, or of a format that OpenCV {cv2.__version__} does not read. Convert it to an "
            "MP4 file with H.264."
        )
        super().__init__(str(path), f"video '{path}'", advice)
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = count if count > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            ImageError: The file holds no frame, or ends long before the number of frames that it states.
        """
        index = 0
        while True:
            image = self._read()
            if image is None:
                break
            yield Frame(index, index / self.fps, image)
            index += 1
        missing = (self.frame_count or index) - index
        if index == 0 or missing > max(_MISSING_FRAMES, _MISSING_SHARE * index):
            raise ImageError(
                f"The {self.name} breaks off after {index} of {self.frame_count or 'unknown'} frames: "
                "it is damaged or cut short. Copy it again."
            )


class Camera(_Capture):
    """A camera. Reading gives its newest frame; frames that arrive while the network runs are dropped.

    Attributes:
        fps: Frames per second that the camera claims.

    Raises:
        ImageError: It cannot be opened.
    """

    def __init__(self, camera_id: int) -> None:
        advice = "check that it is connected, that no other program uses it, and that you may read it. The first is 0."
        super().__init__(camera_id, f"camera {camera_id}", advice)
        self._newest: np.ndarray | None = None
        self._has_ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._keep_reading, name="res2net-camera", daemon=True)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame at each request, until the camera ends."""
        self._reader.start()
        start_s, index = time.monotonic(), 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._has_ended)
                if self._newest is None:
                    return
                image, self._newest = self._newest, None
            yield Frame(index, time.monotonic() - start_s, image)
            index += 1

    def __exit__(self, *exception: object) -> None:
        self._has_ended = True
        if self._reader.is_alive():
            self._reader.join(timeout=_MAX_WAIT_S)
        if not self._reader.is_alive():  # a camera that hangs is freed when the process ends
            super().__exit__(*exception)

    def _keep_reading(self) -> None:
        while not self._has_ended:
            image = self._read()
            with self._changed:
                if image is None:
                    self._has_ended = True
                else:
                    self._newest = image
                self._changed.notify()


class VideoWriter:
    """An MP4 file; use it as a context manager.

    Args:
        path: The file. The first picture decides the size of the video.
        fps: Frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size_wh: tuple[int, int] | None = None
        self._written = 0

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, picture_rgb: np.ndarray, until_s: float | None = None) -> None:
        """Append a picture.

        Args:
            picture_rgb: uint8 (H, W, 3).
            until_s: Repeat the picture until the video lasts this many seconds. Default: write it once.

        Raises:
            ImageError: The file cannot be written, or the size is not that of the first picture.
        """
        size_wh = picture_rgb.shape[1::-1]
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*_CODEC)
            self._writer, self._size_wh = cv2.VideoWriter(str(self.path), codec, self._fps, size_wh), size_wh
            if not self._writer.isOpened():
                raise ImageError(
                    f"Cannot write the video '{self.path}': OpenCV {cv2.__version__} does not have the encoder {_CODEC}, "
                    "or the folder cannot be written. Install opencv-python-headless, or choose another folder."
                )
        if size_wh != self._size_wh:
            raise ImageError(
                f"The frames change from {self._size_wh} to {size_wh} (width, height), but '{self.path}' can only hold "
                "one size. Convert the video to one size first."
            )
        picture_bgr = cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR)
        frames = 1 if until_s is None else max(1, round(until_s * self._fps) - self._written)
        for _ in range(frames):
            self._writer.write(picture_bgr)
        self._written += frames
