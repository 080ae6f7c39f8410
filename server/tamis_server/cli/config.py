"""``tamis config``: the settings in force, as a settings file that says what each is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from tamis_server.cli.options import (
    BundlePath,
    ConfigFile,
    Listen,
    Override,
    Workers,
    effective,
)
from tamis_server.domain.redaction import redacted
from tamis_server.fields import described, model_in
from tamis_server.settings import Settings
from tamis_server.toml import inline


def config(
    config: ConfigFile = None,
    bundle: BundlePath = None,
    listen: Listen = None,
    workers: Workers = None,
    override: Override = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Print the effective settings and what they are, as a settings file.

    Defaults < file < environment < command line. No password is printed.
    """
    values = effective(config, bundle, listen, workers, override).model_dump(mode="json")
    values["state"]["url"] = redacted(values["state"]["url"])
    if as_json:
        typer.echo(json.dumps(values))
        return
    for section, field in Settings.model_fields.items():
        model = model_in(field.annotation)
        if model is not None:
            typer.echo("\n".join([f"[{section}]", *_settings(model, values[section]), ""]))


def _settings(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[str]:
    """Each with what it is above it. TOML has no word for what is not set."""
    for key, field in model.model_fields.items():
        yield f"# {described(field)}"
        yield from _parts(model_in(field.annotation), "#   ")
        value = values[key]
        yield f"# {key} is not set" if value is None else f"{key} = {inline(value)}"


def _parts(model: type[BaseModel] | None, indent: str) -> Iterator[str]:
    """What a value consists of."""
    for key, field in model.model_fields.items() if model else ():
        yield f"{indent}{key}: {described(field)}"
        yield from _parts(model_in(field.annotation), f"{indent}  ")
