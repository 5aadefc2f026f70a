"""What an erasure leaves and what follows it: classes, their return, the log, imports, and copies that were away."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import CLASSES, FIELDS, KeyClass
from crm.domain.erasure import ErasureReason
from crm.errors import Erased, Invalid, LegalHold, NotFound, VersionConflict, VersionRequired
from crm.services.exports import Exports
from crm.services.holds import HoldReason
from crm.services.imports import Draft, Imports, Incoming, Outcome
from crm.store.record import sources
from tests.house import OTHER_ORG, REQUEST, actor
from tests.people import WHOLE
from tests.premises import Place, Premises, opened

OFFICER = actor(Role.PRIVACY_OFFICER)
CLERK = actor(Role.INTEGRATION)
EVERYTHING = frozenset(path for row in FIELDS for path in row.paths)
REFILLED: dict[KeyClass, dict[str, Any]] = {
    KeyClass.IDENTITY: {"preferred_name": "Zo"},
    KeyClass.CONTACT: {"addresses": [{"use": "HOME", "city": "Leeds"}]},
    KeyClass.PREFERENCE: {"time_zone": "UTC"},
    KeyClass.SENSITIVE: {"religion": "Other"},
}


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A place on each engine."""
    return Place(database_url, tmp_path)


@pytest.fixture
async def it(place: Place) -> AsyncIterator[Premises]:
    """The same, opened."""
    async with opened(place) as premises:
        yield premises


async def person(it: Premises, **more: Any) -> str:
    """The id of a fresh patient with a value in every field."""
    return str((await it.house.register({**WHOLE, **more}))["id"])


async def read(it: Premises, patient_id: str) -> dict[str, Any]:
    """Everything that can be read of a patient."""
    return await it.house.services.profiles.read(OFFICER, REQUEST, patient_id, EVERYTHING)


async def change(it: Premises, patient_id: str, version: int, values: dict[str, Any]) -> None:
    """A change by the service."""
    await it.house.services.changes.update(CLERK, REQUEST, patient_id, version, values, frozenset())


# --- a class --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_class", list(KeyClass))
async def test_a_class_alone(it: Premises, key_class: KeyClass) -> None:
    """Exactly its fields, and what is computed from them alone, are Erased; everything else is as it was."""
    patient_id = await person(it)
    before = await read(it, patient_id)
    await it.erase(patient_id, key_class)
    after = await read(it, patient_id)
    gone = {name for name, value in after.items() if isinstance(value, Erased)}
    rows = {row.name for row in FIELDS if row.paths and {one.key_class for one in sources([row.name])} == {key_class}}
    assert gone == rows
    assert set(CLASSES[key_class]) >= {row for row in FIELDS if row.name in gone and not row.derived_from}
    for name in before.keys() - gone - {"version", "updated_at", "provenance"}:
        assert after[name] == before[name], name
    assert after["version"] == before["version"] + 1
    groups = {row.group.value for row in FIELDS if row.key_class not in (None, key_class)}
    assert after["restricted"] is False
    assert {note["group"] for note in after["provenance"]} == {
        note["group"] for note in before["provenance"] if note["group"] in groups
    }  # fmt: skip


@pytest.mark.parametrize("key_class", list(KeyClass))
async def test_what_is_recorded_of_reading_the_rest(it: Premises, key_class: KeyClass) -> None:
    """The event says partial and ERASED, and does not name what was not returned; of a read beside it, ok."""
    patient_id = await person(it)
    await it.erase(patient_id, key_class)
    await read(it, patient_id)
    erased = {path for row in FIELDS for path in row.paths if {o.key_class for o in sources([row.name])} == {key_class}}
    *_, leaf = await it.house.leaves(act="read")
    assert (leaf["out"], leaf["why"]) == ("partial", "ERASED")
    assert set(leaf["fld"]) == EVERYTHING - erased
    other = next(row for row in FIELDS if row.paths and row.key_class not in (None, key_class))
    await it.house.services.profiles.read(OFFICER, REQUEST, patient_id, frozenset(other.paths))
    *_, leaf = await it.house.leaves(act="read")
    assert (leaf["out"], "why" in leaf, leaf["fld"]) == ("ok", False, sorted(other.paths))


