"""A bundle that another process loads answers as one that was loaded here."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from support.engines import AS_OF, SPARE, Recorder, request
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server import loading
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.manifest import HnswSpec, IndexSpec, IvfSpec
from tamis_server.domain.changes import Availability
from tamis_server.domain.context import Operator, Predicate
from tamis_server.domain.errors import BundleRejected
from tamis_server.engines import build_engine
from tamis_server.funnel.engine import Engine
from tamis_server.segment import Segment
from tamis_server.settings import Settings, StateSettings, load_settings
from tamis_server.stores import open_stores
from tamis_server.tables import Tables

GRAPH, LISTS = HnswSpec(m=8, ef_construction=64), IvfSpec(kind="ivf", lists=12, scanned=200)


async def loaded(directory: Path, settings: Settings) -> Tables:
    segment = await loading.load(directory, settings)
    try:
        return Tables.read(segment.path)
    finally:
        segment.close()


async def answers(engine: Engine) -> list[tuple[list[int], list[float]]]:
    cheap = Predicate("price", Operator.RANGE, low=0.0, high=60.0)
    red = Predicate("colour", Operator.IN, values=("red", "blue"))
    found = []
    for number in range(8):
        for predicates in ((), (cheap,), (red, cheap)):
            asked = request(f"user-{number}", 20, predicates=predicates)
            slate = await engine.recommend.run(asked)
            found.append((slate.candidates.rows.tolist(), slate.candidates.scores.tolist()))
    return found


@pytest.mark.parametrize("index", [GRAPH, LISTS], ids=["graph", "lists"])
@pytest.mark.parametrize("precision", ["f32", "int8"])
async def test_it_answers_the_same_and_goes_on_changing(
    index: IndexSpec, precision: str, tmp_path: Path
) -> None:
    directory = tmp_path / "bundle"
    parts = random_parts(items=400, as_of=AS_OF, index=index, content=8, profiled=True)
    write_bundle(parts, directory)
    settings = load_settings(
        None, {"ranking": {"precision": precision}, "catalogue": {"capacity": SPARE}}
    )
    stores = open_stores(StateSettings(url=f"lmdb://{tmp_path}/state", fsync="never"))
    here = build_engine(Tables.load(directory, settings), stores.users, settings, Recorder())
    there = build_engine(await loaded(directory, settings), stores.users, settings, Recorder())
    expected = await answers(here)
    assert len({str(rows) for rows, _ in expected}) > 8
    assert await answers(there) == expected
    shown = np.unique([row for rows, _ in expected for row in rows[:3]]).astype(np.int32)
    sold_out = [Availability(int(key), AS_OF, False) for key in here.catalogue.keys(shown)]
    for engine in (here, there):
        engine.live.apply(sold_out)
    changed = await answers(here)
    assert not {row for rows, _ in changed for row in rows} & set(shown.tolist())
    assert await answers(there) == changed
    await stores.close()


async def test_it_is_the_bundle_with_all_its_rows(tmp_path: Path) -> None:
    write_bundle(random_parts(items=120, as_of=AS_OF), tmp_path / "bundle")
    settings = load_settings(None, {"catalogue": {"capacity": 30}})
    tables = await loaded(tmp_path / "bundle", settings)
    assert tables.bundle.rows == 150
    assert tables.bundle.directory == tmp_path / "bundle"
    tables.bundle.vectors[149] = 1  # what comes later has a place
    np.testing.assert_array_equal(tables.nearest.vectors[149], tables.bundle.vectors[149])


async def test_one_that_is_not_whole_is_refused_by_its_file(tmp_path: Path) -> None:
    write_bundle(random_parts(as_of=AS_OF), tmp_path / "bundle")
    path = tmp_path / "bundle" / fmt.VECTORS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleRejected, match=r"^vectors\.npy: ") as refused:
        await loading.load(tmp_path / "bundle", Settings())
    assert refused.value.file == fmt.VECTORS


def children() -> set[int]:
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


async def begun(task: asyncio.Future[Segment], known: set[int]) -> int:
    """The process that the task waits for."""
    await asyncio.sleep(0)
    assert not task.done()
    (found,) = children() - known
    return found


async def test_one_whose_loader_dies_is_refused(tmp_path: Path) -> None:
    write_bundle(random_parts(as_of=AS_OF), tmp_path / "bundle")
    known = children()
    loading_ = asyncio.ensure_future(loading.load(tmp_path / "bundle", Settings()))
    os.kill(await begun(loading_, known), signal.SIGKILL)
    with pytest.raises(BundleRejected, match="the process that loads it ended with signal 9"):
        await loading_


async def test_a_loader_goes_with_who_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(random_parts(as_of=AS_OF), tmp_path / "bundle")
    made: list[Segment] = []

    def segment() -> Segment:
        made.append(Segment())
        return made[-1]

    monkeypatch.setattr(loading, "Segment", segment)
    known = children()
    loading_ = asyncio.ensure_future(loading.load(tmp_path / "bundle", Settings()))
    loader = await begun(loading_, known)
    loading_.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading_
    assert loader not in children()
    assert not made[0].path.exists()
