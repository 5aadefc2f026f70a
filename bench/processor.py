"""Processor time of a server and of the database server behind it, from /proc, in nanoseconds' steps."""

from collections.abc import Iterable
from pathlib import Path

__all__ = ["backends", "background", "seconds"]


def seconds(pids: Iterable[int]) -> dict[int, float]:
    """Processor time of each process so far, as the sum of its threads; a thread that ended is not in it."""
    return {pid: _of(pid) for pid in pids}


def _of(pid: int) -> float:
    total = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(thread.read_bytes().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e9


def backends(postmaster: int, database: str) -> list[int]:
    """The processes of a PostgreSQL server that serve connections to a database."""
    return [pid for pid, title in _children(postmaster) if f" {database} " in title]


def background(postmaster: int) -> list[int]:
    """Its processes that serve no connection: those that write the log ahead, checkpoints, clean up."""
    return [pid for pid, title in _children(postmaster) if not any(end in title for end in _SERVING)]


_SERVING = ("[local]", "127.0.0.1(", "::1(")
"""What the title of a process says where a client is connected."""


def _children(parent: int) -> list[tuple[int, str]]:
    found = []
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        try:
            found.append((int(child), Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