@pytest.mark.parametrize("key_class", list(KeyClass))
async def test_a_class_filled_again(it: Premises, place: Place, key_class: KeyClass) -> None:
    """Under the next data key, and only with what is new; the old key stays shredded, and can be erased again."""
    patient_id = await person(it)
    await it.erase(patient_id, key_class)
    await change(it, patient_id, 2, REFILLED[key_class])
    profile = await read(it, patient_id)
    assert not [name for name, value in profile.items() if isinstance(value, Erased)]
    filled = {row.name for row in CLASSES[key_class] if row.name in profile}
    assert filled == set(REFILLED[key_class])
    assert profile["version"] == 3
    again = await it.erase(patient_id, key_class)
    assert again.classes == (key_class.value,)
    [*_, entry] = await _entries(it, patient_id)
    assert entry.keys == ((key_class.value, 1, 1), (key_class.value, 2, 1))
    await change(it, patient_id, 4, REFILLED[key_class])
    await it.erase(patient_id)
    assert set((await place.left(patient_id)).values()) == {0}


async def test_a_class_erased_beside_a_change_of_the_clear_row(it: Premises) -> None:
    """A new class, which every row has to vouch for, is sealed into all live rows and no erased one."""
    patient_id = str((await it.house.register({"preferred_name": "Zoe", "time_zone": "UTC"}))["id"])
    await it.erase(patient_id, KeyClass.PREFERENCE)
    await change(it, patient_id, 2, {"religion": "Quietist"})
    profile = await read(it, patient_id)
    assert (profile["preferred_name"], profile["religion"]) == ("Zoe", "Quietist")
    assert isinstance(profile["time_zone"], Erased)


async def test_every_class_one_by_one(it: Premises, place: Place) -> None:
    """With the last class goes what every class vouched for; the record stays, and takes a value again."""
    patient_id = await person(it)
    for key_class in KeyClass:
        await it.erase(patient_id, key_class)
    profile = await read(it, patient_id)
    gone = {name for name, value in profile.items() if isinstance(value, Erased)}
    assert profile.keys() - gone == {"id", "version", "recorded_at", "updated_at"}
    assert {"restricted", "provenance"} <= gone
    left = await place.left(patient_id)
    assert (left["keys"], left["cells"], left["terms"]) == (0, 0, 0)
    await change(it, patient_id, 5, {"preferred_name": "Zoe"})
    assert (await read(it, patient_id))["preferred_name"] == "Zoe"


async def test_search_values_of_a_class(it: Premises) -> None:
    """Contacts erased: the telephone finds nobody, the name still does; a new number is found again."""
    patient_id = await person(it)
    await it.erase(patient_id, KeyClass.CONTACT)

    async def found(by: dict[str, Any]) -> list[str]:
        page = await it.house.services.profiles.search(CLERK, REQUEST, by, 10, None, frozenset({"displayName"}))
        return [node["id"] for node in page.nodes]

    assert await found({"phone": "+447700900321"}) == []
    assert await found({"full_name": "Zoleka Wanjiru"}) == [patient_id]
    point = {"system": "PHONE", "value": "+447700900555"}
    await it.house.services.changes.add_contact_point(CLERK, REQUEST, patient_id, 2, point, frozenset())
    assert await found({"phone": "+447700900555"}) == [patient_id]


async def test_exports_of_what_is_left(it: Premises) -> None:
    """A list export leaves erased fields out, one person's export names them, and both leave whole patients out."""
    part, gone = await person(it), await person(it)
    await it.erase(part, KeyClass.SENSITIVE)
    await it.erase(gone)
    exports = Exports(it.house.services.store, OFFICER, REQUEST)
    [profile] = [one async for chunk in exports.patients() for one in chunk]
    assert profile["id"] == part
    assert not profile.keys() & {row.name for row in CLASSES[KeyClass.SENSITIVE]}
    alone = await exports.patient(part)
    erased = set(alone.pop("erased"))
    assert erased == {row.name for row in CLASSES[KeyClass.SENSITIVE]}
    assert alone == profile
    orjson.dumps(alone)


