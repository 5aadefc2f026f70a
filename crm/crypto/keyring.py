"""The key ring: root keys in one file, made by `keys init` and readable by the service's own user only.

JSON: {"version": 2, "keys": [{"id", "use", "alg", "key" (base64, 32 octets), "state" (active | retiring), "created"}]},
oldest first. Of a destroyed key only {"id", "use", "state" (destroyed), "created", "destroyed"} is left. Version 1 is
the same without destroyed keys. A ring may hold the keys of some uses only; the part that it lacks stays sealed for the
process that was given it. One that was cut out of another (`keys share`) says so by the member "part": true, and is
only read: a root key that was made in it would be missing in the whole ring, and what it wraps lost to everybody else.
"""

import base64
import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import orjson

from crm.crypto import key_file
from crm.crypto.aead import KEY
from crm.crypto.provider import USES, Destruction, Wrapped
from crm.crypto.root_key import RootKey, octets
from crm.crypto.secret import Secret
from crm.errors import KeyDestroyed, KeyUnavailable, ProviderUnavailable, Unsafe

__all__ = ["KeyRing"]

VERSION = 2
ALG = "AES-256-GCM-SIV"
_LIVING = {"id", "use", "alg", "key", "state", "created"}
_DESTROYED = {"id", "use", "state", "created", "destroyed"}
_log = logging.getLogger("heed.keys")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One key of the file. A destroyed one has the time in `destroyed`, and neither `secret` nor `root`."""

    id: str
    use: str
    state: str
    created: str
    destroyed: str = ""
    secret: bytes | None = field(default=None, repr=False)
    root: RootKey | None = field(default=None, repr=False)


_Entries = Mapping[str, _Entry]


class KeyRing(Secret):
    """A provider of root keys (`KeyProvider`) that keeps them in a file, and looks there again once it has changed.

    A file that became unusable leaves in use what was read before, with a warning: a slip of the hand does not stop a
    service. Changes are made under a lock, on what the file says at that moment.
    """

    name: ClassVar[str] = "keyring"
    __slots__ = ("_entries", "_given", "_lock", "_path", "_stamp")

    def __init__(self, path: Path, given: Collection[str] = ()) -> None:
        """The ring in that file. Raises Unsafe, with what to do, unless it is whole and safe from other users.

        `given` restricts it to these uses; empty means all that are in the file.
        """
        self._path = path
        self._given = frozenset(given or USES)
        self._lock = threading.Lock()
        self._stamp = key_file.stamp(path)
        self._entries = _parsed(path, key_file.read(path))

    @classmethod
    def create(cls, path: Path, uses: Collection[str] = ()) -> "KeyRing":
        """A new ring with one fresh key for each of `uses` (all when empty), written whole or not at all, mode 0600.

        Raises Unsafe when something is there already, which is never overwritten, or when the place cannot be written.
        """
        key_file.create(path, _content([_fresh(use) for use in USES if use in (uses or USES)]))
        return cls(path)

    @classmethod
    def load(cls, path: Path, given: Collection[str] = ()) -> "KeyRing":
        """The same as the constructor."""
        return cls(path, given)

    def uses(self) -> frozenset[str]:
        return self._given & {entry.use for entry in self._current().values() if entry.state == "active"}

    def found(self, uses: Collection[str]) -> None:
        def with_first(entries: _Entries) -> list[_Entry]:
            there = {entry.use for entry in entries.values() if entry.state == "active"}
            return [*entries.values(), *(_fresh(use) for use in USES if use in uses and use not in there)]

        self._change(with_first)

    def roots(self, use: str) -> Sequence[str]:
        return _living(self._current(), self._allowed(use))

    def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        root = _active(self._current(), self._allowed(context["use"])).root
        assert root is not None
        return Wrapped(self.name, root.id, root.wrap(key, context))

    def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        self._allowed(context["use"])
        entry = self._current().get(wrapped.key_ref)
        if entry is None or wrapped.provider != self.name:
            raise KeyUnavailable("the key ring does not have this root key")
        if entry.root is None:
            raise KeyDestroyed("this root key was destroyed")
        return entry.root.unwrap(wrapped.blob, context)

    def rewrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> Wrapped:
        return self.wrap(self.unwrap(wrapped, context), context)

    def rotate(self, use: str) -> str:
        fresh = _fresh(self._allowed(use))

        def with_next(entries: _Entries) -> list[_Entry]:
            old = _active(entries, use)
            rest = [replace(entry, state="retiring") if entry is old else entry for entry in entries.values()]
            return [*rest, fresh]

        self._change(with_next)
        return fresh.id

    def destroy(self, key_ref: str) -> Destruction:
        """The key's octets leave this file. Copies of the file, and what a disk keeps of old ones, are the owner's."""
        now = datetime.now(UTC).isoformat(timespec="microseconds")

        def without(entries: _Entries) -> list[_Entry]:
            entry = entries.get(key_ref)
            if entry is None:
                raise Unsafe(f"the key ring has no key {key_ref}: nothing was destroyed")
            if entry.state == "active":
                raise Unsafe(f"{key_ref} is the newest root key for {entry.use}: rotate it before you destroy it")
            ended = entry if entry.root is None else _Entry(entry.id, entry.use, "destroyed", entry.created, now)
            return [ended if entry.id == key_ref else entry for entry in entries.values()]

        ended = self._change(without)[key_ref]
        return Destruction(key_ref, int(datetime.fromisoformat(ended.destroyed).timestamp() * 1_000_000))

    def probe(self) -> None:
        try:
            _parsed(self._path, key_file.read(self._path))
        except Unsafe as error:
            raise ProviderUnavailable(str(error)) from None

    def _allowed(self, use: str) -> str:
        if use not in self._given:
            raise KeyUnavailable(f"this process was given no root key for {use}")
        return use

    def _current(self) -> _Entries:
        """What the file says now, or said when it was last usable."""
        with self._lock:
            seen = key_file.stamp(self._path)
            if seen != self._stamp:
                self._stamp = seen
                try:
                    self._entries = _parsed(self._path, key_file.read(self._path))
                except Unsafe as error:
                    _log.warning("%s; until then what was read before stays in use", error)
            return self._entries

    def _change(self, change: Callable[[_Entries], list[_Entry]]) -> _Entries:
        """The file's keys after `change`, which replaces them. Raises Unsafe, and then the file is as it was."""
        with key_file.locked(self._path):
            content = key_file.read(self._path)
            before = _parsed(self._path, content)
            if _ring(self._path, content).get("part"):
                raise Unsafe("this ring is a part of another: change keys where the whole ring is")
            after = change(before)
            if after != list(before.values()):
                key_file.replace(self._path, _content(after))
        return {entry.id: entry for entry in after}


