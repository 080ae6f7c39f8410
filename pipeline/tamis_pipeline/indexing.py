"""The index over item vectors: a graph, inverted lists, or whichever of the two is the faster."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, Literal, Protocol, TypeVar

import hnswlib
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from tamis_kernels import HnswGraph, IvfIndex, scan
from tamis_pipeline.histories import profiles_of
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles import query_tower

Float32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32]
Bits = npt.NDArray[np.uint64]
Search = Callable[[Float32, Bits | None], Rows]
_K = 100  # results that recall and time are measured at
_QUERIES = 200  # that both are measured with
_ROWS = 125  # a list, which the finer lists of large catalogues stay at
_LISTS = (3.2, 8.0)  # times the square root of the items: how few and how many there are at most
_ROUNDS = 8  # of k-means
_LEARNT_FROM = 64  # rows for each list
_AT_ONCE = 8192
_STEP = 1.25  # from one effort to the next
_REACHES = tuple(round(0.6 + 0.2 * step, 1) for step in range(18))  # to 4.0; then without an end


class AutoIndex(BaseModel):
    """Both are built, and the one is kept that reaches ``recall`` of the nearest 100 sooner."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["auto"]
    recall: float = Field(0.95, gt=0, lt=1)


class Built(Protocol):
    """An index in memory."""

    @property
    def spec(self) -> fmt.IndexSpec: ...

    def save(self, directory: Path, files: fmt.IndexFiles, pairing: str) -> None:
        """Write its files. pairing: what the bundle says of the vectors' file."""


@dataclass(frozen=True, slots=True)
class Graph:
    """hnswlib's, label = row."""

    spec: fmt.HnswSpec
    vectors: Float32
    index: hnswlib.Index

    def save(self, directory: Path, files: fmt.IndexFiles, pairing: str) -> None:
        """As hnswlib's file, and as the graph that servers read."""
        self.index.save_index(str(directory / files.hnsw))
        HnswGraph(directory / files.hnsw, self.vectors).save(directory / files.graph)


@dataclass(frozen=True, slots=True)
class Lists:
    """centroids float32[lists, d]; list i is rows[starts[i]:starts[i + 1]] of int32[n]."""

    spec: fmt.IvfSpec
    centroids: Float32
    starts: npt.NDArray[np.int64]
    rows: Rows

    def save(self, directory: Path, files: fmt.IndexFiles, pairing: str) -> None:
        np.savez(
            directory / files.lists,
            centroids=self.centroids,
            starts=self.starts,
            rows=self.rows,
            pairing_id=np.array(pairing),
        )


def lists_for(items: int) -> int:
    """How many lists so many items are best kept in. Finer ones find more among as many rows
    looked at, as long as a look at all centroids costs less than it saves."""
    least, most = (round(each * math.sqrt(items)) for each in _LISTS)
    return max(1, min(items // 16, max(least, min(most, items // _ROWS))))


def build_index(vectors: Float32, spec: fmt.IndexSpec, seed: int) -> Built:
    """An index over unit vectors float32[n, d]; the same seed, the same index."""
    if isinstance(spec, fmt.IvfSpec):
        return inverted_lists(vectors, spec, seed)
    return _graph(vectors, spec, seed)


def _graph(vectors: Float32, spec: fmt.HnswSpec, seed: int) -> Graph:
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(
        max_elements=vectors.shape[0],
        ef_construction=spec.ef_construction,
        M=spec.m,
        random_seed=seed,
    )
    # one thread, so that a seed decides it
    index.add_items(vectors, np.arange(vectors.shape[0]), num_threads=1)
    return Graph(spec, vectors, index)


def inverted_lists(vectors: Float32, spec: fmt.IvfSpec, seed: int) -> Lists:
    """By spherical k-means (Dhillon, Modha, Machine Learning 2001) over a sample of the rows."""
    rng = np.random.default_rng((seed, 3))
    count = min(spec.lists, vectors.shape[0])
    sample = vectors[np.sort(rng.permutation(vectors.shape[0])[: count * _LEARNT_FROM])]
    centroids = sample[rng.permutation(sample.shape[0])[:count]].copy()
    for _ in range(_ROUNDS):
        nearest = _assigned(sample, centroids)
        order = np.argsort(nearest, kind="stable")
        held, first = np.unique(nearest[order], return_index=True)
        centroids[held] = np.add.reduceat(sample[order], first)  # a list that holds none stays
        lengths = np.linalg.norm(centroids, axis=1, keepdims=True)
        centroids /= np.maximum(lengths, np.float32(1e-9))
    nearest = _assigned(vectors, centroids)
    starts = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=count))])
    rows = np.argsort(nearest, kind="stable").astype(np.int32)
    return Lists(spec, centroids, starts.astype(np.int64), rows)


