"""The naive baseline is an honest one: it answers what Tamis answers."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from serving import server

from support.redis_servers import RedisServer
from support.servers import server_process
from tamis.v1 import recommend_service_pb2 as pb
from tamis.v1 import recommend_service_pb2_grpc as stubs

USERS = range(20)


def request(user: int) -> pb.RecommendRequest:
    colours = pb.ValueList(values=[pb.Value(text=colour) for colour in ("red", "green", "blue")])
    predicate = pb.Predicate(attribute="colour")
    getattr(predicate, "in").CopyFrom(colours)
    return pb.RecommendRequest(user_id=f"user-{user}", predicates=[predicate])


def answers(target: str) -> list[pb.RecommendResponse]:
    with grpc.insecure_channel(target) as channel:
        stub = stubs.RecommendServiceStub(channel)
        return [stub.Recommend(request(user), timeout=30) for user in USERS]


@pytest.fixture(scope="module")
def ours(bundle: Path) -> list[pb.RecommendResponse]:
    with server_process(bundle, "--set", "server.access_log=false") as under:
        return answers(under.target)


def check(ours: list[pb.RecommendResponse], naive: list[pb.RecommendResponse]) -> None:
    shared = [
        len({item.item_id for item in one.items} & {item.item_id for item in other.items}) / 20
        for one, other in zip(ours, naive, strict=True)
    ]
    assert sum(shared) / len(shared) > 0.95, shared
    for one, other in zip(ours, naive, strict=True):
        assert len(one.items) == len(other.items) == 20
        assert one.items[0].score == pytest.approx(other.items[0].score, abs=0.01)
        assert other.bundle_id == one.bundle_id


def test_it_answers_what_tamis_answers_from_a_dict(
    bundle: Path, ours: list[pb.RecommendResponse]
) -> None:
    with server("-m", "baselines.naive", "--bundle", str(bundle)) as under:
        check(ours, answers(under.target))


def test_it_answers_what_tamis_answers_from_redis(
    bundle: Path, ours: list[pb.RecommendResponse], redis_empty: RedisServer
) -> None:
    command = ("-m", "baselines.naive", "--bundle", str(bundle), "--redis", redis_empty.url)
    with server(*command) as under:
        check(ours, answers(under.target))
