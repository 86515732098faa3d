"""Models that are loaded from a file are built without drawing random weights."""

from __future__ import annotations

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")

from ppdet_res2net.modeling import Res2NetClassifier  # noqa: E402
from ppdet_res2net.modeling.initial_values import without_initial_values  # noqa: E402


def make_classifier() -> Res2NetClassifier:
    return Res2NetClassifier(3, depth=[1, 1, 1, 1], width=4)


def test_every_value_is_nan_and_no_random_number_is_drawn():
    paddle.seed(0)
    expected = paddle.rand([2]).numpy()
    paddle.seed(0)
    with without_initial_values():
        state = make_classifier().state_dict()
    assert len(state) > 100 and all(np.isnan(tensor.numpy()).all() for tensor in state.values())
    np.testing.assert_array_equal(paddle.rand([2]).numpy(), expected)


def test_models_have_initial_values_again_afterwards():
    with pytest.raises(ZeroDivisionError), without_initial_values():
        raise ZeroDivisionError
    assert all(np.isfinite(tensor.numpy()).all() for tensor in make_classifier().state_dict().values())


def test_with_all_tensors_loaded_the_model_is_the_same():
    one = make_classifier()
    with without_initial_values():
        other = make_classifier()
    other.set_state_dict(one.state_dict())
    one.eval(), other.eval()
    image = paddle.rand([1, 3, 32, 32])
    np.testing.assert_array_equal(one(image).numpy(), other(image).numpy())
