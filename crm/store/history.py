"""The versions of a record: who made each of them and when, and which fields changed since. Opens nothing.

What the record said in a version is loaded by `past`.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import JSON, BigInteger, Select, String, bindparam, cast, column, func, insert, select, true

from crm.audit.event import Act, recorded_request, recorded_subject
from crm.catalogue import KeyClass
from crm.store.context import Context
from crm.store.database import Fetch
from crm.store.record import Record
from crm.store.statements import any_of, prepare
from crm.store.tables import patient, patient_version

__all__ = ["INSERT", "Maker", "Since", "Version", "all_of", "at", "changed_since", "chosen", "page", "row", "unbroken"]

INSERT: Final = prepare(insert(patient_version))
"""Stores what `row` gives."""

_P: Final = patient.c
_V: Final = patient_version.c


@dataclass(frozen=True, slots=True)
class Maker:
    """Who made a version, as the log has them: `act`, the caller, and the channel and system that the values came from.

    `channel` is `api` or `import`; None with its `system` where nobody gave values, as in an erasure.
    """

    act: str
    issuer: str
    subject: str
    roles: tuple[str, ...]
    request_id: str
    channel: str | None = None
    system: str | None = None

    @classmethod
    def of(cls, context: Context, act: Act, channel: str | None = None, system: str | None = None) -> "Maker":
        """The caller of a unit of work."""
        who = context.who
        subject, request_id = recorded_subject(who.sub), recorded_request(context.request_id)
        return cls(act.value, who.iss, subject, tuple(who.roles), request_id, channel, system)


class Since(NamedTuple):
    """What happened to a record since a version: its present `version`, and the catalogue names that changed.

    `known` is false where `names` may be incomplete: some of the versions in between are not described, because they
    are older than history, or their patient was erased.
    """

    version: int
    names: frozenset[str]
    known: bool


class Version(NamedTuple):
    """One version of a record, and the clear row as it was; `at` is since when, in microseconds since 1970, UTC.

    `changed` are catalogue names. Without a `maker` nothing is described: the version is older than history.
    """

    version: int
    at: int
    status: str
    restricted: bool
    classes: frozenset[KeyClass]
    changed: frozenset[str]
    maker: Maker | None


def row(record: Record, names: Iterable[str], maker: Maker) -> dict[str, Any]:
    """The row of the version that `record` has now, which changed the fields `names`."""
    return {
        "org": record.org,
        "patient_id": record.id,
        "version": record.version,
        "at": record.updated_at,
        "status": record.status,
        "restricted": int(record.restricted),
        "classes": record.stored_classes,
        "changed": orjson.dumps(sorted(names)).decode(),
        "act": maker.act,
        "issuer": maker.issuer,
        "subject": maker.subject,
        "roles": orjson.dumps(maker.roles).decode(),
        "channel": maker.channel,
        "system": maker.system,
        "request_id": maker.request_id,
    }


_COLUMNS: Final = tuple(
    _V[name]
    for name in (
        "version", "at", "status", "restricted", "classes", "changed",
        "act", "issuer", "subject", "roles", "request_id", "channel", "system",
    )
)  # fmt: skip
"""Those of a `Version`, and behind them those of its `Maker`."""

_MINE: Final = (_V.org == bindparam("org"), _V.patient_id == bindparam("patient"))
_NEWEST_FIRST: Final = select(*_COLUMNS).where(*_MINE).order_by(_V.version.desc())
_PAGE: Final = prepare(
    _NEWEST_FIRST.where(_V.version < bindparam("below")).limit(bindparam("rows", type_=BigInteger))
)  # fmt: skip
_AT: Final = prepare(_NEWEST_FIRST.where(_V.at <= bindparam("time")).limit(1))
_CHOSEN: Final = prepare(select(*_COLUMNS).where(*_MINE, any_of(_V.version, "versions")))

_ALL: Final = prepare(
    select(_V.patient_id, *_COLUMNS).where(_V.org == bindparam("org"), any_of(_V.patient_id, "ids"))
)  # fmt: skip


def _version(stored: Iterable[Any]) -> Version:
    number, since, status, restricted, classes, changed, act, issuer, subject, roles, *others = tuple(stored)
    maker = None if act is None else Maker(act, issuer, subject, tuple(orjson.loads(roles)), *others)
    return Version(
        number,
        since,
        status,
        bool(restricted),
        frozenset(map(KeyClass, orjson.loads(classes))),
        frozenset(orjson.loads(changed)),
        maker,
    )


async def all_of(fetch: Fetch, org: str, ids: Collection[str]) -> list[tuple[str, Version]]:
    """Every version of these patients, behind the patient's id; rows that the service does not write are left out."""
    found = []
    for stored in await fetch(_ALL, org=org, ids=list(ids)):
        patient_id, *columns = tuple(stored)
        with suppress(ValueError, TypeError):
            found.append((patient_id, _version(columns)))
    return found


