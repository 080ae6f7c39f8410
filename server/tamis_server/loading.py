"""Loads a bundle in a process of its own: requests share neither the interpreter's lock nor the
heap with it, and those who serve share what it leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tamis_server.domain.errors import BundleRejected
from tamis_server.observability import logging
from tamis_server.segment import Segment, write
from tamis_server.settings import Settings
from tamis_server.tables import Tables

_NICE = 10  # beside requests a tenth of a processor that all want, and all of one that nobody wants


async def load(directory: Path, settings: Settings) -> Segment:
    """The tables of the bundle in ``directory``, for ``Tables.read``; the caller closes it.

    Raises BundleRejected.
    """
    segment = Segment()
    try:
        status, said = await _loaded(directory, settings, segment)
        if status:
            raise _reason(directory, status, said)
    except BaseException:
        segment.close()
        raise
    return segment


async def _loaded(directory: Path, settings: Settings, segment: Segment) -> tuple[int, bytes]:
    """Exit status and output of a process that writes the segment."""
    command = [sys.executable, "-P", "-m", "tamis_server.loading"]  # not of where we happen to be
    with (
        subprocess.Popen(  # noqa: ASYNC220, S603 begun by vfork: milliseconds
            [*command, str(directory), str(segment.descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(segment.descriptor,),
        ) as process,
        ThreadPoolExecutor(1) as thread,  # that has ended when somebody forks again
    ):
        given = settings.model_dump_json().encode()
        ending = asyncio.get_running_loop().run_in_executor(thread, process.communicate, given)
        try:
            said, _ = await ending
        finally:
            process.kill()  # where this was told to stop meanwhile
    return process.returncode, said


def _reason(directory: Path, status: int, said: bytes) -> BundleRejected:
    if said:
        return BundleRejected(*json.loads(said))
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return BundleRejected(str(directory), f"the process that loads it ended with {how}")


def main(directory: str, descriptor: str) -> int:
    """The settings are on standard input; why it can't be loaded goes to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the server, which ends this
    os.nice(_NICE)
    settings = Settings.model_validate_json(sys.stdin.buffer.read())
    logging.configure(settings.log.level)
    try:
        write(int(descriptor), partial(Tables.load, Path(directory), settings))
    except BundleRejected as error:
        json.dump([error.file, error.reason], sys.stdout)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
