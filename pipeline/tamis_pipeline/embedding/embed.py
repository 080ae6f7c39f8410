"""``tamis pipeline embed``: content vectors of a catalogue, encoding only what is not yet known."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tamis_pipeline.content import CARD, CLIP, Content
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.embedding.cache import VectorCache
from tamis_pipeline.embedding.projection import principal, project_towers
from tamis_pipeline.embedding.work import WORK, Engine
from tamis_pipeline.encoders.port import Encoder, Float32
from tamis_pipeline.progress import Progress
from tamis_server.bundles.clip import document, fuse, normalised, read_card
from tamis_server.bundles.directory import replacing
from tamis_server.bundles.manifest import ContentSpec

_NAMED = 20  # ids in a report


@dataclass(frozen=True, slots=True)
class EmbedConfig:
    """encoder: as named on the command line; weights: of text and picture in the sum; project:
    width to reduce vectors to, None: that of the encoder."""

    encoder: str
    text_weight: float = 1.0
    image_weight: float = 1.0
    project: int | None = None


@dataclass(frozen=True, slots=True)
class Documents:
    """A catalogue as encoders see it: columns of equal length. texts: "" where there is none;
    pictures: files, None where none is named; left_out: rows without an id, or with another's."""

    ids: list[str]
    texts: list[str]
    pictures: list[Path | None]
    left_out: int


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """Counts of items; encoded_*: of inputs that no earlier run had met; broken: of pictures that
    are named and can't be read, with ``examples`` (item id: reason) of the first few."""

    items: int
    left_out: int
    with_picture: int
    without_picture: int
    broken: int
    without_text: int
    nothing: int
    encoded_texts: int
    encoded_pictures: int
    examples: dict[str, str]


def documents(items: pl.DataFrame, root: Path) -> Documents:
    """Of an item table as in docs/own-data.md; pictures are files under ``root``.

    Raises DatasetRejected.
    """
    if "item_id" not in items.columns:
        raise DatasetRejected(f"items: no column item_id; there are {items.columns}")
    known = items.with_columns(pl.col("item_id").cast(pl.String)).filter(
        pl.col("item_id").fill_null("") != ""
    )
    known = known.unique("item_id", keep="first", maintain_order=True)
    if known.is_empty():
        raise DatasetRejected("items: there is none")

    def column(name: str) -> list[str]:
        if name not in known.columns:
            return [""] * len(known)
        return known[name].cast(pl.String).fill_null("").to_list()

    return Documents(
        known["item_id"].to_list(),
        [document(*both) for both in zip(column("title"), column("text"), strict=True)],
        [root / name if name else None for name in column("image")],
        len(items) - len(known),
    )


