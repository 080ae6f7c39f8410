"""Runs the naive baseline with a Redis of its own, or without where there is no redis-server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from serving import Server, server

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from support.redis_binary import NoRedis, binary
from support.redis_servers import redis_server


@contextmanager
def naive(bundle: Path) -> Iterator[tuple[Server, str]]:
    """The server, and where it keeps its users."""
    command = ["-m", "baselines.naive", "--bundle", str(bundle.resolve())]
    with ExitStack() as stack:
        try:
            binary()
        except NoRedis as error:
            print(f"SKIPPED (1): Redis under the naive baseline: {error}", file=sys.stderr)
            store = "a dict"
        else:
            home = Path(stack.enter_context(TemporaryDirectory()))
            command += ["--redis", stack.enter_context(redis_server(home)).url]
            store = "Redis"
        yield stack.enter_context(server(*command)), store
