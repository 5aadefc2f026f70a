"""The access event and its leaf: what is recorded, in which bytes. Knows no storage, no tree and no patient's value.

A leaf is one JSON object in a restricted profile of RFC 8785 (JCS): ASCII only, no floats, no nulls, integers below
2^53, unset members left out, arrays of strings sorted and without repetition, at most 8,192 octets (entries of C2SP
tlog-tiles carry a 16-bit length). Inside that profile orjson with sorted keys writes exactly the octets of RFC 8785.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson

from crm.audit.checkpoint import Checkpoint

__all__ = [
    "EPOCH",
    "FLAGS",
    "MAX_LEAF",
    "VERSION",
    "Act",
    "Event",
    "Outcome",
    "Who",
    "encode",
    "leaf",
    "leaf_hash",
    "members",
    "recorded_request",
    "recorded_subject",
    "rfc3339",
]

VERSION = 1
MAX_LEAF = 8192


class Act(StrEnum):
    """What was done or attempted; maps to type, subtype and action of a FHIR R4 AuditEvent (IHE BALP 1.1)."""

    READ = "read"
    QUERY = "query"
    CREATE = "create"
    UPDATE = "update"
    MERGE = "merge"
    UNMERGE = "unmerge"
    DELETE = "delete"
    IMPORT = "import"
    EXPORT = "export"
    DISCLOSE = "disclose"
    DECIDE = "decide"
    NOTIFY = "notify"
    BREAKGLASS = "breakglass"
    REVIEW = "review"
    LOGIN = "login"
    LOGOUT = "logout"
    AUDIT_READ = "audit.read"
    AUDIT_EXPORT = "audit.export"
    ERASE = "erase"
    HOLD = "hold"
    RELEASE = "release"
    PRUNE = "prune"
    KEY_ROTATE = "key.rotate"
    CONFIG = "config"
    BOOT = "boot"
    SHUTDOWN = "shutdown"


class Outcome(StrEnum):
    """How it ended. FHIR R4 `AuditEvent.outcome` has 0, 4, 8 and 12 for the same four."""

    OK = "ok"
    PARTIAL = "partial"
    DENIED = "denied"
    ERROR = "error"


FLAGS: Mapping[str, int] = MappingProxyType({
    "break_glass": 1,
    "after_hours": 2,
    "self_access": 4,
    "same_surname": 8,
    "vip": 16,
    "coworker": 32,
    "no_relationship": 64,
    "bulk": 128,
    "clock_skew": 256,
    "deceased": 512,
    "minor": 1024,
    "same_address": 2048,
    "restricted": 4096,
    "need_unmet": 8192,
})  # fmt: skip
"""Circumstances, decided when the event is written, with their bits in the index. Frozen: stored rows use them."""

_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,5}")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,95}")
_PURPOSE = re.compile(r"[A-Z]{2,16}")
_SUBJECT = re.compile(r"[0-9a-f]{32}")
_POLICY = re.compile(r"[a-z0-9]{1,16}:[A-Za-z0-9._-]{1,96}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[!#-\[\]-~]{1,255}")  # visible ASCII without the two characters that JSON escapes
_TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+/=-]{0,127}")
_MAX_NAMES = 1000
_MAX_COUNT = 2**53 - 1
_WHO = ("iss", "sub", "org", "client", "jti")
_CUTTABLE = ("fld", "msk", "chg")


def _own(pattern: re.Pattern[str], value: str, what: str) -> None:
    """Refuses what only a mistake of ours could have put there. Names the member, never its content."""
    if not pattern.fullmatch(value):
        raise RuntimeError(f"audit event: {what} is not well formed")


def _count(value: object, what: str) -> None:
    if not (type(value) is int and 0 <= value <= _MAX_COUNT):
        raise RuntimeError(f"audit event: {what} is not a count")


def _foreign(pattern: re.Pattern[str], value: str | None) -> str:
    """An identifier that others chose: as it is if it looks like one, else its digest, which can only be recognised."""
    if not value or pattern.fullmatch(value):
        return value or ""
    return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def recorded_subject(sub: str) -> str:
    """How a token's `sub` stands in the log, to look for it there."""
    return _foreign(_NAME, sub)


def recorded_request(req: str) -> str:
    """How an X-Request-Id stands in the log, to look for it there."""
    return _foreign(_TOKEN, req)


