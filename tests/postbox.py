"""A sender that keeps what it is given, where nothing has to leave; and one-time codes read out of it."""

import asyncio
import re
from dataclasses import dataclass, field

from auth.roles import Role
from crm.audit.event import Act
from crm.domain.codes import Channel
from crm.errors import CrmError
from crm.services.senders import Message
from tests.house import ORG, REQUEST, House, actor

__all__ = ["Postbox", "planted"]


async def planted(house: House, patient_id: str, code: str, *, org: str = ORG) -> None:
    """As if `code` had been sent to the first contact point of the patient; it leaves an event."""
    context = REQUEST.context(actor(Role.INTEGRATION, org=org))
    async with house.services.store.writing(context, Act.UPDATE) as unit:
        record = (await unit.load_for_change([patient_id]))[patient_id]
        await unit.add_code(record, unit.current(record, ["contact_points"])["contact_points"][0], code)


@dataclass
class Postbox:
    """Takes messages over, the newest last; while there is a `failure`, it raises that instead.

    While it is `hanging` it takes nothing and never answers; the event says that it has begun to.
    """

    sent: list[Message] = field(default_factory=list)
    failure: CrmError | None = None
    hanging: asyncio.Event | None = None
    channels: frozenset[Channel] = frozenset({Channel.EMAIL, Channel.SMS})

    async def send(self, message: Message) -> None:
        """As a real one: the message is gone, or an error of its kind is raised."""
        if self.hanging:
            self.hanging.set()
            await asyncio.Event().wait()
        if self.failure:
            raise self.failure
        self.sent.append(message)

    def code(self) -> str:
        """The code of the newest message."""
        [code] = re.findall(r"\b\d{6}\b", self.sent[-1].text)
        return str(code)

    @staticmethod
    def other(code: str) -> str:
        """A code that is surely another."""
        return f"{(int(code) + 1) % 1_000_000:06}"
