"""A catalogue as pairs of picture and text, some of them held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis_pipeline.clip.export import preprocessing
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.embedding.embed import documents
from tamis_server.bundles.pictures import Preprocessing, UnreadablePicture, decode

_FEWEST = 10
_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Pictured:
    """pixels uint8[n, size, size, 3], as the vision tower sees them; left_out: items without a
    readable picture or without a text."""

    texts: list[str]
    paths: list[Path]
    pixels: npt.NDArray[np.uint8]
    left_out: int

    def part(self, which: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.uint8], list[str]]:
        """(pixels, texts)"""
        return self.pixels[which], [self.texts[row] for row in np.flatnonzero(which).tolist()]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Masks bool[n] that part a catalogue. Items of one and the same text are on one side."""

    learn: npt.NDArray[np.bool_]
    check: npt.NDArray[np.bool_]
    test: npt.NDArray[np.bool_]


def pictured(
    items: pl.DataFrame, root: Path, image_size: int, read: Callable[[], None]
) -> Pictured:
    """Items with both; ``read`` is called after each. Raises DatasetRejected where there are
    hardly any."""
    given = documents(items, root)
    preprocess = Preprocessing.parse(preprocessing(image_size))
    texts, paths, pixels = [], [], []
    for text, path in zip(given.texts, given.pictures, strict=True):
        read()
        if not text or path is None:
            continue
        try:
            picture = preprocess.framed(decode(path.read_bytes()))
        except (UnreadablePicture, OSError):
            continue
        texts.append(text)
        paths.append(path)
        pixels.append(np.asarray(picture, np.uint8))
    if len(texts) < _FEWEST:
        raise DatasetRejected(
            f"{root}: {len(texts)} items have a readable picture and a text; "
            f"at least {_FEWEST} are needed"
        )
    return Pictured(texts, paths, np.stack(pixels), len(items) - len(texts))


def held_out(given: Pictured, seed: int, test: float = 0.15, check: float = 0.1) -> HeldOut:
    """By a hash of the text, so that an item keeps its side when others come and go."""
    hashed = [crc32(f"{seed}\0{text}".encode()) % _PARTS / _PARTS for text in given.texts]
    place = np.array(hashed)
    return HeldOut(
        learn=place >= test + check,
        check=(place >= test) & (place < test + check),
        test=place < test,
    )
