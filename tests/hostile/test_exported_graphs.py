"""Exported graphs made to do harm: which of them an engine gets."""

from __future__ import annotations

import json
import shutil
import zlib  # noqa: F401  (before paddle: Paddle 2.6.2 brings zlib symbols of its own)
from pathlib import Path

import paddle
import pytest
import yaml

from ppdet_res2net.classification.export import LogitAgreement
from ppdet_res2net.cli import eval as eval_command
from ppdet_res2net.detection import evaluate
from ppdet_res2net.errors import ExportError
from ppdet_res2net.export.verification import verify_engines
from res2net_runtime import BackendError, Predictor
from res2net_runtime.backends.graphs import GraphError, check_graph, paddle_json
from res2net_runtime.model_folder import ModelFiles, load_model_folder
from tests.helpers.runtime_toys import BRIGHT, CONFIG, picture, toy_model_dir
from tests.hostile import protobuf

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture(scope="module")
def toys(tmp_path_factory) -> Path:
    return toy_model_dir(tmp_path_factory, "paddle", "onnx", "openvino")


@pytest.fixture
def paddle2_toy(tmp_path) -> Path:
    """A folder as Paddle 2.6.2 exports it; tests/goldens/make_paddle2_toy.py has made the graph."""
    folder = tmp_path / "paddle2"
    folder.mkdir()
    files = {"model_file": "model.pdmodel", "params_file": "model.pdiparams"}
    for name in files.values():
        shutil.copy(GOLDENS / name.replace("model", "paddle2_toy", 1), folder / name)
    config = yaml.safe_dump({**CONFIG, "formats": {"paddle": files}})
    (folder / "infer_cfg.yml").write_text(config, encoding="utf-8")
    return folder


