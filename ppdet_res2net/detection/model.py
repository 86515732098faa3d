"""From a configuration to a detector: its dataset, network, classes and predictor."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from ppdet_res2net.commands import program
from ppdet_res2net.config import CLASSIFIER, Config, is_classifier
from ppdet_res2net.data.annotations import read_categories
from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.detection.inference import RCNNInference
from ppdet_res2net.errors import ConfigError, WeightsError
from ppdet_res2net.modeling.initial_values import without_initial_values
from ppdet_res2net.ppdet_modules.registry import create_dataset, create_from_config
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.training.checkpoint import read_checkpoint_info
from ppdet_res2net.zoo.coco_categories import COCO_CATEGORIES
from ppdet_res2net.zoo.load import load_weights
from ppdet_res2net.zoo.report import describe_contents
from ppdet_res2net.zoo.weights import Weights, read_weights
from res2net_runtime.model_folder import ModelInfo
from res2net_runtime.predictor import Predictor
from res2net_runtime.views import Slicing, TestTimeAugmentation

__all__ = ["Classes", "EagerBackend", "create_coco_dataset", "create_predictor", "create_trained_detector"]

logger = logging.getLogger(__name__)


class Classes(NamedTuple):
    """The classes of a dataset or a model, by label.

    Attributes:
        names: Class names.
        category_ids: COCO category ids.
    """

    names: tuple[str, ...]
    category_ids: tuple[int, ...]


def create_coco_dataset(config: Mapping, key: str) -> COCODataSet:
    """Create the dataset that ``config`` describes under ``key``, without reading its files.

    Raises:
        ConfigError: There is no such dataset, or it is not in COCO's format.
    """
    dataset = create_dataset(config, key)
    if not isinstance(dataset, COCODataSet):
        _refuse_classifier(config)
        raise ConfigError(
            f"{key} is {type(dataset).__name__}; only COCODataSet can be trained and evaluated on. Convert the annotations "
            f"to COCO's format."
        )
    return dataset


def read_coco_dataset(config: Mapping, key: str) -> COCODataSet:
    """Create the dataset that ``config`` describes under ``key``, and read its annotations.

    Raises:
        ConfigError: There is no such dataset, or it is not in COCO's format.
        DatasetError: Files are missing or wrong.
    """
    dataset = create_coco_dataset(config, key)
    dataset.parse_dataset()
    return dataset


def _refuse_classifier(config: Mapping) -> None:
    if is_classifier(config):
        raise ConfigError(
            f"architecture is {CLASSIFIER}, but this works with detectors only. Choose a recipe of a detector; the "
            "commands train, eval, infer and export serve classifiers too."
        )


def create_trained_detector(config: Config) -> tuple[nn.Layer, Classes]:
    """Create the detector of a configuration with the weights that ``weights`` names, in evaluation mode.

    ``num_classes`` of the configuration is set to the number of classes found.

    Raises:
        ConfigError: The configuration describes a classifier or names no ``weights``; or the class names are unknown.
        DatasetError: An annotation file that should give the class names cannot be read.
        WeightsError: The weights cannot be found or read, or do not fit.
    """
    _refuse_classifier(config)
    weights = config.get("weights")
    if not weights:
        raise ConfigError(f"'{config.name}' names no weights. Pass -o weights=PATH, for instance a run's model_final.")
    loaded = read_weights(weights)
    classes = _find_classes(config, weights, loaded)
    config.set_num_classes(len(classes.names), f"classes of {weights}")
    with without_initial_values():
        detector = create_from_config(config, config["architecture"])
    logger.info("%s", load_weights(detector, loaded))
    detector.eval()
    return detector, classes


def _find_classes(config: Config, location: str, weights: Weights) -> Classes:
    """Return the classes of a detector.

    They come from the .json beside the weights, or else from the configured dataset. Without either, published detectors
    have COCO's classes.
    """
    info = read_checkpoint_info(location)
    if info is not None:
        return Classes(tuple(info["class_names"]), tuple(info["category_ids"]))
    missing = []
    for key in ("TestDataset", "EvalDataset", "TrainDataset"):
        part = Tagged.from_value(config.get(key))
        if part is None or not part.kwargs.get("anno_path"):
            continue
        path = os.path.join(part.kwargs.get("dataset_dir") or "", part.kwargs["anno_path"])
        if not os.path.exists(path):
            missing.append(f"{key}: '{path}'")
            continue
        names, ids = read_categories(path)
        if weights.num_classes not in (None, len(names)):
            raise ConfigError(
                f"{weights.source} detects {weights.num_classes} classes, but {key} names {len(names)}: '{path}'. Pass "
                f"-o {key}.anno_path=FILE with the categories that the weights were trained on, or other weights."
            )
        return Classes(tuple(names), tuple(ids))
    if weights.spec is not None and weights.spec.task == "detector":
        logger.info("The classes are COCO's 80, on which %s was trained", weights.spec.name)
        return Classes(tuple(COCO_CATEGORIES.values()), tuple(COCO_CATEGORIES))
    if not weights.is_detector:
        shapes = {name: array.shape for name, array in weights.tensors.items()}
        raise WeightsError(
            f"weights: {weights.source} holds no detector; it seems to be {describe_contents(shapes)}. Evaluation, "
            f"prediction and export need the weights of a whole detector; train one first."
        )
    raise ConfigError(
        f"The names of the {weights.num_classes} classes of '{location}' are unknown: there is no .json of that name beside "
        f"the weights, and no annotation file (tried {'; '.join(missing) or 'none, because none is set'}). Keep the .json "
        f"that training wrote beside the weights, or pass -o TestDataset.anno_path=FILE. A published detector needs neither "
        f"if its file has the name under which it was published, or if you pass its zoo name ('{program('models')}')."
    )


class EagerBackend:
    """A detector that was not exported, with the interface of the runtime's engines."""

    engine = "eager"
    description = f"Paddle {paddle.__version__}, eager"

    def __init__(self, detector: nn.Layer) -> None:
        self._network = RCNNInference(detector)
        self._network.eval()

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return self._network.output_names

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the named outputs for a batch of ``image``, ``im_shape`` and ``scale_factor``."""
        with paddle.no_grad():
            inputs = (paddle.to_tensor(batch[name]) for name in ("image", "im_shape", "scale_factor"))
            return {name: t.numpy() for name, t in zip(self.output_names, self._network(*inputs))}

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


def create_predictor(
    detector: nn.Layer,
    config: Config,
    classes: Classes,
    reader: str = "EvalReader",
    *,
    slicing: Slicing | None = None,
    tta: TestTimeAugmentation | None = None,
) -> Predictor:
    """Return the runtime's predictor for an eager detector. Images are prepared as ``reader`` says."""
    backend = EagerBackend(detector)
    info = make_model_info(config, classes, backend.output_names, reader)
    batch_size = config.get(reader, {}).get("batch_size", 1)
    return Predictor.over(info, backend, batch_size=batch_size, slicing=slicing, tta=tta)


