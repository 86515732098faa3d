"""Reports of evaluations: why a detector errs, and which threshold to deploy."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import paddle

from ppdet_res2net.analysis.page.output import PAGE_NAME, ReportOutput, save_report
from ppdet_res2net.analysis.subject import RunFacts
from ppdet_res2net.detection.evaluate import Evaluated
from ppdet_res2net.training.run_log import peak_memory_mib

__all__ = ["report_writer"]

logger = logging.getLogger(__name__)


def report_writer(output: ReportOutput, model: str, model_dir: str | None = None) -> Callable[[Evaluated], None]:
    """Return what :func:`~ppdet_res2net.detection.evaluate.evaluate` calls in the end: it writes the report.

    Args:
        output: Where it goes. The folder is created now.
        model: Name of what is evaluated: a recipe and its weights, or an exported folder.
        model_dir: The exported folder; None if there is none.

    Raises:
        ConfigError: The folder cannot be written.
    """
    output.prepare()

    def write(done: Evaluated) -> None:
        dataset, device = done.ground_truth.dataset, paddle.device.get_device()
        run = RunFacts(
            model=model,
            engine=done.engine,
            device=device,
            seconds=round(done.seconds, 3),
            images_per_second=round(len(dataset.roidbs) / done.seconds, 3) if done.seconds > 0 else None,
            peak_memory_mb=peak_memory_mib(device),
        )
        paths = {int(record["im_id"][0]): os.fspath(record["im_file"]) for record in dataset.roidbs}
        detections = dict.fromkeys(done.iou_types, done.detections)
        save_report(output, done.ground_truth.objects, detections, paths, run, dataset.annotation_path, model_dir)
        logger.info("the report is %s", output.folder / PAGE_NAME)

    return write
