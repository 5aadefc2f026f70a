"""A whole service for tests: real database, real keys, the real log, and actors of every role. Nothing is patched."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auth.actor import Actor
from auth.policy import Action
from auth.purposes import Purpose
from auth.roles import Role
from crm.audit.writer import LogWriter
from crm.services import Services, services
from crm.services.request import Request
from crm.store.database import Database, connect
from crm.store.log import LogSink
from crm.store.unit import Store
from tests.keys import key_set

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
        """A stored patient (Sam unless others are given), as registered by the integration role, which may write every field."""
        clerk = actor(Role.INTEGRATION, org=org)
        return await self.services.changes.register(clerk, REQUEST, values or SAM, frozenset({"displayName"}))

    async def events(self, org: str = ORG, **question: Any) -> list[dict[str, Any]]:
        """The organisation's access events, newest first, without the event of this look."""
        officer = actor(Role.COMPLIANCE_OFFICER, org=org, subject="officer")
        page = await self.services.access_log.events(officer, REQUEST, question, 1000, None)
        return [event for event in page.nodes if event["actor"]["subject"] != "officer"]


@asynccontextmanager
async def house(url: str, folder: Path) -> AsyncIterator[House]:
    """A service on the migrated database at `url`, with keys of its own in `folder`."""
    database = connect(url, durable=False)
    await database.open()
    log = LogWriter(LogSink(database), node="test", clock=now)
    await log.start()
    try:
        store = Store(database, key_set(folder), log, now)
        yield House(database, services(store, region="GB"), log)
    finally:
        await log.stop()
        await database.close()


__all__ = ["ORG", "OTHER_ORG", "REQUEST", "SAM", "Action", "House", "actor", "house", "now"]
