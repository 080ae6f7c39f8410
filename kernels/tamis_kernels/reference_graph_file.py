"""The file of a graph by row, in NumPy; its form is described on `tamis_kernels.HnswGraph.save`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.reference_hash import hash_of

MAGIC = b"TAMISGR1"
_HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("size", "<u8"),
        ("dims", "<u8"),
        ("stride", "<u8"),
        ("upper_stride", "<u8"),
        ("vectors", "<u8"),
        ("live_words", "<u8"),
        ("top_level", "<i4"),
        ("entry", "<u4"),
    ]
)
_FILL = 64
_NONE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class StoredGraph:
    """links: by row, level and place; live: bool[size], rows not marked deleted."""

    size: int
    stride: int
    upper_stride: int
    top_level: int
    entry: int
    links: list[list[list[int]]]
    live: NDArray[np.bool_]

    def content(self, vectors: NDArray[np.float32]) -> bytes:
        """The file, of a graph over the first rows of ``vectors``."""
        bits = np.zeros(0, np.uint64)
        if not self.live.all():
            # as the native kernel has it: ones to the end of the last word
            padded = np.pad(self.live, (0, -self.size % 64), constant_values=True)
            bits = np.packbits(padded, bitorder="little").view(np.uint64)
        header = np.zeros(1, _HEADER)
        header[0] = (
            MAGIC,
            self.size,
            vectors.shape[1],
            self.stride,
            self.upper_stride,
            hash_of(vectors[: self.size].tobytes()),
            len(bits),
            self.top_level,
            self.entry,
        )
        levels = np.array([len(lists) - 1 for lists in self.links], np.uint8)
        ground = [_filled(lists[0], self.stride) for lists in self.links]
        upper = [_filled(links, self.upper_stride) for lists in self.links for links in lists[1:]]
        parts = (header, np.array(ground, "<u4"), levels, np.array(upper, "<u4"), bits)
        return b"".join(part.tobytes() + bytes(-part.nbytes % _FILL) for part in parts)

    @classmethod
    def parse(cls, data: bytes, vectors: NDArray[np.float32]) -> Self:
        """Raises ValueError with what is wrong."""
        at = 0

        def take(dtype: str | np.dtype[Any], count: int, what: str) -> NDArray[Any]:
            nonlocal at
            size = count * np.dtype(dtype).itemsize
            filled = size + -size % _FILL
            if filled > len(data) - at:
                raise ValueError(
                    f"ends within {what}: {filled} bytes are needed, {len(data) - at} are left"
                )
            found = np.frombuffer(data, dtype, count, at)
            at += filled
            return found

        (header,) = take(_HEADER, 1, "the header")
        h = {name: int(header[name]) for name in (_HEADER.names or ())[1:]}
        size, stride, upper_stride = h["size"], h["stride"], h["upper_stride"]
        if (
            stride not in range(16, 0x10001, 16)
            or not 0 < upper_stride <= 0xFFFF
            or not -1 <= h["top_level"] <= 255
            or (h["top_level"] < 0) != (size == 0)
            or h["live_words"] not in (0, -(-size // 64))
        ):
            raise ValueError("its header is not that of a graph")
        if h["dims"] != vectors.shape[1]:
            raise ValueError(f"is of {h['dims']} dimensions, the vectors have {vectors.shape[1]}")
        if size > len(vectors) or size >= 2**31:
            raise ValueError(f"holds {size} rows, there are {len(vectors)} vectors")
        if size * stride * 4 > len(data) - at:
            raise ValueError(f"too short for the {size} rows it declares")
        if h["vectors"] != hash_of(vectors[:size].tobytes()):
            raise ValueError("is of other vectors")
        ground = take("<u4", size * stride, "the links").reshape(size, stride)
        levels = take("u1", size, "the levels").tolist()
        if sum(levels) * upper_stride * 4 > len(data) - at:
            raise ValueError(f"too short for the {sum(levels)} lists above level 0")
        lists = take("<u4", sum(levels) * upper_stride, "the lists above level 0")
        upper = iter(lists.reshape(-1, upper_stride))
        bits = take("<u8", h["live_words"], "the rows not deleted")
        if at != len(data):
            raise ValueError(f"{len(data) - at} bytes more than the header accounts for")
        live = np.ones(size, np.bool_)
        if len(bits):
            live = np.unpackbits(bits.view(np.uint8), bitorder="little")[:size].astype(np.bool_)
        graph = cls(
            size=size,
            stride=stride,
            upper_stride=upper_stride,
            top_level=h["top_level"],
            entry=h["entry"],
            links=[
                [_links(each) for each in (ground[row], *(next(upper) for _ in range(count)))]
                for row, count in enumerate(levels)
            ],
            live=live,
        )
        graph._check()
        return graph

    def _check(self) -> None:
        for row, lists in enumerate(self.links):
            if len(lists) - 1 > self.top_level:
                raise ValueError(
                    f"row {row}: {len(lists) - 1} levels, the graph has {self.top_level}"
                )
            for level, links in enumerate(lists):
                for link in links:
                    if link >= self.size:
                        raise ValueError(f"row {row}: links to {link} of {self.size}")
                    if len(self.links[link]) - 1 < level:
                        raise ValueError(
                            f"row {row}: links to {link} at level {level}, "
                            "which that does not reach"
                        )
        reached = self.entry < self.size and len(self.links[self.entry]) - 1 == self.top_level
        if self.size and not reached:
            raise ValueError(f"its entry point {self.entry} is not a row of level {self.top_level}")


def _filled(links: list[int], length: int) -> list[int]:
    return [*links, *([_NONE] * (length - len(links)))]


def _links(stored: NDArray[np.uint32]) -> list[int]:
    """Up to the first place without one."""
    empty = np.flatnonzero(stored == _NONE)
    links: list[int] = stored[: empty[0] if len(empty) else None].tolist()
    return links
