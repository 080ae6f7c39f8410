"""evaluation.json as one HTML page that needs nothing else: no script, no font, no link."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from tamis_pipeline.evaluation import markdown, plots

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #6b7686; --paper: #fbfaf7;
  --rule: #dcdad3; --first: #c8553d; --other: #8aa0b4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e3dc; --faint: #98a1ad; --paper: #14181e; --rule: #2f3742; --first: #ef8060;
    --other: #64798c; } }
body { background: var(--paper); color: var(--ink); margin: 0 auto; max-width: 62rem;
  padding: 2.5rem 1.5rem 5rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.9rem; margin: 0 0 .2rem; } h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; } p { color: var(--faint); margin: .3rem 0 1rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--rule); }
th { color: var(--faint); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 13px; }
svg .title { font-weight: 600; font-size: 14px; } svg .first { fill: var(--first); }
svg .bar, svg .dot { fill: var(--other); } svg .outline { fill: none; stroke: var(--other); }
svg .whisker { stroke: var(--ink); stroke-width: 1.5; } svg .guide { stroke: var(--rule); }
svg .curve { fill: none; stroke: var(--first); stroke-width: 2; }
"""
_PLOTTED = ("NDCG@20", "Recall@20", "HR@10", "Recall@100")


def page(report: Mapping[str, Any]) -> str:
    """The whole report, plots before tables."""
    title = escape(str(report["data set"]))
    sections = [
        f"<h1>{title}</h1><p>{escape(markdown.introduction(report))}</p>",
        _section("Methods", _method_plots(report), markdown.methods(report)),
        _section("Lead of the whole funnel", "", _tables_of(markdown.versus(report))),
        _section("Against the given negatives", "", _tables_of(markdown.given(report))),
        _section("Segments", _segment_plot(report), _tables_of(markdown.segment_tables(report))),
        _section("Retrieval", "", _tables_of(markdown.retrieval(report))),
        _section("A request, on average", _flow(report), _tables_of(markdown.stages(report))),
        _section("Ranker", _reliability(report), _tables_of(markdown.ranker(report))),
        _section(
            "Precision of the DeepFM (ranking.precision)",
            "",
            _tables_of(markdown.precision(report)),
        ),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: evaluation</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _section(title: str, plot: str, text: str) -> str:
    return f"<h2>{escape(title)}</h2>{plot}{_html(text)}" if plot or text else ""


def _method_plots(report: Mapping[str, Any]) -> str:
    drawn = []
    for metric in _PLOTTED:
        values = {name: means[metric] for name, means in report["methods"].items()}
        bounds = {name: found[metric] for name, found in report["intervals"].items()}
        drawn.append(plots.bars(values, bounds, f"{metric}, with 95 % intervals"))
    return f'<div class="plots">{"".join(drawn)}</div>'


def _segment_plot(report: Mapping[str, Any]) -> str:
    values = {
        name: {method: means["Recall@20"] for method, means in found["methods"].items()}
        for name, found in report["segments"].items()
    }
    return plots.groups(values, "Recall@20 by segment: the whole funnel in red") if values else ""


def _flow(report: Mapping[str, Any]) -> str:
    through = {
        stage["stage"]: (stage["in"], stage["out"]) for stage in report["stages"] if stage["out"]
    }
    return plots.flow(through, "Candidates left after each stage") if through else ""


def _reliability(report: Mapping[str, Any]) -> str:
    curves = [
        plots.calibration(found["foretold"], found["came"], f"Calibration: {name}")
        for name, found in report["ranker"].items()
        if isinstance(found, Mapping)
    ]
    return f'<div class="plots">{"".join(curves)}</div>' if curves else ""


def _tables_of(text: str) -> str:
    """Without the heading that the page sets itself."""
    return text.partition("\n\n")[2] if text.startswith("## ") else text


def _html(text: str) -> str:
    """Of what ``markdown`` writes: headings, tables and paragraphs."""
    blocks = []
    for block in filter(None, text.split("\n\n")):
        if block.startswith("### "):
            blocks.append(f"<h3>{escape(block[4:])}</h3>")
        elif block.startswith("| "):
            blocks.append(_table(block.split("\n")))
        else:
            blocks.append(f"<p>{escape(block)}</p>")
    return "".join(blocks)


def _table(lines: list[str]) -> str:
    return (
        '<div class="wide"><table><thead>'
        + _row(_cells(lines[0]), "th")
        + "</thead><tbody>"
        + "".join(_row(_cells(line), "td") for line in lines[2:])
        + "</tbody></table></div>"
    )


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line[1:-1].split("|")]


def _row(cells: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
