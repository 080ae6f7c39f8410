"""What may be shown, against a look at each item."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.adapters.embedded.availability import AvailableRows
from tamis_server.adapters.embedded.eligibility import AttributeEligibility
from tamis_server.bundles.loader import Bundle, load
from tamis_server.domain.context import Operator, Predicate
from tamis_server.domain.errors import ContractViolation

COLOURS = ("red", "green", "blue", "none such")
TAGS = ("new", "sale", "none such")
NOBODY = np.empty(0, np.int32)


def of_values(attribute: str, values: tuple[Any, ...]) -> st.SearchStrategy[Predicate]:
    operators = st.sampled_from([Operator.IN, Operator.NOT_IN])
    chosen = st.lists(st.sampled_from(values), max_size=3).map(tuple)
    return st.builds(Predicate, st.just(attribute), operators, chosen)


PREDICATES = st.one_of(
    of_values("colour", COLOURS),
    of_values("tags", TAGS),
    of_values("organic", (True, False)),
    of_values("price", (10.0, 20.0, 33.5)),
    st.builds(
        lambda low, high: Predicate("price", Operator.RANGE, low=low, high=high),
        st.none() | st.floats(0, 100),
        st.none() | st.floats(0, 100),
    ),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    directory = tmp_path_factory.mktemp("shops") / "bundle"
    write_bundle(random_parts(items=60), directory)
    return load(directory, spare=30)


def matches(item: dict[str, Any], predicate: Predicate) -> bool:
    value = item.get(predicate.attribute)
    if predicate.operator is Operator.RANGE:
        low = -np.inf if predicate.low is None else predicate.low
        high = np.inf if predicate.high is None else predicate.high
        return value is not None and low <= value <= high
    held = value if isinstance(value, list) else [] if value is None else [value]
    return any(each in held for each in predicate.values) == (predicate.operator is Operator.IN)


def rows_of(bits: np.ndarray) -> list[int]:
    return np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")).tolist()


@settings(max_examples=60, deadline=None)
@given(
    predicates=st.lists(PREDICATES, max_size=3),
    excluded=st.lists(st.integers(-1, 89), max_size=4),
    changed=st.dictionaries(
        st.integers(60, 89),
        st.fixed_dictionaries(
            {},
            optional={
                "colour": st.sampled_from(COLOURS),
                "tags": st.lists(st.sampled_from(TAGS), max_size=2, unique=True),
                "price": st.sampled_from([10.0, 33.5, 99.0]),
                "organic": st.booleans(),
            },
        ),
        max_size=4,
    ),
)
def test_eligible_is_what_matches_every_predicate_is_in_stock_and_is_not_excluded(
    shop: Bundle,
    predicates: list[Predicate],
    excluded: list[int],
    changed: dict[int, dict[str, Any]],
) -> None:
    in_stock = np.random.default_rng(3).random(shop.rows) < 0.8
    eligibility = AttributeEligibility(shop, AvailableRows(in_stock))
    held: dict[int, dict[str, Any]] = dict(enumerate(shop.items.to_pylist()))
    for row, attributes in changed.items():
        eligibility.put(row, attributes)
        held[row] = attributes
    for _ in range(2):  # the second time from what is kept
        found = eligibility.eligible(predicates, np.array(excluded, np.int32))
        wanted = [
            row
            for row in range(shop.rows)
            if in_stock[row]
            and row not in excluded
            and all(matches(held.get(row, {}), predicate) for predicate in predicates)
        ]
        assert rows_of(found.bits) == wanted
        assert found.count == len(wanted)


def test_a_change_of_availability_shows_in_what_was_kept(shop: Bundle) -> None:
    available = AvailableRows(np.ones(shop.rows, np.bool_))
    eligibility = AttributeEligibility(shop, available)
    red = [Predicate("colour", Operator.IN, ("red",))]
    before = eligibility.eligible(red, NOBODY)
    row = rows_of(before.bits)[0]
    available.set(np.array([row], np.int32), np.zeros(1, np.bool_))
    assert rows_of(eligibility.eligible(red, NOBODY).bits) == rows_of(before.bits)[1:]


def test_an_attribute_that_no_item_can_have_is_a_fault_of_ours(shop: Bundle) -> None:
    eligibility = AttributeEligibility(shop, AvailableRows(np.ones(shop.rows, np.bool_)))
    with pytest.raises(ContractViolation, match="no attribute size"):
        eligibility.eligible([Predicate("size", Operator.IN, ("l",))], NOBODY)
