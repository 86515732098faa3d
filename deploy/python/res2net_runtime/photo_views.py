"""Images on their way through a predictor as several views each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from res2net_runtime.errors import ImageError, Res2NetError
from res2net_runtime.merge_slices import merge_slices
from res2net_runtime.merge_variants import merge_variants, mirror_back
from res2net_runtime.preprocess import ImageSource
from res2net_runtime.results import Detections
from res2net_runtime.views import Slicing, TestTimeAugmentation, View, list_views

__all__ = ["Photo", "PhotoView", "iterate_views"]

_NOTHING = View((0, 0, 0, 0))


@dataclass(eq=False)
class Photo:
    """An image, and what was found in its views so far.

    Attributes:
        source: The image as it was passed in.
        image: The decoded image, uint8 (H, W, 3) RGB, or None if it cannot be read.
        views: What the network sees of it.
        found: The detections in the views that are done, in pixels of the view.
        error: What went wrong.
        done: Number of views that are done, with an error or without.
    """

    source: ImageSource
    image: np.ndarray | None
    views: Sequence[View]
    found: list[Detections] = field(default_factory=list)
    error: Res2NetError | None = None
    done: int = 0

    @property
    def is_done(self) -> bool:
        """Whether all views are done."""
        return self.done == len(self.views)

    def merged(self, slicing: Slicing | None, tta: TestTimeAugmentation | None) -> Detections:
        """Return one result of all views."""
        regions, parts = [], []
        for region, group in groupby(zip(self.views, self.found), key=lambda pair: pair[0].region):
            variants = [mirror_back(found) if view.is_mirrored else found for view, found in group]
            regions.append(region)
            parts.append(variants[0] if tta is None else merge_variants(variants, tta))
        if slicing is None or len(parts) == 1:
            return parts[0]
        height, width = self.views[0].region[3], self.views[0].region[2]
        return merge_slices(parts, regions, (height, width), slicing)


@dataclass(frozen=True, eq=False)
class PhotoView:
    """One view of an image. An image that cannot be read has one, which is empty.

    Attributes:
        photo: The image.
        view: What the network sees.
    """

    photo: Photo
    view: View

    def crop(self) -> np.ndarray:
        """Return the pixels, uint8 (h, w, 3) RGB.

        Raises:
            ImageError: The image cannot be read.
        """
        if self.photo.image is None:
            assert self.photo.error is not None
            raise self.photo.error
        x0, y0, x1, y1 = self.view.region
        pixels = self.photo.image[y0:y1, x0:x1]
        return np.ascontiguousarray(pixels[:, ::-1] if self.view.is_mirrored else pixels)


def iterate_views(
    images: Iterable[ImageSource],
    decode: Callable[[ImageSource], np.ndarray],
    slicing: Slicing | None,
    tta: TestTimeAugmentation | None,
) -> Generator[PhotoView, None, None]:
    """Yield the views of all images, image by image. Another thread decodes the next image meanwhile.

    Args:
        images: The images.
        decode: Returns the pixels of an image, or raises :class:`ImageError`.
        slicing: How they are cut.
        tta: Their variants.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="res2net-decode") as pool:
        for source, future in _ahead(images, lambda one: pool.submit(decode, one)):
            try:
                image = future.result()
                photo = Photo(source, image, list_views((image.shape[0], image.shape[1]), slicing, tta))
            except ImageError as error:
                yield PhotoView(Photo(source, None, (_NOTHING,), error=error), _NOTHING)
                continue
            del future, image  # a large image is freed with its last view
            yield from (PhotoView(photo, view) for view in photo.views)


def _ahead(
    images: Iterable[ImageSource], submit: Callable[[ImageSource], Future[np.ndarray]]
) -> Iterator[tuple[ImageSource, Future[np.ndarray]]]:
    waiting: deque[tuple[ImageSource, Future[np.ndarray]]] = deque()
    for source in images:
        waiting.append((source, submit(source)))
        if len(waiting) > 1:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()