def _living(entries: _Entries, use: str) -> list[str]:
    """The ids of a use's keys, oldest first, the active one last. Raises KeyUnavailable."""
    newest = _active(entries, use).id
    older = [entry.id for entry in entries.values() if entry.use == use and entry.state == "retiring"]
    return [*older, newest]


def _active(entries: _Entries, use: str) -> _Entry:
    for entry in entries.values():
        if entry.use == use and entry.state == "active":
            return entry
    raise KeyUnavailable(f"the key ring has no key for {use}")


def _fresh(use: str) -> _Entry:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return _Entry(f"{use}-{os.urandom(4).hex()}", use, "active", created, secret=os.urandom(KEY))


def _content(entries: Sequence[_Entry]) -> bytes:
    """The file that says this."""
    keys = []
    for entry in entries:
        written = {"id": entry.id, "use": entry.use, "state": entry.state, "created": entry.created}
        if entry.secret is None:
            written["destroyed"] = entry.destroyed
        else:
            written |= {"alg": ALG, "key": base64.b64encode(entry.secret).decode()}
        keys.append(written)
    return orjson.dumps({"version": VERSION, "keys": keys}, option=orjson.OPT_INDENT_2)


def _parsed(path: Path, content: bytes) -> dict[str, _Entry]:
    """The keys by id, in the file's order. Raises Unsafe with the first fault, and never with what the file says."""
    entries: dict[str, _Entry] = {}
    for place, written in enumerate(_ring(path, content)["keys"], start=1):
        entry = _entry(path, place, written)
        twice = entry.secret is not None and entry.secret in {other.secret for other in entries.values()}
        if twice or entry.id in entries:
            raise _malformed(path, f"key {place} repeats another's id or octets")
        if entry.state == "active" and any(_is_active(other, entry.use) for other in entries.values()):
            raise _malformed(path, f"there are two active keys for {entry.use}")
        entries[entry.id] = entry
    for entry in entries.values():
        if entry.state == "retiring" and not any(_is_active(other, entry.use) for other in entries.values()):
            raise _malformed(path, "a use has retiring keys but no active one")
    return entries


def _ring(path: Path, content: bytes) -> dict[str, Any]:
    """The file's members, of which `keys` is a list, not looked into. Raises Unsafe."""
    try:
        ring = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise _malformed(path, "not JSON") from None
    if not isinstance(ring, dict) or set(ring) - {"part"} != {"version", "keys"} or not isinstance(ring["keys"], list):
        raise _malformed(path, "not a key ring")
    if ring["version"] not in (1, VERSION):
        raise _malformed(path, f"not of version 1 or {VERSION}, which are those that this release reads")
    if "part" in ring and (ring["part"] is not True or ring["version"] == 1):
        raise _malformed(path, f"`part` is there and not true, or in a version before {VERSION}")
    return ring


def _is_active(entry: _Entry, use: str) -> bool:
    return entry.use == use and entry.state == "active"


def _entry(path: Path, place: int, written: Any) -> _Entry:
    members = _DESTROYED if isinstance(written, dict) and written.get("state") == "destroyed" else _LIVING
    texts = isinstance(written, dict) and all(isinstance(part, str) for part in written.values())
    if not texts or set(written) != members:
        raise _malformed(path, f"key {place} does not have exactly the members {', '.join(sorted(members))}, all texts")
    known = written["use"] in USES and written["state"] in ("active", "retiring", "destroyed")
    if not known or written.get("alg", ALG) != ALG or not written["id"]:
        raise _malformed(path, f"key {place} has an unknown use, alg or state, or an empty id")
    key_id, use = written["id"], written["use"]
    if members is _DESTROYED:
        try:
            datetime.fromisoformat(written["destroyed"])
        except ValueError:
            raise _malformed(path, f"key {place} was destroyed at no time") from None
        return _Entry(key_id, use, "destroyed", written["created"], written["destroyed"])
    try:
        secret = octets(written["key"])
    except ValueError as error:
        raise _malformed(path, f"key {place} {error}") from None
    root = RootKey.of(key_id, use, secret)
    return _Entry(key_id, use, written["state"], written["created"], secret=secret, root=root)


def _malformed(path: Path, fault: str) -> Unsafe:
    return Unsafe(f"the key ring {path} is malformed ({fault}): restore it from your copy")
