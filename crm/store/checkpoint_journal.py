"""The checkpoint journal: a file outside every database with the newest checkpoint of each log. Decides nothing.

NDJSON, one line for each organisation:

    {"note": "<the signed note, word for word>", "org": "north"}

It is replaced whole, after fsync, so that it is never half written; a lock on its folder (flock) keeps writers apart.
It is refused, like the erasure journal, where another user may write to it.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson

from crm.audit.checkpoint import Checkpoint, epoch_of, parse
from crm.errors import Tampered, Unsafe
from crm.store.own_file import opened, synced_folder

__all__ = ["CheckpointJournal"]


class CheckpointJournal:
    """The journal at `path`, which need not exist yet. Blocking: for a thread beside the event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"the checkpoint journal {self.path}"

    def notes(self) -> dict[str, str]:
        """The newest signed note of each organisation's log; its signature is not looked at.

        Raises Unsafe where it was written by nobody of ours, or another user may write, and OSError.
        """
        try:
            with opened(self.path, str(self), os.O_RDONLY) as descriptor:
                return self._parsed(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        except FileNotFoundError:
            return {}

    def follow(self, notes: Mapping[str, str]) -> bool:
        """Puts later notes in the place of earlier ones; whether there were any. They are on the disk afterwards.

        A note over fewer events than the one it has, in the same epoch, is no later one. Raises Unsafe, OSError.
        """
        with self._writing():
            held = self.notes()
            later = {org: note for org, note in notes.items() if org not in held or _rank(held[org]) < _rank(note)}
            if not later:
                return False
            lines = [
                orjson.dumps({"note": note, "org": org}, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
                for org, note in sorted({**held, **later}.items())
            ]
            self._replace(b"".join(lines))
            return True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _replace(self, octets: bytes) -> None:
        new = self.path.with_name(self.path.name + ".new")
        with opened(new, str(self), os.O_WRONLY | os.O_CREAT) as descriptor:
            os.ftruncate(descriptor, 0)
            while octets:
                octets = octets[os.write(descriptor, octets) :]
            os.fsync(descriptor)
        new.replace(self.path)
        synced_folder(self.path.parent)

    def _parsed(self, octets: bytes) -> dict[str, str]:
        notes: dict[str, str] = {}
        for number, line in enumerate(octets.splitlines(), start=1):
            try:
                found = orjson.loads(line)
                org, note = found["org"], found["note"]
                if [type(org), type(note)] != [str, str]:
                    raise TypeError
                _rank(note)
            except (ValueError, TypeError, KeyError, Tampered):
                raise Unsafe(
                    f"{self} is damaged at line {number}: put it back from a copy; without it, only a witness can tell "
                    "whether the database was put back to an older state"
                ) from None
            notes[org] = note
        return notes


def _rank(note: str) -> tuple[int, int]:
    """Epoch and size: what makes one checkpoint of an organisation's log later than another. Raises Tampered."""
    checkpoint: Checkpoint = parse(note.partition("\n\n")[0] + "\n")
    return epoch_of(checkpoint.origin), checkpoint.size
