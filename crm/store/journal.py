"""The erasure journal: a file outside every database that repeats the erasure ledger. Decides nothing.

NDJSON: one line for each entry of any organisation, in the order of each organisation's numbers,

    {"entry": "<the entry, word for word>", "hash": "<64 hex digits>", "org": "north", "seq": 1}

Lines are only ever added, under an exclusive lock (flock) and with fsync; the file is made with mode 0600. A last line
without its newline was torn off by a crash: readers pass over it, and the next writer removes it.

Whoever can write to it can make a start fail, or hide an erasure that was lost: so it is refused, as a key ring is,
where another user can.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from crm.errors import Unsafe
from crm.store.ledger import Link
from crm.store.own_file import opened, synced_folder

__all__ = ["Journal"]


class Journal:
    """The journal at `path`, which need not exist yet. Blocking: for a thread beside the event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"the erasure journal {self.path}"

    def chains(self) -> dict[str, list[Link]]:
        """Links by organisation, in the order of the lines.

        Raises Unsafe where a line was written by nobody of ours, or another user may write, and OSError where the file
        cannot be read.
        """
        try:
            with opened(self.path, str(self), os.O_RDONLY) as descriptor:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                return self._parsed(_read(descriptor))
        except FileNotFoundError:
            return {}

    def follow(self, chains: Mapping[str, Sequence[Link]]) -> int:
        """Adds those links that are not there yet; how many that were. They are on the disk when this returns.

        `chains` begin anywhere at or before the place where the journal's ends. Raises Unsafe, OSError.
        """
        with self._writing() as descriptor:
            octets = _read(descriptor)
            whole = octets[: octets.rfind(b"\n") + 1]
            held = self._parsed(whole)
            news = [
                link for org, chain in chains.items() for link in chain if link.seq > _last(held.get(org, ()))
            ]  # fmt: skip
            if not news:
                return 0
            if len(whole) < len(octets):
                os.ftruncate(descriptor, len(whole))
            _write(descriptor, b"".join(map(_line, news)))
            os.fsync(descriptor)
        return len(news)

    @contextmanager
    def _writing(self) -> Iterator[int]:
        """The file, locked against other writers; made where there is none."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = not self.path.exists()
        with opened(self.path, str(self), os.O_RDWR | os.O_CREAT | os.O_APPEND) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
            if new:
                synced_folder(self.path.parent)  # else the name of the file might not survive a crash

    def _parsed(self, octets: bytes) -> dict[str, list[Link]]:
        chains: dict[str, list[Link]] = {}
        for number, line in enumerate(octets.split(b"\n")[:-1], start=1):
            try:
                found = orjson.loads(line)
                link = Link(found["org"], found["seq"], found["entry"], bytes.fromhex(found["hash"]))
                if [type(part) for part in link] != [str, int, str, bytes]:
                    raise TypeError
            except (ValueError, TypeError, KeyError):
                raise Unsafe(
                    f"{self} is damaged at line {number}: put it back from a copy, or remove it if the ledger in the "
                    "database is known to be whole"
                ) from None
            chains.setdefault(link.org, []).append(link)
        return chains


def _last(chain: Sequence[Link]) -> int:
    return chain[-1].seq if chain else 0


def _line(link: Link) -> bytes:
    members = {"org": link.org, "seq": link.seq, "entry": link.text, "hash": link.hash.hex()}
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _read(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    parts, at = [], 0
    while at < size and (part := os.pread(descriptor, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _write(descriptor: int, octets: bytes) -> None:
    while octets:
        octets = octets[os.write(descriptor, octets) :]
