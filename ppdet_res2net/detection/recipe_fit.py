"""The parts of a configuration that have to fit a dataset, and a warning where they do not."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from ppdet_res2net.commands import program
from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.datasets.recipe_fit import Anchors, FitSettings, examine_fit, warn_of_scales
from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = ["fit_settings", "warn_of_misfits"]

logger = logging.getLogger(__name__)


def fit_settings(config: Mapping) -> FitSettings:
    """Return what a configuration says about sizes of images and anchors."""
    names = ("TrainReader", "EvalReader", "TestReader")
    readers = {name: config[name] for name in names if isinstance(config.get(name), Mapping)}
    head = config.get("RPNHead")
    if not isinstance(head, Mapping):
        return FitSettings(readers)
    generator = head.get("anchor_generator") or {}
    generator = generator.kwargs if isinstance(generator, Tagged) else generator
    assigner = head.get("rpn_target_assign") or {}
    assigner = assigner.kwargs if isinstance(assigner, Tagged) else assigner
    return FitSettings(readers, Anchors.from_settings(generator), float(assigner.get("positive_overlap", 0.7)))


def warn_of_misfits(config: Mapping, dataset: COCODataSet) -> None:
    """Log a warning if the readers resize differently, or if the anchors do not fit the objects."""
    settings = fit_settings(config)
    records = dataset.roidbs
    findings = warn_of_scales(np.array([(record["h"], record["w"]) for record in records]), settings)
    boxes = [
        record["gt_bbox"][record["is_crowd"][:, 0] == 0] if "is_crowd" in record else record["gt_bbox"]
        for record in records
    ]
    sizes = [np.repeat([(record["h"], record["w"])], len(part), axis=0) for record, part in zip(records, boxes)]
    fit = examine_fit(np.concatenate(boxes), np.concatenate(sizes), settings)
    for finding in [*findings, *(fit.findings() if fit else [])]:
        problem = finding.problem
        logger.warning(
            "%s: %s. %s '%s -c' says more",
            problem.say_title(1),
            finding.detail,
            problem.remedy,
            program("check-dataset"),
        )
