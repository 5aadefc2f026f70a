"""What endpoints may know, and what somebody who holds the database can do with them: nothing but repeat and delay."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from auth.policy import GRANTS, Action
from auth.purposes import Purpose
from auth.roles import Role
from crm.catalogue import BY_PATH, KeyClass
from crm.crypto.registration import open_registration, seal_registration
from crm.domain.erasure import ErasureReason
from crm.domain.webhooks import Kind
from crm.errors import Invalid, Tampered
from crm.services.webhooks import Registration, Webhooks
from crm.store.statements import prepare
from crm.store.tables import sealed_row, webhook_endpoint
from tests.hooked import OPERATOR, Hooked, hooked
from tests.house import ORG, REQUEST, SAM, actor, house
from tests.keys import key_set
from tests.planted import CLEAR, PERSON, found_in
from tests.receiver import receiver

_SEALED = prepare(
    select(webhook_endpoint.c.sealed).where(
        webhook_endpoint.c.org == bindparam("org"), webhook_endpoint.c.id == bindparam("key")
    )
)
_FORGE = prepare(
    update(webhook_endpoint)
    .where(webhook_endpoint.c.org == bindparam("org"), webhook_endpoint.c.id == bindparam("key"))
    .values(sealed=bindparam("content"), failures=0, paused_until=0)
)
_DAMAGE = prepare(
    update(sealed_row)
    .where(sealed_row.c.org == bindparam("org"), sealed_row.c.patient_id == bindparam("patient"))
    .values(seal=bindparam("seal"))
)

SEEN = frozenset({"displayName"})


async def forge(it: Hooked, endpoint_id: str, content: bytes) -> None:
    """What somebody may do who writes the database."""
    async with it.house.database.transaction(ORG) as connection:
        await connection.execute(_FORGE, org=ORG, key=endpoint_id, content=content)


async def sealed(it: Hooked, endpoint_id: str) -> bytes:
    """The registration as it is stored."""
    return bytes((await it.house.database.fetch(ORG, _SEALED, org=ORG, key=endpoint_id))[0][0])


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"role": Role.PATIENT, "purpose": Purpose.PATRQT}, "role", "personal"),
    ({"role": Role.PROXY, "purpose": Purpose.FAMRQT}, "role", "personal"),
    ({"role": Role.CLINICIAN, "purpose": Purpose.TREAT}, "purpose", "not_permitted"),
    ({"role": Role.CLINICIAN, "purpose": Purpose.BTG}, "purpose", "not_permitted"),
    ({"role": Role.MESSAGING, "purpose": Purpose.HMARKT}, "purpose", "not_permitted"),
    ({"role": Role.MESSAGING, "purpose": Purpose.RECORDMGT}, "purpose", "not_permitted"),
    ({"fields": ["nothing"]}, "fields", "unknown"),
    ({"role": Role.MESSAGING, "purpose": Purpose.COC, "fields": ["religion"]}, "fields", "not_permitted"),
    ({"url": "https://169.254.169.254/latest"}, "url", "host_name"),
    ({"url": "http://hooks.example.com/"}, "url", "https"),
    ({"url": "http://localhost:1/"}, "url", "https"),
]


async def test_refused_and_recorded(database_url: str, tmp_path: Path) -> None:
    """Roles that may not follow changes, fields that they may not read, addresses nearby: nothing is stored."""
    async with house(database_url, tmp_path) as it:
        hooks = Webhooks(it.services.store)
        usual = {"url": "https://hooks.example.com/", "role": Role.INTEGRATION, "purpose": Purpose.RECORDMGT}
        for asked, field, rule in REFUSED:
            with pytest.raises(Invalid) as refusal:
                await hooks.add(OPERATOR, REQUEST, **{**usual, **asked})
            assert (refusal.value.field, refusal.value.rule) == (field, rule)
        assert await hooks.every(ORG) == []
        events = await it.leaves()
        assert {(each["act"], each["out"], each["why"]) for each in events} == {
            ("config", "denied", "VALIDATION_FAILED")
        }
        assert len(events) == len(REFUSED)


@pytest.mark.parametrize(
    ("role", "purpose"),
    [
        (role, purpose)
        for grant in GRANTS
        if Action.FOLLOW in grant.actions and grant.role not in {Role.PATIENT, Role.PROXY}
        for role in (grant.role,)
        for purpose in sorted(grant.purposes)
    ],
)
async def test_told_what_the_role_may_read(database_url: str, tmp_path: Path, role: Role, purpose: Purpose) -> None:
    """Of a change of everything, each role hears of the fields that it may read, and of no other."""
    grant = next(each for each in GRANTS if each.role is role and purpose in each.purposes)
    async with hooked(database_url, tmp_path, role=role, purpose=purpose) as it:
        await it.house.register()
        await it.number()
        [arrived] = await it.receiver.until(1)
        told = set(arrived.data["changedFields"])
        assert told
        assert {BY_PATH[path].group for path in told} <= grant.read | grant.masked
        assert ("religion" in told) is (role is Role.INTEGRATION)
        [event] = await it.told()
        assert event["pou"] == [purpose]
        assert event["pol"]["d"] == [f"{role}/{purpose}"]


async def test_a_change_of_nothing_for_this_role(database_url: str, tmp_path: Path) -> None:
    """A change of fields that the role may not read is not told at all, and leaves no event of telling."""
    async with hooked(database_url, tmp_path, role=Role.MESSAGING, purpose=Purpose.COC) as it:
        sam = (await it.house.register())["id"]
        clerk = actor(Role.INTEGRATION)
        await it.house.services.changes.update(clerk, REQUEST, sam, 1, {"religion": "None"}, SEEN)
        await it.change(sam, "Sammy")
        await it.quiet()
        assert it.receiver.versions(sam) == [1, 3]
        assert [each["obj"][0]["ver"] for each in await it.told()][:1] in ([1], [3])
        assert len(await it.told()) == 2


async def test_a_restricted_record(database_url: str, tmp_path: Path) -> None:
    """What a restricted record withholds from the role has not changed for it; who sees restricted ones hears of it."""
    async with hooked(database_url, tmp_path, role=Role.INTEGRATION, purpose=Purpose.PATADMIN) as it:
        other, _ = await it.hooks.add(
            OPERATOR, REQUEST, url=it.receiver.url, role=Role.INTEGRATION, purpose=Purpose.RECORDMGT
        )
        await it.house.store({**SAM, "restricted": True})
        await it.number()
        await it.receiver.until(2)
        told = {"_".join(each.id.split("_")[1:2]): set(each.data["changedFields"]) for each in it.receiver.arrived}
        less, all_of_it = told[it.endpoint.id.replace("-", "")], told[other.id.replace("-", "")]
        assert "contactPoints" in all_of_it
        assert "contactPoints" not in less
        assert "preferredName" in less


async def test_kinds_and_fields_that_were_asked_for(database_url: str, tmp_path: Path) -> None:
    """Of other fields, and of other kinds of messages, an endpoint hears nothing; what is derived counts."""
    async with hooked(database_url, tmp_path, fields=["displayName", "religion"], kinds=[Kind.CHANGED]) as it:
        sam = (await it.house.register())["id"]
        clerk = actor(Role.INTEGRATION)
        await it.house.services.changes.update(clerk, REQUEST, sam, 1, {"pronouns": "she/her"}, SEEN)
        await it.change(sam, "Sammy")
        await it.quiet()
        await it.house.services.erasures.erase(
            actor(Role.PRIVACY_OFFICER), REQUEST, sam, 3, None, ErasureReason.PATIENT_REQUEST
        )
        await it.number()
        await it.quiet()
        told = [(each.data["version"], each.data["changedFields"]) for each in it.receiver.arrived]
        assert told == [(1, ["displayName", "religion"]), (3, ["displayName"])]


async def test_an_erased_record(database_url: str, tmp_path: Path) -> None:
    """That a record was erased is told; what had changed in it before, and was not told yet, is not any more."""
    async with hooked(database_url, tmp_path) as it:
        it.receiver.status = 503
        sam = (await it.house.register())["id"]
        await it.number()
        await it.tried(1)
        await it.change(sam, "Sammy")
        await it.house.services.erasures.erase(
            actor(Role.PRIVACY_OFFICER), REQUEST, sam, 2, None, ErasureReason.PATIENT_REQUEST
        )
        await it.number()
        it.receiver.status = 204
        it.receiver.arrived.clear()
        it.clock.ahead += 100
        await it.quiet()
        assert [(each.type, each.data["id"]) for each in it.receiver.arrived] == [("patient.erased", sam)]


async def test_a_right_that_was_taken_away(database_url: str, tmp_path: Path) -> None:
    """The policy is asked for each message: once it no longer lets the role follow, nothing is sent, on record."""
    async with hooked(database_url, tmp_path, start=False) as it:
        known = it.endpoint.registration
        # As it would be after a release whose policy is stricter: the role of the registration follows nothing.
        changed = Registration(
            known.url, known.kinds, known.fields, Role.CLINICIAN, Purpose.TREAT, known.secrets
        ).octets()
        await forge(it, it.endpoint.id, seal_registration(it.store.keys, ORG, it.endpoint.id, changed))
        it.couriers()
        await it.house.register()
        await it.number()
        await it.quiet()
        assert it.receiver.arrived == []
        [event] = await it.told()
        assert (event["act"], event["out"], event["why"]) == ("notify", "denied", "FORBIDDEN")


async def test_a_process_with_some_classes_of_keys(database_url: str, tmp_path: Path) -> None:
    """It takes no endpoint on: it could not believe that a record is not restricted; one that has all goes on."""
    async with hooked(database_url, tmp_path, start=False) as it:
        await it.house.register()
        await it.number()
        whole = it.store.keys.held
        it.store.keys.held = whole - {KeyClass.SENSITIVE}
        less = it.couriers()
        await asyncio.sleep(0.3)
        assert (it.receiver.arrived, (await it.stored()).lease_by) == ([], None)
        assert less.states[ORG, it.endpoint.id].behind == 1
        it.store.keys.held = whole
        await it.quiet()
        assert len(it.receiver.arrived) == 1


async def test_no_value_leaves(database_url: str, tmp_path: Path) -> None:
    """Of a person with a token in every field, nothing that arrives holds one, in any form."""
    async with hooked(database_url, tmp_path) as it:
        sam = (await it.house.register(PERSON))["id"]
        await it.change(sam, CLEAR)
        await it.quiet()
        assert len(it.receiver.arrived) == 2
        for each in it.receiver.arrived:
            octets = each.body + json.dumps(each.headers).encode() + each.target.encode()
            assert found_in(octets) == []
            assert found_in(octets, clear=True) == []


async def test_an_endpoint_cannot_be_redirected(database_url: str, tmp_path: Path) -> None:
    """A registration that was edited, or taken from another endpoint, opens nowhere: nothing is sent to anybody."""
    async with receiver() as thief, hooked(database_url, tmp_path, start=False) as it:
        theirs, _ = await it.hooks.add(
            OPERATOR, REQUEST, url=thief.url, role=Role.INTEGRATION, purpose=Purpose.RECORDMGT
        )
        await it.hooks.disable(OPERATOR, REQUEST, theirs.id)
        right, moved = await sealed(it, it.endpoint.id), await sealed(it, theirs.id)
        flipped = bytes([*right[:40], right[40] ^ 1, *right[41:]])
        with pytest.raises(Tampered):
            open_registration(it.store.keys, "south-clinic", it.endpoint.id, right)
        it.couriers()
        await it.house.register()
        for content in (moved, flipped, right[:20], b"", b"{}"):
            await forge(it, it.endpoint.id, content)
            await it.number()
            await asyncio.sleep(0.1)
            assert (it.receiver.arrived, thief.arrived) == ([], [])
            with pytest.raises(Tampered):
                await it.hooks.find(ORG, it.endpoint.id)
        unreadable = {each.stored.id for each in await it.hooks.every(ORG) if each.registration is None}
        assert unreadable == {it.endpoint.id}
        assert await it.hooks.disable(OPERATOR, REQUEST, it.endpoint.id)
        await forge(it, it.endpoint.id, right)
        assert await it.hooks.enable(OPERATOR, REQUEST, it.endpoint.id)
        await it.quiet()
        assert (len(it.receiver.arrived), thief.arrived) == (1, [])


async def test_nothing_of_a_registration_is_clear(tmp_path: Path) -> None:
    """Neither address nor secret stands in what is stored, and no two registrations are sealed alike."""
    keys = key_set(tmp_path)
    name = "01900000-0000-7000-8000-000000000001"
    content = b'{"url": "https://hooks.example.com/?token=abc", "secret": "whsec_abc"}'
    stored = [seal_registration(keys, ORG, name, content) for _ in range(2)]
    assert stored[0] != stored[1]
    assert all(b"hooks" not in each and b"whsec" not in each and b"token" not in each for each in stored)
    assert [open_registration(keys, ORG, name, each) for each in stored] == [content] * 2
    for place in ((ORG, name[:-1] + "2"), ("south-clinic", name)):
        with pytest.raises(Tampered):
            open_registration(keys, *place, stored[0])
    for bit in range(0, len(stored[0]) * 8, 37):
        damaged = bytearray(stored[0])
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Tampered):
            open_registration(keys, ORG, name, bytes(damaged))


async def test_what_cannot_be_opened_holds_up_nobody_else(database_url: str, tmp_path: Path) -> None:
    """A damaged record is tried again like any failure, and counts against no endpoint; others go their way."""
    async with hooked(database_url, tmp_path, start=False) as it:
        bad, good = [(await it.house.register())["id"] for _ in range(2)]
        async with it.house.database.transaction(ORG) as connection:
            await connection.execute(_DAMAGE, org=ORG, patient=bad, seal=bytes(28))
        await it.number()
        it.couriers()
        message = await it.tried(1)
        assert (message.patient_id, message.answer) == (bad, "Tampered")
        await it.receiver.until(1)
        assert (it.receiver.versions(good), it.receiver.versions(bad)) == ([1], [])
        assert (await it.stored()).failures == 0
