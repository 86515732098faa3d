"""Recipes whose settings are right one by one but cannot be trained together are refused by a message, not by a traceback."""

from __future__ import annotations

import pytest

from ppdet_res2net.cli.main import main
from tests.helpers.training_runs import demo_data, overrides_for

__all__ = ["demo_data"]

UNNORMALIZED = "[Decode: {}, Permute: {}]"
GROUPS = "OptimizerBuilder.optimizer={type: Adam, param_groups: [%s]}"
MISFITS = {
    "MaskAssigner.mask_resolution=40": "its parts do not fit together: (InvalidArgument)",
    "BBoxHead.roi_extractor.resolution=5": "the resolution of roi_extractor must be that of the head",
    "TrainReader.sample_transforms=[Decode: {}]": "Add 'Permute: {}' at the end of sample_transforms.",
    f"TrainReader.sample_transforms={UNNORMALIZED}": "are of type uint8; expected float32. Add NormalizeImage",
    GROUPS
    % "{params: [bakbone]}": "param_groups.0: no trained weight has 'bakbone' in its name. Names are for instance backb",
    GROUPS % "{params: [neck]}, {params: [fpn_]}": "is in group 0, too. Each may be in one group.",
}


@pytest.mark.parametrize("setting", MISFITS)
def test_settings_that_do_not_fit_together(setting, demo_data, tmp_path, capsys):
    options = [
        *overrides_for(demo_data, tmp_path),
        "TrainReader.batch_transforms=[]",
        "TrainReader.batch_size=1",
        setting,
    ]
    assert main(["train", "-c", "demo_mask_rcnn", "-o", *options]) == 1
    error = capsys.readouterr().err
    assert MISFITS[setting] in error and "Traceback" not in error
