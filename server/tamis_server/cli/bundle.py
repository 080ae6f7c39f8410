"""``tamis bundle``: look at bundles on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tamis_server.bundles.loader import load, verify
from tamis_server.bundles.manifest import read_manifest

app = typer.Typer(help="Look at bundles on disk.", no_args_is_help=True)
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
