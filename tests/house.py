"""A whole service for tests: real database, real keys, the real log, and actors of every role. Nothing is patched."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, select

from auth.actor import Actor
from auth.policy import Action
from auth.purposes import Purpose
from auth.roles import Role
from crm.audit.event import Act
from crm.audit.writer import LogWriter, Sink
from crm.catalogue import BY_NAME
from crm.crypto.keyset import KeySet
from crm.delivery.bell import Bell
from crm.delivery.changes import Changes as FollowedChanges
from crm.delivery.sequencer import Sequencer
from crm.domain.circumstances import Watch
from crm.domain.decision.rules import ContactRules
from crm.domain.precedence import SourceRules
from crm.domain.values import parse
from crm.services import Services, services
from crm.services.access_log import AccessLog
from crm.services.changes import canonical
from crm.services.request import Request
from crm.services.senders import Sender
from crm.store.database import Database, connect
from crm.store.log import LogSink
from crm.store.log_reading import EventFilter
from crm.store.log_reading import events as logged
from crm.store.statements import prepare
from crm.store.tables import change, outbox
from crm.store.unit import Renew, Store
from tests.keys import key_set
from tests.logs import signer, verifier_key

ORG = "north-clinic"
OTHER_ORG = "south-clinic"

PURPOSES = {
    Role.FRONT_DESK: Purpose.PATADMIN,
    Role.CLINICIAN: Purpose.TREAT,
    Role.CARE_COORDINATOR: Purpose.CAREMGT,
    Role.MESSAGING: Purpose.COC,
    Role.PATIENT: Purpose.PATRQT,
    Role.PROXY: Purpose.FAMRQT,
    Role.COMPLIANCE_OFFICER: Purpose.HCOMPL,
    Role.PRIVACY_OFFICER: Purpose.RECORDMGT,
    Role.INTEGRATION: Purpose.RECORDMGT,
    Role.OPERATOR: Purpose.HSYSADMIN,
}

_FEED = prepare(
    select(change.c.id, change.c.patient_id, change.c.version, change.c.changed)
    .where(change.c.org == bindparam("org"))
    .order_by(change.c.seq)
)
_OUTBOX = prepare(
    select(outbox.c.id, outbox.c.patient_id, outbox.c.version, outbox.c.changed)
    .where(outbox.c.org == bindparam("org"))
    .order_by(outbox.c.id)
)

REQUEST = Request("test-request", "Test")

SAM: dict[str, Any] = {
    "preferred_name": "Sam",
    "names": [{"use": "OFFICIAL", "family": "Okafor", "given": ["Samantha"]}],
    "birth_date": "1984-07-03",
    "pronouns": "they/them",
    "religion": "Quaker",
    "languages": [
        {"tag": "so", "modes": ["SPOKEN"], "rank": 1},
        {"tag": "en", "modes": ["WRITTEN"], "rank": 1},
    ],
    "interpreter_needed": "YES",
    "contact_points": [{"system": "PHONE", "value": "+447700900123", "use": "MOBILE", "rank": 1}],
    "identifiers": [{"system": "urn:example:hospital-number", "value": "H-1001"}],
    "cultural_needs": [{"kind": "MODESTY", "handling": "Offer a chaperone.", "detail": "After a death in the family."}],
}


def actor(
    role: Role, *, org: str = ORG, purpose: Purpose | None = None, patient_id: str | None = None, subject: str = "u-1"
) -> Actor:
    """An actor of one role, for the role's ordinary purpose unless another is given."""
    return Actor(
        subject=subject,
        issuer="https://issuer.test",
        org=org,
        roles=frozenset({role}),
        purpose=purpose or PURPOSES[role],
        client_id="test-client",
        token_id="t-1",
        patient_id=patient_id,
        expires_at=2**40,
    )