# --- what is refused ------------------------------------------------------------------------------------------------


async def test_what_is_refused_changes_nothing(it: Premises, place: Place) -> None:
    """Unknown, foreign, no version, another version, held, or nothing there: typed, recorded, and nothing is erased."""
    patient_id = await person(it)
    bare = str((await it.house.register({"preferred_name": "Zoe"}))["id"])
    foreign = str((await it.house.register(WHOLE, org=OTHER_ORG))["id"])
    held = await person(it)
    await it.house.services.holds.place(OFFICER, REQUEST, held, HoldReason.LITIGATION)
    before = {one: await place.left(one) for one in (patient_id, bare, held)}
    erase, reason = it.erasures.erase, ErasureReason.UNLAWFUL
    for one, version, classes, refusal in (
        ("0199c0de-0000-7000-8000-000000000001", 1, None, NotFound),
        (foreign, 1, None, NotFound),
        (patient_id, None, None, VersionRequired),
        (patient_id, 2, None, VersionConflict),
        (held, 1, None, LegalHold),
        (held, 1, frozenset({KeyClass.CONTACT}), LegalHold),
        (bare, 1, frozenset({KeyClass.SENSITIVE}), Invalid),
    ):
        with pytest.raises(refusal):
            await erase(OFFICER, REQUEST, one, version, classes, reason)
        [*_, leaf] = await it.house.leaves(act="erase")
        assert leaf["out"] == "denied"
    assert {one: await place.left(one) for one in before} == before
    assert [entry for one in before for entry in await _entries(it, one)] == []


async def test_a_second_time(it: Premises) -> None:
    """What was erased before is told as such, a class as well as the whole; what is left can still be erased."""
    patient_id = await person(it)
    contact, both = frozenset({KeyClass.CONTACT}), frozenset({KeyClass.CONTACT, KeyClass.SENSITIVE})
    await it.erase(patient_id, *contact)
    with pytest.raises(Erased):
        await it.erase(patient_id, *contact)
    await it.erase(patient_id, *both)
    with pytest.raises(Erased):
        await it.erase(patient_id, *both)
    await it.erase(patient_id)
    for classes in ((), contact):
        with pytest.raises(Erased):
            await it.erase(patient_id, *classes)
    assert [receipt.ledger_seq for receipt in await it.receipts(patient_id)] == [1, 2, 3]


# --- the log and the outbox -----------------------------------------------------------------------------------------


async def test_access_events_stay_under_a_name_that_leads_nowhere(it: Premises) -> None:
    """What was recorded before stays; the erasure, and what is tried later, stand under a name of their own."""
    patient_id = await person(it)
    await read(it, patient_id)
    [subject] = {leaf["pat"] for leaf in await it.house.leaves()}
    assert await it.house.events(patient_id=patient_id)
    before = await it.house.leaves(patient=subject)
    await it.erase(patient_id)
    for refused in (read(it, patient_id), it.erase(patient_id)):
        with pytest.raises(Erased):
            await refused
    assert await it.house.leaves(patient=subject) == before
    [*_, ended] = await it.house.leaves(act="erase", outcome="ok")
    assert (ended["out"], ended["why"], ended["obj"][0]["ver"]) == ("ok", "PATIENT_REQUEST", 2)
    assert set(ended["chg"]) == {path for row in FIELDS if row.key_class for path in row.paths or (row.name,)}
    assert ended["pat"] != subject
    found = await it.house.events(patient_id=patient_id)
    assert [event["reason"] for event in found] == ["ERASED", "ERASED", "PATIENT_REQUEST"]


