"""Options of the commands that need settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis_server.settings import Settings, assigned, load_settings

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings file (TOML).", dir_okay=False)
]
BundlePath = Annotated[Path | None, typer.Option("--bundle", "-b", help="Bundle directory.")]
Listen = Annotated[str | None, typer.Option(help="host:port to listen on.")]
Workers = Annotated[int | None, typer.Option(help="Processes that serve, best one a core.", min=1)]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any setting, as section.key=value; lists as JSON. May be repeated. tamis config "
        "prints all there are.",
    ),
]


def effective(
    file: Path | None,
    bundle: Path | None,
    listen: str | None,
    workers: int | None,
    override: list[str] | None,
) -> Settings:
    """The settings with what the command line says on top. Raises SettingsError."""
    values = assigned(override or ())
    if bundle is not None:
        values.setdefault("bundle", {})["path"] = bundle
    for key, value in (("listen", listen), ("workers", workers)):
        if value is not None:
            values.setdefault("server", {})[key] = value
    return load_settings(file, values)
