"""Whether a model in a Triton repository can rank for a bundle: by its configuration, and run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic, perf_counter, sleep

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.features import ColumnFeatures
from tamis_server.adapters.remote.triton import TritonModel
from tamis_server.adapters.remote.triton_endpoint import ModelName
from tamis_server.adapters.scoring import ModelRanker
from tamis_server.bundles.loader import Bundle
from tamis_server.bundles.manifest import Manifest
from tamis_server.bundles.ranking_contract import violations
from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import Deadline, RequestContext
from tamis_server.domain.errors import DependencyFailed, FailureCategory, TamisError

_TIMEOUT_S = 30.0
_CANDIDATES = 500
_AGAIN_S = 0.2
_TYPES = {"TYPE_FP32": "float32", "TYPE_INT32": "int32", "TYPE_INT64": "int64"}


class ModelRejected(TamisError):
    """It is no model that can be looked at."""

    category = FailureCategory.CLIENT


def read_config(model: Path) -> model_config_pb2.ModelConfig:
    """Raises ModelRejected."""
    path = model / "config.pbtxt"
    try:
        config = text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
    except OSError as error:
        raise ModelRejected(f"{path}: {error.strerror}") from None
    except text_format.ParseError as error:
        raise ModelRejected(f"{path}: {error}") from None
    config.name = config.name or model.resolve().name
    return config


def problems(config: model_config_pb2.ModelConfig, manifest: Manifest) -> list[str]:
    """A line for each reason why it can't."""
    found = []
    if config.max_batch_size < 1:
        found.append("max_batch_size: 0 where users come many at a time; 64 is usual")
    tensors = [
        {each.name: (_name(each.data_type), tuple(each.dims)) for each in side}
        for side in (config.input, config.output)
    ]
    return found + violations(manifest, *tensors)


def run(name: str, bundle: Bundle, address: str, wait_s: float) -> str:
    """Rank some items for nobody in particular, and say how that went.

    wait_s: for the server to come up. Raises DependencyFailed.
    """
    end = monotonic() + wait_s
    while True:
        try:
            return asyncio.run(_run(name, bundle, address))
        except DependencyFailed:
            if monotonic() > end:
                raise
        sleep(_AGAIN_S)


async def _run(name: str, bundle: Bundle, address: str) -> str:
    rows = np.arange(min(_CANDIDATES, bundle.manifest.items), dtype=np.int32)
    ctx = RequestContext("check", "", 20, Deadline.after(_TIMEOUT_S), now=bundle.manifest.as_of)
    columns = await ColumnFeatures(bundle).columns(ctx, rows)
    candidates = Candidates(
        rows, np.zeros(rows.shape, np.float32), np.zeros(rows.shape, np.uint32), columns
    )
    light = NativeDeepFM(bundle, {})
    model = TritonModel([address], ModelName(name), calls=1)
    ranker = ModelRanker(
        bundle,
        model,
        light,
        shares=light.shares,
        log_popularity=light.log_popularity,
        timeout_s=_TIMEOUT_S,
        at_once=1,
        users=1,
    )
    try:
        await ranker.score(ctx, candidates)  # a first call pays for first times
        started = perf_counter()
        scores = await ranker.score(ctx, candidates)
        took_ms = (perf_counter() - started) * 1e3
    finally:
        await model.close()
    low, high = float(scores.min()), float(scores.max())
    return f"{rows.shape[0]} candidates in {took_ms:.1f} ms, scores {low:.4f} to {high:.4f}"


def _name(kind: int) -> str:
    name = str(model_config_pb2.DataType.Name(kind))
    return _TYPES.get(name, name)
