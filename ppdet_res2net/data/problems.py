"""What can be wrong with a dataset: one definition of each problem, for training, evaluation and ``check-dataset``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ERROR",
    "NOTE",
    "WARNING",
    "Finding",
    "Problem",
    "describe",
    "group_by_problem",
    "inflect",
    "list_first",
    "say_count",
]

# error: training and evaluation refuse the file, or would give something wrong. warning: they leave out or correct the
# annotation, or something looks like a mistake. note: good to know.
ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")
SHOWN_IDS = 5


@dataclass(frozen=True)
class Problem:
    """One kind of problem.

    In ``title``, ``training`` and ``scoring``, ``[one/many]`` holds the words for one case and for several; see
    :func:`inflect`.

    Attributes:
        code: Short name for ``--json``.
        severity: ``error``, ``warning`` or ``note``.
        title: What has the problem, to be read after a count: "[box/boxes] of zero or negative size".
        training: What training does about it, to be read after the title: "[is/are] not used".
        remedy: What the user can do about it, in whole sentences.
        subject: What the ids of its findings refer to: ``image``, ``annotation`` or ``category``.
        scoring: What evaluation does about it, if that is not what training does.
    """

    code: str
    severity: str
    title: str
    training: str
    remedy: str
    subject: str = "annotation"
    scoring: str = ""

    def say_title(self, count: int) -> str:
        """Return the title for so many cases, without the comma that joins it to ``training``."""
        return inflect(self.title, count).rstrip(",")

    def say_treatment(self, count: int) -> str:
        """Say what training and evaluation do about so many cases, as a whole sentence."""
        they = "it" if count == 1 else "they"
        if not self.scoring:
            return f"In training and scoring, {they} {inflect(self.training, count)}."
        return (
            f"In training, {they} {inflect(self.training, count)}; in scoring, {they} {inflect(self.scoring, count)}."
        )


@dataclass(frozen=True)
class Finding:
    """One case of a problem.

    Attributes:
        problem: What it is.
        subject_id: Id of the image, annotation or category that has the problem; None if it has no id.
        image_id: Id of the image to look at, if there is one.
        detail: What exactly was found, without a full stop; may be empty.
    """

    problem: Problem
    subject_id: Any = None
    image_id: Any = None
    detail: str = ""

    @property
    def subject(self) -> str:
        """What has the problem, for a message: ``"annotation id 7"``."""
        number = "without id" if self.subject_id is None else f"id {self.subject_id}"
        return f"{self.problem.subject} {number}"


def group_by_problem(findings: Iterable[Finding]) -> dict[Problem, list[Finding]]:
    """Return the findings of each problem: errors first, then in the order of the first finding."""
    groups: dict[Problem, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.problem, []).append(finding)
    return dict(sorted(groups.items(), key=lambda group: SEVERITIES.index(group[0].severity)))


def describe(problem: Problem, findings: list[Finding], treatment: str = "") -> str:
    """Say how many have a problem, what is done about it, and which they are: one sentence, without a full stop.

    Args:
        problem: The problem.
        findings: Its cases.
        treatment: What is done about it; by default, what training does.
    """
    known = [finding.subject_id for finding in findings if finding.subject_id is not None]
    which = f": {problem.subject} id {list_first(known)}" if known else ""
    count = len(findings)
    return f"{count} {inflect(problem.title, count)} {inflect(treatment or problem.training, count)}{which}"


def inflect(text: str, count: int) -> str:
    """Choose between the words for one and for several: ``[box/boxes]`` becomes ``box`` or ``boxes``."""
    return re.sub(r"\[([^\]/]*)/([^\]]*)\]", r"\1" if count == 1 else r"\2", text)


def say_count(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: ``1 image``, ``2 images``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def list_first(ids: Iterable[object]) -> str:
    """Write the first of ``ids`` for a message: ``"3, 8, 9, 12, 20 and 31 more"``."""
    ids = list(ids)
    shown = ", ".join(str(one) for one in ids[:SHOWN_IDS])
    return shown if len(ids) <= SHOWN_IDS else f"{shown} and {len(ids) - SHOWN_IDS} more"
