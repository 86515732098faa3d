"""The command ``ppdet-res2net``: finding commands, exit codes, errors without tracebacks, arguments."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from ppdet_res2net.classification.task import ClassificationTask
from ppdet_res2net.cli import _common
from ppdet_res2net.cli import main as cli
from ppdet_res2net.config import Config
from ppdet_res2net.detection.task import DetectionTask
from ppdet_res2net.errors import ConfigError, SetupError
from ppdet_res2net.training.trainer import TrainOptions
from res2net_runtime import Slicing, TestTimeAugmentation
from res2net_runtime.image_lists import name_images
from res2net_runtime.jobs import Output, Summary

ROOT = Path(__file__).resolve().parents[2]
TOOLS = {
    "train": "train",
    "eval": "eval",
    "infer": "infer",
    "export_model": "export",
    "convert_weights": "convert-weights",
}


def raising(error: BaseException):
    def command(argv):
        raise error

    return command


def test_help_imports_neither_paddle_nor_numpy_and_lists_every_command():
    code = (
        "import sys; sys.argv = ['ppdet-res2net', '--help']\n"
        "import ppdet_res2net.cli.main as m\n"
        "try: m.main()\n"
        "finally: print('imported', sorted({'paddle', 'ppdet', 'numpy', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("imported []\n")
    for command in cli.COMMANDS:
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ppdet-res2net {command} ")


def test_unknown_command_gets_a_suggestion(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["trian"])
    assert stopped.value.code == 2
    assert "there is no command 'trian'. Did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "eval", "infer", "export"])
@pytest.mark.parametrize("between", "-_")
def test_the_earlier_names_for_classifiers_say_what_to_type(verb, between, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([f"{verb}{between}classifier"])
    assert stopped.value.code == 2
    expected = (
        f"there is no command '{verb}{between}classifier'. 'ppdet-res2net {verb}' serves classifiers too: pass a recipe"
    )
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["check-dataset", "--annotations", "x", "--skip-images"],
        ["convert-dataset", "voc", "--annotations", "x", "--images", "x", "--out", "x", "--ignore-difficult"],
        ["infer", "--weights", "x", "--infer-img", "x", "--infer_img", "x"],
    ],
)
def test_options_with_dashes_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "Options are spelled with underscores, as in PaddleDetection" in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_options_are_not_abbreviated_and_have_no_dashes(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    flags = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
    assert not [flag for flag in flags if "-" in flag.lstrip("-")]
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--hel"])
    assert stopped.value.code == 2


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    import ppdet_res2net

    assert capsys.readouterr().out == f"ppdet-res2net {ppdet_res2net.__version__}\n"


@pytest.mark.parametrize("error", [ConfigError("no such key"), OSError("disk is full")])
def test_an_error_is_one_line_and_exit_code_1(error, monkeypatch, capsys):
    monkeypatch.delenv(_common.DEBUG_VARIABLE, raising=False)
    assert _common.run(raising(error), []) == 1
    assert capsys.readouterr().err == f"Error: {error}\n"


def test_debug_variable_gives_the_traceback(monkeypatch):
    monkeypatch.setenv(_common.DEBUG_VARIABLE, "1")
    with pytest.raises(ConfigError, match="no such key"):
        _common.run(raising(ConfigError("no such key")), [])


def test_other_exceptions_are_defects_and_escape():
    with pytest.raises(ZeroDivisionError):
        _common.run(raising(ZeroDivisionError()), [])


def test_interrupt_is_130(capsys):
    assert _common.run(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_a_compiled_module_hides_an_interrupt(capsys):
    """Ctrl-C during the import of such a module becomes an ImportError, which becomes ours."""
    hidden = ImportError("initialization failed")
    hidden.__cause__ = KeyboardInterrupt()
    error = SetupError("paddledet cannot be imported")
    error.__cause__ = hidden
    assert _common.run(raising(error), []) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_what_fails_after_an_interrupt_is_told(capsys):
    error = OSError("disk is full")
    error.__context__ = KeyboardInterrupt()  # raised while it was handled
    assert _common.run(raising(error), []) == 1
    assert capsys.readouterr().err == "Error: disk is full\n"


@pytest.mark.parametrize(
    "command",
    [
        "-m ppdet_res2net",
        "-m res2net_runtime",
        "-m res2net_runtime.quantize",
        "-m res2net_runtime.serve",
        "deploy/python/infer.py",
        "tools/eval.py",
    ],
)
def test_ctrl_c_during_the_imports_is_quiet(command, tmp_path):
    stub = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise ImportError('a stub')\n"
    (tmp_path / "argparse.py").write_text(stub)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *command.split()], capture_output=True, env={**os.environ, "PYTHONPATH": path}, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_a_closed_pipe_is_quiet():
    # The reader closes before the command writes more than a pipe holds.
    code = "import sys; from ppdet_res2net.cli._common import run; sys.exit(run(lambda a: print('x' * 10**6) or 0, []))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_overrides_may_be_given_several_times():
    parser = _common.CommandParser("x", "y")
    parser.add_recipe_arguments()
    assert parser.parse_args(["-c", "x"]).opt == []
    assert parser.parse_args(["-c", "x", "-o", "a=1", "b=2", "--opt", "c=3"]).opt == ["a=1", "b=2", "c=3"]


@pytest.mark.parametrize(("tool", "command"), TOOLS.items())
def test_tools_are_the_commands(tool, command, monkeypatch):
    seen = []
    monkeypatch.setattr(cli, "main", lambda argv: seen.append(argv) or 7)
    monkeypatch.setattr(sys, "argv", [f"tools/{tool}.py", "-c", "x"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(os.fspath(ROOT / "tools" / f"{tool}.py"), run_name="__main__")
    assert stopped.value.code == 7 and seen == [[command, "-c", "x"]]


@pytest.fixture
def engine(monkeypatch):
    """Replace the engine's modules and load_config; return the arguments of their calls."""
    calls = {}

    def fake(module, result, *functions):
        stand_in = types.ModuleType(f"ppdet_res2net.detection.{module}")
        for function in functions:

            def call(*args, _function=function, **kwargs):
                calls[_function] = (args, kwargs)
                return result

            setattr(stand_in, function, call)
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)

    calls["recipe"] = Config({"architecture": "MaskRCNN"}, Path("x.yml"))

    def load_config(path, overrides, *, trust_recipe):
        calls["load_config"] = (path, overrides, trust_recipe)
        return calls["recipe"]

    def run_training(*args):
        calls["run_training"] = args
        return calls["result"]

    for module in ("_tasks", "train"):
        monkeypatch.setattr(f"ppdet_res2net.cli.{module}.load_config", load_config)
    monkeypatch.setattr("ppdet_res2net.training.trainer.run_training", run_training)
    calls["result"] = types.SimpleNamespace(signal=None, report="table")
    calls["result"].summary = {"bbox": {"AP": 0.5}, "images": 2, "seconds": 1.5}
    calls["summary"] = Summary(Output(Path("out"), 0.3, True), "an engine", done=1, drawn=4)
    fake("evaluate", calls["result"], "evaluate_from_config", "evaluate_exported")
    fake("predict", calls["summary"], "predict_files")
    fake("export", Path("out/x"), "export_model")
    return calls