def test_a_graph_of_paddle_2_runs_and_is_told_when_it_is_cut_short(paddle2_toy):
    with Predictor(paddle2_toy, backend="paddle", cpu_threads=1) as predictor:
        assert len(predictor(picture(40, 60, BRIGHT))) == 1
    files = files_of(paddle2_toy, "paddle")
    for path in (files.model_path, files.params_path):
        content = path.read_bytes()
        for end in range(0, len(content), 1 + len(content) // 150):
            path.write_bytes(content[:end])
            with pytest.raises(GraphError):
                check_graph(files, "paddle")
        path.write_bytes(content)


def files_of(folder: Path, name: str) -> ModelFiles:
    return load_model_folder(folder).formats[name]


FORMATS = ["paddle", "onnx", "openvino"]


@pytest.mark.parametrize("name", FORMATS)
def test_files_cut_short_anywhere_are_told_before_an_engine_reads_them(toys, tmp_path, name):
    check_graph(files_of(toys, name), name)
    damaged = shutil.copytree(toys, tmp_path / "model")
    for path in filter(None, (files_of(damaged, name).model_path, files_of(damaged, name).params_path)):
        content = path.read_bytes()
        for end in {0, 1, len(content) - 1, *range(2, len(content), 1 + len(content) // 150)}:
            path.write_bytes(content[:end])
            if name == "onnx" and end:  # a message of Protocol Buffers may end after any field
                try:
                    check_graph(files_of(damaged, name), name)
                except GraphError:
                    continue
            elif path.suffix != ".xml" or content[end:].strip():
                with pytest.raises(GraphError):
                    check_graph(files_of(damaged, name), name)
        path.write_bytes(content)


def operators_of(folder: Path) -> tuple[Path, dict, list]:
    path = folder / "model.json"
    graph = json.loads(path.read_text())
    return path, graph, graph["program"]["regions"][0]["blocks"][0]["ops"]


@pytest.fixture
def paddle_graph(toys, tmp_path):
    damaged = shutil.copytree(toys, tmp_path / "model")
    if not (damaged / "model.json").is_file():
        pytest.skip("this Paddle writes the older form of graphs")
    return damaged


@pytest.mark.parametrize(
    "operator", ["1.py_func", "1.load", "1.save_combine", "1.print", "0.if", "1.while", "2.onednn", "", 7]
)
def test_operators_that_read_files_or_run_code_are_refused(paddle_graph, operator):
    path, graph, operators = operators_of(paddle_graph)
    operators[-1]["#"] = operator
    path.write_text(json.dumps(graph))
    message = (
        "cannot load '.*model.json': .*(is not one that export_model.py writes, and operators may|of another type: 7)"
    )
    with pytest.raises(BackendError, match=message):
        Predictor(paddle_graph, backend="paddle")


def test_a_graph_that_its_owner_trusts_is_not_checked(paddle_graph, monkeypatch):
    monkeypatch.setattr(paddle_json, "OPERATORS", {})
    with pytest.raises(BackendError, match=r"If you exported it yourself, .* pass --trust_graph \(trust_graph=True\)"):
        Predictor(paddle_graph, backend="paddle")
    with Predictor(paddle_graph, backend="paddle", trust_graph=True) as predictor:
        assert len(predictor(picture(40, 60, BRIGHT))) == 1


def test_verification_trusts_what_was_just_exported_and_says_what_others_will_need(paddle_graph, monkeypatch, caplog):
    monkeypatch.setattr(paddle_json, "OPERATORS", {})
    agreement = LogitAgreement(difference=0.0, same_top1=1, images=1, tolerance=1.0)
    formats = load_model_folder(paddle_graph).formats
    assert verify_engines(formats, ["fp32"], lambda engine, precision: (agreement, engine))
    assert "model.json: its operator '1." in caplog.text
    assert "To run this model, pass --trust_graph (trust_graph=True)." in caplog.text
    (paddle_graph / "model.json").write_text("{}")
    with pytest.raises(ExportError, match="cannot be run: in model.json, the key 'base_code' is missing"):
        verify_engines(formats, ["fp32"], lambda engine, precision: (agreement, engine))


def test_an_evaluation_passes_on_that_the_graph_is_trusted(paddle_graph, monkeypatch, capsys):
    asked = {}

    class Stop(Exception):
        pass

    def predictor(model_dir, **options):
        asked.update(options)
        raise Stop

    monkeypatch.setattr(evaluate, "Predictor", predictor)
    for flags, expected in (([], False), (["--trust_graph"], True)):
        with pytest.raises(Stop):
            eval_command.main(["-c", "demo_mask_rcnn", "--exported", str(paddle_graph), *flags])
        assert asked["trust_graph"] is expected
    with pytest.raises(SystemExit):
        eval_command.main(["-c", "demo_mask_rcnn", "--trust_graph"])
    assert (
        "--backend, --precision and --trust_graph say how an export runs; add --exported DIR" in capsys.readouterr().err
    )


class _OwnModule(paddle.nn.Layer):
    """What a neck or head of one's own often has."""

    def __init__(self):
        super().__init__()
        self.depthwise = paddle.nn.Conv2D(8, 8, 3, padding=1, groups=8)
        self.norms = paddle.nn.LayerList([paddle.nn.GroupNorm(2, 8), paddle.nn.InstanceNorm2D(8), paddle.nn.PReLU(8)])
        self.attention = paddle.nn.MultiHeadAttention(8, 2)
        self.norm = paddle.nn.LayerNorm(8)

    def forward(self, image):
        functional = paddle.nn.functional
        features = self.depthwise(image)
        for one in self.norms:
            features = one(features)
        for one in (functional.gelu, functional.silu, functional.swish, functional.hardswish, functional.mish):
            features = one(features)
        features = functional.leaky_relu(features) * functional.hardsigmoid(functional.adaptive_avg_pool2d(features, 1))
        features = features * functional.adaptive_max_pool2d(functional.dropout(features, training=self.training), 1)
        for mode in ("nearest", "bilinear"):
            features = functional.interpolate(features, scale_factor=2, mode=mode)
        features = functional.normalize(functional.pad(features, [1, 1, 1, 1], mode="reflect"))
        tokens = self.norm(features.flatten(2).transpose([0, 2, 1]))
        tokens = functional.relu6(self.attention(tokens)) + paddle.rsqrt(tokens.abs() + 1).max(axis=2, keepdim=True)
        return paddle.where(tokens > 0, tokens, functional.softplus(tokens)).topk(2, axis=2)[0]


def test_operators_of_usual_modules_are_known(tmp_path):
    shape = paddle.static.InputSpec([None, 8, None, None], "float32", "image")
    network = _OwnModule()
    network.eval()
    paddle.jit.save(paddle.jit.to_static(network, input_spec=[shape], full_graph=True), str(tmp_path / "model"))
    graph = next(file for file in tmp_path.iterdir() if file.suffix in (".json", ".pdmodel"))
    check_graph(ModelFiles(graph, tmp_path / "model.pdiparams"), "paddle")


def _first(operators: list, name: str) -> dict:
    return next(one for one in operators if one["#"] == name)


def _unknown_value(operators):
    _first(operators, "1.conv2d")["I"][0]["%"] = 9999


def _zero_stride(operators):
    attribute = next(one for one in _first(operators, "1.conv2d")["A"] if one["N"] == "strides")
    attribute["AT"]["D"][0]["D"] = 0


def _wrong_type(operators):
    _first(operators, "1.conv2d")["A"][0]["AT"] = {"#": "0.a_str", "D": "x"}


def _lost_attribute(operators):
    del _first(operators, "1.conv2d")["A"][0]


def _other_weight(operators):
    _first(operators, "p")["O"]["TT"]["D"][1][0] = 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_unknown_value, "the operator '1.conv2d' uses the value 9999, which does not exist"),
        (_zero_stride, r"the operator '1.conv2d' has strides = \[0, 1\], expected 1 to 1024"),
        (_wrong_type, "it has x of the type 0.a_str where|it has 0.a_str where an array is expected"),
        (_lost_attribute, "the operator '1.conv2d' lacks the attribute strides"),
        (
            _other_weight,
            r"the weights in 'model.pdiparams' have the shape \[1, 3, 1, 1\] .* but the graph says \[2, 3, 1, 1\]",
        ),
    ],
)
def test_graphs_with_wrong_values_and_weights(paddle_graph, change, message):
    path, graph, operators = operators_of(paddle_graph)
    change(operators)
    path.write_text(json.dumps(graph))
    with pytest.raises(BackendError, match=message):
        Predictor(paddle_graph, backend="paddle")


