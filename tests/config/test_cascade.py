"""Settings of Cascade R-CNN that do not fit together, by the text of the message."""

from __future__ import annotations

import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.errors import ConfigError

RECIPE = "demo_cascade_mask_rcnn"
LAST = "[20.0, 20.0, 10.0, 10.0]"

MISTAKES = {
    ("CascadeHead.num_cascade_stages=2", f"BBoxPostProcess.decode.prior_box_var={LAST}"): (
        "CascadeTwoFCHead.num_cascade_stage is 3, but CascadeHead.num_cascade_stages is 2. Make them equal."
    ),
    (
        "num_cascade_stages=4",
        "num_cascade_stage=4",
    ): "CascadeHead.bbox_weight has 3 entries, but there are 4 stages; give",
    (
        "BBoxAssigner.cascade_iou=[0.5]",
    ): "BBoxAssigner.cascade_iou has 1 entries, but there are 3 stages; give one for each.",
    (
        "CascadeHead.add_gt_as_proposals=[true]",
    ): "CascadeHead.add_gt_as_proposals has 1 entries, but there are 3 stages",
    (
        "CascadeHead.stage_loss_weights=[1, 1, 1, 1]",
    ): "CascadeHead.stage_loss_weights has 4 entries, but there are 3 stages",
    (f"BBoxPostProcess.decode.prior_box_var={LAST}",): (
        "BBoxPostProcess.decode.prior_box_var is [20.0, 20.0, 10.0, 10.0], but the last stage learns its boxes with [30.0, "
        "30.0, 15.0, 15.0] (CascadeHead.bbox_weight), so all boxes would be wrong. Give both the same four numbers."
    ),
    (
        "BBoxPostProcess.decode=RCNNBox",
    ): "RCNNBox.prior_box_var is [10.0, 10.0, 5.0, 5.0], but the last stage learns its boxes",
    ("CascadeHead.head=TwoFCHead",): (
        "CascadeHead.head is TwoFCHead, which has layers for one stage only. Choose CascadeTwoFCHead or CascadeXConvNormHead."
    ),
    ("CascadeRCNN.bbox_head=BBoxHead",): (
        "prior_box_var is [30.0, 30.0, 15.0, 15.0], but the head learns its boxes with [10.0, 10.0, 5.0, 5.0] "
        "(BBoxHead.bbox_weight), so all boxes would be wrong."
    ),
    ("architecture=MaskRCNN",): "prior_box_var is [30.0, 30.0, 15.0, 15.0], but the head learns its boxes with",
    ("CascadeHead.bbox_weight=[1, 2, 3]",): "'CascadeHead.bbox_weight",
    ("architecture=MaskRCNN", "BBoxHead.bbox_weight=5"): "'BBoxHead.bbox_weight' is 5",
    ("CascadeHead.averaged=boxes",): "'CascadeHead.averaged' is 'boxes'; expected one of probabilities, logits",
}


@pytest.mark.parametrize("overrides", MISTAKES, ids=lambda overrides: overrides[0])
def test_settings_that_do_not_fit_together_are_refused(overrides):
    with pytest.raises(ConfigError) as error:
        load_config(RECIPE, list(overrides))
    assert MISTAKES[overrides] in str(error.value)


def test_stages_that_fit_together_are_accepted():
    config = load_config(
        RECIPE,
        ["num_cascade_stages=2", "num_cascade_stage=2", f"BBoxPostProcess.decode.prior_box_var={LAST}"],
    )
    assert config["num_cascade_stages"] == 2


def test_other_architectures_may_keep_sections_of_a_cascade():
    overrides = ["architecture=MaskRCNN", "CascadeHead.num_cascade_stages=2", "BBoxPostProcess.decode=RCNNBox"]
    assert load_config(RECIPE, overrides)["architecture"] == "MaskRCNN"
