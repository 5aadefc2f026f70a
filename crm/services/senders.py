"""What brings a short text to a person: the shape that `crm.delivery` fills. Sends nothing itself."""

from dataclasses import dataclass, field
from typing import Protocol

from crm.domain.codes import Channel
from crm.errors import CrmError

__all__ = ["Bounced", "Message", "NoSender", "Sender"]


class Bounced(CrmError):
    """Whoever keeps the mailbox or number says, for good, that nothing can be brought there."""


@dataclass(frozen=True, slots=True)
class Message:
    """One text for one contact point. Neither the address nor the text is ever shown in a repr."""

    channel: Channel
    contact_point_id: str
    address: str = field(repr=False)
    subject: str
    text: str = field(repr=False)


class Sender(Protocol):
    """Brings messages on its `channels`."""

    @property
    def channels(self) -> frozenset[Channel]: ...

    async def send(self, message: Message) -> None:
        """Returns once somebody took the message over. Raises `Bounced`, and `SenderUnavailable` to try again later."""
        ...


class NoSender:
    """For an organisation that sends no codes."""

    channels: frozenset[Channel] = frozenset()

    async def send(self, message: Message) -> None:
        """Is never asked: it has no channel."""
        raise RuntimeError("there is no sender")
