"""A request knows what came before it, and nothing that came later."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tamis_pipeline.dataset import Interactions
from tamis_pipeline.rankers.requests import requests
from tamis_server.bundles.features import is_positive
from tamis_server.domain.context import EventKind

EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 9), st.integers(1, 8)),
    max_size=40,
)


def interactions(events: list[tuple[int, int, int, int]]) -> Interactions:
    """(user, item, time, kind), brought into the order of time."""
    columns = np.array(sorted(events, key=lambda event: event[2]), np.int64).reshape(-1, 4).T
    return Interactions(
        columns[0].astype(np.int32),
        columns[1].astype(np.int32),
        columns[2].astype(np.float64),
        columns[3].astype(np.uint8),
    )


@given(EVENTS, EVENTS)
def test_requests_are_those_of_a_loop_over_all_events(
    past: list[tuple[int, int, int, int]], asked: list[tuple[int, int, int, int]]
) -> None:
    expected = []
    for user in range(4):
        own = [event for event in sorted(past, key=lambda e: e[2]) if event[0] == user]
        for item in range(6):
            positives = [
                event
                for event in asked
                if event[:2] == (user, item) and is_positive(np.array([event[3]], np.uint8))[0]
            ]
            if not positives:
                continue
            time = min(event[2] for event in positives)
            before = [event for event in own if event[2] < time]
            if item in {event[1] for event in before}:
                continue
            outcomes = 0
            for event in positives:
                outcomes |= 1 << event[3]
            known = sorted((event[2], event[1], event[3]) for event in before)
            expected.append((user, time, item, outcomes, tuple(known), len(own)))
    found = requests(interactions(past), interactions(asked))
    got = []
    for i in range(len(found)):
        known = slice(found.begin[i], found.end[i])
        events = sorted(
            zip(
                found.past.times[known].tolist(),
                found.past.items[known].tolist(),
                found.past.kinds[known].tolist(),
                strict=True,
            )
        )
        users = set(found.past.users[found.begin[i] : found.last[i]].tolist())
        assert users <= {int(found.users[i])}
        got.append(
            (
                found.times[i],
                int(found.targets[i]),
                int(found.outcomes[i]),
                tuple(events),
                int(found.last[i] - found.begin[i]),
            )
        )
    assert sorted(got) == sorted(entry[1:] for entry in expected)


@given(EVENTS, EVENTS, st.integers(0, 9))
def test_looking_ahead_a_request_is_asked_when_its_user_was_about_to_ask_or_before(
    past: list[tuple[int, int, int, int]], asked: list[tuple[int, int, int, int]], seed: int
) -> None:
    own = requests(interactions(past), interactions(asked))
    found = own.looking_ahead(np.random.default_rng(seed))
    assert found.targets.tolist() == own.targets.tolist()
    assert found.users.tolist() == own.users.tolist()
    assert (found.times <= own.times).all()
    moments = set(zip(own.users.tolist(), own.times.tolist(), own.end.tolist(), strict=True))
    assert moments >= set(
        zip(found.users.tolist(), found.times.tolist(), found.end.tolist(), strict=True)
    )


def test_looking_ahead_every_earlier_moment_of_the_user_is_as_likely() -> None:
    past = interactions([(0, 1, 1, EventKind.VIEW), (1, 1, 1, EventKind.VIEW)])
    asked = interactions(
        [(user, 2 + at, 5 + at, EventKind.VIEW) for user in (0, 1) for at in range(3)]
    )
    own, rng = requests(past, asked), np.random.default_rng(0)
    times = np.stack([own.looking_ahead(rng).times for _ in range(3000)])
    for at in (2, 5):  # each user's last
        _, counts = np.unique(times[:, at], return_counts=True)
        assert counts.shape[0] == 3
        assert counts.min() > 900
    assert set(times[:, 0].tolist()) == {5.0}


def test_a_view_that_ends_in_a_purchase_is_one_request_with_both_outcomes() -> None:
    asked = interactions([(0, 3, 5, EventKind.VIEW), (0, 3, 7, EventKind.PURCHASE)])
    found = requests(interactions([(0, 1, 2, EventKind.CLICK)]), asked)
    assert found.times.tolist() == [5.0]
    assert found.outcomes.tolist() == [1 << EventKind.VIEW | 1 << EventKind.PURCHASE]


def test_somebody_with_no_past_and_an_empty_past_can_be_asked() -> None:
    found = requests(interactions([]), interactions([(2, 0, 1, EventKind.LIKE)]))
    assert len(found) == 1
    assert found.begin[0] == found.end[0] == found.last[0]


def test_without_order_all_is_known_but_what_is_asked_and_requests_come_after_it() -> None:
    past = interactions([(0, 1, 1, 1), (0, 2, 2, 1), (0, 3, 3, 1), (0, 1, 4, 1), (1, 2, 5, 1)])
    asked = past.take(np.array([1, 3]))  # of item 2, and of item 1, which was met before
    found = requests(past, asked, ordered=False)
    assert found.targets.tolist() == [2]
    known = slice(found.begin[0], found.end[0])
    assert sorted(found.past.items[known].tolist()) == [1, 3]
    assert sorted(found.past.items[found.begin[0] : found.last[0]].tolist()) == [1, 1, 2, 3]
    assert found.times.tolist() == [3.0]
