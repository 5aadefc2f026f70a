"""Who is asking on behalf of which registered sender. Decides nothing about patients."""

from auth.actor import Actor
from auth.roles import Role
from crm.domain.decision.rules import DEFAULT_SENDER, ContactRules, Sender
from crm.errors import Invalid

__all__ = ["sender_of"]


def sender_of(actor: Actor, rules: ContactRules, name: str | None) -> Sender:
    """The sender called `name`; without a name the one registered for the caller's application, else the default.

    Raises `Invalid`, and in the same words for one that is not registered, one of another organisation, and one that
    is registered for other applications than the program that asks: a program speaks for itself alone, while staff may
    ask what any sender of theirs would be told.
    """
    if name is None:
        return _own(actor, rules) or rules.senders.get(DEFAULT_SENDER.id, DEFAULT_SENDER)
    sender = DEFAULT_SENDER if name == DEFAULT_SENDER.id else None
    sender = rules.senders.get(name, sender)
    if sender is None or sender.org not in (None, actor.org) or not _may_speak(actor, sender):
        raise Invalid("sender", "unknown_sender")
    return sender


def _may_speak(actor: Actor, sender: Sender) -> bool:
    return Role.MESSAGING not in actor.roles or not sender.clients or actor.client_id in sender.clients


def _own(actor: Actor, rules: ContactRules) -> Sender | None:
    """A sender of the organisation itself comes before one of all organisations."""
    found = [
        sender
        for sender in rules.senders.values()
        if actor.client_id in sender.clients and sender.org in (None, actor.org)
    ]
    return min(found, key=lambda sender: (sender.org is None, sender.id), default=None)