@lru_cache(maxsize=4096)
def _paths(names: tuple[str, ...]) -> list[str]:
    """Sorted field paths without repetition. Cached, because the same queries come again; callers do not change it."""
    if len(names) > _MAX_NAMES:
        raise RuntimeError("audit event: too many field paths")
    for name in names:
        _own(_PATH, name, "a field path")
    return sorted(set(names))


@lru_cache(maxsize=1024)
def _codes(codes: tuple[str, ...], what: str) -> list[str]:
    if len(codes) > 16:
        raise RuntimeError(f"audit event: too many of {what}")
    for code in codes:
        _own(_CODE, code, what)
    return sorted({str(code) for code in codes})


@lru_cache(maxsize=1024)
def _ours(rules: tuple[str, ...], purpose: str | None, policy: str, why: str) -> None:
    """Refuses what is not well formed of the members that are the same in many events; what was good is remembered."""
    _codes(rules, "rules")
    for value, pattern, what in (
        (purpose, _PURPOSE, "purpose"),
        (why, _CODE, "reason"),
        (policy, _POLICY, "policy version"),
    ):
        if value:
            _own(pattern, value, what)


@dataclass(frozen=True, slots=True)
class Who:
    """The caller as its token named it; all empty for an attempt without a valid token.

    `iss`, `sub`, `client` and `jti` come from outside: whatever is not a plain identifier is kept as its SHA-256.
    """

    iss: str = ""
    sub: str = ""
    roles: Sequence[str] = ()
    org: str = ""
    client: str = ""
    jti: str = ""
    _members: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in _WHO:
            object.__setattr__(self, name, _foreign(_NAME, getattr(self, name)))
        object.__setattr__(self, "roles", tuple(_codes(tuple(self.roles), "roles")))
        result: dict[str, Any] = {name: value for name in _WHO if (value := getattr(self, name))}
        if self.roles:
            result["roles"] = list(self.roles)
        object.__setattr__(self, "_members", result)

    def members(self) -> dict[str, Any]:
        """The set members, as they stand in the leaf: one object for all events of a caller, that nobody changes."""
        return self._members


@dataclass(frozen=True)
class Event:
    """One access event: one patient at most, or an action that concerns no single patient.

    act, out    what was done, and how it ended
    why         a reason code: why it was not done, or why a record was erased, held or released
    op, req     GraphQL operation name (or `sha256:` of the document, never its literals); X-Request-Id
    who, pou    the caller; the purpose of use (HL7 v3-ActReason)
    pat         the patient's random audit subject, 32 hex digits; no identifier of the patient, nor a digest of one
    fld, msk    paths of the fields that were answered, and those of them that were masked or withheld
    chg         paths of the fields that were changed, or of which somebody was told that they were (`notify`)
    obj         version of the patient's record that was read or written
    cnt, qid    number of patients found, taken in or given out, or of minutes of a break-glass grant; id that ties a
                search to the events of its patients
    ref         id of what the event is about beside the patient: a break-glass grant or a contact decision
    sealed      `sha256:` and the digest of the sealed words that belong to the event (`audit_detail`, under its `ref`)
    flg         words of `FLAGS`
    pol, rul    version of the policy that decided, and the rules that did
    old         the checkpoint that a log which had to begin anew has lost

    There is no member for a value of a patient. Members that Heed itself fills are checked against narrow patterns and
    refused with RuntimeError; those that callers choose (`op`, `req`, `who`) are kept as digests when they do not fit.
    """

    act: Act
    out: Outcome = Outcome.OK
    op: str = ""
    req: str = ""
    who: Who = field(default_factory=Who)
    pou: str | None = None
    pat: str | None = None
    fld: Sequence[str] = ()
    msk: Sequence[str] = ()
    chg: Sequence[str] = ()
    obj: int | None = None
    cnt: int | None = None
    qid: str | None = None
    ref: str | None = None
    sealed: str | None = None
    flg: Sequence[str] = ()
    why: str = ""
    pol: str = ""
    rul: Sequence[str] = ()
    old: Checkpoint | None = None
    pattern: "Event | None" = field(default=None, init=False, repr=False, compare=False)
    """The event that this one is a copy of, but for `pat` and `obj`."""

    def about(self, pat: str, obj: int) -> "Event":
        """The same about another patient, of whom alone something has to be checked. Both events name a patient."""
        _own(_SUBJECT, pat, "audit subject")
        _count(obj, "version")
        other = object.__new__(Event)
        other.__dict__.update(self.__dict__, pat=pat, obj=obj, pattern=self)
        return other

    def __post_init__(self) -> None:
        if type(self.act) is not Act or type(self.out) is not Outcome:
            Act(self.act), Outcome(self.out)
        if not _TOKEN.fullmatch(self.op):
            object.__setattr__(self, "op", _foreign(_TOKEN, self.op))
        if not _TOKEN.fullmatch(self.req):
            object.__setattr__(self, "req", recorded_request(self.req))
        for name in ("fld", "msk", "chg", "flg", "rul"):
            if type(given := getattr(self, name)) is not tuple:
                object.__setattr__(self, name, tuple(given))
        for paths in (self.fld, self.msk, self.chg):
            if paths:
                _paths(paths)
        _ours(self.rul, self.pou, self.pol, self.why)
        for value, pattern, what in (
            (self.pat, _SUBJECT, "audit subject"),
            (self.qid, _UUID, "query id"),
            (self.ref, _UUID, "reference"),
            (self.sealed, _DIGEST, "digest of sealed words"),
        ):
            if value:
                _own(pattern, value, what)
        for number, what in ((self.obj, "version"), (self.cnt, "count")):
            if number is not None:
                _count(number, what)
        if self.flg and not FLAGS.keys() >= set(self.flg):
            raise RuntimeError("audit event: unknown flag")


