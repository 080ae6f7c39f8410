"""A report as one HTML page that needs nothing else: no script, no font, no link."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from scenarios import plots
from scenarios.report import Figure, Report, Row

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #6b7686; --paper: #fbfaf7;
  --rule: #dcdad3; --shade: #f1efe8; --c0: #2f6f8f; --c1: #c8553d; --c2: #6a8f3c; --c3: #8a5fa8;
  --c4: #b58a1f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e3dc; --faint: #98a1ad; --paper: #14181e; --rule: #2f3742; --shade: #1b212a;
    --c0: #6fb3d2; --c1: #ef8060; --c2: #a3c76d; --c3: #c39be0; --c4: #e0b94f; } }
body { background: var(--paper); color: var(--ink); margin: 0 auto; max-width: 86rem;
  padding: 2.5rem 1.5rem 5rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.9rem; margin: 0 0 .2rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; }
p { color: var(--faint); margin: .3rem 0 1rem; } .bad { color: var(--c1); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(28rem, 1fr)); gap: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid var(--rule); }
th { color: var(--faint); font-weight: 500; }
th:first-child, td:first-child, .words td { text-align: left; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
svg text.title { font-weight: 600; font-size: 14px; } svg .guide { stroke: var(--rule); }
svg .phase.p0 { fill: var(--shade); } svg .phase.p1 { fill: none; }
svg .curve { fill: none; stroke-width: 1.8; }
svg polyline.c0 { stroke: var(--c0); } svg text.c0, svg circle.c0 { fill: var(--c0); }
svg polyline.c1 { stroke: var(--c1); } svg text.c1, svg circle.c1 { fill: var(--c1); }
svg polyline.c2 { stroke: var(--c2); } svg text.c2, svg circle.c2 { fill: var(--c2); }
svg polyline.c3 { stroke: var(--c3); } svg text.c3, svg circle.c3 { fill: var(--c3); }
svg polyline.c4 { stroke: var(--c4); } svg text.c4, svg circle.c4 { fill: var(--c4); }
"""


def page(report: Report) -> str:
    """The whole report: what had to be true, plots, tables."""
    title = f"Load test: {report.scenario}"
    where = " · ".join(f"{name} {value}" for name, value in report.about.items())
    sections = [
        f"<h1>{escape(title)}</h1><p>by {escape(report.tool)} · {escape(where)}</p>",
        _checks(report.checks),
        _plots(report),
        _section("Requests", _rows(report.rows)),
        _section("Figures by round", _figures(report.figures)),
        _section("Parameters", _pairs(report.parameters)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}" if content else ""


def _checks(checks: Mapping[str, bool]) -> str:
    lines = [
        f"<li{'' if held else ' class=bad'}>{escape(name)}: {'yes' if held else 'no'}</li>"
        for name, held in checks.items()
    ]
    return _section("Held", f"<ul>{''.join(lines)}</ul>" if lines else "")


def _plots(report: Report) -> str:
    drawn = [
        plots.curves(title, [each for each in report.series if each.plot == title], report.phases)
        for title in dict.fromkeys(series.plot for series in report.series)
    ]
    return f'<div class="plots">{"".join(drawn)}</div>' if drawn else ""


def _rows(rows: Sequence[Row]) -> str:
    heads = ("phase", "rpc", "requests", "answers/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms")
    return _table(
        (*heads, "longest ms", "failures", "answers by level"),
        (
            (
                row.phase,
                row.rpc,
                f"{row.requests:,}",
                f"{row.rate:,.1f}",
                *map(_ms, (row.p50_ms, row.p90_ms, row.p99_ms, row.p999_ms, row.longest_ms)),
                _counts(row.failures) or "none",
                _counts(row.levels).replace("_", " "),
            )
            for row in rows
        ),
    )


def _figures(figures: Sequence[Figure]) -> str:
    return _table(
        ("figure", "unit", "mean", "rounds"),
        (
            (
                figure.name,
                figure.unit,
                f"{figure.mean:,.4g}",
                "  ".join(f"{value:.4g}" for value in figure.rounds),
            )
            for figure in figures
        ),
    )


def _pairs(values: Mapping[str, str]) -> str:
    return _table(("parameter", "value"), values.items()) if values else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    body = "".join(f"<tr>{_cells(line, 'td')}</tr>" for line in lines)
    return (
        f'<div class="wide"><table><thead><tr>{_cells(heads, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cells(texts: Iterable[str], tag: str) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
