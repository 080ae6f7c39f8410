"""``tamis pipeline``: the offline half, on the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console

from tamis_pipeline.clip import cli as clip
from tamis_pipeline.embedding.cli import embed
from tamis_pipeline.progress import Progress
from tamis_pipeline.shop.cli import shop

app = typer.Typer(help="From data to a bundle.", no_args_is_help=True)
app.command()(shop)
app.command()(embed)
app.add_typer(clip.app, name="clip")


_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


class Kind(StrEnum):
    """The data sets that can be read."""

    movielens_small = "movielens-small"
    own = "own"


@app.command()
def build(
    source: Annotated[Path, typer.Option("--input", help="Directory of the data set.")],
    out: Annotated[Path, typer.Option("--out", help="Directory of the bundle to write.")],
    dataset: Annotated[Kind, typer.Option(help="Which format it has.")] = Kind.own,
    name: Annotated[str | None, typer.Option(help="Name of the bundle.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same bundle.")] = 0,
) -> None:
    """Train, index and evaluate, and write a bundle; a run that was stopped is taken up again."""
    console = Console(stderr=True)
    pipeline = _of_the_training_extra("build")
    config = pipeline.config_for(dataset.value, name or dataset.value, seed)
    manifest = pipeline.build(config, source, out, Progress(console))
    typer.echo(manifest.bundle_id)


@app.command()
def ingest(
    logs: Annotated[
        list[Path], typer.Option("--log", help="Directory of an event log. May be repeated.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the data set to write.")],
    source: Annotated[
        Path | None,
        typer.Option("--input", help="Data set with items and earlier events; else none."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=_MOMENTS, help="Logged events from then on; UTC without an offset."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_MOMENTS, help="Logged events before then.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Add what servers logged to a data set, for retraining; each event id counts once."""
    result = _of_the_training_extra("ingest").ingest(logs, out, source, since, until)
    if as_json:
        typer.echo(json.dumps(asdict(result)))
        return
    for name, value in asdict(result).items():
        if name != "kinds":
            typer.echo(f"{name.replace('_', ' '):<14} {value}")
    for kind, count in result.kinds.items():
        typer.echo(f"  {kind:<12} {count}")


def _of_the_training_extra(module: str) -> ModuleType:
    try:
        return import_module(f"tamis_pipeline.{module}")
    except ModuleNotFoundError as missing:
        message = f"tamis: training needs {missing.name}: pip install 'tamis[train]'"
        Console(stderr=True).print(message, markup=False)
        sys.exit(2)