def test_train_passes_its_flags_on(engine):
    flags = ["-o", "epoch=1", "-r", "ckpt", "--eval", "--amp", "--use_vdl", "--max_steps", "5"]
    assert cli.main(["train", "-c", "x", *flags]) == 0
    expected = TrainOptions(resume="ckpt", evaluate=True, amp=True, use_vdl=True, max_steps=5)
    assert engine["load_config"] == ("x", ["epoch=1"], False)
    assert engine["run_training"] == (engine["recipe"], DetectionTask, expected)


def test_the_architecture_decides_what_is_trained(engine):
    engine["recipe"]["architecture"] = "Res2NetClassifier"
    assert cli.main(["train", "-c", "x"]) == 0
    assert engine["run_training"] == (engine["recipe"], ClassificationTask, TrainOptions())


def test_an_interrupted_training_is_130(engine):
    engine["result"].signal = 2
    assert cli.main(["train", "-c", "x"]) == 130


def test_max_steps_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "-c", "x", "--max_steps", "0"])
    assert "argument --max_steps: got 0, expected at least 1" in capsys.readouterr().err


def test_eval_prints_the_report_and_writes_json(engine, tmp_path, capsys):
    file = tmp_path / "new" / "figures.json"
    assert cli.main(["eval", "-c", "x", "--classwise", "--json", str(file), "--output_eval", "d"]) == 0
    assert engine["evaluate_from_config"] == (
        (engine["recipe"],),
        {"classwise": True, "output_dir": "d", "finish": None},
    )
    assert capsys.readouterr().out == "table\n2 images in 1.5 s\n"
    assert json.loads(file.read_text()) == engine["result"].summary


