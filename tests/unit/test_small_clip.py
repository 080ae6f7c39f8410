"""A small CLIP: what is exported is what was trained, learns what pictures show, and is measured
on what it has not seen."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from tamis_pipeline.clip import build, retrieval
from tamis_pipeline.clip.export import export
from tamis_pipeline.clip.towers import ClipConfig
from tamis_pipeline.clip.training import Trained, pairs, train, vectors
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.progress import Progress
from tamis_server.bundles.clip import CLIP_FILES, Clip

CONFIG = ClipConfig(
    dim=16, channels=(8, 12), image_size=16, width=16, pieces=60, max_tokens=8, batch=32, epochs=10,
    patience=10, rate=1e-2,
)  # fmt: skip
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 200), "grey": (99,) * 3}


def catalogue(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Discs and bars of four colours, large and small."""
    rng = np.random.default_rng(seed)
    pixels, texts = np.full((n, 16, 16, 3), 240, np.uint8), []
    for row in range(n):
        colour = str(rng.choice(list(COLOURS)))
        wide = bool(rng.integers(2))
        height = int(rng.integers(4, 7))
        shape = (
            (slice(8 - height, 8 + height), slice(2, 14)) if wide else (slice(0, 16), slice(6, 10))
        )
        pixels[row][shape] = COLOURS[colour]
        texts.append(f"{colour} {'block' if wide else 'bar'}")
    return pixels, texts


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(catalogue(128, 1), catalogue(40, 2), CONFIG, 0, lambda _: None)


@pytest.fixture(scope="module")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("small") / "clip"
    directory.mkdir()
    export(trained, directory)
    return directory


def test_the_exported_towers_give_what_the_trained_ones_do(
    trained: Trained, exported: Path
) -> None:
    assert {path.name for path in exported.iterdir()} == set(CLIP_FILES)
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (20, 16, 16, 3), np.uint8)
    texts = [*catalogue(18, 9)[1], "bar", "red never met words " * 5]
    wanted = vectors(trained.weights, pairs(trained.tokenizer, pixels, texts, CONFIG), CONFIG)
    clip = Clip.load(exported)
    np.testing.assert_allclose(clip.texts(texts), wanted[0], atol=2e-6)
    found = clip.images([Image.fromarray(picture) for picture in pixels])
    np.testing.assert_allclose(found, wanted[1], atol=2e-6)


def test_it_learns_what_pictures_show(exported: Path) -> None:
    clip = Clip.load(exported)
    pixels, texts = catalogue(60, 3)
    classes = sorted(set(texts))
    scores = clip.images([Image.fromarray(each) for each in pixels]) @ clip.texts(classes).T
    right = [classes[best] == text for best, text in zip(scores.argmax(1), texts, strict=True)]
    assert np.mean(right) > 0.8, "by chance 0.125"


def test_the_same_seed_makes_the_same_towers(trained: Trained) -> None:
    short = replace(CONFIG, epochs=1)
    once, again = (
        train(catalogue(64, 1), catalogue(20, 2), short, 4, lambda _: None) for _ in range(2)
    )
    assert once.tokenizer.to_str() == again.tokenizer.to_str()
    for name, value in once.weights.items():
        np.testing.assert_array_equal(value, again.weights[name])


def written(directory: Path, n: int = 80) -> Path:
    """Every second picture is like no other; of the rest there are a dozen."""
    pixels, texts = catalogue(n, 7)
    pixels[::2, 0, 0, 0] = np.arange(0, n, 2)
    rows = ["item_id,title,image"]
    for row, (picture, text) in enumerate(zip(pixels, texts, strict=True)):
        Image.fromarray(picture).save(directory / f"{row}.png")
        rows.append(f"{row},{text} {row % 25},{row}.png")
    (directory / "items.csv").write_text("\n".join([*rows, "lost,red bar,lost.png"]))
    return directory


def test_a_catalogue_is_trained_on_and_measured_on_what_was_held_out(tmp_path: Path) -> None:
    progress = Progress(Console(file=StringIO()))
    (tmp_path / "data").mkdir()
    data, out = written(tmp_path / "data"), tmp_path / "clip"
    build.build("own", data, out, replace(CONFIG, epochs=2), 0, progress)
    found = build.evaluate("own", data, out, progress)
    ways = {row["way"]: row for row in found["rows"]}
    assert list(ways) == ["chance", "colours", "clip", "clip, new pictures", "ceiling"]
    assert found["items"] == 80
    assert 0 < found["with a picture met in training"] < found["held out"]
    assert ways["chance"]["text to image R@1"] == pytest.approx(1 / found["held out"])
    assert ways["ceiling"]["text to image R@10"] == 1
    assert "| clip |" in retrieval.markdown(found["rows"])
    with pytest.raises(DatasetRejected, match="trained on a catalogue of 80"):
        build.evaluate("own", written(data, 70), out, progress)
    with pytest.raises(DatasetRejected, match=r"no training\.json"):
        build.evaluate("own", data, data, progress)


def test_a_catalogue_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\na,red bar\n")
    with pytest.raises(DatasetRejected, match="0 items have a readable picture and a text"):
        build.build("own", tmp_path, tmp_path / "x", CONFIG, 0, Progress(Console(file=StringIO())))


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_recall_is_that_of_sorting_by_score(n: int, seed: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    # few values, so that there are ties
    queries, gallery = (rng.integers(0, values, (n, 2)).astype(np.float32) for _ in range(2))
    found = retrieval.recalls(queries, gallery, (1, 5))
    for k in (1, 5):
        hits = 0
        for row in range(n):
            scores = gallery @ queries[row]
            before = (scores > scores[row]).sum() + ((scores == scores[row]).sum() - 1) / 2
            hits += before < k
        assert found[k] == pytest.approx(hits / n)


def test_a_histogram_tells_colours_apart() -> None:
    pictures = np.stack([np.full((4, 4, 3), COLOURS[name], np.uint8) for name in ("red", "blue")])
    found = retrieval.colours(pictures)
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-6)


def test_ridge_finds_a_linear_map() -> None:
    rng = np.random.default_rng(0)
    inputs, matrix = rng.normal(size=(200, 5)).astype(np.float32), rng.normal(size=(5, 3))
    fitted = retrieval.ridge(inputs, (inputs @ matrix + 2).astype(np.float32), penalty=1e-6)
    np.testing.assert_allclose(fitted(inputs[:9]), inputs[:9] @ matrix + 2, atol=1e-3)
