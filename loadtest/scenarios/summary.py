"""From answers to rows, figures and curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from scenarios.answers import LEVELS, Answers
from scenarios.report import SHARE, Figure, Phase, Row, Series

ALL = "all"
_PERCENTS = (50.0, 90.0, 99.0, 99.9, 100.0)
_MIN_IN_A_ROUND = 20  # fewer say nothing about a share or a percentile


def rows(answers: Answers, phases: Sequence[Phase]) -> list[Row]:
    """A row for each phase and RPC, and one for all RPCs of a phase where there are several.
    Phases of one name are counted together."""
    found = []
    for name in dict.fromkeys(phase.name for phase in phases):
        parts = [phase for phase in phases if phase.name == name]
        chosen = answers.where(_within(answers, parts))
        seconds = sum(phase.end_s - phase.start_s for phase in parts)
        rpcs = np.unique(chosen.rpc).tolist()
        found += [_row(name, rpc, chosen.where(chosen.rpc == rpc), seconds) for rpc in rpcs]
        if len(rpcs) > 1:
            found.append(_row(name, ALL, chosen, seconds))
    return found


def figures(answers: Answers, phases: Sequence[Phase], rounds: int = 1) -> list[Figure]:
    """Rate, failed share, median and 99th percentile of each RPC in each phase, and of all RPCs.

    rounds: each phase is cut into so many of equal length. An RPC that was asked fewer than 20
    times in a round has no figures, and one that answered fewer no percentiles.
    """
    found = []
    names = list(dict.fromkeys(phase.name for phase in phases))
    for name in names:
        windows = [
            window
            for phase in phases
            if phase.name == name
            for window in _cut(phase.start_s, phase.end_s, rounds)
        ]
        lengths = [end - start for start, end in windows]
        everything = [answers.between(*window) for window in windows]
        rpcs = np.unique(np.concatenate([part.rpc for part in everything])).tolist()
        for rpc in (*rpcs, ALL) if len(rpcs) > 1 else rpcs:
            parts = [part if rpc == ALL else part.where(part.rpc == rpc) for part in everything]
            if min(map(len, parts)) >= _MIN_IN_A_ROUND:
                at = rpc if len(names) == 1 or name == rpc else f"{rpc}@{name}"
                found += _figures_of(at, parts, lengths)
    return found


def curves(answers: Answers, end_s: float, points: int = 120) -> list[Series]:
    """Latency percentiles, rate and failures over the run, and degraded answers where there are."""
    width = max(end_s / points, 0.5)
    edges = np.arange(0.0, end_s + width, width)
    at = tuple(float(edge) for edge in np.round(edges[:-1] + width / 2, 3))
    place = np.clip(np.digitize(answers.at_s, edges) - 1, 0, len(at) - 1)
    drawn = []
    for percent in (50.0, 99.0):
        values = _per_bin(answers, place, len(at), percent)
        drawn.append(
            Series(plot="Latency", name=f"p{percent:g}", unit="ms", at_s=at, values=values)
        )
    for name, chosen in (("answered", answers.good), ("failed", ~answers.good)):
        counts = np.bincount(place[chosen], minlength=len(at)) / width
        drawn.append(
            Series(plot="Rate", name=name, unit="requests/s", at_s=at, values=_rounded(counts))
        )
    for level, name in LEVELS.items():
        chosen = answers.level == level
        if chosen.any():
            counts = np.bincount(place[chosen], minlength=len(at)) / width
            drawn.append(
                Series(
                    plot="Answers by degradation level",
                    name=name.replace("_", " "),
                    unit="answers/s",
                    at_s=at,
                    values=_rounded(counts),
                )
            )
    return drawn


def _row(phase: str, rpc: str, answers: Answers, seconds: float) -> Row:
    good = answers.latency_s[answers.good]
    found = np.round(np.percentile(good, _PERCENTS) * 1e3, 4).tolist() if good.size else None
    codes, counts = np.unique(answers.code[~answers.good], return_counts=True)
    levels, told = np.unique(answers.level[answers.level > 0], return_counts=True)
    return Row(
        phase=phase,
        rpc=rpc,
        requests=len(answers),
        rate=round(good.size / seconds, 3) if seconds else 0.0,
        **dict(
            zip(
                ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "longest_ms"),
                found or [None] * len(_PERCENTS),
                strict=True,
            )
        ),
        failures=dict(zip(codes.tolist(), counts.tolist(), strict=True)),
        levels={
            LEVELS[level]: count
            for level, count in zip(levels.tolist(), told.tolist(), strict=True)
        },
    )


def _figures_of(name: str, parts: Sequence[Answers], lengths: Sequence[float]) -> list[Figure]:
    good = [part.latency_s[part.good] for part in parts]
    rate = [part.size / length for part, length in zip(good, lengths, strict=True)]
    failed = [
        1 - part.size / len(all_) if len(all_) else 0.0
        for part, all_ in zip(good, parts, strict=True)
    ]
    found = [
        _figure(f"{name} rate", "requests/s", "higher", rate),
        _figure(f"{name} failed", SHARE, "lower", failed),
    ]
    if all(part.size >= _MIN_IN_A_ROUND for part in good):
        for percent in (50, 99):
            values = [float(np.percentile(part, percent)) * 1e3 for part in good]
            found.append(_figure(f"{name} p{percent}", "ms", "lower", values))
    return found


def _figure(name: str, unit: str, better: str, values: Iterable[float]) -> Figure:
    return Figure.model_validate(
        {
            "name": name,
            "unit": unit,
            "better": better,
            "rounds": tuple(round(value, 6) for value in values),
        }
    )


def _cut(start_s: float, end_s: float, parts: int) -> list[tuple[float, float]]:
    edges = np.linspace(start_s, end_s, parts + 1).tolist()
    return list(pairwise(edges))


def _within(answers: Answers, phases: Sequence[Phase]) -> npt.NDArray[np.bool_]:
    inside = np.zeros(len(answers), np.bool_)
    for phase in phases:
        inside |= (answers.at_s >= phase.start_s) & (answers.at_s < phase.end_s)
    return inside


def _per_bin(
    answers: Answers, place: npt.NDArray[np.int64], bins: int, percent: float
) -> tuple[float | None, ...]:
    good = answers.good
    values: list[float | None] = [None] * bins
    for number in np.unique(place[good]).tolist():
        inside = answers.latency_s[good & (place == number)]
        values[number] = round(float(np.percentile(inside, percent)) * 1e3, 4)
    return tuple(values)


def _rounded(counts: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(counts, 3).tolist())
