"""evaluation.json for people: tables that stand in a terminal, a README or a review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN = ("Recall@100", "Recall@20", "Precision@10", "HR@10", "NDCG@10", "NDCG@20", "MRR@20",
          "coverage@20", "novelty@20", "diversity@20")  # fmt: skip
_OF_SEGMENTS = ("Recall@100", "Recall@20", "HR@10", "NDCG@20")


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report."""
    parts = [f"# {report['data set']}", introduction(report), methods(report), versus(report)]
    parts.append(given(report))
    parts += [segment_tables(report), retrieval(report), stages(report), ranker(report)]
    parts.append(precision(report))
    return "\n\n".join(part for part in parts if part) + "\n"


def introduction(report: Mapping[str, Any]) -> str:
    split, left = report["split"], report["users_left_out"]
    reasons = ", ".join(f"{count} with {reason}" for reason, count in left.items() if count)
    trade_off = report["trade_off"]
    return (
        f"Split {split['how']}; {report['users']} users asked"
        + (f", left out: {reasons}" if reasons else "")
        + ("" if trade_off is None else f"; asked with reranking.trade_off = {trade_off:g}")
        + f"; seed {report['seed']}."
    )


def methods(report: Mapping[str, Any]) -> str:
    """Every method by every metric, ± half the width of the 95 % interval."""
    rows = []
    for name, means in report["methods"].items():
        bounds = report["intervals"][name]
        rows.append([name, *(_with_interval(means, bounds, metric) for metric in _SHOWN)])
    return table(["", *_SHOWN], rows)


def versus(report: Mapping[str, Any]) -> str:
    """The funnel's lead over each method, with its 95 % interval."""
    columns = ("Recall@20", "HR@10", "NDCG@20")
    rows = [
        [name, *("{:+.4f} ({:+.4f} to {:+.4f})".format(*leads[metric]) for metric in columns)]
        for name, leads in report["differences"].items()
    ]
    return "## Whole funnel less the other\n\n" + table(["", *columns], rows)


def given(report: Mapping[str, Any]) -> str:
    """The published protocol with negatives, where the data set has them."""
    columns = ("HR@10", "NDCG@10")
    rows = [
        [name, *("{:.4f} ({:.4f} to {:.4f})".format(*found[metric]) for metric in columns)]
        for name, found in report["given negatives"].items()
    ]
    return "## Against the given negatives\n\n" + table(["", *columns], rows) if rows else ""


def segment_tables(report: Mapping[str, Any]) -> str:
    tables = [
        f"### {name}: {found['users']} users\n\n"
        + table(
            ["", *_OF_SEGMENTS],
            [
                [method, *(f"{means[metric]:.4f}" for metric in _OF_SEGMENTS)]
                for method, means in found["methods"].items()
            ],
        )
        for name, found in report["segments"].items()
    ]
    return "\n\n".join(["## Segments", *tables]) if tables else ""


def retrieval(report: Mapping[str, Any]) -> str:
    columns = ("Recall@100", "Recall@500")
    rows = [
        [name, *(f"{found[metric]:.4f}" if metric in found else "" for metric in columns)]
        for name, found in report["retrieval"].items()
    ]
    return "## Retrieval\n\n" + table(["", *columns], rows)


def stages(report: Mapping[str, Any]) -> str:
    """What each stage of a request takes in and gives out, on average."""
    rows = []
    for stage in report["stages"]:
        counts = ", ".join(
            f"{name.removeprefix('count ')} {value:.1f}"
            for name, value in stage.items()
            if name.startswith("count ") and value
        )
        flow = [f"{stage[way]:.1f}" if stage[way] else "" for way in ("in", "out")]
        rows.append([stage["stage"], *flow, counts])
    lost = report["relevant items not available"]
    return (
        "## A request, on average\n\n"
        + table(["stage", "in", "out", "counts"], rows)
        + f"\n\nDegraded answers: {report['degraded answers']}. "
        + f"Of the relevant items {lost:.2%} are not available, and can't be recommended."
    )


def ranker(report: Mapping[str, Any]) -> str:
    """Every model by every objective, on whole candidate lists."""
    found = report["ranker"]
    heads = {name: each for name, each in found.items() if isinstance(each, Mapping)}
    columns = ("AUC", "GAUC", "logloss", "ECE")
    rows = [[name, *(_number(each[metric]) for metric in columns)] for name, each in heads.items()]
    return "## Ranker\n\n" + table(["", *columns], rows)


def precision(report: Mapping[str, Any]) -> str:
    """What the settings of ``ranking.precision`` cost, measured on the same lists."""
    found = report["precision"]
    if not found:
        return ""
    columns = list(next(iter(found.values())))
    rows = [[name, *(f"{each[what]:.4g}" for what in columns)] for name, each in found.items()]
    return "## Precision of the DeepFM (ranking.precision)\n\n" + table(["", *columns], rows)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _with_interval(means: Mapping[str, float], bounds: Mapping[str, Any], metric: str) -> str:
    if metric not in bounds:
        return f"{means[metric]:.4f}"
    low, high = bounds[metric]
    return f"{means[metric]:.4f} ±{(high - low) / 2:.4f}"
