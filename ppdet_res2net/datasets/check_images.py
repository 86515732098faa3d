"""A check that decodes every image and names those that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from ppdet_res2net.data.classification.labelled import LabelledImages
from res2net_runtime.classification import open_rgb
from res2net_runtime.errors import ImageError

__all__ = ["find_bad_images"]

_AT_ONCE = 1024  # images whose results are kept at a time


def find_bad_images(
    dataset: LabelledImages, workers: int = 2, on_image: Callable[[], object] = lambda: None
) -> Iterator[str]:
    """Decode every image, and yield one sentence for each that cannot be decoded.

    Args:
        dataset: The dataset.
        workers: Threads that decode.
        on_image: Called after each image, for progress.
    """

    def problem(record: dict) -> str | None:
        try:
            open_rgb(record.get("image", record["im_file"]))
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(dataset), _AT_ONCE):
            part = range(start, min(start + _AT_ONCE, len(dataset)))
            for found in pool.map(lambda index: problem(dataset.roidbs[index]), part):
                on_image()
                if found is not None:
                    yield found
