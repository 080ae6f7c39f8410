"""The ``tamis`` command. Exit status 2: the command, a setting or a bundle is not right."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import typer
from rich.console import Console

from tamis_client import RequestFailed
from tamis_server.cli import ask, bundle, config, demo, serve
from tamis_server.domain.errors import TamisError

app = typer.Typer(
    name="tamis",
    help="A recommendation serving engine: the whole funnel behind one gRPC call.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("config")(config.config)
app.command("demo")(demo.demo)
app.command("recommend")(ask.recommend)
app.command("related")(ask.related)
app.command("search")(ask.search)
app.command("status")(ask.status)
app.add_typer(bundle.app, name="bundle")


def main() -> None:
    """Run the command line; errors are one line on standard error."""
    for command in entry_points(group="tamis.commands"):
        app.add_typer(command.load(), name=command.name)
    try:
        app()
    except TamisError as error:
        Console(stderr=True).print(f"tamis: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except RequestFailed as error:
        console = Console(stderr=True)
        console.print(f"tamis: {error}", markup=False, soft_wrap=True)
        sys.exit(1)
