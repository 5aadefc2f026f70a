"""Who is asking on behalf of which registered sender. Decides nothing about patients."""

from auth.actor import Actor
from auth.roles import Role
from crm.domain.decision.rules import DEFAULT_SENDER, ContactRules, Sender
from crm.errors import Invalid

__all__ = ["sender_of"]


def sender_of(actor: Actor, rules: ContactRules, name: str | None) -> Sender:
    """The sender called `name`; without a name the one registered for the caller's application, else the default.

    Raises `Invalid`, and in the same words for one that is not registered, one of another organisation, and one as
    which the program that asks may not speak: a program speaks for itself alone, while staff may ask what any sender
    of theirs would be told.
    """
    own = _own(actor, rules)
    if name is None and own is not None:
        return own
    name = DEFAULT_SENDER.id if name is None else name
    sender = rules.senders.get(name, DEFAULT_SENDER if name == DEFAULT_SENDER.id else None)
    if sender is None or sender.org not in (None, actor.org) or not _may_speak(actor, sender, registered=bool(own)):
        raise Invalid("sender", "unknown_sender")
    return sender


def _may_speak(actor: Actor, sender: Sender, *, registered: bool) -> bool:
    """Whether a caller may ask as a sender: any staff, and a program as those that list it, or if none does, list none.

    A directive may name a sender. A registered program that could ask as `default` would never meet those about it.
    """
    if Role.MESSAGING not in actor.roles or actor.client_id in sender.clients:
        return True
    return not registered and not sender.clients


def _own(actor: Actor, rules: ContactRules) -> Sender | None:
    """A sender of the organisation itself comes before one of all organisations."""
    found = [
        sender
        for sender in rules.senders.values()
        if actor.client_id in sender.clients and sender.org in (None, actor.org)
    ]
    return min(found, key=lambda sender: (sender.org is None, sender.id), default=None)
