"""The report of a check as text for a terminal, and as plain data for ``--json``."""

from __future__ import annotations

import textwrap

from ppdet_res2net.data.problems import Finding, Problem, inflect
from ppdet_res2net.datasets.check.run import DatasetReport
from res2net_runtime.texts import printable

__all__ = ["format_report", "summarize", "to_json"]

SHOWN_FINDINGS = 5
SHOWN_CLASSES = 10
LINE_WIDTH = 110


def format_report(report: DatasetReport) -> str:
    """Return the report of one annotation file as lines for a terminal: what it holds, then each problem."""
    facts = report.statistics
    classes = facts["classes"]
    frequent = ", ".join(f"{printable(one['name'])} {one['objects']}" for one in classes[:SHOWN_CLASSES])
    more = f" ... {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else ""
    sizes = "x".join(f"{facts[key]['min']}-{facts[key]['max']}" for key in ("image_width_px", "image_height_px"))
    areas = ", ".join(f"{count} {name}" for name, count in facts["box_area"].items())
    fit = report.fit.describe() if report.fit else []
    lines = [
        f"{report.source.name}: {report.source.annotation_path}",
        f"  images   {facts['images']}, {facts['images_without_objects']} without objects; {sizes} pixels",
        f"  objects  {facts['annotations']}: {areas}; {facts['masks']} masks ({facts['run_length_masks']} as run "
        f"lengths), {facts['crowds']} crowds",
        *_wrap(f"{len(classes)}: {frequent}{more}", "  classes  "),
        *(line for start, about in zip(("  sizes    ", "  anchors  "), fit) for line in _wrap(about, start)),
        "",
    ]
    for problem, findings in report.groups.items():
        lines += _format_group(problem, findings)
    return "\n".join([*lines, summarize(report)])


def summarize(report: DatasetReport) -> str:
    """Return the verdict in one line."""
    counts = [(report.count(severity), severity) for severity in ("error", "warning", "note")]
    found = ", ".join(f"{count} {severity}{'s'[: count != 1]}" for count, severity in counts if count)
    return f"{report.source.name}: {found or 'nothing wrong'}"


def to_json(reports: list[DatasetReport]) -> dict:
    """Return reports as plain data: ``datasets``, each with ``statistics`` and ``problems`` with their findings."""
    return {
        "errors": sum(report.count("error") for report in reports),
        "datasets": [
            {
                "name": report.source.name,
                "annotations": str(report.source.annotation_path),
                "images": str(report.source.image_dir),
                "statistics": report.statistics,
                "fit": report.fit.to_dict() if report.fit else None,
                "problems": [_to_json(problem, findings) for problem, findings in report.groups.items()],
            }
            for report in reports
        ],
    }


def _format_group(problem: Problem, findings: list[Finding]) -> list[str]:
    count = len(findings)
    head = f"{problem.severity + ':':8} {count} {problem.say_title(count)} [{problem.code}]"
    about = f"{problem.say_treatment(count)} {problem.remedy}"
    lines = [head, *_wrap(about, " " * 9)]
    lines += [f"           {printable(locate(finding))}" for finding in findings[:SHOWN_FINDINGS]]
    if len(findings) > SHOWN_FINDINGS:
        lines.append(f"           ... and {len(findings) - SHOWN_FINDINGS} more (all of them with --json)")
    return [*lines, ""]


def locate(finding: Finding) -> str:
    """Say what one finding is about, and what was found."""
    is_inside = finding.problem.subject != "image" and finding.image_id is not None
    where = finding.subject if finding.subject_id is not None or is_inside else ""
    where += f" of image id {finding.image_id}" if is_inside else ""
    return ": ".join(part for part in (where, finding.detail) if part)


def _wrap(text: str, start: str) -> list[str]:
    return textwrap.wrap(text, LINE_WIDTH, initial_indent=start, subsequent_indent=" " * len(start))


def _to_json(problem: Problem, findings: list[Finding]) -> dict:
    return {
        "code": problem.code,
        "severity": problem.severity,
        "title": problem.say_title(len(findings)),
        "training": inflect(problem.training, len(findings)),
        "scoring": inflect(problem.scoring or problem.training, len(findings)),
        "remedy": problem.remedy,
        "count": len(findings),
        "findings": [
            {problem.subject: one.subject_id, "image": one.image_id, "detail": one.detail} for one in findings
        ],
    }
