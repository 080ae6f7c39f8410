"""Curves over time as SVG text; colours and type are the page's (its style sheet names them)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from scenarios.report import Phase, Series

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 48, 34
_TICKS = 4
Scale = Callable[[float], float]


def curves(title: str, drawn: Sequence[Series], phases: Sequence[Phase]) -> str:
    """Several curves of one unit over one time axis, phases shaded by turns."""
    end = max([series.at_s[-1] for series in drawn] + [phase.end_s for phase in phases] + [1e-9])
    top = 1.05 * max(
        [value for series in drawn for value in series.values if value is not None] + [1e-9]
    )

    def x(at_s: float) -> float:
        return _LEFT + at_s / end * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)

    marks = [_phase(x, phase, number) for number, phase in enumerate(phases)]
    for tick in range(_TICKS + 1):
        value, at = top * tick / _TICKS, end * tick / _TICKS
        marks.append(
            f'<line class="guide" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}"'
            f' y2="{y(value):.1f}"/>'
        )
        marks.append(_text(_LEFT - 6, y(value) + 4, f"{value:.3g}", "end"))
        marks.append(_text(x(at), _HEIGHT - 14, f"{at:.3g} s", "middle"))
    for number, series in enumerate(drawn):
        marks += [_stroke(piece, f"c{number % 5}") for piece in _pieces(series, x, y)]
        marks.append(_text(_LEFT + 4 + 130 * number, 38, series.name, "start", f"c{number % 5}"))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        + _text(_LEFT, 18, f"{title}, {drawn[0].unit}", "start", "title")
        + "".join(marks)
        + "</svg>"
    )


def _pieces(series: Series, x: Scale, y: Scale) -> list[list[tuple[float, float]]]:
    """The curve's points, broken where there is no value."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for at, value in zip(series.at_s, series.values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((x(at), y(value)))
    return [piece for piece in pieces if piece]


def _stroke(piece: Sequence[tuple[float, float]], colour: str) -> str:
    """A line; a point alone would be none."""
    if len(piece) == 1:
        return f'<circle class="{colour}" cx="{piece[0][0]:.1f}" cy="{piece[0][1]:.1f}" r="1.6"/>'
    points = " ".join(f"{at:.1f},{value:.1f}" for at, value in piece)
    return f'<polyline class="curve {colour}" points="{points}"/>'


def _phase(x: Scale, phase: Phase, number: int) -> str:
    start, end = x(phase.start_s), x(phase.end_s)
    return (
        f'<rect class="phase p{number % 2}" x="{start:.1f}" width="{max(end - start, 0):.1f}"'
        f' y="{_TOP}" height="{_HEIGHT - _TOP - _BOTTOM}">'
        f"<title>{escape(phase.name)}</title></rect>"
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'
    )
