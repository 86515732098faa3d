"""Names of every source become ours; the layout is recognised from the names alone."""

from __future__ import annotations

import pytest

pytest.importorskip("paddle")


from ppdet_res2net import create_classifier, get_model_spec  # noqa: E402
from ppdet_res2net.zoo.keymaps import find_layout, map_names  # noqa: E402
from tests.goldens.source_names import source_shapes  # noqa: E402
from tests.goldens.synthetic import without_random_weights  # noqa: E402

LAYOUTS = {
    "timm/res2net50d": "torch",
    "mmpretrain/res2net50-w26-s8": "torch",
    "mindcv/res2net50_v1b": "mindcv",
    "paddleclas/Res2Net50_vd_26w_4s": "paddleclas",
    "ppdet/Res2Net50_vd_26w_4s_pretrained": "ppdet",
    "ppdet/faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco": "ppdet",
}


@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone."])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_and_targets(name, prefix):
    spec = get_model_spec(name)
    names = [f"{prefix}{source}" for source in source_shapes(spec)]
    assert find_layout(names)[0].name == LAYOUTS[name]
    with without_random_weights():
        expected = set(create_classifier(name).state_dict())
    targets = {target.name for target in map_names(names).values() if not target.name.endswith("num_batches_tracked")}
    if spec.task != "classifier":
        expected -= {"fc.weight", "fc.bias"}
    assert targets == expected


def test_head_beside_a_wrapped_trunk():
    names = ["module.backbone.layer1.0.convs.0.weight", "module.head.fc.weight", "module.head.fc.bias"]
    targets = map_names(names)
    assert targets["module.head.fc.weight"].name == "fc.weight" and targets["module.head.fc.weight"].is_transposed
    assert targets["module.head.fc.bias"].name == "fc.bias" and not targets["module.head.fc.bias"].is_transposed


def test_paddleclas_keeps_its_matrix():
    assert not map_names(["bb_0_0.conv0._conv.weight", "out.weight"])["out.weight"].is_transposed


def test_openmmlab_deep_stem():
    names = [
        "stem.0.weight",
        "stem.1.running_mean",
        "stem.6.weight",
        "stem.7.bias",
        "layer1.0.convs.0.weight",
    ]
    assert [target.name for target in map_names(names).values()][:4] == [
        "backbone.res1.conv1_1.conv.weight",
        "backbone.res1.conv1_1.norm._mean",
        "backbone.res1.conv1_3.conv.weight",
        "backbone.res1.conv1_3.norm.bias",
    ]


def test_plain_names_of_pooled_shortcuts():
    names = [
        "res2.blocks.0.branch2b.0.conv.weight",
        "res2.blocks.0.branch1.conv.weight",
        "res3.blocks.0.branch1.norm.bias",
    ]
    assert [t.name for t in map_names(names, pools_shortcuts=True).values()][1:] == [
        "backbone.res2.blocks.0.branch1.conv.weight",
        "backbone.res3.blocks.0.branch1.conv.norm.bias",
    ]


def test_classifier_layer_in_a_backbone_file_of_ppdet():
    assert map_names(["res2.blocks.0.branch2b.0.conv.weight", "out.bias"])["out.bias"].name == "fc.bias"


def test_other_networks_keep_their_names():
    resnet = ["layer1.0.conv1.weight", "layer1.0.conv2.weight", "fc.weight"]
    assert find_layout(resnet) == (None, "")
    assert [target.name for target in map_names(resnet).values()] == resnet
