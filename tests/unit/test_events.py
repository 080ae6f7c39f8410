"""Events as columns are the events that they were made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.events import Event, columns
from tamis_server.domain.context import EventKind
from tamis_server.domain.events import Events

ids = st.sampled_from(["a", "b", "c"])
one = st.builds(
    Event,
    ids,
    ids,
    ids,
    st.sampled_from(EventKind),
    st.floats(0, 4e9),
    st.just("visit"),
    st.just("answer"),
    st.integers(0, 9),
    st.booleans(),
)
some = st.lists(one, max_size=5)


def rows(events: Events) -> list[tuple[object, ...]]:
    each = [getattr(events, name) for name in Events.__slots__]
    return list(
        zip(
            *(column if isinstance(column, list) else column.tolist() for column in each),
            strict=True,
        )
    )


@given(st.lists(some, min_size=1, max_size=4))
def test_joined_they_are_one_after_another(parts: list[list[Event]]) -> None:
    joined = Events.joined([columns(*part) for part in parts])
    assert rows(joined) == rows(columns(*(event for part in parts for event in part)))


@given(some, st.integers(0, 6), st.integers(0, 6))
def test_a_part_is_what_lies_between(events: list[Event], start: int, end: int) -> None:
    part = columns(*events).part(start, end)
    assert rows(part) == rows(columns(*events[start:end]))
    assert len(part) == len(events[start:end])


@given(some)
def test_those_that_are_chosen_are_left(events: list[Event]) -> None:
    known = columns(*events).where(columns(*events).known)
    assert rows(known) == rows(columns(*(event for event in events if event.known)))
