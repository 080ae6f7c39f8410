from __future__ import annotations

import re
from collections import Counter

import pytest

from tamis_pipeline.shop.catalogue import DAY, END, NEW_DAYS, Product, make_products
from tamis_pipeline.shop.vocabulary import (
    CATEGORIES,
    COLOURS,
    CUT_MATERIALS,
    GENDERS,
    OCCASIONS,
    PATTERNS,
    STYLE_COLOURS,
    STYLES,
)


def test_one_seed_gives_one_catalogue() -> None:
    assert make_products(50, seed=1) == make_products(50, seed=1)
    assert make_products(50, seed=1) != make_products(50, seed=2)


def test_ids_are_unique_and_name_their_category(products: list[Product]) -> None:
    assert len({product.item_id for product in products}) == len(products)
    for product in products:
        assert re.fullmatch(rf"{product.category}-\d{{4}}", product.item_id)


def test_products_come_into_the_shop_in_order_over_a_year(products: list[Product]) -> None:
    created = [product.created_at for product in products]
    assert created == sorted(created)
    assert END - 366 * DAY < created[0] < END - 330 * DAY
    assert created[-1] <= END


def test_some_products_are_new_and_some_are_sold_out(products: list[Product]) -> None:
    new = sum(product.created_at > END - NEW_DAYS * DAY for product in products)
    sold_out = [product for product in products if not product.available]
    assert 0.04 < new / len(products) < 0.12
    assert 0.03 < len(sold_out) / len(products) < 0.10
    assert all(product.created_at <= product.sold_out_at < END for product in sold_out)


def test_every_category_is_sold(products: list[Product]) -> None:
    assert Counter(product.category for product in products).keys() == {c.name for c in CATEGORIES}


def test_a_title_names_what_is_sold(products: list[Product]) -> None:
    for product in products:
        assert product.cut in product.title.lower()
        assert product.title.endswith(f", {product.colour}")
        assert product.title[0].isupper()


def test_a_text_names_brand_and_material(products: list[Product]) -> None:
    for product in products:
        assert product.brand in product.text
        assert product.material in product.text
        assert "  " not in product.text


def test_denim_and_leather_carry_no_print(products: list[Product]) -> None:
    for product in products:
        if product.material in ("denim", "leather", "suede"):
            assert product.pattern == "plain"


def test_prices_are_positive_and_end_like_prices(products: list[Product]) -> None:
    for product in products:
        assert product.price >= 4.95
        assert product.price % 1 == pytest.approx(0.95)


def test_the_weights_of_a_category_fit_what_they_weigh() -> None:
    for category in CATEGORIES:
        assert len(category.styles) == len(STYLES)
        assert len(category.patterns) == len(PATTERNS)
        assert category.women + category.men <= 1.0
    assert len(GENDERS) == 3
    assert CUT_MATERIALS.keys() <= {cut for category in CATEGORIES for cut in category.cuts}
    assert STYLE_COLOURS.keys() == OCCASIONS.keys() == set(STYLES)
    assert all(colour in COLOURS for palette in STYLE_COLOURS.values() for colour in palette)
