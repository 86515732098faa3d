"""Fixtures that several test files share."""

from engine_fixtures import demo_data, detecting, trained  # noqa: F401
