"""``tamis pipeline``: the offline half, on the command line."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tamis_pipeline.progress import Progress
from tamis_pipeline.shop.cli import shop

app = typer.Typer(help="From data to a bundle.", no_args_is_help=True)
app.command()(shop)


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
    try:
        from tamis_pipeline import build as pipeline  # noqa: PLC0415 the training extra
    except ModuleNotFoundError as missing:
        console.print(f"tamis: training needs {missing.name}: pip install 'tamis[train]'")
        sys.exit(2)
    config = pipeline.config_for(dataset.value, name or dataset.value, seed)
    manifest = pipeline.build(config, source, out, Progress(console))
    typer.echo(manifest.bundle_id)
