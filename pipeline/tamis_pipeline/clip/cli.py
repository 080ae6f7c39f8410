"""``tamis pipeline clip``: train, measure and export CLIPs."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tamis_pipeline.extras import module_of
from tamis_pipeline.options import Format, Source
from tamis_pipeline.progress import Progress

app = typer.Typer(help="CLIPs: train a small one, measure it, export any.", no_args_is_help=True)


class Size(StrEnum):
    """base: for a catalogue of thousands; tiny: of two megabytes less, for one shop's few words."""

    base = "base"
    tiny = "tiny"


@app.command()
def train(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Directory of the towers to write.")],
    dataset: Format = "own",
    size: Annotated[Size, typer.Option(help="How large it is.")] = Size.base,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most passes over the data.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same towers.")] = 0,
) -> None:
    """Train a small CLIP on a catalogue's pictures and texts, some of them held out."""
    clip = module_of("clip.build")
    config = clip.SIZES[size.value]
    if epochs is not None:
        config = replace(config, epochs=epochs)
    card = clip.build(dataset, source, out, config, seed, Progress(Console(stderr=True)))
    typer.echo(card.digest)


@app.command()
def evaluate(
    source: Source,
    clip: Annotated[Path, typer.Option("--clip", help="Towers that `train` wrote.")],
    dataset: Format = "own",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """How well held-out pictures and texts find each other, beside chance and colours alone."""
    progress = Progress(Console(stderr=True))
    found = module_of("clip.build").evaluate(dataset, source, clip, progress)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(module_of("clip.retrieval").markdown(found.pop("rows")))
    for name, value in found.items():
        typer.echo(f"{name}: {value}")


@app.command()
def export(
    encoder: Annotated[str, typer.Option(help="ROUTE:NAME_OR_DIRECTORY, as for embed.")],
    out: Annotated[Path, typer.Option("--out", help="Directory of the towers to write.")],
) -> None:
    """Write any encoder in the layout that embed and the server take."""
    port, directory = module_of("encoders.port"), module_of("directory")
    opened = port.open_encoder(encoder)
    with directory.replacing(out) as temporary:
        opened.export(temporary)
    typer.echo(opened.digest)