@pytest.mark.parametrize(
    ("operator", "attributes", "message"),
    [
        ("py_func", {}, "its operator 'py_func' is not one that export_model.py writes"),
        ("load_combine", {"file_path": "/etc/passwd"}, "its operator 'load_combine' is not one"),
        ("relu", {"sub_block": 0}, "has an attribute 'sub_block' of another kind"),
        ("relu", {}, None),
    ],
)
def test_graphs_of_paddle_2(tmp_path, operator, attributes, message):
    graph, weights = protobuf.paddle_program(operator, attributes)
    (tmp_path / "model.pdmodel").write_bytes(graph)
    (tmp_path / "model.pdiparams").write_bytes(weights)
    files = ModelFiles(tmp_path / "model.pdmodel", tmp_path / "model.pdiparams")
    if message is None:
        check_graph(files, "paddle")
        (tmp_path / "model.pdiparams").write_bytes(weights[:-1])
        message = "the weights in 'model.pdiparams' end within 'w'"
    with pytest.raises(GraphError, match=message):
        check_graph(files, "paddle")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"location": "../secret"}, r"the array 'w' is in the file '../secret', outside of the model folder"),
        ({"location": "/etc/passwd"}, "the array 'w' is in the file '/etc/passwd', outside"),
        ({"location": "link"}, "the array 'w' is in the file 'link', outside"),
        ({"location": "gone"}, "the array 'w' is in the file 'gone', which is not in the model folder"),
        ({"location": "data", "offset": "8"}, "the array 'w' has 16 bytes at 8 of 'data', expected 16"),
        ({"location": "data", "offset": "x"}, "has a place in 'data' that is not a number"),
        ({"operator": "Loop"}, "its operator 'Loop' is not one that export_model.py writes"),
        ({"domain": "evil"}, "its operator 'Relu' is of the domain 'evil'"),
        ({"dims": [2**40, 2**40]}, "it has an array of the shape .*, which no memory holds"),
        ({"location": "data"}, None),
        ({}, None),
    ],
)
def test_onnx_models(tmp_path, changes, message):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "data").write_bytes(bytes(16))
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "model.onnx").write_bytes(protobuf.onnx_model(**changes))
    if message is None:
        check_graph(ModelFiles(folder / "model.onnx"), "onnx")
        return
    with pytest.raises(GraphError, match=message):
        check_graph(ModelFiles(folder / "model.onnx"), "onnx")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<net ", '<!DOCTYPE net [<!ENTITY a "aaaa">]><net ', "it is not XML as OpenVINO writes it"),
        ('type="Sigmoid"', 'type="Loop"', "its operator 'Loop' is not one that export_model.py writes"),
        ('version="opset', 'version="extension', "is of the version extension"),
        ('offset="0"', 'offset="4000000000"', "the weights in 'model.bin' end before those of the layer"),
        ('from-layer="0"', 'from-layer="999"', "it has an edge from a layer that does not exist: 999"),
    ],
)
def test_openvino_graphs(toys, tmp_path, old, new, message):
    damaged = shutil.copytree(toys, tmp_path / "model")
    path = damaged / "model.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BackendError, match=f"cannot load '.*model.xml': .*{message}"):
        Predictor(damaged, backend="openvino")


def test_the_parser_follows_the_format_and_not_the_name(toys, tmp_path):
    disguised = tmp_path / "model.xml"
    shutil.copy(toys / "model.onnx", disguised)
    with pytest.raises(GraphError, match="its name does not end in .onnx, as those of format onnx do"):
        check_graph(ModelFiles(disguised), "onnx")
