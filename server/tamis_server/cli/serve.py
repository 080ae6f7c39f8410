"""``tamis serve`` and ``tamis config``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tamis_server.app import serve as run_server
from tamis_server.observability import logging
from tamis_server.settings import Settings, load_settings
from tamis_server.stores import redacted
from tamis_server.workers.supervisor import supervise

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings file (TOML).", dir_okay=False)
]
BundlePath = Annotated[Path | None, typer.Option("--bundle", "-b", help="Bundle directory.")]
Listen = Annotated[str | None, typer.Option(help="host:port to listen on.")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, as section.key=value. May be repeated."),
]


def serve(
    config: ConfigFile = None,
    bundle: BundlePath = None,
    listen: Listen = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that serve, best one a core.", min=1)
    ] = None,
    override: Override = None,
) -> None:
    """Serve a bundle until SIGTERM; SIGHUP looks for a new one."""
    if workers is not None:
        override = [*(override or ()), f"server.workers={workers}"]
    settings = effective(config, bundle, listen, override)
    logging.configure(settings.log.level)
    if settings.server.workers > 1:
        supervise(settings)
    else:
        run_server(settings)


def config(
    config: ConfigFile = None,
    bundle: BundlePath = None,
    listen: Listen = None,
    override: Override = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Print the effective settings: defaults < file < environment < command line. No password."""
    values = effective(config, bundle, listen, override).model_dump(mode="json")
    values["state"]["url"] = redacted(values["state"]["url"])
    if as_json:
        typer.echo(json.dumps(values))
        return
    for section, entries in values.items():
        typer.echo(f"[{section}]")
        for key, value in entries.items():
            if value is not None:
                typer.echo(f"{key} = {_toml(value)}")
        typer.echo()


def _toml(value: Any) -> str:
    """A value as a settings file takes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(value)


def effective(
    file: Path | None, bundle: Path | None, listen: str | None, override: list[str] | None
) -> Settings:
    """The settings with what the command line says on top. Raises SettingsError."""
    values: dict[str, dict[str, Any]] = {}
    for assignment in override or ():
        name, equals, value = assignment.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot):
            raise typer.BadParameter(f"{assignment!r} is not section.key=value", param_hint="--set")
        values.setdefault(section, {})[key] = value
    if bundle is not None:
        values.setdefault("bundle", {})["path"] = bundle
    if listen is not None:
        values.setdefault("server", {})["listen"] = listen
    return load_settings(file, values)
