"""Prediction on image files with a detector that has not been exported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.config import Config
from ppdet_res2net.detection.model import create_predictor, create_trained_detector
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.files import make_output_folder
from ppdet_res2net.training.device import select_device
from res2net_runtime.console import ending_on_signals
from res2net_runtime.image_lists import ImageFile, name_images
from res2net_runtime.jobs import Output, Summary, run_images
from res2net_runtime.labels import LabelOutput
from res2net_runtime.views import Slicing, TestTimeAugmentation

__all__ = ["predict_files"]


def predict_files(
    config: Config,
    image_paths: Sequence[str | os.PathLike[str] | ImageFile],
    *,
    output_dir: str,
    draw_threshold: float = 0.5,
    save_results: bool = False,
    save_jsonl: bool = False,
    skip_done: bool = False,
    save_pictures: bool = True,
    suffix: str = "",
    labels: LabelOutput | None = None,
    slicing: Slicing | None = None,
    tta: TestTimeAugmentation | None = None,
) -> Summary:
    """Draw the detections of each image, and write them in COCO's result format if asked.

    Pictures, results and image ids are those of ``deploy/python/infer.py``. An image that fails is listed in the summary's
    ``failures``, and the other images are still processed.

    Args:
        config: The configuration, with ``weights``.
        image_paths: The images: all paths, or all with names and ids.
        output_dir: Folder for the pictures, and for ``bbox.json`` and ``mask.json`` with every detection.
        draw_threshold: Smallest score of a detection that is drawn.
        save_results: Write the JSON files.
        save_jsonl: As in :class:`~res2net_runtime.jobs.Output`, as are the following.
        skip_done: See there.
        save_pictures: See there.
        suffix: See there.
        labels: See there.
        slicing: As in :class:`~res2net_runtime.Predictor`.
        tta: See there.

    Raises:
        ConfigError: No image is given, pictures would overwrite the images, the folder cannot be written, or the
            configuration does not give a detector.
        Res2NetError: A label file is there already.
        ImageError: Two images have the same name.
    """
    if not image_paths:
        raise ConfigError("There are no images to predict. Pass --infer_img FILE or --infer_dir FOLDER.")
    images = [one for one in image_paths if isinstance(one, ImageFile)]
    images = images or name_images([Path(one) for one in image_paths if not isinstance(one, ImageFile)])
    folder = make_output_folder(output_dir, [image.path for image in images], error_class=ConfigError)
    output = Output(folder, draw_threshold, save_results, save_jsonl, skip_done, save_pictures, suffix, labels=labels)
    select_device(config)
    detector, classes = create_trained_detector(config)
    predictor = create_predictor(detector, config, classes, "TestReader", slicing=slicing, tta=tta)
    with ending_on_signals():  # after Paddle, which sets handlers of its own, has been loaded
        return run_images(predictor, images, output)
