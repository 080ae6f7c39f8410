"""A published pair, as fastembed keeps it, becomes the one layout and gives the same vectors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastembed import ImageEmbedding, TextEmbedding
from PIL import Image

from support.clips import MAX_TOKENS, PAD, write_random_clip
from tamis_pipeline.encoders import hub
from tamis_pipeline.encoders.port import EncoderRejected
from tamis_server.bundles.clip import TEXT, TOKENIZER, VISION, Clip
from tamis_server.bundles.pictures import PREPROCESSOR

TEXTS = ["red shoe", "summer dress a b c winter winter", "unheard of"]
SOURCES = {
    "text": {TEXT: "model.onnx", TOKENIZER: TOKENIZER},
    "vision": {VISION: "model.onnx", PREPROCESSOR: PREPROCESSOR},
}


def snapshot(cache: Path, tower: str) -> Path:
    return cache / f"models--Qdrant--clip-ViT-B-32-{tower}/snapshots/0123"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As the hub's client leaves it after a download, with random towers for the published."""
    towers, cache = write_random_clip(tmp_path / "towers", dim=512), tmp_path / "cache"
    for tower, files in SOURCES.items():
        directory = snapshot(cache, tower)
        directory.mkdir(parents=True)
        (directory.parents[1] / "refs").mkdir()
        (directory.parents[1] / "refs/main").write_text("0123")
        for source, name in files.items():
            shutil.copyfile(towers / source, directory / name)
        (directory / "config.json").write_text("{}")
    bare = json.loads((snapshot(cache, "text") / TOKENIZER).read_text())
    (snapshot(cache, "text") / TOKENIZER).write_text(json.dumps({**bare, "padding": None}))
    config = {"model_max_length": MAX_TOKENS, "pad_token": PAD}
    (snapshot(cache, "text") / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return cache


def test_the_pair_gives_what_fastembed_gives(cache: Path) -> None:
    clip = Clip.load(hub.fetch("", cache))
    texts = TextEmbedding(
        "Qdrant/clip-ViT-B-32-text", specific_model_path=str(snapshot(cache, "text"))
    )
    images = ImageEmbedding(
        "Qdrant/clip-ViT-B-32-vision", specific_model_path=str(snapshot(cache, "vision"))
    )
    pictures = [
        Image.effect_noise((31, 17), 90).convert("RGB"), Image.new("RGB", (9, 40), "navy"),
    ]  # fmt: skip
    for found, wanted in (
        (clip.texts(TEXTS), np.stack(list(texts.embed(TEXTS)))),
        (clip.images(pictures), np.stack(list(images.embed(pictures)))),
    ):
        length = np.linalg.norm(wanted, axis=1, keepdims=True)
        np.testing.assert_allclose(found, wanted / length, atol=1e-6)


def test_it_is_laid_out_once(cache: Path) -> None:
    once = hub.fetch("Qdrant/clip-ViT-B-32", cache)
    shutil.rmtree(cache / "models--Qdrant--clip-ViT-B-32-text")
    assert hub.fetch("Qdrant/clip-ViT-B-32", cache) == once


def test_a_pair_that_can_not_be_fetched_is_refused_by_name(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(EncoderRejected, match=r"onnx:Qdrant/clip-ViT-B-32: could not be fetched"):
        hub.fetch("", tmp_path / "empty")
