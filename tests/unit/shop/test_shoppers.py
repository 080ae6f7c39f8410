from __future__ import annotations

from collections import Counter

import numpy as np

from tamis_pipeline.shop.catalogue import DAY, END, Product
from tamis_pipeline.shop.shoppers import (
    ADD_TO_CART,
    CLICK,
    DAYS,
    EVENT_TYPES,
    LIKE,
    PURCHASE,
    VIEW,
    Behaviour,
    simulate,
)


def test_one_seed_gives_one_behaviour(products: list[Product]) -> None:
    first, second = (simulate(products, shoppers=10, seed=5) for _ in range(2))
    for name in ("shoppers", "products", "times", "types"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_more_shoppers_leave_the_others_as_they_were(products: list[Product]) -> None:
    few, many = (simulate(products, shoppers=count, seed=5) for count in (4, 8))
    kept = many.shoppers < 4
    np.testing.assert_array_equal(few.times, many.times[kept])
    np.testing.assert_array_equal(few.products, many.products[kept])


def test_no_shoppers_do_nothing(products: list[Product]) -> None:
    assert simulate(products, shoppers=0, seed=5).times.shape == (0,)


def test_events_are_in_order_and_within_the_time_told(behaviour: Behaviour) -> None:
    assert (np.diff(behaviour.times) >= 0).all()
    assert behaviour.times[0] >= END - DAYS * DAY
    assert behaviour.times[-1] < END


def test_nothing_happens_to_a_product_before_it_exists_or_once_it_is_sold_out(
    products: list[Product], behaviour: Behaviour
) -> None:
    created = np.array([product.created_at for product in products])[behaviour.products]
    sold_out = np.array([product.sold_out_at for product in products])[behaviour.products]
    assert (behaviour.times >= created).all()
    assert (behaviour.times < sold_out).all()


def test_nobody_buys_what_he_has_not_viewed_clicked_and_carted(behaviour: Behaviour) -> None:
    met: dict[tuple[int, int], set[int]] = {}
    needed = {CLICK: {VIEW}, LIKE: {CLICK}, ADD_TO_CART: {CLICK}, PURCHASE: {ADD_TO_CART}}
    for shopper, product, kind in zip(
        behaviour.shoppers.tolist(),
        behaviour.products.tolist(),
        behaviour.types.tolist(),
        strict=True,
    ):
        before = met.setdefault((shopper, product), set())
        assert needed.get(kind, set()) <= before
        before.add(kind)


def test_every_event_type_occurs_and_the_costlier_is_rarer(behaviour: Behaviour) -> None:
    counts = np.bincount(behaviour.types, minlength=len(EVENT_TYPES))
    assert counts.min() > 0
    assert counts[VIEW] > counts[CLICK] > counts[ADD_TO_CART] > counts[PURCHASE]


def test_few_products_get_many_of_the_events(products: list[Product], behaviour: Behaviour) -> None:
    counts = np.sort(np.bincount(behaviour.products, minlength=len(products)))[::-1]
    tenth = counts[: len(products) // 10].sum() / counts.sum()
    assert 0.2 < tenth < 0.6
    assert counts[0] > 5 * np.median(counts)


def test_shoppers_differ_in_how_much_they_do(behaviour: Behaviour) -> None:
    low, high = np.percentile(np.bincount(behaviour.shoppers), [10, 90])
    assert high > 5 * low


def test_a_shopper_keeps_to_his_categories(products: list[Product], behaviour: Behaviour) -> None:
    """His first half's three favourite categories weigh more in his second half than in all."""
    categories = np.array([product.category for product in products])[behaviour.products]
    views = behaviour.types == VIEW
    everybody = Counter(categories[views].tolist())
    own, common = [], []
    for shopper in range(int(behaviour.shoppers.max()) + 1):
        mine = categories[views & (behaviour.shoppers == shopper)].tolist()
        if len(mine) < 20:
            continue
        early, late = mine[: len(mine) // 2], mine[len(mine) // 2 :]
        favourites = {name for name, _ in Counter(early).most_common(3)}
        own.append(sum(name in favourites for name in late) / len(late))
        common.append(sum(everybody[name] for name in favourites) / everybody.total())
    assert len(own) > 50
    assert np.mean(own) > 1.5 * np.mean(common)


def test_shoppers_keep_to_their_gender(products: list[Product], behaviour: Behaviour) -> None:
    genders = np.array([product.gender for product in products])[behaviour.products]
    shares = [
        (genders[behaviour.shoppers == shopper] == "women").mean()
        for shopper in np.unique(behaviour.shoppers)
    ]
    assert np.std(shares) > 0.25
