"""``tamis pipeline``: the offline half, on the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tamis_pipeline.progress import Progress
from tamis_pipeline.shop.cli import shop

if TYPE_CHECKING:
    from tamis_pipeline.config import PipelineConfig

app = typer.Typer(help="From data to a bundle.", no_args_is_help=True)
app.command()(shop)


_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


Source = Annotated[Path, typer.Option("--input", help="Directory of the data set.")]
Config = Annotated[str, typer.Option(help="A TOML file, or the name of one of the pipeline's own.")]
Seed = Annotated[
    int | None, typer.Option(min=0, help="The same seed makes the same bundle; else the config's.")
]
Work = Annotated[Path, typer.Option(help="Directory where results of stages are kept.")]
Name = Annotated[str, typer.Option(help="Name of the bundle.")]


@app.command()
def build(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Directory of the bundle to write.")],
    config: Config = "default",
    name: Annotated[
        str | None, typer.Option(help="Name of the bundle; else that of its directory.")
    ] = None,
    seed: Seed = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Directory where results of stages are kept for later runs; else none."),
    ] = None,
) -> None:
    """Train, index and evaluate, and write a bundle; a run that was stopped is taken up again."""
    pipeline = _of_the_training_extra("build")
    progress = Progress(Console(stderr=True))
    settings = _settings(config, seed)
    manifest = pipeline.build(settings, source, out, name or out.resolve().name, progress, work)
    typer.echo(manifest.bundle_id)


@app.command()
def train(source: Source, work: Work, config: Config = "default", seed: Seed = None) -> None:
    """Train the models that a bundle is made of, and keep them in the workspace."""
    _up_to("ranker", source, work, config, "", seed)


@app.command()
def index(
    source: Source, work: Work, name: Name, config: Config = "default", seed: Seed = None
) -> None:
    """Up to a bundle that has not been evaluated; prints where it is."""
    typer.echo(_up_to("index", source, work, config, name, seed))


@app.command()
def evaluate(
    source: Source, work: Work, name: Name, config: Config = "default", seed: Seed = None
) -> None:
    """Up to what a bundle's evaluation.json says; prints it."""
    typer.echo(json.dumps(_up_to("evaluate", source, work, config, name, seed), indent=2))


@app.command("config")
def show_config(config: Config = "default") -> None:
    """Print a configuration with every key, as JSON."""
    typer.echo(_settings(config, None).model_dump_json(indent=2))


def _up_to(stage: str, source: Path, work: Path, config: str, name: str, seed: int | None) -> Any:
    pipeline, workspace = _of_the_training_extra("build"), _of_the_training_extra("workspace")
    progress = Progress(Console(stderr=True))
    with workspace.open_workspace(work, progress) as opened:
        graph = pipeline.Pipeline(_settings(config, seed), source, name, opened, progress)
        return getattr(graph, stage).value


def _settings(config: str, seed: int | None) -> PipelineConfig:
    settings: PipelineConfig = _of_the_training_extra("config").load_config(config)
    return settings if seed is None else settings.model_copy(update={"seed": seed})


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
