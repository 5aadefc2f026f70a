"""The key ring: root keys in one file, made by `keys init` and readable by the service's own user only.

JSON: {"version": 1, "keys": [{"id", "use", "alg", "key" (base64, 32 octets), "state" (active | retiring), "created"}]}.
A ring may hold the keys of some uses only; the part that it lacks stays sealed for the process that was given it.
"""

import base64
import binascii
import errno
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import orjson

from crm.crypto.aead import KEY, NONCE, TAG, Aead, Alg, InvalidTag, cipher
from crm.crypto.lengths import lp
from crm.crypto.provider import USES, Wrapped
from crm.crypto.secret import Secret
from crm.errors import KeyUnavailable, Tampered, Unsafe

__all__ = ["KeyRing"]

VERSION = 1
ALG = "AES-256-GCM-SIV"
_HEADER = bytes((0xC1, Alg.GCM_SIV))
_LARGEST = 1 << 20
_ENTRY = {"id", "use", "alg", "key", "state", "created"}


@dataclass(frozen=True, slots=True)
class _RootKey:
    id: str
    use: str
    state: str
    cipher: Aead = field(repr=False)


class KeyRing(Secret):
    """A provider of root keys (`KeyProvider`) that reads them from a file once.

    A wrapped key is 0xC1 ‖ 0x02 ‖ nonce 12 ‖ ciphertext ‖ tag 16 under AES-256-GCM-SIV, with the associated data
    "ROOT1" ‖ those two octets ‖ lp(key id) ‖ the context as JSON with sorted keys (RFC 8785 for these plain texts).
    """

    name: ClassVar[str] = "keyring"
    __slots__ = ("_active", "_keys")

    def __init__(self, keys: Mapping[str, _RootKey]) -> None:
        self._keys = keys
        self._active = {key.use: key for key in keys.values() if key.state == "active"}

    @classmethod
    def create(cls, path: Path) -> "KeyRing":
        """A new ring with one fresh key for every use, written whole or not at all, mode 0600.

        Raises Unsafe when something is there already, which is never overwritten, or when the place cannot be written.
        """
        created = datetime.now(UTC).isoformat(timespec="seconds")
        keys = [
            {
                "id": f"{use}-{os.urandom(4).hex()}",
                "use": use,
                "alg": ALG,
                "key": base64.b64encode(os.urandom(KEY)).decode(),
                "state": "active",
                "created": created,
            }
            for use in USES
        ]
        content = orjson.dumps({"version": VERSION, "keys": keys}, option=orjson.OPT_INDENT_2)
        try:
            _write_new(path, content)
        except FileExistsError:
            raise Unsafe(
                f"the key ring {path} exists already and is never overwritten, because everything sealed under it "
                "would be lost: use it, or move it away yourself"
            ) from None
        except OSError as error:
            raise Unsafe(
                f"the key ring {path} cannot be written ({error.strerror}): make its folder writable"
            ) from None
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> "KeyRing":
        """The ring in that file. Raises Unsafe, with what to do, unless the file is whole and safe from other users."""
        return cls(_parsed(path, _read(path)))

    def uses(self) -> frozenset[str]:
        return frozenset(self._active)

    def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        root = self._active.get(context["use"])
        if root is None:
            raise KeyUnavailable(f"the key ring has no key for {context['use']}")
        nonce = os.urandom(NONCE)
        blob = _HEADER + nonce + root.cipher.encrypt(nonce, key, _associated_data(root, context))
        return Wrapped(self.name, root.id, blob)

    def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        root = self._keys.get(wrapped.key_ref)
        if root is None or wrapped.provider != self.name:
            raise KeyUnavailable("the key ring does not have this root key")
        blob, body = wrapped.blob, len(_HEADER) + NONCE
        if root.use != context["use"] or not blob.startswith(_HEADER) or len(blob) < body + TAG:
            raise Tampered("stored key")
        try:
            return root.cipher.decrypt(blob[len(_HEADER) : body], blob[body:], _associated_data(root, context))
        except InvalidTag:
            raise Tampered("stored key") from None


def _associated_data(root: _RootKey, context: Mapping[str, str]) -> bytes:
    return b"ROOT1" + _HEADER + lp(root.id) + orjson.dumps(dict(context), option=orjson.OPT_SORT_KEYS)


def _write_new(path: Path, content: bytes) -> None:
    """All of `content` under a name that did not exist, or nothing. Raises FileExistsError, OSError.

    A link, unlike a rename, fails when the name is taken, so that two who start at once cannot overwrite each other.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    """The file's octets, once its kind, owner and modes are safe. Raises Unsafe."""
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
        return os.read(handle, _LARGEST)
    finally:
        os.close(handle)


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


def _parsed(path: Path, content: bytes) -> dict[str, _RootKey]:
    """The keys by id. Raises Unsafe with the first fault, and never with what the file says."""
    try:
        ring = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise _malformed(path, "not JSON") from None
    if not isinstance(ring, dict) or set(ring) != {"version", "keys"} or not isinstance(ring["keys"], list):
        raise _malformed(path, "not a key ring")
    if ring["version"] != VERSION:
        raise _malformed(path, f"not of version {VERSION}, which is the one that this release reads")
    keys: dict[str, _RootKey] = {}
    seen: set[bytes] = set()
    for place, entry in enumerate(ring["keys"], start=1):
        key, secret = _entry(path, place, entry)
        if key.id in keys or secret in seen:
            raise _malformed(path, f"key {place} repeats another's id or octets")
        if key.state == "active" and any(other.use == key.use and other.state == "active" for other in keys.values()):
            raise _malformed(path, f"there are two active keys for {key.use}")
        keys[key.id] = key
        seen.add(secret)
    if not {key.use for key in keys.values()} <= {key.use for key in keys.values() if key.state == "active"}:
        raise _malformed(path, "a use has retiring keys but no active one")
    return keys


def _entry(path: Path, place: int, entry: Any) -> tuple[_RootKey, bytes]:
    if not isinstance(entry, dict) or set(entry) != _ENTRY or not all(isinstance(part, str) for part in entry.values()):
        raise _malformed(path, f"key {place} does not have exactly the members {', '.join(sorted(_ENTRY))}, all texts")
    known = entry["use"] in USES and entry["alg"] == ALG and entry["state"] in ("active", "retiring")
    if not known or not entry["id"]:
        raise _malformed(path, f"key {place} has an unknown use, alg or state, or an empty id")
    try:
        secret = base64.b64decode(entry["key"], validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(path, f"key {place} is not base64") from None
    if len(secret) != KEY or not any(secret):
        raise _malformed(path, f"key {place} does not have {KEY} octets")
    return _RootKey(entry["id"], entry["use"], entry["state"], cipher(Alg.GCM_SIV, secret)), secret


def _malformed(path: Path, fault: str) -> Unsafe:
    return Unsafe(f"the key ring {path} is malformed ({fault}): restore it from your copy")
