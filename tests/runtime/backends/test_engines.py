"""Every engine on the toy model: the same detections, and the same behaviour with broken files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml

from res2net_runtime import BackendError, Predictor
from res2net_runtime.backends import selection
from tests.helpers.runtime_toys import (
    BRIGHT,
    CONFIG,
    DARK,
    assert_a_list_gives_the_results_of_its_images,
    compile_in_bfloat16,
    picture,
    toy_model_dir,
)

# Engine and the format that it reads.
ENGINES = [
    ("paddle", "paddle"),
    ("onednn", "paddle"),
    ("onnxruntime", "onnx"),
    ("openvino", "openvino"),
    ("openvino", "onnx"),
]
LIBRARIES = {"paddle": "Paddle", "onednn": "Paddle", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


@pytest.fixture(scope="module", params=ENGINES, ids="-".join)
def engine_and_dir(request, tmp_path_factory):
    engine, format_name = request.param
    pytest.importorskip("paddle" if engine == "onednn" else engine, exc_type=ImportError)
    return engine, toy_model_dir(tmp_path_factory, format_name)


@pytest.fixture(scope="module")
def predictor(engine_and_dir):
    engine, model_dir = engine_and_dir
    with Predictor(model_dir, backend=engine, cpu_threads=1, batch_size=3) as predictor:
        yield predictor


def test_one_image(predictor, engine_and_dir):
    detections = predictor(picture(50, 70))
    assert detections.class_names == ["dog"] and detections.labels.dtype == np.int32
    np.testing.assert_allclose(detections.boxes_xyxy, [[0, 0, 70, 50]], rtol=1e-5)
    np.testing.assert_allclose(detections.scores, [0.7439], atol=1e-4)
    assert detections.masks.shape == (1, 28, 28) and detections.masks.dtype == np.float32
    assert predictor.description.startswith(LIBRARIES[engine_and_dir[0]])
    assert predictor.description.endswith("fp32, cpu)")
    assert predictor.engine == engine_and_dir[0]


def test_nothing_found_first_and_later(predictor):
    for value, count in ((DARK, 0), (BRIGHT, 1), (DARK, 0)):
        detections = predictor(picture(60, 90, value))
        assert detections.boxes_xyxy.shape == (count, 4) and detections.masks.shape == (count, 28, 28)
        assert len(detections.to_coco(1)) == count


def test_mixed_sizes_give_the_results_of_single_images(predictor):
    assert_a_list_gives_the_results_of_its_images(predictor)


def test_results_outlive_the_next_run(predictor):
    first = predictor(picture(50, 70))
    kept = first.boxes_xyxy.copy(), first.masks.copy()
    predictor(picture(60, 30, 250))
    np.testing.assert_array_equal(first.boxes_xyxy, kept[0])
    np.testing.assert_array_equal(first.masks, kept[1])


def test_damaged_graph(engine_and_dir, tmp_path):
    engine, model_dir = engine_and_dir
    broken = shutil.copytree(model_dir, tmp_path / "model")
    (files,) = yaml.safe_load((broken / "infer_cfg.yml").read_text())["formats"].values()
    graph = broken / files["model_file"]
    graph.write_bytes(graph.read_bytes()[:100])
    message = f"{LIBRARIES[engine]} .* cannot load '.*{graph.name}': .*Choose another backend, or export"
    with pytest.raises(BackendError, match=message):
        Predictor(broken, backend=engine)


def test_graph_and_description_that_do_not_fit(engine_and_dir, tmp_path):
    engine, model_dir = engine_and_dir
    other = shutil.copytree(model_dir, tmp_path / "model")
    config = yaml.safe_load((other / "infer_cfg.yml").read_text())
    if "paddle" in config["formats"]:  # Paddle's outputs have no names of ours, so they are counted
        config["outputs"] = ["boxes", "scores", "labels", "num"]
        message = r"has 5 outputs, but infer_cfg.yml names 4 \(boxes, scores, labels, num\)"
    else:
        _rename_output(other, config["formats"])
        message = "does not have the outputs masks, which infer_cfg.yml names; it has boxes, .*Export the model again"
    (other / "infer_cfg.yml").write_text(yaml.safe_dump(config))
    with pytest.raises(BackendError, match=message):
        Predictor(other, backend=engine)


def _rename_output(folder, formats) -> None:
    if "onnx" in formats:
        path = folder / "model.onnx"
        path.write_bytes(path.read_bytes().replace(b"masks", b"maskz"))
    else:
        path = folder / "model.xml"
        path.write_text(path.read_text().replace('"masks"', '"maskz"'))


def test_an_engine_without_its_format(engine_and_dir, tmp_path):
    engine, model_dir = engine_and_dir
    needed, other = ("paddle", "onnx") if engine in ("paddle", "onednn") else ("on", "paddle")
    folder = shutil.copytree(model_dir, tmp_path / "model")
    (folder / "graph").touch()
    formats = {other: {"model_file": "graph", "params_file": "graph"}}
    (folder / "infer_cfg.yml").write_text(yaml.safe_dump({**CONFIG, "formats": formats}))
    with pytest.raises(
        BackendError, match=f"Backend '{engine}' reads .*{needed}.* holds {other}. To add the format, export with"
    ):
        Predictor(folder, backend=engine)


def test_bfloat16_in_openvino(tmp_path_factory, caplog):
    openvino = pytest.importorskip("openvino")
    model_dir = toy_model_dir(tmp_path_factory, "openvino")
    compile_in_bfloat16(str(model_dir / "model.xml"))  # or skip
    is_simulated = "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    with Predictor(model_dir, backend="openvino", precision="bf16", cpu_threads=1) as predictor:
        assert "bf16" in predictor.description
        assert ("OpenVINO simulates them" in caplog.text) == is_simulated
        score = predictor(picture(50, 70)).scores
    np.testing.assert_allclose(score, [0.7439], atol=0.01)
    assert np.abs(score - 0.7439).max() > 1e-4  # it is not float32 under another name


class CoreOfAnotherCPU:
    """OpenVINO on a CPU without bfloat16: it reports that, and computes in float32 if asked for bfloat16."""

    def __init__(self):
        import openvino

        self._core = openvino._Core()

    def get_property(self, device, name):
        return ["FP32", "INT8"]

    def read_model(self, *files):
        return self._core.read_model(*files)

    def compile_model(self, network, device, settings):
        return self._core.compile_model(network, device, {**settings, "INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.parametrize("limit", ["AVX2", "avx2_vnni", "SSE41"])
def test_bfloat16_in_openvino_is_refused_where_instructions_are_hidden(tmp_path_factory, monkeypatch, limit):
    pytest.importorskip("openvino")
    model_dir = toy_model_dir(tmp_path_factory, "openvino")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    with pytest.raises(BackendError, match=f"ONEDNN_MAX_CPU_ISA={limit.upper()} hides instructions .* fp32"):
        Predictor(model_dir, backend="openvino", precision="bf16")


def test_bfloat16_where_openvino_falls_back_to_float32(tmp_path_factory, monkeypatch):
    openvino = pytest.importorskip("openvino")
    model_dir = toy_model_dir(tmp_path_factory, "openvino")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(openvino, "_Core", openvino.Core, raising=False)
    monkeypatch.setattr(openvino, "Core", CoreOfAnotherCPU)
    with pytest.raises(
        BackendError, match="cannot compute in bfloat16 on this CPU, not even by simulation. Choose precision"
    ):
        Predictor(model_dir, backend="openvino", precision="bf16")
    # 'auto' does not even try, also where the system does not tell what the CPU has.
    monkeypatch.setattr(selection, "has_bfloat16", lambda: None)
    with pytest.raises(
        BackendError, match="OpenVINO .* would have to simulate bfloat16 on this CPU. Choose precision fp32"
    ):
        Predictor(model_dir, precision="bf16")
