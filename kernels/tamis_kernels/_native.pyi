from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def available_levels() -> tuple[str, ...]: ...
def set_level(name: str) -> None: ...
def xxh64(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint64]: ...
def bloom_insert(blocks: NDArray[np.uint32], keys: NDArray[np.uint64]) -> None: ...
def bloom_absent(
    filters: Sequence[NDArray[np.uint32]], keys: NDArray[np.uint64]
) -> NDArray[np.int32]: ...
def select(
    bits: NDArray[np.uint64], rows: NDArray[np.int32], wanted: bool
) -> NDArray[np.int32]: ...
def append_events(
    stored: list[bytes],
    starts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    times: NDArray[np.float64],
    kinds: NDArray[np.uint8],
    most: int,
) -> list[bytes]: ...
def append_keys(
    stored: list[bytes], starts: NDArray[np.int64], keys: NDArray[np.uint64], most: int
) -> tuple[list[bytes], NDArray[np.uint8]]: ...
def insert_keys(
    stored: list[bytes],
    starts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    first_blocks: int,
    layer_bits: NDArray[np.float64],
) -> list[bytes]: ...
def parts_of(records: list[bytes], name: bytes) -> list[bytes]: ...
def with_parts(records: list[bytes], name: bytes, contents: list[bytes]) -> list[bytes]: ...
def only_parts(records: list[bytes], names: list[bytes]) -> list[bytes]: ...
def bits_of(rows: NDArray[np.int32], words: int) -> NDArray[np.uint64]: ...
def top_k(scores: NDArray[np.float32], rows: NDArray[np.int32], k: int) -> NDArray[np.int32]: ...
def best_scaled(
    scores: NDArray[np.float32], rows: NDArray[np.int32], k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
def fuse_ranks(
    rows: Sequence[NDArray[np.int32]],
    weights: Sequence[float],
    sources: Sequence[int],
    damping: float,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.uint32]]: ...
def best_of(
    rows: Sequence[NDArray[np.int32]],
    scores: Sequence[NDArray[np.float32]],
    without: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
def affinities(
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    history: NDArray[np.int32],
    asked: NDArray[np.int32],
) -> NDArray[np.float32]: ...
def affine_rows(
    rows: NDArray[np.int32], weights: NDArray[np.float32], history: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
def user_features(
    rows: NDArray[np.int32],
    times: NDArray[np.float64],
    positive: NDArray[np.bool_],
    now: float,
    recent: int,
    item_fields: NDArray[np.int32],
    popularity: NDArray[np.float32],
    tail: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
def cross_features(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    query: NDArray[np.float32] | None,
    taken: NDArray[np.int32],
    recent: int,
    near_rows: NDArray[np.int32],
    near_weights: NDArray[np.float32],
    learnt_as: NDArray[np.int32] | None,
) -> NDArray[np.float32]: ...
def dot_rows(
    vectors: NDArray[np.float32], rows: NDArray[np.int32], queries: NDArray[np.float32]
) -> NDArray[np.float32]: ...
def scan(
    vectors: NDArray[np.float32],
    bits: NDArray[np.uint64] | None,
    queries: NDArray[np.float32],
    k: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
def mmr(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    relevance: NDArray[np.float32],
    k: int,
    trade_off: float,
) -> NDArray[np.int32]: ...
def dpp(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    relevance: NDArray[np.float32],
    k: int,
    trade_off: float,
) -> NDArray[np.int32]: ...

class KeyIndex:
    def __init__(self, keys: NDArray[np.uint64]) -> None: ...
    @property
    def distinct(self) -> int: ...
    def find(self, wanted: NDArray[np.uint64]) -> NDArray[np.int32]: ...
    def find_text(self, text: str) -> int: ...

def texts(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], positions: NDArray[np.int32]
) -> list[str]: ...
def halved(values: NDArray[np.float32]) -> NDArray[np.float16]: ...

class QueryTower:
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
    ) -> None: ...
    def encode(
        self, rows: NDArray[np.int32], kinds: NDArray[np.uint8], context: NDArray[np.int32]
    ) -> NDArray[np.float32]: ...

class DeepFMSide:
    def __init__(
        self,
        embedding: NDArray[np.float32],
        linear: NDArray[np.float32],
        dense_linear: NDArray[np.float32],
        w1: NDArray[np.float32],
        b1: NDArray[np.float32],
        fields: int,
    ) -> None: ...
    def parts(
        self, slots: NDArray[np.int32], dense: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]: ...

class DeepFM:
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
        int8: bool,
    ) -> None: ...
    def score(
        self,
        user_hidden: NDArray[np.float32],
        user_factors: NDArray[np.float32],
        user_bias: float,
        rows: NDArray[np.int32],
        cross: NDArray[np.float32],
    ) -> NDArray[np.float32]: ...

class HnswGraph:
    def __init__(self, path: str, vectors: NDArray[np.float32]) -> None: ...
    @property
    def size(self) -> int: ...
    def save(self, path: str) -> None: ...
    def scan(
        self, queries: NDArray[np.float32], k: int, bits: NDArray[np.uint64] | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        ef: int,
        bits: NDArray[np.uint64] | None,
        widest: int,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...

class IvfIndex:
    def __init__(
        self,
        centroids: NDArray[np.float32],
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        vectors: NDArray[np.float32],
    ) -> None: ...
    @property
    def size(self) -> int: ...
    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        scanned: int,
        bits: NDArray[np.uint64] | None,
        reach: float,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