def test_eval_passes_slices_and_augmentation_on(engine, capsys):
    views = {"slicing": Slicing(640, 480, 0.3), "tta": TestTimeAugmentation(True)}
    flags = ["--slice", "640,480", "--overlap", "0.3", "--tta", "flip"]
    assert cli.main(["eval", "-c", "x", *flags]) == 0
    assert engine["evaluate_from_config"][1] == {"classwise": False, "output_dir": None, "finish": None, **views}
    assert cli.main(["eval", "-c", "x", "--exported", "d", *flags]) == 0
    assert engine["evaluate_exported"][1].items() >= views.items()
    with pytest.raises(SystemExit):
        cli.main(["eval", "-c", "x", "--overlap", "0.3"])
    assert "error: --overlap goes with --slice" in capsys.readouterr().err
    engine["recipe"]["architecture"] = "Res2NetClassifier"
    with pytest.raises(SystemExit):
        cli.main(["eval", "-c", "x", "--slice", "640,480"])
    assert "--slice is only for detectors, but 'x' describes a Res2NetClassifier" in capsys.readouterr().err


def test_eval_passes_an_export_and_its_engine_on(engine):
    flags = ["--backend", "openvino", "--precision", "int8"]
    assert cli.main(["eval", "-c", "x", "--exported", "d", *flags]) == 0
    engine_options = {"backend": "openvino", "precision": "int8", "trust_graph": False}
    options = {**engine_options, "classwise": False, "output_dir": None, "finish": None}
    assert engine["evaluate_exported"] == (("d", engine["recipe"]), options)


