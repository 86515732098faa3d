"""Line charts as SVG, without scripts: they follow the colours of the page around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["COLORS", "line_chart"]

COLORS = 8  # the page's style has these many, as --c0, --c1, ...
MAX_POINTS = 300  # per line; more are averaged
_WIDTH, _HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 26
_MARKED = 40  # a line of at most this many points has a mark with its value at each

Points = Sequence[tuple[float, float]]


def line_chart(series: Mapping[str, Points], dashed: Sequence[str] = (), x_name: str = "step") -> str:
    """Return a chart with axes, a legend with the last values, and values to point at.

    Args:
        series: Points (x, y) by name, in the order of x. Values that are not finite are left out.
        dashed: Names of lines that are dashed; each has the colour of the line whose name it begins with, if there is one.
        x_name: What x is.

    Returns:
        HTML: a ``<figure>``; "" if there is nothing to draw.
    """
    finite = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in series.items()}
    lines = {name: _thin(points) for name, points in finite.items() if points}
    if not lines:
        return ""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x_ticks, y_ticks = _ticks(min(xs), max(xs), 5), _ticks(min(ys), max(ys), 5)
    x0, x1 = min(xs), max(max(xs), min(xs) + 1e-9)
    y0, y1 = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / (x1 - x0)
        up = (y - y0) / (y1 - y0) if y1 > y0 else 0.5
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(", ".join(lines))}">']
    for tick in y_ticks:
        _, y = place(x0, tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_say(tick)}</text>')
    for tick in (tick for tick in x_ticks if x0 <= tick <= x1):
        x, _ = place(tick, y0)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{_say(tick)}</text>')
    colors = _choose_colors(list(lines), dashed)
    for name, points in lines.items():
        parts.append(_line(name, points, colors[name], name in dashed, place, x_name))
    legend = "".join(
        f'<span><i class="{"dashed" * (name in dashed)}" style="border-color:var(--c{colors[name]})"></i>'
        f"{escape(name)} <b>{_say(points[-1][1])}</b></span>"
        for name, points in lines.items()
    )
    return f'<figure class="chart">{"".join(parts)}</svg><figcaption>{legend}</figcaption></figure>'


def _line(name: str, points: Points, color: int, is_dashed: bool, place, x_name: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    style = f'style="stroke:var(--c{color})"' + ' stroke-dasharray="5 4"' * is_dashed
    parts = [f'<polyline class="line" {style} points="{path}"/>']
    for point in points if len(points) <= _MARKED else points[-1:]:
        x, y = place(*point)
        text = escape(f"{name}: {_say(point[1])} ({x_name} {_say(point[0])})")
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill:var(--c{color})"><title>{text}</title></circle>'
        )
    return "".join(parts)


def _choose_colors(names: Sequence[str], dashed: Sequence[str]) -> dict[str, int]:
    colors: dict[str, int] = {}
    for name in sorted(names, key=lambda name: name in dashed):
        like = [other for other in colors if name in dashed and name.startswith(other)]
        colors[name] = colors[max(like, key=len)] if like else len(colors) % COLORS
    return colors


def _thin(points: Points) -> Points:
    """Average neighbours until there are few enough."""
    if len(points) <= MAX_POINTS:
        return points
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Return round numbers that cover a range."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def _say(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 and value == round(value) else f"{value:.4g}"
