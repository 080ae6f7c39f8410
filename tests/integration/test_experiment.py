"""An experiment while serving: every user keeps a variant, and answers and metrics say which."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.deep_shop import write_deep_bundle
from support.servers import running
from tamis.v1 import recommend_service_pb2 as pb
from tamis_client import AsyncTamisClient
from tamis_server.policies.experiment import CONTROL, Experiment

SHARES = {"onnx": 0.4, "far": 0.3}
EXPERIMENT = {
    "name": "rankers",
    "variants": [
        {"name": "onnx", "url": "onnx://deepfm", "share": SHARES["onnx"]},
        {"name": "far", "url": "triton://127.0.0.1:1/deepfm", "share": SHARES["far"]},
    ],
}
USERS = [f"user-{number}" for number in range(40)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deep_bundle(tmp_path_factory.mktemp("deep") / "bundle", items=500)


async def test_each_user_is_ranked_by_the_model_of_its_variant(bundle: Path) -> None:
    pytest.importorskip("tritonclient")
    expected = Experiment("rankers", SHARES)
    ranking = {"experiment": EXPERIMENT, "timeout_s": 1.0}
    async with (
        running(bundle, {"ranking": ranking}) as server,
        AsyncTamisClient(server.target, timeout_s=10.0) as client,
    ):
        for user in USERS:
            response = await client.recommend(user_id=user, page_size=5)
            assert response.variant == expected.variant(user)
            # no server is where the variant "far" looks for one: that is its users' affair alone
            light = response.degradation.level == pb.DEGRADATION_LEVEL_LIGHT_RANKER
            assert light == (response.variant == "far")
            assert len(response.items) == 5
        assert {expected.variant(user) for user in USERS} == {CONTROL, *SHARES}
        page = server.application.exposition()
    for variant, level in ((CONTROL, "full"), ("onnx", "full"), ("far", "light_ranker")):
        assert f'tamis_variant_answers_total{{level="{level}",variant="{variant}"}}' in page


async def test_without_an_experiment_answers_name_no_variant(bundle: Path) -> None:
    async with (
        running(bundle) as server,
        AsyncTamisClient(server.target, timeout_s=10.0) as client,
    ):
        assert not (await client.recommend(user_id="user-1")).variant
