"""RandomDistort gives PaddleDetection's colours, rounded."""

from __future__ import annotations

import numpy as np
import pytest

from ppdet_res2net.data.augment.colours import RandomDistort

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
STRONG = {
    "hue": [-0.3, 0.3, 0.2],
    "saturation": [0.2, 1.8, 0.2],
    "contrast": [0.5, 1.5, 0.2],
    "brightness": [-40, 40, 0.2],
}


def paddledetections(image, **arguments):
    from ppdet_res2net.compat import prepare_ppdet

    prepare_ppdet()
    from ppdet.data.transform.operators import RandomDistort as Theirs

    return np.asarray(Theirs(**arguments)({"image": image})["image"], np.float64)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        STRONG,
        {**STRONG, "count": 2},
        {**STRONG, "random_apply": False},
        {"random_apply": False, "random_channel": True},
    ],
    ids=["default", "strong", "two changes", "SSD's order", "channels"],
)
def test_colours_are_paddledetections(arguments):
    changed = 0
    for seed in range(40):
        np.random.seed(seed)
        expected = paddledetections(PHOTO, **arguments)
        expected_next = np.random.rand()
        np.random.seed(seed)
        found = RandomDistort(**arguments)({"image": PHOTO.copy()})["image"]
        assert np.random.rand() == expected_next
        assert found.dtype == np.uint8
        assert np.abs(found - expected.clip(0, 255)).max() < 0.75  # OpenCV computes with ten bits
        np.random.seed(seed)
        as_float = RandomDistort(**arguments)({"image": PHOTO.astype(np.float32)})["image"]
        assert as_float.dtype == np.float32 and np.abs(as_float - found).max() <= 1
        changed += (found != PHOTO).any()
    assert changed > 20


def test_amounts_mean_what_the_docstring_says():
    def distort(image, **change):
        off = dict.fromkeys(("hue", "saturation", "contrast", "brightness"), [1, 1, 1.0])
        return RandomDistort(**{**off, **{name: [amount, amount, 0.0] for name, amount in change.items()}})(
            {"image": np.array(image, np.uint8)}
        )["image"].tolist()

    colour = [[[10, 100, 200]]]
    assert distort(colour) == colour
    assert distort(colour, brightness=20) == [[[30, 120, 220]]]
    assert distort(colour, brightness=-20) == [[[0, 80, 180]]]
    assert distort(colour, contrast=2) == [[[20, 200, 255]]]
    ((grey,),) = distort(colour, saturation=0)
    np.testing.assert_allclose(grey, 0.299 * 10 + 0.587 * 100 + 0.114 * 200, atol=0.75)
    turned = distort([[[200, 50, 50]]], hue=2 / 3)  # by 120 degrees
    assert np.argmax(turned) != 0 and abs(np.dot(turned[0][0], [0.299, 0.587, 0.114]) - 94.85) < 4
