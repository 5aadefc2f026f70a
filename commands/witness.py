"""A witness of logs: what it has seen of each, and whether it cosigns the next checkpoint (C2SP tlog-witness).

It knows the verifier keys that it was given, and a folder of its own; no database, no settings, nothing of a patient.

    key                      its Ed25519 seed under its name (mode 0600), made by the first run
    logs/<SHA-256 of origin> the newest checkpoint of a log, with the cosignature
    evidence/<kind>-<...>    two checkpoints of a log that do not go together, word for word (JSON)

A checkpoint is on the disk before its cosignature leaves. None is cosigned unless the last one is its beginning.
"""

import base64
import fcntl
import hashlib
import json
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crm.audit.checkpoint import Checkpoint, parse
from crm.audit.tree import EMPTY, HASH, verify_consistency
from crm.crypto.cosignature import Cosigner
from crm.crypto.note import open_note, parsed, verifier_key, with_signatures
from crm.errors import Tampered, Unsafe

__all__ = ["MOST_EVIDENCE", "MOST_OCTETS", "Answer", "Witness", "folder"]

MOST_OCTETS = 65_536
"""Of a request: 63 hashes, and sixteen signatures of any kind."""

_MOST_STEPS = 63
MOST_EVIDENCE = {"fork": 1_000, "inconsistent": 1_000, "behind": 1}
"""Pieces of evidence that are kept of each log, by kind: none crowds out another, nor that of another log.

A fork takes the log's own key to make. What comes late, and what comes with a bad proof, anybody can bring.
"""

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)
_log = logging.getLogger("heed.witness")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the witness answers: an HTTP status, a text, and its media type."""

    status: int
    text: str = ""
    media_type: str = "text/plain; charset=utf-8"


class Witness:
    """Cosigns checkpoints of the logs whose verifier keys it was given. Blocking, and safe to use from many threads.

    `now` tells seconds since 1970.
    """

    def __init__(self, path: Path, cosigner: Cosigner, logs: Sequence[str], now: Callable[[], int]) -> None:
        """Raises Unsafe for something that is no verifier key of a log, or two keys for one log."""
        self._path = path
        self._cosigner = cosigner
        self._now = now
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}
        self._brought: Counter[tuple[str, str]] = Counter()
        for key in logs:
            try:
                name = verifier_key(key).name
            except RuntimeError:
                raise Unsafe("--log is not the verifier key of a log: `audit checkpoint` prints it") from None
            if self._keys.setdefault(name, key) != key:
                raise Unsafe(f"--log names two keys for {name}: one log has one key")
        for name in ("logs", "evidence"):
            (path / name).mkdir(mode=0o700, exist_ok=True)

    @property
    def origins(self) -> list[str]:
        """The names of the logs that it knows."""
        return sorted(self._keys)

    def latest(self, origin: str) -> str | None:
        """The newest checkpoint of a log with our cosignature; None where there is none yet, or the log is unknown."""
        if origin not in self._keys:
            return None
        try:
            return self._file(origin).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def add(self, body: bytes) -> Answer:
        """Judges a request to `add-checkpoint`, remembers the checkpoint if it is a later one, and cosigns it."""
        try:
            old, proof, note = _taken_apart(body)
            brought = parse(note.partition("\n\n")[0] + "\n")
        except (Tampered, ValueError):
            return Answer(400, "malformed request\n")
        if brought.origin not in self._keys:
            return Answer(404, "unknown log\n")
        try:
            text = open_note(note, self._keys[brought.origin])
        except Tampered:
            return Answer(403, "not signed by this log\n")
        if old > brought.size:
            return Answer(400, "the old size is larger than the checkpoint's\n")
        with self._lock:
            return self._judged(brought, text, note, old, proof)

    def _judged(self, brought: Checkpoint, text: str, note: str, old: int, proof: Sequence[bytes]) -> Answer:
        held_note = self.latest(brought.origin)
        held = Checkpoint(brought.origin, 0, EMPTY) if held_note is None else _checkpoint(held_note)
        if held_note is not None and brought.size == held.size and brought.root != held.root:
            self._keep("fork", held_note, note, proof)
            return _conflict(held.size)
        if old != held.size:
            if held_note is not None and brought.size < held.size:
                self._keep("behind", held_note, note, proof)
            return _conflict(held.size)
        try:
            verify_consistency(held.size, brought.size, proof, held.root, brought.root)
        except Tampered:
            self._keep("inconsistent", held_note or "", note, proof)
            return Answer(422, "the proof does not show that the last checkpoint is the beginning of this one\n")
        line = self._cosigner.cosign(text, self._now())
        _write(self._file(brought.origin), with_signatures(self._own(note), line))
        return Answer(200, line)

    def _keep(self, kind: str, held: str, brought: str, proof: Sequence[bytes]) -> None:
        """Keeps two signed checkpoints, once, and says so; a disk that is full changes no answer."""
        found = _checkpoint(brought)
        log, text = (hashlib.sha256(each.encode()).hexdigest() for each in (found.origin, found.text()))
        folder = self._path / "evidence"
        path = folder / f"{kind}-{log[:16]}-{text}.json"
        self._brought[kind, found.origin] += 1
        told = f"{_MEANINGS[kind]}: {found.origin}: a checkpoint of {found.size} events"
        count = self._brought[kind, found.origin]
        if path.exists() or len(list(folder.glob(f"{kind}-{log[:16]}-*.json"))) >= MOST_EVIDENCE[kind]:
            _log.error("%s, the %d. of its kind; %s", told, count, "kept before" if path.exists() else "not kept")
            return
        steps = [base64.b64encode(step).decode() for step in proof]
        seen = {"kind": kind, "seen_at": self._now(), "held": held, "brought": brought, "proof": steps}
        try:
            _write(path, json.dumps(seen, ensure_ascii=False, indent=1) + "\n")
        except OSError as failure:
            _log.error("%s, and could not be kept: %s", told, failure.strerror)
            return
        _log.error("%s, kept in %s", told, path)

    def _own(self, note: str) -> str:
        """A verified note with one signature of the log, and nothing that others added."""
        opened = parsed(note)
        key = verifier_key(self._keys[opened.text.partition("\n")[0]])
        own = next(each for each in opened.signatures if (each.name, each.key_id) == (key.name, key.key_id))
        return f"{opened.text}\n{own.line()}"

    def _file(self, origin: str) -> Path:
        return self._path / "logs" / hashlib.sha256(origin.encode()).hexdigest()


_MEANINGS = {
    "fork": "FORK: the log signed two trees of one size",
    "behind": "SMALLER TREE: a checkpoint that came late, or a log that was put back",
    "inconsistent": "INCONSISTENT: no proof that the log only grew",
}


@contextmanager
def folder(path: Path, name: str | None) -> Iterator[Cosigner]:
    """The key in a witness's folder, which no other process may use meanwhile; the first time, a new one is made.

    Raises Unsafe where the folder is in use, the key is open to others, or belongs to a witness of another name.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield _cosigner(path / "key", name)
    except BlockingIOError:
        raise Unsafe(f"another witness uses {path}") from None
    finally:
        os.close(descriptor)