async def test_a_class_takes_what_imports_knew_along(it: Premises) -> None:
    """A digest of all that a source said would let whoever has the index key guess at what was erased."""
    patient_id = await person(it)
    context = REQUEST.context(CLERK)
    async with it.house.services.store.writing(context, Act.IMPORT) as unit:
        await unit.remember({b"slot": (patient_id, b"digest")})
    async with it.house.services.store.reading(context, Act.IMPORT) as unit:
        assert await unit.slots([b"slot"])
    receipt = await it.erase(patient_id, KeyClass.SENSITIVE)
    async with it.house.services.store.reading(context, Act.IMPORT) as unit:
        assert not await unit.slots([b"slot"])
    assert receipt.index_waits_for == ("index/1",)


async def test_a_class_leaves_the_name_in_the_log(it: Premises) -> None:
    """The patient is still one, so their events are still theirs."""
    patient_id = await person(it)
    await it.erase(patient_id, KeyClass.SENSITIVE)
    assert [event["action"] for event in await it.house.events(patient_id=patient_id)] == ["erase", "create"]


async def test_others_are_told(it: Premises) -> None:
    """The outbox says at which version which fields changed, for a class and for the whole."""
    patient_id = await person(it)
    await it.erase(patient_id, KeyClass.CONTACT)
    await it.erase(patient_id)
    _, part, whole = await it.house.outbox()
    contact = sorted(field.name for field in CLASSES[KeyClass.CONTACT])
    assert (part["version"], orjson.loads(part["changed"])) == (2, contact)
    assert whole["version"] == 3
    assert set(orjson.loads(whole["changed"])) == {row.name for row in FIELDS if row.key_class}


# --- imports --------------------------------------------------------------------------------------------------------


async def _imported(it: Premises, text: str, **values: Any) -> Outcome | str:
    """What becomes of a record of one source about one person, who says this and these values."""
    imports = Imports(it.house.services.store, CLERK, REQUEST)
    await imports.admit()
    incoming = Incoming("lab", None, "7", (), text.encode())
    [known] = await imports.known([incoming])
    if known is not None and known.obstacle is not None:
        return known.obstacle.value
    [applied] = await imports.apply([(Draft(incoming, values, restricted=False), known)])
    return applied.outcome


async def test_an_import_does_not_fill_what_was_erased(it: Premises) -> None:
    """The nightly file says it all again: what was erased stays so, the rest is taken; a person may fill it."""
    said = {"preferred_name": "Zoe", "religion": "Quietist", "time_zone": "UTC"}
    assert await _imported(it, "one", **said) == Outcome.CREATED
    [[profile]] = [chunk async for chunk in Exports(it.house.services.store, CLERK, REQUEST).patients()]
    patient_id = profile["id"]
    await it.erase(patient_id, KeyClass.SENSITIVE)
    assert await _imported(it, "two", **{**said, "religion": "Other"}) == Outcome.UNCHANGED
    assert await _imported(it, "three", **{**said, "religion": "Other", "time_zone": "Europe/Paris"}) == Outcome.UPDATED
    after = await read(it, patient_id)
    assert isinstance(after["religion"], Erased)
    assert after["time_zone"] == "Europe/Paris"
    await change(it, patient_id, after["version"], {"religion": "Other"})
    assert (await read(it, patient_id))["religion"] == "Other"


async def test_an_import_about_somebody_who_was_erased(it: Premises) -> None:
    """Without an identity nobody is recognised, and with nothing left neither: the file brings a new patient."""
    said = {"preferred_name": "Zoe"}
    assert await _imported(it, "one", **said) == Outcome.CREATED
    exports = Exports(it.house.services.store, CLERK, REQUEST)
    [[first]] = [chunk async for chunk in exports.patients()]
    await it.erase(first["id"])
    assert await _imported(it, "one", **said) == Outcome.CREATED
    [[second]] = [chunk async for chunk in exports.patients()]
    assert second["id"] != first["id"]
    with pytest.raises(Erased):
        await read(it, first["id"])


async def _entries(it: Premises, patient_id: str) -> list[Any]:
    async with it.house.services.store.reading(REQUEST.context(OFFICER), Act.READ) as unit:
        return await unit.erasures(patient_id)
