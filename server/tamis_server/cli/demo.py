"""``tamis demo``: serve the demo shop and show one shopper's recommendations."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from tamis.v1 import recommend_service_pb2 as pb
from tamis_client import TamisClient
from tamis_server.app import Application
from tamis_server.bundles.manifest import USERS
from tamis_server.cli import show
from tamis_server.domain.context import EventKind
from tamis_server.domain.errors import ContractViolation
from tamis_server.observability import logging
from tamis_server.settings import Settings, load_settings

_SHOWN = 8  # events of the history
EventLog = list[tuple[int, float, int]]


def demo(
    once: Annotated[bool, typer.Option("--once", help="Check the answer and exit.")] = False,
    listen: Annotated[str, typer.Option(help="host:port to listen on.")] = "127.0.0.1:50051",
    user: Annotated[str | None, typer.Option(help="Which shopper; else one with a past.")] = None,
) -> None:
    """Serve the demo shop, show one shopper's history and recommendations, and stay up."""
    bundle = Path(str(files("tamis_pipeline.shop") / "bundle"))
    with TemporaryDirectory(prefix="tamis-demo-") as state:  # a demo begins anew each time
        settings = load_settings(
            None,
            {
                "bundle": {"path": bundle},
                "server": {"listen": listen},
                "state": {"url": f"lmdb://{state}"},
                "log": {"level": "warning"},
            },
        )
        logging.configure(settings.log.level)
        _show(settings, bundle, listen, user, once=once)


def _show(settings: Settings, bundle: Path, listen: str, user: str | None, *, once: bool) -> None:
    console = Console()
    user_id, history = _shopper(bundle, user)
    with _running(settings) as (port, stopped):
        target = f"{listen.rpartition(':')[0]}:{port}"
        with TamisClient(target, timeout_s=5.0) as client:
            _show_history(console, client, bundle, user_id, history)
            response = client.recommend(
                user_id=user_id,
                page_size=10,
                trace=True,
                context=pb.Context(surface="home"),
            )
            show.answer(console, client, response)
            _check(response, client)
        _next_steps(console, target, user_id)
        if not once:
            console.print("\nServing; Ctrl-C stops it.")
            stopped.wait()


@contextmanager
def _running(settings: Settings) -> Iterator[tuple[int, threading.Event]]:
    """The server on a thread of its own, so that the demo calls it as any client does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server", daemon=True)
    thread.start()
    try:
        application = asyncio.run_coroutine_threadsafe(_start(settings), loop).result()
        try:
            yield application[1], threading.Event()
        except KeyboardInterrupt:
            pass
        finally:
            asyncio.run_coroutine_threadsafe(application[0].stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(settings: Settings) -> tuple[Application, int]:
    application = Application(settings)
    return application, await application.start()


def _shopper(bundle: Path, wanted: str | None) -> tuple[str, EventLog]:
    """A shopper's id and events (row, time, kind); by default the first with some past."""
    for user in pq.read_table(bundle / USERS).to_pylist():
        events = list(zip(user["rows"], user["times"], user["kinds"], strict=True))
        if user["user_id"] == wanted or (wanted is None and 10 <= len(events) <= 40):
            return user["user_id"], events
    return wanted or "", []


def _show_history(
    console: Console, client: TamisClient, bundle: Path, user_id: str, history: EventLog
) -> None:
    ids = pq.read_table(bundle / "items.parquet", columns=["item_id"]).column("item_id")
    latest = [(ids[row].as_py(), time, kind) for row, time, kind in history[: -_SHOWN - 1 : -1]]
    titles = show.title_of(client, list(dict.fromkeys(item_id for item_id, _, _ in latest)))
    title = f"{user_id}: the last {len(latest)} of {len(history)} events"
    table = Table("when", "what", "item", "title", title=title, title_justify="left")
    for item_id, time, kind in latest:
        when = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(when, EventKind(kind).name.lower(), item_id, titles.get(item_id, ""))
    console.print(table)


def _check(response: pb.RecommendResponse, client: TamisClient) -> None:
    """The demo looks at its own answer: ten available items, none twice, of full quality."""
    ids = [item.item_id for item in response.items]
    if len(ids) != 10 or len(set(ids)) != 10:
        raise ContractViolation(f"asked for 10 items and got {len(ids)}, {len(set(ids))} distinct")
    if not all(item.available for item in client.get_items(ids).items):
        raise ContractViolation("an item that is not available was recommended")
    if response.degradation.level != pb.DEGRADATION_LEVEL_FULL:
        raise ContractViolation(f"the answer is degraded: {response.degradation}")
    if any(item.rank != place for place, item in enumerate(response.items, start=1)):
        raise ContractViolation("ranks are not 1, 2, 3 …")


def _next_steps(console: Console, target: str, user_id: str) -> None:
    tamis = _as_typed("tamis")
    console.print(
        f"\nCall it:\n"
        f"  {tamis} recommend {user_id} --where 'price<=50' --target {target}\n"
        f'  {tamis} search "red summer dress" --target {target}\n'
        f"  {_as_typed('python')} -c '\n"
        f"from tamis_client import TamisClient\n"
        f'with TamisClient("{target}") as client:\n'
        f'    print(client.recommend(user_id="{user_id}", page_size=5))\'\n\n'
        f"From any other language, or by grpcurl (make tools installs it into .tools/bin):\n"
        f'  .tools/bin/grpcurl -plaintext -d \'{{"user_id": "{user_id}", "page_size": 5}}\' \\\n'
        f"    {target} tamis.v1.RecommendService/Recommend",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _as_typed(program: str) -> str:
    """A program of this environment as one types it here: by its name where that finds it."""
    path, here = Path(sys.executable).with_name(program), Path.cwd()
    if shutil.which(program) == str(path):
        return program
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
