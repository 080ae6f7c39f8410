"""How well pictures and texts find each other: Recall@k beside chance and beside colours alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

from tamis_server.bundles.clip import normalised

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

KS = (1, 5, 10)
SIDES = ("text to image", "image to text")
WORD_SLOTS = 4_096
_BINS = (8, 4, 4)


def recalls(
    queries: Float32, gallery: Float32, ks: Sequence[int], asked: Mask | None = None
) -> dict[int, float]:
    """Share of queries [n, c] whose partner, the row of the same number in gallery [n, c], is
    among the k nearest by inner product; of equally near ones half come before it.

    asked: bool[n], which queries count; all where not given.
    """
    better = np.empty(queries.shape[0])
    for start in range(0, queries.shape[0], 512):
        scores = queries[start : start + 512] @ gallery.T
        own = scores[np.arange(scores.shape[0]), start + np.arange(scores.shape[0])][:, None]
        ties = (scores == own).sum(axis=1) - 1
        better[start : start + 512] = (scores > own).sum(axis=1) + ties / 2
    counted = better if asked is None else better[asked]
    return {k: float((counted < k).mean()) for k in ks}


def words(texts: Sequence[str]) -> Float32:
    """float32[n, WORD_SLOTS], unit rows: hashed words, as ridge regression takes them."""
    found = np.zeros((len(texts), WORD_SLOTS), np.float32)
    for row, text in enumerate(texts):
        for word in set(re.findall(r"\w+", text.lower())):
            found[row, crc32(word.encode()) % WORD_SLOTS] = 1.0
    return normalised(found)


def colours(pixels: npt.NDArray[np.uint8]) -> Float32:
    """float32[n, 8 * 4 * 4], unit rows: histogram of hue, saturation and brightness of RGB
    pictures uint8[n, height, width, 3]; the root of each share, so that no colour drowns others."""
    found = np.zeros((pixels.shape[0], int(np.prod(_BINS))), np.float32)
    for row, picture in enumerate(pixels):
        hsv = np.asarray(Image.fromarray(picture).convert("HSV"), np.int64).reshape(-1, 3)
        hue, saturation, brightness = (
            values * bins // 256 for values, bins in zip(hsv.T, _BINS, strict=True)
        )
        slots = (hue * _BINS[1] + saturation) * _BINS[2] + brightness
        found[row] = np.sqrt(np.bincount(slots, minlength=found.shape[1]) / slots.shape[0])
    return normalised(found)


def ridge(inputs: Float32, outputs: Float32, penalty: float = 1.0) -> Callable[[Float32], Float32]:
    """The linear map from inputs [n, a] to outputs [n, b], fitted with a penalty on its size."""
    mean_in, mean_out = inputs.mean(axis=0), outputs.mean(axis=0)
    centred = (inputs - mean_in).astype(np.float64)
    gram = centred.T @ centred + penalty * np.eye(inputs.shape[1])
    matrix = np.linalg.solve(gram, centred.T @ (outputs - mean_out)).astype(np.float32)
    return lambda x: (x - mean_in) @ matrix + mean_out


@dataclass(frozen=True, slots=True)
class Way:
    """texts and pictures float32[n, c], partners in rows of the same number; asked: ``recalls``."""

    texts: Float32
    pictures: Float32
    asked: Mask | None = None


def table(ways: Mapping[str, Way]) -> list[dict[str, float | str]]:
    """A row for chance and one for each way, all of the same n."""
    n = next(iter(ways.values())).texts.shape[0]
    rows: list[dict[str, float | str]] = [
        {"way": "chance", **{f"{side} R@{k}": min(k / n, 1.0) for side in SIDES for k in KS}}
    ]
    for name, way in ways.items():
        both = (
            recalls(way.texts, way.pictures, KS, way.asked),
            recalls(way.pictures, way.texts, KS, way.asked),
        )
        found = {
            f"{side} R@{k}": each[k] for side, each in zip(SIDES, both, strict=True) for k in KS
        }
        rows.append({"way": name, **found})
    return rows


def markdown(rows: list[dict[str, float | str]]) -> str:
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join(["---"] + ["---:"] * (len(names) - 1))]
    for row in rows:
        values = (value if isinstance(value, str) else f"{value:.3f}" for value in row.values())
        lines.append(" | ".join(values))
    return "\n".join(f"| {line} |" for line in lines)
