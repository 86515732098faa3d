"""Refuses datasets that the check finds errors in, for whoever needs a sound one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ppdet_res2net.commands import command_line
from ppdet_res2net.data.problems import ERROR, WARNING, Finding, Problem, describe
from ppdet_res2net.datasets.check.run import DatasetReport
from ppdet_res2net.errors import DatasetError

__all__ = ["refuse_errors", "say_warnings"]

_SHOWN = 3


def refuse_errors(reports: Sequence[DatasetReport], are_files: bool = True) -> None:
    """Refuse datasets with errors.

    Args:
        reports: What was found about them.
        are_files: Whether they are annotation files in COCO's format, which the command in the message can check.

    Raises:
        DatasetError: There are errors. The message has each of them, as ``check-dataset`` says it.
    """
    lines = [
        f"\n- '{report.source.annotation_path}': {_say(problem, findings)} {problem.remedy}"
        for report in reports
        for problem, findings in report.groups.items()
        if problem.severity == ERROR
    ]
    if not lines:
        return
    sources = [report.source for report in reports]
    files, folders = [one.annotation_path for one in sources], [one.image_dir for one in sources]
    command = command_line("check-dataset", "--annotations", *files, "--images", *folders)
    more = f"\n'{command}' lists all of it; --fix FILE corrects one file." if are_files else ""
    raise DatasetError(f"the dataset has errors, so it cannot be used:{''.join(lines)}{more}")


def say_warnings(report: DatasetReport, but: Collection[Problem] = ()) -> list[str]:
    """Return a sentence for each kind of warning, except those of some problems."""
    return [
        _say(problem, findings)
        for problem, findings in report.groups.items()
        if problem.severity == WARNING and problem not in but
    ]


def _say(problem: Problem, findings: list[Finding]) -> str:
    details = [finding.detail for finding in findings[:_SHOWN] if finding.detail]
    more = f"; and {len(findings) - len(details)} more" if details and len(findings) > len(details) else ""
    return describe(problem, findings) + (f" ({'; '.join(details)}{more})." if details else ".")
