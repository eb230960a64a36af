"""Plots as SVG text, for a report that is one file. Pure.

A plot has a line per series over the seconds of a run, the phases as bands behind them, and scales with round numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

COLOURS: Final = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")
WIDTH: Final = 640
"""Pixels, two plots beside each other on a laptop's screen."""
HEIGHT: Final = 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 34


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    values: tuple[float | None, ...]
    """One per interval; None where nothing was measured."""


def plot(
    title: str,
    unit: str,
    interval_s: float,
    series: Sequence[Series],
    spans: Sequence[tuple[str, float, float]],
    *,
    limit: float | None = None,
) -> str:
    """`limit` is drawn as a dashed line."""
    seconds = spans[-1][2] if spans else 1.0
    highest = max((value for each in series for value in each.values if value is not None), default=0.0)
    top = round_up(max(highest, limit or 0.0))
    x_of = (WIDTH - _LEFT - _RIGHT) / seconds
    y_of = (HEIGHT - _TOP - _BOTTOM) / top
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" class="plot">',
        f'<text x="{_LEFT}" y="16" class="title">{escape(title)}, {escape(unit)}</text>',
    ]
    parts += [_band(number, span, x_of) for number, span in enumerate(spans)]
    for step in range(5):
        value = top * step / 4
        y = HEIGHT - _BOTTOM - value * y_of
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="scale">{value:g}</text>')
    if limit is not None:
        y = HEIGHT - _BOTTOM - limit * y_of
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="limit"/>')
    x_legend = WIDTH - _RIGHT - 96 * len(series)
    for number, each in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        for line in _lines(each.values, interval_s, x_of, y_of):
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x = x_legend + 96 * number
        parts.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14}" y="17" class="legend">{escape(each.name)}</text>')
    return "".join([*parts, "</svg>"])


def _band(number: int, span: tuple[str, float, float], x_of: float) -> str:
    name, begin_s, end_s = span
    x, width = _LEFT + begin_s * x_of, (end_s - begin_s) * x_of
    shade = f'<rect x="{x:.1f}" y="{_TOP}" width="{width:.1f}" height="{HEIGHT - _TOP - _BOTTOM}" class="band"/>'
    label = f'<text x="{x + width / 2:.1f}" y="{HEIGHT - 6}" class="phase">{escape(name)}</text>'
    second = f'<text x="{x:.1f}" y="{HEIGHT - 20}" class="second">{begin_s:.0f} s</text>'
    return (shade if number % 2 else "") + (label if width > 40 else "") + (second if width > 24 else "")


def _lines(values: Sequence[float | None], interval_s: float, x_of: float, y_of: float) -> list[str]:
    """A line breaks where nothing was measured; a lone point is drawn as a short stroke."""
    lines: list[list[str]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            lines.append([])
            continue
        x = _LEFT + (number + 0.5) * interval_s * x_of
        lines[-1].append(f"{x:.1f},{HEIGHT - _BOTTOM - value * y_of:.1f}")
    return [" ".join(line if len(line) > 1 else line * 2) for line in lines if line]


def round_up(value: float) -> float:
    """To the next 1, 2, 4 or 8 times a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(power * times for times in (1, 2, 4, 8, 10) if power * times >= value)
