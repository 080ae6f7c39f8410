"""``tamis pipeline score``."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tamis_pipeline.engines import EngineName, EngineOption, Workers
from tamis_pipeline.extras import module_of
from tamis_pipeline.progress import Progress

MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


def score(
    bundle: Annotated[Path, typer.Option(help="Directory of the bundle.")],
    out: Annotated[Path, typer.Option("--out", help="Directory of the Parquet files to write.")],
    k: Annotated[int, typer.Option("--k", min=1, help="Items a user, at most.")] = 20,
    users: Annotated[
        Path | None, typer.Option(help="File of user ids, one a line; else all of the bundle.")
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=MOMENTS,
            help="When all are asked; UTC without an offset. Else the time of the last event that "
            "the bundle learned from.",
        ),
    ] = None,
    shards: Annotated[int, typer.Option(min=1, help="Files, and parts of the work.")] = 16,
    engine: EngineOption = EngineName.inprocess,
    workers: Workers = 2,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Write the best items for each user of a bundle, with their scores."""
    time = None if at is None else (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    user_ids = None if users is None else users.read_text("utf-8").split("\n")
    done = module_of("scoring.score").score(
        bundle,
        out,
        k,
        engine.open(workers),
        shards,
        Progress(Console(stderr=True)),
        time,
        None if user_ids is None else [each for each in user_ids if each],
    )
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    for name, value in asdict(done).items():
        typer.echo(f"{name.replace('_', ' '):<18}{value}")
