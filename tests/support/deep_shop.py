"""A bundle with a DeepFM for Triton, servers over it, and engines that rank by them."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from support.engines import AS_OF, Recorder, request
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.rankers import export
from tamis_pipeline.synthetic import random_parts
from tamis_server.adapters.remote.triton import TritonModel
from tamis_server.bundles.loader import load
from tamis_server.domain.candidates import Cause, DegradationLevel
from tamis_server.domain.context import Deadline
from tamis_server.domain.slate import Slate
from tamis_server.engines import build_engine
from tamis_server.funnel.engine import Engine
from tamis_server.rankers import open_triton
from tamis_server.settings import ProtectionSettings, RankingSettings, Settings, StateSettings
from tamis_server.stores import open_stores
from tamis_server.tables import Tables

USERS = 50
DEADLINE_S = 10.0  # a stage has its own; this one is for a machine that pauses
PATIENCE_S = 60.0


def write_deep_bundle(directory: Path, items: int = 2000, seed: int = 0) -> Path:
    parts = random_parts(items=items, users=USERS, as_of=AS_OF, seed=seed)
    model = export.deepfm(parts.ranker, parts.features)
    write_bundle(replace(parts, models={"deepfm/1/model.onnx": model}), directory)
    return directory


def write_faulty_repository(bundle: Path, repository: Path) -> Path:
    """The bundle's DeepFM as a model of the python backend that has faults on demand; the file
    ``mode`` that says which."""
    home = repository / "deepfm"
    (home / "1").mkdir(parents=True)
    shutil.copy(bundle / "models/deepfm/1/model.onnx", home / "real.onnx")
    shutil.copy(Path(__file__).parent / "faulty_model.py", home / "1" / "model.py")
    config = (bundle / "models/deepfm/configs/cpu.pbtxt").read_text()
    config = config.replace('backend: "onnxruntime"', 'backend: "python"')
    config = re.sub(r"(count:) \d+", r"\1 1", config)
    (home / "config.pbtxt").write_text(config)
    mode = home / "mode"
    mode.write_text("ok")
    return mode


@dataclass(frozen=True)
class DeepShop:
    """An engine that ranks by Triton."""

    engine: Engine
    model: TritonModel

    async def ask(self, user: int = 0, limit: int = 10) -> Slate:
        """One answer, which must come within the deadline and be whole."""
        deadline = Deadline.after(DEADLINE_S)
        slate = await self.engine.recommend.run(
            request(f"user-{user % USERS}", limit, deadline=deadline)
        )
        assert deadline.remaining() > 0, "too late"
        assert len(slate.candidates) == limit
        return slate

    async def until(self, level: DegradationLevel) -> Slate:
        """Asks until an answer is of this level. Fails only where it doesn't come: how soon is the
        machine's affair, and a breaker may have let by a probe or two."""
        start, user = monotonic(), 0
        seen: list[tuple[float, tuple[Cause, ...]]] = []
        while (passed_s := monotonic() - start) < PATIENCE_S:
            slate = await self.ask(user)
            if slate.level is level:
                return slate
            if not seen or seen[-1][1] != slate.causes:
                seen.append((passed_s, slate.causes))
            user += 1
            await asyncio.sleep(0.02)  # a person's pace rather than a load test's
        causes = [f"{at_s:.2f} s: {cause.reason}" for at_s, why in seen for cause in why]
        raise AssertionError("\n".join([f"no answer of level {level.name}", *causes]))


@asynccontextmanager
async def deep_shop(
    bundle: Path, endpoints: Sequence[str], model: str = "deepfm", **ranking: object
) -> AsyncIterator[DeepShop]:
    url = f"triton://{','.join(endpoints)}/{model}"
    settings = Settings(
        ranking=RankingSettings(url=url, **{"timeout_s": 0.15, **ranking}),  # type: ignore[arg-type]
        protection=ProtectionSettings(target_s=DEADLINE_S),  # the faults are the ranker's
    )
    stores = open_stores(StateSettings(url=f"lmdb://{bundle}-state", fsync="never"))
    models = open_triton(settings.ranking)
    triton = models[url]
    try:
        engine = build_engine(
            Tables.of(load(bundle), settings), stores.users, settings, Recorder(), models
        )
        yield DeepShop(engine, triton)
    finally:
        await triton.close()
        await stores.close()
