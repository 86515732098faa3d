"""Jobs of the command lines: run a predictor over images, a video or a camera, and save what it finds."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from res2net_runtime.ahead import map_ahead
from res2net_runtime.draw import draw_detections
from res2net_runtime.errors import ImageError, Res2NetError
from res2net_runtime.image_lists import ImageFile, leave_out_done
from res2net_runtime.label_files import LabelWriter, open_labels
from res2net_runtime.labels import LabelledImage, LabelOutput
from res2net_runtime.pictures import check_pictures, picture_names, save_picture
from res2net_runtime.predictor import Prediction, Predictor
from res2net_runtime.result_files import JsonLines, ResultFiles, detections_record, read_json_lines
from res2net_runtime.results import Detections
from res2net_runtime.session import FailedPrediction
from res2net_runtime.system_errors import is_lasting
from res2net_runtime.texts import printable, storable
from res2net_runtime.video import Camera, Frame, VideoFile
from res2net_runtime.video_writer import VideoWriter

__all__ = ["Output", "Summary", "run_camera", "run_images", "run_video"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Output:
    """Where results go.

    Attributes:
        directory: An existing folder; see ``make_output_folder``.
        threshold: Smallest score of a detection that is drawn: one for all classes, or one per class.
        save_results: Whether ``bbox.json`` and ``mask.json`` are written.
        save_jsonl: Whether ``results.jsonl`` is written: one image per line.
        skip_done: Whether images in ``results.jsonl`` are left out, and the others appended.
        save_pictures: Whether pictures or a video are written.
        suffix: What the names of these files have before their ending, for a share of the images.
        video_codec: A key of ``video_writer.CODECS``, or ``"auto"``.
        labels: Where labels of images go; None for no labels.
    """

    directory: Path
    threshold: float | Sequence[float]
    save_results: bool
    save_jsonl: bool = False
    skip_done: bool = False
    save_pictures: bool = True
    suffix: str = ""
    video_codec: str = "auto"
    labels: LabelOutput | None = None

    @property
    def lines_path(self) -> Path:
        """The file with one image per line."""
        return self.directory / f"results{self.suffix}.jsonl"


@dataclass
class Summary:
    """What a job did.

    Attributes:
        output: Where the results are.
        engine: The engine that ran.
        done: Images that worked.
        skipped: Images that an earlier run has done.
        drawn: Detections with at least the threshold, which were drawn if pictures are written.
        failures: What went wrong, one message each.
        shown: The drawn detections of the last image.
        video: The video that was written.
        labels: What wrote labels, if they were wanted.
    """

    output: Output
    engine: str
    done: int = 0
    skipped: int = 0
    drawn: int = 0
    failures: list[str] = field(default_factory=list)
    shown: Detections | None = None
    video: Path | None = None
    labels: LabelWriter | None = None


@dataclass(frozen=True)
class _Moment:
    """A frame without its picture."""

    index: int
    time_s: float


@dataclass(frozen=True)
class _Outcome:
    """What is kept of one image: its detections with at least the threshold, all of them as COCO results, and its labels."""

    shown: Detections
    entries: list[dict[str, Any]]
    record: dict[str, Any]
    labelled: LabelledImage | None = None


def run_images(predictor: Predictor, images: Sequence[ImageFile], output: Output) -> Summary:
    """Detect in image files, and save a picture of each with the detections drawn.

    Pictures are drawn and masks are pasted on other threads while the network runs. An image that cannot be read, or
    whose picture cannot be written, becomes one of the summary's failures, and the others are still processed, unless they
    would fail, too: because the disk is full, or too many files are open.

    Raises:
        Res2NetError: The results cannot be written, a picture would replace an image, or a label file is there already.
    """
    summary = Summary(output, predictor.description)
    if output.save_pictures:
        check_pictures(output.directory, images)
    if output.labels is not None:
        info = predictor.info
        summary.labels = open_labels(output.labels, info.label_list, info.category_ids, output.suffix)
        if not output.skip_done:
            summary.labels.prepare(images)  # before results of an earlier run are replaced
    pictures = dict(zip(images, picture_names([image.name for image in images])))

    def finish(item: tuple[ImageFile, Prediction | FailedPrediction]) -> _Outcome | Res2NetError:
        image, prediction = item
        if prediction.error is not None:
            return prediction.error
        try:
            if output.save_pictures:
                picture = draw_detections(prediction.image, prediction.detections, output.threshold)
                save_picture(output.directory / pictures[image], picture)
            outcome = _outcome(prediction.detections, image.image_id, output)
            if output.labels is not None:
                outcome = replace(outcome, labelled=LabelledImage.of(image, outcome.shown))
        except Res2NetError as error:
            return error
        return outcome

    with _saying_what_is_kept(summary, "image"), _Sinks(predictor, output, summary.labels) as sinks:
        left = leave_out_done(images, sinks.take_done()) if output.skip_done else list(images)
        if summary.labels is not None and output.skip_done:
            summary.labels.prepare(left)
        summary.skipped = len(images) - len(left)
        if not images:
            sinks.open()  # an empty share has results, too: none
        predictions = zip(left, predictor.predict_iter([image.path for image in left]))
        with _progress(len(left), "image") as progress:
            for image, outcome in zip(left, map_ahead(finish, predictions)):
                progress.update()
                if isinstance(outcome, Res2NetError):
                    if is_lasting(outcome):
                        raise outcome
                    summary.failures.append(str(outcome))
                    continue
                _note(summary, outcome, sinks, file_name=image.name)
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

    def finish(item: tuple[_Moment, Prediction | FailedPrediction]) -> tuple[_Moment, np.ndarray | None, _Outcome]:
        moment, prediction = item
        if prediction.error is not None:
            raise prediction.error
        picture = None
        if output.save_pictures:
            picture = draw_detections(prediction.image, prediction.detections, output.threshold)
        return moment, picture, _outcome(prediction.detections, moment.index, output)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_saying_what_is_kept(summary, "frame"))
        video = stack.enter_context(VideoFile(path))
        sinks = stack.enter_context(_Sinks(predictor, output))
        write = _open_video(stack, summary, path.stem, video.fps)
        progress = stack.enter_context(_progress(video.frame_count, "frame"))
        predictions = ((sent.popleft(), one) for one in predictor.predict_iter(remember(video)))
        for moment, picture, outcome in map_ahead(finish, predictions):
            if picture is not None:
                write(picture)
            _note(summary, outcome, sinks, file_name=path.name, time_s=round(moment.time_s, 3))
            progress.update()
    return summary


def run_camera(predictor: Predictor, source: int | str, output: Output) -> Summary:
    """Detect in the newest frame of a camera or a stream, again and again, until it ends or Ctrl-C is pressed.

    The video that is written lasts as long as the recording: each picture stays until the next one is ready.

    Args:
        predictor: The detector.
        source: Number of a camera, or url of a stream.
        output: Where results go.

    Raises:
        ImageError: The camera cannot be opened, or the video cannot be written.
        BackendError: The network fails.
    """
    summary = Summary(output, predictor.description)
    stem = f"camera_{source}" if isinstance(source, int) else "stream"
    with contextlib.ExitStack() as stack:
        stack.enter_context(_saying_what_is_kept(summary, "frame"))
        camera = stack.enter_context(Camera(source))
        sinks = stack.enter_context(_Sinks(predictor, output))
        write = _open_video(stack, summary, stem, camera.fps)
        progress = stack.enter_context(_progress(None, "frame"))
        name = summary.video.name if summary.video is not None else stem
        start_s = time.monotonic()
        try:
            for frame in camera:
                detections = predictor(frame.image)
                if output.save_pictures:
                    picture = draw_detections(frame.image, detections, output.threshold)
                    write(picture, until_s=time.monotonic() - start_s)
                outcome = _outcome(detections, frame.index, output)
                _note(summary, outcome, sinks, file_name=name, time_s=round(frame.time_s, 3))
                progress.update()
        except KeyboardInterrupt:  # stops a camera
            pass
    return summary


@contextlib.contextmanager
def _saying_what_is_kept(summary: Summary, what: str) -> Iterator[None]:
    """If a job ends early, whatever the reason, say what it has done."""
    try:
        yield
    except BaseException:
        for failure in summary.failures:
            logger.error("%s", failure)
        if summary.done:
            folder = printable(summary.output.directory)
            done = f"{summary.done} {what}{'s' * (summary.done != 1)}"
            logger.warning("stopped after %s; what is complete is kept in '%s'", done, folder)
        raise


class _Sinks:
    """All files with results of one job; use it as a context manager."""

    def __init__(self, predictor: Predictor, output: Output, labels: LabelWriter | None = None) -> None:
        self._output = output
        self._labels = labels
        self._files: ResultFiles | None = None
        self._lines: JsonLines | None = None
        self._has_masks = "masks" in predictor.info.outputs
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Sinks:
        if self._output.save_results:
            files = ResultFiles(self._output.directory, self._has_masks, self._output.suffix)
            self._files = self._stack.enter_context(files)
        with contextlib.ExitStack() as stack:
            stack.push(self)
            if self._files is not None:
                self._files.lock()
            if self._labels is not None:
                self._stack.enter_context(self._labels)
            if self._output.save_jsonl or self._output.skip_done:
                lines = JsonLines(self._output.lines_path, keeps_old=self._output.skip_done)
                self._lines = self._stack.enter_context(lines)
            stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def take_done(self) -> dict[str, int]:
        """Return name and id of the images that an earlier run has done, and write their results into this run's files."""
        done: dict[str, int] = {}
        for record in read_json_lines(self._output.lines_path):
            image_id, detections = record.get("image_id"), record.get("detections")
            are_objects = isinstance(detections, list) and all(isinstance(one, dict) for one in detections)
            if type(image_id) is not int or not isinstance(detections, list) or not are_objects:
                raise Res2NetError(
                    f"'{printable(self._output.lines_path)}' does not hold detections. Move it away, or choose another folder."
                )
            done[record["file_name"]] = image_id
            if self._labels is not None:
                self._labels.add_done(record, self._output.threshold)
            if self._files is not None:
                entries = [{"image_id": image_id, **one} for one in detections]
                for entry in entries:
                    entry.pop("category", None)
                self._files.add(entries, file_name=record["file_name"])
        return done

    def open(self) -> None:
        """Open the files with COCO results, which otherwise happens with the first image.

        Raises:
            Res2NetError: A file cannot be written.
        """
        if self._files is not None:
            self._files.add([])

    def add(self, outcome: _Outcome, **more: Any) -> None:
        """Write the results of one image.

        Raises:
            Res2NetError: A file cannot be written.
        """
        if self._labels is not None and outcome.labelled is not None:
            self._labels.add(outcome.labelled)
        if self._files is not None:
            self._files.add(outcome.entries, **more)
        if self._lines is not None:
            more["file_name"] = storable(more["file_name"])
            self._lines.add({**more, **outcome.record})


