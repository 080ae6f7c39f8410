"""Connections of the Python client, dealt out by chance to workers as a kernel does it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis_client.connections import WORKER, Connection, Connections


class Dealt:
    """A channel, and the worker that accepted it."""

    def __init__(self, chance: random.Random, of: int) -> None:
        self.of = of
        self.worker = chance.randint(1, of)
        self.closed = False

    @property
    def trailers(self) -> list[tuple[str, str | bytes]]:
        return [("x-request-id", "1"), (WORKER, f"{self.worker}/{self.of}")]


def call(connections: Connections[Dealt]) -> None:
    """One call and what comes of it."""
    connection = connections.take()
    assert not connection.channel.closed
    for channel in connections.give(connection, connection.channel.trailers):
        channel.closed = True


@given(seed=st.integers(0, 10_000), count=st.integers(2, 16), of=st.integers(2, 6))
def test_they_end_spread_evenly_over_the_workers(seed: int, count: int, of: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    connections = Connections(lambda: Dealt(chance, of), count)
    for _ in range(200 * count):
        call(connections)
    channels = connections.channels()
    assert len(channels) == count
    assert max(Counter(each.worker for each in channels).values()) <= -(-count // of)


def test_a_connection_given_up_is_closed_when_its_last_call_has_ended() -> None:
    workers = iter([1, 1, 2])

    def connect() -> Dealt:
        dealt = Dealt(random.Random(0), 2)  # noqa: S311
        dealt.worker = next(workers)
        return dealt

    connections = Connections(connect, 2)
    first, second = connections.take(), connections.take()
    third, fourth = connections.take(), connections.take()
    assert third is first
    assert connections.give(first, first.channel.trailers) == []
    assert connections.give(second, second.channel.trailers) == []  # one is given up, but in use
    assert len(connections.channels()) == 3
    ended = connections.give(third) + connections.give(fourth)
    assert len(ended) == 1
    assert len(connections.channels()) == 2
    assert {each.worker for each in connections.channels()} == {1, 2}


def test_a_server_of_one_worker_says_nothing_and_nothing_changes() -> None:
    made: list[int] = []
    connections = Connections(lambda: made.append(1), 4)
    for _ in range(20):
        assert connections.give(connections.take(), [("x-request-id", "1")]) == []
    assert len(made) == 4


def test_where_no_spread_can_be_had_it_gives_up_after_some_tries() -> None:
    made: list[Connection[Dealt]] = []

    def connect() -> Dealt:
        dealt = Dealt(random.Random(0), 3)  # noqa: S311
        dealt.worker = 1
        made.append(Connection(dealt))
        return dealt

    connections = Connections(connect, 4)
    for _ in range(1000):
        call(connections)
    assert len(made) == 4 + 8 * 4


def test_no_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="channels is 0, at least 1 is needed"):
        Connections(lambda: None, 0)
