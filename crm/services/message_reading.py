"""What a brought message is, before any row is read: its members checked, its sender found, its answer known.

The answer follows from the message alone, so that it is the same for numbers of patients and of nobody.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from auth.actor import Actor
from crm.crypto.keyset import KeySet
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.consent_history import honour_by
from crm.domain.contact_points import dialled
from crm.domain.decision.rules import ContactRules, Sender
from crm.domain.gateways import ISSUER
from crm.domain.keywords import Meaning, Reading, read
from crm.domain.replies import CHANNELS, Incoming
from crm.domain.reply_terms import endpoint
from crm.domain.shape import parse
from crm.domain.texts import ShortText
from crm.domain.times import Instant, instant, micros
from crm.errors import Invalid
from crm.store.messages import Answered

__all__ = ["CONFIRMED_WITHIN", "Brought", "Confirmation", "Reply", "brought", "same"]

CONFIRMED_WITHIN: Final = 5 * 60 * 1_000_000
"""Within what the one text that confirms a revocation is sent, in microseconds (47 CFR 64.1200(a)(12))."""

_DRIFT: Final = 5 * 60 * 1_000_000
_CONTENT: Final = "inbound message"


class Confirmation(StrEnum):
    """What the one text that may be sent back is about."""

    STOPPED = "STOPPED"
    OPT_IN_REQUESTED = "OPT_IN_REQUESTED"
    HELP = "HELP"
    CLARIFY = "CLARIFY"


_CONFIRMATIONS: Final = {
    Meaning.STOP: Confirmation.STOPPED,
    Meaning.START: Confirmation.OPT_IN_REQUESTED,
    Meaning.HELP: Confirmation.HELP,
    Meaning.UNCLEAR: Confirmation.CLARIFY,
}
_HONOURED: Final = frozenset({Meaning.STOP, Meaning.UNCLEAR})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a message came to: by when a revocation is honoured everywhere, and the one text that may be sent back.

    Times are RFC 3339, UTC. `confirmation` is None where nothing is to be sent.
    """

    kind: str
    honour_by: str | None
    confirmation: Mapping[str, Any] | None

    def stored(self) -> str:
        """The answer as JSON: codes and times alone."""
        content = {"kind": self.kind, "honour_by": self.honour_by, "confirmation": self.confirmation}
        return orjson.dumps(content).decode()

    @classmethod
    def restored(cls, stored: str) -> "Reply":
        """The answer that was given before."""
        return cls(**orjson.loads(stored))


@dataclass(frozen=True, slots=True)
class Brought:
    """A message that may be taken in: what it is taken for, its answer, and both as they are stored."""

    incoming: Incoming
    meaning: Meaning
    reply: Reply
    said: Answered


def brought(
    actor: Actor, message: Mapping[str, Any], rules: ContactRules, keys: KeySet, region: str | None, now: int
) -> Brought:
    """What `message` is: it has `message_id`, `from`, `channel` and `text`, and may have more.

    That is `gateway`, `to`, `received_at`, `sender` and `in_reply_to`, the purpose of what it answers. Raises `Invalid`
    below `input`: what is malformed, `future`, `unknown_sender`; and `KeyUnavailable`.
    """
    channel = Channel(message["channel"])
    if channel not in CHANNELS:
        raise Invalid("input.channel", "no_replies")
    term = _origin(channel, message["from"], region)
    sender = _sender(actor, message, rules, region)
    purpose = message.get("in_reply_to") or (sender.programme if sender else None)
    incoming = Incoming(
        gateway=_gateway(actor, message.get("gateway")),
        message_id=parse(ShortText, message["message_id"], "input.messageId"),
        channel=channel,
        received_at=_received(message.get("received_at"), now),
        term=term,
        value=term.decode(),
        text=message["text"],
        sender=sender.id if sender else None,
        purpose=CommunicationPurpose(purpose) if purpose else None,
    )
    reading = read(incoming.text)
    reply = _reply(reading, incoming, sender)
    digest = keys.lasting_digest(actor.org, _CONTENT, _content(message))
    return Brought(incoming, reading.meaning, reply, Answered(digest, reply.stored()))


def same(brought: Brought, known: Answered) -> bool:
    """Whether what was taken in under this id before said the same."""
    return hmac.compare_digest(brought.said.digest, known.digest)


def _origin(channel: Channel, value: str, region: str | None) -> bytes:
    """The term of where a message came from. A number must be whole: half of one would be answered, and stop nobody."""
    if channel is not Channel.EMAIL:
        number = dialled(value, region)
        if number is None:
            raise Invalid("input.from", "e164")
        return number.encode()
    term = endpoint(channel, value)
    if term is None:
        raise Invalid("input.from", "email")
    return term


def _gateway(actor: Actor, stated: str | None) -> str:
    """Within what the ids of messages count: a gateway that signed, else what an application states as its own.

    No application so takes the ids of a gateway, or of another application; names of gateways have no `/`.
    """
    if actor.issuer == ISSUER:
        return actor.subject
    name: str = parse(ShortText, stated or "api", "input.gateway")
    if "/" in name:
        raise Invalid("input.gateway", "id")
    whole: str = parse(ShortText, f"{actor.client_id or actor.subject}/{name}", "input.gateway")
    return whole


def _sender(actor: Actor, message: Mapping[str, Any], rules: ContactRules, region: str | None) -> Sender | None:
    """The registered sender that is answered: the one named, the one that `to` belongs to, or the caller's own."""
    ours = {name: sender for name, sender in rules.senders.items() if sender.org in (None, actor.org)}
    if name := message.get("sender"):
        if name not in ours:
            raise Invalid("input.sender", "unknown_sender")
        return ours[name]
    if to := message.get("to"):
        reached = endpoint(message["channel"], to, region)
        for _, sender in sorted(ours.items()):
            if reached and reached in {endpoint(message["channel"], number, region) for number in sender.numbers}:
                return sender
    return next((sender for _, sender in sorted(ours.items()) if actor.client_id in sender.clients), None)


def _received(stated: str | None, now: int) -> int:
    """When the message came in; a clock that is a little ahead of ours is taken for ours."""
    if stated is None:
        return now
    at = micros(parse(Instant, stated, "input.receivedAt"))
    if at > now + _DRIFT:
        raise Invalid("input.receivedAt", "future")
    return min(at, now)


def _reply(reading: Reading, incoming: Incoming, sender: Sender | None) -> Reply:
    due = instant(honour_by(incoming.received_at)) if reading.meaning in _HONOURED else None
    kind = _CONFIRMATIONS.get(reading.meaning)
    if kind is None:
        return Reply(reading.meaning.value, due, None)
    until = instant(incoming.received_at + CONFIRMED_WITHIN)
    confirmation = {"kind": kind.value, "until": until, "language": _language(reading.language, sender)}
    return Reply(reading.meaning.value, due, confirmation)


def _language(wanted: str | None, sender: Sender | None) -> str | None:
    """The language of the keyword, as the sender has it; None if the word tells none, or the sender cannot write it."""
    able = sender.languages if sender else ()
    if not able:
        return wanted
    return next((tag for tag in able if tag.split("-")[0].lower() == wanted), None)


def _content(message: Mapping[str, Any]) -> bytes:
    """All that a message says, in one form; hashed at once, so that no text of any length is kept."""
    members = sorted((name, str(value)) for name, value in message.items() if value is not None)
    hashed = hashlib.sha256()
    for part in (part for member in members for part in member):
        octets = part.encode("utf-8", "surrogatepass")
        hashed.update(len(octets).to_bytes(8, "big") + octets)
    return hashed.digest()
