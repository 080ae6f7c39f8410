"""Bundles whose items are encoded by a CLIP of random weights, from words and plain pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from support.clips import write_random_clip
from support.engines import AS_OF
from tamis_pipeline.bundle import BundleParts, ContentParts
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.clip import Clip, fuse
from tamis_server.bundles.manifest import ContentSpec

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
THINGS = ("shoe", "shirt", "dress")
DIM = 16
SPEC = ContentSpec(
    encoder="random", dim=DIM, text_weight=0.5, image_weight=0.5, image_size=8, max_tokens=6
)


def picture(colour: str, kind: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    """The bytes of a picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(buffer, kind)
    return buffer.getvalue()


def title_of(row: int) -> str:
    """red shoe, green shoe, blue shoe, red shirt, … and again."""
    return f"{(*COLOURS,)[row % 3]} {THINGS[row // 3 % 3]}"


def depicted_parts(
    directory: Path, items: int = 120, seed: int = 0, profiled: bool = False
) -> BundleParts:
    """A random bundle with a CLIP, written to ``directory``: every second item has a picture of
    its colour beside its title, the last two have neither."""
    parts = random_parts(items=items, users=20, as_of=AS_OF, seed=seed, profiled=profiled)
    clip = Clip.load(write_random_clip(directory, DIM, seed), threads=1)
    titles = [title_of(row) for row in range(items - 2)] + ["", ""]
    texts, images = np.zeros((2, items, DIM), np.float32)
    texts[:-2] = clip.texts(titles[:-2])
    has_image = np.arange(items) % 2 == 1
    has_image[-2:] = False
    shown = np.flatnonzero(has_image)
    images[shown] = clip.images([picture(titles[row].split()[0]) for row in shown])
    table = parts.items.set_column(1, "title", pa.array(titles, pa.string()))
    table = table.set_column(2, "text", pa.array([""] * items, pa.string()))
    vectors = fuse(texts, images, has_image, SPEC)
    return replace(parts, items=table, content=ContentParts(vectors, SPEC, directory))