def _assigned(vectors: Float32, centroids: Float32) -> npt.NDArray[np.intp]:
    parts = range(0, vectors.shape[0], _AT_ONCE)
    return np.concatenate(
        [np.argmax(vectors[at : at + _AT_ONCE] @ centroids.T, axis=1) for at in parts]
    )


B_co = TypeVar("B_co", bound=Built, covariant=True)


@dataclass(frozen=True, slots=True)
class Measured(Generic[B_co]):
    """What an index does at the least effort that reaches the recall, or at its most: of queries
    among all items and among half of them, as many of each."""

    built: B_co
    recall: float
    us: float

    def __str__(self) -> str:
        return f"{self.built.spec!r}: recall@{_K} {self.recall:.3f}, {self.us:.0f} us a query"


def faster(
    vectors: Float32, queries: Float32, wanted: AutoIndex, seed: int
) -> tuple[Measured[Built], Measured[Built]]:
    """Both indices, measured with queries float32[q, d], without any with items' own vectors; first
    the one that reaches the recall sooner, or comes nearer to it where neither does."""
    queries = queries if queries.shape[0] else vectors[:_QUERIES]
    asked = [_Asked.of(vectors, queries, bits) for bits in (None, _half(vectors.shape[0], seed))]
    graph = _least_graph(vectors, seed, asked, wanted.recall)
    lists = _least_lists(vectors, seed, asked, wanted.recall)
    both: tuple[Measured[Built], ...] = graph, lists
    reached = [each for each in both if each.recall >= wanted.recall]
    if reached:
        best = min(reached, key=lambda each: each.us)
    else:
        best = max(both, key=lambda each: each.recall)
    return best, lists if best is graph else graph


