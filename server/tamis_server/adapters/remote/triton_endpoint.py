"""One Triton server: its channel, its breaker, and how much is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tamis_server.domain.context import Deadline
from tamis_server.domain.errors import DependencyFailed
from tamis_server.domain.scoring import Outputs
from tamis_server.protection.breaker import Breaker, BreakerPolicy, State
from tamis_server.protection.hedging import Latencies

# given to tritonclient they replace its own: message lengths have to be said again
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # a server that comes back is used within a second, where gRPC's own pause grows to minutes
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
]
_LATE = 0.2  # a call cancelled with less of its time left was late
_USUAL = 0.9  # of the last calls take no longer than is usual


@dataclass(frozen=True, slots=True)
class ModelName:
    """version: empty for the highest."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.version}" if self.version else self.name


class Endpoint:
    """Asks one model of one server. Every way to fail is a DependencyFailed, and counted."""

    def __init__(self, address: str, model: ModelName, most: int) -> None:
        """most: calls under way."""
        self.address = address
        self.breaker = Breaker(BreakerPolicy())
        self.latencies = Latencies()
        self.in_flight = 0
        self._model = model
        self._most = most
        self._client = triton.InferenceServerClient(address, channel_args=_CHANNEL)

    @property
    def passes(self) -> bool:
        return self.in_flight < self._most and self.breaker.passes

    @property
    def state(self) -> State:
        return self.breaker.state

    async def metadata(self, deadline: Deadline) -> Any:
        """The server's ModelMetadataResponse."""

        async def ask(timeout_s: float) -> Any:
            return await self._client.get_model_metadata(
                self._model.name, self._model.version, client_timeout=timeout_s
            )

        return await self._guarded(ask, deadline)

    async def infer(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        outputs: Mapping[str, str],
        deadline: Deadline,
        check: Callable[[Outputs], None],
    ) -> Outputs:
        """outputs: the server's names by ours."""
        given = []
        for name, array in inputs.items():
            given.append(triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
            given[-1].set_data_from_numpy(np.ascontiguousarray(array))
        wanted = [triton.InferRequestedOutput(name) for name in outputs.values()]

        async def ask(timeout_s: float) -> Outputs:
            result: triton.InferResult = await self._client.infer(
                self._model.name,
                given,
                self._model.version,
                outputs=wanted,
                client_timeout=timeout_s,
            )
            found = {known: _array(result, name) for known, name in outputs.items()}
            check(found)
            return found

        started = perf_counter()
        result: Outputs = await self._guarded(ask, deadline)
        self.latencies.add(perf_counter() - started)
        return result

    async def close(self) -> None:
        await self._client.close()

    async def _guarded(self, ask: Callable[[float], Any], deadline: Deadline) -> Any:
        timeout_s = deadline.remaining()
        if timeout_s <= 0:
            raise self._failure("no time left")
        if not self.breaker.begin():
            raise self._failure("left alone after failures")
        self.in_flight += 1
        try:
            result = await ask(timeout_s)
        except asyncio.CancelledError:
            if deadline.remaining() < _LATE * timeout_s:  # whoever waited has given up
                self._was_late(timeout_s)
            else:
                self.breaker.abandoned()
            raise
        except DependencyFailed:
            self.breaker.failed()
            raise
        except InferenceServerException as error:
            status = (error.status() or "").removeprefix("StatusCode.")
            if status == "DEADLINE_EXCEEDED":
                self._was_late(timeout_s)
            else:
                self.breaker.failed()
            raise self._failure(f"{status} {error.message()}".strip()) from None
        except BaseException:
            self.breaker.failed()
            raise
        else:
            self.breaker.succeeded()
            return result
        finally:
            self.in_flight -= 1

    def _was_late(self, timeout_s: float) -> None:
        """There was no answer in that time. It says nothing of the server where it is usually not
        as fast: callers in a hurry would keep it from all others."""
        usual_s = self.latencies.quantile(_USUAL)
        if usual_s is not None and timeout_s < usual_s:
            self.breaker.abandoned()
        else:
            self.breaker.failed()

    def _failure(self, reason: str) -> DependencyFailed:
        return DependencyFailed(f"{self._model} at {self.address}", reason)


def _array(result: triton.InferResult, name: str) -> npt.NDArray[Any]:
    try:
        found: npt.NDArray[Any] | None = result.as_numpy(name)
    except ValueError as error:  # fewer bytes than its shape says
        raise DependencyFailed(name, f"can't be read: {error}") from None
    if found is None:
        raise DependencyFailed(name, "is missing from the answer")
    return found
