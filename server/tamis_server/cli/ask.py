"""Commands that call a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console

from tamis_client import TamisClient
from tamis_server.cli import show
from tamis_server.cli.conditions import filters

Target = Annotated[str, typer.Option(help="host:port of the server.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]
PageSize = Annotated[int, typer.Option("--page-size", "-n", help="Items wanted, 1 to 500.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="""Only items of which this holds: 'price<=50', 'colour=red,blue' (one of them), """
        """'tags!=wool'. May be repeated, then all hold. A number in quotes is text."""
    ),
]
Exclude = Annotated[
    list[str] | None, typer.Option(help="Id of an item not to show. May be repeated.")
]
ADDRESS = "127.0.0.1:50051"


def recommend(
    user_id: Annotated[str, typer.Argument(help="Whom to recommend to.")],
    where: Where = None,
    exclude: Exclude = None,
    target: Target = ADDRESS,
    page_size: PageSize = 10,
    timeout: Timeout = 1.0,
    as_json: Json = False,
) -> None:
    """Recommend items to a user, with reasons, counts and time per stage."""
    with TamisClient(target, timeout_s=timeout) as client:
        response = client.recommend(
            user_id=user_id, page_size=page_size, trace=True, **filters(where, exclude)
        )
        if as_json:
            _print_json(response)
        else:
            show.answer(Console(), client, response)


def related(
    item_id: Annotated[str, typer.Argument(help="Like which item.")],
    where: Where = None,
    exclude: Exclude = None,
    target: Target = ADDRESS,
    page_size: PageSize = 10,
    timeout: Timeout = 1.0,
    as_json: Json = False,
) -> None:
    """Items like another."""
    with TamisClient(target, timeout_s=timeout) as client:
        response = client.related_items(
            item_ids=[item_id], page_size=page_size, trace=True, **filters(where, exclude)
        )
        if as_json:
            _print_json(response)
        else:
            show.answer(Console(), client, response)


def search(
    text: Annotated[str, typer.Argument(help="What is looked for, in words.")] = "",
    image: Annotated[
        Path | None, typer.Option(help="A picture of it.", exists=True, dir_okay=False)
    ] = None,
    user: Annotated[str, typer.Option(help="Who is looking: ranked by their taste too.")] = "",
    where: Where = None,
    exclude: Exclude = None,
    target: Target = ADDRESS,
    page_size: PageSize = 10,
    timeout: Timeout = 2.0,
    as_json: Json = False,
) -> None:
    """Items that look or read like words, a picture or both."""
    if not text.strip() and image is None:
        raise typer.BadParameter("give words, or a picture by --image")
    picture = b"" if image is None else image.read_bytes()
    with TamisClient(target, timeout_s=timeout) as client:
        response = client.search(
            text=text,
            image=picture,
            user_id=user,
            page_size=page_size,
            trace=True,
            **filters(where, exclude),
        )
        if as_json:
            _print_json(response)
        else:
            show.answer(Console(), client, response)


def status(target: Target = ADDRESS, timeout: Timeout = 1.0) -> None:
    """What a server serves, as JSON."""
    with TamisClient(target, timeout_s=timeout) as client:
        _print_json(client.status())


def _print_json(message: Message) -> None:
    text = MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    typer.echo(text)
