"""From what users do to the next bundle: recorded, logged, ingested, trained on."""

from __future__ import annotations

import asyncio
import signal
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from support.servers import server_process
from tamis.v1 import item_pb2
from tamis_client import TamisClient
from tamis_pipeline import build as pipeline
from tamis_pipeline import twotower
from tamis_pipeline.config import PipelineConfig, RankingConfig, RetrievalConfig
from tamis_pipeline.ingest import ingest
from tamis_pipeline.progress import Progress
from tamis_pipeline.rankers.deepfm import DeepFMConfig
from tamis_pipeline.rankers.exposures import ExposureConfig
from tamis_pipeline.rankers.training import TrainingConfig
from tamis_pipeline.shop.catalogue import make_products
from tamis_pipeline.shop.export import write_shop
from tamis_pipeline.shop.shoppers import simulate
from tamis_server import eventlog
from tamis_server.adapters.embedded.event_log import EventLogUnusable, ParquetEventLog
from tamis_server.app import Application
from tamis_server.bundles.loader import load
from tamis_server.settings import load_settings

CONFIG = PipelineConfig(
    seed=3,
    retrieval=RetrievalConfig(
        two_tower=twotower.TwoTowerConfig(dim=16, hidden=16, history=10, batch=256, epochs=1)
    ),
    ranking=RankingConfig(
        exposures=ExposureConfig(personal=50, together=50),
        deepfm=DeepFMConfig(embedding=8, hidden=(32, 16, 16), training=TrainingConfig(epochs=1)),
    ),
)


def clicks(user: str, item_ids: list[str], at: float) -> list[item_pb2.Event]:
    events = []
    for number, item_id in enumerate(item_ids):
        event = item_pb2.Event(
            event_id=f"{user}-{number}",
            user_id=user,
            item_id=item_id,
            kind=item_pb2.EVENT_KIND_CLICK,
            request_id="answer-1",
            position=number + 1,
        )
        event.time.FromNanoseconds(int((at + number) * 1e9))
        events.append(event)
    return events


def test_what_users_did_is_in_the_next_bundle(bundle: Path, tmp_path: Path) -> None:
    products = make_products(150, seed=1)
    behaviour = simulate(products, 60, seed=1)
    write_shop(products, behaviour, tmp_path / "shop")
    # amid the shop's own time: what is latest is held out
    middle = float(behaviour.times.min() + behaviour.times.max()) / 2
    item_ids = [product.item_id for product in products[:30]]
    with (
        server_process(bundle, "--set", f"events.log_dir={tmp_path / 'log'}") as server,
        TamisClient(server.target, timeout_s=10.0) as client,
    ):
        for _ in range(2):
            client.record_events(clicks("visitor", item_ids, middle))
        assert server.stop() == 0
    assert [path.suffix for path in (tmp_path / "log").iterdir()] == [".parquet"]

    result = ingest([tmp_path / "log"], tmp_path / "next", tmp_path / "shop")
    assert (result.events, result.duplicates, result.unknown_items) == (30, 0, 0)
    assert result.kinds == {"click": 30}

    pipeline.build(
        CONFIG, tmp_path / "next", tmp_path / "bundle", "tiny", Progress(Console(file=StringIO()))
    )
    retrained = load(tmp_path / "bundle")
    rows = retrained.items.column("item_id").to_pylist()
    (visitor,) = [user for user in retrained.users.to_pylist() if user["user_id"] == "visitor"]
    assert [rows[row] for row in visitor["rows"]] == item_ids


def test_a_killed_server_leaves_what_it_had_flushed(bundle: Path, tmp_path: Path) -> None:
    directory = tmp_path / "log"
    options = ["--set", f"events.log_dir={directory}", "--set", "events.log_flush_s=0.001"]
    with (
        server_process(bundle, *options) as server,
        TamisClient(server.target, timeout_s=10.0) as client,
    ):
        client.record_events(clicks("visitor", [f"item-{n}" for n in range(20)], 1e9))
        # another process's file: nothing tells when it has grown
        while b"visitor-19" not in b"".join(path.read_bytes() for path in directory.iterdir()):
            assert server.process.poll() is None
        server.stop(signal.SIGKILL)
    log = ParquetEventLog(
        directory, rotate_bytes=1 << 20, rotate_s=60.0, flush_s=0.1, max_pending=10
    )
    log.start()
    asyncio.run(log.close())
    (path,) = eventlog.segments(directory)
    assert eventlog.read_segment(path).num_rows == 20


async def test_a_log_that_can_not_be_written_stops_the_start(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    sections = {"bundle": {"path": bundle}, "events": {"log_dir": file}}
    with pytest.raises(EventLogUnusable, match="event log"):
        await Application(load_settings(None, sections)).start()
