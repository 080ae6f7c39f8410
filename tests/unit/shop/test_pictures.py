from __future__ import annotations

import numpy as np
import pytest

from tamis_pipeline.shop.pictures import SIZE, draw
from tamis_pipeline.shop.silhouettes import silhouette
from tamis_pipeline.shop.vocabulary import CATEGORIES, COLOURS, PATTERNS, Category

CUTS = [(category.name, cut) for category in CATEGORIES for cut in category.cuts]


@pytest.mark.parametrize(("category", "cut"), CUTS)
def test_a_garment_stays_within_its_picture_and_stands_in_the_middle(
    category: str, cut: str
) -> None:
    shape = silhouette(category, cut)
    points = [p for part in (shape.body, shape.inside, shape.trim) for q in part for p in q]
    xs, ys = zip(*points, strict=True)
    assert min(xs) >= 0.02
    assert max(xs) <= 0.98
    assert min(ys) >= 0.02
    assert max(ys) <= 0.98
    assert (min(ys) + max(ys)) / 2 == pytest.approx(0.5)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("category", CATEGORIES, ids=lambda category: category.name)
def test_every_category_and_pattern_has_a_picture(category: Category, pattern: str) -> None:
    picture = draw("x-0001", category.name, category.cuts[0], "navy", pattern)
    assert picture.size == (SIZE, SIZE)
    pixels = np.asarray(picture).astype(int)
    corner = pixels[:6, :6].mean()
    assert corner > 235  # light ground
    assert np.abs(pixels - corner).max() > 100  # something on it


@pytest.mark.parametrize("colour", COLOURS)
def test_plain_cloth_has_its_colour(colour: str) -> None:
    pixels = np.asarray(draw("bag-0001", "bag", "tote bag", colour, "plain")).astype(int)
    middle = pixels[60:75, 40:56].mean(axis=(0, 1))
    assert np.abs(middle - np.array(COLOURS[colour])).max() < 12


def test_patterns_look_different() -> None:
    pictures = [
        np.asarray(draw("dress-0001", "dress", "midi dress", "red", pattern)).astype(int)
        for pattern in PATTERNS
    ]
    for one in range(len(pictures)):
        for two in range(one):
            assert np.abs(pictures[one] - pictures[two]).mean() > 2


def test_a_picture_depends_on_its_product_alone() -> None:
    one, two = (draw("dress-0007", "dress", "midi dress", "red", "floral") for _ in range(2))
    other = draw("dress-0008", "dress", "midi dress", "red", "floral")
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()


def test_an_unknown_pattern_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'paisley'"):
        draw("dress-0001", "dress", "midi dress", "red", "paisley")
