"""What every model starts from: the data set, its split, and counts of the training part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tamis_pipeline.config import PipelineConfig
from tamis_pipeline.dataset import Dataset, Interactions
from tamis_pipeline.readers import read_dataset
from tamis_pipeline.split import Split, split
from tamis_pipeline.vocabulary import ItemFields, item_fields, profiles_by
from tamis_server.bundles import features
from tamis_server.bundles.profiles import Profiles

Float32 = npt.NDArray[np.float32]
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """popularity: float32[items], decayed; fields: known from the items met in training; profiles:
    of the data set's users."""

    data: Dataset
    parts: Split
    popularity: Float32
    fields: ItemFields
    profiles: Profiles

    @property
    def as_of(self) -> float:
        """Unix seconds of the last event that anything was learned from."""
        return float(self.parts.train.times.max())


def prepare(source: Path, config: PipelineConfig) -> Prepared:
    """Read and split the data set in ``source``. Raises DatasetRejected."""
    data = read_dataset(config.dataset.kind, source, opinions=config.dataset.opinions)
    how = config.split
    parts = split(data.interactions, how.how, how.test, how.validation, config.seed, data.held_out)
    items = data.items.num_rows
    counts = decayed_counts(parts.train, items, float("inf"))
    users = np.bincount(parts.train.users, minlength=len(data.user_ids)) > 0
    fields = item_fields(data, counts, users, config.dataset.profiles)
    return Prepared(
        replace(data, noted={**data.noted, **unseen_values(data, counts > 0)}),
        parts,
        decayed_counts(parts.train, items, config.popularity.half_life_days),
        fields,
        profiles_by(fields.vocabulary, data),
    )


def unseen_values(data: Dataset, met: npt.NDArray[np.bool_]) -> dict[str, int]:
    """How many items have a category or tag that no item met in training has, by attribute.

    met: bool[items].
    """
    found = {}
    for attribute in data.attributes:
        if attribute.kind in {"category", "tags"}:
            values = data.items.column(attribute.name).to_pylist()
            several = [each if isinstance(each, list) else [each] for each in values]
            known = {v for own, m in zip(several, met, strict=True) if m for v in own or ()}
            new = sum(any(v is not None and v not in known for v in own) for own in several)
            found[f"items whose {attribute.name} was never met in training (unknown)"] = new
    return {what: count for what, count in found.items() if count}


def decayed_counts(events: Interactions, items: int, half_life_days: float) -> Float32:
    """float32[items]: positives of each item, one half-life ago counting half."""
    positive = features.is_positive(events.kinds)
    age = (events.times.max() - events.times[positive]) / DAY
    weights = 0.5 ** (age / half_life_days)
    return np.bincount(events.items[positive], weights, minlength=items).astype(np.float32)
