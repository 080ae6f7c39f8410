"""What a call that came too late says of a Triton server."""

from __future__ import annotations

import pytest

triton = pytest.importorskip("tritonclient.utils")

from tamis_server.adapters.remote.triton_endpoint import Endpoint, ModelName  # noqa: E402
from tamis_server.domain.context import Deadline  # noqa: E402
from tamis_server.domain.errors import DependencyFailed  # noqa: E402
from tamis_server.protection.breaker import State  # noqa: E402

USUAL_S = 0.05


class Client:
    """Never in time."""

    async def get_model_metadata(self, *_: object, client_timeout: float) -> None:
        raise triton.InferenceServerException("late", status="StatusCode.DEADLINE_EXCEEDED")

    async def close(self) -> None:
        pass


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    found = Endpoint("127.0.0.1:1", ModelName("deepfm"), 4)
    await found.close()
    monkeypatch.setattr(found, "_client", Client())
    return found


async def late(endpoint: Endpoint, timeout_s: float) -> None:
    for _ in range(20):
        if endpoint.passes:
            with pytest.raises(DependencyFailed, match="DEADLINE_EXCEEDED late"):
                await endpoint.metadata(Deadline.after(timeout_s))


async def test_callers_in_a_hurry_keep_it_from_nobody(endpoint: Endpoint) -> None:
    for _ in range(20):
        endpoint.latencies.add(USUAL_S)
    await late(endpoint, USUAL_S / 2)
    assert endpoint.state is State.CLOSED


async def test_calls_that_had_the_usual_time_open_its_breaker(endpoint: Endpoint) -> None:
    for _ in range(20):
        endpoint.latencies.add(USUAL_S)
    await late(endpoint, 2 * USUAL_S)
    assert endpoint.state is State.OPEN


async def test_so_do_calls_of_any_time_while_nothing_is_known_of_it(endpoint: Endpoint) -> None:
    await late(endpoint, USUAL_S / 2)
    assert endpoint.state is State.OPEN