def _half(items: int, seed: int) -> Bits:
    """A bit for each of half of the items: servers search under filters, of which this is one."""
    chosen = np.zeros(-(-items // 64) * 64, np.bool_)
    chosen[: (items + 1) // 2] = True
    np.random.default_rng((seed, 5)).shuffle(chosen[:items])
    return np.packbits(chosen, bitorder="little").view(np.uint64)


@dataclass(frozen=True, slots=True)
class _Asked:
    """queries float32[q, d] among the items of ``bits``, all without; exact int32[q, k]."""

    queries: Float32
    bits: Bits | None
    exact: Rows

    @staticmethod
    def of(vectors: Float32, queries: Float32, bits: Bits | None) -> _Asked:
        allowed = vectors.shape[0] if bits is None else int(np.bitwise_count(bits).sum())
        return _Asked(queries, bits, scan(vectors, bits, queries, min(_K, allowed))[0])

    def measure(self, search: Search) -> tuple[float, float]:
        """The mean recall, and the median seconds of a query."""
        times, shares = [], []
        for query, wanted in zip(self.queries, self.exact, strict=True):
            start = time.perf_counter()
            found = search(query[None, :], self.bits)
            times.append(time.perf_counter() - start)
            shares.append(np.intersect1d(found, wanted).shape[0] / wanted.shape[0])
        return statistics.mean(shares), statistics.median(times)


def _least_effort(
    attempts: Iterator[tuple[B_co, Search]], asked: Sequence[_Asked], recall: float
) -> Measured[B_co]:
    tried: list[Measured[B_co]] = []
    for built, search in attempts:
        shares, times = zip(*(each.measure(search) for each in asked), strict=True)
        tried.append(Measured(built, statistics.mean(shares), statistics.mean(times) * 1e6))
        if tried[-1].recall >= recall:
            break
    return tried[-1]


def _least_graph(
    vectors: Float32, seed: int, asked: Sequence[_Asked], recall: float
) -> Measured[Graph]:
    """The beam is made as wide as the recall takes."""
    spec = fmt.HnswSpec()
    built = _graph(vectors, spec, seed)
    with TemporaryDirectory() as directory:
        built.save(Path(directory), fmt.INDEX, "")
        graph = HnswGraph(Path(directory) / fmt.INDEX.graph, vectors)

        def attempts() -> Iterator[tuple[Graph, Search]]:
            for ef in _efforts(_K // 2, vectors.shape[0]):
                yield (
                    replace(built, spec=spec.model_copy(update={"ef_search": ef})),
                    lambda query, bits, ef=ef: graph.search(query, _K, ef, bits)[0],  # type: ignore[misc]
                )

        return _least_effort(attempts(), asked, recall)


def _least_lists(
    vectors: Float32, seed: int, asked: Sequence[_Asked], recall: float
) -> Measured[Lists]:
    """Searches reach as far as the recall takes, so that each is as long as its query needs, and
    then look at no more than it takes."""
    items = vectors.shape[0]
    spec = fmt.IvfSpec(kind="ivf", lists=lists_for(items), scanned=items)
    built = inverted_lists(vectors, spec, seed)
    index = IvfIndex(built.centroids, built.starts, built.rows, vectors)

    def attempts(efforts: Iterable[tuple[int, float | None]]) -> Iterator[tuple[Lists, Search]]:
        for scanned, reach in efforts:
            far = math.inf if reach is None else reach
            yield (
                replace(built, spec=spec.model_copy(update={"scanned": scanned, "reach": reach})),
                lambda query, bits, scanned=scanned, far=far: index.search(  # type: ignore[misc]
                    query, _K, scanned, bits, far
                )[0],
            )

    found = _least_effort(attempts((items, each) for each in (*_REACHES, None)), asked, recall)
    reach = found.built.spec.reach
    lengths = ((scanned, reach) for scanned in _efforts(4 * _K, items))
    return _least_effort(attempts(lengths), asked, min(recall, found.recall))


def _efforts(least: int, most: int) -> Iterator[int]:
    effort = min(least, most)
    while effort < most:
        yield effort
        effort = math.ceil(effort * _STEP)
    yield most


def queries_of(
    users: pa.Table,
    encoder: Mapping[str, npt.NDArray[Any]],
    profile: Sequence[fmt.FieldSpec],
    as_of: float,
    seed: int,
) -> Float32:
    """What some of a bundle's users would be asked for with: float32[q, d], unit length."""
    told = np.flatnonzero(pc.list_value_length(users.column("rows")).to_numpy() > 0)
    some = np.random.default_rng((seed, 4)).permutation(told)[:_QUERIES]
    contexts = query_tower.context(np.full(users.num_rows, as_of), profiles_of(users), profile)
    found = [np.empty((0, encoder["b2"].shape[0]), np.float32)]
    for user in some.tolist():
        rows = np.array(users.column("rows")[user].as_py(), np.int32)[None, ::-1]
        kinds = np.array(users.column("kinds")[user].as_py(), np.uint8)[None, ::-1]
        found.append(query_tower.encode(encoder, rows, kinds, contexts[user][None, :]))
    queries = np.concatenate(found)
    known: Float32 = queries[queries.any(axis=1)]
    return known
