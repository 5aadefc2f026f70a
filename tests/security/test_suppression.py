"""Numbers that are left alone although they are on no record: what an erasure keeps of them, and what it does not."""

from uuid import uuid4

import pytest
from sqlalchemy import bindparam, select

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import KeyClass
from crm.crypto.keyset import KeySet
from crm.domain.erasure import ErasureReason
from crm.errors import KeyUnavailable
from crm.store.statements import prepare
from crm.store.tables import suppression, waiting_message
from tests.client import Client
from tests.house import REQUEST, actor

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECIDE = """query D($id: ID!) { contactDecision(patientId: $id, purpose: BILLING, channels: [SMS]) {
    outcome reasons } }"""
POINTS = [
    {"system": "PHONE", "value": "+447700900141", "use": "MOBILE"},
    {"system": "EMAIL", "value": "ada@example.test"},
]


async def stopped(it: Client, org: str) -> str:
    """A patient who said stop by text, and wrote something unclear by mail."""
    patient_id = str((await it.house.register({"preferred_name": "Ada", "contact_points": POINTS}, org=org))["id"])
    for place, (origin, channel, text) in enumerate(
        (("+447700900141", "SMS", "STOP"), ("ada@example.test", "EMAIL", "please stop this"))
    ):
        message = {"message_id": f"E-{place}", "from": origin, "channel": channel, "text": text}
        await it.house.services.messages.take(actor(Role.INTEGRATION, org=org), REQUEST, message)
    return patient_id


async def erase(it: Client, org: str, patient_id: str, classes: frozenset[KeyClass] | None) -> None:
    """Erases classes of the patient, or all of them."""
    await it.house.services.erasures.erase(
        actor(Role.PRIVACY_OFFICER, org=org),
        REQUEST,
        patient_id,
        None,
        classes,
        ErasureReason.PATIENT_REQUEST,
        any_version=True,
    )


async def kept(it: Client, org: str) -> list[tuple[bytes, str, str]]:
    """The suppressions of an organisation: digest, channel and reason."""
    statement = prepare(
        select(suppression.c.value, suppression.c.channel, suppression.c.why)
        .where(suppression.c.org == bindparam("org"))
        .order_by(suppression.c.channel)
    )
    return [(bytes(row[0]), row[1], row[2]) for row in await it.house.database.fetch(org, statement)]


@pytest.mark.parametrize("classes", [None, frozenset({KeyClass.PREFERENCE}), frozenset({KeyClass.CONTACT})])
async def test_an_erasure_keeps_what_was_forbidden(served: Client, classes: frozenset[KeyClass] | None) -> None:
    """Whoever said stop and is erased is not written to when an import brings the number back, nor who may have."""
    org = uuid4().hex
    patient_id = await stopped(served, org)
    said = [("CHAT", "STOP"), ("SMS", "STOP"), ("VOICE", "STOP")]
    assert [(channel, why) for _, channel, why in await kept(served, org)] == said
    await erase(served, org, patient_id, classes)
    rows = await kept(served, org)
    assert [(channel, why) for _, channel, why in rows] == [said[0], ("EMAIL", "ERASED"), *said[1:]]
    assert len({digest for digest, channel, _ in rows if channel != "EMAIL"}) == 1
    assert b"7700900141" not in b"".join(digest for digest, _, _ in rows)
    again = str((await served.house.register({"preferred_name": "Ada", "contact_points": POINTS}, org=org))["id"])
    found = (await served.data(DECIDE, Role.MESSAGING, variables={"id": again}, org=org))["contactDecision"]
    assert found == {"outcome": "DENY", "reasons": ["OPTED_OUT"]}
    context = REQUEST.context(actor(Role.MESSAGING, org=org))
    async with served.house.services.store.reading(context, Act.READ) as unit:
        theirs = [("SMS", "+447700900141"), ("EMAIL", "ada@example.test"), ("FAX", "+447700900141")]
        assert await unit.suppressed(theirs) == {"+447700900141", "ada@example.test"}
        assert await unit.suppressed(theirs[2:]) == frozenset()


async def test_nothing_waits_of_who_is_erased(served: Client) -> None:
    """What waited to be read goes with its words; an erasure of names alone leaves it, and suppresses nothing."""
    org = uuid4().hex
    patient_id = await stopped(served, org)
    waiting = prepare(select(waiting_message.c.id).where(waiting_message.c.org == bindparam("org")))
    before = await kept(served, org)
    await erase(served, org, patient_id, frozenset({KeyClass.IDENTITY}))
    assert len(await served.house.database.fetch(org, waiting)) == 1
    assert await kept(served, org) == before
    await erase(served, org, patient_id, None)
    assert await served.house.database.fetch(org, waiting) == []


async def test_digests_are_of_one_organisation(served: Client) -> None:
    """One number has unrelated digests in two organisations, and is left alone only where somebody said stop."""
    message = {"message_id": "1", "from": "+447700900142", "channel": "SMS", "text": "STOP"}
    orgs = uuid4().hex, uuid4().hex
    for org in orgs:
        await served.house.services.messages.take(actor(Role.INTEGRATION, org=org), REQUEST, message)
    here, there = [await kept(served, org) for org in orgs]
    assert len(here) == len(there) == 3
    assert not {row[0] for row in here} & {row[0] for row in there}


async def test_an_erasure_needs_no_key(served: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot open a record can still erase it; then nothing more is suppressed."""
    org = uuid4().hex
    patient_id = await stopped(served, org)
    before = await kept(served, org)

    def lost(*_: object) -> None:
        raise KeyUnavailable("no wrap key")

    with monkeypatch.context() as patched:
        patched.setattr(KeySet, "data_key", lost)
        await erase(served, org, patient_id, None)
    assert await kept(served, org) == before
