"""Every flag of PaddleDetection's tools is accepted, or answered with what replaces it."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from ppdet_res2net.cli._paddledetection_flags import FLAGS_OF_COMMAND
from res2net_runtime.paddledetection_flags import INFER_FLAGS
from tests.helpers.command_lines import parse_only

FLAGS = json.loads(Path(__file__).with_name("paddledetection_flags.json").read_text("utf-8"))
COMMANDS = {
    "train": ["-c", "x"],
    "eval": ["-c", "x"],
    "infer": ["-c", "x", "--infer_img", "x.jpg"],
    "export": ["-c", "x"],
    "deploy": ["--model_dir", "m", "--image_file", "x.jpg"],
}
# How people write a value of each kind; a word alone is a flag without one.
SPELLINGS = {
    "switch": ["", "=true"],
    "bool": ["", "=true", " True", "=False", " false"],
    "int": ["=1", " 3"],
    "float": ["=0.5", " 0.25"],
    "str": ["=x", " x"],
    "ints": [" 640 640", "=640"],
    "floats": [" 0.25 0.25", "=0.25"],
}
EXAMPLES = [
    (command, f"{flag}{spelling}")
    for command in COMMANDS
    for flag, kinds in FLAGS[command].items()
    for kind in kinds
    for spelling in SPELLINGS[kind]
]


def parse(command: str, *words: str) -> argparse.Namespace:
    return parse_only("runtime" if command == "deploy" else command, words)


@pytest.mark.parametrize(("command", "example"), EXAMPLES, ids=lambda value: str(value))
def test_each_flag_is_accepted_or_answered(command, example, capsys):
    words, flag = example.split(), re.split("[= ]", example)[0]
    base = COMMANDS[command]
    if command == "infer" and flag in ("--infer_img", "--infer_dir", "--infer_list"):
        base = base[:2]
    if command == "deploy":
        base = [] if flag == "--model_dir" else base[:2]
        base += [] if flag in ("--image_file", "--image_dir", "--video_file") else ["--image_file", "x.jpg"]
        base += ["--model_dir", "m"] if flag == "--model_dir" else []
        if flag == "--camera_id":
            base = ["--model_dir", "m"]
        if flag == "--run_mode":
            words = [word.replace("x", "paddle") for word in words]
    if flag in ("--combine_method", "--match_metric"):
        words = [word.replace("x", "nms" if flag == "--combine_method" else "ios") for word in words]
    try:
        parse(command, *base, *words)
    except SystemExit as stopped:
        assert stopped.code == 2
        answer = capsys.readouterr().err.partition("error: ")[2].splitlines()[0]
        assert answer.startswith(f"{example.replace(' ', '=', 1)} is not available here. "), answer
        sentence = answer.partition("here. ")[2].strip()
        assert len(sentence.split()) > 4 and sentence.endswith(".")


@pytest.mark.parametrize(("command", "table"), [*FLAGS_OF_COMMAND.items(), ("deploy", INFER_FLAGS)])
def test_no_answer_is_for_a_flag_that_the_tool_never_had(command, table):
    elsewhere = {"--use_gpu", "--gpus", *FLAGS["deploy"], "--infer_cfg", "--onnx_file", "--do_tracking"}
    assert {flag.partition("=")[0] for flag in table} <= {*FLAGS[command], *elsewhere}


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("train", "--use_vdl=true --vdl_log_dir logs", {"use_vdl": True, "vdl_log_dir": "logs"}),
        ("train", "--use_vdl True --eval", {"use_vdl": True, "eval": True}),
        ("train", "--use_vdl=False --eval=true", {"use_vdl": False, "eval": True}),
        ("train", "--amp --amp=false", {"amp": False}),
        ("train", "--fp16 --enable_ce=True --fleet", {"amp": True}),
        ("train", "-o a=b c=d --use_gpu=False -o e=f", {"opt": ["a=b", "c=d", "use_gpu=False", "e=f"]}),
        ("train", "-o=a=b --opt=c=d -oe=f", {"opt": ["a=b", "c=d", "e=f"]}),
        ("eval", "--classwise=True --json_eval=false --bias=0", {"classwise": True}),
        ("infer", "--save_results=True --visualize=True --rtn_im_file=True", {"save_results": True}),
        ("export", "--export_serving_model=False", {}),
        ("deploy", "--device=gpu --threshold=0.3", {"device": "gpu", "threshold": 0.3}),
        ("deploy", "--use_gpu=True", {"device": "GPU"}),
        ("deploy", "--use_gpu False --camera_id -1 --save_images=True", {"device": "CPU", "camera_id": None}),
        ("deploy", "--enable_mkldnn=True --cpu_threads=4", {"run_mode": "mkldnn", "cpu_threads": 4}),
        ("deploy", "--enable_mkldnn=False", {"run_mode": "paddle"}),
        ("deploy", "--enable_mkldnn=False --run_mode=trt_fp16", {"run_mode": "trt_fp16"}),
        ("deploy", "--enable_mkldnn_bfloat16=1", {"run_mode": "mkldnn_bf16"}),
        ("deploy", "--run_mode fluid --run_benchmark=False", {"run_mode": "paddle"}),
        ("deploy", "--save_results --use_coco_category", {"save_results": True}),
        ("deploy", "--save_results=True --slice_infer=false", {"save_results": True, "slice": None}),
        ("deploy", "--slice_infer", {"slice": (640, 640)}),
        ("eval", "--slice_infer --slice_size 512 320 --overlap_ratio 0.3 0.3", {"slice": (512, 320), "overlap": 0.3}),
        ("infer", "--slice_size 512 320 --slice_infer", {"slice": (512, 320)}),
        (
            "infer",
            "--slice_infer --combine_method nms --match_threshold 0.6 --match_metric ios",
            {"match_metric": "ios"},
        ),
    ],
)
def test_what_flags_mean(command, words, expected):
    args = vars(parse(command, *COMMANDS[command], *words.split()))
    assert {name: args[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (
            "train",
            "--slim_config configs/slim/prune.yml",
            "--slim_config=configs/slim/prune.yml is not available here. Pruning",
        ),
        (
            "eval",
            "--slice_infer --combine_method concat",
            "--combine_method=concat is not available here. Objects that several slices show would be found several times",
        ),
        ("deploy", "--run_mode=trt_int8", "int8 runs on CPUs: make it with 'python -m res2net_runtime.quantize'"),
        ("deploy", "--run_benchmark=True", "time the command on a folder (--image_dir)"),
        ("deploy", "--do_tracking", "it does not track"),
        ("deploy", "--trt_max_shape 1280", "TensorRT takes the shapes from the exported network here"),
        (
            "deploy",
            "--enable_mkldnn=True --run_mode=paddle",
            "--enable_mkldnn=True means --run_mode mkldnn here, and --run_mode is given too; leave one of them out",
        ),
        (
            "train",
            "--eval=maybe",
            "argument --eval: got 'maybe', expected true or false, or no value, which means true",
        ),
        ("train", "--evl", "unrecognized arguments: --evl. Did you mean '--eval'?"),
        ("train", "--evl --resum", "Did you mean '--eval'? Did you mean '--resume'?"),
        (
            "train",
            "--slim-config x",
            "Options are spelled with underscores, as in PaddleDetection. Did you mean '--slim_config'?",
        ),
        ("eval", "--classwize", "Did you mean '--classwise'?"),
        ("deploy", "--image-dir x", "Did you mean '--image_dir'?"),
        ("convert-dataset", "voc --annotations a --images b --out c --maks d", "Did you mean '--masks'?"),
        ("train", "--epoch 3", "The recipe has this setting: -o epoch=3"),
        ("train", "--lr=0.01", "The recipe has this setting: -o LearningRate.base_lr=0.01"),
        ("train", "--TrainReader.batch_size 2", "The recipe has this setting: -o TrainReader.batch_size=2"),
        ("train", "--eval epoch=3", "Settings of the recipe follow -o: -o epoch=3"),
        ("train", "-c y.yml", "argument -c/--config: is given twice, as 'x' and 'y.yml'; leave one of them out"),
    ],
)
def test_answers(command, words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(command, *COMMANDS.get(command, []), *words.split())
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_flag_that_changes_nothing_is_told(capsys):
    parse("train", "-c", "x", "--fleet")
    assert capsys.readouterr().err == (
        "Note: --fleet changes nothing here. Processes started by paddle.distributed.launch always average their gradients.\n"
    )


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (
            "deploy",
            "--threshold 50",
            "argument --threshold: got 50, expected a number from 0 to 1; for 50 percent, write 0.5",
        ),
        ("deploy", "--threshold nan", "argument --threshold: got nan, expected a number from 0 to 1"),
        ("deploy", "--threshold half", "argument --threshold: got 'half', expected a number from 0 to 1"),
        ("deploy", "--threshold=-0.1", "argument --threshold: got -0.1, expected a number from 0 to 1"),
        ("deploy", "--cpu_threads 0", "argument --cpu_threads: got 0, expected at least 1"),
        ("deploy", "--batch_size many", "argument --batch_size: got 'many', expected a whole number of at least 1"),
        ("infer", "--draw_threshold 50", "argument --draw_threshold: got 50, expected a number from 0 to 1"),
        ("infer", "--top_k 0", "argument --top_k: got 0, expected at least 1"),
        ("browse-dataset", "-c x --epoch -1", "argument --epoch: got -1, expected at least 0"),
        ("make-demo-data", "d --train 0", "argument --train: got 0, expected at least 1"),
        ("make-demo-data", "d --size 1", "argument --size: got 1, expected at least 32"),
        ("models", "--runs 1.5", "argument --runs: got '1.5', expected a whole number of at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(command, words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(command, *COMMANDS.get(command, []), *words.split())
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
