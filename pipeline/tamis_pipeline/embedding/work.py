"""What is to be encoded, as a table: the unit that engines pass to machines.

==========  ==============  ====================================================================
key         binary          hash of encoder and input: what the vector is kept under
text        string          a document; null for a picture
picture     string          a file; null for a text
==========  ==============  ====================================================================

and what comes back: ``key``, ``vector`` list<float> (null where a picture can't be read) and
``problem`` string (why not; else null).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from tamis_pipeline.encoders.port import Encoder, Float32
from tamis_server.bundles.pictures import UnreadablePicture, decode

WORK = pa.schema([("key", pa.binary()), ("text", pa.string()), ("picture", pa.string())])
RESULT = pa.schema(
    [("key", pa.binary()), ("vector", pa.list_(pa.float32())), ("problem", pa.string())]
)


class Engine(Protocol):
    """Encodes work; results come in any order, each batch as soon as it is there."""

    def __call__(self, work: pa.Table) -> Iterator[pa.Table]: ...


class InProcess:
    """One encoder, here, ``batch`` rows at a time."""

    def __init__(self, encoder: Encoder, batch: int) -> None:
        self._encoder = encoder
        self._batch = batch

    def __call__(self, work: pa.Table) -> Iterator[pa.Table]:
        for start in range(0, work.num_rows, self._batch):
            yield encode(self._encoder, work.slice(start, self._batch))


def encode(encoder: Encoder, work: pa.Table) -> pa.Table:
    """``RESULT`` rows of ``WORK`` rows, in their order."""
    rows = work.to_pylist()
    vectors: list[Float32 | None] = [None] * len(rows)
    problems: list[str | None] = [None] * len(rows)
    texts = [number for number, row in enumerate(rows) if row["text"] is not None]
    pictures: dict[int, Float32] = {}
    for number, row in enumerate(rows):
        if row["text"] is None:
            try:
                pictures[number] = encoder.pixels(decode(Path(row["picture"]).read_bytes()))
            except (UnreadablePicture, OSError) as error:
                problems[number] = str(error)
    if texts:
        for number, vector in zip(
            texts, encoder.texts([rows[number]["text"] for number in texts]), strict=True
        ):
            vectors[number] = vector
    if pictures:
        found = encoder.images(list(pictures.values()))
        for number, vector in zip(pictures, found, strict=True):
            vectors[number] = vector
    keys = [row["key"] for row in rows]
    return pa.table({"key": keys, "vector": vectors, "problem": problems}, RESULT)
