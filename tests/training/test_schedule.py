"""The learning rate follows the batch; settings without a counterpart are refused."""

from __future__ import annotations

import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.training.schedule import scale_learning_rate
from tests.helpers.training_runs import messages, write_config

RECIPE = "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco"


def _scaled(*overrides, images=2, steps_per_epoch=58633, recipe=RECIPE):
    settings = scale_learning_rate(load_config(recipe, overrides), images, steps_per_epoch)
    warmup = Tagged.from_value(settings["schedulers"][1])
    return settings["base_lr"], warmup.kwargs.get("steps")


def test_rate_and_warmup_follow_the_batch_by_the_linear_rule(caplog):
    caplog.set_level("INFO")
    assert _scaled() == (pytest.approx(0.00125), 4000)
    said = messages(caplog).splitlines()
    assert "learning rate 0.01 x 2 / 16 = 0.00125: 2 images per step instead of 16 (-o scale_lr=false keeps it)" in said
    assert "warm-up 500 x 16 / 2 = 4000 steps" in said
    assert _scaled(images=16) == (0.01, 500)
    assert _scaled(images=64) == (pytest.approx(0.04), 125)


def test_the_rate_of_adam_follows_the_root_of_the_batch(caplog):
    caplog.set_level("INFO")
    assert _scaled("base_batch_size=2", images=8, recipe="demo_mask_rcnn", steps_per_epoch=100) == (0.004, 25)
    said = "learning rate 0.002 x sqrt(8 / 2) = 0.004: 8 images per step instead of 2 (-o scale_lr=false keeps it)"
    assert said in messages(caplog).splitlines()


def test_a_longer_warmup_takes_an_epoch_at_most(caplog):
    caplog.set_level("INFO")
    assert _scaled(steps_per_epoch=700)[1] == 700
    limited = "warm-up 500 x 16 / 2 = 4000 steps, of which 700 are kept: a longer warm-up ends after one epoch at most"
    assert limited in messages(caplog).splitlines()
    assert _scaled(steps_per_epoch=100)[1] == 500


def test_scaling_can_be_turned_off():
    assert _scaled("scale_lr=false") == (0.01, 500)
    assert _scaled("base_batch_size=null") == (0.01, 500)


def test_a_rate_that_is_given_is_taken_at_its_word(tmp_path):
    assert _scaled("LearningRate.base_lr=0.003") == (0.003, 500)
    assert _scaled("base_batch_size=4", "LearningRate.base_lr=0.003") == (pytest.approx(0.0015), 1000)
    base = load_config(RECIPE).path
    own = write_config(tmp_path / "own.yml", [f"_BASE_: ['{base}']", "LearningRate: {base_lr: 0.002}"])
    assert _scaled(recipe=own) == (0.002, 500)
    both = [f"_BASE_: ['{base}']", "base_batch_size: 8", "LearningRate: {base_lr: 0.002}"]
    assert _scaled(recipe=write_config(tmp_path / "both.yml", both)) == (pytest.approx(0.0005), 2000)
    other = write_config(tmp_path / "other.yml", [f"_BASE_: ['{base}']", "epoch: 3"])
    assert _scaled(recipe=other)[0] == pytest.approx(0.00125)


def test_the_demo_recipe_is_not_scaled():
    assert _scaled(recipe="demo_mask_rcnn", steps_per_epoch=100) == (0.002, 100)


def test_a_warmup_that_outlasts_training_is_pointed_out(caplog):
    _scaled("epoch=2", steps_per_epoch=100, images=16)
    assert "the warm-up takes 500 steps, but the learning rate should decay (or training end) after 200" in caplog.text
    assert "-o LearningRate.schedulers.1.steps=20" in caplog.text


@pytest.mark.parametrize(
    "override, text",
    [
        ("amp_level=O2", "amp_level is 'O2', but only 'O1' is supported. Remove it, or pass -o amp_level=O1"),
        ("use_xpu=true", "use_xpu is True, but this package runs on CPUs and NVIDIA GPUs only. .*-o use_xpu=false"),
        ("use_npu=true", "use_npu is True"),
        ("use_mlu=true", "use_mlu is True"),
        ("save_prediction_only=true", "an evaluation always computes AP; output_eval writes the detections too"),
        ("print_flops=true", "operations are not counted"),
        ("export.nms=false", "export.nms is False, but an exported graph always removes overlapping boxes"),
        ("export.post_process=false", "always decodes boxes"),
        ("export.benchmark=true", "export.benchmark is True"),
        ("export.fuse_conv_bn=true", "folds normalization itself"),
        ("TestReader.fuse_normalize=true", "images are normalized before the graph"),
        ("TrainReader.mosaic_epoch=3", "TrainReader.mosaic_epoch is 3, but batches are made of whole images"),
        ("epoch=0", "'epoch' is 0; it must be 1 or more"),
        ("snapshot_epoch=0", "'snapshot_epoch' is 0; it must be 1 or more"),
        ("TrainReader.batch_size=0", "'TrainReader.batch_size' is 0; it must be 1 or more"),
        ("worker_num=-1", "'worker_num' is -1; it must be 0 or more"),
        ("max_nonfinite_steps=-1", "'max_nonfinite_steps' is -1; it must be 0 or more"),
    ],
)
def test_settings_that_would_change_nothing_or_make_no_sense_are_refused(override, text):
    with pytest.raises(ConfigError, match=text):
        load_config("demo_mask_rcnn", [override])


def test_paddledetections_files_set_these_to_what_asks_for_nothing(tmp_path):
    lines = [
        f"_BASE_: ['{load_config('demo_mask_rcnn').path}']",
        "use_xpu: false",
        "use_npu: false",
        "use_mlu: false",
        "print_flops: false",
        "save_prediction_only: false",
        "find_unused_parameters: true",
        "export: {post_process: true, nms: true, benchmark: false, fuse_conv_bn: false}",
    ]
    assert load_config(write_config(tmp_path / "theirs.yml", lines))["find_unused_parameters"] is True


def test_a_runs_own_configuration_has_the_runs_name(tmp_path):
    folder = tmp_path / "my_run"
    folder.mkdir()
    base = load_config("demo_mask_rcnn").path
    assert load_config(write_config(folder / "config.yml", [f"_BASE_: ['{base}']"])).name == "my_run"
