"""Engines over random bundles, without a server around them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import AS_OF, random_parts
from tamis_server.adapters.embedded.memory_state import BundleHistories, MemoryUserState
from tamis_server.app import build_engine
from tamis_server.bundles.loader import Bundle, load
from tamis_server.domain.context import Deadline, RequestContext
from tamis_server.domain.slate import StageTrace
from tamis_server.funnel.engine import Engine
from tamis_server.settings import Settings


@dataclass
class Recorder:
    """Keeps what it observes."""

    traces: list[StageTrace] = field(default_factory=list)

    def observe(self, trace: StageTrace) -> None:
        self.traces.append(trace)


@dataclass(frozen=True)
class Bench:
    """An engine with its bundle and store."""

    bundle: Bundle
    store: MemoryUserState
    engine: Engine


def bench(directory: Path, settings: Settings | None = None, **options: int | str) -> Bench:
    """Write a random bundle to ``directory`` and build the engine that serves it."""
    write_bundle(random_parts(**options), directory)  # type: ignore[arg-type]
    bundle = load(directory)
    store = MemoryUserState(max_history=512)
    engine = build_engine(bundle, store, settings or Settings(), Recorder())
    store.seed(BundleHistories(bundle, engine.catalogue))
    return Bench(bundle, store, engine)


def request(user_id: str = "user-0", limit: int = 10, **fields: object) -> RequestContext:
    """A request at the time of the bundle, with plenty of time."""
    context = RequestContext("test", user_id, limit, Deadline.after(30.0), now=AS_OF)
    return replace(context, **fields)  # type: ignore[arg-type]
