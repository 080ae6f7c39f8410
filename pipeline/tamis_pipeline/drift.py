"""What changed in a data set since the run before, where it changed more than it may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tamis_pipeline.dataset import Dataset
from tamis_pipeline.statistics import DAY, Column, Statistics, shares_in, statistics
from tamis_server.bundles.manifest import Attribute


@dataclass(frozen=True, slots=True)
class DriftConfig:
    """How much may change. missing: of the share without a value, upwards; unseen: the share of
    values that were not there before; psi: population stability index of a column (below 0.1
    nothing changed, above 0.25 much did: Siddiqi 2006); volume: of the events a day, as a factor
    in either direction; gap_days: without an event; dropped: of the share of rows left out."""

    missing: float = 0.05
    unseen: float = 0.1
    psi: float = 0.25
    volume: float = 2.0
    gap_days: float = 7.0
    dropped: float = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that changed: ``measure`` of ``what`` is ``now``, which ``allowed`` forbids."""

    what: str
    measure: str
    now: float
    allowed: float

    def __str__(self) -> str:
        return f"{self.what}: {self.measure} {self.now:.3g}, allowed {self.allowed:.3g}"


def drift(before: Statistics, data: Dataset, config: DriftConfig) -> list[Finding]:
    """What of ``data`` is out of bounds, beside ``before``: the most out of them first."""
    now = statistics(data)
    found = [*_columns(before, now, data, config), *_events(before, now, config)]
    for reason, share in now.dropped.items():
        grown = share - before.dropped.get(reason, 0.0)
        found.append(Finding(reason, "share grew by", grown, config.dropped))
    beyond = [each for each in found if each.now > each.allowed]
    return sorted(beyond, key=lambda each: -each.now / max(each.allowed, 1e-9))


def stability_index(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Population stability index of two distributions over the same bins; empty ones count as 1e-4.

    Siddiqi, Credit Risk Scorecards (2006): sum of (now - before) * ln(now / before).
    """
    bins = sorted({*before, *now})
    old = np.array([max(before.get(each, 0.0), 1e-4) for each in bins])
    new = np.array([max(now.get(each, 0.0), 1e-4) for each in bins])
    return float(((new - old) * np.log(new / old)).sum())


def _columns(
    before: Statistics, now: Statistics, data: Dataset, config: DriftConfig
) -> Iterator[Finding]:
    attributes = {each.name: each for each in data.attributes}
    for name, old in before.columns.items():
        new = now.columns.get(name)
        what = f"items.{name}"
        if new is None:
            yield Finding(what, "the column is gone:", 1.0, 0.0)
        elif new.kind != old.kind:
            yield Finding(f"{what} was {old.kind} and is {new.kind}", "kinds changed:", 1.0, 0.0)
        else:
            yield Finding(what, "missing grew by", new.missing - old.missing, config.missing)
            if name in attributes:
                yield from _values(what, old, attributes[name], data, config)


def _values(
    what: str, old: Column, attribute: Attribute, data: Dataset, config: DriftConfig
) -> Iterator[Finding]:
    shares = shares_in(old, attribute, data.items)
    if attribute.kind in {"category", "tags"}:
        unseen = sum(share for value, share in shares.items() if value not in old.shares)
        yield Finding(what, "share of values not seen before", unseen, config.unseen)
        shares = _rest(shares, old.shares)
    if old.shares:
        yield Finding(what, "stability index", stability_index(old.shares, shares), config.psi)


def _rest(shares: Mapping[str, float], known: Mapping[str, float]) -> dict[str, float]:
    """Values that were not known as one, so that many rare new ones don't weigh more than one."""
    kept = {value: share for value, share in shares.items() if value in known}
    return {**kept, "": kept.get("", 0.0) + sum(shares.values()) - sum(kept.values())}


def _events(before: Statistics, now: Statistics, config: DriftConfig) -> Iterator[Finding]:
    ratio = max(now.events.per_day, 1e-9) / max(before.events.per_day, 1e-9)
    yield Finding("interactions", "events a day changed by a factor of", ratio, config.volume)
    yield Finding("interactions", "events a day fell by a factor of", 1 / ratio, config.volume)
    # a gap that was there before is no news
    if now.events.gap_days > before.events.gap_days:
        gap = now.events.gap_days
        yield Finding("interactions", "longest time without an event, days", gap, config.gap_days)
    back = (before.events.last - now.events.last) / DAY
    yield Finding("interactions", "days by which the last event is earlier than before", back, 0.0)
    kinds = stability_index(before.events.kinds, now.events.kinds)
    yield Finding("interactions.event_type", "stability index", kinds, config.psi)
