"""Which engine 'auto' takes, what it says about it, and what it learns of the CPU."""

from __future__ import annotations

import logging
import os
import platform

import pytest

from res2net_runtime import BackendError
from res2net_runtime.backends import cpu, selection
from res2net_runtime.model_folder import ModelFiles, ModelFolder


class FakeBackend:
    def __init__(self, folder, options):
        self.options, self.description = options, f"{options.engine} {options.precision}"


@pytest.fixture
def machine(monkeypatch):
    """Pretend that the given packages are installed; engines in ``broken`` do not load."""

    def set_up(packages=(), broken=(), bfloat16=None):
        def load(folder, options):
            if options.engine in broken:
                raise BackendError(f"{options.engine} does not load")
            return FakeBackend(folder, options)

        monkeypatch.setattr(selection.importlib.util, "find_spec", lambda name: name in packages or None)
        monkeypatch.setattr(selection, "_load", load)
        monkeypatch.setattr(selection, "has_bfloat16", lambda: bfloat16)

    return set_up


def folder(*formats: str) -> ModelFolder:
    files = {name: ModelFiles(None) for name in formats}
    return ModelFolder("MaskRCNN", (), (), (), (), 0.5, 0.5, path="model", formats=files, versions={})


def chosen(*formats, backend="auto", precision="fp32", device="cpu"):
    return selection.create_backend(folder(*formats), backend, precision, device, 2).description


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


ALL = ("paddle", "onnxruntime", "openvino")


@pytest.mark.parametrize(
    ("packages", "formats", "expected"),
    [
        (ALL, ("paddle", "onnx", "openvino"), "openvino fp32"),
        (ALL, ("paddle", "onnx"), "openvino fp32"),
        (("paddle", "onnxruntime"), ("paddle", "onnx"), "onnxruntime fp32"),
        (("paddle",), ("paddle", "onnx"), "onednn fp32"),
        (ALL, ("paddle",), "onednn fp32"),
        (("onnxruntime",), ("onnx", "openvino"), "onnxruntime fp32"),
    ],
)
def test_auto_takes_the_fastest_that_is_there(machine, packages, formats, expected, caplog):
    machine(packages)
    assert chosen(*formats) == expected
    assert not warnings_of(caplog)


def test_auto_says_how_to_be_faster(machine, caplog):
    machine(("paddle", "onnxruntime"))
    with caplog.at_level(logging.INFO):
        assert chosen("paddle") == "onednn fp32"
    assert [record.getMessage() for record in caplog.records] == [
        "The faster engine 'openvino' could be used after: pip install openvino and export with --format paddle,openvino",
        "The faster engine 'onnxruntime' could be used after: export with --format paddle,onnx",
    ]


def test_auto_steps_down_aloud(machine, caplog):
    machine(ALL, broken=("openvino", "onednn"))
    assert chosen("paddle", "openvino") == "paddle fp32"
    assert warnings_of(caplog) == [
        "Trying a slower engine, because this one cannot load the model: openvino does not load",
        "Trying a slower engine, because this one cannot load the model: onednn does not load",
    ]
    machine(ALL, broken=("openvino", "onnxruntime"))
    with pytest.raises(BackendError, match="onnxruntime does not load"):
        chosen("onnx")


def test_no_installed_engine(machine):
    machine(("paddle",))
    message = (
        r"No installed engine runs the model in 'model' \(formats: onnx\) in fp32. Install a package "
        "that does: openvino, onnxruntime."
    )
    with pytest.raises(BackendError, match=message):
        chosen("onnx")
    machine(())
    # The module is called paddle, the package is not.
    with pytest.raises(BackendError, match=r"a package that does: paddlepaddle \(or paddlepaddle-gpu\)\.$"):
        chosen("paddle")


def test_int8_takes_the_quantised_model(machine):
    machine(ALL)
    assert chosen("onnx", "onnx_int8", precision="int8") == "openvino int8"
    backend = selection.create_backend(folder("onnx", "onnx_int8"), "onnxruntime", "int8", "cpu", 1)
    assert backend.options.format == "onnx_int8"
    message = r"\(formats: paddle, onnx\) in int8. To add a suitable format, run 'python -m res2net_runtime.quantize'."
    with pytest.raises(BackendError, match=message):
        chosen("paddle", "onnx", precision="int8")
    message = "'onnxruntime' reads onnx_int8 in int8, .* To add the format, run 'python -m res2net_runtime.quantize', or choose"
    with pytest.raises(BackendError, match=message):
        chosen("onnx", backend="onnxruntime", precision="int8")


def test_bfloat16_only_where_it_is_faster(machine, caplog):
    machine(ALL, bfloat16=True)
    assert chosen("paddle", "onnx", precision="bf16") == "openvino bf16"
    assert chosen("paddle", precision="bf16") == "onednn bf16"
    machine(ALL, bfloat16=None)  # unknown: as the user says
    assert chosen("paddle", precision="bf16") == "onednn bf16"
    assert not warnings_of(caplog)
    machine(ALL, bfloat16=False)
    assert chosen("paddle", "onnx", precision="bf16") == "openvino fp32"
    assert "no bfloat16 instructions, so bf16 would be slower than fp32. Running in fp32." in caplog.text


def test_gpu_runs_paddle(machine):
    machine(ALL)
    assert chosen("paddle", "onnx", device="GPU:1") == "paddle fp32"
    with pytest.raises(BackendError, match="Backend 'auto' on device 'gpu' has no precision 'bf16'"):
        chosen("paddle", device="gpu", precision="bf16")


def test_threads_default_to_the_available_cores(machine, monkeypatch):
    machine(ALL)
    monkeypatch.setattr(selection, "available_cores", lambda: 7)
    backend = selection.create_backend(folder("onnx", "openvino"), "openvino", "fp32", "cpu", None)
    assert backend.options.cpu_threads == 7 and backend.options.format == "openvino"


@pytest.mark.parametrize(
    ("text", "features", "bfloat16"),
    [
        ("processor : 0\nflags\t: fpu avx2 avx512_bf16\nflags\t: fpu", {"fpu", "avx2", "avx512_bf16"}, True),
        ("Features\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}, True),
        ("flags : fpu avx2\n", {"fpu", "avx2"}, False),
        ("nothing known\n", None, None),
    ],
)
def test_features_of_the_cpu(tmp_path, text, features, bfloat16):
    file = tmp_path / "cpuinfo"
    assert cpu.cpu_features(file) is None and cpu.has_bfloat16(file) is None
    file.write_text(text)
    assert cpu.cpu_features(file) == features
    assert cpu.has_bfloat16(file) is bfloat16


def test_name_of_the_cpu(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "_CPU_INFO", file)
    assert cpu.cpu_name() == (platform.processor() or platform.machine())
    file.write_text("processor : 0\nmodel name\t: One CPU: v2\nmodel name\t: Another\n")
    assert cpu.cpu_name() == "One CPU: v2"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_cores_respect_a_containers_quota(tmp_path, monkeypatch, files, cores):
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    else:
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu.available_cores(tmp_path) == cores
