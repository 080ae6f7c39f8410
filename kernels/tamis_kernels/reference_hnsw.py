"""The graph kernel in plain Python: reads a graph from its file and walks it, one step at a time.

Arguments, results and errors are described on the public `HnswGraph` of `tamis_kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_bits, check_k, check_length
from tamis_kernels.reference_graph_file import MAGIC, StoredGraph
from tamis_kernels.reference_products import inner_products

_HEADER = np.dtype(
    [
        ("level0_offset", "<u8"),
        ("capacity", "<u8"),
        ("size", "<u8"),
        ("record_bytes", "<u8"),
        ("label_offset", "<u8"),
        ("vector_offset", "<u8"),
        ("top_level", "<i4"),
        ("entry", "<u4"),
        ("upper_links", "<u8"),
        ("links", "<u8"),
        ("m", "<u8"),
        ("multiplier", "<f8"),
        ("ef_construction", "<u8"),
    ]
)
_ROUND = 4  # rows whose links are followed together, as in the native kernel

Entry = tuple[int, int]  # negated product of codes, row: sorted, the best come first


@dataclass(slots=True)
class _Reader:
    """Takes bytes off the front of a file; every size is checked before use."""

    data: bytes
    at: int = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise ValueError(f"ends within {what}: {count} bytes are needed, {self.left} are left")
        self.at += count
        return self.data[self.at - count : self.at]


def codes_of(vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    """In 127 steps to the largest number of all; what is no number counts as 0."""
    sizes = np.abs(vectors)
    most = np.max(sizes, initial=0, where=np.isfinite(sizes))
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = vectors * (np.float32(127) / most if most > 1e-30 else np.float32(0))
    scaled = np.where(np.abs(scaled) <= 127.5, scaled, 0)
    codes: NDArray[np.int32] = np.rint(scaled).astype(np.int32)
    return codes


def query_codes(query: NDArray[np.float32]) -> NDArray[np.int32]:
    """As codes_of, with a scale of its own; one that is infinite anywhere is all 0."""
    sizes = np.abs(query)
    most = np.max(sizes, initial=0, where=~np.isnan(sizes))
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = query * (np.float32(127) / most if most > 1e-30 else np.float32(0))
    codes: NDArray[np.int32] = np.rint(np.nan_to_num(scaled, nan=0.0)).astype(np.int32)
    return codes


class HnswGraph:
    def __init__(self, path: str, vectors: NDArray[np.float32]) -> None:
        check("vectors", vectors, np.float32, 2)
        self._vectors = vectors
        data = Path(path).read_bytes()
        if data.startswith(MAGIC):
            stored = StoredGraph.parse(data, vectors)
            self.size, self._top_level = stored.size, stored.top_level
            self._entry, self._live = stored.entry, stored.live
            self._links: list[list[list[int]]] = stored.links
            self._stride, self._upper_stride = stored.stride, stored.upper_stride
        else:
            self._read_hnswlib(_Reader(data))
        self._codes = codes_of(vectors[: self.size])

    def save(self, path: str) -> None:
        stored = StoredGraph(
            size=self.size,
            stride=self._stride,
            upper_stride=self._upper_stride,
            top_level=self._top_level,
            entry=max(self._entry, 0),
            links=self._links,
            live=self._live,
        )
        Path(path).write_bytes(stored.content(self._vectors))

    def _read_hnswlib(self, reader: _Reader) -> None:
        header = self._header(reader)
        self.size = int(header["size"])
        self._stride = -(-int(header["links"]) // 16) * 16
        self._upper_stride = int(header["upper_links"])
        self._top_level = int(header["top_level"]) if self.size else -1
        self._live = np.ones(self.size, np.bool_)
        labels, lists = self._level0(reader, header)
        upper = self._upper_levels(reader, header)
        if reader.left:
            raise ValueError(f"{reader.left} bytes more than the header accounts for")
        entry = int(header["entry"])
        if self.size and (entry >= self.size or len(upper[entry]) != self._top_level):
            raise ValueError(
                f"its entry point {entry} is not an element of level {self._top_level}"
            )
        # from elements, numbered as they were added, to rows: [row][level][link]
        self._entry = labels[entry] if self.size else -1
        self._links = [[] for _ in range(self.size)]
        for element, levels in enumerate(upper):
            self._links[labels[element]] = [
                [labels[link] for link in links] for links in (lists[element], *levels)
            ]

    def _header(self, reader: _Reader) -> np.void:
        (header,) = np.frombuffer(reader.take(_HEADER.itemsize, "the header"), _HEADER)
        count, dims = self._vectors.shape
        names = _HEADER.names or ()
        h = {name: int(header[name]) for name in names if name != "multiplier"}
        if (
            h["level0_offset"] != 0
            or not 0 < h["links"] <= 0xFFFF
            or not 0 < h["upper_links"] <= 0xFFFF
            or h["vector_offset"] != 4 * (h["links"] + 1)
            or h["label_offset"] < h["vector_offset"]
            or h["record_bytes"] != h["label_offset"] + 8
        ):
            raise ValueError("its header is not that of an hnswlib index")
        if h["label_offset"] - h["vector_offset"] != 4 * dims:
            raise ValueError(
                f"its vectors take {h['label_offset'] - h['vector_offset']} bytes, "
                f"{dims} dimensions take {4 * dims}"
            )
        if h["size"] > h["capacity"] or h["size"] >= 2**31:
            raise ValueError(f"holds {h['size']} elements, with room for {h['capacity']}")
        if h["top_level"] > 255:
            raise ValueError(f"has {h['top_level']} levels, at most 255 are possible")
        if h["size"] > reader.left // h["record_bytes"]:
            raise ValueError(f"too short for the {h['size']} elements it declares")
        if h["size"] > count:
            raise ValueError(f"holds {h['size']} elements, there are {count} vectors")
        return header  # type: ignore[no-any-return]

    def _level0(self, reader: _Reader, header: np.void) -> tuple[list[int], list[list[int]]]:
        labels: list[int] = []
        lists = []
        named = set()
        most, label_at = int(header["links"]), int(header["label_offset"])
        for element in range(self.size):
            record = reader.take(int(header["record_bytes"]), f"element {element}")
            lists.append(self._checked(record, most, element))
            label = int.from_bytes(record[label_at:], "little")
            if label >= self.size or label in named:
                problem = "stands twice" if label < self.size else f"is no row of {self.size}"
                raise ValueError(f"element {element}: label {label} {problem}")
            named.add(label)
            labels.append(label)
            if record[int(header["vector_offset"]) : label_at] != self._vectors[label].tobytes():
                raise ValueError(f"element {element}: its vector is not that of row {label}")
            if record[2] & 1:
                self._live[label] = False
        return labels, lists

    def _upper_levels(self, reader: _Reader, header: np.void) -> list[list[list[int]]]:
        most = int(header["upper_links"])
        list_bytes = 4 * (most + 1)
        upper: list[list[list[int]]] = []
        for element in range(self.size):
            what = f"the levels of element {element}"
            length = int.from_bytes(reader.take(4, what), "little")
            levels = length // list_bytes
            if length % list_bytes or length > reader.left or levels > self._top_level:
                raise ValueError(
                    f"element {element}: {length} bytes of links above level 0, "
                    f"{self._top_level} levels of {list_bytes} are possible"
                )
            records = [reader.take(list_bytes, what) for _ in range(levels)]
            upper.append([self._checked(record, most, element) for record in records])
        for element, levels_of in enumerate(upper):
            for level, links in enumerate(levels_of, 1):
                for link in links:
                    if len(upper[link]) < level:
                        raise ValueError(
                            f"element {element}: links to {link} at level {level}, "
                            "which that does not reach"
                        )
        return upper

    def _checked(self, record: bytes, most: int, element: int) -> list[int]:
        count = int.from_bytes(record[:2], "little")
        if count > most:
            raise ValueError(f"element {element}: {count} links, allowed are {most}")
        links: list[int] = np.frombuffer(record, "<u4", count, 4).tolist()
        for link in links:
            if link >= self.size:
                raise ValueError(f"element {element}: links to {link} of {self.size}")
        return links

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        ef: int,
        bits: NDArray[np.uint64] | None,
        widest: int,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        check("queries", queries, np.float32, 2)
        check_length("queries", queries, self._vectors.shape[1], axis=1)
        if ef < 1:
            raise ValueError(f"ef must be 1 or more, got {ef}")
        if widest < 0:
            raise ValueError(f"widest must be 0 or more, got {widest}")
        allowed = self._allowed(bits)
        check_k(k)
        rows = np.full((len(queries), k), -1, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        if self.size == 0 or k == 0:
            return rows, scores
        ef = min(max(ef, k), self.size)
        widest = min(max(widest or self.size, ef), self.size)
        for q, query in enumerate(queries):
            beam = self._beam(query_codes(query), allowed, ef, widest)
            found = np.array([row for _, row in beam if allowed[row]], np.int32)
            self._best(query, found, rows[q], scores[q])
        return rows, scores

    def scan(
        self, queries: NDArray[np.float32], k: int, bits: NDArray[np.uint64] | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        check("queries", queries, np.float32, 2)
        check_length("queries", queries, self._vectors.shape[1], axis=1)
        allowed = np.flatnonzero(self._allowed(bits)).astype(np.int32)
        check_k(k)
        rows = np.full((len(queries), k), -1, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for q, query in enumerate(queries):
            self._best(query, allowed, rows[q], scores[q])
        return rows, scores

    def _allowed(self, bits: NDArray[np.uint64] | None) -> NDArray[np.bool_]:
        if bits is None:
            return self._live
        words = -(-self.size // 64)
        check_bits(bits, words)
        mask = np.unpackbits(bits[:words].view(np.uint8), bitorder="little")[: self.size]
        return self._live & mask.astype(np.bool_)

    def _best(
        self,
        query: NDArray[np.float32],
        found: NDArray[np.int32],
        rows: NDArray[np.int32],
        scores: NDArray[np.float32],
    ) -> None:
        """As many of ``found`` as fit into rows and scores."""
        products = inner_products(self._vectors[found], query[None])[:, 0]
        best = np.lexsort((found, -products))[: len(rows)]  # NaN last
        rows[: len(best)] = found[best]
        scores[: len(best)] = products[best]

    def _entries(self, query: NDArray[np.int32], rows: list[int]) -> list[Entry]:
        products = self._codes[rows] @ query
        return list(zip((-products).tolist(), rows, strict=True))

    def _descend(self, query: NDArray[np.int32]) -> Entry:
        (best,) = self._entries(query, [self._entry])
        for level in range(self._top_level, 0, -1):
            before = None
            while best != before:
                before = best
                best = min([best, *self._entries(query, self._links[best[1]][level])])
        return best

    def _beam(
        self, query: NDArray[np.int32], allowed: NDArray[np.bool_], ef: int, widest: int
    ) -> list[Entry]:
        """The best rows met, up to the ef-th allowed one and at most ``widest``."""
        beam = [self._descend(query)]
        visited = {beam[0][1]}
        followed: set[int] = set()
        while True:
            leaders = [row for *_, row in beam if row not in followed][:_ROUND]
            if not leaders:
                return beam
            followed.update(leaders)
            met = []
            for leader in leaders:
                for link in self._links[leader][0]:
                    if link not in visited:
                        visited.add(link)
                        met.append(link)
            beam = sorted([*beam, *self._entries(query, met)])[:widest]
            positions = [i for i, (*_, row) in enumerate(beam) if allowed[row]]
            if len(positions) >= ef:
                del beam[positions[ef - 1] + 1 :]
