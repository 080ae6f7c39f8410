"""Attributes and words of items as small integers: what training learnt, applied to any item.

The one definition for the items of a bundle and for those that come while it is served.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from tamis_server.bundles.manifest import FieldSpec
from tamis_server.bundles.profiles import NO_PROFILES, Profiles

Int32 = npt.NDArray[np.int32]
_FNV = (2166136261, 16777619)  # FNV-1a: the same on every machine, unlike hash()


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AttributeCodes(_Strict):
    """How one attribute becomes fields; 0 is unknown: rare, missing or new.

    values: of a category, tags or a boolean; the n-th has code n, from 1. edges: of a number,
    ascending; code 1 is below the first. slots: fields that tags fill, smallest codes first.
    """

    attribute: str
    kind: Literal["category", "tags", "number", "boolean"]
    values: tuple[str | bool, ...] = ()
    edges: tuple[float, ...] = ()
    slots: int = Field(1, ge=1)

    @property
    def specs(self) -> tuple[FieldSpec, ...]:
        if self.kind == "number":
            size = len(self.edges) + 2 if self.edges else 1
        else:
            size = len(self.values) + 1
        if self.kind != "tags":
            return (FieldSpec(name=self.attribute, size=size),)
        return tuple(
            FieldSpec(name=f"{self.attribute}_{slot + 1}", size=size) for slot in range(self.slots)
        )

    def codes(self, values: Sequence[Any]) -> Int32:
        """int32[n, slots] of one value an item, None where it has none."""
        if self.kind == "number":
            numbers = np.array([np.nan if v is None else v for v in values], np.float64)
            code_of = 1 + np.searchsorted(np.array(self.edges), numbers, side="right")
            known = np.isfinite(numbers) & bool(self.edges)
            return np.array(np.where(known, code_of, 0)[:, None], np.int32)
        code = {value: number for number, value in enumerate(self.values, start=1)}
        if self.kind != "tags":
            return np.array([[code.get(value, 0)] for value in values], np.int32).reshape(-1, 1)
        found = np.zeros((len(values), self.slots), np.int32)
        for row, tags in enumerate(values):
            known_tags = sorted({code[tag] for tag in tags or () if tag in code})[: self.slots]
            found[row, : len(known_tags)] = known_tags
        return found


class Vocabulary(_Strict):
    """attributes in the order of their fields; texts are hashed into ``word_buckets`` buckets, the
    first ``words`` different ones of title and text; profile: the attributes of users."""

    attributes: tuple[AttributeCodes, ...]
    profile: tuple[AttributeCodes, ...] = ()
    word_buckets: int = Field(ge=1)
    words: int = Field(ge=1)

    @property
    def specs(self) -> tuple[FieldSpec, ...]:
        """The item fields; one that says nothing where items have no attributes."""
        found = tuple(spec for attribute in self.attributes for spec in attribute.specs)
        return found or (FieldSpec(name="any", size=2),)

    def profiles(self, columns: Mapping[str, Sequence[Any]], users: int) -> Profiles:
        """What is known of users, from a column of values an attribute."""
        fields = tuple(
            FieldSpec(name=f"profile_{spec.name}", size=spec.size)
            for attribute in self.profile
            for spec in attribute.specs
        )
        missing = [None] * users
        parts = [each.codes(columns.get(each.attribute, missing)) for each in self.profile]
        return Profiles(fields, np.concatenate(parts, axis=1)) if parts else NO_PROFILES

    def fields(self, columns: Mapping[str, Sequence[Any]], items: int) -> Int32:
        """int32[items, fields] from a column of values an attribute."""
        if not self.attributes:
            return np.ones((items, 1), np.int32)
        missing = [None] * items
        return np.concatenate(
            [each.codes(columns.get(each.attribute, missing)) for each in self.attributes], axis=1
        )

    def hashed(self, texts: Sequence[str]) -> Int32:
        """int32[n, words]: buckets of the words of each text, -1 where there are no more."""
        found = np.full((len(texts), self.words), -1, np.int32)
        for row, text in enumerate(texts):
            words = dict.fromkeys(re.findall(r"\w+", text.lower()))
            for slot, word in enumerate(list(words)[: self.words]):
                found[row, slot] = _hash(word) % self.word_buckets
        return found


def _hash(word: str) -> int:
    value, prime = _FNV
    for byte in word.encode():
        value = (value ^ byte) * prime & 0xFFFFFFFF
    return value
