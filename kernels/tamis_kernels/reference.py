"""The kernels in obvious NumPy: what each one means, and what every tier is tested against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_U64 = (1 << 64) - 1
_SALT = np.array(
    [
        0x47B6137B,
        0x44974D91,
        0x8824AD5B,
        0xA2B7289D,
        0x705495C7,
        0x2DF1424B,
        0x9EFC4947,
        0x5C6BFB31,
    ],
    np.uint32,
)


def xxh64(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> UInt64:
    """XXH64 with seed 0 (xxHash specification) of each slice.

    data uint8[bytes]; offsets int64[n + 1], slice i being data[offsets[i]:offsets[i + 1]];
    returns uint64[n].
    """
    _check("data", data, np.uint8, 1)
    _check("offsets", offsets, np.int64, 1)
    if offsets.shape[0] < 1 or offsets[0] < 0 or offsets[-1] > data.shape[0]:
        raise ValueError("offsets: must begin at 0 or later and end within data")
    if (np.diff(offsets) < 0).any():
        raise ValueError("offsets: must not decrease")
    raw = data.tobytes()
    pairs = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    return np.array([_xxh64(raw[start:end]) for start, end in pairs], np.uint64)


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _U64


def _round(state: int, lane: int) -> int:
    return _rotate((state + lane * _P2) & _U64, 31) * _P1 & _U64


def _xxh64(raw: bytes) -> int:
    at, length = 0, len(raw)
    if length >= 32:
        states = [(_P1 + _P2) & _U64, _P2, 0, -_P1 & _U64]
        while at + 32 <= length:
            for lane in range(4):
                word = int.from_bytes(raw[at + 8 * lane : at + 8 * lane + 8], "little")
                states[lane] = _round(states[lane], word)
            at += 32
        turns = zip(states, (1, 7, 12, 18), strict=True)
        value = sum(_rotate(state, bits) for state, bits in turns) & _U64
        for state in states:
            value = ((value ^ _round(0, state)) * _P1 + _P4) & _U64
    else:
        value = _P5
    value = (value + length) & _U64
    while at + 8 <= length:
        value ^= _round(0, int.from_bytes(raw[at : at + 8], "little"))
        value = (_rotate(value, 27) * _P1 + _P4) & _U64
        at += 8
    if at + 4 <= length:
        value ^= int.from_bytes(raw[at : at + 4], "little") * _P1 & _U64
        value = (_rotate(value, 23) * _P2 + _P3) & _U64
        at += 4
    for byte in raw[at:]:
        value = _rotate(value ^ byte * _P5 & _U64, 11) * _P1 & _U64
    value = (value ^ value >> 33) * _P2 & _U64
    value = (value ^ value >> 29) * _P3 & _U64
    return value ^ value >> 32


def _block_masks(blocks: UInt32, keys: UInt64) -> tuple[npt.NDArray[np.int64], UInt32]:
    """Which block each key is in, and its bit in each of the block's eight words."""
    high = keys >> np.uint64(32)
    block = (high * np.uint64(blocks.shape[0])) >> np.uint64(32)
    low = (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    bits = (low[:, None] * _SALT) >> np.uint32(27)
    return block.astype(np.int64), np.uint32(1) << bits


def bloom_insert(blocks: UInt32, keys: UInt64) -> None:
    """Insert into a split-block Bloom filter (Apache Parquet format, BloomFilter.md), in place.

    blocks uint32[b, 8], writable; keys uint64[n]: hashes, used as they are.
    """
    _check("blocks", blocks, np.uint32, 2)
    _check("keys", keys, np.uint64, 1)
    if blocks.shape[1] != 8:
        raise ValueError(f"blocks: shape {blocks.shape}, must be [b, 8]")
    if not blocks.flags.writeable:
        raise ValueError("blocks: read-only, must be writable")
    if blocks.shape[0] == 0:
        if keys.shape[0]:
            raise ValueError("blocks: has no block to insert into")
        return
    block, masks = _block_masks(blocks, keys)
    np.bitwise_or.at(blocks, block, masks)


def bloom_test(blocks: UInt32, keys: UInt64) -> npt.NDArray[np.bool_]:
    """bool[n]: False for keys that were surely never inserted. No blocks: all False."""
    _check("blocks", blocks, np.uint32, 2)
    _check("keys", keys, np.uint64, 1)
    if blocks.shape[1] != 8:
        raise ValueError(f"blocks: shape {blocks.shape}, must be [b, 8]")
    if blocks.shape[0] == 0:
        return np.zeros(keys.shape[0], np.bool_)
    block, masks = _block_masks(blocks, keys)
    found: npt.NDArray[np.bool_] = ((blocks[block] & masks) == masks).all(axis=1)
    return found


def select(bits: UInt64, rows: Int32) -> Int32:
    """int32[m]: the positions i, ascending, where bit rows[i] is set. Rows outside: not set.

    bits uint64[w], bit r of the set being bit r % 64 of word r // 64; rows int32[n].
    """
    _check("bits", bits, np.uint64, 1)
    _check("rows", rows, np.int32, 1)
    inside = (rows >= 0) & (rows < 64 * bits.shape[0])
    safe = np.where(inside, rows, 0)
    if not bits.shape[0]:
        return np.empty(0, np.int32)
    shift = (safe & 63).astype(np.uint64)
    word = bits[safe >> 6]
    is_set = inside & ((word >> shift) & np.uint64(1)).astype(np.bool_)
    return np.flatnonzero(is_set).astype(np.int32)


def top_k(scores: Float32, rows: Int32, k: int) -> Int32:
    """int32[min(k, n)]: positions of the best scores, best first; ties by row; NaN last."""
    _check("scores", scores, np.float32, 1)
    _check("rows", rows, np.int32, 1)
    _same_length("rows", rows, scores)
    _not_negative("k", k)
    # sorted by (is NaN, score descending, row); + 0.0 makes -0.0 equal 0.0
    missing = np.isnan(scores)
    keys = np.where(missing, np.float32(0), -scores + np.float32(0))
    return np.lexsort((rows, keys, missing))[:k].astype(np.int32)


def merge(rows: Sequence[Int32], scores: Sequence[Float32]) -> tuple[Int32, Float32, UInt32]:
    """Join at most 32 lists, each item once, in order of first appearance.

    Returns rows int32[m], the sum of each row's scores float32[m] and a bit per list that had it
    uint32[m]. Negative rows and NaN scores are holes; within a list a row's first entry counts.
    """
    if len(rows) != len(scores):
        raise ValueError(f"scores: {len(scores)} lists for {len(rows)} lists of rows")
    if len(rows) > 32:
        raise ValueError(f"rows: {len(rows)} lists, at most 32")
    found: dict[int, tuple[np.float32, int]] = {}
    for number, (some_rows, some_scores) in enumerate(zip(rows, scores, strict=True)):
        _check(f"rows[{number}]", some_rows, np.int32, 1)
        _check(f"scores[{number}]", some_scores, np.float32, 1)
        _same_length(f"scores[{number}]", some_scores, some_rows)
        for row, score in zip(some_rows.tolist(), some_scores, strict=True):
            total, sources = found.get(row, (np.float32(0), 0))
            if row < 0 or np.isnan(score) or sources >> number & 1:
                continue
            found[row] = (np.float32(total + score), sources | 1 << number)
    return (
        np.array(list(found), np.int32),
        np.array([total for total, _ in found.values()], np.float32),
        np.array([sources for _, sources in found.values()], np.uint32),
    )


def dot_rows(vectors: Float32, rows: Int32, queries: Float32) -> Float32:
    """float32[m, q]: products of vectors[rows] with each query.

    vectors float32[n, d]; rows int32[m]; queries float32[q, d].
    """
    _check("vectors", vectors, np.float32, 2)
    _check("rows", rows, np.int32, 1)
    _check("queries", queries, np.float32, 2)
    if queries.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries: width {queries.shape[1]}, vectors have {vectors.shape[1]}")
    _within(rows, vectors.shape[0])
    product: Float32 = vectors[rows] @ queries.T
    return product


def mmr(vectors: Float32, rows: Int32, relevance: Float32, k: int, trade_off: float) -> Int32:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    int32[min(k, m)]: positions in the order picked, each maximising
    ``trade_off * relevance - (1 - trade_off) * (largest product with what was picked)``; the first
    is the most relevant. NaN relevance comes last; ties go to the smaller row.
    vectors float32[n, d], unit length for cosine; rows int32[m]; relevance float32[m].
    """
    _check("vectors", vectors, np.float32, 2)
    _check("rows", rows, np.int32, 1)
    _check("relevance", relevance, np.float32, 1)
    _same_length("relevance", relevance, rows)
    _not_negative("k", k)
    if not 0.0 <= trade_off <= 1.0:
        raise ValueError(f"trade_off: {trade_off}, must be in 0..1")
    _within(rows, vectors.shape[0])
    embedded = vectors[rows]
    gain = np.float32(trade_off)
    nearest = np.full(rows.shape[0], -np.inf, np.float32)
    left = np.ones(rows.shape[0], np.bool_)
    picked: list[int] = []
    for _ in range(min(k, rows.shape[0])):
        value = relevance if not picked else gain * relevance - (1 - gain) * nearest
        missing = np.isnan(relevance)
        order = np.lexsort((rows, np.where(missing, 0, -value + np.float32(0)), missing, ~left))
        best = int(order[0])
        picked.append(best)
        left[best] = False
        nearest = np.maximum(nearest, embedded @ embedded[best])
    return np.array(picked, np.int32)


class DeepFM:
    """The candidates' half of a factorised DeepFM (Guo et al., IJCAI 2017).

    item_hidden float32[n, h1], item_factors float32[n, e], item_bias float32[n]: the items' parts;
    cross_hidden float32[x, h1], cross_linear float32[x]: per-candidate inputs; w2 float32[h1, h2],
    b2 float32[h2], w3 float32[h2, h3], b3 float32[h3], w_out float32[h3].
    """

    def __init__(
        self,
        item_hidden: Float32,
        item_factors: Float32,
        item_bias: Float32,
        cross_hidden: Float32,
        cross_linear: Float32,
        w2: Float32,
        b2: Float32,
        w3: Float32,
        b3: Float32,
        w_out: Float32,
    ) -> None:
        n, h1 = _check("item_hidden", item_hidden, np.float32, 2)
        e = _check("item_factors", item_factors, np.float32, 2)[1]
        x = _check("cross_hidden", cross_hidden, np.float32, 2)[0]
        h2 = _check("w2", w2, np.float32, 2)[1]
        h3 = _check("w3", w3, np.float32, 2)[1]
        for name, array, shape in (
            ("item_factors", item_factors, (n, e)),
            ("item_bias", item_bias, (n,)),
            ("cross_hidden", cross_hidden, (x, h1)),
            ("cross_linear", cross_linear, (x,)),
            ("w2", w2, (h1, h2)),
            ("b2", b2, (h2,)),
            ("w3", w3, (h2, h3)),
            ("b3", b3, (h3,)),
            ("w_out", w_out, (h3,)),
        ):
            _shaped(name, array, shape)
        self._items = (item_hidden, item_factors, item_bias)
        self._cross = (cross_hidden, cross_linear)
        self._layers = ((w2, b2), (w3, b3))
        self._w_out = w_out

    def score(
        self,
        user_hidden: Float32,
        user_factors: Float32,
        user_bias: float,
        rows: Int32,
        cross: Float32,
    ) -> Float32:
        """Probabilities float32[m] of the items ``rows`` int32[m] for one user.

        user_hidden float32[h1] (with the first layer's bias), user_factors float32[e], user_bias:
        the user's parts; cross float32[m, x].
        """
        item_hidden, item_factors, item_bias = self._items
        cross_hidden, cross_linear = self._cross
        _check("rows", rows, np.int32, 1)
        _shaped("user_hidden", user_hidden, (item_hidden.shape[1],))
        _shaped("user_factors", user_factors, (item_factors.shape[1],))
        _shaped("cross", cross, (rows.shape[0], cross_linear.shape[0]))
        _within(rows, item_bias.shape[0])
        hidden = np.maximum(user_hidden + item_hidden[rows] + cross @ cross_hidden, 0)
        for weight, bias in self._layers:
            hidden = np.maximum(hidden @ weight + bias, 0)
        logit = np.float32(user_bias) + item_bias[rows] + item_factors[rows] @ user_factors
        logit = logit + cross @ cross_linear + hidden @ self._w_out
        # exp of a large argument is inf and 1 / inf is 0: right, and no warning wanted
        with np.errstate(over="ignore"):
            probability: Float32 = (1 / (1 + np.exp(-logit))).astype(np.float32)
        return probability


def _check(
    name: str, array: npt.NDArray[np.generic], dtype: type[np.generic], dimensions: int
) -> tuple[int, ...]:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        given = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name}: {given}, must be {np.dtype(dtype)}")
    if array.ndim != dimensions:
        raise ValueError(f"{name}: {array.ndim} dimensions, must be {dimensions}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: must be C-contiguous")
    return array.shape


def _shaped(name: str, array: npt.NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if _check(name, array, np.float32, len(shape)) != shape:
        raise ValueError(f"{name}: shape {array.shape}, must be {shape}")


def _same_length(name: str, array: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> None:
    if array.shape[0] != other.shape[0]:
        raise ValueError(f"{name}: length {array.shape[0]}, must be {other.shape[0]}")


def _not_negative(name: str, value: int) -> None:
    if value < 0:
        raise ValueError(f"{name}: {value}, must not be negative")


def _within(rows: Int32, size: int) -> None:
    outside = rows[(rows < 0) | (rows >= size)]
    if outside.shape[0]:
        raise IndexError(f"rows: {outside[0]} is outside 0..{size - 1}")
