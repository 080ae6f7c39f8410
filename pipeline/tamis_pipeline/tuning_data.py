"""A data set as fine-tuning sees it: the bundle's items first, and the events it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tamis_pipeline.config import PipelineConfig
from tamis_pipeline.dataset import Dataset, DatasetRejected
from tamis_pipeline.histories import histories
from tamis_pipeline.leakage import shared
from tamis_pipeline.preparation import Prepared, decayed_counts, unseen_values
from tamis_pipeline.readers import read_dataset
from tamis_pipeline.run import Run
from tamis_pipeline.served import Served
from tamis_pipeline.split import Split, newest
from tamis_pipeline.vocabulary import profiles_by, read_by
from tamis_server.bundles.manifest import Attribute

_NAMED = 3  # item ids in a message


def prepare(served: Served, run: Run, source: Path, config: PipelineConfig) -> Prepared:
    """Read ``source``, which must hold what the bundle ``served`` was made from by ``run``, and
    newer events; all that the bundle does not know are cut into parts. Raises DatasetRejected."""
    data = aligned(
        read_dataset(config.dataset.kind, source, opinions=config.dataset.opinions),
        served.item_ids,
        served.manifest.attributes,
    )
    _require_newer(data, served, run, source)
    parts = newest(
        data.interactions,
        served.manifest.as_of,
        config.finetune.test,
        config.finetune.validation,
    )
    _require_parts(parts, served, source)
    items = data.items.num_rows
    met = decayed_counts(parts.train, items, float("inf")) > 0
    return Prepared(
        replace(data, noted={**data.noted, **unseen_values(data, met)}),
        parts,
        decayed_counts(parts.train, items, config.popularity.half_life_days),
        read_by(served.item_tower.vocabulary, data),
        profiles_by(served.item_tower.vocabulary, data),
    )


def aligned(data: Dataset, item_ids: Sequence[str], attributes: Sequence[Attribute]) -> Dataset:
    """``data`` with the items ``item_ids`` in the first rows, others behind them in their order.

    Raises DatasetRejected where it is another catalogue: an item is not there, or an attribute is
    not that of the bundle.
    """
    known, theirs = _described(attributes), _described(data.attributes)
    if theirs != known:
        raise DatasetRejected(f"items: attributes are {theirs}; those of the bundle are {known}")
    ids = data.items.column("item_id").to_pylist()
    row_of = {item_id: row for row, item_id in enumerate(ids)}
    missing = [item_id for item_id in item_ids if item_id not in row_of]
    if missing:
        raise DatasetRejected(
            f"items: {len(missing)} of the bundle's {len(item_ids)} are not there "
            f"({', '.join(missing[:_NAMED])}{' …' if len(missing) > _NAMED else ''}): item vectors "
            "stay what they are, so what is no longer sold is to be kept with available = false"
        )
    there = set(item_ids)
    order = [row_of[item_id] for item_id in item_ids]
    order += [row for row, item_id in enumerate(ids) if item_id not in there]
    place = np.empty(len(ids), np.int32)
    place[order] = np.arange(len(ids), dtype=np.int32)
    events = data.interactions
    return replace(
        data,
        items=data.items.take(order),
        interactions=replace(events, items=place[events.items]),
        held_out=None,  # a published test part is not by time
    )


def since(parts: Split, after: float, recent: float) -> float:
    """Unix seconds from which the query tower learns: all of ``fit`` that came ``after``, and for
    each of these ``recent`` events before."""
    times = parts.fit.times
    new = int((times > after).sum())
    first = max(times.shape[0] - round(new * (1.0 + recent)), 0)
    return float(times[first]) if first < times.shape[0] else after


def _described(attributes: Sequence[Attribute]) -> str:
    return ", ".join(f"{each.name} ({each.kind})" for each in attributes) or "none"


def _require_newer(data: Dataset, served: Served, run: Run, source: Path) -> None:
    bundle_id, events = served.manifest.bundle_id, data.interactions
    number_of = {user_id: user for user, user_id in enumerate(data.user_ids)}
    known = histories(served.users, number_of)
    lost = len(known) - shared(events, known)
    if lost:
        raise DatasetRejected(
            f"{source}: {lost} of the {len(known)} events that {bundle_id} knows are not there; it "
            "must hold them all, and newer ones"
        )
    last = run.statistics.events.last
    if not (events.times > last).any():
        raise DatasetRejected(
            f"{source}: no event is later than {_clock(last)}, the last that was there when "
            f"{bundle_id} was made: there is nothing new to learn"
        )


def _require_parts(parts: Split, served: Served, source: Path) -> None:
    if not len(parts.validation) or not len(parts.test):
        after = served.manifest.as_of
        new = int((parts.train.times > after).sum()) + len(parts.test)
        raise DatasetRejected(
            f"{source}: {new} events later than {_clock(after)}, which {served.manifest.bundle_id} "
            "does not know: too few to learn from, to stop by and to measure"
        )


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")
