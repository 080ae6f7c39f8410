"""``tamis bundle``: bundles on disk."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tamis_server.bundles.follower import Follower
from tamis_server.bundles.loader import load, verify
from tamis_server.bundles.manifest import read_manifest
from tamis_server.bundles.mirror import Mirror
from tamis_server.observability import logging

app = typer.Typer(help="Look at bundles on disk, and have them there.", no_args_is_help=True)
Directory = Annotated[Path, typer.Argument(help="The bundle's directory.")]


@app.command()
def inspect(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest.")] = False,
) -> None:
    """What a bundle holds, by its manifest."""
    manifest = read_manifest(directory)
    if as_json:
        typer.echo(manifest.model_dump_json())
        return
    console = Console()
    for name in ("bundle_id", "as_of", "items", "users", "dim", "metric", "pairing_id", "seed"):
        console.print(f"{name:<11} {getattr(manifest, name)}", highlight=False)
    attributes = ", ".join(f"{each.name} ({each.kind})" for each in manifest.attributes)
    console.print(f"attributes  {attributes}", highlight=False)
    table = Table("file", "bytes", "sha256")
    for name, entry in manifest.files.items():
        table.add_row(name, f"{entry.bytes:,}", entry.sha256[:16])
    console.print(table)


@app.command("verify")
def verify_bundle(directory: Directory) -> None:
    """Check every file, and that all parts belong together. Exit status 2 where they don't."""
    verify(directory)
    manifest = load(directory).manifest
    typer.echo(f"{manifest.bundle_id}: good, {manifest.items} items, {len(manifest.files)} files")


@app.command()
def follow(
    url: Annotated[str, typer.Argument(help="s3://bucket/prefix of published bundles.")],
    directory: Annotated[Path, typer.Argument(help="DIRECTORY/current leads to the bundle.")],
    watch: Annotated[float, typer.Option(help="Seconds between looks.", min=0.1)] = 30.0,
) -> None:
    """Keep a copy of the published bundle on disk, until SIGTERM: for Triton, beside a server."""
    logging.configure("info")
    asyncio.run(_until_stopped(Follower(Mirror(url, directory / "bundles"), directory), watch))


async def _until_stopped(follower: Follower, watch_s: float) -> None:
    loop = asyncio.get_running_loop()
    following = loop.create_task(follower.follow(watch_s))
    for stop in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop, following.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await following


@app.command("check-model")
def check_model(
    model: Annotated[Path, typer.Argument(help="Its directory in a Triton model repository.")],
    bundle: Annotated[Path, typer.Option(help="The bundle it is to rank for.")],
    at: Annotated[
        str, typer.Option(help="host:port of a Triton server that has it: then it runs, too.")
    ] = "",
    wait: Annotated[float, typer.Option(help="Seconds to wait for that server.")] = 0.0,
) -> None:
    """Check that a model of any framework can rank for a bundle. Exit status 2 where it can't."""
    from tamis_server.cli import check  # noqa: PLC0415 needs the extra triton

    manifest = read_manifest(bundle)
    config = check.read_config(model)
    for problem in (found := check.problems(config, manifest)):
        typer.echo(problem, err=True)
    if found:
        raise typer.Exit(2)
    typer.echo(f"{config.name}: fits {manifest.bundle_id}")
    if at:
        typer.echo(check.run(config.name, load(bundle), at, wait))
