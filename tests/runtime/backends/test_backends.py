"""Engines: which can be asked for, stepping down from one to the next, and Paddle's known defects."""

from __future__ import annotations

import errno

import pytest

from res2net_runtime import BackendError, Predictor
from res2net_runtime.backends import SteppingDownBackend, native_errors, paddle_quirks
from tests.helpers.runtime_toys import toy_model_dir


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return toy_model_dir(tmp_path_factory)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backend": "torch"},
            "Unknown backend 'torch'. Choose one of: auto, openvino, onnxruntime, onednn, paddle, tensorrt",
        ),
        (
            {"precision": "fp16"},
            "has no precision 'fp16'. Choose one of: openvino: fp32, bf16, int8; onnxruntime: fp32, int8",
        ),
        ({"precision": "fp64"}, "Unknown precision 'fp64'. Choose one of: fp32, bf16, fp16, int8."),
        (
            {"backend": "paddle", "precision": "bf16"},
            "Backend 'paddle' on device 'cpu' has no precision 'bf16'",
        ),
        ({"device": "tpu"}, "Unknown device 'tpu'. Choose cpu, gpu or gpu:<index>"),
        ({"device": "gpu:one"}, "Unknown device 'gpu:one'"),
        ({"backend": "tensorrt"}, "Backend 'tensorrt' runs on gpu only. Choose that device"),
        ({"backend": "onednn", "device": "gpu"}, "Backend 'onednn' runs on cpu only"),
        ({"backend": "openvino", "device": "GPU:0"}, "Backend 'openvino' runs on cpu only"),
        (
            {"backend": "openvino"},
            "Backend 'openvino' reads openvino or onnx in fp32, but the model folder .* holds paddle. To add the format, "
            "export with --format paddle,openvino, or choose another backend",
        ),
    ],
)
def test_impossible_engines(model_dir, options, message):
    with pytest.raises(BackendError, match=message):
        Predictor(model_dir, **options)


def test_gpu_without_gpu_support(model_dir):
    import paddle

    if paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle supports GPUs")
    with pytest.raises(BackendError, match="has no GPU support. Install paddlepaddle-gpu, or pass device='cpu'"):
        Predictor(model_dir, device="GPU")


class FakeEngine:
    """Refuses the batches whose numbers it is given."""

    def __init__(self, name: str, refuses=()):
        self.description, self._refuses, self.closed = name, refuses, False

    def run(self, batch):
        if batch in self._refuses:
            raise BackendError(f"{self.description} refuses {batch}")
        return {"by": self.description}

    def close(self):
        self.closed = True


def refuse_to_open():
    raise BackendError("does not load")


def test_step_down_when_an_engine_does_not_load(caplog):
    backend = SteppingDownBackend([refuse_to_open, lambda: FakeEngine("slow")])
    assert backend.run(1) == {"by": "slow"}
    assert "Trying a slower engine, because this one cannot load the model: does not load" in caplog.text
    with pytest.raises(BackendError, match="does not load"):
        SteppingDownBackend([refuse_to_open, refuse_to_open])


def test_an_engine_that_never_works_is_given_up(caplog):
    fast = FakeEngine("fast", refuses=range(100))
    backend = SteppingDownBackend([lambda: fast, lambda: FakeEngine("slow")])
    assert [backend.run(number)["by"] for number in range(5)] == ["slow"] * 5
    assert fast.closed and backend.description == "slow"
    assert "Changing permanently from fast to the slower slow." in caplog.text
    assert caplog.text.count("runs on the slower slow: fast refuses 0") == 1


def test_an_engine_that_works_is_kept(caplog):
    fast, slow = FakeEngine("fast", refuses=[0, 2, 3, 4, 5]), FakeEngine("slow", refuses=[5])
    backend = SteppingDownBackend([lambda: fast, lambda: slow])
    assert [backend.run(number)["by"] for number in (0, 1, 2, 3, 4, 6)] == [
        "slow",
        "fast",
        "slow",
        "slow",
        "slow",
        "fast",
    ]
    assert backend.description == "fast" and not fast.closed and len(caplog.records) == 1
    with pytest.raises(BackendError, match="slow refuses 5"):
        backend.run(5)
    backend.close()
    assert fast.closed and slow.closed


def test_graph_of_paddle_3_under_paddle_2(tmp_path):
    class Paddle2:
        __version__ = "2.6.2"

    with pytest.raises(BackendError, match="was exported by Paddle 3, but the installed Paddle is 2.6.2"):
        paddle_quirks.check_model_format(Paddle2, tmp_path / "model.json")
    paddle_quirks.check_model_format(Paddle2, tmp_path / "model.pdmodel")


def test_an_engine_is_installed_but_no_file_can_be_opened(monkeypatch):
    def fail(name):
        raise OSError(errno.EMFILE, "Too many open files", "capi.py")

    monkeypatch.setattr(native_errors.importlib, "import_module", fail)
    with pytest.raises(BackendError, match=r"Too many open files.*\)\. Close files, or raise the limit of open files"):
        native_errors.import_engine("openvino")


@pytest.mark.parametrize("failure", [ImportError("no such file"), RuntimeError("made for another NumPy")])
def test_broken_installation_is_no_crash(monkeypatch, failure):
    def fail(name):
        raise failure

    monkeypatch.setattr(native_errors.importlib, "import_module", fail)
    with pytest.raises(
        BackendError, match=rf"Cannot import openvino \({failure}\). Install it with: pip install openvino\."
    ):
        native_errors.import_engine("openvino")
    with pytest.raises(BackendError, match=r"pip install paddlepaddle \(or paddlepaddle-gpu\)"):
        paddle_quirks.import_paddle()


def test_paddle_without_onednn():
    class Config:
        def enable_mkldnn(self):
            pass

        def mkldnn_enabled(self):
            return False

    with pytest.raises(BackendError, match="was built without oneDNN. Choose another backend"):
        paddle_quirks.enable_onednn(Config())
