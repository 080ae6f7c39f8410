"""From a catalogue to content vectors: each input encoded once, whatever happens; what can't be
read is reported and never stops a run."""

from __future__ import annotations

import errno
import json
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

from support.clips import write_random_clip
from tamis_pipeline.content import Content
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.embedding.cache import VectorCache
from tamis_pipeline.embedding.embed import EmbedConfig, EmbedReport, documents, embed
from tamis_pipeline.embedding.work import InProcess
from tamis_pipeline.encoders.port import EncoderRejected, Float32, open_encoder
from tamis_pipeline.encoders.towers import OnnxEncoder
from tamis_pipeline.progress import Progress
from tamis_server.bundles.clip import Clip, fuse

CONFIG = EmbedConfig("onnx:test", text_weight=2.0, image_weight=1.0)
ITEMS = pl.DataFrame(
    {
        "item_id": ["shoe", "shirt", "bare", "mute", "broken", "lost", "void", "shoe", None],
        "title": ["red shoe", "blue shirt", "green dress", "", "summer", "winter", "", "x", "y"],
        "text": ["summer", None, "", "", "a", "b", "", "x", "y"],
        "image": ["shoe.png", "shirt.jpg", None, "shoe.png", "broken.jpg", "lost.jpg", "broken.jpg",
                  "shoe.png", None],
    }
)  # fmt: skip


