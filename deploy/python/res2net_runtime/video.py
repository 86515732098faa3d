"""Read frames of a video file, a camera or a stream."""

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
from res2net_runtime.files import path_for_libraries
from res2net_runtime.texts import hide_password, is_url, printable

__all__ = ["Camera", "Frame", "VideoFile", "check_stream_url"]

# Used if a container or a camera gives no frame rate, or an impossible one.
_DEFAULT_FPS = 25.0
_MAX_FPS = 1000.0
_MAX_WAIT_S = 5.0  # for a camera to deliver its last frame
_STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https")
_STREAM_TIMEOUT_MS = 10_000  # for a stream to open, and to deliver a frame
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

    def __init__(self, source: str | int, name: str, advice: str, *options: object) -> None:
        self.name = name
        self._capture = cv2.VideoCapture(source, *options)  # type: ignore[call-overload]
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
        path, name = Path(path), printable(os.fspath(path))
        if not path.is_file():
            raise ImageError(f"There is no video '{name}'. Check the path.")
        advice = (
            f"it is damaged, empty, or of a format that OpenCV {cv2.__version__} does not read. Convert it to an "
            "MP4 file with H.264."
        )
        with path_for_libraries(path) as readable:
            super().__init__(readable, f"video '{name}'", advice)
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
    """A camera or a stream. Reading gives its newest frame; frames that arrive while the network runs are dropped.

    Args:
        source: Number of a camera, or the url of a stream; see :func:`check_stream_url`. User name and password in the url
            are used and never shown.

    Attributes:
        fps: Frames per second that the camera claims.

    Raises:
        ImageError: It cannot be opened; a stream within ten seconds.
    """

    def __init__(self, source: int | str) -> None:
        if isinstance(source, str):
            check_stream_url(source)
            timeouts = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                _STREAM_TIMEOUT_MS,
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                _STREAM_TIMEOUT_MS,
            ]
            advice = "check the url, the network and the password, and try it in a player."
            super().__init__(source, f"stream '{hide_password(source)}'", advice, cv2.CAP_FFMPEG, timeouts)
        else:
            advice = (
                "check that it is connected, that no other program uses it, and that you may read it. The first is 0."
            )
            super().__init__(source, f"camera {source}", advice)
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


def check_stream_url(url: str) -> None:
    """Check that a text is the url of a stream.

    Raises:
        ImageError: It is not, or has a scheme that is not read.
    """
    scheme = url.partition("://")[0].lower()
    if not is_url(url) or scheme not in _STREAM_SCHEMES or not url.isprintable():
        raise ImageError(
            f"'{hide_password(url)}' is not the url of a stream: expected {', '.join(one + '://' for one in _STREAM_SCHEMES)}."
        )
