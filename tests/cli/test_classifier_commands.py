"""The commands with a classifier, its export and the runtime, as a user runs them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

from ppdet_res2net.classification.export import verify_classifier
from ppdet_res2net.classification.model import load_classifier, trunk_arguments
from ppdet_res2net.cli.main import main
from ppdet_res2net.errors import ExportError, ModelFolderError
from ppdet_res2net.modeling import Res2NetClassifier
from ppdet_res2net.zoo.formats import save_weights_file
from ppdet_res2net.zoo.load import trunk_metadata
from res2net_runtime import Predictor
from res2net_runtime.classification import Classifier, ClassifierPreprocessor
from res2net_runtime.cli import main as infer

CLASSES = ["dark", "light"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Weights as a run leaves them, and a dataset of two classes."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "my_run").mkdir()
    paddle.seed(0)
    network = Res2NetClassifier(2, depth=[1, 1, 1, 1], width=4, scales=2, variant="d", dialect="official", groups=2)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    save_weights_file(folder / "my_run/model.pdparams", weights, trunk_metadata(network))
    info = {
        "class_names": CLASSES,
        "category_ids": [0, 1],
        "backbone": trunk_arguments(network, "bn"),
        "preprocess": ClassifierPreprocessor(size_px=64).to_config(),
    }
    (folder / "my_run/model.json").write_text(json.dumps(info))
    for shade, name in ((30, "dark"), (220, "light")):
        for number in range(2):
            path = folder / "data/val" / name / f"{name}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30), (shade + number,) * 3).save(path)
    return folder


@pytest.fixture(scope="module")
def exported(root) -> Path:
    arguments = ["--weights", str(root / "my_run/model"), "--output_dir", str(root / "exported"), "--format", "paddle"]
    assert main(["export", *arguments, "--verify"]) == 0
    return root / "exported/my_run"


def run(command: str, *arguments: object) -> int:
    return main([command, *map(str, arguments)])


def test_eval(root, tmp_path, capsys):
    code = run(
        "eval",
        *("--weights", root / "my_run/model", "--data", root / "data", "--classwise"),
        *("--confusion", tmp_path / "out/confusion.csv", "--json", tmp_path / "out/figures.json"),
    )
    assert code == 0
    figures = json.loads((tmp_path / "out/figures.json").read_text())
    rows = (tmp_path / "out/confusion.csv").read_text().splitlines()
    assert figures["images"] == 4 and figures["top5"] == 1.0 and figures["preprocess"]["size_px"] == 64
    assert [row["images"] for row in figures["classes"]] == [2, 2] and rows[0] == 'label,"dark","light"'
    matrix = np.array([row.split(",")[1:] for row in rows[1:]], int)
    assert matrix.sum() == 4 and np.trace(matrix) / 4 == figures["top1"]
    assert f"top-1 {100 * figures['top1']:.3f} %, top-5 100.000 % of 4 images" in capsys.readouterr().out


def test_eval_follows_names_not_positions(root, tmp_path):
    """Classes are matched by name, even if the data has only some of them, in a different order."""
    (tmp_path / "val/light").mkdir(parents=True)
    Image.new("RGB", (40, 30), (220,) * 3).save(tmp_path / "val/light/0.png")
    common = ["eval", "--weights", root / "my_run/model", "--classwise"]
    assert run(*common, "--data", tmp_path, "--json", tmp_path / "one.json") == 0
    assert run(*common, "--data", root / "data", "--json", tmp_path / "all.json") == 0
    alone, of_all = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "all.json"))
    assert alone["top1"] == of_all["classes"][1]["top1"]


@pytest.mark.parametrize(
    "prepare, message",
    [
        (lambda d: (d / "val/grey").mkdir(), "Error: The class folder '{}/val/grey' has no image (.jpg, .jpeg"),
        (
            lambda d: (d / "val/light/0.png").write_bytes(b"x"),
            "Error: image '{}/val/light/0.png' (image id 1): transform",
        ),
        (
            lambda d: (d / "val/light").rename(d / "val/grey"),
            "Error: The folder '{}/val' has a class 'grey', which the model",
        ),
        (
            lambda d: (d / "labels.txt").write_text("a\nb\n"),
            "Error: '{}/val' has a folder 'dark', which is not among the 2",
        ),
    ],
)
def test_bad_data(root, tmp_path, capsys, prepare, message):
    for name in CLASSES:
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "val" / name / "0.png")
    prepare(tmp_path)
    assert run("eval", "--weights", root / "my_run/model", "--data", tmp_path) == 1
    assert message.format(tmp_path) in capsys.readouterr().err


def test_wrong_number_of_classes(root, tmp_path, capsys):
    (tmp_path / "val_list.txt").write_text("a.png 0\nb.png 2\n")
    assert run("eval", "--weights", root / "my_run/model", "--data", tmp_path) == 1
    expected = f"Error: The list '{tmp_path}/val_list.txt' has 3 classes (0, 1, 2), but the model has 2 (dark, light)."
    assert expected in capsys.readouterr().err


def test_check(root, tmp_path, capsys):
    assert run("eval", "--check", "--data", root / "data") == 0
    assert "4 of 4 images of 2 classes can be read" in capsys.readouterr().out
    (tmp_path / "dark").mkdir()
    (tmp_path / "dark/0.png").write_bytes(b"x")
    assert run("eval", "--check", "--data", tmp_path) == 1
    output = capsys.readouterr()
    assert "0 of 1 images" in output.out and f"Error: Cannot decode image '{tmp_path}/dark/0.png'" in output.err


def test_infer(root, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (40, 30), (30,) * 3).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"x")
    code = run(
        "infer",
        *("--weights", root / "my_run/model", "--infer_dir", folder, "--top_k", 1),
        *("--json", tmp_path / "classes.json", "--cam", tmp_path / "cam"),
    )
    output = capsys.readouterr()
    assert code == 1 and "Error: Cannot decode image" in output.err and f"{folder}/a.png: " in output.out
    good, bad = json.loads((tmp_path / "classes.json").read_text())
    assert (
        len(good["classes"]) == 1 and good["classes"][0]["name"] in CLASSES and bad["error"].startswith("Cannot decode")
    )
    assert (tmp_path / "cam/a.png").is_file()


# Export and the runtime


def test_the_exported_folder(exported):
    description = yaml.safe_load((exported / "infer_cfg.yml").read_text())
    assert description["task"] == "classification" and description["label_list"] == CLASSES
    assert ClassifierPreprocessor.from_config(description["Preprocess"]).size_px == 64


def test_export_is_verified(exported, root):
    agreements = verify_classifier(exported, load_classifier(weights=root / "my_run/model"))
    assert {engine for engine, _ in agreements} == {"paddle", "onednn"}
    assert all(agreement.difference < 1e-5 and agreement.same_top1 == 4 for agreement in agreements.values())
    other = load_classifier(weights=root / "my_run/model")
    other.network.fc.bias.set_value(other.network.fc.bias + paddle.to_tensor([1.0, 0.0]))
    with pytest.raises(ExportError, match="does not give the eager model's results with onednn in fp32"):
        verify_classifier(exported, dataclasses.replace(other, name="other"))


def test_the_onnx_file_gives_the_same(root, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    arguments = ["--weights", str(root / "my_run/model"), "--output_dir", str(tmp_path), "--format", "onnx", "--verify"]
    assert main(["export", *arguments]) == 0
    assert (tmp_path / "my_run/model.onnx").is_file() and not (tmp_path / "my_run/model.pdiparams").exists()


def test_wrong_names_at_export(root, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    arguments = [
        "--weights",
        str(root / "my_run/model"),
        "--output_dir",
        str(tmp_path),
        "--label_file",
        str(tmp_path / "names.txt"),
    ]
    assert main(["export", *arguments]) == 1
    assert "There are 3 class names, but the model has 2 outputs. Correct --label_file" in capsys.readouterr().err
    arguments[2:4] = ["--infer_img", str(root / "data/val/dark/dark0.png")]
    assert main(["infer", *arguments]) == 1
    assert "There are 3 class names, but the model has 2 outputs" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--confusion"])
def test_files_that_cannot_be_written_are_refused_first(root, tmp_path, capsys, option):
    (tmp_path / "file").touch()
    arguments = ["--weights", root / "my_run/model", "--data", root / "data", option, tmp_path / "file/figures"]
    assert run("eval", *arguments) == 1
    output = capsys.readouterr()
    assert f"'{tmp_path}/file/figures' cannot be written" in output.err and "top-1" not in output.out


def test_names_that_published_weights_lack(root, tmp_path, monkeypatch, caplog, capsys):
    unnamed = dataclasses.replace(load_classifier(weights=root / "my_run/model"), class_names=None)
    published = dataclasses.replace(unnamed, name="timm/res2net50d")
    monkeypatch.setattr("ppdet_res2net.classification.model.load_classifier", lambda *_: unnamed)
    arguments = ["infer", "--model", "timm/res2net50d", "--infer_img", str(root / "data/val/dark/dark0.png")]
    assert main(arguments) == 0
    assert (
        "classes are shown by number, because published weights contain no class names. Pass --label_file FILE"
        in caplog.text
    )
    assert {"0", "1"} == {part.split()[0] for part in capsys.readouterr().out.split(": ")[1].split(", ")}
    export = ["export", "--model", "timm/res2net50d", "--output_dir", str(tmp_path / "exported")]
    monkeypatch.setattr("ppdet_res2net.classification.model.load_classifier", lambda *_: published)
    assert main(export) == 0
    assert (tmp_path / "exported/timm/res2net50d/infer_cfg.yml").is_file()
    caplog.clear()
    (tmp_path / "names.txt").write_text("n00000002 grey\nn00000001 white\n")
    assert main([*arguments, "--label_file", str(tmp_path / "names.txt")]) == 0
    assert "shown by number" not in caplog.text and " white " in capsys.readouterr().out


def test_commands_for_detectors_refuse_classifiers(capsys):
    assert main(["browse-dataset", "-c", "digits"]) == 1
    expected = (
        "Error: architecture is Res2NetClassifier, but this works with detectors only. Choose a recipe of a detector"
    )
    assert expected in capsys.readouterr().err


def test_a_recipe_is_trained_evaluated_and_exported(root, tmp_path, capsys):
    overrides = [
        *(f"{name}Dataset.dataset_dir={root}/data" for name in ("Train", "Eval")),
        *("TrainDataset.image_dir=val", "TrainReader.batch_size=2", "TrainReader.sample_transforms=[{Decode: {}}, "
          "{Resize: {size: 32}}, {Normalize: {}}]"),
        *("Res2Net.width=4", "Res2Net.scales=2", "use_gpu=false", "worker_num=0", f"save_dir={tmp_path}/runs"),
    ]  # fmt: skip
    assert main(["train", "-c", "digits", "--max_steps", "2", "-o", *overrides]) == 0
    trained = tmp_path / "runs/digits"
    assert json.loads((trained / "model_final.json").read_text())["task"] == "classification"
    log = (trained / "train.log").read_text()
    for command in ("eval -c", "infer --weights", "export --weights"):
        assert f"ppdet-res2net {command} {trained}" in log
    capsys.readouterr()
    assert run("eval", "-c", trained / "config.yml", "--weights", trained / "model_final") == 0
    assert capsys.readouterr().out.startswith("digits: top-1 ")
    assert (
        run(
            "export",
            "-c",
            trained / "config.yml",
            "--output_dir",
            tmp_path / "exported",
            "--weights",
            trained / "model_final",
        )
        == 0
    )
    written = yaml.safe_load((tmp_path / "exported/digits/infer_cfg.yml").read_text())
    assert written["source_weights"] == "model_final"


def test_runtime_equals_eager(exported, root):
    image = np.random.RandomState(0).randint(0, 255, (90, 70, 3)).astype(np.uint8)
    eager = load_classifier(weights=root / "my_run/model")
    with paddle.no_grad():
        logits = eager.network(paddle.to_tensor(eager.preprocessor(image)[None])).numpy()[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    with Classifier(exported, backend="paddle", batch_size=2) as classifier:
        one = classifier(image)
        assert one.scores == pytest.approx(expected, abs=1e-5) and one.scores.sum() == pytest.approx(1)
        assert one.top(1)[0][1] == CLASSES[int(expected.argmax())]
        several = classifier([image, image[:, ::-1], image])
        assert len(several) == 3 and several[2].scores == pytest.approx(one.scores, abs=1e-6)
        good, bad = classifier.predict_iter([image, b"x"])
        assert good.error is None and len(good.classification.scores) == 2 and "Cannot decode image" in str(bad.error)
        assert list(classifier.predict_iter([])) == []


def test_command_line_of_the_runtime(exported, root, tmp_path, capsys):
    arguments = ["--model_dir", str(exported), "--run_mode", "paddle", "--output_dir", str(tmp_path), "--save_results"]
    assert infer([*arguments, "--image_dir", str(root / "data/val/dark"), "--batch_size", "2"]) == 0
    assert "2 of 2 images" in capsys.readouterr().out
    results = json.loads((tmp_path / "classes.json").read_text())
    assert [result["file_name"] for result in results] == ["dark0.png", "dark1.png"]
    assert infer([*arguments, "--video_file", "x.mp4"]) == 1
    assert "is a classifier, which needs --image_file, --image_dir or --image_list" in capsys.readouterr().err
    assert infer([*arguments, "--image_dir", str(root / "data/val/dark"), "--threshold", "0.5"]) == 1
    assert "is a classifier; --threshold is for detectors. Leave it out." in capsys.readouterr().err
    assert infer([*arguments, "--image_dir", str(root / "data/val/dark"), "--slice", "64,64"]) == 1
    assert (
        f"Error: --slice is for detectors, and '{exported}' is a classifier. Leave it out." in capsys.readouterr().err
    )


def test_the_runtime_goes_on_in_shares_and_subfolders(exported, root, tmp_path, capsys):
    arguments = [
        "--model_dir",
        str(exported),
        "--run_mode",
        "paddle",
        "--image_dir",
        str(root / "data/val"),
        "--recursive",
    ]
    assert infer([*arguments, "--output_dir", str(tmp_path / "whole"), "--save_results", "--save_jsonl"]) == 0
    whole = [json.loads(line) for line in (tmp_path / "whole/results.jsonl").read_text().splitlines()]
    assert [one["file_name"] for one in whole] == sorted(one["file_name"] for one in whole)
    assert {one["file_name"].partition("/")[0] for one in whole} == {"dark", "light"}
    shares = tmp_path / "shares"
    for _ in range(2):
        for share in ("1/2", "2/2"):
            capsys.readouterr()
            assert (
                infer([*arguments, "--output_dir", str(shares), "--save_results", "--skip_done", "--shard", share]) == 0
            )
    assert f"0 of 0 images ({len(whole) // 2} done before)" in capsys.readouterr().out
    lines = [json.loads(line) for file in shares.glob("results.*-of-2.jsonl") for line in file.read_text().splitlines()]
    assert sorted(lines, key=lambda one: one["image_id"]) == whole
    assert len(json.loads((shares / "classes.2-of-2.json").read_text())) == len(whole) // 2


def test_an_interrupted_command_line_keeps_the_classes_so_far(exported, root, tmp_path, monkeypatch, capsys):
    whole = Classifier.predict_iter

    def interrupted(self, images):
        yield next(whole(self, images))
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "predict_iter", interrupted)
    arguments = ["--model_dir", str(exported), "--run_mode", "paddle", "--output_dir", str(tmp_path), "--save_results"]
    assert infer([*arguments, "--image_dir", str(root / "data/val/dark")]) == 130
    assert "results so far are kept" in capsys.readouterr().err
    assert [result["file_name"] for result in json.loads((tmp_path / "classes.json").read_text())] == ["dark0.png"]


def test_detectors_and_classifiers_are_not_mixed_up(exported, tmp_path):
    with pytest.raises(
        ModelFolderError, match="is for task 'classification', expected detection. Detectors are loaded by"
    ):
        Predictor(exported)
    (tmp_path / "infer_cfg.yml").write_text("schema: {name: res2net_runtime, version: 2}\ntask: detection\n")
    with pytest.raises(ModelFolderError, match="is for task 'detection', expected classification"):
        Classifier(tmp_path)


# models --measure


def test_sweep(tmp_path, capsys):
    sweep = tmp_path / "sweep.yml"
    sweep.write_text("depth: [[1, 1, 1, 1]]\nwidth: [4]\nscales: [2]\ngroups: [1, 4]\nnum_classes: 3\n")
    arguments = ["models", "--sweep", str(sweep), "--size", "32", "--runs", "1"]
    assert main([*arguments, "--plot", str(tmp_path / "plots/sweep.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[1].startswith("depth=[1, 1, 1, 1] width=4 scales=2 groups=1 ")
    network = Res2NetClassifier(3, depth=[1, 1, 1, 1], width=4, scales=2, groups=4)
    count = sum(p.size for n, p in network.named_parameters() if "_mean" not in n and "_variance" not in n)
    assert f"{int(count) / 1e6:.2f} M" in lines[2]
    assert Image.open(tmp_path / "plots/sweep.png").size[0] > 300


@pytest.mark.parametrize(
    "content, message",
    [
        ("[1]", "must hold a mapping from arguments to lists of values. Example:"),
        ("{}", "must hold a mapping from arguments to lists of values. Example:"),
        (
            "widht: [4]",
            "has the unknown key 'widht'; expected some of depth, width, scales, groups, variant, dialect and num_classes. "
            "Did you mean 'width'?",
        ),
        ("width: 4", "has width: 4; expected a list of values"),
        ("width: [[", "cannot be read"),
        ("{width: [5], groups: [2]}", "width=5 groups=2: Res2Net: width 5 cannot be divided into 2 groups"),
    ],
)
def test_wrong_sweeps(tmp_path, capsys, content, message):
    (tmp_path / "sweep.yml").write_text(content)
    assert main(["models", "--sweep", str(tmp_path / "sweep.yml")]) == 1
    assert message in capsys.readouterr().err


def test_what_is_counted():
    from ppdet_res2net.zoo.measure import as_text, measure_network

    layers = [
        paddle.nn.Conv2D(3, 4, 3, padding=1),
        paddle.nn.BatchNorm2D(4),
        paddle.nn.Flatten(),
        paddle.nn.Linear(64, 2),
    ]
    measured = measure_network("small", paddle.nn.Sequential(*layers), size_px=4, runs=1, top1=77.5)
    assert measured.parameters == (3 * 9 + 1) * 4 + 2 * 4 + (64 + 1) * 2
    assert measured.macs == 4 * 4 * 4 * 27 + 64 * 2
    assert measured.latency_ms > 0 and as_text([measured]).splitlines()[1].endswith("77.50 %")
