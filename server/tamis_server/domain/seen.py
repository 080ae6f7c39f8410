"""What a user has met, remembered in bits.

Events fall into groups by kind. A group forgets after its window: its filters come in generations
by event time, each as long as ``window / (generations - 1)``, and a whole generation expires when
its last event is a window old. A filter grows by layers, each twice the size of the one before, and
layer k gets the share 1 / ((k + 1) (k + 2)) of the false-positive rate: all of them add up to it.

The filters are split-block Bloom filters (Apache Parquet format, BloomFilter.md; Putze, Sanders and
Singler, 2007) over the XXH64 of the item id. A stored filter is a header of 32 bytes, uint32
little-endian: keys inserted, blocks of the first layer, six zeros; then the layers' blocks.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from tamis_server.domain.context import EventKind

Blocks = npt.NDArray[np.uint32]

HEADER_BYTES = 32  # one block, so that the layers stay aligned
MAX_LAYERS = 16  # the last one takes what comes: bounded in size, its rate is not
SALT = (
    0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31,
)  # fmt: skip
_HEADER = struct.Struct("<II24x")


@dataclass(frozen=True)
class SeenGroup:
    """Kinds of events that share filters.

    window_s: how long a meeting counts, 0 for ever; generations: how many filters live at once;
    expected: keys a generation is sized for; rate: false positives wanted at most over all live
    generations; exact: keys a generation keeps exactly before its filter takes what more comes.
    """

    name: str
    kinds: frozenset[EventKind]
    window_s: float
    generations: int
    expected: int
    rate: float
    exact: int = 0

    @property
    def span_s(self) -> float:
        """Seconds of event time in one generation; 0: there is only one, for ever."""
        return self.window_s / (self.generations - 1) if self.window_s else 0.0

    def generation(self, time: float) -> int:
        """The generation that an event of this time belongs to."""
        return int(time // self.span_s) if self.window_s else 0

    def generations_of(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """int64[n]: the generation of each."""
        if not self.window_s:
            return np.zeros(times.shape[0], np.int64)
        return (times // self.span_s).astype(np.int64)

    def live(self, now: float) -> range:
        """The generations that may hold events not older than the window."""
        if not self.window_s:
            return range(1)
        last = self.generation(now)
        return range(last - self.generations + 1, last + 1)

    def slot(self, generation: int) -> str:
        """What stores call the generation; filters of another span have other names."""
        return f"{self.name}.{self.span_s:.0f}.{generation}"

    def expires(self, generation: int) -> float:
        """Unix time from which the generation is no longer read; infinite for ever."""
        return (generation + self.generations) * self.span_s if self.window_s else math.inf

    @cached_property
    def layer_bits(self) -> tuple[float, ...]:
        """Bits a key in each layer."""
        rate = self.rate / (self.generations if self.window_s else 1)
        return tuple(
            bits_per_key(rate / ((layer + 1) * (layer + 2))) for layer in range(MAX_LAYERS)
        )

    @cached_property
    def first_blocks(self) -> int:
        """Blocks of the first layer."""
        return max(1, math.ceil(self.expected * self.layer_bits[0] / 256))


class SeenPolicy:
    """Which group an event kind belongs to. Kinds in none are not remembered."""

    def __init__(self, groups: Sequence[SeenGroup]) -> None:
        self.groups = tuple(groups)
        self._group_of = np.full(len(EventKind), -1)  # by kind: a place in groups; -1: none
        for number, group in enumerate(groups):
            self._group_of[list(group.kinds)] = number
        self._last: tuple[list[int], tuple[str, ...]] = ([], ())  # what `live_slots` said last

    def live_slots(self, now: float) -> tuple[str, ...]:
        """The slots to read at ``now``."""
        generations = [group.generation(now) for group in self.groups]
        then, slots = self._last
        if generations != then:
            slots = tuple(group.slot(each) for group in self.groups for each in group.live(now))
            self._last = generations, slots
        return slots

    def slots(
        self, kinds: npt.NDArray[np.uint8], times: npt.NDArray[np.float64], now: float
    ) -> list[tuple[SeenGroup, int, npt.NDArray[np.int64]]]:
        """Where events are to be remembered: group, generation, and the positions int64[m] of the
        events that go there, ascending. Those of a time that is over by ``now`` go nowhere."""
        found: list[tuple[SeenGroup, int, npt.NDArray[np.int64]]] = []
        of_kind = self._group_of[kinds]
        for number, group in enumerate(self.groups):
            positions = np.flatnonzero(of_kind == number)
            generations = group.generations_of(np.minimum(times[positions], now))
            found += [
                (group, generation, positions[generations == generation])
                for generation in np.unique(generations).tolist()
                if group.expires(generation) > now
            ]
        return found

    def windows(self) -> npt.NDArray[np.float64]:
        """float64[kinds]: seconds an event of each kind counts; NaN where it does not at all."""
        windows = np.full(max(EventKind) + 1, np.nan)
        for number, group in enumerate(self.groups):
            windows[self._group_of == number] = group.window_s or np.inf
        return windows


@lru_cache
def bits_per_key(rate: float) -> float:
    """Bits a key for which a split-block filter has this false-positive rate.

    The load of a block is Poisson distributed (Putze et al., section 3), which costs more bits
    than the formula of the Parquet specification says, the more so at low rates.
    """
    low, high = 4.0, 512.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if _rate(256 / middle) > rate else (low, middle)
    return high


def _rate(load: float) -> float:
    """False-positive rate of a block into which ``load`` keys fall on average."""
    total, probability = 0.0, math.exp(-load)
    for keys in range(int(load + 12 * math.sqrt(load)) + 16):
        total += probability * (1 - (31 / 32) ** keys) ** 8
        probability *= load / (keys + 1)
    return total


def block_places(key: int) -> bytes:
    """Which bit a key sets in each of the eight words of its block."""
    low = key & 0xFFFFFFFF
    return bytes((low * salt & 0xFFFFFFFF) >> 27 for salt in SALT)


def layers(stored: bytes | memoryview) -> tuple[Blocks, ...]:
    """The layers of a stored filter, each uint32[blocks, 8]; empty where nothing is stored."""
    if len(stored) < HEADER_BYTES:
        return ()
    _, blocks = _HEADER.unpack_from(stored)
    words = np.frombuffer(stored, np.uint32, offset=HEADER_BYTES).reshape(-1, 8)
    found, start = [], 0
    while start < words.shape[0]:
        found.append(words[start : start + blocks])
        start, blocks = start + blocks, blocks * 2
    return tuple(found)


def false_positive_rate(filters: Sequence[Blocks]) -> float:
    """The chance that a random key is found in one of the filters, from the bits that are set.

    A key falls into each block alike and, in each of its eight words, onto each bit alike.
    """
    missed = 1.0
    for blocks in filters:
        found = np.prod(np.bitwise_count(blocks) / 32.0, axis=1).mean()
        missed *= 1.0 - float(found)
    return 1.0 - missed


def key_count(filters: Iterable[bytes | memoryview]) -> int:
    """How many keys were inserted into stored filters."""
    return sum(_HEADER.unpack_from(stored)[0] for stored in filters if stored)
