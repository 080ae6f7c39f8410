"""locust: shoppers who call by gRPC, in ramp, spike and soak.

    .venv/bin/locust -f loadtest/locustfile.py --host 127.0.0.1:50051 --scenario ramp --capacity 500

without --headless in locust's own page. Answers that are not of full quality are counted under
a name of their own (``Recommend, retrieval order``). --answers writes every answer for the report
of ``make loadtest``.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from random import expovariate
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent))

import grpc
import grpc.experimental.gevent
from gevent import sleep
from locust import LoadTestShape, User, events, task

from scenarios import DEMO, plans
from scenarios.answers import LEVELS, OK, UNKNOWN_LEVEL, Recorder, level_of
from scenarios.connections import OPTIONS
from scenarios.rpcs import RPCS
from scenarios.traffic import MIX, Traffic
from tamis.v1 import recommend_service_pb2 as pb

grpc.experimental.gevent.init_gevent()

CHANNELS, TIMEOUT_S = 8, 5.0


class Shop:
    """What all shoppers of this process share: connections, requests and the record of answers."""

    def __init__(self, target: str, bundle: Path) -> None:
        self.traffic = Traffic(bundle)
        self.begin = perf_counter()
        self.recorder = Recorder(self.begin)
        self.numbers = count()
        self._channels = [grpc.insecure_channel(target, options=OPTIONS) for _ in range(CHANNELS)]
        self._stubs = [
            {
                name: channel.unary_unary(
                    RPCS[name].path, response_deserializer=RPCS[name].response.FromString
                )
                for name in MIX
            }
            for channel in self._channels
        ]

    def ask(self, number: int, name: str, request: bytes) -> tuple[float, str, int, int]:
        """Seconds it took, gRPC status, degradation level, bytes answered."""
        since = perf_counter()
        code, level, size = OK, UNKNOWN_LEVEL, 0
        try:
            answer = self._stubs[number % CHANNELS][name](request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            code = error.code().name
            took = perf_counter() - since
        else:
            took = perf_counter() - since
            level, size = level_of(answer), answer.ByteSize()
        self.recorder.add(since - self.begin, took, name, code, level)
        return took, code, level, size


class Shopper(User):
    """Asks for the mix of ``scenarios.traffic`` at random times (Poisson), ``plans.PACE`` a second
    as long as answers keep up: shoppers who come together would go on asking together."""

    shop: Shop

    def on_start(self) -> None:
        self._number = next(self.shop.numbers)
        self._due = perf_counter()
        sleep(self.wait_time())

    def wait_time(self) -> float:
        """Until the next request is due: at once where an answer came after that."""
        now = perf_counter()
        self._due = max(self._due + expovariate(plans.PACE), now)
        return self._due - now

    @task
    def ask(self) -> None:
        name, message = self.shop.traffic.mixed()
        took, code, level, size = self.shop.ask(self._number, name, message.SerializeToString())
        full = level in (UNKNOWN_LEVEL, pb.DEGRADATION_LEVEL_FULL)
        self.environment.events.request.fire(
            request_type="grpc",
            name=name if full else f"{name}, {LEVELS[level].replace('_', ' ')}",
            response_time=took * 1e3,
            response_length=size,
            exception=None if code == OK else RuntimeError(code),
            context={"level": level},
        )


class Shape(LoadTestShape):
    """The plan that --scenario names."""

    def tick(self) -> tuple[int, float] | None:
        options = self.runner.environment.parsed_options
        steps = plans.plan(options.scenario, options.step_seconds)
        users = plans.users_at(steps, options.capacity, self.get_run_time())
        return None if users is None else (users, 1000.0)


@events.init_command_line_parser.add_listener
def _options(parser) -> None:  # type: ignore[no-untyped-def]
    parser.add_argument("--scenario", choices=plans.SHAPES, default="ramp")
    parser.add_argument("--capacity", type=float, default=500.0, help="requests/s it can do")
    parser.add_argument("--step-seconds", type=float, default=30.0)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="that the host serves")
    parser.add_argument("--answers", type=Path, default=None, help="file to write answers to")


@events.test_start.add_listener
def _open(environment, **_) -> None:  # type: ignore[no-untyped-def]
    Shopper.shop = Shop(environment.host, environment.parsed_options.bundle)


@events.test_stop.add_listener
def _write(environment, **_) -> None:  # type: ignore[no-untyped-def]
    if environment.parsed_options.answers is not None:
        Shopper.shop.recorder.answers().write(environment.parsed_options.answers)
