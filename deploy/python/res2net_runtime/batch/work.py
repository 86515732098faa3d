"""One shard: run the network on its images, and make the content of its file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from res2net_runtime.ahead import map_ahead
from res2net_runtime.batch.parquet import ParquetRows
from res2net_runtime.batch.plan import BatchImage
from res2net_runtime.batch.sources import locate
from res2net_runtime.classification.classifier import Classifier, ClassifierPrediction
from res2net_runtime.errors import ModelFolderError
from res2net_runtime.model_folder import read_model_config
from res2net_runtime.predictor import Prediction, Predictor
from res2net_runtime.result_files import detections_record
from res2net_runtime.session import FailedPrediction
from res2net_runtime.system_errors import is_lasting
from res2net_runtime.texts import printable, storable

__all__ = ["FORMATS", "Message", "Progress", "ShardResult", "ShardTask", "WorkSettings", "Worker", "fingerprint"]

FORMATS = ("jsonl", "parquet")
_TELLING_S = 1.0
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class WorkSettings:
    """What a worker needs to know; it is sent to processes and machines.

    Attributes:
        model_dir: The exported folder.
        model: Its :func:`fingerprint`.
        root: The folder that names of images begin from.
        is_detector: Whether the model finds boxes; otherwise, it is a classifier.
        session: Arguments of :class:`Predictor` or :class:`Classifier`.
        threshold: Smallest score of a detection that is kept; None keeps all.
        top_k: Classes of an image that are kept, for classifiers.
        format: One of :data:`FORMATS`.
    """

    model_dir: str
    model: str
    root: str
    is_detector: bool
    session: Mapping[str, Any]
    threshold: float | None = None
    top_k: int = 5
    format: str = "jsonl"


@dataclass(frozen=True)
class ShardTask:
    """A shard to be run.

    Attributes:
        index: Its number.
        images: Its images.
        skipped: Images that are not run, by position, with the reason: they have ended processes.
        is_careful: Run the images one by one, and tell before each: one of them ends processes.
    """

    index: int
    images: list[BatchImage]
    skipped: Mapping[int, str] = field(default_factory=dict)
    is_careful: bool = False


@dataclass(frozen=True)
class Progress:
    """So many images of the shard are done. If it is run with care, the next one begins now."""

    done: int


@dataclass(frozen=True)
class ShardResult:
    """A finished shard.

    Attributes:
        index: Its number.
        content: What its file holds.
        done: Images that worked.
        found: Detections in the file; 0 for classifiers.
        failures: ``file_name``, ``image_id`` and ``error`` of each image that did not.
        engine: The engine that ran.
        seconds: How long it took.
    """

    index: int
    content: bytes
    done: int
    found: int
    failures: list[dict[str, Any]]
    engine: str
    seconds: float


Message = Progress | ShardResult
_Prediction = Prediction | ClassifierPrediction | FailedPrediction
_Finished = dict[str, Any] | str


def fingerprint(model_dir: str) -> str:
    """Return a text that changes with the content of a model folder: the same on every machine that has a copy.

    Raises:
        ModelFolderError: It is no model folder, or cannot be read.
    """
    read_model_config(model_dir)
    digest = hashlib.sha256()
    try:
        for path in sorted(Path(model_dir).iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            digest.update(f"{path.name}\n{path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
    except OSError as error:
        raise ModelFolderError(
            f"Cannot read the model folder '{printable(model_dir)}': {error.strerror or error}. Check its files."
        ) from error
    return digest.hexdigest()


class Worker:
    """A loaded model that runs shards.

    Raises:
        ModelFolderError: The folder is not the model that the settings name.
        BackendError: The engine is missing or refuses the model.
    """

    def __init__(self, settings: WorkSettings) -> None:
        if fingerprint(settings.model_dir) != settings.model:
            raise ModelFolderError(
                f"The model folder '{printable(settings.model_dir)}' is another one here than where the command was started, "
                "or has been changed since. Copy the same folder to every machine."
            )
        self._settings = settings
        self._session: Predictor | Classifier = (Predictor if settings.is_detector else Classifier)(
            settings.model_dir, **settings.session
        )

    def close(self) -> None:
        """Free the network."""
        self._session.close()

    def run(self, task: ShardTask) -> Iterator[Message]:
        """Run a shard: yields progress now and then, and the result at the end.

        Raises:
            Res2NetError: Something is wrong that the next image would meet, too, such as too many open files.
        """
        started_s = told_s = time.monotonic()
        rows = _JsonRows() if self._settings.format == "jsonl" else ParquetRows(self._settings.is_detector)
        failures: list[dict[str, Any]] = []
        found = done = 0
        for item in self._carefully(task) if task.is_careful else self._swiftly(task):
            if isinstance(item, Progress):
                yield item
                continue
            image, outcome = item
            if isinstance(outcome, str):
                failures.append({"file_name": storable(image.name), "image_id": image.image_id, "error": outcome})
            else:
                rows.add({"file_name": storable(image.name), "image_id": image.image_id, **outcome})
                found += len(outcome.get("detections", ()))
                done += 1
            if not task.is_careful and time.monotonic() - told_s >= _TELLING_S:
                told_s = time.monotonic()
                yield Progress(done + len(failures))
        seconds = time.monotonic() - started_s
        yield ShardResult(task.index, rows.content(), done, found, failures, self._session.description, seconds)

    def _swiftly(self, task: ShardTask) -> Iterator[tuple[BatchImage, _Finished]]:
        """Decode the next images, and paste masks of the last ones, while the network runs."""
        paths = [locate(self._settings.root, image.name) for image in task.images]
        yield from zip(task.images, map_ahead(self._finish, zip(task.images, self._session.predict_iter(paths))))

    def _carefully(self, task: ShardTask) -> Iterator[Progress | tuple[BatchImage, _Finished]]:
        for position, image in enumerate(task.images):
            yield Progress(position)
            if position in task.skipped:
                yield image, task.skipped[position]
                continue
            for prediction in self._session.predict_iter([locate(self._settings.root, image.name)], workers=1):
                yield image, self._finish((image, prediction))

    def _finish(self, item: tuple[BatchImage, _Prediction]) -> _Finished:
        """Return the columns of an image's row, or what went wrong with it."""
        image, prediction = item
        if isinstance(prediction, FailedPrediction):
            if is_lasting(prediction.error):
                raise prediction.error
            return str(prediction.error)
        if isinstance(prediction, ClassifierPrediction):
            return {"classes": prediction.classification.rows(self._settings.top_k)}
        detections = prediction.detections
        if self._settings.threshold is not None:
            detections = detections.filter(self._settings.threshold)
        record = detections_record(detections, image.image_id, detections.to_coco(image.image_id))
        del record["image_id"]
        return record


class _JsonRows:
    """Collects rows of one shard as JSON lines."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, row: dict[str, Any]) -> None:
        self._lines.append(json.dumps(row) + "\n")

    def content(self) -> bytes:
        return "".join(self._lines).encode("ascii")
