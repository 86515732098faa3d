"""Which values count as a box."""

from __future__ import annotations

import pytest

from ppdet_res2net.data.structure import is_box


@pytest.mark.parametrize("value", [[0, 0, 1, 1], [-1.5, 2, 0, 3.25]])
def test_boxes(value):
    assert is_box(value)


@pytest.mark.parametrize(
    "value",
    [None, [], [0, 0, 1], [0, 0, 1, 1, 1], (0, 0, 1, 1), [0, 0, 1, None], [0, 0, 1, float("inf")], [0, 0, 1, True]],
)
def test_no_boxes(value):
    assert not is_box(value)
