"""Line charts as SVG text: a few panels side by side, one legend, no dependency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 260  # of one panel
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 40, 44
COLOURS = ("#0b6e4f", "#c8553d", "#6b7fd7", "#b58900", "#7a306c")


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot: `lines` are (label, points); y runs from `low` to `high`. `is_log_x` for ranges over powers of ten."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    low: float = 0.0
    high: float = 1.0
    is_log_x: bool = False


def chart(title: str, panels: Sequence[Panel]) -> str:
    """The picture, as a whole SVG document."""
    labels: list[str] = []
    for panel in panels:
        labels += [label for label, _ in panel.lines if label not in labels]
    width, height = WIDTH * len(panels), HEIGHT + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="600" fill="#222">{escape(title)}</text>',
    ]
    for k, panel in enumerate(panels):
        parts.append(f'<g transform="translate({k * WIDTH} 30)">{_panel(panel, labels)}</g>')
    for k, label in enumerate(labels):
        x = LEFT + k * 190
        parts.append(f'<rect x="{x}" y="{height - 22}" width="18" height="3" fill="{COLOURS[k % len(COLOURS)]}"/>')
        parts.append(f'<text x="{x + 24}" y="{height - 17}" fill="#333">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, labels: Sequence[str]) -> str:
    from math import log10

    xs = [x for _, points in panel.lines for x, _ in points] or [0.0, 1.0]

    def scale(x: float) -> float:
        return log10(max(x, 1e-9)) if panel.is_log_x else x

    low_x, high_x = scale(min(xs)), scale(max(xs))
    span_x, span_y = (high_x - low_x) or 1.0, (panel.high - panel.low) or 1.0
    inner_w, inner_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (scale(x) - low_x) / span_x * inner_w, TOP + (1 - (y - panel.low) / span_y) * inner_h

    out = [f'<text x="{LEFT}" y="{TOP - 14}" font-weight="600" fill="#333">{escape(panel.title)}</text>']
    for k in range(5):
        value = panel.low + span_y * k / 4
        y = at(xs[0], value)[1]
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3e3"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#666">{value:.4g}</text>')
    for x in sorted(set(xs)):
        out.append(f'<text x="{at(x, panel.low)[0]:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="#666">{x:g}</text>')
    out.append(f'<text x="{LEFT + inner_w / 2}" y="{HEIGHT - 10}" text-anchor="middle" fill="#444">{escape(panel.x_label)}</text>')
    middle = TOP + inner_h / 2
    out.append(
        f'<text x="12" y="{middle}" transform="rotate(-90 12 {middle})" text-anchor="middle" fill="#444">{escape(panel.y_label)}</text>'
    )
    for label, points in panel.lines:
        colour = COLOURS[labels.index(label) % len(COLOURS)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (at(x, y) for x, y in points))
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" fill="{colour}"/>' for px, py in (at(x, y) for x, y in points)]
    return "".join(out)
