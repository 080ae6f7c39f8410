"""Native kernels of the funnel, and the same in NumPy.

Arrays are C-contiguous NumPy arrays of exactly the dtype named; nothing is converted silently.
A wrong type or dtype raises TypeError, a wrong shape ValueError, a row outside its table
IndexError, each naming the argument. Read-only and unaligned arrays are accepted as inputs.

The level (reference, scalar, avx2, avx512) is chosen once, at import: the best that this processor
and operating system support, or the one that the environment variable TAMIS_KERNELS names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis_kernels import reference

try:
    # `from tamis_kernels import` would report an unbuilt module as a circular import
    import tamis_kernels._native as _native  # noqa: PLR0402

    _NATIVE_LEVELS = _native.available_levels()
except ModuleNotFoundError as missing:
    if os.environ.get("TAMIS_KERNELS") != "reference":
        raise ImportError(
            "the native kernels are not built: run `python setup.py build_ext --inplace` in the "
            "repository root (or set TAMIS_KERNELS=reference for the slow NumPy ones)"
        ) from missing
    _NATIVE_LEVELS = ()

__all__ = [
    "DeepFM",
    "DeepFMSide",
    "HnswGraph",
    "IvfIndex",
    "KeyIndex",
    "QueryTower",
    "affine_rows",
    "affinities",
    "append_events",
    "append_keys",
    "available_levels",
    "best_of",
    "best_scaled",
    "bits_of",
    "bloom_absent",
    "bloom_insert",
    "cross_features",
    "dot_rows",
    "dpp",
    "fuse_ranks",
    "halved",
    "insert_keys",
    "level",
    "mmr",
    "only_parts",
    "parts_of",
    "scan",
    "select",
    "set_level",
    "texts",
    "top_k",
    "user_features",
    "with_level",
    "with_parts",
    "xxh64",
]

_level = "reference"
_kernels = reference  # the module that answers at the active level


def available_levels() -> tuple[str, ...]:
    """Levels this machine can run, slowest first; "reference" is always there."""
    return ("reference", *_NATIVE_LEVELS)


def level() -> str:
    """The active level: "reference", "scalar", "avx2" or "avx512"."""
    return _level


def set_level(name: str) -> None:
    """Make `name` the active level of the whole process; a DeepFM keeps the one it was built at.

    Meant for start-up and tests: it does not wait for kernels running in other threads.
    Raises ValueError for a level that is unknown or that this machine cannot run.
    """
    global _level, _kernels  # noqa: PLW0603  one level a process is what is meant
    if name not in available_levels():
        raise ValueError(
            f"kernel level {name!r} is unknown or cannot run here; "
            f"available are {', '.join(available_levels())}"
        )
    if name == "reference":
        _kernels = reference
    else:
        _native.set_level(name)
        _kernels = _native
    _level = name


@contextmanager
def with_level(name: str) -> Iterator[None]:
    """Run a block at the level `name`, then return to the level before. See `set_level`."""
    before = level()
    set_level(name)
    try:
        yield
    finally:
        set_level(before)


def xxh64(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash slices with XXH64, seed 0 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md).

    data: uint8[bytes]; offsets: int64[n + 1], slice i is data[offsets[i]:offsets[i + 1]].
    Returns uint64[n]. ValueError: offsets is empty, descends or leaves data.
    """
    return _kernels.xxh64(data, offsets)


def bloom_insert(blocks: NDArray[np.uint32], keys: NDArray[np.uint64]) -> None:
    """Add hashed keys to a split-block Bloom filter, in place (Parquet, BloomFilter.md).

    blocks: uint32[B, 8], writable; keys: uint64[n], uniformly hashed (see `xxh64`).
    ValueError: blocks is read-only, or has no block while there are keys.
    """
    _kernels.bloom_insert(blocks, keys)


def bloom_absent(
    filters: Sequence[NDArray[np.uint32]], keys: NDArray[np.uint64]
) -> NDArray[np.int32]:
    """Positions of the hashed keys that were inserted into none of the filters, ascending.

    filters: each uint32[B, 8], of any B; one without blocks holds nothing; keys: uint64[n].
    Returns int32[m], m <= n. A key inserted anywhere is never among them; some others are not.
    """
    return _kernels.bloom_absent(filters, keys)


