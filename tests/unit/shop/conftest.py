from __future__ import annotations

import pytest

from tamis_pipeline.shop.catalogue import Product, make_products
from tamis_pipeline.shop.shoppers import Behaviour, simulate


@pytest.fixture(scope="session")
def products() -> list[Product]:
    return make_products(1000, seed=3)


@pytest.fixture(scope="session")
def behaviour(products: list[Product]) -> Behaviour:
    return simulate(products, shoppers=150, seed=3)
