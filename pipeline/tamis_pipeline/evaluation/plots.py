"""Plots as SVG text; colours and type are the page's (its style sheet names them)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_ROW = 26
_LABEL = 170
_WIDTH = 720
_PLOT = _WIDTH - _LABEL - 70


def bars(values: Mapping[str, float], bounds: Mapping[str, Sequence[float]], title: str) -> str:
    """A horizontal bar a method, with its interval as a whisker where it has one."""
    top = max([*values.values(), *(high for _, high in bounds.values()), 1e-9])
    scale = _PLOT / (top * 1.05)
    marks = []
    for number, (name, value) in enumerate(values.items()):
        y = number * _ROW + 30
        emphasis = "first" if number == 0 else "bar"
        marks.append(_text(_LABEL - 8, y + 13, name, "end"))
        marks.append(_rect(_LABEL, y, value * scale, 18, emphasis))
        end = value * scale
        if name in bounds:
            low, high = (bound * scale for bound in bounds[name])
            marks.append(_line(_LABEL + low, y + 9, _LABEL + high, y + 9, "whisker"))
            end = max(end, high)
        marks.append(_text(_LABEL + end + 6, y + 13, f"{value:.4f}", "start"))
    return _svg(len(values) * _ROW + 36, title, marks)


def groups(values: Mapping[str, Mapping[str, float]], title: str) -> str:
    """A group of dots a row (segment), one dot a method, on one scale."""
    top = max([value for row in values.values() for value in row.values()] + [1e-9])
    scale = _PLOT / (top * 1.05)
    marks = []
    for number, (name, row) in enumerate(values.items()):
        y = number * _ROW + 43
        marks.append(_text(_LABEL - 8, y + 4, _short(name), "end"))
        marks.append(_line(_LABEL, y, _LABEL + _PLOT, y, "guide"))
        for method, (kind, value) in enumerate(reversed(list(row.items()))):
            emphasis = "first" if method == len(row) - 1 else "dot"
            marks.append(
                f'<circle class="{emphasis}" cx="{_LABEL + value * scale:.1f}" cy="{y}" r="6">'
                f"<title>{escape(kind)}: {value:.4f}</title></circle>"
            )
    marks += _axis(top * 1.05, len(values) * _ROW + 46)
    return _svg(len(values) * _ROW + 66, title, marks)


def flow(stages: Mapping[str, tuple[float, float]], title: str) -> str:
    """What goes into each stage, outlined, and what comes out, filled."""
    top = max([max(ways) for ways in stages.values()] + [1e-9])
    marks = []
    for number, (name, (came, left)) in enumerate(stages.items()):
        y = number * _ROW + 30
        marks.append(_text(_LABEL - 8, y + 13, name, "end"))
        marks.append(_rect(_LABEL, y, came / top * _PLOT, 18, "outline"))
        marks.append(_rect(_LABEL, y, left / top * _PLOT, 18, "first"))
        marks.append(
            _text(_LABEL + max(came, left) / top * _PLOT + 6, y + 13, f"{left:.0f}", "start")
        )
    return _svg(len(stages) * _ROW + 36, title, marks)


def calibration(foretold: Sequence[float], came: Sequence[float], title: str) -> str:
    """What was foretold against what came; on the diagonal they are equal."""
    side = 260
    top = max([*foretold, *came, 1e-9]) * 1.05
    points = [
        (_LABEL + x / top * side, 30 + side - y / top * side)
        for x, y in zip(foretold, came, strict=True)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    marks = [
        _rect(_LABEL, 30, side, side, "outline"),
        _line(_LABEL, 30 + side, _LABEL + side, 30, "guide"),
        f'<polyline class="curve" points="{path}"/>',
        *(f'<circle class="first" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points),
        _text(_LABEL + side, side + 48, f"foretold, to {top:.3f}", "end"),
        _text(_LABEL - 8, 42, "came", "end"),
    ]
    return _svg(side + 60, title, marks)


def _axis(top: float, y: float) -> list[str]:
    marks = []
    for tick in range(5):
        x = _LABEL + _PLOT * tick / 4
        marks.append(_line(x, 30, x, y - 8, "guide"))
        marks.append(_text(x, y + 8, f"{top * tick / 4:.3f}", "middle"))
    return marks


def _svg(height: float, title: str, marks: Sequence[str]) -> str:
    label = escape(title, quote=True)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{label}">'
        f'<text class="title" x="0" y="16">{escape(title)}</text>{"".join(marks)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" '
        f'height="{height:.1f}" rx="2"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _short(name: str) -> str:
    return name.partition(" (")[0]
