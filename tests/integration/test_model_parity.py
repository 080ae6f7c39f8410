"""One DeepFM, run by the native kernel, onnxruntime and Triton, for the demo shop's shoppers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from support.engines import Recorder, request
from support.triton import require_triton
from tamis_server.bundles.loader import Bundle, load
from tamis_server.domain.context import Deadline
from tamis_server.domain.slate import Slate
from tamis_server.engines import build_engine
from tamis_server.funnel.engine import Engine
from tamis_server.rankers import open_triton
from tamis_server.settings import (
    ProtectionSettings,
    RankingSettings,
    RerankingSettings,
    RetrievalSettings,
    Settings,
    StateSettings,
)
from tamis_server.stores import open_stores
from tamis_server.tables import Tables
from triton_local.server import TritonServer

SHOP = Path(str(files("tamis_pipeline.shop") / "bundle"))
REQUESTS, AT_ONCE = 1000, 25


@pytest.fixture(scope="module")
def shop() -> Bundle:
    return load(SHOP)


@asynccontextmanager
async def engine(shop: Bundle, url: str) -> AsyncIterator[Engine]:
    settings = Settings(  # all candidates, however slow the machine
        retrieval=RetrievalSettings(source_timeout_s=30),
        ranking=RankingSettings(url=url, timeout_s=30),
        reranking=RerankingSettings(trade_off=1),  # the ranker's own order
        protection=ProtectionSettings(target_s=30),
    )
    triton = open_triton(settings.ranking)
    with TemporaryDirectory() as state:
        stores = open_stores(StateSettings(url=f"lmdb://{state}", fsync="never"))
        yield build_engine(Tables.of(shop, settings), stores.users, settings, Recorder(), triton)
        for model in triton.values():
            await model.close()
        await stores.close()


async def slates(shop: Bundle, url: str) -> Sequence[Slate]:
    users = shop.users.column("user_id").to_pylist()[:REQUESTS]
    found: list[Slate] = []
    async with engine(shop, url) as served:
        for start in range(0, len(users), AT_ONCE):
            asked = [
                replace(request(user, 20), deadline=Deadline.after(60), now=shop.manifest.as_of)
                for user in users[start : start + AT_ONCE]
            ]
            found += await asyncio.gather(*(served.recommend.run(ctx) for ctx in asked))
    assert len(found) == REQUESTS
    assert not [slate.causes for slate in found if slate.causes]
    return found


async def test_all_give_the_same_scores_and_the_same_first_twenty(shop: Bundle) -> None:
    require_triton()
    native = await slates(shop, "")
    with TritonServer(SHOP / "models") as server:
        others = {
            "onnxruntime": await slates(shop, "onnx://deepfm"),
            "Triton": await slates(shop, f"triton://{server.endpoint}/deepfm"),
        }
    for name, other in others.items():
        for one, same in zip(native, other, strict=True):
            rows, others_rows = one.candidates.rows, same.candidates.rows
            assert set(rows) == set(others_rows), name
            given = dict(zip(rows.tolist(), one.candidates.scores.tolist(), strict=True))
            in_its_order = np.array([given[row] for row in others_rows.tolist()])
            np.testing.assert_allclose(
                in_its_order, same.candidates.scores, rtol=0, atol=1e-4, err_msg=name
            )
            # items change places only where nothing is between them: float32 sums in other orders
            np.testing.assert_allclose(
                in_its_order, one.candidates.scores, rtol=0, atol=1e-6, err_msg=name
            )
