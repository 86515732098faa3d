"""The overlap of objects with the anchors is that of ppdet's own anchors and matching."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppdet_res2net.compat import prepare_ppdet
from ppdet_res2net.datasets.recipe_fit import Anchors

GENERATORS = {
    "a size for each level": {"anchor_sizes": [[16], [28], [48], [80]], "strides": [4, 8, 16, 32]},
    "two sizes for each level": {
        "anchor_sizes": [[12, 20], [30, 55]],
        "strides": [8, 16],
        "aspect_ratios": [[0.5, 2.0], [1.0, 3.0]],
    },
    "one level": {"anchor_sizes": [32, 64, 128], "strides": [16], "aspect_ratios": [0.7, 1.3]},
    "an offset": {"anchor_sizes": [[24], [70]], "strides": [8, 32], "offset": 0.5},
    "the defaults": {},
}


@pytest.mark.parametrize("name", GENERATORS)
def test_best_overlaps_are_those_of_ppdet(name):
    prepare_ppdet()
    from ppdet.modeling.bbox_utils import bbox_overlaps
    from ppdet.modeling.proposal_generator.anchor_generator import AnchorGenerator

    generator = GENERATORS[name]
    height, width = 160, 224
    rng = np.random.RandomState(3)
    corners = rng.rand(200, 2) * [width, height]
    boxes = np.concatenate([corners, corners + 2 + rng.rand(200, 2) ** 2 * 150], axis=1)
    boxes = np.clip(boxes, 0, [width, height] * 2).astype("float32")
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    maps = [paddle.zeros([1, 1, -(-height // int(s)), -(-width // int(s))]) for s in generator.get("strides", [16])]
    anchors = paddle.concat(AnchorGenerator(**generator)(maps))
    expected = bbox_overlaps(paddle.to_tensor(boxes), anchors).numpy().max(axis=1)
    found = Anchors.from_settings(generator).best_overlaps(boxes, np.tile([height, width], (len(boxes), 1)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_list_is_for_all_levels():
    anchors = Anchors.from_settings({"anchor_sizes": [[16, 32]], "strides": [4, 8], "aspect_ratios": [1.0]})
    assert anchors.sizes == ((16.0, 32.0), (16.0, 32.0)) and anchors.ratios == ((1.0,), (1.0,))
    assert (anchors.smallest_px, anchors.largest_px) == (16, 32)