def embed(
    given: Documents,
    encoder: Encoder,
    engine: Engine,
    config: EmbedConfig,
    out: Path,
    cache: Path,
    progress: Progress,
) -> EmbedReport:
    """Write content vectors and towers to ``out``; a run that was stopped goes on from ``cache``.

    Raises DatasetRejected for a cache that can't be used, OSError for a disk that is full.
    """
    if config.text_weight + config.image_weight <= 0:
        raise DatasetRejected("weights of text and picture are both 0: one of them must be more")
    texts = [_key(encoder, b"text", text.encode()) if text else None for text in given.texts]
    pictures, problems = _picture_keys(encoder, given)
    with VectorCache.open(cache) as known:
        work = _missing(known, given, texts, pictures)
        encoded = Counter("text" if text else "picture" for text in work["text"].to_pylist())
        progress.note(f"{encoded['text']} texts and {encoded['picture']} pictures to encode")
        unreadable: dict[bytes, str] = {}
        with progress.count("encoded", work.num_rows) as advance:
            for found in engine(work):
                good = found.filter(found["problem"].is_null())
                known.put(good["key"].to_pylist(), _matrix(good["vector"], encoder.dim))
                bad = found.filter(found["problem"].is_valid())
                unreadable |= zip(bad["key"].to_pylist(), bad["problem"].to_pylist(), strict=True)
                for _ in range(found.num_rows):
                    advance()
        for row, key in enumerate(pictures):
            if key in unreadable:
                problems[given.ids[row]] = unreadable[key]
                pictures[row] = None
        text_vectors = known.vectors(texts, encoder.dim)
        image_vectors = known.vectors(pictures, encoder.dim)
        known.keep_only(key for key in (*texts, *pictures) if key is not None)
    has_image = np.array([key is not None for key in pictures], np.bool_)
    with replacing(out) as directory:
        content = _write(directory, given, encoder, config, text_vectors, image_vectors, has_image)
        report = EmbedReport(
            items=len(given.ids),
            left_out=given.left_out,
            with_picture=int(has_image.sum()),
            without_picture=sum(path is None for path in given.pictures),
            broken=len(problems),
            without_text=texts.count(None),
            nothing=int((~content.vectors.any(axis=1)).sum()),
            encoded_texts=encoded["text"],
            encoded_pictures=encoded["picture"] - len(unreadable),
            examples=dict(list(problems.items())[:_NAMED]),
        )
        # what was encoded depends on the runs before, and what is written must not
        stated = {name: n for name, n in asdict(report).items() if not name.startswith("encoded")}
        card = {
            "spec": content.spec.model_dump(),
            "encoder_digest": encoder.digest,
            "report": stated,
        }
        (directory / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    return report


def _write(
    directory: Path,
    given: Documents,
    encoder: Encoder,
    config: EmbedConfig,
    texts: Float32,
    images: Float32,
    has_image: npt.NDArray[np.bool_],
) -> Content:
    clip = directory / CLIP
    clip.mkdir()
    encoder.export(clip)
    spec = _spec(config, encoder, encoder.dim)
    vectors = fuse(texts, images, has_image, spec)
    if config.project is not None:
        matrix = principal(vectors, config.project)
        project_towers(clip, matrix)
        spec = _spec(config, encoder, config.project)
        # as the towers now give them: what is served is fused after the projection, too
        vectors = fuse(normalised(texts @ matrix), normalised(images @ matrix), has_image, spec)
    read_card(clip)
    content = Content(vectors, has_image, spec)
    content.save(directory, given.ids)
    return content


def _spec(config: EmbedConfig, encoder: Encoder, dim: int) -> ContentSpec:
    return ContentSpec(
        encoder=config.encoder,
        dim=dim,
        text_weight=config.text_weight,
        image_weight=config.image_weight,
        image_size=encoder.image_size,
        max_tokens=encoder.max_tokens,
    )


def _key(encoder: Encoder, kind: bytes, data: bytes) -> bytes:
    return hashlib.sha256(b"\0".join((encoder.digest.encode(), kind, data))).digest()


def _picture_keys(encoder: Encoder, given: Documents) -> tuple[list[bytes | None], dict[str, str]]:
    """A key for each picture that is a file, and why others are not, by item id."""
    keys: list[bytes | None] = [None] * len(given.ids)
    problems: dict[str, str] = {}
    for row, path in enumerate(given.pictures):
        if path is not None:
            try:
                keys[row] = _key(encoder, b"picture", path.read_bytes())
            except OSError as error:
                problems[given.ids[row]] = error.strerror or str(error)
    return keys, problems


def _missing(
    known: VectorCache,
    given: Documents,
    texts: Sequence[bytes | None],
    pictures: Sequence[bytes | None],
) -> pa.Table:
    """``WORK`` for what is not known, each input once: texts, then pictures."""
    there = known.known(key for key in (*texts, *pictures) if key is not None)
    rows: dict[bytes, dict[str, bytes | str | None]] = {}
    for key, text in zip(texts, given.texts, strict=True):
        if key is not None and key not in there:
            rows.setdefault(key, {"key": key, "text": text, "picture": None})
    for key, path in zip(pictures, given.pictures, strict=True):
        if key is not None and key not in there:
            rows.setdefault(key, {"key": key, "text": None, "picture": str(path)})
    return pa.Table.from_pylist(list(rows.values()), WORK)


def _matrix(vectors: pa.ChunkedArray, dim: int) -> Float32:
    flat = vectors.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(-1, dim)
