"""The checkpoint of a log (C2SP tlog-checkpoint): what a signed note says about a tree. Signs and verifies nothing.

    <origin>
    <size, decimal>
    <root, base64>

Exactly three lines, since nobody audits what stands in further ones.
"""

import base64
import re
from dataclasses import dataclass
from urllib.parse import quote

from crm.audit.tree import HASH
from crm.errors import Tampered

__all__ = ["Checkpoint", "epoch_of", "origin_of", "parse"]

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log, how many leaves it had, and the root of its tree then."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text of the note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse(text: str) -> Checkpoint:
    """The checkpoint that a note's text says. Raises Tampered for anything but the three lines."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise Tampered("the form of a checkpoint")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except ValueError:
        root = b""
    if len(root) != HASH or base64.b64encode(root).decode() != lines[2]:
        raise Tampered("the form of a checkpoint's root")
    return Checkpoint(lines[0], int(lines[1]), root)


def origin_of(base: str, org: str, epoch: int) -> str:
    """The name of an organisation's log, such as `heed.clinic.example/north/1`; the key that signs it has the same.

    `epoch` counts how often the log had to begin anew, because the database was put back to an older state.
    """
    return f"{base}/{quote(org, safe='')}/{epoch}"


def epoch_of(origin: str) -> int:
    """The epoch in a log's name. Raises Tampered for a name that `origin_of` does not give."""
    epoch = origin.rpartition("/")[2]
    if not _SIZE.fullmatch(epoch):
        raise Tampered("the name of a log")
    return int(epoch)