def _cosigner(path: Path, name: str | None) -> Cosigner:
    if not path.exists():
        seed = base64.b64encode(os.urandom(32)).decode()
        Cosigner(name or "heed-witness", base64.b64decode(seed))  # raises before anything is kept
        _write(path, json.dumps({"name": name or "heed-witness", "seed": seed}) + "\n")
    if path.stat().st_mode & 0o077:
        raise Unsafe(f"{path} is open to other users: run `chmod 600 {path}`; who may have read it?")
    try:
        kept = json.loads(path.read_bytes())
        cosigner = Cosigner(kept["name"], base64.b64decode(kept["seed"], validate=True))
    except (ValueError, KeyError, TypeError):
        raise Unsafe(f"{path} is damaged: put it back from a copy") from None
    if name not in (None, cosigner.name):
        raise Unsafe(f"{path} is the key of {cosigner.name}: a witness keeps its name; use another folder for another")
    return cosigner


def _taken_apart(body: bytes) -> tuple[int, list[bytes], str]:
    """Old size, proof and checkpoint. Raises ValueError."""
    if len(body) > MOST_OCTETS:
        raise ValueError
    head, gap, note = body.decode("utf-8").partition("\n\n")
    first, *steps = head.split("\n")
    old = _OLD.fullmatch(first)
    if not gap or old is None or len(steps) > _MOST_STEPS:
        raise ValueError
    proof = [base64.b64decode(step, validate=True) for step in steps]
    if any(len(step) != HASH for step in proof):
        raise ValueError
    return int(old[1]), proof, note


def _checkpoint(note: str) -> Checkpoint:
    return parse(note.partition("\n\n")[0] + "\n")


def _conflict(size: int) -> Answer:
    return Answer(409, f"{size}\n", "text/x.tlog.size")


def _write(path: Path, text: str) -> None:
    """Puts a file in place whole, mode 0600, and on the disk before this returns."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        octets = text.encode()
        while octets:
            octets = octets[os.write(descriptor, octets) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)
    beside = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(beside)
    finally:
        os.close(beside)