def append_events(
    stored: list[bytes],
    starts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    times: NDArray[np.float64],
    kinds: NDArray[np.uint8],
    most: int,
) -> list[bytes]:
    """Put events into the histories of their users, as `tamis_server.domain.user_record` has them.

    stored: a history a user, b"" where there is none; starts: int64[users + 1], user u's events are
    starts[u]:starts[u + 1] of keys uint64[n], times float64[n] and kinds uint8[n], below 9. They
    are put in place by time, an equal one behind; beyond ``most`` the oldest go, but stay counted.
    Returns the histories after it, the same objects where nothing changed.
    ValueError: starts does not ascend from 0 to n, most is negative, or stored is no history.
    """
    return _kernels.append_events(stored, starts, keys, times, kinds, most)


def append_keys(
    stored: list[bytes], starts: NDArray[np.int64], keys: NDArray[np.uint64], most: int
) -> tuple[list[bytes], NDArray[np.uint8]]:
    """Append keys to lists of distinct ones, each uint64 little-endian and at most ``most``.

    stored, starts: as in `append_events`; keys: uint64[n]. Returns the lists after it, and
    uint8[n]: 0 where a key was there, 1 where it was appended, 2 where it was not, without room.
    ValueError: as there.
    """
    return _kernels.append_keys(stored, starts, keys, most)


def insert_keys(
    stored: list[bytes],
    starts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    first_blocks: int,
    layer_bits: NDArray[np.float64],
) -> list[bytes]:
    """Insert keys into filters, as `tamis_server.domain.seen` has them.

    stored, starts: as in `append_events`; keys: uint64[n], uniformly hashed; first_blocks: of a new
    filter; layer_bits: float64[layers], bits a key for which layers are full. A filter grows by a
    layer twice the size of the last where all are full; the last one of all takes what comes.
    Returns the filters after it, the same objects where nothing changed. ValueError: as there, or
    first_blocks is below 1.
    """
    return _kernels.insert_keys(stored, starts, keys, first_blocks, layer_bits)


def parts_of(records: list[bytes], name: bytes) -> list[bytes]:
    """One part of each record, as `tamis_server.adapters.embedded.lmdb_record` has them.

    Returns b"" where a record does not have it. ValueError: a record is not made of whole parts.
    """
    return _kernels.parts_of(records, name)


def with_parts(records: list[bytes], name: bytes, contents: list[bytes]) -> list[bytes]:
    """The records with one part of each replaced, or added behind the others; without it for b"".

    name: at most 255 bytes; contents: one a record. The same objects where nothing changed.
    ValueError: as in `parts_of`, or an argument has another length.
    """
    return _kernels.with_parts(records, name, contents)


def only_parts(records: list[bytes], names: list[bytes]) -> list[bytes]:
    """The records without parts of other names; the same objects where nothing changed.

    ValueError: as in `parts_of`.
    """
    return _kernels.only_parts(records, names)


def select(
    bits: NDArray[np.uint64], rows: NDArray[np.int32], wanted: bool = True
) -> NDArray[np.int32]:
    """Positions of the rows whose bit is set, ascending; with ``wanted`` False of the others.

    bits: uint64[w], bit r is bit r % 64 of word r // 64; rows: int32[n].
    Returns int32[m]. Rows below 0 or from 64 * w on have no bit that is set.
    """
    return _kernels.select(bits, rows, wanted)


def bits_of(rows: NDArray[np.int32], words: int) -> NDArray[np.uint64]:
    """A bit for each of the rows, as `select` reads them.

    rows: int32[n]. Returns uint64[words]; rows below 0 or from 64 * words on have none.
    ValueError: words is negative.
    """
    return _kernels.bits_of(rows, words)


