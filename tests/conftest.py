"""Fixtures that several test files share."""

from tests.helpers.datasets import turned_jpeg  # noqa: F401
from tests.helpers.training_runs import demo_data, detecting, trained  # noqa: F401
