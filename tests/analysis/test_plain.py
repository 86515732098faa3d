"""Dataclasses become JSON and come back; anything else is refused by the place where it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from ppdet_res2net.analysis.plain import from_plain, to_plain
from ppdet_res2net.analysis.schema import Report
from ppdet_res2net.analysis.subject import Settings
from ppdet_res2net.errors import DatasetError


@dataclass
class Leaf:
    name: str
    figures: dict[str, float | None]


@dataclass
class Tree:
    leaves: list[Leaf]
    best: Leaf | None
    curves: list[list[float] | None]
    count: int = 3
    notes: list[str] = field(default_factory=list)


TREE = Tree([Leaf("a", {"AP": 0.5, "APs": None}), Leaf("b", {})], None, [[0.25, 1.0], None], 7, ["one"])


def test_what_is_written_is_read_again():
    assert from_plain(Tree, json.loads(json.dumps(to_plain(TREE))), "f.json") == TREE


def test_whole_numbers_stand_for_fractions_and_unknown_keys_are_left_out():
    content = {"leaves": [], "best": {"name": "x", "figures": {"AP": 1}}, "curves": [], "of_a_later_version": 1}
    assert from_plain(Tree, content, "f.json") == Tree([], Leaf("x", {"AP": 1.0}), [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leaves": None}, "'f.json' is not a report of this program: leaves: expected list, got None."),
        ({"leaves": [{"name": "a"}]}, "leaves[0].figures: it is missing."),
        ({"leaves": [{"name": 3, "figures": {}}]}, "leaves[0].name: expected str, got 3."),
        ({"leaves": [[]]}, "leaves[0]: expected an object, got []."),
        ({"best": {"name": "a", "figures": {"AP": "high"}}}, "best.figures.AP: expected float, got 'high'."),
        ({"curves": [[True]]}, "curves[0][0]: expected float, got True."),
        ({"count": 1.5}, "count: expected int, got 1.5."),
    ],
)
def test_other_content_is_refused_by_its_place(change, message):
    with pytest.raises(DatasetError) as error:
        from_plain(Tree, {**to_plain(TREE), **change}, "f.json")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "got"), [([], "something else"), ({}, "something else"), ({"version": 99}, "version 99")]
)
def test_a_report_of_another_version_is_refused(content, got):
    with pytest.raises(DatasetError, match=f"expected a report.json of version 1, got {got}. Make it again"):
        Report.from_json(content, "report.json")


def test_settings_have_the_usual_values():
    assert from_plain(Settings, {}, "f.json") == Settings()
