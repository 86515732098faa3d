"""Export of a detector as a folder for deployment."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from paddle import nn
from paddle.utils import unique_name

from ppdet_res2net.analysis.thresholds import ChosenThresholds
from ppdet_res2net.config import Config
from ppdet_res2net.datasets.demo_scenes import draw_scene
from ppdet_res2net.detection.agreement import TOLERANCES, verify_export
from ppdet_res2net.detection.inference import RCNNInference
from ppdet_res2net.detection.model import EagerBackend, create_trained_detector, make_model_info
from ppdet_res2net.detection.paddle_graph import save_detector_graph
from ppdet_res2net.export.folder import NetworkWriter, check_formats, check_names, write_folder
from ppdet_res2net.training.device import select_device
from ppdet_res2net.training.threads import choose_threads
from res2net_runtime.files import find_images
from res2net_runtime.model_folder import ModelInfo
from res2net_runtime.predictor import Predictor

if TYPE_CHECKING:
    import onnx

__all__ = ["ExportSource", "choose_images", "export_model"]


def export_model(
    config: Config,
    output_dir: str,
    *,
    formats: Sequence[str] = ("paddle",),
    verify: bool = False,
    verify_images: Sequence[str] | None = None,
    verify_precisions: Sequence[str] = ("fp32",),
    thresholds: ChosenThresholds | None = None,
) -> Path:
    """Write ``output_dir/<name of the configuration>`` with the network in some formats and ``infer_cfg.yml``.

    Args:
        config: The configuration, with ``weights``.
        output_dir: Parent of the folder.
        formats: Some of :data:`~res2net_runtime.engines.EXPORTED_FORMATS`.
        verify: Run the eager and every exported model on images and compare.
        verify_images: Image files or folders for that; default: generated pictures.
        verify_precisions: Some of :data:`TOLERANCES`; each exported model runs in those that its engine offers.
        thresholds: The scores from which detections are drawn; default: 0.5.

    Returns:
        The folder.

    Raises:
        ConfigError: The thresholds are for other classes.
        ExportError: A format is unknown, its package is missing, the network cannot be written in it, or an exported
            network gives results that differ from the eager model's.
    """
    check_formats(formats)
    check_names("precision", verify_precisions, TOLERANCES)
    source = ExportSource.load(config, thresholds)
    folder = Path(output_dir) / config.name

    def compare(directory: Path) -> None:
        verify_export(
            directory, source.predictor(), choose_images(verify_images), verify_precisions, choose_threads(config)
        )

    write_folder(folder, formats, source.writer(), compare if verify else None)
    return folder


@dataclass(frozen=True)
class ExportSource:
    """A trained detector that is going to be exported.

    Attributes:
        config: Its configuration.
        detector: ppdet's model.
        network: Its inference side, in evaluation mode.
        info: What a predictor needs to know about it.
    """

    config: Config
    detector: nn.Layer
    network: RCNNInference
    info: ModelInfo

    @classmethod
    def load(cls, config: Config, thresholds: ChosenThresholds | None = None) -> ExportSource:
        """Create the detector with its weights.

        Args:
            config: The configuration, with ``weights``.
            thresholds: The scores from which detections are drawn; default: 0.5.

        Raises:
            ConfigError: The thresholds are for other classes.
        """
        select_device(config)
        with unique_name.guard():
            # The names of layers decide the order of the weights in the file. With the guard, every export has the same names.
            detector, classes = create_trained_detector(config)
            network = RCNNInference(detector)
        network.eval()
        info = make_model_info(config, classes, network.output_names)
        if thresholds is not None:
            threshold, class_thresholds = thresholds.for_classes(classes.names, classes.category_ids)
            info = dataclasses.replace(info, draw_threshold=threshold, class_thresholds=class_thresholds)
        return cls(config, detector, network, info)

    def predictor(self) -> Predictor:
        """Return the eager model, with which exports are compared."""
        return Predictor.over(self.info, EagerBackend(self.detector))

    def writer(self) -> NetworkWriter:
        """Return what writes the network in the formats of this project."""
        info = self.info
        by_class = {} if info.class_thresholds is None else {"class_thresholds": list(info.class_thresholds)}
        return NetworkWriter(
            lambda directory: save_detector_graph(self.network, directory),
            lambda: _make_onnx(self.network),
            {
                "task": "detection",
                "arch": info.arch,
                "outputs": list(info.outputs),
                "Preprocess": list(info.preprocess),
                "label_list": list(info.label_list),
                "category_ids": [int(i) for i in info.category_ids],
                "draw_threshold": info.draw_threshold,
                **by_class,
                "mask_threshold": info.mask_threshold,
                "source_weights": os.path.basename(str(self.config["weights"])),
            },
        )


def _make_onnx(network: RCNNInference) -> onnx.ModelProto:
    from ppdet_res2net.detection.onnx_detector import make_onnx_model

    return make_onnx_model(network)


def choose_images(verify_images: Sequence[str] | None) -> list:
    """Return the images to compare exports on: those of files and folders, or generated ones."""
    if not verify_images:
        generator = np.random.default_rng(0)
        return [draw_scene(generator, 320, with_objects=True, with_crowd=False)[0][:, :, ::-1] for _ in range(4)]
    files: list = []
    for path in verify_images:
        files += find_images(path) if os.path.isdir(path) else [path]
    return files