def test_eval_refuses_an_engine_without_an_export_and_two_models(engine, capsys):
    for flags, message in (
        (
            ["--backend", "openvino"],
            "--backend, --precision and --trust_graph say how an export runs; add --exported DIR",
        ),
        (["--exported", "d", "--weights", "w"], "--exported and --weights name two models; leave one of them out"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["eval", "-c", "x", *flags])
        assert message in capsys.readouterr().err


def test_weights_are_those_of_the_recipe(engine):
    assert cli.main(["eval", "-c", "x", "--weights", "some/where"]) == 0
    assert engine["evaluate_from_config"][0][0]["weights"] == "some/where"


def test_eval_names_a_json_file_that_cannot_be_written(engine, tmp_path, capsys):
    assert cli.main(["eval", "-c", "x", "--json", str(tmp_path)]) == 1
    assert f"'{tmp_path}' cannot be written: Is a directory. Choose another file." in capsys.readouterr().err
    assert "evaluate_from_config" not in engine  # found before the evaluation, not after it


def test_infer_finds_the_images_of_a_folder(engine, tmp_path, capsys):
    for name in ("b.png", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert cli.main(["infer", "-c", "x", "--infer_dir", str(tmp_path), "--draw_threshold", "0.3"]) == 0
    (config, images), options = engine["predict_files"]
    assert images == name_images([tmp_path / "a.jpg", tmp_path / "b.png"])
    assert {key: options[key] for key in ("output_dir", "draw_threshold", "save_results")} == {
        "output_dir": "output",
        "draw_threshold": 0.3,
        "save_results": False,
    }
    printed = capsys.readouterr().out
    assert (
        printed
        == "1 of 1 images, 4 detections with a score of at least 0.3, an engine.\nPictures and results are in 'out'.\n"
    )


def test_infer_fails_if_an_image_failed(engine, capsys):
    engine["summary"].failures.append("bad.jpg is not an image")
    engine["summary"].done = 0
    assert cli.main(["infer", "-c", "x", "--infer_img", "bad.jpg"]) == 1
    assert capsys.readouterr().err == "Error: bad.jpg is not an image\n"


def test_infer_passes_the_options_for_many_images_on(engine, tmp_path):
    for name in ("b.png", "sub/a.jpg", "sub/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    flags = ["--recursive", "--shard", "2/2", "--no_pictures", "--skip_done", "--save_jsonl"]
    assert cli.main(["infer", "-c", "x", "--infer_dir", str(tmp_path), *flags]) == 0
    (_, images), options = engine["predict_files"]
    assert [(image.name, image.image_id) for image in images] == [("sub/a.jpg", 1)]
    assert (options["save_pictures"], options["skip_done"], options["save_jsonl"]) == (False, True, True)
    assert options["suffix"] == ".2-of-2"


def test_infer_refuses_options_without_their_images(engine, capsys):
    with pytest.raises(SystemExit):
        cli.main(["infer", "-c", "x", "--infer_img", "a.png", "--recursive"])
    assert "--recursive goes with --infer_dir" in capsys.readouterr().err


def test_infer_needs_images(capsys):
    with pytest.raises(SystemExit):
        cli.main(["infer", "-c", "x"])
    assert "one of the arguments --infer_img --infer_dir --infer_list is required" in capsys.readouterr().err


def test_infer_names_a_folder_that_is_not_there(engine, capsys):
    assert cli.main(["infer", "-c", "x", "--infer_dir", "nowhere"]) == 1
    assert capsys.readouterr().err == "Error: There is no image folder 'nowhere'. Check the path.\n"


def test_export_verifies_on_the_images_given(engine, tmp_path, capsys):
    assert cli.main(["export", "-c", "x", "--verify_images", str(tmp_path), "b.png"]) == 0
    expected = {
        "formats": ["paddle"],
        "verify": True,
        "verify_images": [str(tmp_path), "b.png"],
        "verify_precisions": ["fp32"],
        "thresholds": None,
    }
    assert engine["export_model"] == ((engine["recipe"], "output_inference"), expected)
    assert "--model_dir out/x" in capsys.readouterr().out
    assert cli.main(["export", "-c", "x"]) == 0
    assert engine["export_model"][1] == {**expected, "verify": False, "verify_images": None}


def test_export_formats_are_given_with_commas(engine, capsys):
    assert cli.main(["export", "-c", "x", "--format", "onnx, paddle", "--verify_precision", "fp32,bf16"]) == 0
    options = engine["export_model"][1]
    assert options["formats"] == ["onnx", "paddle"]
    assert options["verify_precisions"] == ["fp32", "bf16"]
    for arguments, message in (
        (["--format", "onnx", "paddle"], "unrecognized arguments: paddle"),
        (["--format", "onnx,"], "--format: got 'onnx,', expected names with commas between them"),
        (["--format", "onnx", "--format", "paddle"], "argument --format: is given twice; give all names at once"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["export", "-c", "x", *arguments])
        assert message in capsys.readouterr().err


def test_config_command_through_the_entry_point(capsys):
    assert cli.main(["config", "-c", "no_such_recipe"]) == 1
    assert capsys.readouterr().err.startswith("Error: There is no configuration file no_such_recipe, and no recipe")
