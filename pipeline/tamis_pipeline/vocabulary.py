"""Item fields: attributes as small integers, known from the items that were met in training."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import Dataset
from tamis_server.bundles.manifest import Attribute, FieldSpec

Int32 = npt.NDArray[np.int32]
TAG_SLOTS = 3
BUCKETS = 8
MOST_VALUES = 1_000
TOKEN_BUCKETS = 4_096
TOKENS = 12


@dataclass(frozen=True, slots=True)
class ItemFields:
    """specs, and values int32[items, fields]; 0 is unknown (rare, missing or new)."""

    specs: tuple[FieldSpec, ...]
    values: Int32


def item_fields(data: Dataset, counts: npt.NDArray[np.float32]) -> ItemFields:
    """``counts`` float32[items]: how often each item was met in training; others teach no value."""
    met = counts > 0
    specs: list[FieldSpec] = []
    columns: list[Int32] = []
    for attribute in data.attributes:
        values = data.items.column(attribute.name).to_pylist()
        for name, size, column in _fields(attribute, values, met):
            specs.append(FieldSpec(name=name, size=size))
            columns.append(column)
    if not columns:
        specs.append(FieldSpec(name="any", size=2))
        columns.append(np.ones(data.items.num_rows, np.int32))
    return ItemFields(tuple(specs), np.stack(columns, axis=1))


def tokens(data: Dataset) -> Int32:
    """int32[items, TOKENS]: hashed words of title and text, -1 where there are no more."""
    found = np.full((data.items.num_rows, TOKENS), -1, np.int32)
    texts = zip(
        data.items.column("title").to_pylist(), data.items.column("text").to_pylist(), strict=True
    )
    for row, (title, text) in enumerate(texts):
        words = dict.fromkeys(re.findall(r"\w+", f"{title} {text}".lower()))
        for slot, word in enumerate(list(words)[:TOKENS]):
            found[row, slot] = _bucket(word)
    return found


def _bucket(word: str) -> int:
    value = 2166136261  # FNV-1a: the same on every machine, unlike hash()
    for byte in word.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value % TOKEN_BUCKETS


def _fields(
    attribute: Attribute, values: list[Any], met: npt.NDArray[np.bool_]
) -> list[tuple[str, int, Int32]]:
    if attribute.kind == "number":
        return [(attribute.name, BUCKETS + 1, _buckets(values, met))]
    if attribute.kind == "tags":
        code = _codes([tag for tags, m in zip(values, met, strict=True) if m for tag in tags or ()])
        slots = np.zeros((len(values), TAG_SLOTS), np.int32)
        for row, tags in enumerate(values):
            known = sorted(code[tag] for tag in tags or () if tag in code)[:TAG_SLOTS]
            slots[row, : len(known)] = known
        size = len(code) + 1
        return [(f"{attribute.name}_{n + 1}", size, slots[:, n]) for n in range(TAG_SLOTS)]
    code = _codes([value for value, m in zip(values, met, strict=True) if m and value is not None])
    return [
        (
            attribute.name,
            len(code) + 1,
            np.array([code.get(value, 0) for value in values], np.int32),
        )
    ]


def _codes(values: list[Any]) -> dict[Any, int]:
    """1 for the most frequent value and so on; ties in the order of the values."""
    counts = sorted(Counter(values).items(), key=lambda pair: (-pair[1], str(pair[0])))
    return {value: code for code, (value, _) in enumerate(counts[:MOST_VALUES], start=1)}


def _buckets(values: list[Any], met: npt.NDArray[np.bool_]) -> Int32:
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    known = np.isfinite(numbers)
    if not (known & met).any():
        return np.zeros(numbers.shape[0], np.int32)
    edges = np.quantile(numbers[known & met], np.linspace(0, 1, BUCKETS + 1)[1:-1])
    return np.where(known, 1 + np.searchsorted(edges, numbers, side="right"), 0).astype(np.int32)