def make_model_info(config: Config, classes: Classes, outputs: Sequence[str], reader: str = "TestReader") -> ModelInfo:
    """Return the description of a configuration's detector that the runtime works from."""
    return ModelInfo(
        arch=config["architecture"],
        outputs=tuple(outputs),
        preprocess=tuple(_preprocess_operators(config, reader)),
        label_list=classes.names,
        category_ids=classes.category_ids,
        draw_threshold=0.5,
        mask_threshold=float(config.get("MaskPostProcess", {}).get("binary_thresh", 0.5)),
    )


def _preprocess_operators(config: Config, reader: str) -> list[dict]:
    """Translate a reader's transforms into the runtime's operators. The runtime refuses operators that it does not know."""
    settings = config.get(reader)
    if not settings:
        raise ConfigError(f"'{config.name}' has no {reader}, which says how images are prepared.")
    operators = []
    for transform in settings.get("sample_transforms", []):
        for name, arguments in transform.items():
            if name != "Decode":
                operators.append({"type": name, **(arguments or {})})
    for transform in settings.get("batch_transforms", []):
        for name, arguments in transform.items():
            if name != "PadBatch":
                raise ConfigError(
                    f"{reader}.batch_transforms: {name} cannot be exported; only PadBatch can. Remove it from the recipe."
                )
            operators.append({"type": "PadStride", "stride": (arguments or {}).get("pad_to_stride", 0)})
    if not any(operator["type"] == "PadStride" for operator in operators):
        operators.append({"type": "PadStride", "stride": 0})
    return operators