def top_k(scores: NDArray[np.float32], rows: NDArray[np.int32], k: int) -> NDArray[np.int32]:
    """Positions of the k best scores, best first.

    scores: float32[n]; rows: int32[n], the tie breaker: lower row first, then lower position.
    NaN comes after every number; -0.0 equals 0.0. Returns int32[min(k, n)].
    ValueError: k is negative.
    """
    return _kernels.top_k(scores, rows, k)


def best_scaled(
    scores: NDArray[np.float32], rows: NDArray[np.int32], k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The positions that `top_k` gives int32[min(k, n)], and their scores brought to 0..1 float32.

    0 is the least finite one of them, 1 the greatest, and all where they are equal; NaN stands for
    a score that is not finite. Arguments and errors as in `top_k`.
    """
    return _kernels.best_scaled(scores, rows, k)


def fuse_ranks(
    rows: Sequence[NDArray[np.int32]],
    weights: Sequence[float],
    sources: Sequence[int],
    damping: float,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.uint32]]:
    """Join candidate lists by weighted reciprocal rank (Cormack et al., SIGIR 2009).

    rows: up to 32 arrays int32[n_s], each best first; weights and sources: one a list, a source
    being a number from 0 to 31. Returns rows int32[m], scores float32[m] and sources uint32[m],
    best first, ties by row. A score is the sum over the lists of weight / (damping + rank), the
    rank counted from 1 and the row's first there; a bit for each list's source says where it was.
    Negative rows are skipped. ValueError: more than 32 lists, or a source out of range.
    """
    return _kernels.fuse_ranks(rows, weights, sources, damping)


def best_of(
    rows: Sequence[NDArray[np.int32]],
    scores: Sequence[NDArray[np.float32]],
    without: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Join candidate lists, each row by its best score, without some rows.

    rows: up to 32 arrays int32[n_s], in any order; scores: as many arrays float32[n_s]; without:
    int32[w]. Returns rows int32[m] and scores float32[m], best first, ties by row; NaN is the worst
    score there is. Negative rows are skipped. ValueError: more than 32 lists.
    """
    return _kernels.best_of(rows, scores, without)


def affinities(
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    history: NDArray[np.int32],
    asked: NDArray[np.int32],
) -> NDArray[np.float32]:
    """What the distinct items of a history weigh, in sum, for each item asked about.

    rows: int32[n, k], what each item speaks for; weights: float32[n, k], how much; history:
    int32[h]; asked: int32[m]. Entries outside [0, n) are passed over, in all of them.
    Returns float32[m]; summed in float64 and in the order of rows.
    """
    return _kernels.affinities(rows, weights, history, asked)


def affine_rows(
    rows: NDArray[np.int32], weights: NDArray[np.float32], history: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The items whose sum, as in `affinities`, is above 0, those of the history left out.

    Returns rows int32[m], in no order, and their sums float32[m].
    """
    return _kernels.affine_rows(rows, weights, history)


def user_features(
    rows: NDArray[np.int32],
    times: NDArray[np.float64],
    positive: NDArray[np.bool_],
    now: float,
    recent: int,
    item_fields: NDArray[np.int32],
    popularity: NDArray[np.float32],
    tail: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """What a user's events say of the user.

    rows int32[e], times float64[e] (seconds) and positive bool[e]: the events, oldest first, and
    which of them speak for their items; item_fields: int32[n, f]; popularity: float32[n or more];
    tail: int32[t]. "The items" are those of the last ``recent`` positive events. Returns fields
    int32[2f + t]: the most frequent value above 0 of each of the items' fields (the least of
    several), the last item's values, the tail; and dense float32[4]: log1p of the number of events,
    over 5; log1p of the days from the last of all to ``now``, at least 0, over 5; the items' mean
    popularity; the share of positive events. 0 for what is not there.
    IndexError: a row is outside of item_fields.
    """
    return _kernels.user_features(rows, times, positive, now, recent, item_fields, popularity, tail)


def cross_features(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    query: NDArray[np.float32] | None,
    taken: NDArray[np.int32],
    recent: int,
    near_rows: NDArray[np.int32],
    near_weights: NDArray[np.float32],
    learnt_as: NDArray[np.int32] | None,
) -> NDArray[np.float32]:
    """How near each of the rows is to what a user took to.

    vectors: float32[n, d]; rows: int32[m]; query: float32[d] or None; taken: int32[h], rows of what
    the user took to, oldest first; near_rows int32[t, k] and near_weights float32[t, k]: what items
    speak for, as in `affinities`; learnt_as: int32[n or more], each row's row of near_rows
    (outside: it has none), or None: the same.
    Returns float32[m, 4]: products with the query, with the last of taken and with the mean of the
    last ``recent`` of them; and the affinities of all of taken. 0 for what is not there.
    """
    return _kernels.cross_features(
        vectors, rows, query, taken, recent, near_rows, near_weights, learnt_as
    )


def dot_rows(
    vectors: NDArray[np.float32], rows: NDArray[np.int32], queries: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Inner products of the chosen rows with each query.

    vectors: float32[n, d]; rows: int32[m]; queries: float32[q, d]. Returns float32[m, q].
    """
    return _kernels.dot_rows(vectors, rows, queries)


def scan(
    vectors: NDArray[np.float32],
    bits: NDArray[np.uint64] | None,
    queries: NDArray[np.float32],
    k: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k allowed rows with the largest inner products, exactly: every one is computed.

    vectors: float32[n, d]; bits: uint64[w], bit r % 64 of word r // 64 allows row r, or None for
    all rows (bits from n on mean nothing, absent ones are not set); queries: float32[q, d].
    Returns rows int32[q, k] and scores float32[q, k], best first, filled up with -1 and -inf.
    Ties: lower row first. NaN comes after every number. ValueError: k is negative.
    """
    return _kernels.scan(vectors, bits, queries, k)


def mmr(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    relevance: NDArray[np.float32],
    k: int,
    trade_off: float,
) -> NDArray[np.int32]:
    """Pick k candidates by maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998).

    The first pick has the highest relevance; each further one maximises
    trade_off * relevance - (1 - trade_off) * max over the picked of their inner product.
    vectors: float32[n, d]; rows: int32[m]; relevance: float32[m]; trade_off in [0, 1].
    Returns the positions int32[min(k, m)] in the order picked. Ties: lower row, then lower
    position. NaN relevance is picked last; a NaN similarity counts as 0.
    ValueError: k is negative or trade_off outside [0, 1].
    """
    return _kernels.mmr(vectors, rows, relevance, k, trade_off)


def dpp(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    relevance: NDArray[np.float32],
    k: int,
    trade_off: float,
) -> NDArray[np.int32]:
    """Pick k candidates by a determinantal point process, greedily.

    Chen, Zhang, Zhou, Fast Greedy MAP Inference for Determinantal Point Process to Improve
    Recommendation Diversity, NeurIPS 2018.

    Each pick raises trade_off * (sum of relevance) + (1 - trade_off) * log det(S) most, with S the
    similarities (1 + inner product) / 2 of all that is picked: unlike `mmr` it sees what several
    together span. What they span already gets log 1e-6, so that relevance decides among such.
    The first pick has the highest relevance. Arguments, results and errors as in `mmr`; vectors
    should be of unit length. Levels agree wherever two candidates differ by more than rounding.
    """
    return _kernels.dpp(vectors, rows, relevance, k, trade_off)


class _Made:
    """Pickled as what it was made of, and made anew of that: it has no form of its own outside of
    the process, and the arrays, which it keeps by reference, may be shared with another."""

    __slots__ = ("_of",)
    _of: tuple[Any, ...]

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), self._of


class KeyIndex(_Made):
    """Where keys stand in an array, by a hash table of 8 to 16 bytes a key beside them.

    keys: uint64[n], kept by reference: do not write to them. Of equal ones the first counts.
    """

    __slots__ = ("_index",)

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._of = (keys,)
        self._index = _kernels.KeyIndex(*self._of)

    @property
    def distinct(self) -> int:
        """How many different keys there are."""
        return self._index.distinct

    def find(self, wanted: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Their positions int32[m], for wanted uint64[m]; -1 for a key that is not there."""
        return self._index.find(wanted)

    def find_text(self, text: str) -> int:
        """The position of the key of a text, `xxh64` of its UTF-8 bytes; -1 if it is not there."""
        return self._index.find_text(text)


def texts(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], positions: NDArray[np.int32]
) -> list[str]:
    """Some of many texts that lie one behind the other, in UTF-8.

    data: uint8[m]; offsets: int64[n + 1], of which text i has data[offsets[i]:offsets[i + 1]];
    positions: int32[k]. IndexError: a position is outside of 0 to n - 1. ValueError: offsets of one
    that is asked for do not ascend within the data. UnicodeDecodeError: it is not UTF-8.
    """
    return _kernels.texts(data, offsets, positions)


