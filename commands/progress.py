"""How long work shows itself: a bar on a terminal, one plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PLAIN_EVERY = 5.0
"""Seconds between two plain lines."""

Advance = Callable[[int, int | None], None]
"""Called with how many are done, and of how many (None: nobody knows)."""


@contextmanager
def progress(what: str, total: int | None, *, quiet: bool = False) -> Iterator[Advance]:
    """Shows `what` advances, on standard error; not at all when `quiet` and nobody watches."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done, of: bar.update(task, completed=done, total=of if of is not None else total)
    else:
        yield _silent if quiet else _Plain(what)


def _silent(_done: int, _of: int | None) -> None:
    """Nobody watches."""


class _Plain:
    def __init__(self, what: str) -> None:
        self._what = what
        self._spoken = time.monotonic()

    def __call__(self, done: int, of: int | None) -> None:
        if time.monotonic() - self._spoken >= PLAIN_EVERY:
            self._spoken = time.monotonic()
            print(f"{self._what}: {done}" + (f" of {of}" if of is not None else ""), file=sys.stderr, flush=True)