def now() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True)
class House:
    """The parts of a running service, and short ways to what tests ask most."""

    database: Database
    services: Services
    log: LogWriter

    async def register(self, values: dict[str, Any] | None = None, *, org: str = ORG) -> dict[str, Any]:
        """A stored patient (Sam unless others are given), registered by a role that may write every field."""
        clerk = actor(Role.INTEGRATION, org=org)
        return await self.services.changes.register(clerk, REQUEST, values or SAM, frozenset({"displayName"}))

    async def store(
        self,
        values: dict[str, Any],
        *,
        org: str = ORG,
        lenient: dict[str, Any] | None = None,
        raw: dict[str, Any] | None = None,
    ) -> str:
        """The id of a patient stored below the services: also what no mutation can set, such as `restricted`.

        Values in `lenient` are held to the rules of imports only, those in `raw` to none.
        """
        known = canonical({name: value for name, value in values.items() if name != "restricted"}, region="GB")
        for name, value in (lenient or {}).items():
            known[name] = parse(BY_NAME[name].kind, value, name, region="GB", lenient=True)
        context = REQUEST.context(actor(Role.INTEGRATION, org=org))
        async with self.services.store.writing(context, Act.CREATE) as unit:
            known |= {"restricted": values.get("restricted", False), **(raw or {})}
            return unit.create(known, "test").id

    async def events(self, org: str = ORG, **question: Any) -> list[dict[str, Any]]:
        """The organisation's access events, newest first, without the event of this look."""
        officer = actor(Role.COMPLIANCE_OFFICER, org=org, subject="officer")
        page = await self.services.access_log.events(officer, REQUEST, question, 1000, None)
        return [event for event in page.nodes if event["actor"]["subject"] != "officer"]

    async def outbox(self, *, org: str = ORG) -> list[dict[str, Any]]:
        """What is told to others or waits for that, oldest first."""
        rows = [*await self.database.fetch(org, _FEED), *await self.database.fetch(org, _OUTBOX)]
        return [dict(zip(("id", "patient_id", "version", "changed"), row, strict=True)) for row in rows]

    async def leaves(self, *, org: str = ORG, **chosen: Any) -> list[dict[str, Any]]:
        """What stands in an organisation's log, oldest first; `chosen` as in `EventFilter`. Looking leaves no trace."""
        found = await logged(self.database, org, EventFilter(**chosen), 5000)
        return [entry.content for entry in reversed(found)]


def _as_it_is(part: Any) -> Any:
    return part


async def _nothing_new() -> None:
    """For keys that never change."""


def log_sink(database: Database) -> LogSink:
    """The log as it is."""
    return LogSink(database, signer)


@asynccontextmanager
async def house(
    url: str,
    folder: Path,
    *,
    database: Callable[[Database], Database] = _as_it_is,
    keys: Callable[[KeySet], KeySet] = _as_it_is,
    renew: Renew = _nothing_new,
    sink: Callable[[Database], Sink] = log_sink,
    deadline: float = 2.0,
    queue: int = 16_384,
    watch: Watch = Watch(),  # noqa: B008 - frozen
    sender: Sender | None = None,
    contact: ContactRules | None = None,
    documents_refresh: float = 10.0,
    sources: SourceRules = SourceRules(),  # noqa: B008 - frozen
    live: bool = False,
) -> AsyncIterator[House]:
    """A service on the migrated database at `url`, with keys of its own in `folder`.

    `database`, `keys` and `sink` may put something of their own in front of the real parts, such as a counter; the log
    writes past what stands in front of the database. `renew` looks for new keys. `deadline` (in seconds) and `queue`
    (in events) are the log's. `watch` says what is remarkable of staff; by default no hour is. `sender` brings one-time
    codes to people. `contact` are the rules of contact decisions, by default the safe ones.
    Trusted documents are remembered for `documents_refresh` seconds. `sources` is whose word stands.
    With `live` changes are told as they happen; else subscribers hear of them when somebody reads the feed.
    """
    real = connect(url, durable=False)
    await real.open()
    log = LogWriter(sink(real), node="test", clock=now, deadline=deadline, queue=queue)
    await log.start()
    try:
        bell = Bell(real, url)
        sequencer = Sequencer(real, bell)
        if live:
            bell.start()
            sequencer.start()
        store = Store(database(real), keys(key_set(folder)), log, now, renew, watch, sources, sequencer.kick)
        # Tests ask faster than honest callers do, and look for the event of each attempt.
        opened = replace(
            services(
                store,
                region="GB",
                verifier_key=verifier_key,
                sender=sender,
                contact=contact,
                documents_refresh=documents_refresh,
                changes=FollowedChanges(real, bell),
            ),
            access_log=AccessLog(store, each_second=1_000_000),
        )
        yield House(real, opened, log)
        await opened.access_log.close()
        await sequencer.stop()
        await bell.stop()
    finally:
        await log.stop()
        await real.close()


__all__ = ["ORG", "OTHER_ORG", "REQUEST", "SAM", "Action", "House", "actor", "house", "now"]