def halved(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """float16[n, d] nearest to values float32[n, d], ties to even; infinite beyond 65504."""
    return _kernels.halved(values)


class QueryTower(_Made):
    """Attention over a history, pooled, and a small residual MLP: one user's query vector.

    Each of the last l events that is heard gets a share by softmax, for each of h heads: of its
    row of history_table float16[n, e] times seeds float32[e, h], plus kind_bias float32[kinds, h],
    plus recency_bias float32[l, h] (latest event first); the share counts kind_weight
    float32[kinds] times. heard: bool[kinds]. The heads' sums of events make p [h * e], and the
    chosen rows of context_table float32[slots, e] add up to c; the query is
    p @ skip + relu(p @ w1 + c @ w_context + b1) @ w2 + b2, brought to length 1.
    skip float32[h * e, d], w1 float32[h * e, m], w_context float32[e, m], b1 float32[m],
    w2 float32[m, d], b2 float32[d]. All but the seeds are kept by reference: who writes to
    them must not encode meanwhile. Encoding is thread safe, at the level it was built at.
    """

    __slots__ = ("_tower",)

    def __init__(
        self,
        history_table: NDArray[np.float16],
        seeds: NDArray[np.float32],
        kind_bias: NDArray[np.float32],
        recency_bias: NDArray[np.float32],
        kind_weight: NDArray[np.float32],
        heard: NDArray[np.bool_],
        context_table: NDArray[np.float32],
        w_context: NDArray[np.float32],
        skip: NDArray[np.float32],
        w1: NDArray[np.float32],
        b1: NDArray[np.float32],
        w2: NDArray[np.float32],
        b2: NDArray[np.float32],
    ) -> None:
        self._of = (
            history_table,
            seeds,
            kind_bias,
            recency_bias,
            kind_weight,
            heard,
            context_table,
            w_context,
            skip,
            w1,
            b1,
            w2,
            b2,
        )
        self._tower = _kernels.QueryTower(*self._of)

    def encode(
        self, rows: NDArray[np.int32], kinds: NDArray[np.uint8], context: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The query float32[d], of length 1, or zeros where nothing is heard.

        rows: int32[n], oldest first, below 0 where there is no item; kinds: uint8[n]; context:
        int32[s], slots. IndexError: a kind or a slot is outside its table.
        """
        return self._tower.encode(rows, kinds, context)


class DeepFMSide(_Made):
    """What one side of a DeepFM, the user or the items, adds to the model's sums.

    embedding: float32[slots, e] and linear: float32[slots], of all values of all fields;
    dense_linear: float32[d]; w1: float32[fields * e + d, h1] and b1: float32[h1], the first layer.
    All are kept by reference.
    """

    __slots__ = ("_side",)

    def __init__(
        self,
        embedding: NDArray[np.float32],
        linear: NDArray[np.float32],
        dense_linear: NDArray[np.float32],
        w1: NDArray[np.float32],
        b1: NDArray[np.float32],
        fields: int,
    ) -> None:
        self._of = embedding, linear, dense_linear, w1, b1, fields
        self._side = _kernels.DeepFMSide(*self._of)

    def parts(
        self, slots: NDArray[np.int32], dense: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """hidden float32[n, h1], factors float32[n, e] and bias float32[n], as `DeepFM` takes them.

        slots: int32[n, fields], each field's row of embedding; dense: float32[n, d].
        """
        return self._side.parts(slots, dense)


class DeepFM(_Made):
    """DeepFM (Guo et al., IJCAI 2017) factorised into a user part and an item table.

    item_hidden: float32[n, h1], the item's share of layer 1, bias included;
    item_factors: float32[n, e]; item_bias: float32[n], first order and the item's own pairs;
    cross_hidden: float32[x, h1] and cross_linear: float32[x], weights of user-item features;
    w2 float32[h1, h2], b2 float32[h2], w3 float32[h2, h3], b3 float32[h3];
    w_out float32[o, h3], wide float32[o] and bias float32[o]: a head for each objective, with the
    logit bias + wide * (first order, pairs and cross_linear) + w_out @ (the last layer).
    item_hidden and item_factors may both be float16, for half the memory; sums stay float32.
    int8: the second and the third layer compute in codes of 8 bits, each output's weights in 127
    steps to the largest, each candidate's inputs in 255: faster, at an error to be measured.
    The item tables are kept by reference: who writes to them must not score meanwhile. Scoring is
    thread safe.
    """

    __slots__ = ("_model",)

    def __init__(
        self,
        item_hidden: NDArray[np.floating],
        item_factors: NDArray[np.floating],
        item_bias: NDArray[np.float32],
        cross_hidden: NDArray[np.float32],
        cross_linear: NDArray[np.float32],
        w2: NDArray[np.float32],
        b2: NDArray[np.float32],
        w3: NDArray[np.float32],
        b3: NDArray[np.float32],
        w_out: NDArray[np.float32],
        wide: NDArray[np.float32],
        bias: NDArray[np.float32],
        int8: bool = False,
    ) -> None:
        self._of = (
            item_hidden,
            item_factors,
            item_bias,
            cross_hidden,
            cross_linear,
            w2,
            b2,
            w3,
            b3,
            w_out,
            wide,
            bias,
            int8,
        )
        self._model = _kernels.DeepFM(*self._of)

    def score(
        self,
        user_hidden: NDArray[np.float32],
        user_factors: NDArray[np.float32],
        user_bias: float,
        rows: NDArray[np.int32],
        cross: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Probabilities of the rows for one user, by objective.

        user_hidden: float32[h1]; user_factors: float32[e]; rows: int32[m]; cross: float32[m, x].
        Returns float32[m, o] in [0, 1], NaN where an input of the row is NaN.
        """
        return self._model.score(user_hidden, user_factors, user_bias, rows, cross)


class HnswGraph(_Made):
    """Search in a graph that hnswlib 0.8 built and saved, in the inner-product space.

    HNSW: Malkov & Yashunin, TPAMI 2020; the file: hnswalg.h, HierarchicalNSW::saveIndex.
    path: the file, or one that `save` wrote; vectors: float32[m, d], row r the vector of label r,
    which must be the indexed ones bit for bit. The labels must be 0 ... size - 1, in any order; m
    may exceed size. The graph is walked by vectors in codes of 8 bits, made at construction, with
    one scale for all: they should be of about one length, as unit vectors are. The vectors are kept
    by reference: do not write to those of the graph. Searching is thread safe, and the graph keeps
    the level it was built at.
    OSError: the file cannot be read. ValueError: it is truncated, corrupted or of other vectors.
    """

    __slots__ = ("_graph",)

    def __init__(self, path: str | os.PathLike[str], vectors: NDArray[np.float32]) -> None:
        self._of = os.fspath(path), vectors
        self._graph = _kernels.HnswGraph(*self._of)

    @property
    def size(self) -> int:
        """How many rows are in the graph, those marked deleted among them."""
        return self._graph.size

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph, without its vectors, to a file that is read faster than hnswlib's.

        Little-endian, parts filled up to 64 bytes: a header; links uint32[size, stride], filled up
        with 2^32 - 1; uint8[size], levels above level 0; the lists at these, by row then level; and
        uint64[ceil(size / 64)], rows not marked deleted, if some are. OSError: can't be written.
        """
        self._graph.save(os.fspath(path))

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        ef: int,
        bits: NDArray[np.uint64] | None = None,
        widest: int = 0,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Approximately the k allowed rows with the largest inner products.

        queries: float32[q, d]; bits: uint64[w], w >= ceil(size / 64), allows rows as in `scan`, or
        None for all; rows marked deleted are never allowed. The search keeps a beam of the best
        rows met, long enough for max(ef, k) allowed ones but never longer than ``widest`` (0: the
        graph's size): rows that are not allowed lead the way and are no results. Time goes with
        the beam's length, about ef / selectivity; with a short ``widest`` rows may be missing.
        What the beam holds in the end is scored exactly: as `dot_rows` does.
        Returns rows int32[q, k] and scores float32[q, k], best first, filled up with -1 and -inf
        where fewer were found. Ties: lower row first; NaN comes after every number. Levels find the
        same rows, and agree in their order wherever their scores do.
        ValueError: k or widest is negative, ef below 1, bits too short.
        """
        return self._graph.search(queries, k, ef, bits, widest)

    def scan(
        self, queries: NDArray[np.float32], k: int, bits: NDArray[np.uint64] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The k allowed rows of the graph with the largest inner products, exactly: as the function
        `scan` finds them, rows marked deleted left out. Products of codes rule most rows out, by
        more than they can be wrong; the others are scored. Arguments and results as in `search`.
        """
        return self._graph.scan(queries, k, bits)


class IvfIndex(_Made):
    """Search in inverted lists: rows kept in lists, each around a centroid.

    IVF: Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, TPAMI 2011, here
    with a plain quantizer: rows are compared by codes of 4 bits a number for what they differ by
    from their centroid, made at construction.
    centroids: float32[l, d]; starts: int64[l + 1], ascending from 0; rows: int32[n], of which list
    i has rows[starts[i]:starts[i + 1]], none of them twice; vectors: float32[m, d], kept by
    reference: do not write to those of the index. One scale serves all codes: lists should be about
    as wide as each other, as those of unit vectors are. Searching is thread safe, and the index
    keeps the level it was built at. IndexError: a row is outside of vectors. ValueError: the lists
    are none.
    """

    __slots__ = ("_index",)

    def __init__(
        self,
        centroids: NDArray[np.float32],
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        vectors: NDArray[np.float32],
    ) -> None:
        self._of = centroids, starts, rows, vectors
        self._index = _kernels.IvfIndex(*self._of)

    @property
    def size(self) -> int:
        """How many rows are in the lists."""
        return self._index.size

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        scanned: int,
        bits: NDArray[np.uint64] | None = None,
        reach: float = math.inf,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Approximately the k allowed rows with the largest inner products.

        queries: float32[q, d]; bits: uint64[w], w * 64 > every row, allows rows as in `scan`, or
        None for all. Looked into are the lists whose centroids have the largest products of codes,
        until they hold ``scanned`` allowed rows, or until the products of a list are on average
        below that of the k-th best before by more than ``reach`` times what they differ by within a
        list, as a standard deviation. Of these rows the k + k / 2 + 64 with the largest
        products of codes are scored exactly, as `dot_rows` does: where all lists are looked into,
        only what codes mistake by more than that is missed.
        Returns rows int32[q, k] and scores float32[q, k], best first, filled up with -1 and -inf
        where fewer were found. Ties: lower row first; NaN comes after every number. Levels find the
        same rows, and agree in their order wherever their scores do.
        ValueError: k is negative, scanned below 1, reach below 0 or NaN, bits too short.
        """
        return self._index.search(queries, k, scanned, bits, reach)


def _level_at_import() -> str:
    wanted = os.environ.get("TAMIS_KERNELS") or available_levels()[-1]
    if wanted not in available_levels():
        raise ImportError(
            f"TAMIS_KERNELS={wanted} is unknown or cannot run here; "
            f"available are {', '.join(available_levels())}"
        )
    return wanted


set_level(_level_at_import())
