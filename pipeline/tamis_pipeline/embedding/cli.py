"""``tamis pipeline embed``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tamis_pipeline.disk import telling
from tamis_pipeline.engines import EngineName, EngineOption, Workers
from tamis_pipeline.extras import module_of
from tamis_pipeline.options import Format, Source
from tamis_pipeline.progress import Progress


def embed(
    source: Source,
    encoder: Annotated[
        str,
        typer.Option(
            help="onnx:DIRECTORY, onnx:demo-shop, onnx:NAME of a published pair, transformers:NAME."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the content to write.")],
    dataset: Format = "own",
    text_weight: Annotated[float, typer.Option(min=0, help="Of texts where both are there.")] = 1.0,
    image_weight: Annotated[float, typer.Option(min=0, help="Of pictures, likewise.")] = 1.0,
    project: Annotated[
        int | None, typer.Option(min=1, help="Reduce vectors to this width.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Inputs encoded at a time.")] = 64,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            help="Of onnxruntime, first choice first, as CUDAExecutionProvider; else the CPU."
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="File of vectors kept between runs; else beside --out.")
    ] = None,
    engine: EngineOption = EngineName.inprocess,
    shards: Annotated[int, typer.Option(min=1, help="Parts of the work, for --engine ray.")] = 16,
    workers: Workers = 2,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Encode texts and pictures; only what changed since the last run is encoded again."""
    embedding, work = module_of("embedding.embed"), module_of("embedding.work")
    port, readers = module_of("encoders.port"), module_of("readers")
    config = embedding.EmbedConfig(encoder, text_weight, image_weight, project)
    given = embedding.documents(readers.read_catalogue(dataset, source), source)
    providers = provider or ["CPUExecutionProvider"]
    opened = port.open_encoder(encoder, providers)
    run = work.InProcess(opened, batch)
    if engine is EngineName.ray:
        directory = out.absolute().with_name(f".{out.name}.{os.getpid()}.shards")
        run = module_of("embedding.sharded").Sharded(
            engine.open(workers), encoder, providers, batch, shards, directory
        )
    kept = cache or out.absolute().with_name(f".{out.name}.cache")
    with telling():
        report = embedding.embed(
            given, opened, run, config, out, kept, Progress(Console(stderr=True))
        )
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2))
        return
    for name, value in asdict(report).items():
        if name != "examples":
            typer.echo(f"{name.replace('_', ' '):<18}{value}")
    for item_id, reason in report.examples.items():
        typer.echo(f"  {item_id}: {reason}")
