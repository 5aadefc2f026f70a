"""An event on its way into the log: drafted when it happens, numbered when it gets its place, indexed by its leaf.

Pure. The index columns are computed from the leaf and nothing else, so that a verifier can compute them again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from uuid_utils import uuid7

from crm.audit.event import EPOCH, FLAGS, MAX_LEAF, Event, encode, leaf_hash, members, rfc3339

__all__ = ["OUTCOMES", "Draft", "Entry", "Index", "draft", "drafts", "index_of", "number", "restore"]

OUTCOMES = {"ok": 0, "partial": 4, "denied": 8, "error": 12}
"""Outcome of a leaf -> `AuditEvent.outcome` of FHIR R4."""
_DISCLOSURES = frozenset({"disclose", "export"})


class Index(NamedTuple):
    """The columns by which the log is searched, all derived from the leaf. `out` is a code of `OUTCOMES`."""

    ts: int
    pat: str | None
    actor: str
    role: str
    pou: str | None
    act: str
    out: int
    flags: int
    disc: int
    req: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An event with its id and time, not yet numbered. `staged`: it waits in `audit_outbox` beside its change.

    `stamp` is what a row there is known by as one of ours; empty for a draft that came from there. `shape` knows how
    the leaf is written, where other patients' leaves are written alike.
    """

    id: str
    content: Mapping[str, Any]
    index: Index
    staged: bool = False
    stamp: bytes = b""
    shape: "Shape | None" = None

    @property
    def created_at(self) -> int:
        """When it happened, in microseconds since 1970."""
        return self.index.ts

    def octets(self) -> bytes:
        """What `audit_outbox.leaf` keeps; `restore` reads it."""
        return encode(self.content)


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished leaf, ready for its sequence number."""

    id: str
    leaf: bytes
    leaf_hash: bytes
    index: Index


def draft(event: Event, now: int, *, staged_by: str | None = None) -> Draft:
    """Fix the event's id (UUIDv7) and time. `staged_by` names the recorder for an event that waits in the outbox."""
    name = str(uuid7())
    content = members(event, id=name, t=rfc3339(now))
    index = _index(content, now)  # here and not in `number`, which runs while everybody waits for the log
    if staged_by is None:
        return Draft(name, content, index)
    return Draft(name, {**content, "src": {"node": staged_by}}, index, staged=True)


def drafts(events: Sequence[Event], now: int) -> list[Draft]:
    """`draft` for each; what copies of one event have in common is written once for all of them."""
    shapes: dict[int, Shape] = {}
    made: list[Draft] = []
    for event in events:
        pattern = event.pattern
        if pattern is None:
            made.append(draft(event, now))
            continue
        shape = shapes.get(id(pattern))
        if shape is None:
            shape = shapes[id(pattern)] = Shape(pattern, now)
        made.append(shape.draft(event))
    return made


class Shape:
    """The leaves of one event and its copies at one time: they differ in `id`, `obj`, `pat` and `src`, and else not.

    What stands between those is written once. Members are sorted by name, as RFC 8785 has it.
    """

    __slots__ = ("_content", "_index", "_texts", "_ts")

    def __init__(self, pattern: Event, now: int) -> None:
        self._ts = now
        self._content = members(pattern, id="", t=rfc3339(now))
        self._index = _index(self._content, now)[2:]
        self._texts = _between(self._content, _VARYING)

    def draft(self, event: Event) -> Draft:
        """The draft of a copy of the event."""
        name = str(uuid7())
        content = {**self._content, "id": name, "pat": event.pat, "obj": [{"t": "Patient", "ver": event.obj}]}
        return Draft(name, content, Index(self._ts, event.pat, *self._index), shape=self)

    def leaf(self, draft: Draft, source: Mapping[str, Any]) -> bytes:
        """What `encode` makes of the draft's content with this `src`."""
        before, behind_id, behind_obj, behind_pat, end = self._texts
        leaf = b'%b"%b"%b[{"t":"Patient","ver":%d}]%b"%b"%b%b%b' % (
            before,
            draft.id.encode(),
            behind_id,
            draft.content["obj"][0]["ver"],
            behind_obj,
            draft.content["pat"].encode(),
            behind_pat,
            orjson.dumps(source, option=orjson.OPT_SORT_KEYS),
            end,
        )
        return leaf if len(leaf) <= MAX_LEAF else encode({**draft.content, "src": source})


_VARYING = ("id", "obj", "pat", "src")
"""In the order of a leaf, where all else stands before, between or behind them."""


def _between(content: Mapping[str, Any], holes: Sequence[str]) -> list[bytes]:
    """The canonical text of an object without the values of `holes`: what stands before, between and behind those."""
    texts = [b"{"]
    for place, name in enumerate(sorted({*content, *holes})):
        texts[-1] += b'%b"%b":' % (b"," if place else b"", name.encode())
        if name in holes:
            texts.append(b"")
        else:
            texts[-1] += orjson.dumps(content[name], option=orjson.OPT_SORT_KEYS)
    texts[-1] += b"}"
    return texts


def restore(octets: bytes) -> Draft:
    """A draft from the outbox."""
    content = orjson.loads(octets)
    return Draft(content["id"], content, index_of(content), staged=True)


def number(draft: Draft, node: str, n: int, *, orphan: bool = False, skewed: bool = False) -> Entry:
    """Finish the leaf: recorded by `node` as its `n`-th. An orphan's leaf also names, as `for`, who had staged it.

    `skewed`: the clocks of the process and of the database disagree.
    """
    source: dict[str, Any] = {"node": node, "n": n}
    if orphan:
        source["for"] = draft.content["src"]["node"]
    index = draft.index
    if draft.shape is not None and not skewed:
        leaf = draft.shape.leaf(draft, source)
        return Entry(draft.id, leaf, leaf_hash(leaf), index)
    content = {**draft.content, "src": source}
    if skewed:
        content["flg"] = sorted({*content.get("flg", ()), "clock_skew"})
        index = index._replace(flags=index.flags | FLAGS["clock_skew"])
    leaf = encode(content)
    return Entry(draft.id, leaf, leaf_hash(leaf), index)


def index_of(content: Mapping[str, Any]) -> Index:
    """The index columns of a leaf, from its parsed content."""
    return _index(content, _micros(content["t"]))


def _index(content: Mapping[str, Any], ts: int) -> Index:
    who = content.get("who", {})
    return Index(
        ts=ts,
        pat=content.get("pat"),
        actor=who.get("sub", ""),
        role=",".join(who.get("roles", ())),
        pou=",".join(content.get("pou", ())) or None,
        act=content["act"],
        out=OUTCOMES[content["out"]],
        flags=sum([FLAGS[flag] for flag in content.get("flg", ())]),
        disc=int(content["act"] in _DISCLOSURES),
        req=content.get("req", ""),
    )


def _micros(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)
