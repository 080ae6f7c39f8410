"""Engines over random bundles, without a server around them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tamis_pipeline.bundle import BundleParts, write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.adapters.embedded.histories import BundleHistories
from tamis_server.bundles.loader import Bundle, load
from tamis_server.domain.context import Deadline, History, RequestContext, UserState
from tamis_server.domain.ports import UserStateStore
from tamis_server.domain.slate import Slate, StageTrace
from tamis_server.engines import build_engine
from tamis_server.funnel.engine import Engine
from tamis_server.settings import Settings, StateSettings
from tamis_server.stores import Stores, open_stores, seen_policy
from tamis_server.tables import Tables

SPARE = 50  # rows for items that come later
AS_OF = float(int(time.time()))  # now: stores forget what is older than its window


@dataclass
class Recorder:
    """Keeps what it observes."""

    traces: list[StageTrace] = field(default_factory=list)
    slates: list[Slate] = field(default_factory=list)

    def observe(self, trace: StageTrace) -> None:
        self.traces.append(trace)

    def answered(self, slate: Slate) -> None:
        self.slates.append(slate)


@dataclass(frozen=True)
class Bench:
    """An engine with its bundle and store."""

    bundle: Bundle
    stores: Stores
    engine: Engine

    def history(self, user_id: str) -> History:
        """What the bundle knows that a user did."""
        catalogue = self.engine.catalogue
        keys = catalogue.keys(np.arange(self.bundle.manifest.items, dtype=np.int32))
        histories = BundleHistories(self.bundle, keys, seen_policy(StateSettings()))
        known = histories.of(user_id, AS_OF)
        return catalogue.history(UserState() if known is None else known.state)

    @property
    def store(self) -> UserStateStore:
        return self.stores.users


def bench(directory: Path, settings: Settings | None = None, **options: int | str) -> Bench:
    """Write a random bundle to ``directory`` and build the engine that serves it."""
    return bench_of(random_parts(as_of=AS_OF, **options), directory, settings)  # type: ignore[arg-type]


def bench_of(parts: BundleParts, directory: Path, settings: Settings | None = None) -> Bench:
    """The same of a bundle that the test made up."""
    write_bundle(parts, directory)
    bundle = load(directory, spare=SPARE)
    settings = settings or Settings()
    stores = open_stores(StateSettings(url=f"lmdb://{directory}-state", fsync="never"))
    engine = build_engine(Tables.of(bundle, settings), stores.users, settings, Recorder())
    return Bench(bundle, stores, engine)


def request(user_id: str = "user-0", limit: int = 10, **fields: object) -> RequestContext:
    """A request at the time of the bundle, with plenty of time."""
    context = RequestContext("test", user_id, limit, Deadline.after(30.0), now=AS_OF)
    return replace(context, **fields)  # type: ignore[arg-type]
