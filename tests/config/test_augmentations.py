"""The arguments of augmentations are checked when a recipe is loaded, and messages say what is expected."""

from __future__ import annotations

import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.errors import ConfigError

RECIPE = "mask_rcnn_res2net50_vd_26w_4s_fpn_lsj_copy_paste_100e_coco"
CHAIN = "TrainReader.sample_transforms=[Decode: {{}}, {}]"
SCALED = "TrainReader.sample_transforms.1.RandomScaledCrop."


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{SCALED}scale_range=[2, 0.1]", "scale_range' is .2, 0.1.; expected the smaller number first"),
        (f"{SCALED}scale_range=[0, 1]", "scale_range.0' is 0; it must be above 0"),
        (f"{SCALED}target_dim=0", "target_dim' is 0; it must be 1 or more"),
        (f"{SCALED}target_dim=[64, 64, 64]", "target_dim' has 3 entries; expected 2"),
        ("TrainReader.sample_transforms.3.CopyPaste.selectd=true", "no argument 'selectd'. Did you mean 'selected'"),
        (CHAIN.format("Mosaic: {degrees: [1, 2]}"), "Mosaic' has no argument 'degrees'. It has: prob, input_dim"),
        (CHAIN.format("RandomDistort: {brightness: [-300, 2, 0.5]}"), "brightness.0' is -300; it must be -255 or more"),
        (CHAIN.format("CopyPast: {}"), "there is no transform 'CopyPast'. Did you mean 'CopyPaste'"),
    ],
)
def test_wrong_arguments(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(RECIPE, [override])


def test_target_sizes_may_be_one_number_or_two():
    for size in (512, [480, 640]):
        config = load_config(RECIPE, [f"{SCALED}target_dim={size}"])
        assert config["TrainReader"]["sample_transforms"][1] == {
            "RandomScaledCrop": {"target_dim": size, "scale_range": [0.1, 2.0]}
        }
