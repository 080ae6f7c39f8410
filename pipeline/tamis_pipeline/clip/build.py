"""``tamis pipeline clip``: train a small CLIP on a catalogue, and measure it on what it has not
seen."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from tamis_pipeline.clip import retrieval
from tamis_pipeline.clip.catalogue import Pictured, held_out, pictured
from tamis_pipeline.clip.export import export
from tamis_pipeline.clip.towers import ClipConfig, Float32
from tamis_pipeline.clip.training import train
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.progress import Progress
from tamis_pipeline.readers import read_catalogue
from tamis_server.bundles.clip import Card, Clip, normalised
from tamis_server.bundles.directory import replacing

TRAINING = "training.json"
_BATCH = 256
BASE = ClipConfig()
TINY = replace(
    BASE, dim=64, channels=(12, 24, 48, 96), width=64, pieces=1_200, max_tokens=24, batch=64
)
SIZES = {"base": BASE, "tiny": TINY}


def build(
    kind: str, source: Path, out: Path, config: ClipConfig, seed: int, progress: Progress
) -> Card:
    """Train on the catalogue ``source`` of format ``kind`` and write the towers to ``out``, with
    what ``evaluate`` needs to know. Raises DatasetRejected."""
    given = _read(kind, source, config.image_size, progress)
    parts = held_out(given, seed)
    with progress.stage("clip"):
        trained = train(
            given.part(parts.learn), given.part(parts.check), config, seed, progress.note
        )
    with replacing(out) as directory:
        card = export(trained, directory)
        facts = {"seed": seed, "items": len(given.texts), "config": asdict(config)}
        (directory / TRAINING).write_text(json.dumps(facts, indent=2) + "\n")
    return card


def evaluate(
    kind: str, source: Path, directory: Path, progress: Progress
) -> dict[str, float | int | list[dict[str, float | str]]]:
    """Recall of partners among the items that ``build`` held out, in both directions, beside
    chance, colours alone and what equal texts leave possible; where pictures of other items are
    among them, once more of those that are new. Raises DatasetRejected."""
    try:
        facts = json.loads((directory / TRAINING).read_text())
    except (OSError, ValueError):
        raise DatasetRejected(
            f"{directory}: no {TRAINING}, which says what training held out"
        ) from None
    given = _read(kind, source, int(facts["config"]["image_size"]), progress)
    if len(given.texts) != facts["items"]:
        raise DatasetRejected(
            f"{source}: {len(given.texts)} items with picture and text, but {directory} was "
            f"trained on a catalogue of {facts['items']}"
        )
    parts = held_out(given, int(facts["seed"]))
    shown_pixels, shown_texts = given.part(~parts.test)
    pixels, texts = given.part(parts.test)
    paths = [given.paths[row] for row in np.flatnonzero(parts.test).tolist()]
    clip = Clip.load(directory)
    colour_of = retrieval.ridge(retrieval.words(shown_texts), retrieval.colours(shown_pixels))
    colours = retrieval.Way(
        normalised(colour_of(retrieval.words(texts))), retrieval.colours(pixels)
    )
    found = retrieval.Way(clip.texts(texts), _images(clip, paths))
    ways = {"colours": colours, "clip": found}
    met = {picture.tobytes() for picture in shown_pixels}
    new = np.array([picture.tobytes() not in met for picture in pixels])
    if new.any() and not new.all():
        ways["clip, new pictures"] = replace(found, asked=new)
    ways["ceiling"] = retrieval.Way(_one_hot(texts), _one_hot(texts))
    return {
        "items": len(given.texts),
        "held out": len(texts),
        "with the text of another": len(texts) - len(set(texts)),
        "with a picture met in training": int((~new).sum()),
        "rows": retrieval.table(ways),
    }


def _read(kind: str, source: Path, image_size: int, progress: Progress) -> Pictured:
    items = read_catalogue(kind, source)
    with progress.count("pictures", len(items)) as advance:
        given = pictured(items, source, image_size, advance)
    progress.note(
        f"{len(given.texts)} items with picture and text, {given.left_out} without: left out"
    )
    return given


def _images(clip: Clip, paths: list[Path]) -> Float32:
    parts = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
    return np.concatenate([clip.images([path.read_bytes() for path in part]) for part in parts])


def _one_hot(texts: list[str]) -> Float32:
    """Rows that are equal for equal texts and orthogonal for others."""
    number = {text: column for column, text in enumerate(dict.fromkeys(texts))}
    return np.eye(len(number), dtype=np.float32)[[number[text] for text in texts]]
