"""Which options belong to detectors and which to classifiers, and the messages for those who mix them up."""

from __future__ import annotations

import json

import pytest

from ppdet_res2net.cli.main import main

INFER, EVAL, EXPORT = ("infer", "--infer_img", "x"), ("eval", "--data", "x"), ("export",)
FOR_DETECTORS = [
    (INFER, "--output_dir", "x"),
    (INFER, "--draw_threshold", "0"),
    (INFER, "--save_results"),
    (EVAL, "--output_eval", "x"),
    (EVAL, "--exported", "x"),
    (EVAL, "--backend", "auto"),
    (EVAL, "--precision", "fp32"),
    (EXPORT, "--verify_images", "x"),
]
FOR_CLASSIFIERS = [
    (INFER, "--batch_size", "1"),
    (INFER, "--top_k", "5"),
    (INFER, "--json", "x"),
    (INFER, "--cam", "x"),
    (INFER, "--model", "x"),
    (INFER, "--label_file", "x"),
    (("eval",), "--data", "x"),
    (("eval",), "--split", "val"),
    (("eval",), "--batch_size", "32"),
    (("eval",), "--workers", "1"),
    (("eval",), "--confusion", "x"),
    (("eval",), "--check"),
    (("eval",), "--model", "x"),
    (("eval",), "--label_file", "x"),
    (EXPORT, "--model", "x"),
    (EXPORT, "--label_file", "x"),
]


@pytest.mark.parametrize(("command", "flag", "value"), [(c, f, v) for c, f, *v in FOR_DETECTORS])
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (["-c", "digits"], "but 'digits' describes a Res2NetClassifier"),
        (["--weights", "x"], "which need a recipe: add -c CFG"),
    ],
)
def test_options_of_detectors_are_refused_for_classifiers(capsys, command, flag, value, model, reason):
    with pytest.raises(SystemExit) as stopped:
        main([*command, *model, flag, *value])
    assert stopped.value.code == 2
    assert f"error: {flag} is only for detectors, {reason}" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "flag", "value"), [(c, f, v) for c, f, *v in FOR_CLASSIFIERS])
def test_options_of_classifiers_are_refused_for_detectors(capsys, command, flag, value):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "-c", "demo_mask_rcnn", flag, *value])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    if flag == "--model":
        assert "error: -c and --model both say which model it is; leave one of them out" in error
    else:
        assert f"error: {flag} is only for classifiers, but 'demo_mask_rcnn' describes a MaskRCNN" in error


def test_usage(capsys):
    classify = ["infer", "--weights", "x", "--infer_img", "y"]
    for arguments, message in (
        (["eval", "--weights", "x"], "the following arguments are required: --data (or -c)"),
        (["make-class-folders", "x", "--coco", "y"], "--coco needs --images"),
        (["eval", "--data", "x", "--check", "--workers", "0"], "--workers: got 0, expected at least 1"),
        ([*classify, "--batch_size", "-1"], "--batch_size: got -1, expected at least 1"),
        (["infer", "--infer_img", "x"], "one of the arguments -c/--config --model --weights is required"),
        (["eval", "--data", "x"], "one of the arguments -c/--config --model --weights is required"),
        (["export", "--format", "onnx"], "one of the arguments -c/--config --model --weights is required"),
        ([*classify, "-o", "epoch=1"], "-o overrides the settings of a recipe; add -c CFG"),
        (
            [*classify, "-c", "digits", "--model", "x"],
            "-c and --model both say which model it is; leave one of them out",
        ),
        (["eval", "-c", "digits", "--split", "val"], "--split and --label_file describe --data; add --data DIR"),
        (["eval", "-c", "digits", "--check", "--json", "x"], "--check only decodes images; leave out --json"),
        (["models", "--plot", "x.png"], "--plot needs --measure or --sweep"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert message in capsys.readouterr().err


def test_weights_of_a_detector_need_their_recipe(tmp_path, capsys):
    info = {"architecture": "MaskRCNN", "class_names": ["dark", "light"], "category_ids": [1, 2]}
    (tmp_path / "model_final.json").write_text(json.dumps(info))
    assert main(["infer", "--weights", f"{tmp_path}/model_final", "--infer_img", "x"]) == 1
    expected = f"Error: '{tmp_path}/model_final' holds the weights of a MaskRCNN, which needs its recipe. Pass -c CFG"
    assert expected in capsys.readouterr().err
