"""Charts as SVG: bars of a group, and lines of growth. Readable on white and on black.

The colours are classes with a variant for ``prefers-color-scheme: dark``, the ground is transparent, and every bar
and line has its number or name beside it, so that nothing depends on colour alone. Lengths are logarithmic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

_STYLE = """
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#57606a}
.title{font-size:16px;font-weight:600;fill:#1f2328}.panel{font-size:13px;font-weight:600;fill:#1f2328}
.own{font-weight:600;fill:#b4400a}.bar{fill:#8c959f}.bar.own{fill:#d9540b}
.grid{stroke:#8c959f;stroke-opacity:.3}.line{fill:none;stroke:#8c959f;stroke-width:1.6}
.line.own{stroke:#d9540b;stroke-width:2.6}.dot{fill:#8c959f}.dot.own{fill:#d9540b}
@media (prefers-color-scheme:dark){text{fill:#9ba4ae}.title,.panel{fill:#e6edf3}
.own{fill:#ff9a5c}.bar{fill:#6e7681}.bar.own{fill:#f0783c}.grid{stroke:#6e7681}
.line{stroke:#8b949e}.line.own{stroke:#f0783c;fill:none}.dot{fill:#8b949e}.dot.own{fill:#f0783c}}
"""
_DASHES = ("", "6 3", "2 3", "9 3 2 3", "1 2", "12 4")

_PANEL_WIDTH = 470
_LABEL_WIDTH = 158
_VALUE_WIDTH = 120
_ROW = 18
_HEAD = 40
_GAP = 20


@dataclass(frozen=True)
class Bars:
    """A panel: a title, and (label, value, what is said beside the value) of each bar; smaller is better."""

    title: str
    unit: str
    bars: Sequence[tuple[str, float, str]]


@dataclass(frozen=True)
class Lines:
    """A panel: a title, and the points (entries, value) of each named line."""

    title: str
    unit: str
    lines: dict[str, Sequence[tuple[float, float]]]


def _is_own(label: str) -> bool:
    return label.startswith("hutch")


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{style} text-anchor="{anchor}">{escape(text)}</text>'


def short(value: float) -> str:
    """A number in as few characters as a chart has room for."""
    for limit, divisor, unit in ((1e6, 1e6, "M"), (1e3, 1e3, "k")):
        if value >= limit:
            return f"{value / divisor:.3g}{unit}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _document(width: float, height: float, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(title, quote=True)}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


def bars(title: str, panels: Sequence[Bars], columns: int = 2) -> str:
    """Panels of horizontal bars, each sorted, the best on top."""
    panels = [panel for panel in panels if panel.bars]
    body = [
        _text(16, 24, title, "title"),
        _text(16, 42, "shorter is better; lengths are logarithmic; behind a dot: what a statement survives"),
    ]
    tops = [54.0] * columns
    for panel in panels:
        column = tops.index(min(tops))
        left, top = 16 + column * (_PANEL_WIDTH + _GAP), tops[column]
        body += _bar_panel(panel, left, top)
        tops[column] = top + _HEAD + len(panel.bars) * _ROW
    return _document(16 + columns * (_PANEL_WIDTH + _GAP), max(tops) + 12, title, body)


def _bar_panel(panel: Bars, left: float, top: float) -> list[str]:
    parts = [_text(left, top + 24, f"{panel.title} ({panel.unit})", "panel")]
    ordered = sorted(panel.bars, key=lambda bar: bar[1])
    positive = [value for _, value, _ in ordered if value > 0] or [1.0]
    low, high = log10(min(positive)) - 0.25, log10(max(positive))
    room = _PANEL_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    for position, (label, value, remark) in enumerate(ordered):
        own = "own" if _is_own(label) else ""
        y = top + _HEAD + position * _ROW
        length = max(2.0, room * (log10(value) - low) / (high - low)) if value > 0 and high > low else 2.0
        x = left + _LABEL_WIDTH
        parts.append(_text(x - 6, y + 10, label, own, "end"))
        parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{length:.1f}" height="12" rx="2" class="bar {own}"/>')
        parts.append(_text(x + length + 5, y + 10, f"{short(value)} · {remark}" if remark else short(value), own))
    return parts


def growth(title: str, panels: Sequence[Lines]) -> str:
    """Panels of lines over the number of entries, both axes logarithmic."""
    width, height, left, right = 300.0, 250.0, 48.0, 116.0
    body = [
        _text(16, 24, title, "title"),
        _text(
            16,
            42,
            "p50 of a statement; both axes are logarithmic; a flat line is a time that does not grow with the database",
        ),
    ]
    panels = [panel for panel in panels if panel.lines]
    for position, panel in enumerate(panels):
        body += _line_panel(panel, 16 + position * (left + width + right), 62.0, left, width, height)
    return _document(16 + len(panels) * (left + width + right), 62 + height + 74, title, body)


def _line_panel(panel: Lines, x0: float, y0: float, left: float, width: float, height: float) -> list[str]:
    points = [point for line in panel.lines.values() for point in line]
    x_low, x_high = log10(min(x for x, _ in points)), log10(max(x for x, _ in points))
    y_low, y_high = floor(log10(min(y for _, y in points))), ceil(log10(max(y for _, y in points)))
    y_high = max(y_high, y_low + 1)

    def across(x: float) -> float:
        return x0 + left + (width * (log10(x) - x_low) / (x_high - x_low) if x_high > x_low else width / 2)

    def down(y: float) -> float:
        return y0 + 20 + height * (y_high - log10(y)) / (y_high - y_low)

    parts = [_text(x0, y0 + 8, f"{panel.title} ({panel.unit})", "panel")]
    for power in range(y_low, y_high + 1):
        y = down(10.0**power)
        parts.append(
            f'<line x1="{x0 + left:.1f}" x2="{x0 + left + width:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        )
        parts.append(_text(x0 + left - 6, y + 4, short(10.0**power), anchor="end"))
    for x in sorted({x for x, _ in points}):
        parts.append(_text(across(x), y0 + height + 38, short(x), anchor="middle"))
    parts.append(_text(x0 + left + width / 2, y0 + height + 56, "entries", anchor="middle"))
    places: list[float] = []
    names = list(panel.lines)
    for label, line in sorted(panel.lines.items(), key=lambda pair: down(pair[1][-1][1])):
        own = "own" if _is_own(label) else ""
        dash = f' stroke-dasharray="{_DASHES[names.index(label) % len(_DASHES)]}"' if not own else ""
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" class="line {own}"{dash}/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="2.6" class="dot {own}"/>' for x, y in line]
        place = max([down(line[-1][1]) + 4, *(used + 13 for used in places)])  # labels do not cover each other
        places.append(place)
        parts.append(_text(across(line[-1][0]) + 7, place, label, own))
    return parts
