"""One user's query vector, against the formula in double precision, event by event."""

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.kernel_arrays import unaligned
from tamis_kernels import QueryTower

ITEMS, KINDS, SLOTS = 40, 5, 7
# width of events, heads, events at most, hidden, dims: a large one, awkward ones, and the least
SHAPES = [(64, 4, 50, 128, 64), (37, 3, 9, 21, 19), (16, 1, 4, 33, 130), (1, 1, 1, 1, 1)]
Shape = tuple[int, int, int, int, int]


class Tower:
    def __init__(self, seed: int, shape: Shape) -> None:
        rng = np.random.default_rng(seed)
        width, heads, length, hidden, dims = shape

        def draw(*size: int) -> np.ndarray:
            return (rng.normal(size=size) / np.sqrt(size[0])).astype(np.float32)

        self.arrays = {
            "history_table": (draw(ITEMS, width) * 6).astype(np.float16),
            "seeds": draw(width, heads) * 3,
            "kind_bias": draw(KINDS, heads),
            "recency_bias": draw(length, heads),
            "kind_weight": draw(KINDS) + 1,
            "heard": np.array([False, True, True, False, True]),
            "context_table": draw(SLOTS, width),
            "w_context": draw(width, hidden),
            "skip": draw(heads * width, dims),
            "w1": draw(heads * width, hidden),
            "b1": draw(hidden),
            "w2": draw(hidden, dims),
            "b2": draw(dims),
        }

    def naive(self, rows: list[int], kinds: list[int], context: list[int]) -> np.ndarray:
        a = {name: array.astype(np.float64) for name, array in self.arrays.items()}
        length, heads = a["recency_bias"].shape
        last = list(zip(rows, kinds, strict=True))[::-1][:length]
        events = [
            (a["history_table"][row], kind, recency)
            for recency, (row, kind) in enumerate(last)
            if row >= 0 and self.arrays["heard"][kind]
        ]
        if not events:
            return np.zeros(len(a["b2"]))
        pooled = []
        for head in range(heads):
            seed, bias, recency = (
                a[name][:, head] for name in ("seeds", "kind_bias", "recency_bias")
            )
            logits = [event @ seed + bias[kind] + recency[at] for event, kind, at in events]
            shares = np.exp(np.array(logits) - max(logits))
            shares /= shares.sum()
            pooled.append(
                sum(
                    share * a["kind_weight"][kind] * event
                    for share, (event, kind, _) in zip(shares, events, strict=True)
                )
            )
        p = np.concatenate(pooled)
        about = a["context_table"][context].sum(axis=0)
        hidden = np.maximum(p @ a["w1"] + about @ a["w_context"] + a["b1"], 0)
        query = p @ a["skip"] + hidden @ a["w2"] + a["b2"]
        found: np.ndarray = query / np.linalg.norm(query)
        return found


def i32(values: list[int]) -> np.ndarray:
    return np.array(values, np.int32)


def u8(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint8)


EVENTS = st.lists(st.tuples(st.integers(-1, ITEMS - 1), st.integers(0, KINDS - 1)), max_size=60)


@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from(SHAPES),
    events=EVENTS,
    context=st.lists(st.integers(0, SLOTS - 1), max_size=3),
)
@settings(deadline=None, max_examples=60)
def test_the_query_is_that_of_the_formula(
    seed: int, shape: Shape, events: list[tuple[int, int]], context: list[int]
) -> None:
    tower = Tower(seed, shape)
    rows, kinds = [row for row, _ in events], [kind for _, kind in events]
    query = QueryTower(**tower.arrays).encode(i32(rows), u8(kinds), i32(context))
    assert query.dtype == np.float32
    np.testing.assert_allclose(query, tower.naive(rows, kinds, context), atol=2e-5)


def test_a_history_that_says_nothing_has_no_direction() -> None:
    tower = QueryTower(**Tower(1, SHAPES[1]).arrays)
    assert not tower.encode(i32([]), u8([]), i32([])).any()
    assert not tower.encode(i32([3, 4]), u8([0, 3]), i32([1])).any(), "kinds that are not heard"
    assert not tower.encode(i32([-1, -1]), u8([1, 1]), i32([1])).any(), "no items"


def test_nan_is_no_direction_either() -> None:
    arrays = Tower(2, SHAPES[1]).arrays
    arrays["history_table"][5, 0] = np.nan
    tower = QueryTower(**arrays)
    assert not tower.encode(i32([1, 5]), u8([1, 1]), i32([])).any()
    assert tower.encode(i32([1, 6]), u8([1, 1]), i32([])).any()


def test_the_table_of_items_is_read_where_it_is() -> None:
    arrays = Tower(3, SHAPES[0]).arrays
    tower = QueryTower(**arrays)
    asked = i32([7]), u8([1]), i32([0])
    before = tower.encode(*asked)
    arrays["history_table"][7] *= -1
    after = tower.encode(*asked)
    assert not np.allclose(before, after)
    again = QueryTower(**{**arrays, "history_table": unaligned(arrays["history_table"])})
    np.testing.assert_allclose(again.encode(*asked), after, atol=1e-6)


def test_the_tower_outlives_the_names_of_its_arrays() -> None:
    tower = QueryTower(**Tower(4, SHAPES[0]).arrays)
    gc.collect()
    assert np.isclose(np.linalg.norm(tower.encode(i32([1]), u8([1]), i32([0]))), 1)


def test_what_is_outside_a_table_is_named() -> None:
    tower = QueryTower(**Tower(5, SHAPES[1]).arrays)
    with pytest.raises(IndexError, match=r"rows\[1\] is 40, allowed are up to 39"):
        tower.encode(i32([0, ITEMS]), u8([1, 1]), i32([0]))
    with pytest.raises(IndexError, match=r"kinds\[0\] is 5, allowed are up to 4"):
        tower.encode(i32([0]), u8([KINDS]), i32([0]))
    with pytest.raises(IndexError, match=r"context\[0\] is -1, allowed are 0 to 6"):
        tower.encode(i32([0]), u8([1]), i32([-1]))
    with pytest.raises(ValueError, match="kinds: axis 0 must have 1 entries, got 2"):
        tower.encode(i32([0]), u8([1, 1]), i32([]))


@pytest.mark.parametrize("name", list(Tower(0, SHAPES[1]).arrays))
def test_arrays_that_do_not_fit_are_refused_by_name(name: str) -> None:
    arrays = Tower(0, SHAPES[1]).arrays
    with pytest.raises(TypeError, match=f"{name}: dtype"):
        QueryTower(**{**arrays, name: arrays[name].astype(np.float64)})
    longer = np.concatenate([arrays[name], arrays[name]])
    if name not in {"history_table", "recency_bias", "context_table"}:  # of any length
        with pytest.raises(ValueError, match=r"axis \d must have"):
            QueryTower(**{**arrays, name: longer})
