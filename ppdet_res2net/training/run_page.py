"""The page ``index.html`` of a run's folder: curves, pictures, figures and configuration, renewed while the run goes on."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from ppdet_res2net.commands import command_line
from ppdet_res2net.files import replacing
from ppdet_res2net.training.charts import line_chart
from ppdet_res2net.training.curves import PANELS, VALIDATION, list_series, read_metrics
from ppdet_res2net.training.run_pictures import list_pictures
from res2net_runtime.texts import printable_lines

__all__ = ["RunPage", "write_run_page"]

REFRESH_S = 30
LEAST_PAUSE_S = 20.0
_PAUSE_PER_WORK = 50.0  # so writing the page takes at most a fiftieth of the time
_FILES = ("config.yml", "metrics.jsonl", "train.log", "curves.png", "model_final.json", "best_model.json")
_FEW_CLASSES = 20

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #e3e6ec; --card: #fff; --back: #f5f6f8;
  --accent: #2d6cdf; --c0: #2d6cdf; --c1: #d1495b; --c2: #1f8a4c; --c3: #c77700; --c4: #7b4fc9; --c5: #0e8a96;
  --c6: #a03d7c; --c7: #6b705c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaf0; --soft: #98a1b3; --line: #2c3240; --card: #1a1f2a;
  --back: #11141b; --accent: #6ea3ff; --c0: #6ea3ff; --c1: #ff7b89; --c2: #4cc27e; --c3: #f5a93b; --c4: #b08cff;
  --c5: #4cc9d6; --c6: #e07bb8; --c7: #b5b99e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 28px 20px 60px; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 25px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 19px; margin: 34px 0 12px; }
h3 { font-size: 14px; margin: 0 0 8px; font-weight: 600; }
p { margin: 6px 0; } .soft, figcaption { color: var(--soft); } a { color: var(--accent); }
code, pre { font-size: 13px; overflow-wrap: anywhere; } pre { white-space: pre-wrap; margin: 8px 0 0; }
.chip { border-radius: 99px; padding: 1px 11px; font-size: 13px; font-weight: 600; color: #fff; background: var(--soft); }
.running { background: #2d6cdf; } .done { background: #1f8a4c; } .failed { background: #d3302f; }
progress { width: 100%; height: 8px; accent-color: var(--accent); margin: 10px 0 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; } .tile { flex: 1 1 120px; }
.tile b { display: block; font-size: 22px; line-height: 1.25; white-space: nowrap; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); gap: 14px; }
figure { margin: 0; min-width: 0; } .chart svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; } .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.chart figcaption { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 12px; overflow-wrap: anywhere; }
.chart figcaption i { display: inline-block; width: 16px; border-top: 3px solid; margin: 0 5px 3px 0; }
.chart figcaption i.dashed { border-top-style: dashed; }
.chart figcaption b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
img { display: block; max-width: 100%; height: auto; border-radius: 10px; }
.bars { display: grid; grid-template-columns: minmax(60px, max-content) 1fr max-content; gap: 4px 10px; align-items: center;
  font-size: 13px; } .bars span { max-width: 220px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bars i { display: block; height: 10px; min-width: 1px; border-radius: 3px; background: var(--accent); }
.bars b { text-align: right; font-variant-numeric: tabular-nums; font-weight: 500; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--soft); }
details figure { margin-top: 14px; }
"""


