"""What long work says while it runs: stages, notes, bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console
from rich.progress import Progress as Bars


class Progress:
    """Writes to a console; on one that is no terminal bars stay away."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = perf_counter()
        self._console.rule(name, align="left")
        yield
        self._console.print(f"{name}: {perf_counter() - start:.1f} s", style="dim")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    @contextmanager
    def count(self, name: str, total: int) -> Iterator[Callable[[], None]]:
        with Bars(console=self._console, disable=not self._console.is_terminal) as bars:
            task = bars.add_task(name, total=total)
            yield lambda: bars.advance(task)
