"""As which sender a caller may ask: programs as those that list them, staff as any of their organisation."""

import dataclasses

import pytest

from auth.roles import Role
from crm.domain.codes import Channel
from crm.domain.decision.rules import DEFAULT_SENDER, ContactRules, Sender
from crm.errors import Invalid
from crm.services.contact_senders import sender_of
from tests.house import ORG, OTHER_ORG, actor

SENDERS = (
    Sender("clinic", (Channel.SMS,), clients=frozenset({"texts"})),
    Sender("lab", (Channel.SMS,), clients=frozenset({"texts", "results"})),
    Sender("open", (Channel.EMAIL,)),
    Sender("southern", (Channel.EMAIL,), clients=frozenset({"mails"}), org=OTHER_ORG),
)
RULES = ContactRules("test", senders={sender.id: sender for sender in SENDERS})


def told(client: str | None, name: str | None, role: Role = Role.MESSAGING, rules: ContactRules = RULES) -> str:
    """The sender that a caller of our organisation is taken for; `refused` where there is none."""
    who = dataclasses.replace(actor(role, org=ORG), client_id=client)
    try:
        return sender_of(who, rules, name).id
    except Invalid as error:
        assert (error.field, error.rule) == ("sender", "unknown_sender")
        return "refused"


@pytest.mark.parametrize(
    ("client", "name", "sender"),
    [
        ("texts", None, "clinic"),
        ("texts", "lab", "lab"),
        ("texts", "default", "refused"),
        ("texts", "open", "refused"),
        ("results", None, "lab"),
        ("results", "clinic", "refused"),
        ("results", "", "refused"),
        ("another", None, "default"),
        ("another", "default", "default"),
        ("another", "open", "open"),
        ("another", "clinic", "refused"),
        (None, None, "default"),
        (None, "open", "open"),
        ("mails", "open", "open"),  # what another organisation registers binds nobody here
        ("mails", "southern", "refused"),
    ],
)
def test_programs(client: str | None, name: str | None, sender: str) -> None:
    """A listed program is one of those that list it; `default` and senders of nobody are for programs of nobody."""
    assert told(client, name) == sender


@pytest.mark.parametrize(
    ("name", "sender"),
    [(None, "lab"), ("clinic", "clinic"), ("open", "open"), ("default", "default"), ("southern", "refused")],
)
def test_staff(name: str | None, sender: str) -> None:
    """Staff may ask what any sender of theirs would be told, with whatever program."""
    assert told("results", name, Role.FRONT_DESK) == sender


def test_a_default_that_is_for_some() -> None:
    """Where the file keeps `default` for a program, others do not get it by naming nobody."""
    kept = dataclasses.replace(DEFAULT_SENDER, clients=frozenset({"texts"}))
    rules = ContactRules("test", senders={kept.id: kept})
    assert (told("texts", None, rules=rules), told("another", None, rules=rules)) == ("default", "refused")
