"""The tables of engines and formats: the docs and choices that derive from them, and a module for every entry."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from res2net_runtime.engines import (
    BACKENDS,
    EXPORTED_FORMATS,
    FORMATS,
    PRECISIONS,
    RUN_MODES,
    auto_engines,
    engines_markdown,
    formats_markdown,
    runs_to_verify,
)

DOCS = Path(__file__).parents[2] / "docs" / "deployment.md"


@pytest.mark.parametrize("table", [engines_markdown, formats_markdown])
def test_the_docs_print_the_tables(table):
    assert f"\n\n{table()}\n" in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BACKENDS)
def test_every_engine_has_its_module_and_names_what_there_is(name):
    engine = BACKENDS[name]
    module, _, loader = engine.loader.partition(".")
    assert callable(getattr(importlib.import_module(f"res2net_runtime.backends.{module}"), loader))
    assert set(engine.reads) <= set(PRECISIONS)
    assert {one for formats in engine.reads.values() for one in formats} <= set(FORMATS)
    assert set(engine.auto_devices) <= set(engine.devices) <= {"cpu", "gpu"}
    assert set(engine.run_modes) <= set(engine.reads)


@pytest.mark.parametrize("name", EXPORTED_FORMATS)
def test_every_exported_format_has_its_module(name):
    module = importlib.import_module(f"ppdet_res2net.export.formats.{name}")
    assert callable(module.write) and isinstance(module.PACKAGES, tuple)


def test_run_modes_are_those_of_paddledetection():
    assert RUN_MODES == {
        "auto": ("auto", "fp32"),
        "mkldnn": ("onednn", "fp32"),
        "mkldnn_bf16": ("onednn", "bf16"),
        "paddle": ("paddle", "fp32"),
        "trt_fp32": ("tensorrt", "fp32"),
        "trt_fp16": ("tensorrt", "fp16"),
    }


def test_auto_tries_the_fastest_first():
    assert auto_engines("cpu") == ("openvino", "onnxruntime", "onednn", "paddle")
    assert auto_engines("gpu") == ("paddle",)


@pytest.mark.parametrize(
    ("formats", "precisions", "expected"),
    [
        (("paddle",), ["fp32"], {("onednn", "fp32"), ("paddle", "fp32")}),
        (("onnx",), ["fp32", "bf16"], {("onnxruntime", "fp32")}),
        (("openvino",), ["fp32", "bf16"], {("openvino", "fp32"), ("openvino", "bf16")}),
        (("onnx", "onnx_int8"), ["int8"], {("openvino", "int8"), ("onnxruntime", "int8")}),
        (("onnx",), ["bf16"], set()),
    ],
)
def test_verification_runs_each_engine_on_the_format_that_it_prefers(formats, precisions, expected):
    assert set(runs_to_verify(formats, precisions)) == expected