class RunPage:
    """Writes the page as a logger does: at each evaluation, every now and then in between, and at the end.

    Args:
        run_dir: Folder of the run.
        total_steps: Steps of the whole run.
    """

    def __init__(self, run_dir: Path, total_steps: int) -> None:
        self._run_dir, self._total_steps = run_dir, total_steps
        self._due = 0.0

    def log_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Renew the page if that is due; after an evaluation, it always is."""
        if time.monotonic() >= self._due or any(name.startswith("eval/") for name in numbers):
            self._write("running")

    def log_picture(self, step: int, path: Path) -> None:
        """Do nothing: the figures of the same evaluation follow."""

    def close(self, outcome: str) -> None:
        """Write the page for the last time. It no longer reloads itself."""
        self._write(outcome)

    def _write(self, state: str) -> None:
        started = time.monotonic()
        write_run_page(self._run_dir, state, self._total_steps)
        now = time.monotonic()
        self._due = now + max(LEAST_PAUSE_S, _PAUSE_PER_WORK * (now - started))


def write_run_page(run_dir: Path, state: str, total_steps: int) -> None:
    """Write ``index.html`` from the other files of a run's folder.

    Args:
        run_dir: Folder of the run.
        state: ``running``, ``done``, ``stopped`` or ``failed``. While it runs, the page reloads itself.
        total_steps: Steps of the whole run.

    Raises:
        ConfigError: There is no ``metrics.jsonl``.
        OSError: The file cannot be written.
    """
    name = run_dir.resolve().name
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_S}">' if state == "running" else ""
    # Nothing in it can load or run anything, whatever names of classes and files contain.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:"
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">{refresh}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(_body(run_dir, name, state, total_steps))
        + "\n</body></html>\n"
    )
    with replacing(run_dir / "index.html") as unfinished:
        unfinished.write_text(printable_lines(page), encoding="utf-8")


def _body(run_dir: Path, name: str, state: str, total_steps: int) -> Iterator[str]:
    records = read_metrics(run_dir)
    train, evaluations = records.get("train", {}), records.get("eval", {})
    step = max([0, *train, *evaluations])
    written = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    yield f'<header><h1>{escape(name)} <span class="chip {state}">{state}</span></h1>'
    yield f'<p class="soft">step {step} of {total_steps}; written {escape(written)}</p>'
    yield f'<progress max="{max(total_steps, 1)}" value="{min(step, total_steps)}"></progress></header>'
    yield _tiles(records)
    charts = [(title, _chart(records, key)) for key, title in PANELS]
    cards = [f'<section class="card"><h3>{escape(title)}</h3>{chart}</section>' for title, chart in charts if chart]
    yield f'<div class="charts">{"".join(cards)}</div>' if cards else '<p class="soft">No figures yet.</p>'
    if evaluations:
        yield from _classes(*list(evaluations.items())[-1])
    yield from _pictures(run_dir)
    yield from _links(run_dir)
    yield from _configuration(run_dir)


def _tiles(records: dict[str, dict[int, dict]]) -> str:
    facts: list[tuple[str, str]] = []
    if records.get("train"):
        last = list(records["train"].values())[-1]
        facts += [("loss", f"{last['loss']:.4f}"), ("learning rate", f"{last['lr']:.3g}")]
        facts.append(("images per second", f"{last['images_per_s']:.2f}"))
        if "memory_mib" in last:
            facts.append(("peak memory", f"{last['memory_mib'] / 1024:.2f} GiB"))
    for score, points in list_series(records, "score").items():
        step, value = max(points, key=lambda point: point[1])
        facts.append((f"best {score}, after step {step}", f"{value:.4f}"))
    if records.get("skipped"):
        facts.append(("steps left out", str(len(records["skipped"]))))
    tiles = "".join(
        f'<div class="card tile"><b>{escape(value)}</b><span>{escape(fact)}</span></div>' for fact, value in facts
    )
    return f'<div class="tiles">{tiles}</div>'


def _chart(records: dict[str, dict[int, dict]], key: str) -> str:
    series = list_series(records, key)
    return line_chart(series, dashed=[name for name in series if name.endswith(VALIDATION)])


def _classes(step: int, record: dict) -> Iterator[str]:
    """Yield AP per class of an evaluation, the best class first."""
    parts = {kind: part["classes"] for kind, part in record.items() if isinstance(part, dict) and "classes" in part}
    cards = []
    for kind, classes in parts.items():
        measured = sorted((one for one in classes if one.get("AP", -1) >= 0), key=lambda one: -one["AP"])
        rows = "".join(
            f'<span title="{escape(one["class"])}">{escape(one["class"])}</span>'
            f'<i style="width:{100 * min(one["AP"], 1):.1f}%"></i><b>{one["AP"]:.3f}</b>'
            for one in measured
        )
        bars = f'<div class="bars">{rows}</div>'
        if len(measured) > _FEW_CLASSES:
            bars = f"<details><summary>{len(measured)} classes</summary>{bars}</details>"
        cards.append(f'<section class="card"><h3>{escape(kind)} AP</h3>{bars}</section>')
    if cards:
        yield f'<h2>AP per class after step {step}</h2><div class="charts">{"".join(cards)}</div>'


def _pictures(run_dir: Path) -> Iterator[str]:
    pictures = list_pictures(run_dir)
    if not pictures:
        return
    figures = [
        f'<figure><a href="{path.parent.name}/{path.name}"><img loading="lazy" alt="predictions after step {step}" '
        f'src="{path.parent.name}/{path.name}"></a><figcaption>after step {step}</figcaption></figure>'
        for step, path in reversed(pictures)
    ]
    yield f"<h2>Annotated and found</h2>{figures[0]}"
    if len(figures) > 1:
        yield f"<details><summary>{len(figures) - 1} earlier</summary>{''.join(figures[1:])}</details>"


def _links(run_dir: Path) -> Iterator[str]:
    yield "<h2>Files</h2>"
    found = _find_reports(run_dir)
    names = [*found, *(name for name in _FILES if (run_dir / name).is_file())]
    yield "<p>" + " · ".join(f'<a href="{quote(name)}">{escape(name)}</a>' for name in names) + "</p>"
    weights = next((name for name in ("best_model", "model_final") if (run_dir / f"{name}.pdparams").is_file()), None)
    if weights and not found:
        config, report = run_dir / "config.yml", run_dir / "report"
        shown = command_line("eval", "-c", config, "-o", f"weights={run_dir / weights}", "--report", report)
        yield f'<p class="soft">A report on where the model errs: <code>{escape(shown)}</code></p>'


def _find_reports(run_dir: Path) -> list[str]:
    """Return the pages that ``eval --report`` has written into folders of the run's folder."""
    pages = sorted(path.with_name("index.html") for path in run_dir.glob("*/report.json"))
    return [page.relative_to(run_dir).as_posix() for page in pages if page.is_file()]


def _configuration(run_dir: Path) -> Iterator[str]:
    try:
        text = (run_dir / "config.yml").read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return
    yield f"<h2>Configuration</h2><details><summary>config.yml</summary><pre>{escape(text)}</pre></details>"
