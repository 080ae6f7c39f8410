"""Learns how attributes become small integers, from the items that were met in training, and from
the users that met them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import Dataset
from tamis_server.bundles.manifest import Attribute, FieldSpec
from tamis_server.bundles.profiles import Profiles
from tamis_server.bundles.vocabulary import AttributeCodes, Vocabulary

Int32 = npt.NDArray[np.int32]
TAG_SLOTS = 3
BUCKETS = 8
MOST_VALUES = 1_000
WORD_BUCKETS = 4_096
WORDS = 12
_SHARED = 5  # users: what fewer have (a name, an address) says who they are, not what they like


@dataclass(frozen=True, slots=True)
class ItemFields:
    """vocabulary; values int32[items, fields], 0 unknown; words int32[items, WORDS], hashed, -1
    where there are no more."""

    vocabulary: Vocabulary
    values: Int32
    words: Int32

    @property
    def specs(self) -> tuple[FieldSpec, ...]:
        return self.vocabulary.specs


def item_fields(
    data: Dataset, counts: npt.NDArray[np.float32], users: npt.NDArray[np.bool_], profiled: bool
) -> ItemFields:
    """``counts`` float32[items]: how often each item was met in training; others teach no value,
    as users bool[users] that are not in it do not. profiled: whether users' attributes count."""
    met = counts > 0
    about = _profile_columns(data) if profiled else {}
    columns = {each.name: data.items.column(each.name).to_pylist() for each in data.attributes}
    vocabulary = Vocabulary(
        attributes=tuple(_learnt(each, columns[each.name], met) for each in data.attributes),
        profile=tuple(
            _learnt(each, about[each.name], users, _SHARED)
            for each in data.profile_attributes
            if each.name in about
        ),
        word_buckets=WORD_BUCKETS,
        words=WORDS,
    )
    return read_by(vocabulary, data)


def read_by(vocabulary: Vocabulary, data: Dataset) -> ItemFields:
    """The items of ``data`` as a vocabulary, that may have been learnt from others, sees them."""
    columns = {each.name: data.items.column(each.name).to_pylist() for each in data.attributes}
    texts = zip(
        data.items.column("title").to_pylist(), data.items.column("text").to_pylist(), strict=True
    )
    return ItemFields(
        vocabulary,
        vocabulary.fields(columns, data.items.num_rows),
        vocabulary.hashed([f"{title} {text}" for title, text in texts]),
    )


def profiles_by(vocabulary: Vocabulary, data: Dataset) -> Profiles:
    """The users of ``data`` as a vocabulary, that may have been learnt from others, sees them."""
    return vocabulary.profiles(_profile_columns(data), len(data.user_ids))


def _profile_columns(data: Dataset) -> dict[str, list[Any]]:
    """A column for each attribute of users."""
    if data.profiles is None:
        return {}
    return {
        each.name: data.profiles.column(each.name).to_pylist() for each in data.profile_attributes
    }


def _learnt(
    attribute: Attribute, values: list[Any], met: npt.NDArray[np.bool_], least: int = 1
) -> AttributeCodes:
    """least: how many must have a value for it to be learnt."""
    name, kind = attribute.name, attribute.kind
    known = [value for value, m in zip(values, met, strict=True) if m and value is not None]
    if kind == "number":
        numbers = np.array(known, np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if not numbers.shape[0]:
            return AttributeCodes(attribute=name, kind=kind)
        edges = np.quantile(numbers, np.linspace(0, 1, BUCKETS + 1)[1:-1])
        return AttributeCodes(attribute=name, kind=kind, edges=tuple(edges.tolist()))
    if kind == "tags":
        tags = [tag for own in known for tag in own]
        return AttributeCodes(
            attribute=name, kind=kind, values=_frequent(tags, least), slots=TAG_SLOTS
        )
    return AttributeCodes(attribute=name, kind=kind, values=_frequent(known, least))


def _frequent(values: list[Any], least: int) -> tuple[Any, ...]:
    """The most frequent value first; ties in the order of the values."""
    counts = sorted(Counter(values).items(), key=lambda pair: (-pair[1], str(pair[0])))
    return tuple(value for value, count in counts[:MOST_VALUES] if count >= least)