def _outcome(detections: Detections, image_id: int, output: Output) -> _Outcome:
    entries: list[dict[str, Any]] = []
    if output.save_results or output.save_jsonl or output.skip_done:
        entries = detections.to_coco(image_id)
    has_lines = output.save_jsonl or output.skip_done
    record = detections_record(detections, image_id, entries if has_lines else ())
    return _Outcome(detections.filter(output.threshold), entries, record)


def _note(summary: Summary, outcome: _Outcome, sinks: _Sinks, **more: Any) -> None:
    """Count one finished image, and append its detections to the results."""
    sinks.add(outcome, **more)
    summary.shown = outcome.shown
    summary.done += 1
    summary.drawn += len(outcome.shown)


def _open_video(stack: contextlib.ExitStack, summary: Summary, stem: str, fps: float) -> Callable[..., None]:
    """Open a video if pictures are wanted, and return the function that appends a picture."""
    output = summary.output
    if not output.save_pictures:
        return lambda *_, **__: None
    writer = stack.enter_context(VideoWriter(output.directory / f"{stem}.mp4", fps, output.video_codec))
    summary.video = writer.path
    return writer.write


def _progress(total: int | None, unit: str) -> tqdm[Any]:
    # For tqdm, None means to show the bar on a terminal only.
    return tqdm(total=total, unit=unit, disable=True if total == 1 else None)
