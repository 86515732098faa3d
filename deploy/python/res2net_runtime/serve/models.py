"""The loaded models, by name, and their exchange while requests go on."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from res2net_runtime.classification.classifier import Classifier
from res2net_runtime.errors import Res2NetError, did_you_mean
from res2net_runtime.files import replacing
from res2net_runtime.model_folder import read_model_config
from res2net_runtime.predictor import Predictor
from res2net_runtime.serve.batching import Batcher
from res2net_runtime.serve.errors import RequestError, hide_paths
from res2net_runtime.serve.metrics import Metrics, ModelMetrics
from res2net_runtime.serve.settings import ServeSettings
from res2net_runtime.texts import printable

__all__ = ["LoadedModel", "ModelStore"]

logger = logging.getLogger(__name__)

_FOLLOWING_S = 0.5
_WARM_UP_HW = (480, 640)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that answers.

    Attributes:
        name: Its name in addresses.
        version: Changes with every file of its folder.
        session: The network.
        batcher: Its queue.
        metrics: Its figures.
    """

    name: str
    version: str
    session: Predictor | Classifier
    batcher: Batcher
    metrics: ModelMetrics

    @property
    def is_detector(self) -> bool:
        """Whether it finds boxes; a classifier does not."""
        return isinstance(self.session, Predictor)

    @property
    def has_masks(self) -> bool:
        """Whether it finds masks."""
        return isinstance(self.session, Predictor) and "masks" in self.session.info.outputs

    @property
    def draw_threshold(self) -> float | tuple[float, ...]:
        """Smallest score of a detection that is drawn, for all classes or for each, unless the client says otherwise."""
        return self.session.info.least_scores if isinstance(self.session, Predictor) else 0.0

    def describe(self) -> dict[str, Any]:
        """Return what clients may know about it."""
        described: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "task": "detection" if self.is_detector else "classification",
            "labels": list(self.session.label_list),
            "engine": self.session.description,
        }
        if isinstance(self.session, Predictor):
            info = self.session.info
            described |= {
                "arch": info.arch,
                "has_masks": self.has_masks,
                "category_ids": list(info.category_ids),
                "draw_threshold": info.draw_threshold,
                "class_thresholds": None if info.class_thresholds is None else list(info.class_thresholds),
            }
        return described


class ModelStore:
    """Loads models, hands them out, and exchanges them.

    Args:
        settings: Those of the server.
        metrics: Its figures.
        pool: Threads that decode.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics, pool: Executor) -> None:
        self._settings, self._metrics, self._pool = settings, metrics, pool
        self._models: dict[str, LoadedModel] = {}
        self._locks = {name: asyncio.Lock() for name in settings.models}
        self._retiring: set[asyncio.Future[None]] = set()

    def __iter__(self) -> Iterator[LoadedModel]:
        return iter(list(self._models.values()))

    @property
    def is_ready(self) -> bool:
        """Whether every model is loaded."""
        return len(self._models) == len(self._settings.models)

    def load_all(self) -> None:
        """Load every model.

        Raises:
            Res2NetError: One cannot be loaded.
        """
        for name in self._settings.models:
            self._models[name] = self._load(name)

    def get(self, name: str) -> LoadedModel:
        """Return a model.

        Raises:
            RequestError: There is none of this name.
        """
        if name not in self._models:
            raise RequestError(
                404,
                f"There is no model '{printable(name[:100])}'. The models are: {', '.join(self._models)}."
                f"{did_you_mean(name[:100], self._models)}",
                "no_model",
            )
        return self._models[name]

    async def reload(self, name: str) -> LoadedModel:
        """Load a model's folder again, exchange the model, and let the old one finish what it has accepted.

        Raises:
            RequestError: There is no such model, or its folder cannot be loaded; the old one then stays.
        """
        self.get(name)
        async with self._locks[name]:
            loop = asyncio.get_running_loop()
            try:
                new = await loop.run_in_executor(None, functools.partial(self._load, name))
            except Res2NetError as error:
                self._metrics.reloads.labels(name, "failed").inc()
                raise RequestError(
                    409, f"The model '{name}' stays as it was: {hide_paths(error)}", "reload_failed"
                ) from error
            old, self._models[name] = self._models[name], new
            self._metrics.reloads.labels(name, "done").inc()
            retiring = loop.run_in_executor(None, old.batcher.close)
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)
        logger.info("model '%s' is now version %s (before: %s)", name, new.version, old.version)
        return new

    def tell_others(self, name: str) -> None:
        """Ask the other workers to reload a model, too."""
        if self._settings.shared_dir is not None:
            with replacing(self._settings.shared_dir / f"reload-{name}") as unfinished:
                unfinished.write_text(f"{os.getpid()} {time.time_ns()}", encoding="ascii")

    async def follow_others(self) -> None:
        """Reload the models that other workers were told to reload. Runs until it is cancelled."""
        seen = self._notes()
        while self._settings.shared_dir is not None:
            await asyncio.sleep(_FOLLOWING_S)
            notes = self._notes()
            for name, note in notes.items():
                if note != seen.get(name) and not note.startswith(f"{os.getpid()} "):
                    try:
                        await self.reload(name)
                    except RequestError as error:
                        logger.error("%s", error)
            seen = notes

    def _notes(self) -> Mapping[str, str]:
        folder = self._settings.shared_dir
        if folder is None:
            return {}
        files = {name: folder / f"reload-{name}" for name in self._settings.models}
        return {name: file.read_text("ascii") for name, file in files.items() if file.is_file()}

    async def wait_for_retired(self) -> None:
        """Wait until the models that were exchanged have finished."""
        if self._retiring:
            await asyncio.wait(self._retiring)

    def close(self) -> None:
        """Finish what is accepted, and free all networks."""
        for model in self._models.values():
            model.batcher.close()
        self._models.clear()

    def _load(self, name: str) -> LoadedModel:
        path, settings = self._settings.models[name], self._settings
        version = _fingerprint(path)
        task = read_model_config(path)[0]["task"]
        session = (Predictor if task == "detection" else Classifier)(
            path, batch_size=settings.batch_size, max_pixels=settings.max_pixels, **settings.engine
        )
        try:
            session(np.full((*_WARM_UP_HW, 3), 114, np.uint8))  # what fails, and what is slow at first, comes now
        except BaseException:
            session.close()
            raise
        observer = ModelMetrics(self._metrics, name)
        batcher = Batcher(
            session,
            self._pool,
            observer,
            batch_size=settings.batch_size,
            max_wait_s=settings.max_wait_ms / 1000 if settings.batch_size > 1 else 0.0,
            max_queue=settings.max_queue,
        )
        return LoadedModel(name, version, session, batcher, observer)


def _fingerprint(path: Path) -> str:
    """Return a text that changes when a file of a model folder does; the same for all workers."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.iterdir()):
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:12]
