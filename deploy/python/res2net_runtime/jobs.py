"""Jobs of the command lines: run a predictor over images, a video or a camera, and save what it finds."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from res2net_runtime.draw import draw_detections
from res2net_runtime.errors import ImageError, Res2NetError
from res2net_runtime.predictor import Prediction, Predictor
from res2net_runtime.result_files import ResultFiles
from res2net_runtime.results import Detections
from res2net_runtime.session import FailedPrediction
from res2net_runtime.video import Camera, Frame, VideoFile, VideoWriter

__all__ = ["Output", "Summary", "run_camera", "run_images", "run_video"]

T = TypeVar("T")
R = TypeVar("R")

_DRAWING_THREADS = 2


@dataclass(frozen=True)
class Output:
    """Where results go.

    Attributes:
        directory: An existing folder; see ``make_output_folder``.
        threshold: Smallest score of a detection that is drawn.
        save_results: Whether ``bbox.json`` and ``mask.json`` are written.
    """

    directory: Path
    threshold: float
    save_results: bool


@dataclass
class Summary:
    """What a job did.

    Attributes:
        output: Where the results are.
        engine: The engine that ran.
        done: Images that worked.
        drawn: Detections that were drawn.
        failures: What went wrong, one message each.
        shown: The drawn detections of the last image.
    """

    output: Output
    engine: str
    done: int = 0
    drawn: int = 0
    failures: list[str] = field(default_factory=list)
    shown: Detections | None = None


@dataclass(frozen=True)
class _Moment:
    """A frame without its picture."""

    index: int
    time_s: float


def run_images(predictor: Predictor, paths: list[Path], output: Output) -> Summary:
    """Detect in image files, and save a picture of each with the detections drawn.

    Pictures are drawn and masks are pasted on other threads while the network runs. An image that cannot be read, or
    whose picture cannot be written, becomes one of the summary's failures, and the others are still processed.

    Raises:
        ImageError: Two images have the same name.
        OSError: The results cannot be written.
    """
    summary = Summary(output, predictor.description)
    names, image_ids = unique_names(paths), make_image_ids(paths)

    def finish(
        item: tuple[Path, Prediction | FailedPrediction],
    ) -> tuple[Detections, list[dict[str, Any]]] | Res2NetError:
        path, prediction = item
        if prediction.error is not None:
            return prediction.error
        try:
            picture = draw_detections(prediction.image, prediction.detections, output.threshold)
            save_picture(output.directory / names[path], picture)
        except Res2NetError as error:
            return error
        return _shown_and_entries(prediction.detections, image_ids[path], output)

    predictions = zip(paths, predictor.predict_iter(paths))
    with _result_files(predictor, output) as files, _progress(len(paths), "image") as progress:
        for path, outcome in zip(paths, _map_ahead(finish, predictions)):
            progress.update()
            if isinstance(outcome, Res2NetError):
                summary.failures.append(str(outcome))
                continue
            _note(summary, outcome, files, output, file_name=path.name)
    return summary


def run_video(predictor: Predictor, path: Path, output: Output) -> Summary:
    """Detect in every frame of a video file, and write a video of the same speed with the detections drawn.

    Raises:
        ImageError: The video cannot be opened, or the new one cannot be written.
        BackendError: The network fails.
    """
    summary = Summary(output, predictor.description)
    sent: deque[_Moment] = deque()  # frames on their way through the predictor, which keeps their order

    def remember(frames: Iterable[Frame]) -> Iterator[np.ndarray]:
        try:
            for frame in frames:
                sent.append(_Moment(frame.index, frame.time_s))
                yield frame.image
        except ImageError as error:  # the video is damaged here; the earlier frames are still of use
            summary.failures.append(str(error))

    def finish(
        item: tuple[_Moment, Prediction | FailedPrediction],
    ) -> tuple[_Moment, np.ndarray, tuple[Detections, list[dict[str, Any]]]]:
        moment, prediction = item
        if prediction.error is not None:
            raise prediction.error
        picture = draw_detections(prediction.image, prediction.detections, output.threshold)
        return moment, picture, _shown_and_entries(prediction.detections, moment.index, output)

    with VideoFile(path) as video, _result_files(predictor, output) as files:
        writer = VideoWriter(output.directory / f"{path.stem}.mp4", video.fps)
        with writer, _progress(video.frame_count, "frame") as progress:
            predictions = ((sent.popleft(), one) for one in predictor.predict_iter(remember(video)))
            for moment, picture, outcome in _map_ahead(finish, predictions):
                writer.write(picture)
                _note(summary, outcome, files, output, file_name=path.name, time_s=round(moment.time_s, 3))
                progress.update()
    return summary


def run_camera(predictor: Predictor, camera_id: int, output: Output) -> Summary:
    """Detect in the newest frame of a camera, again and again, until the camera ends or Ctrl-C is pressed.

    The video that is written lasts as long as the recording: each picture stays until the next one is ready.

    Raises:
        ImageError: The camera cannot be opened, or the video cannot be written.
        BackendError: The network fails.
    """
    summary = Summary(output, predictor.description)
    name = f"camera_{camera_id}.mp4"
    with Camera(camera_id) as camera, _result_files(predictor, output) as files:
        with VideoWriter(output.directory / name, camera.fps) as writer, _progress(None, "frame") as progress:
            start_s = time.monotonic()
            try:
                for frame in camera:
                    detections = predictor(frame.image)
                    picture = draw_detections(frame.image, detections, output.threshold)
                    writer.write(picture, until_s=time.monotonic() - start_s)
                    outcome = _shown_and_entries(detections, frame.index, output)
                    _note(summary, outcome, files, output, file_name=name, time_s=round(frame.time_s, 3))
                    progress.update()
            except KeyboardInterrupt:  # stops a camera
                pass
    return summary


def make_image_ids(paths: list[Path]) -> dict[Path, int]:
    """Return the image id of each path: the number in its name if all names are numbers, as in COCO, else its position."""
    if all(path.stem.isascii() and path.stem.isdigit() for path in paths):
        ids = {path: int(path.stem) for path in paths}
        if len(set(ids.values())) == len(paths):
            return ids
    return {path: index for index, path in enumerate(paths)}


def unique_names(paths: list[Path]) -> dict[Path, str]:
    """Return the name of each picture that is written: JPEG and PNG keep theirs, others become PNG.

    Raises:
        ImageError: Two images of different folders have the same name.
    """
    repeated = [name for name, count in Counter(path.name for path in paths).items() if count > 1]
    if repeated:
        raise ImageError(
            f"Several images are called '{repeated[0]}', so their pictures would overwrite each other. Pass the images of "
            "one folder at a time."
        )
    names = {
        path: path.name if path.suffix.lower() in (".jpg", ".jpeg", ".png") else f"{path.stem}.png" for path in paths
    }
    taken = Counter(name.lower() for name in names.values())
    return {path: name if taken[name.lower()] == 1 else f"{path.name}.png" for path, name in names.items()}


def save_picture(path: Path, picture_rgb: np.ndarray) -> None:
    """Write an RGB picture; the encoder follows the suffix.

    Raises:
        ImageError: The picture cannot be encoded, for instance because it is too large for the format, or the file cannot
            be written.
    """
    try:
        is_encoded, encoded = cv2.imencode(path.suffix.lower(), cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        is_encoded = False
    if not is_encoded:
        height, width = picture_rgb.shape[:2]
        raise ImageError(
            f"The picture of {width}x{height} pixels cannot be saved as '{path}'. JPEG holds at most 65500 "
            "pixels per side: save the image as PNG, or make it smaller."
        )
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise ImageError(
            f"The picture '{path}' cannot be written: {error.strerror}. Free some space, or choose another folder."
        ) from error


def _shown_and_entries(
    detections: Detections, image_id: int, output: Output
) -> tuple[Detections, list[dict[str, Any]]]:
    return detections.filter(output.threshold), detections.to_coco(image_id) if output.save_results else []


def _note(
    summary: Summary,
    outcome: tuple[Detections, list[dict[str, Any]]],
    files: ResultFiles,
    output: Output,
    **more: Any,
) -> None:
    """Count one finished image, and append its detections to the results."""
    summary.shown, entries = outcome
    summary.done += 1
    summary.drawn += len(summary.shown)
    if output.save_results:
        files.add(entries, **more)


def _result_files(predictor: Predictor, output: Output) -> ResultFiles:
    return ResultFiles(output.directory, has_masks="masks" in predictor.info.outputs)


def _progress(total: int | None, unit: str) -> tqdm[Any]:
    # For tqdm, None means to show the bar on a terminal only.
    return tqdm(total=total, unit=unit, disable=True if total == 1 else None)


def _map_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``function(item)`` for each item, in order. Other threads call it while this one waits for the next items."""
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(_DRAWING_THREADS, thread_name_prefix="res2net-draw") as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > _DRAWING_THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