async def page(fetch: Fetch, org: str, patient_id: str, below: int, limit: int) -> list[Version]:
    """At most `limit` versions older than `below`, the newest first."""
    return [_version(each) for each in await fetch(_PAGE, org=org, patient=patient_id, below=below, rows=limit)]


async def at(fetch: Fetch, org: str, patient_id: str, time: int) -> Version | None:
    """The version that was the newest at a time (microseconds since 1970, UTC); None where none is kept."""
    return next(iter([_version(each) for each in await fetch(_AT, org=org, patient=patient_id, time=time)]), None)


async def chosen(fetch: Fetch, org: str, patient_id: str, versions: Collection[int]) -> dict[int, Version]:
    """These versions by number; those that are not kept are absent."""
    rows = await fetch(_CHOSEN, org=org, patient=patient_id, versions=list(versions))
    return {version.version: version for version in map(_version, rows)}


_PAIRS: Final = (column("key", String), column("value", String))
_SKIPPING: Final = frozenset({Act.MERGE.value, Act.UNMERGE.value})
_MOST: Final = 10_000
"""Versions of one patient that are looked at; who is further behind is told that not all is known."""


def _since() -> Select[Any]:
    """Every version that is newer than the known one, beside the present one; once without, where there is none."""
    pairs = func.json_each(bindparam("known", type_=String)).table_valued(*_PAIRS)
    known = cast(pairs.c.value, BigInteger)
    newer = (_V.org == _P.org) & (_V.patient_id == _P.id) & (_V.version > known)
    joined = pairs.join(patient, (_P.org == bindparam("org")) & (_P.id == pairs.c.key))
    columns = (_P.id, _P.version, known.label("known"), _V.act, _V.changed, _V.version.label("number"))
    return select(*columns).select_from(joined.outerjoin(patient_version, newer))


def _since_by_loops() -> Select[Any]:
    """The same for PostgreSQL; the limits forbid to turn the loops into joins (see `record`)."""
    pairs = func.json_each_text(cast(bindparam("known", type_=String), JSON)).table_valued(*_PAIRS).render_derived()
    known = cast(pairs.c.value, BigInteger)
    present = select(_P.id, _P.version).where(_P.org == bindparam("org"), _P.id == pairs.c.key).limit(1).lateral("now")
    newer = (
        select(_V.act, _V.changed, _V.version)
        .where(_V.org == bindparam("org"), _V.patient_id == present.c.id, _V.version > known)
        .order_by(_V.version)
        .limit(_MOST)
        .lateral("newer")
    )
    columns = (
        present.c.id, present.c.version, known.label("known"), newer.c.act, newer.c.changed,
        newer.c.version.label("number"),
    )  # fmt: skip
    return select(*columns).select_from(pairs.join(present, true()).outerjoin(newer, true()))


_SINCE: Final = prepare(_since(), postgresql=_since_by_loops())


async def changed_since(fetch: Fetch, org: str, known: Mapping[str, int]) -> dict[str, Since]:
    """For each of these patients of `org`, known in a version, what happened since; unknown ids are absent.

    One statement. Whoever knows the present version, or claims to know a later one, is told of no names. Across the end
    of a merge names are not `known`: under the id of what had been merged, another record's version may be meant.
    """
    if not known:
        return {}
    found: dict[str, Since] = {}
    told: dict[str, list[tuple[int, str]]] = {}
    start: dict[str, int] = {}
    for each in await fetch(_SINCE, org=org, known=orjson.dumps(dict(known)).decode()):
        before = found.get(each["id"])
        names = before.names if before else frozenset()
        if each["act"] is not None:
            told.setdefault(each["id"], []).append((each["number"], each["act"]))
            names |= frozenset(orjson.loads(each["changed"]))
        start[each["id"]] = each["known"]
        found[each["id"]] = Since(each["version"], names, known=False)
    return {
        name: since._replace(known=_described(told.get(name, ()), start[name], since.version))
        for name, since in found.items()
    }


def _described(told: Collection[tuple[int, str]], known: int, present: int) -> bool:
    return unbroken(told, known, present) and all(act != Act.UNMERGE for _, act in told)


def unbroken(versions: Iterable[tuple[int, str | None]], after: int, present: int) -> bool:
    """Whether these versions, by number and act, are all from behind `after` to `present`.

    Each is one more than the one before, but that a merge, or the end of one, goes on above the versions of both.
    """
    last = after
    for number, act in sorted(versions, key=lambda each: each[0]):
        if number != last + 1 and act not in _SKIPPING:
            return False
        last = number
    return last >= present
