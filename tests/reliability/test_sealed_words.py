"""Words beside events through the life of keys: rotated over, left where they must be, destroyed with the patient."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, select

from auth.actor import Actor
from auth.purposes import Purpose
from auth.roles import Role
from crm.audit.entry import Draft
from crm.audit.writer import Seal, Sink
from crm.catalogue import KeyClass
from crm.crypto.detail import FIRST_KEY
from crm.crypto.stored_key import StoredKey
from crm.domain.break_glass import BreakGlassReason, Verdict
from crm.domain.erasure import ErasureReason
from crm.errors import AuditUnavailable, Erased, KeyUnavailable
from crm.services.key_life import data_keys, wraps
from crm.services.verification import verify
from crm.store import keystore
from crm.store.database import Database
from crm.store.statements import prepare
from crm.store.tables import patient_key
from tests.custody import member
from tests.house import ORG, REQUEST, House, actor, house, log_sink, now
from tests.intruder import Intruder
from tests.people import WHOLE

CLINICIAN = actor(Role.CLINICIAN, subject="clinician")
OFFICER = actor(Role.PRIVACY_OFFICER)
OPERATOR = actor(Role.OPERATOR)
WORDS, NOTE = "Found unconscious at the door.", "The ward confirms it all."
BOTH = frozenset({"text", "note"})

_KEYS = prepare(
    select(patient_key.c.dek_no, patient_key.c.epoch, patient_key.c.state)
    .where(
        patient_key.c.org == bindparam("org"),
        patient_key.c.patient_id == bindparam("patient"),
        patient_key.c.key_class == "identity",
    )
    .order_by(patient_key.c.dek_no)
)


async def request(it: House, patient: str, text: str = WORDS, by: Actor = CLINICIAN) -> dict[str, Any]:
    """A new grant."""
    reason = BreakGlassReason.EMERGENCY_TREATMENT
    return await it.services.break_glass.request(by, REQUEST, patient, reason, text, None)


async def judge(it: House, grant: dict[str, Any], note: str | None = NOTE) -> dict[str, Any]:
    """The grant after its review."""
    return await it.services.break_glass.review(OFFICER, REQUEST, grant["id"], Verdict.JUSTIFIED, note, frozenset())


async def told(it: House, grant: dict[str, Any], *, reviewed: bool = True) -> tuple[Any, Any]:
    """The words of both sides, as an officer gets them."""
    page = await it.services.break_glass.grants(OFFICER, REQUEST, reviewed, 100, None, BOTH)
    [node] = [node for node in page.nodes if node["id"] == grant["id"]]
    return node["text"], node["note"]


async def keys_of(it: House, patient: str) -> list[tuple[int, int, str]]:
    """Number, epoch and state of the data keys of class identity."""
    return [tuple(row) for row in await it.database.fetch(ORG, _KEYS, patient=patient)]


async def faults(it: House) -> set[tuple[str, str]]:
    """What `keys verify` finds."""
    found = await verify(it.services.store, it.database, OPERATOR, REQUEST, None, lambda _done, _of: None)
    return {(each.fault.value, each.part) for each in found.findings}


async def test_rotations(database_url: str, tmp_path: Path) -> None:
    """One key for all words of a patient, taken along by new wrap keys, left by `rotate data`, and sound throughout."""
    async with member(database_url, tmp_path) as one:
        it = one.house
        patient = (await it.register(WHOLE))["id"]
        grant = await request(it, patient)
        await judge(it, grant)
        assert await keys_of(it, patient) == [(1, 1, "live"), (FIRST_KEY, 1, "live")]
        assert await faults(it) == set()
        await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
        assert await keys_of(it, patient) == [(1, 2, "live"), (FIRST_KEY, 2, "live")]
        assert await told(it, grant) == (WORDS, NOTE)
        done = await data_keys.rotate(one.custodian(), now())
        assert (done.patients, done.left_out) == (1, 0)
        assert await keys_of(it, patient) == [(1, 2, "shredded"), (2, 2, "live"), (FIRST_KEY, 2, "live")]
        assert await told(it, grant) == (WORDS, NOTE)
        assert await faults(it) == set()
        again = await data_keys.rotate(one.custodian(), done.before)
        assert again.patients == 0  # a key of words alone is nothing that remains to be done


@pytest.mark.parametrize("classes", [None, frozenset({KeyClass.IDENTITY})], ids=["whole", "identity"])
async def test_t7_erasure_takes_the_words(
    database_url: str, tmp_path: Path, classes: frozenset[KeyClass] | None
) -> None:
    """Text and note are unreadable for good, the sealed octets and the leaves stay, and the queue can be emptied."""
    async with member(database_url, tmp_path) as one:
        it = one.house
        patient = (await it.register(WHOLE))["id"]
        done = await request(it, patient)
        waiting = await request(it, patient, by=actor(Role.CLINICIAN, subject="colleague"))
        await judge(it, done)
        octets = "SELECT kind, octets FROM audit_detail ORDER BY id, kind"
        before = await Intruder(database_url).run(octets)
        reason = ErasureReason.PATIENT_REQUEST
        await it.services.erasures.erase(OFFICER, REQUEST, patient, None, classes, reason, any_version=True)
        assert {state for _, _, state in await keys_of(it, patient)} == {"shredded"}
        assert [type(words) for words in await told(it, done)] == [Erased, Erased]
        text, note = await told(it, waiting, reviewed=False)
        assert type(text) is Erased
        assert note is None or classes is None
        assert await Intruder(database_url).run(octets) == before
        assert await faults(it) == set()
        if classes is None:
            with pytest.raises(Erased):
                await judge(it, waiting)
            with pytest.raises(Erased):
                await request(it, patient)
            assert (await judge(it, waiting, None))["patient_id"] is None
        else:
            await judge(it, waiting)  # under a fresh key: the record goes on
            assert (await keys_of(it, patient))[-1] == (FIRST_KEY + 1, 1, "live")
            assert (await told(it, waiting))[1] == NOTE
        assert (await it.services.break_glass.grants(OFFICER, REQUEST, False, 5, None, BOTH)).nodes == []


async def test_an_erased_patient_cannot_be_looked_at_through_an_old_grant(database_url: str, tmp_path: Path) -> None:
    """ERASED, like for everybody else, and the grant is cut off from whom it was about."""
    async with house(database_url, tmp_path) as it:
        patient = (await it.register(WHOLE))["id"]
        await request(it, patient)
        reason = ErasureReason.PATIENT_REQUEST
        await it.services.erasures.erase(OFFICER, REQUEST, patient, None, None, reason, any_version=True)
        looking = actor(Role.CLINICIAN, subject="clinician", purpose=Purpose.BTG)
        with pytest.raises(Erased):
            await it.services.profiles.read(looking, REQUEST, patient, frozenset({"displayName"}))
        page = await it.services.break_glass.grants(OFFICER, REQUEST, False, 5, None, frozenset())
        assert [node["patient_id"] for node in page.nodes] == [None]


async def test_a_forged_key_of_words_is_found(database_url: str, tmp_path: Path) -> None:
    """`keys verify` unwraps it; and says so when a shredded one is not in the ledger."""
    async with house(database_url, tmp_path) as it:
        for key_class in KeyClass:
            await keystore.add(it.database, StoredKey("wrap", key_class.value, 1, "active", "test", "r", b"w"), 1)
        patient = (await it.register(WHOLE))["id"]
        await request(it, patient)
        intruder = Intruder(database_url)
        ours = "FROM patient_key WHERE dek_no >= 1000000"
        [(wrapped,)] = await intruder.run(f"SELECT wrapped {ours}")
        assert await faults(it) == set()
        forged = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        await intruder.run("UPDATE patient_key SET wrapped = ? WHERE dek_no >= 1000000", forged)
        assert await faults(it) == {("key_tampered", "identity")}
        await intruder.run("UPDATE patient_key SET wrapped = NULL, state = 'shredded' WHERE dek_no >= 1000000")
        assert await faults(it) == {("erasure_unledgered", "identity")}


async def test_without_the_class_there_is_no_breaking_of_glass(database_url: str, tmp_path: Path) -> None:
    """KEY_UNAVAILABLE before any row, known patient or not, and on record; the queue without its words is shown."""
    async with house(database_url, tmp_path) as it:
        patient = (await it.register(WHOLE))["id"]
        grant = await request(it, patient)
        keys = it.services.store.keys
        keys.held -= {KeyClass.IDENTITY}
        for one in (patient, "0199c0de-0000-7000-8000-000000000001"):
            with pytest.raises(KeyUnavailable):
                await request(it, one)
            assert (await it.leaves())[-1]["why"] == "KEY_UNAVAILABLE"
        with pytest.raises(KeyUnavailable):
            await judge(it, grant)
        with pytest.raises(KeyUnavailable):
            await told(it, grant, reviewed=False)
        page = await it.services.break_glass.grants(OFFICER, REQUEST, False, 5, None, frozenset())
        assert [node["id"] for node in page.nodes] == [grant["id"]]
        await judge(it, grant, None)
        keys.held |= {KeyClass.IDENTITY}
        assert (await told(it, grant))[0] == WORDS


class _Away:
    """A log that takes nothing once it is away."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self.gone = False

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        if self.gone:
            raise OSError("away")
        await self._inner.commit(org, drafts, seal)

    async def orphans(self, before: int, limit: int) -> Mapping[str, Sequence[Draft]]:
        return await self._inner.orphans(before, limit)

    def stamp(self, org: str, draft: Draft) -> bytes:
        return self._inner.stamp(org, draft)


async def test_no_glass_is_broken_while_the_log_is_away(database_url: str, tmp_path: Path) -> None:
    """No grant is answered, no record read under one, no verdict taken: emergencies have paper for it."""
    logs: list[_Away] = []

    def away(database: Database) -> Sink:
        logs.append(_Away(log_sink(database)))
        return logs[0]

    async with house(database_url, tmp_path, sink=away, deadline=0.5) as it:
        patient = (await it.register(WHOLE))["id"]
        grant = await request(it, patient)
        logs[0].gone = True
        looking = actor(Role.CLINICIAN, subject="clinician", purpose=Purpose.BTG)
        for _ in range(3):  # the breaker opens meanwhile
            with pytest.raises(AuditUnavailable):
                await it.services.profiles.read(looking, REQUEST, patient, frozenset({"displayName"}))
            with pytest.raises(AuditUnavailable):
                await request(it, patient)
            with pytest.raises(AuditUnavailable):
                await judge(it, grant)
        logs[0].gone = False
