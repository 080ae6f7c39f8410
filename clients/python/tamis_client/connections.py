"""Several connections to one server, spread evenly over the workers behind it.

A connection sticks to the worker process that accepted it, and the kernel deals connections out by
chance. A server of several workers says with each answer which one gave it; a client that finds
more connections on one worker than its share gives one up and opens another in its place.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

C = TypeVar("C")
WORKER = "x-tamis-worker"  # trailing metadata: "2/4" is the second of four
_TRIES = 8  # a connection, until it is left as it is


@dataclass(eq=False)
class Connection(Generic[C]):
    """A channel, how many calls are on it, and which worker answers there."""

    channel: C
    in_flight: int = 0
    worker: str = ""


class Connections(Generic[C]):
    """Given out in turn. Safe to share between threads."""

    def __init__(self, connect: Callable[[], C], count: int) -> None:
        """Raises ValueError where ``count`` is below 1."""
        if count < 1:
            raise ValueError(f"channels is {count}, at least 1 is needed")
        self._connect = connect
        self._open = [Connection(connect()) for _ in range(count)]
        self._retired: list[Connection[C]] = []  # with calls still on them
        self._turn = 0
        self._tries = _TRIES * count
        self._lock = threading.Lock()

    def take(self) -> Connection[C]:
        """The next one. Every one taken is given back."""
        with self._lock:
            self._turn = (self._turn + 1) % len(self._open)
            connection = self._open[self._turn]
            connection.in_flight += 1
            return connection

    def give(
        self, connection: Connection[C], trailers: Iterable[tuple[str, str | bytes]] = ()
    ) -> list[C]:
        """A call ended with these trailers; returns the channels that are now to be closed."""
        with self._lock:
            connection.in_flight -= 1
            worker = next((str(value) for key, value in trailers if key == WORKER), "")
            if worker and worker != connection.worker and connection in self._open:
                connection.worker = worker
                self._spread()
            idle = [each for each in self._retired if each.in_flight == 0]
            self._retired = [each for each in self._retired if each.in_flight > 0]
            return [each.channel for each in idle]

    @property
    def several(self) -> bool:
        return len(self._open) > 1

    def channels(self) -> list[C]:
        """All that have not been given for closing."""
        return [each.channel for each in (*self._open, *self._retired)]

    def _spread(self) -> None:
        """Give up a connection to the worker that has too many, once all are known."""
        if not all(each.worker for each in self._open):
            return
        of = int(self._open[0].worker.partition("/")[2] or 1)
        share = -(-len(self._open) // of)
        (worker, most), *_ = Counter(each.worker for each in self._open).most_common(1)
        if most <= share:
            self._tries = _TRIES * len(self._open)
        elif self._tries > 0:
            self._tries -= 1
            place = next(n for n, each in enumerate(self._open) if each.worker == worker)
            self._retired.append(self._open[place])
            self._open[place] = Connection(self._connect())