def members(event: Event, *, id: str, t: str) -> dict[str, Any]:
    """The leaf as an object, without `src`: that is added when the event gets its place in the log."""
    result: dict[str, Any] = {"v": VERSION, "id": id, "t": t, "act": str(event.act), "out": str(event.out)}
    for name in ("op", "req", "qid", "ref", "sealed", "why", "pat"):
        if value := getattr(event, name):
            result[name] = value
    for name in ("fld", "msk", "chg"):
        if names := getattr(event, name):
            result[name] = _paths(names)
    if who := event.who.members():
        result["who"] = who
    if event.pou:
        result["pou"] = [str(event.pou)]
    if event.obj is not None:
        result["obj"] = [{"t": "Patient", "ver": event.obj}]
    if event.cnt is not None:
        result["cnt"] = event.cnt
    if event.flg:
        result["flg"] = sorted(set(event.flg))
    if event.old:
        root = base64.b64encode(event.old.root).decode()
        result["old"] = {"origin": event.old.origin, "size": event.old.size, "root": root}
    if event.pol or event.rul:
        result["pol"] = _policy(event.pol, tuple(event.rul))
    return result


@lru_cache(maxsize=1024)
def _policy(version: str, rules: tuple[str, ...]) -> dict[str, Any]:
    """The member `pol`. Cached, as `_paths` is."""
    told: dict[str, Any] = {"d": _codes(rules, "rules")} if rules else {}
    return {"v": version, **told} if version else told


def leaf(event: Event, *, id: str, t: str, node: str, n: int) -> bytes:
    """The octets that are logged; `t` is `rfc3339(...)`, and the event the `n`-th that the run `node` recorded."""
    return encode({**members(event, id=id, t=t), "src": {"node": node, "n": n}})


def encode(content: Mapping[str, Any]) -> bytes:
    """RFC 8785 octets of a leaf's members, never more than `MAX_LEAF`.

    Where the paths do not fit, the longest list keeps its first half until they do; `cut` counts what each list lost.
    """
    encoded = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    if len(encoded) <= MAX_LEAF:
        return encoded
    shorter = {**content, "cut": dict(content.get("cut", {}))}
    while len(encoded) > MAX_LEAF:
        longest = max(_CUTTABLE, key=lambda name: len(shorter.get(name, ())))
        names = shorter.get(longest, [])
        if not names:
            raise RuntimeError("audit event: leaf too large")
        kept = names[: len(names) // 2]
        shorter["cut"][longest] = shorter["cut"].get(longest, 0) + len(names) - len(kept)
        shorter[longest] = kept
        if not kept:
            del shorter[longest]
        encoded = orjson.dumps(shorter, option=orjson.OPT_SORT_KEYS)
    return encoded


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf): the Merkle leaf hash of RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x00" + leaf).digest()


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(micros: int) -> str:
    """Fixed-width RFC 3339 text in UTC of microseconds since 1970, such as `2026-11-21T18:55:03.123456Z`."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest:06}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """Many events fall into one second."""
    return (EPOCH + timedelta(seconds=seconds)).isoformat()[:-6]
