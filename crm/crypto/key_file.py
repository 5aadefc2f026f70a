"""A secret file on disk: read only when no other user can have touched it, and written whole or not at all.

Knows nothing of what the file says.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crm.errors import Unsafe

__all__ = ["create", "locked", "read", "replace", "stamp"]

_LARGEST = 1 << 20

Stamp = tuple[int, int, int, int]


def stamp(path: Path) -> Stamp | None:
    """What changes whenever the file is written, replaced or given another mode; None when it cannot be looked at."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size


def read(path: Path) -> bytes:
    """The file's octets, once its kind, owner and modes are safe. Raises Unsafe, with what to do."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Unsafe(
            f"the key ring {path} is missing: run `keys init`, or put the ring of this database there"
        ) from None
    except OSError as error:
        if path.is_symlink():
            raise Unsafe(f"the key ring {path} is a symbolic link: give the path of the file itself") from None
        raise Unsafe(f"the key ring {path} cannot be read ({error.strerror}): check its owner and mode") from None
    try:
        _check(path, os.fstat(handle))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(_LARGEST)
    finally:
        os.close(handle)


def create(path: Path, content: bytes) -> None:
    """All of `content` under a name that did not exist, mode 0600, or nothing. Raises Unsafe.

    A link, unlike a rename, fails when the name is taken, so that two who start at once cannot overwrite each other.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _draft(path, content) as draft:
            path.hardlink_to(draft)
        _settle(path.parent)
    except FileExistsError:
        if not path.parent.is_dir():
            raise _unwritable(path, os.strerror(errno.ENOTDIR)) from None
        raise Unsafe(
            f"the key ring {path} exists already and is never overwritten, because everything sealed under it "
            "would be lost: use it, or move it away yourself"
        ) from None
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


def replace(path: Path, content: bytes) -> None:
    """All of `content` in the place of the file; whoever reads meanwhile gets the old or the new. Raises Unsafe."""
    try:
        with _draft(path, content) as draft:
            draft.replace(path)
        _settle(path.parent)
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile, provided that they ask here too. Raises Unsafe.

    The lock is on a file beside it, because the file itself is another one after each change.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    except OSError as error:
        raise _unwritable(path, error.strerror) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    """A file beside `path` that has `content` for certain, for as long as the block lasts. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def _settle(folder: Path) -> None:
    """The folder's entries survive a power cut from here on."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, why: str | None) -> Unsafe:
    return Unsafe(f"the key ring {path} cannot be written ({why}): make its folder writable")


def _check(path: Path, found: os.stat_result) -> None:
    """Raises Unsafe where somebody else may read or replace the file."""
    if not stat.S_ISREG(found.st_mode):
        raise Unsafe(f"the key ring {path} is not a regular file: give the path of the file that `keys init` made")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Unsafe(f"the key ring {path} is open to other users: run `chmod 600 {path}`; who may have read it?")
    if found.st_uid not in (0, os.geteuid()):
        raise Unsafe(f"the key ring {path} belongs to another user: run `chown` so that the service's user owns it")
    parent = path.parent.stat().st_mode
    if parent & stat.S_IWOTH and not parent & stat.S_ISVTX:
        raise Unsafe(f"anyone may replace the key ring {path}: run `chmod o-w {path.parent}`")
