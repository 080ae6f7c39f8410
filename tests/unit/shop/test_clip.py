"""The CLIP that comes with the demo shop: small, and it knows what the shop's pictures show."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from tamis_pipeline.clip.retrieval import recalls
from tamis_pipeline.encoders.port import Encoder, open_encoder
from tamis_pipeline.shop.catalogue import Product, make_products
from tamis_pipeline.shop.pictures import draw
from tamis_server.bundles.clip import document

OTHER_SEED = 1_000


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return open_encoder("onnx:demo-shop", threads=1)


@pytest.fixture(scope="module")
def unheard_of() -> list[Product]:
    return make_products(150, seed=OTHER_SEED)


@pytest.fixture(scope="module")
def pictures(encoder: Encoder, unheard_of: list[Product]) -> np.ndarray:
    drawn = (draw(f"{p.item_id}-other", p.category, p.cut, p.colour, p.pattern) for p in unheard_of)
    return encoder.images([encoder.pixels(picture) for picture in drawn])


def test_it_is_small(encoder: Encoder) -> None:
    clip = Path(str(files("tamis_pipeline.shop") / "clip"))
    assert sum(path.stat().st_size for path in clip.iterdir()) < 1_000_000
    assert encoder.dim == 64


def test_texts_and_pictures_of_new_products_find_each_other(
    encoder: Encoder, unheard_of: list[Product], pictures: np.ndarray
) -> None:
    texts = encoder.texts([document(product.title, product.text) for product in unheard_of])
    assert recalls(texts, pictures, (5,))[5] > 0.8, "by chance 0.033"
    assert recalls(pictures, texts, (5,))[5] > 0.8


def test_a_few_words_are_enough(
    encoder: Encoder, unheard_of: list[Product], pictures: np.ndarray
) -> None:
    wanted = sorted({(product.colour, product.cut) for product in unheard_of})
    best = (encoder.texts([" ".join(words) for words in wanted]) @ pictures.T).argmax(axis=1)
    found = [(unheard_of[row].colour, unheard_of[row].cut) for row in best]
    right = np.mean([one == other for one, other in zip(found, wanted, strict=True)])
    assert right > 0.5, f"{right:.2f}, by chance 0.01"