class Counting(OnnxEncoder):
    """Knows what it was asked for."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.seen: list[str] = []
        self.pictures = 0

    def texts(self, texts: Sequence[str]) -> Float32:
        self.seen += texts
        return super().texts(texts)

    def images(self, pixels: Sequence[Float32]) -> Float32:
        self.pictures += len(pixels)
        return super().images(pixels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (20, 30), "red").save(data / "shoe.png")
    Image.new("RGB", (30, 20), "blue").save(data / "shirt.jpg")
    (data / "broken.jpg").write_bytes((data / "shirt.jpg").read_bytes()[:200])
    return data


@pytest.fixture
def encoder(tmp_path: Path) -> Counting:
    return Counting(write_random_clip(tmp_path / "towers"))


def run(
    root: Path, encoder: OnnxEncoder, items: pl.DataFrame = ITEMS, config: EmbedConfig = CONFIG
) -> EmbedReport:
    out = root.parent / "content"
    engine = InProcess(encoder, batch=2)
    progress = Progress(Console(file=StringIO()))
    return embed(
        documents(items, root), encoder, engine, config, out, root.parent / "cache", progress
    )


def test_what_can_not_be_used_is_counted_and_the_rest_embedded(
    root: Path, encoder: Counting
) -> None:
    report = run(root, encoder)
    assert report.items == 7
    assert report.left_out == 2
    assert report.with_picture == 3
    assert report.without_picture == 1
    assert report.broken == 3
    assert set(report.examples) == {"broken", "lost", "void"}
    assert "damaged" in report.examples["broken"]
    assert "No such file" in report.examples["lost"]
    assert report.without_text == 2
    assert report.nothing == 1
    card = json.loads((root.parent / "content/embedding.json").read_text())
    assert card["report"]["broken"] == 3


def test_vectors_are_those_that_the_written_towers_give_when_fused(
    root: Path, encoder: Counting
) -> None:
    run(root, encoder)
    found = Content.load(root.parent / "content", ["shoe", "bare", "mute", "broken", "void"])
    clip = Clip.load(root.parent / "content/clip")
    texts = clip.texts(["red shoe. summer", "green dress", "", "summer. a", ""])
    picture = clip.images([(root / "shoe.png").read_bytes()])[0]
    images = np.stack([picture, 0 * picture, picture, 0 * picture, 0 * picture])
    has_image = np.array([True, False, True, False, False])
    np.testing.assert_array_equal(found.has_image, has_image)
    np.testing.assert_allclose(found.vectors, fuse(texts, images, has_image, found.spec), atol=1e-6)
    assert not found.vectors[4].any()


def test_only_what_changed_is_encoded_again(root: Path, encoder: Counting) -> None:
    first = run(root, encoder)
    assert (first.encoded_texts, first.encoded_pictures) == (5, 2)
    encoder.seen.clear()
    encoder.pictures = 0
    again = run(root, encoder)
    assert (again.encoded_texts, again.encoded_pictures) == (0, 0)
    assert (encoder.seen, encoder.pictures) == ([], 0)
    Image.new("RGB", (20, 30), "green").save(root / "shoe.png")
    changed = ITEMS.with_columns(title=pl.col("title").replace("blue shirt", "green shirt"))
    after = run(root, encoder, changed)
    assert (after.encoded_texts, after.encoded_pictures) == (1, 1)
    assert encoder.seen == ["green shirt"]
    assert encoder.pictures == 1


def test_a_run_that_was_killed_goes_on_with_what_is_left(root: Path, encoder: Counting) -> None:
    class Killed(InProcess):
        def __call__(self, work: pa.Table) -> Iterator[pa.Table]:
            for number, found in enumerate(super().__call__(work)):
                if number == 2:
                    raise KeyboardInterrupt
                yield found

    given, progress = documents(ITEMS, root), Progress(Console(file=StringIO()))
    out, cache = root.parent / "content", root.parent / "cache"
    with pytest.raises(KeyboardInterrupt):
        embed(given, encoder, Killed(encoder, 2), CONFIG, out, cache, progress)
    assert not out.exists()
    assert len(encoder.seen) == 5, "the third batch was lost with the run"
    encoder.seen.clear()
    report = run(root, encoder)
    assert report.encoded_texts == len(encoder.seen) == 1
    assert report.encoded_pictures == 2


def test_other_towers_find_nothing_in_the_cache(root: Path, encoder: Counting) -> None:
    run(root, encoder)
    other = Counting(write_random_clip(root.parent / "others", seed=5))
    assert run(root, other).encoded_texts == 5


def test_other_weights_need_no_encoding(root: Path, encoder: Counting) -> None:
    run(root, encoder)
    report = run(root, encoder, config=EmbedConfig("onnx:test", 0.0, 1.0))
    assert (report.encoded_texts, report.encoded_pictures) == (0, 0)


def test_a_projection_is_built_into_the_written_towers(root: Path, encoder: Counting) -> None:
    run(root, encoder, config=EmbedConfig("onnx:test", project=4))
    found = Content.load(root.parent / "content", ["bare"])
    clip = Clip.load(root.parent / "content/clip")
    assert found.spec.dim == clip.dim == found.vectors.shape[1] == 4
    np.testing.assert_allclose(found.vectors, clip.texts(["green dress"]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.vectors), 1, rtol=1e-5)


def test_a_projection_wider_than_the_vectors_is_refused_and_leaves_what_was_there(
    root: Path, encoder: Counting
) -> None:
    run(root, encoder)
    with pytest.raises(DatasetRejected, match="projection to 99: 7 vectors of width 16 can be"):
        run(root, encoder, config=EmbedConfig("onnx:test", project=99))
    assert Content.load(root.parent / "content", ["shoe"]).spec.dim == 16


def test_a_cache_that_is_something_else_is_refused(root: Path, encoder: Counting) -> None:
    (root.parent / "cache").write_text("not a database " * 100)
    with pytest.raises(DatasetRejected, match="delete it to encode all again"):
        run(root, encoder)


def test_a_cache_that_is_damaged_may_be_deleted(root: Path, encoder: Counting) -> None:
    run(root, encoder)
    cache = root.parent / "cache"
    with cache.open("r+b") as file:
        file.seek(4096)  # the page behind the first
        file.write(b"\xff" * (cache.stat().st_size - 4096))
    with pytest.raises(DatasetRejected, match=r"malformed; delete it to encode all again"):
        run(root, encoder)


def test_a_full_disk_is_said_as_it_is_and_keeps_what_was_encoded(
    root: Path, encoder: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def small(path: Path, timeout: float) -> sqlite3.Connection:
        connection = connect(path, timeout=timeout)
        connection.execute("PRAGMA max_page_count = 4")
        return connection

    many = pl.DataFrame({"item_id": map(str, range(99)), "title": map(str, range(99))})
    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(OSError, match="full") as caught:
        run(root, encoder, many)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(root.parent / "cache")
    monkeypatch.undo()
    encoded = len(encoder.seen)
    assert 2 < encoded < 99
    report = run(root, encoder, many)
    assert report.encoded_texts == 99 - (encoded - 2), "but the batch that found no room"


def test_a_cache_that_another_run_has_open_is_said_to_be_locked(
    root: Path, encoder: Counting
) -> None:
    with (
        VectorCache.open(root.parent / "cache"),
        pytest.raises(DatasetRejected, match=r"cache: database is locked$"),
    ):
        run(root, encoder)


def test_items_without_ids_are_refused(root: Path) -> None:
    with pytest.raises(DatasetRejected, match="no column item_id"):
        documents(pl.DataFrame({"id": ["a"]}), root)


def test_an_encoder_by_directory_is_the_one_that_lies_there(encoder: Counting, root: Path) -> None:
    opened = open_encoder(f"onnx:{root.parent / 'towers'}")
    assert opened.digest == encoder.digest


def test_a_route_whose_libraries_are_missing_says_what_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "tamis_pipeline.encoders.huggingface", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EncoderRejected, match=r"torch: .* install -c .* -e '\.\[clip-torch\]'$"):
        open_encoder("transformers:x")


@pytest.mark.parametrize("name", ["clip", "torch:x", ""])
def test_an_unknown_route_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(EncoderRejected, match="no such route; there are onnx:DIRECTORY"):
        open_encoder(name)


def test_a_pair_that_nobody_knows_is_refused_with_those_known() -> None:
    with pytest.raises(EncoderRejected, match=r"neither a directory nor .* Qdrant/clip-ViT-B-32"):
        open_encoder("onnx:no/such-pair")
