"""Exported folders made to do harm: what infer_cfg.yml may say, which files it may name, and which graphs an engine gets."""

from __future__ import annotations

import json
import os
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
from res2net_runtime import BackendError, ModelFolderError, Predictor
from res2net_runtime.backends.graphs import GraphError, check_graph, paddle_json
from res2net_runtime.classification import Classifier
from res2net_runtime.model_folder import ModelFiles, load_model_folder
from tests.helpers.runtime_toys import BRIGHT, CONFIG, picture, toy_model_dir
from tests.hostile import protobuf

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture
def folder(tmp_path):
    """A folder whose graph no engine reads; infer_cfg.yml is read before."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "model.onnx").write_bytes(b"graph")
    write_config(path)
    return path


def write_config(path, **changes):
    config = {**CONFIG, "formats": {"onnx": {"model_file": "model.onnx"}}, **changes}
    (path / "infer_cfg.yml").write_text(yaml.safe_dump(config), encoding="utf-8")


def alias_bomb(levels: int) -> str:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            alias_bomb(30), r"Line [56]: there are more than 100000 values, if each alias counts", id="alias bomb"
        ),
        pytest.param("a: &a [*a]", r"Line 1: the alias \*a is inside of what it stands for", id="circle"),
        pytest.param("[" * 500, "Line 1: the values are nested more than 20 deep", id="nested"),
        pytest.param(
            "a: !!timestamp abc", "Line 1 has the tag tag:yaml.org,2002:timestamp; plain values", id="timestamp"
        ),
        pytest.param(
            "a: !!python/object/apply:os.abort []", "Line 1 has the tag .*os.abort; plain values", id="python"
        ),
        pytest.param("a: " + "9" * 5000, "a number has 5000 characters; at most 200 are read", id="digits"),
        pytest.param("a: " + "1:" * 10**6 + "1", "a number has 2000001 characters", id="base 60"),
        pytest.param("a: 2024-99-99", "is not valid YAML: month must be in", id="date"),
        pytest.param('a: "\\ud800"', "is not valid YAML", id="surrogate"),
        pytest.param("? [a]\n: b", "is not valid YAML: found unhashable key", id="key"),
        pytest.param("a: \x1b[31mred", "is not valid YAML", id="control"),
        pytest.param("#" * 4_000_001, "It has 4000001 bytes; the limit is 4000000", id="size"),
        pytest.param("", "is not a mapping of settings", id="empty"),
    ],
)
def test_yaml_that_does_harm(folder, text, message):
    (folder / "infer_cfg.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ModelFolderError, match=message) as caught:
        load_model_folder(folder)
    assert len(str(caught.value)) < 600
    assert "infer_cfg.yml" in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("key", [key for key in CONFIG if key != "versions"])
@pytest.mark.parametrize(
    "value", [None, True, [], {}, -1, 10**300, "x" * 100_000, ["x" * 100_000] * 2, [[]], [{"type": []}]]
)
def test_wrong_values_are_told_in_few_words(folder, key, value):
    write_config(folder, **{key: value})
    with pytest.raises((ModelFolderError, BackendError)) as caught:
        Predictor(folder, backend="onnxruntime")
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draw_threshold": float("nan")}, "has draw_threshold: nan, expected a number from 0 to 1. Correct the file"),
        (
            {"category_ids": [1, 2**80]},
            "has 1208925819614629174706176 in category_ids, expected whole numbers of 64 bits",
        ),
        ({"category_ids": [1, True]}, "has True in category_ids"),
        ({"label_list": ["cat", False]}, "has False as entry 1 of label_list, expected text of .* Put it in quotes"),
        (
            {"Preprocess": [{"type": "Resize", "target_size": [10**5, 10**5], "keep_ratio": False}]},
            "at most 67108864 pixels",
        ),
        (
            {"Preprocess": [{"type": "Permute"}, {"type": "PadStride", "stride": 10**9}]},
            "a whole number of at most 1024",
        ),
        (
            {"Preprocess": [{"type": "NormalizeImage", "mean": [0, 0, 0], "std": [1e-320, 1, 1]}]},
            "mean and std must be finite",
        ),
        (
            {"Preprocess": [{"type": "Resize", "target_size": [float("inf"), 1], "keep_ratio": True}]},
            "cannot convert float inf",
        ),
    ],
)
def test_numbers_that_take_all_memory_or_mean_nothing(folder, changes, message):
    write_config(folder, **changes)
    with pytest.raises(ModelFolderError, match=message):
        load_model_folder(folder)


def test_the_preprocessing_of_classifiers_is_bounded(folder):
    write_config(folder, task="classification", outputs=["logits"], Preprocess={"size_px": 224, "crop_fraction": 1e-9})
    with pytest.raises(ModelFolderError, match="size_px / crop_fraction is above 8192"):
        Classifier(folder)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.onnx", "a/../../secret.onnx", "C:\\secret.onnx", "..\\secret.onnx"]
)
def test_a_folder_names_files_inside_itself(folder, name):
    (folder.parent / "secret.onnx").write_bytes(b"graph")
    write_config(folder, formats={"onnx": {"model_file": name}})
    with pytest.raises(
        ModelFolderError, match="as model_file of format onnx. A model folder may only name files inside"
    ):
        load_model_folder(folder)


@pytest.mark.parametrize("name", ["x" * 2000, "x/" * 1000, ["model.onnx"], 7, None])
def test_names_that_no_file_has_are_told_in_few_words(folder, name):
    write_config(folder, formats={"onnx": {"model_file": name}})
    with pytest.raises(ModelFolderError, match="as model_file of format onnx, expected the name of a file") as caught:
        load_model_folder(folder)
    assert len(str(caught.value)) < 600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["model.onnx", "infer_cfg.yml"])
def test_pipes_and_links_out_of_the_folder_are_not_opened(folder, name):
    content = (folder / name).read_bytes()
    outside = folder.parent / "outside"
    outside.write_bytes(content)
    (folder / name).unlink()
    (folder / name).symlink_to(outside)
    with pytest.raises(ModelFolderError, match=f"{name}' is a link to '.*outside', outside of the model folder. Copy"):
        load_model_folder(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ModelFolderError, match=f"{name}' is not a file. Copy the whole model folder"):
        load_model_folder(folder)
    (folder / name).unlink()
    (folder / "inside").write_bytes(content)
    (folder / name).symlink_to("inside")
    assert load_model_folder(folder).formats["onnx"].model_path == folder / "model.onnx"


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
    write_config(folder, formats={"paddle": files})
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
