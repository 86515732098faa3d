"""MLflow. Its environment variables choose the server and the experiment.

``MLFLOW_TRACKING_URI`` (default: ``mlflow.db`` beside the run's folder), ``MLFLOW_EXPERIMENT_NAME`` (ppdet_res2net), ...
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param

from ppdet_res2net.training.loggers.base import Run, flatten

__all__ = ["MLflowLogger"]

logger = logging.getLogger(__name__)

_EXPERIMENT = "ppdet_res2net"
_LONGEST_VALUE = 500  # of a parameter, in MLflow 1.28 to 2.7; later ones take more
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100
# MLflow would hold training up for minutes before it says that its server does not answer. The user's own values count.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
_STATUS = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflowLogger:
    """A run of MLflow. A resumed run continues it."""

    def __init__(self, run: Run) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        parent = run.folder.resolve().parent
        is_set = mlflow.is_tracking_uri_set()
        uri = mlflow.get_tracking_uri() if is_set else f"sqlite:///{parent / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._run_id = run.recall_id("mlflow") or self._create(run, None if is_set else parent / "mlartifacts")
        self._client.update_run(self._run_id, status="RUNNING")
        run.remember_id("mlflow", self._run_id)
        self._client.log_artifact(self._run_id, str(run.folder / "config.yml"))
        # An address that the user has set may hold a password.
        where = "on the server of MLFLOW_TRACKING_URI" if is_set else f"'mlflow ui --backend-store-uri {uri}' shows it"
        logger.info("MLflow: run %s; %s", self._run_id, where)

    def _create(self, run: Run, artifacts: Path | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            place = None if artifacts is None else artifacts.as_uri()
            experiment_id = self._client.create_experiment(name, artifact_location=place)
        else:
            experiment_id = experiment.experiment_id
        run_id: str = self._client.create_run(experiment_id, run_name=run.name).info.run_id
        params = [Param(_key(key), str(value)[:_LONGEST_VALUE]) for key, value in flatten(run.settings)]
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS_AT_ONCE])
        return run_id

    def log_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log metrics."""
        now_ms = int(time.time() * 1000)
        metrics = [Metric(_key(name), float(value), now_ms, step) for name, value in numbers.items()]
        for start in range(0, len(metrics), _METRICS_AT_ONCE):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + _METRICS_AT_ONCE])

    def log_picture(self, step: int, path: Path) -> None:
        """Keep a picture as an artifact."""
        self._client.log_artifact(self._run_id, str(path), "predictions")

    def close(self, outcome: str) -> None:
        """End the run, with its status."""
        self._client.set_terminated(self._run_id, status=_STATUS[outcome])


def _key(name: str) -> str:
    """Return a name with the characters that MLflow takes; class names may have any."""
    return re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII)[:250]
