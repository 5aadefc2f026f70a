"""A file that the service believes: opened only where nobody but its user and root can write to it. Reads nothing."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crm.errors import Unsafe

__all__ = ["opened", "synced_folder"]


@contextmanager
def opened(path: Path, what: str, flags: int) -> Iterator[int]:
    """A descriptor of the file at `path`; `what` is what messages call it. New files get mode 0600.

    Raises Unsafe for a symbolic link, something that is no file, or one that others may have written to, and OSError;
    never waits.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as failure:
        if failure.errno == errno.ELOOP:
            raise Unsafe(f"{what} is a symbolic link: give the path of the file itself") from None
        raise
    try:
        _refuse_foreign(path, what, os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def synced_folder(path: Path) -> None:
    """Makes sure that the names in a folder survive a crash. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refuse_foreign(path: Path, what: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Unsafe(f"{what} is not a regular file: give the path of one, or of none yet")
    if found.st_uid not in (0, os.geteuid()):
        raise Unsafe(f"{what} belongs to another user: run `chown` so that the service's user owns it")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unsafe(f"{what} is open to other users: run `chmod go-w {path}`; who may have written to it?")
