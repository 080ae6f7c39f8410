"""A model on one or several Triton servers: the least busy that works is asked.

A call that failed early, or is slower than nearly all before it, is tried once more at another
server, as far as a budget allows; the answer that comes first counts and the other is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from tamis_server.adapters.remote.triton_endpoint import Endpoint, ModelName
from tamis_server.bundles.ranking_contract import PAIRING, PROBABILITIES, canonical
from tamis_server.domain.context import Deadline
from tamis_server.domain.errors import DependencyFailed
from tamis_server.domain.scoring import Outputs, Signature
from tamis_server.protection.breaker import BreakerPolicy, State
from tamis_server.protection.hedging import RetryBudget

_SLOW = 0.95  # a call slower than this share of the last ones is hedged


class TritonModel:
    """One model and version on all the servers that have it."""

    def __init__(self, addresses: Sequence[str], model: ModelName, *, calls: int) -> None:
        """calls: under way at once, for each server; where one fails, the others take its part."""
        self.name = f"triton model {model}"
        most = calls * len(addresses)
        self.endpoints = tuple(Endpoint(address, model, most) for address in addresses)
        self._turn = 0
        self.hedges = 0
        # by second tries a breaker learns of a slow server: they must last until it opens, which
        # takes half of its window, even where some were spent on chance
        self._budget = RetryBudget(burst=BreakerPolicy().window)
        self._signature: Signature | None = None  # while it is to be trusted
        self._known: Signature | None = None  # the same object as long as nothing changes
        self._asking: asyncio.Task[Signature] | None = None

    async def signature(self, deadline: Deadline) -> Signature:
        """Asked once for all, and again after a failure: another model may have come instead."""
        if self._signature is None:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask(deadline))
                self._asking.add_done_callback(self._answered)
            return await asyncio.shield(self._asking)
        return self._signature

    async def _ask(self, deadline: Deadline) -> Signature:
        metadata = await self._choose().metadata(deadline)
        found = Signature(
            {each.name: tuple(each.shape) for each in metadata.inputs},
            tuple(each.name for each in metadata.outputs),
        )
        self._signature = self._known = self._known if self._known == found else found
        return self._signature

    def _answered(self, asking: asyncio.Task[Signature]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # those who wait are told; where none does, it is no news

    async def run(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        deadline: Deadline,
        check: Callable[[Outputs], None],
    ) -> Outputs:
        """Raises DependencyFailed."""
        signature = await self.signature(deadline)
        outputs = {
            known: name
            for name in signature.outputs
            if (known := canonical(name)) in (PROBABILITIES, PAIRING)
        }
        running: dict[asyncio.Task[Outputs], Endpoint] = {}

        def start(endpoint: Endpoint) -> None:
            call = endpoint.infer(inputs, outputs, deadline, check)
            running[asyncio.create_task(call)] = endpoint

        first, second = self._choose(), None
        failure: BaseException | None = None
        start(first)
        self._budget.called()
        patience = first.latencies.quantile(_SLOW)
        try:
            while True:
                done, _ = await asyncio.wait(
                    running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    endpoint = running.pop(task)
                    failure = DependencyFailed(self.name, "was cancelled")
                    if task.cancelled():
                        continue
                    failure = task.exception()
                    if failure is None:
                        if endpoint is second and running:
                            first.breaker.failed()  # beaten by one that started later
                        return task.result()
                patience = None
                if second is None:
                    second = self._second(first, deadline)
                    if second is not None:
                        start(second)
                if not running and failure is not None:
                    self._signature = None
                    raise failure
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        for endpoint in self.endpoints:
            await endpoint.close()

    def _choose(self, but: Endpoint | None = None) -> Endpoint:
        """The least busy, in turn; but first one whose probe is due: else it never comes back."""
        self._turn += 1
        start = self._turn % len(self.endpoints)
        in_turn = (*self.endpoints[start:], *self.endpoints[:start])
        able = [each for each in in_turn if each.passes and each is not but]
        if not able:
            states = ", ".join(f"{each.address} {each.state.value}" for each in self.endpoints)
            raise DependencyFailed(self.name, f"no server takes calls now: {states}")
        return min(able, key=lambda each: (each.state is State.CLOSED, each.in_flight))

    def _second(self, first: Endpoint, deadline: Deadline) -> Endpoint | None:
        if deadline.remaining() <= 0:
            return None
        try:
            another = self._choose(first)
        except DependencyFailed:
            return None
        if not self._budget.take():
            return None
        self.hedges += 1
        return another
