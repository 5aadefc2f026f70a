"""A town for the acceptance scenarios of contact: a service whose clock a test sets, and senders that it knows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from auth.roles import Role
from crm.audit.event import Act
from crm.domain.codes import Channel
from crm.domain.decision.fingerprint import named
from crm.domain.decision.rules import ContactRules, Sender
from crm.domain.times import micros
from crm.services.changes import canonical
from tests.client import Client, client
from tests.counting import CountingDatabase
from tests.deciding import ONE
from tests.house import REQUEST, actor, now
from tests.postbox import Postbox

__all__ = ["NOBODY", "NOON", "PREFER", "REMINDER", "RULES", "Town", "code_of", "town_at"]

NOON = "2026-11-23T12:00:00Z"
NOBODY = "0199c0de-0000-7000-8000-{:012}"
REMINDER = "APPOINTMENT_REMINDER"
PREFER = "mutation P($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { version } }"
RULES = named(
    ContactRules(
        "",
        senders=MappingProxyType({
            sender.id: sender
            for sender in (
                Sender("plain", (Channel.SMS, Channel.EMAIL), ("en",), frozenset()),
                Sender("easy", (Channel.SMS, Channel.EMAIL), ("en",), frozenset({"EASY_READ"})),
            )
        }),
        zones=("Europe/London", "America/New_York"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Town:
    """A service whose clock a test sets, what its database was asked, and what left it."""

    it: Client
    counted: CountingDatabase
    box: Postbox

    def at(self, time: str) -> None:
        """What the service takes for now."""
        self.it.house.services.store.clock = lambda: micros(time)

    def in_time(self) -> None:
        """From here on the service has the time of everybody else."""
        self.it.house.services.store.clock = now

    async def decided(
        self, patient_id: str, purpose: str = REMINDER, role: Role = Role.MESSAGING, **more: Any
    ) -> dict[str, Any]:
        """What a sender is told of one patient."""
        variables = {"id": patient_id, "purpose": purpose, **more}
        found: dict[str, Any] = (await self.it.data(ONE, role, variables=variables))["contactDecision"]
        return found

    async def store(self, people: list[dict[str, Any]]) -> list[str]:
        """The ids of many people, stored at once."""
        store, ids = self.it.house.services.store, []
        async with store.writing(REQUEST.context(actor(Role.INTEGRATION)), Act.CREATE) as unit:
            for person in people:
                known = canonical({name: value for name, value in person.items() if name != "restricted"}, region="GB")
                ids.append(unit.create(known | {"restricted": person.get("restricted", False)}, "test").id)
        return ids

    async def change(self, query: str, role: Role, patient_id: str, version: int, **more: Any) -> Any:
        """The raw answer to a change; patients and proxies are bound to the patient."""
        variables = {"input": {"patientId": patient_id, "expectedVersion": version, **more}}
        bound = patient_id if role in {Role.PATIENT, Role.PROXY} else None
        return (await self.it.ask(query, role, variables=variables, patient=bound)).json()


@asynccontextmanager
async def town_at(url: str, folder: Path) -> AsyncIterator[Town]:
    """A town whose records are in the migrated database at `url`."""
    counted, box = CountingDatabase(), Postbox()
    async with client(url, folder, database=counted.around, contact=RULES, sender=box) as it:
        yield Town(it, counted, box)


def code_of(answer: Any) -> str:
    """The code of the one refusal."""
    [error] = answer["errors"]
    return str(error["extensions"]["code"])
