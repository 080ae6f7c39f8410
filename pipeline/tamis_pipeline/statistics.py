"""What a data set looks like, in few numbers: kept with each run, for the next one to compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from tamis_pipeline.dataset import Dataset
from tamis_server.bundles.manifest import Attribute
from tamis_server.domain.context import EventKind

Float64 = npt.NDArray[np.float64]
BINS = 10
MOST_VALUES = 1_000
DAY = 86_400.0


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Plain):
    """One attribute of items. missing: the share without a value. shares: of those with one, by
    value, the most frequent ``MOST_VALUES``; for numbers by bin, edges being their deciles."""

    kind: str
    missing: float
    shares: dict[str, float]
    edges: tuple[float, ...] = ()


class Events(_Plain):
    """first, last: Unix seconds; gap_days: the longest time without an event; per_day: events of
    the last week, or of all where there is less; kinds: shares by event type."""

    count: int
    users: int
    first: float
    last: float
    gap_days: float
    per_day: float
    kinds: dict[str, float]


class Statistics(_Plain):
    """Of a data set as it was read. dropped: rows of the source left out or mended, by reason, as
    shares of what there was."""

    items: int
    columns: dict[str, Column]
    events: Events
    dropped: dict[str, float]


def statistics(data: Dataset) -> Statistics:
    """``data`` in few numbers. Title, text, image and age of items count as missing or not."""
    items = data.items
    columns = {each.name: _column(each, items) for each in data.attributes}
    for name in ("title", "text", "image", "created_at"):
        filled = [value not in (None, "") for value in items.column(name).to_pylist()]
        columns[name] = Column(kind="own", missing=1.0 - float(np.mean(filled)), shares={})
    total = len(data.interactions) + items.num_rows + sum(data.problems.values())
    return Statistics(
        items=items.num_rows,
        columns=columns,
        events=_events(data),
        dropped={reason: count / total for reason, count in data.problems.items()},
    )


def shares_in(column: Column, attribute: Attribute, items: pa.Table) -> dict[str, float]:
    """The shares of ``items`` in the bins that ``column`` was counted with."""
    values = items.column(attribute.name).to_pylist()
    return _shares(values, attribute.kind, np.array(column.edges))


def _column(attribute: Attribute, items: pa.Table) -> Column:
    values = items.column(attribute.name).to_pylist()
    edges = np.zeros(0)
    if attribute.kind == "number":
        numbers = _numbers(values)
        if numbers.shape[0]:
            edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1]))
    return Column(
        kind=attribute.kind,
        missing=1.0 - float(np.mean([_given(value) for value in values])),
        shares=_shares(values, attribute.kind, edges),
        edges=tuple(edges.tolist()),
    )


def _shares(values: list[Any], kind: str, edges: Float64) -> dict[str, float]:
    if kind == "number":
        bins = np.searchsorted(edges, _numbers(values), side="right")
        found, counts = np.unique(bins, return_counts=True)
        names = [str(each) for each in found.tolist()]
    else:
        flat = [tag for tags in values for tag in tags or ()] if kind == "tags" else values
        known = [str(value) for value in flat if value is not None]
        texts, counts = np.unique(np.array(known, dtype=np.str_), return_counts=True)
        names = texts.tolist()
    total = max(int(counts.sum()), 1)
    ranked = sorted(zip(names, counts.tolist(), strict=True), key=lambda each: (-each[1], each[0]))
    return {name: count / total for name, count in ranked[:MOST_VALUES]}


def _given(value: Any) -> bool:
    missing = value is None or value == []
    return not missing and not (isinstance(value, float) and np.isnan(value))


def _numbers(values: list[Any]) -> Float64:
    return np.array([value for value in values if _given(value)], np.float64)


def _events(data: Dataset) -> Events:
    events = data.interactions
    times, last = events.times, float(events.times[-1])
    week = times > last - 7 * DAY
    days = min(7.0, max((last - float(times[0])) / DAY, 1.0))
    kinds, counts = np.unique(events.kinds, return_counts=True)
    return Events(
        count=len(events),
        users=len(data.user_ids),
        first=float(times[0]),
        last=last,
        gap_days=float(np.diff(times).max(initial=0.0)) / DAY,
        per_day=float(week.sum()) / days,
        kinds={
            EventKind(kind).name.lower(): count / len(events)
            for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)
        },
    )
