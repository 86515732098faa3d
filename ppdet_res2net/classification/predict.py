"""Classify image files, and draw class activation maps."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppdet_res2net.classification.cam import class_activation_maps, draw_activation
from ppdet_res2net.classification.model import LoadedClassifier
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.files import make_output_folder
from ppdet_res2net.modeling.res2net import STAGE_STRIDES
from res2net_runtime.classification import probabilities
from res2net_runtime.errors import ImageError
from res2net_runtime.pictures import save_picture

__all__ = ["ImageClasses", "classify_files"]

logger = logging.getLogger(__name__)

_MIN_PLACES = 3  # a map with fewer cells per row shows next to nothing


@dataclass(frozen=True)
class ImageClasses:
    """The most probable classes of one image, or why there are none.

    Attributes:
        path: The image.
        labels: Outputs of the network, the most probable first.
        names: Their names.
        scores: Their probabilities.
        error: What went wrong with this image, or None.
    """

    path: Path
    labels: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    error: str | None = None

    def as_dict(self) -> dict:
        """Return plain data."""
        if self.error is not None:
            return {"file_name": self.path.name, "error": self.error}
        classes = [
            {"label": label, "name": name, "score": round(score, 6)}
            for label, name, score in zip(self.labels, self.names, self.scores)
        ]
        return {"file_name": self.path.name, "classes": classes}


def classify_files(
    classifier: LoadedClassifier,
    paths: Sequence[str | os.PathLike[str]],
    *,
    top_k: int = 5,
    batch_size: int = 8,
    cam_dir: str | os.PathLike[str] | None = None,
) -> Iterator[ImageClasses]:
    """Classify images; with a folder for them, also draw class activation maps.

    Args:
        classifier: The network with its classes and preprocessing.
        paths: The images.
        top_k: Number of classes per image.
        batch_size: Images per batch.
        cam_dir: Folder for ``<name of the image>.png`` with the map of the most probable class.

    Yields:
        One result per image, in order. An image that cannot be read, or whose map cannot be written, carries its error.

    Raises:
        ConfigError: The maps would overwrite the images or each other, or their folder cannot be written.
    """
    files = [Path(path) for path in paths]
    folder = _cam_folder(cam_dir, files) if cam_dir is not None else None
    places = -(-classifier.preprocessor.size_px // STAGE_STRIDES[-1])
    if folder is not None and places < _MIN_PLACES:
        size = classifier.preprocessor.size_px
        logger.warning("activation maps are coarse: images of %d pixels give maps of %dx%d cells", size, places, places)
    progress = tqdm(total=len(files), unit="image", disable=len(files) == 1 or not sys.stderr.isatty())
    with ThreadPoolExecutor(2) as pool, progress:
        for start in range(0, len(files), batch_size):
            part = files[start : start + batch_size]
            views = list(pool.map(lambda path: _view_or_error(classifier, path), part))
            seen = [view for view in views if isinstance(view, np.ndarray)]
            found = _classify(classifier, seen, top_k) if seen else iter(())
            for path, view in zip(part, views):
                yield _result(path, view, found, folder)
                progress.update()


def _result(
    path: Path, view: np.ndarray | ImageError, found: Iterator[tuple[tuple, np.ndarray]], folder: Path | None
) -> ImageClasses:
    """Take the next classes and map, if the image could be read; draw the map if there is a folder for it."""
    if isinstance(view, ImageError):
        return ImageClasses(path, error=str(view))
    classes, activation = next(found)
    try:
        if folder is not None:
            save_picture(folder / f"{path.stem}.png", draw_activation(view, activation))
    except ImageError as error:
        return ImageClasses(path, error=str(error))
    return ImageClasses(path, *classes)


def _view_or_error(classifier: LoadedClassifier, path: Path) -> np.ndarray | ImageError:
    try:
        return classifier.preprocessor.view(classifier.preprocessor.decode(path))
    except ImageError as error:
        return error


def _classify(classifier: LoadedClassifier, views: list[np.ndarray], top_k: int) -> Iterator[tuple[tuple, np.ndarray]]:
    images = np.stack([classifier.preprocessor.normalise(view) for view in views])
    logits, maps = class_activation_maps(classifier.network, images)
    for row, activation in zip(probabilities(logits), maps):
        labels = np.argsort(-row, kind="stable")[:top_k].tolist()
        names = tuple(classifier.names_or_numbers[i] for i in labels)
        yield (tuple(labels), names, tuple(row[labels].tolist())), activation


def _cam_folder(cam_dir: str | os.PathLike[str], files: Sequence[Path]) -> Path:
    if len({path.stem for path in files}) < len(files):
        raise ConfigError(
            "Several images have the same name, so their pictures would overwrite each other. Pass the images of one folder "
            "at a time."
        )
    return make_output_folder(cam_dir, files, "--cam", ConfigError)
