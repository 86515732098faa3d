"""The benchmark of classification measures what it exports."""

from __future__ import annotations

import functools

import pytest

from benchmarks import classification
from ppdet_res2net import zoo
from tests.goldens.synthetic import without_random_weights


def test_an_exported_and_an_eager_classifier_are_measured(monkeypatch, tmp_path):
    for package in ("onnx", "openvino"):
        pytest.importorskip(package)
    for name, value in {"SIZE_PX": 32, "MIN_SECONDS": 0.0, "MIN_RUNS": 1}.items():
        monkeypatch.setattr(classification, name, value)
    small = functools.partial(zoo.create_classifier, depth=[1, 1, 1, 1])
    monkeypatch.setattr(zoo, "create_classifier", small)
    model, folder = "timm/res2net50_26w_4s", str(tmp_path / "model")
    arguments = {"precision": "fp32", "batch": 2, "train": False, "model": model, "folder": folder, "threads": 1}
    with without_random_weights():
        classification.export(model, folder)
        assert all(classification.measure(contender=name, **arguments) > 0 for name in ("openvino", "eager"))
