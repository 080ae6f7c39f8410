"""A directory that is there whole or not at all, and a link that always leads to one."""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of linux/fs.h


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Gives an empty directory to fill, which takes the place of ``out`` once all is on disk."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out.parent, glob.escape(out.name))
    temporary = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _sync(temporary)
        _replace(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def point(link: Path, directory: Path) -> None:
    """Have the symbolic ``link`` lead to ``directory``, from one moment to the next, by a path that
    holds wherever the two are seen from."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}.partial")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(directory, link.parent), target_is_directory=True)
    temporary.replace(link)


def sweep(parent: Path, names: str = "*") -> None:
    """Remove what processes that were killed left half-written there."""
    for path in parent.glob(f".{names}.*.partial"):
        pid = path.name.split(".")[-2]
        if pid.isdecimal() and not _alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another's
        pass
    return True


def _sync(directory: Path) -> None:
    for path in (*directory.rglob("*"), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(temporary: Path, out: Path) -> None:
    if not out.exists():
        temporary.rename(out)
    elif _exchange(temporary, out):
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        # rename can't replace a directory that has content: move the old one aside first
        old = out.with_name(f".{out.name}.{os.getpid()}.old")
        out.rename(old)
        temporary.rename(out)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change places at once, so that ``other`` is always there; False where the
    system (other than Linux) or the file system can't."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return bool(rename(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)
