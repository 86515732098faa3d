"""Figures for Prometheus."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["METRICS_CONTENT_TYPE", "Metrics", "ModelMetrics"]

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """All figures of one server. With several workers, each of them gives the figures of all."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "res2net_requests", "Answered requests", ["method", "route", "status"], registry=self._registry
        )
        self.request_seconds = Histogram(
            "res2net_request_seconds",
            "From the headers of a request to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.part_seconds = Histogram(
            "res2net_part_seconds",
            "Time of each part of an image's way: queue, decode, network, postprocessing",
            ["model", "part"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batch_size = Histogram(
            "res2net_batch_size", "Images that ran together", ["model"], buckets=_IMAGES, registry=self._registry
        )
        self.images = Counter("res2net_images", "Images that the network has run", ["model"], registry=self._registry)
        self.rejections = Counter(
            "res2net_rejections", "Requests that were refused or given up", ["reason"], registry=self._registry
        )
        self.waiting = Gauge(
            "res2net_queue_images",
            "Images that are accepted and not finished",
            ["model"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.reloads = Counter("res2net_reloads", "Reloads of a model", ["model", "result"], registry=self._registry)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        registry = self._registry
        if os.environ.get(MULTIPROCESS_VARIABLE):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class ModelMetrics:
    """The figures of one model, as its batcher reports them."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._batch_size = metrics.batch_size.labels(model)
        self._images = metrics.images.labels(model)
        self._waiting = metrics.waiting.labels(model)
        self._parts = {
            part: metrics.part_seconds.labels(model, part) for part in ("queue", "decode", "network", "postprocessing")
        }

    def batch(self, size: int, seconds: float) -> None:
        """The network has run."""
        self._batch_size.observe(size)
        self._images.inc(size)
        self._parts["network"].observe(seconds)

    def waiting(self, count: int) -> None:
        """The number of places in use has changed."""
        self._waiting.set(count)

    def part(self, name: str, seconds: float) -> None:
        """A part of an image's way is done."""
        self._parts[name].observe(seconds)
