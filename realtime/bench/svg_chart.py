"""Line charts as SVG text: a few panels side by side, each with its legend, no dependency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 380, 260  # of one panel without its legend
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 40, 44
LEGEND_ROW = 18
COLOURS = ("#0b6e4f", "#c8553d", "#6b7fd7", "#b58900", "#7a306c")
LEAST_APART = 26  # pixels between two numbers under the axis

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot: `lines` are (label, points); y runs from `low` to `high`. `is_log_x` for ranges over powers of ten."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[tuple[str, Sequence[Point]]]
    low: float = 0.0
    high: float = 1.0
    is_log_x: bool = False


def chart(title: str, panels: Sequence[Panel]) -> str:
    """The picture, as a whole SVG document."""
    rows = max(len(panel.lines) for panel in panels)
    width, height = WIDTH * len(panels), HEIGHT + 38 + rows * LEGEND_ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="600" fill="#222">{escape(title)}</text>',
    ]
    parts += [f'<g transform="translate({k * WIDTH} 30)">{_panel(panel)}</g>' for k, panel in enumerate(panels)]
    return "\n".join([*parts, "</svg>", ""])


class _Axes:
    """Where a point of a panel lies on the picture. The upper end of y is rounded up to a whole tick."""

    def __init__(self, panel: Panel) -> None:
        self.xs = sorted({x for _, points in panel.lines for x, _ in points} or {0.0, 1.0})
        self.is_log_x = panel.is_log_x
        self.low = panel.low
        self.tick = _tick(panel.high - panel.low)
        self.ticks = ceil((panel.high - panel.low) / self.tick - 1e-9)

    def at(self, x: float, y: float) -> Point:
        """The pixel of a point."""
        first, last = self._scale(self.xs[0]), self._scale(self.xs[-1])
        across = (self._scale(x) - first) / ((last - first) or 1.0)
        up = (y - self.low) / (self.tick * self.ticks)
        return LEFT + across * (WIDTH - LEFT - RIGHT), TOP + (1 - up) * (HEIGHT - TOP - BOTTOM)

    def _scale(self, x: float) -> float:
        return log10(max(x, 1e-9)) if self.is_log_x else x


def _tick(span: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten, so that four or five of them make `span`."""
    rough = (span or 1.0) / 5
    power = 10.0 ** floor(log10(rough))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * (1 - 1e-9))


def _panel(panel: Panel) -> str:
    axes = _Axes(panel)
    out = [f'<text x="{LEFT}" y="{TOP - 14}" font-weight="600" fill="#333">{escape(panel.title)}</text>', *_grid(panel, axes)]
    for k, (label, points) in enumerate(panel.lines):
        colour, places = COLOURS[k % len(COLOURS)], [axes.at(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in places]
        y = HEIGHT + 6 + k * LEGEND_ROW
        out.append(f'<rect x="{LEFT}" y="{y - 5}" width="18" height="3" fill="{colour}"/>')
        out.append(f'<text x="{LEFT + 24}" y="{y}" fill="#333">{escape(label)}</text>')
    return "".join(out)


def _grid(panel: Panel, axes: _Axes) -> list[str]:
    """Lines at whole ticks, numbers at both axes, what they count."""
    out = []
    for k in range(axes.ticks + 1):
        value = panel.low + k * axes.tick
        y = axes.at(axes.xs[0], value)[1]
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3e3"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#666">{value:.4g}</text>')
    shown = float("-inf")
    for x in axes.xs:
        place = axes.at(x, panel.low)[0]
        if place - shown >= LEAST_APART:
            out.append(f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="#666">{x:g}</text>')
            shown = place
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<text x="{middle_x}" y="{HEIGHT - 12}" text-anchor="middle" fill="#444">{escape(panel.x_label)}</text>')
    turned = f'transform="rotate(-90 12 {middle_y})" text-anchor="middle"'
    out.append(f'<text x="12" y="{middle_y}" {turned} fill="#444">{escape(panel.y_label)}</text>')
    return out
