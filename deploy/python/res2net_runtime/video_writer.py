"""Write videos that browsers play: H.264 in MP4 with PyAV, or VP8 in WebM with OpenCV alone."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from res2net_runtime.errors import ImageError
from res2net_runtime.files import path_for_libraries, remove_abandoned, unfinished_name
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import printable, storable

__all__ = ["CODECS", "VideoWriter", "choose_codec"]

logger = logging.getLogger(__name__)

# libx264: constant quality, and the fastest preset that is still small.
_H264_OPTIONS = {"crf": "20", "preset": "veryfast"}
_MAX_FPS_DENOMINATOR = 1001  # 30000/1001 and its relatives
_BT601, _BT709, _LIMITED_RANGE = 6, 1, 1  # numbers of FFmpeg for what the conversion from RGB gives


@dataclass(frozen=True)
class Codec:
    """How a video is encoded.

    Attributes:
        title: Its name in the log.
        suffix: Ending of the file.
        create: Opens an encoder: path, frames per second, (width, height).
        plays_when_cut: Whether a file without its end can be played. The index of MP4 is written last.
    """

    title: str
    suffix: str
    create: Callable[[str, float, tuple[int, int]], Any]
    plays_when_cut: bool = False


class VideoWriter:
    """A video file; use it as a context manager.

    Args:
        path: The file. Its suffix is replaced by the codec's; ``path`` of the writer is where it really is. The first picture
            decides the size of the video. MP4 gets its name at the end, and after an error the earlier file is left; of WebM,
            what could be written stays.
        fps: Frames per second.
        codec: ``"h264"``, ``"vp8"``, ``"mpeg4"``, or ``"auto"`` for :func:`choose_codec`.

    Raises:
        ImageError: The codec needs a package that is not installed.
    """

    def __init__(self, path: Path, fps: float, codec: str = "auto") -> None:
        self._codec = CODECS[choose_codec() if codec == "auto" else codec]
        if self._codec is CODECS["h264"] and not has_pyav():
            raise ImageError("H.264 is written with PyAV, which is not installed. pip install av, or choose vp8.")
        self.path = path.with_name(storable(path.stem) + self._codec.suffix)
        # An MP4 that was not finished cannot be played.
        self._unfinished = self.path
        if not self._codec.plays_when_cut:
            self._unfinished = self.path.with_name(unfinished_name(self.path.stem) + self._codec.suffix)
        self._is_broken = False
        self._fps = fps
        self._writer: Any = None
        self._size_wh: tuple[int, int] | None = None
        self._written = 0
        self._open_path = contextlib.ExitStack()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        with self._open_path:
            try:
                if self._writer is not None:
                    self._writer.release()
                    if not self._is_broken:
                        os.replace(self._unfinished, self.path)
            except OSError as problem:
                if error is None:  # else the first error says more
                    raise self._cannot_write(problem) from problem
            finally:
                if self._unfinished != self.path:
                    self._unfinished.unlink(missing_ok=True)

    def write(self, picture_rgb: np.ndarray, until_s: float | None = None) -> None:
        """Append a picture.

        Args:
            picture_rgb: uint8 (H, W, 3).
            until_s: Repeat the picture until the video lasts this many seconds. Default: write it once.

        Raises:
            ImageError: The file cannot be written, or the size is not that of the first picture.
        """
        size_wh = (picture_rgb.shape[1], picture_rgb.shape[0])
        if self._writer is None:
            self._writer, self._size_wh = self._open(size_wh), size_wh
        if size_wh != self._size_wh:
            raise ImageError(
                f"The frames change from {self._size_wh} to {size_wh} (width, height), but '{printable(self.path)}' can only "
                "hold one size. Convert the video to one size first."
            )
        picture_bgr = _with_even_sides(cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR))
        frames = 1 if until_s is None else max(1, round(until_s * self._fps) - self._written)
        try:
            for _ in range(frames):
                self._writer.write(picture_bgr)
        except OSError as error:
            self._is_broken = True
            raise self._cannot_write(error) from error
        self._written += frames

    def _open(self, size_wh: tuple[int, int]) -> Any:
        even_wh = (size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2)
        try:
            remove_abandoned(self.path.parent)
            folder = self._open_path.enter_context(path_for_libraries(self.path.parent))
            writer = self._codec.create(f"{folder}/{self._unfinished.name}", self._fps, even_wh)
        except OSError as error:
            raise self._cannot_write(error) from error
        if writer is None:
            raise self._cannot_write(
                f"OpenCV {cv2.__version__} does not have the encoder, or the folder cannot be written"
            )
        logger.info("writing '%s': %s", printable(self.path), self._codec.title)
        return writer

    def _cannot_write(self, reason: OSError | str) -> ImageError:
        elsewhere = "choose another folder or another --video_codec"
        told = explain(reason, elsewhere) if isinstance(reason, OSError) else f"{reason}. {elsewhere.capitalize()}."
        return ImageError(f"Cannot write the video '{printable(self.path)}' ({self._codec.title}): {told}")


class _PyAvWriter:
    """H.264 in an MP4 file whose index comes first, so that it plays while it is loading."""

    def __init__(self, path: str, fps: float, size_wh: tuple[int, int]) -> None:
        import av

        self._frame_class = av.VideoFrame
        self._container = av.open(path, "w", format="mp4", options={"movflags": "+faststart"})
        rate = Fraction(fps).limit_denominator(_MAX_FPS_DENOMINATOR)
        self._stream: Any = self._container.add_stream("libx264", rate=rate, options=dict(_H264_OPTIONS))
        self._stream.width, self._stream.height = size_wh
        self._stream.pix_fmt = "yuv420p"  # the only one that all browsers decode
        context = self._stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = _BT601, _BT709, _BT709
        context.color_range = _LIMITED_RANGE
        self._container.start_encoding()  # opens the file now, and not with the first picture that the encoder gives back

    def write(self, picture_bgr: np.ndarray) -> None:
        self._container.mux(self._stream.encode(self._frame_class.from_ndarray(picture_bgr, "bgr24")))

    def release(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def choose_codec() -> str:
    """Return the name of the best codec that browsers play and that the installed packages write: H.264 with PyAV, else VP8."""
    if has_pyav():
        return "h264"
    logger.info(
        "videos become WebM files. With PyAV (pip install av) they are H.264 in MP4, and written several times as fast"
    )
    return "vp8"


class _OpenCvWriter:
    """A video by OpenCV, which does not say when the disk is full: the frames of the file are counted at the end."""

    def __init__(self, writer: cv2.VideoWriter, path: str) -> None:
        self._writer, self._path = writer, path
        self._written = 0

    def write(self, picture_bgr: np.ndarray) -> None:
        self._writer.write(picture_bgr)
        self._written += 1

    def release(self) -> None:
        self._writer.release()
        video = cv2.VideoCapture(self._path)
        video.set(cv2.CAP_PROP_FORMAT, -1)  # frames are not decoded, which would take 2 to 5 % of the time of encoding
        found = 0  # the number in the file's head is that of the frames that should be there
        while video.grab():
            found += 1
        video.release()
        if found < self._written:
            raise OSError(
                f"the file holds {found} of {self._written} frames, usually because the disk is full or a limit is reached"
            )


def _opencv_writer(fourcc: str) -> Callable[[str, float, tuple[int, int]], Any]:
    def create(path: str, fps: float, size_wh: tuple[int, int]) -> Any:
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*fourcc), fps, size_wh)
        return _OpenCvWriter(writer, path) if writer.isOpened() else None

    return create


def _with_even_sides(picture: np.ndarray) -> np.ndarray:
    """Repeat the last row or column where needed: the colours of two by two pixels are stored together."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


CODECS = {
    "h264": Codec("H.264 in MP4, by PyAV", ".mp4", _PyAvWriter),
    "vp8": Codec("VP8 in WebM, by OpenCV", ".webm", _opencv_writer("VP80"), plays_when_cut=True),
    "mpeg4": Codec("MPEG-4 part 2 in MP4, by OpenCV; browsers do not play it", ".mp4", _opencv_writer("mp4v")),
}
