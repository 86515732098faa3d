"""The recipes with large-scale jitter and copy-paste train."""

from __future__ import annotations

import math

import pytest

from ppdet_res2net.detection.task import train
from tests.helpers.training_runs import make_config, read_metrics

LSJ = (
    "faster_rcnn_res2net50_vd_26w_4s_fpn_lsj_100e_coco",
    "mask_rcnn_res2net50_vd_26w_4s_fpn_lsj_100e_coco",
    "mask_rcnn_res2net50_vd_26w_4s_fpn_lsj_copy_paste_100e_coco",
)
# The recipe's own chain and heads on a short trunk and small images.
SMALL = (
    "num_classes=3",
    "pretrain_weights=null",
    "Res2Net.depth=[1, 1, 1, 1]",
    "Res2Net.freeze_norm=false",
    "Res2Net.freeze_at=-1",
    "FPN.out_channel=32",
    "MaskFeat.out_channel=32",
    "TwoFCHead.out_channel=64",
    "TrainReader.sample_transforms.1.RandomScaledCrop.target_dim=128",
)


@pytest.mark.parametrize("recipe", LSJ)
def test_a_step_with_each_recipe(recipe, demo_data, tmp_path):
    result = train(make_config(demo_data, tmp_path, *SMALL, recipe=recipe), max_steps=1)
    (record,) = read_metrics(result.run_dir)
    assert math.isfinite(record["loss"]) and record["loss"] > 0
    assert ("loss_mask" in record) == recipe.startswith("mask")
    assert "0.05 x 2 / 64" in (result.run_dir / "train.log").read_text()  # the learning rate follows the batch


@pytest.mark.parametrize("augmentation", ["Mosaic: {input_dim: 64}", "RandomCrop: {}", "RandomDistort: {}"])
def test_a_step_with_other_augmentations(augmentation, demo_data, tmp_path):
    chain = f"[Decode: {{}}, {augmentation}, RandomScaledCrop: {{target_dim: 96}}, NormalizeImage: {{}}, Permute: {{}}]"
    config = make_config(demo_data, tmp_path, f"TrainReader.sample_transforms={chain}")
    (record,) = read_metrics(train(config, max_steps=1).run_dir)
    assert math.isfinite(record["loss"]) and "loss_mask" in record
