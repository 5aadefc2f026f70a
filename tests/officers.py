"""A log of made-up years with needles in it, the questions that officers put to it, and the plans of their statements.

Rows are written past the service, in bulk: real leaves with real hashes, index columns and tree, but nobody ever
recorded them.
"""

import random
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import asyncpg
import orjson

from crm.audit.checkpoint import Checkpoint
from crm.audit.entry import index_of
from crm.audit.event import leaf_hash, rfc3339
from crm.audit.tiles import WIDTH, perfect
from crm.audit.tree import Frontier
from crm.store.database import Connection, Database, Dialect
from crm.store.statements import Statement
from crm.store.tables import audit_event, audit_tile
from tests.house import ORG
from tests.logs import signer

__all__ = ["Needles", "Watched", "fill", "plan", "questions", "scanned"]

DAY = 86_400_000_000
DAYS = 2282
"""Six years and ninety days: as long as events are kept."""
EMPLOYED = 240
"""Days that each member of staff stays."""

_OFTEN = {"after_hours": 0.15, "minor": 0.18, "no_relationship": 0.05}
_SELDOM = {
    "same_surname": 0.002, "vip": 0.005, "restricted": 0.01, "bulk": 0.005, "deceased": 0.01,
    "self_access": 0.0002, "same_address": 0.0002, "break_glass": 0.0005,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Needles:
    """What a filled log holds for certain; times are RFC 3339.

    `hot` is the patient whom most people saw; `snoop` looked at 180 patients on the last day, and at a few on others;
    `thief` was refused 40 times in the last week, and `session` is a token of theirs; `cousin` saw a relative.
    """

    events: int
    patients: Sequence[str]
    hot: str
    viewers: int
    views: int
    recipients: int
    snoop: str
    thief: str
    session: str
    request: str
    cousin: str
    month: str
    week: str
    end: str


class _Years:
    """Makes the leaves, in the order of time."""

    def __init__(self, events: int, patients: int, staff: int, end: int) -> None:
        self.dice = random.Random(4)
        self.events, self.staff, self.end = events, staff, end
        self.subjects = [f"{self.dice.getrandbits(128):032x}" for _ in range(patients)]
        self.first = end - DAYS * DAY

    def leaves(self) -> Iterator[dict[str, Any]]:
        """Every event, oldest first, then the needles of the last days among them."""
        each_day = self.events / DAYS
        done = 0
        for day in range(DAYS):
            start = self.first + day * DAY
            planted = self._planted(day)
            count = int(each_day * (day + 1)) - done
            done += count
            times = sorted(start + int(self.dice.random() * DAY) for _ in range(count))
            today = [self._ordinary(moment, day) for moment in times] + [
                {**self._leaf(start + DAY * 3 // 4 + number * 1000, who), **facts}
                for number, (who, facts) in enumerate(planted)
            ]
            yield from sorted(today, key=lambda leaf: leaf["t"])

    def _ordinary(self, moment: int, day: int) -> dict[str, Any]:
        dice = self.dice.random()
        # Who works on that day: a window over the staff that moves with the years.
        window = max(1, self.staff * EMPLOYED // DAYS)
        number = (day * (self.staff - window) // DAYS) + self.dice.randrange(window)
        leaf = self._leaf(moment, f"u-{number:05}", day)
        leaf["flg"] = sorted(name for name, share in (*_OFTEN.items(), *_SELDOM.items()) if self.dice.random() < share)
        if dice < 0.05:
            leaf["act"], leaf["cnt"] = "query", 3
            return leaf
        hot = self.dice.random() < 0.01
        leaf["pat"] = self.subjects[0 if hot else int(len(self.subjects) * self.dice.random() ** 2)]
        if dice < 0.06:
            leaf["out"], leaf["why"] = "denied", "FORBIDDEN_FIELD"
        elif dice < 0.12:
            leaf["act"], leaf["chg"] = "update", ["languages"]
        elif dice < 0.13:
            leaf["act"], leaf["who"] = "export", {**leaf["who"], "sub": f"system-{number % 12:02}"}
        return leaf

    def _planted(self, day: int) -> Iterator[tuple[str, dict[str, Any]]]:
        left = DAYS - 1 - day
        if left == 0:
            yield from (("u-snoop", {"pat": self.subjects[number]}) for number in range(1, 181))
            yield "u-cousin", {"pat": self.subjects[7], "flg": ["same_surname"]}
            yield "u-cousin", {"pat": self.subjects[7], "flg": ["break_glass"], "req": "the-request"}
        elif left < 60:
            yield from (("u-snoop", {"pat": self.subjects[number + left]}) for number in range(4 + left % 3))
        if left == 3:
            denied = {"out": "denied", "why": "FORBIDDEN"}
            yield from (("u-thief", {"pat": self.subjects[number], **denied}) for number in range(40))

    def _id(self, moment: int) -> str:
        """A UUIDv7."""
        chance = self.dice.getrandbits(74)
        digits = f"{moment // 1000:012x}7{chance & 0xFFF:03x}{8 | chance >> 12 & 3:x}{chance >> 14:015x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _leaf(self, moment: int, who: str, day: int = 0) -> dict[str, Any]:
        """A read as the service records it, but for the policy's digest."""
        return {
            "v": 1, "id": self._id(moment), "t": rfc3339(moment),
            "act": "read", "out": "ok", "op": "PatientProfile", "req": f"r-{self.dice.getrandbits(64):x}",
            "who": {"iss": "https://idp.example", "sub": who, "roles": ["clinician"], "org": ORG, "client": "desk",
                    "jti": f"t-{who}-{day}"},
            "pou": ["TREAT"], "fld": ["contactPoints", "displayName", "languages"], "obj": [{"t": "Patient", "ver": 3}],
            "pol": {"v": "sha256:" + "0" * 64, "d": ["clinician/TREAT"]},
        }  # fmt: skip


class _Tree:
    """The tree over leaves as they come, and its full tiles."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.tiles: list[tuple[str, int, int, bytes, bytes]] = []
        self._edge: list[list[bytes]] = [[]]
        self._numbers = [0]

    def append(self, entry: bytes) -> None:
        """One more leaf's hash."""
        self.frontier.append(entry)
        level = 0
        while True:
            if level == len(self._edge):
                self._edge.append([])
                self._numbers.append(0)
            edge = self._edge[level]
            edge.append(entry)
            if len(edge) < WIDTH:
                return
            entry = perfect(edge)
            self.tiles.append((ORG, level, self._numbers[level], b"".join(edge), entry))
            self._edge[level] = []
            self._numbers[level] += 1
            level += 1


async def fill(url: str, *, events: int, patients: int, staff: int, end: int) -> Needles:
    """Writes a log of six years that ends at `end` (microseconds since 1970), for the organisation `ORG`."""
    years, tree = _Years(events, patients, staff, end), _Tree()
    viewers: set[str] = set()
    recipients: set[str] = set()
    views = count = 0

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal views, count
        for seq, content in enumerate(years.leaves()):
            content["src"] = {"node": "made/1", "n": seq + 1}
            leaf = orjson.dumps(
                {name: value for name, value in content.items() if value != []}, option=orjson.OPT_SORT_KEYS
            )
            hashed = leaf_hash(leaf)
            tree.append(hashed)
            count += 1
            if content.get("pat") == years.subjects[0]:
                views += 1
                viewers.add(content["who"]["sub"])
                if content["act"] == "export":
                    recipients.add(content["who"]["sub"])
            yield (ORG, seq, content["id"], *index_of(content), leaf, hashed)

    writing = _postgresql(url) if url.startswith("postgres") else _sqlite(url)
    async with writing as writer:
        await writer.rows("audit_event", [column.name for column in audit_event.c], rows())
        await writer.rows("audit_tile", [column.name for column in audit_tile.c], iter(tree.tiles))
        size, frontier = tree.frontier.size, tree.frontier
        log = signer(ORG, 1)
        note = log.sign(Checkpoint(log.name, size, frontier.root()).text())
        await writer.rows("organisation", ["org", "created_at"], iter([(ORG, end)]))
        head = (ORG, size, frontier.octets(), note, end, 1, 0)
        columns = ["org", "size", "frontier", "checkpoint", "db_time", "epoch", "pruned"]
        await writer.rows("audit_head", columns, iter([head]))
        ids = [f"p-{number:06}" for number in range(patients)]
        known = zip(ids, years.subjects, strict=True)
        columns = [
            "org",
            "id",
            "version",
            "status",
            "restricted",
            "classes",
            "audit_subject",
            "created_at",
            "updated_at",
        ]
        await writer.rows(
            "patient", columns, ((ORG, name, 1, "active", 0, "[]", subject, end, end) for name, subject in known)
        )
    return Needles(
        count, ids, ids[0], len(viewers), views, len(recipients), "u-snoop", "u-thief", "t-u-thief-0", "the-request",
        "u-cousin", rfc3339(end - 30 * DAY), rfc3339(end - 7 * DAY), rfc3339(end),
    )  # fmt: skip


class _Writer:
    """Puts rows into one engine's database."""

    async def rows(self, table: str, columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
        """All of them."""
        raise NotImplementedError


@asynccontextmanager
async def _postgresql(url: str) -> AsyncIterator[_Writer]:
    connection = await asyncpg.connect(url)
    found = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'audit_event' AND indexname LIKE 'ix_%'"
    )

    class Writer(_Writer):
        async def rows(self, table: str, columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
            await connection.copy_records_to_table(table, records=rows, columns=list(columns))

    try:
        for row in found:
            await connection.execute(f'DROP INDEX "{row["indexname"]}"')
        yield Writer()
        for row in found:
            await connection.execute(row["indexdef"])
        await connection.execute("VACUUM ANALYZE")  # as autovacuum does behind a log that grows
    finally:
        await connection.close()


@asynccontextmanager
async def _sqlite(url: str) -> AsyncIterator[_Writer]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'audit_event' "
        "AND (name LIKE 'ix_%' OR name = 'audit_event_no_replace')"
    ).fetchall()
    triggers = [(name, sql) for name, sql in found if not name.startswith("ix_")]
    indexes = [(name, sql) for name, sql in found if name.startswith("ix_")]

    class Writer(_Writer):
        async def rows(self, table: str, columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    try:
        connection.execute("BEGIN")
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield Writer()
        for _, sql in (*indexes, *triggers):
            connection.execute(sql)
        connection.execute("COMMIT")
    finally:
        connection.close()


_SUM = "complete rows { actor patientId outcome flag day hour events refused patients firstAt lastAt }"
_EVENTS = """edges { node { id seq recordedAt action outcome actor { subject roles tokenId } patientId purposeOfUse
  fieldsReturned flags requestId } cursor } pageInfo { hasNextPage }"""


def questions(known: Needles) -> dict[str, str]:
    """The twelve questions as GraphQL, and the proofs, by what they ask."""
    month, week, upto = (
        f'{name}: "{at}"' for name, at in (("from", known.month), ("from", known.week), ("to", known.end))
    )

    def summary(group: str, chosen: str) -> str:
        return f"{{ accessSummary(filter: {{ {chosen} }}, groupBy: [{group}]) {{ {_SUM} }} }}"

    def page(chosen: str) -> str:
        return f"{{ accessEvents(filter: {{ {chosen} }}, first: 100) {{ {_EVENTS} }} }}"

    return {
        "who saw a patient": page(f'patientId: "{known.patients[50]}"'),
        "who saw the hottest patient": page(f'patientId: "{known.hot}"'),
        "all viewers of the hottest patient": summary("ACTOR", f'patientId: "{known.hot}"'),
        "what somebody saw in 30 days": summary("PATIENT", f'actor: "{known.snoop}", {month}'),
        "what somebody did, event by event": page(f'actor: "{known.snoop}", {month}'),
        "under break-glass": page("flags: [BREAK_GLASS]"),
        "after hours by person, 30 days": summary("ACTOR", f"flags: [AFTER_HOURS], {month}, {upto}"),
        "own record, surname, address, 30 days": page(f"flags: [SELF_ACCESS SAME_SURNAME SAME_ADDRESS], {month}"),
        "VIPs": page(f"flags: [VIP], {month}"),
        "far more patients than before": f"{{ accessAnomalies({week}, {upto}) {{ complete rows {{ day actor patients "
        "usualPatients deviation threshold } } }",
        "refusals by person, 7 days": summary("ACTOR", f"outcome: DENIED, {week}"),
        "disclosures of a patient, 6 years": f'{{ accountingOfDisclosures(patientId: "{known.hot}") {{ complete '
        "disclosures { recipient { subject } purposeOfUse fields firstAt lastAt count } } }",
        "one request": page(f'requestId: "{known.request}"'),
        "one session": page(f'actor: "{known.thief}", tokenId: "{known.session}"'),
        "is the log whole": "{ auditCompleteness { size contiguous checkedFrom firstMissing waiting } }",
        "accesses by day, 31 days": summary("DAY", upto),
        "circumstances, 31 days": summary("FLAG", upto),
        "proof of an event": f"{{ auditInclusionProof(seq: {known.events // 3}) {{ leafHash hashes tlogProof }} }}",
        "proof of growth": f"{{ auditConsistencyProof(fromSize: {known.events // 3}) {{ hashes }} }}",
    }


@dataclass
class Watched:
    """A database that notes what is asked of it, and how long the answers took."""

    real: Database
    asked: list[tuple[Statement, dict[str, Any]]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def dialect(self) -> Dialect:
        """Of the real one."""
        return self.real.dialect

    async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[Any]:
        """What the real one answers."""
        self.asked.append((statement, {"org": org, **params}))
        begun = perf_counter()
        try:
            return await self.real.fetch(org, statement, **params)
        finally:
            self.seconds += perf_counter() - begun

    def transaction(self, org: str, /) -> AbstractAsyncContextManager[Connection]:
        """Not watched: what is asked in one is counting, not asking."""
        return self.real.transaction(org)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


async def plan(url: str, statement: Statement, params: Mapping[str, Any]) -> str:
    """How the engine would answer a statement, in its own words; nothing of its times."""
    if url.startswith("postgres"):
        connection = await asyncpg.connect(url)
        try:
            form = statement.postgresql()
            found = await connection.fetch(f"EXPLAIN (COSTS OFF) {form.sql}", *form.arguments(params))
            return "\n".join(row[0] for row in found)
        finally:
            await connection.close()
    prompt = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        lite = statement.sqlite()
        return "\n".join(row[3] for row in prompt.execute(f"EXPLAIN QUERY PLAN {lite.sql}", lite.arguments(params)))
    finally:
        prompt.close()


def scanned(found: str) -> bool:
    """Whether a plan reads a table of the log from one end to the other, or all that an organisation has in it."""
    return any(
        line.lstrip(" ->").startswith((
            "Seq Scan on audit_event", "Seq Scan on audit_actor_day", "Parallel Seq Scan", "SCAN audit_event",
            "SCAN audit_actor_day",
        ))
        or (line.endswith("(org=?)") and ("SEARCH audit_event" in line or "SEARCH audit_actor_day" in line))
        for line in found.split("\n")
    )  # fmt: skip
