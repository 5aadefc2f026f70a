"""Who an imported record is about, through the real services on both engines: two people are never taken for one."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, update

from auth.purposes import Purpose
from auth.roles import Role
from crm.audit.event import Act
from crm.domain.superseding import MergeReason, UnmergeReason
from crm.interchange import fhir_out, importer
from crm.interchange.importer import Summary
from crm.services.exports import Exports
from crm.services.imports import Imports
from crm.services.merging import Which
from crm.store.statements import prepare
from crm.store.tables import patient, patient_key, sealed_row, source_record
from tests.house import ORG, REQUEST, House, actor, house

CLERK = actor(Role.INTEGRATION)
RESTRICTED = {
    "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}],
    "versionId": "2",
}
MRN = "urn:example:mrn"

Take = Callable[..., Any]


@pytest.fixture
async def it(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A house on each engine."""
    async with house(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def take(it: House, tmp_path: Path) -> Take:
    """Imports resources and gives the numbers of created, updated, unchanged, rejected."""

    async def run(*resources: dict[str, Any], source: str = "fhir", reasons: dict[str, int] | None = None) -> Any:
        file = tmp_path / "in.ndjson"
        file.write_text("\n".join(map(json.dumps, resources)))
        imports = Imports(it.services.store, CLERK, REQUEST)
        await imports.admit()
        summary: Summary = await importer.run([file], imports, org=ORG, source=source, region="GB")
        assert dict(summary.by_reason) == (reasons or {})
        return tuple(summary.counts().values())

    return run


async def everybody(it: House) -> list[dict[str, Any]]:
    """All active patients in the order in which they were stored."""
    return [entry async for chunk in Exports(it.services.store, CLERK, REQUEST).patients() for entry in chunk]


async def families(it: House) -> list[str | None]:
    """The family name of each."""
    return [entry["names"][0]["family"] if entry.get("names") else None for entry in await everybody(it)]


async def rows(it: House, statement: Any, **values: Any) -> None:
    """Runs one statement on the tables, past the services."""
    async with it.database.transaction(ORG) as connection:
        await connection.execute(prepare(statement.where(statement.table.c.org == bindparam("org"))), org=ORG, **values)


def ann(**more: Any) -> dict[str, Any]:
    """Ann Smith, born 1950."""
    name = {"use": "official", "family": "Smith", "given": ["Ann"]}
    return {"resourceType": "Patient", "name": [name], "birthDate": "1950-01-01", **more}


def bob(**more: Any) -> dict[str, Any]:
    """Bob Jones, born 1980: nobody could take him for Ann."""
    name = {"use": "official", "family": "Jones", "given": ["Bob"]}
    return {"resourceType": "Patient", "name": [name], "birthDate": "1980-02-02", **more}


def number(value: str, system: str = MRN, **more: Any) -> list[dict[str, Any]]:
    """One identifier."""
    return [{"system": system, "value": value, **more}]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(ann(identifier=number("12-3")), bob(identifier=number("1-23")), id="dashes in numbers"),
        pytest.param(ann(identifier=number("ab-1")), bob(identifier=number("AB1")), id="case of numbers"),
        pytest.param(
            ann(id="1", identifier=number("12-3")), bob(id="1", identifier=number("123")), id="one id, dashes"
        ),
        pytest.param(
            ann(identifier=number("b|c", "urn:a")), bob(identifier=number("c", "urn:a|b")), id="bars in systems"
        ),
        pytest.param(ann(id="1"), bob(id="1"), id="one id"),
        pytest.param(ann(id="1", identifier=number("7")), bob(id="1"), id="one id, one of them numbered"),
        pytest.param(
            ann(identifier=number("9999999999")), bob(identifier=number("9999999999")), id="number of the nameless"
        ),
        pytest.param(
            ann(id="1", identifier=[*number("A"), *number("7", use="temp")]),
            bob(id="1", identifier=[*number("B"), *number("7")]),
            id="number lent",
        ),
    ],
)
async def test_two_people_stay_two(it: House, take: Take, first: dict[str, Any], second: dict[str, Any]) -> None:
    """In one file or in two, changed or not; and a second run knows each of them again."""
    assert await take(first) == (1, 0, 0, 0)
    assert await take(second) == (1, 0, 0, 0)
    assert await take(first, second) == (0, 0, 2, 0)
    assert await take(first, second) == (0, 0, 2, 0)
    changed = [{**one, "gender": "other"} for one in (first, second)]
    assert await take(*changed) == (0, 2, 0, 0)
    assert await families(it) == ["Smith", "Jones"]


async def test_a_number_of_the_past_is_nobodys(it: House, take: Take) -> None:
    """Old and temporary numbers are given out again, so they identify neither who comes nor who is stored."""
    for use in ("old", "temp"):
        people = [ann(identifier=number("7", use=use)), bob(identifier=number("7", use=use))]
        assert await take(*people) == (2, 0, 0, 0)
        assert await take(*people) == (0, 0, 2, 0)
    assert await take(ann(identifier=number("7"))) == (1, 0, 0, 0)


async def test_a_number_of_another_source_says_nothing(it: House, take: Take) -> None:
    """Without a resource id a record is known by its number in its own source only."""
    assert await take(ann(id="1", identifier=number("7")), source="north-pas") == (1, 0, 0, 0)
    assert await take(ann(identifier=number("7")), source="south-pas") == (1, 0, 0, 0)
    news = ann(identifier=number("7"), gender="female")
    assert await take(news, source="south-pas") == (0, 1, 0, 0)
    assert len(await everybody(it)) == 2


@pytest.mark.parametrize("shared", [{"id": "1"}, {"id": "1", "identifier": number("7")}, {"identifier": number("7")}])
async def test_news_of_one_person(it: House, take: Take, shared: dict[str, Any]) -> None:
    """One of the two, a new family name or a mended birth date, makes nobody another person."""
    assert await take(ann(**shared)) == (1, 0, 0, 0)
    married = ann(**shared) | {"name": [{"family": "Baker"}]}
    assert await take(married) == (0, 1, 0, 0)
    assert await take(married | {"birthDate": "1950-01-02"}) == (0, 1, 0, 0)
    assert len(await everybody(it)) == 1


async def test_our_name_on_another_file_opens_nobody(it: House, take: Take) -> None:
    """Whoever writes `urn:heed:` and an id of ours is believed only where the person fits."""
    await take(ann(id="77", identifier=number("M1")))
    ona = await it.register({"preferred_name": "Ona"})
    await take(ann(id="78"))
    stored = await everybody(it)
    ours = {"source": f"urn:heed:{ORG}"}
    strangers = [bob(id=entry["id"], meta=ours) for entry in stored]
    assert await take(*strangers, bob(id="nobody", meta=ours), source="partner") == (4, 0, 0, 0)
    assert (await everybody(it))[:3] == stored
    assert ona["id"] in {entry["id"] for entry in stored}
    assert await take(*strangers, source="partner") == (0, 0, 3, 0)
    numbered = bob(id=stored[0]["id"], meta=ours, identifier=number("Z9"))
    assert await take(numbered) == (1, 0, 0, 0)


async def test_our_own_export_comes_home(it: House, take: Take) -> None:
    """With a number, with a name only, with nothing at all: nobody is doubled, and a correction is taken."""
    await take(ann(id="1", identifier=number("7")), ann(id="2"), {"resourceType": "Patient", "id": "3"})
    out = [fhir_out.patient_of(entry, org=ORG, patient_id=entry["id"]) for entry in await everybody(it)]
    assert await take(*out) == (0, 0, 3, 0)
    out[1]["gender"] = "female"
    assert await take(*out) == (0, 1, 2, 0)


async def test_who_bears_a_crowded_id(it: House, take: Take) -> None:
    """A bare record that could be either of two people overwrites neither; where its name fits one, it is that one."""
    await take(ann(id="1", identifier=number("A")), bob(id="1", identifier=number("B")))
    assert await take({"resourceType": "Patient", "id": "1", "gender": "other"}) == (1, 0, 0, 0)
    assert await families(it) == ["Smith", "Jones", None]
    assert await take({"resourceType": "Patient", "id": "1", "name": [{"family": "Jones"}]}) == (0, 1, 0, 0)
    both = ann(id="1", identifier=[*number("A"), *number("C")])
    assert await take(both) == (0, 1, 0, 0)
    await take(bob(id="1", identifier=[*number("B")]))
    either = ann(id="1", identifier=[*number("A"), *number("B")])
    assert await take(either, reasons={"identity_conflict": 1}) == (0, 0, 0, 1)


async def test_a_moved_slot_moves_nobody(it: House, take: Take) -> None:
    """What says whose record it is stands sealed in the record: rows beside it convince nobody."""
    first, second = ann(id="1", identifier=number("A")), bob(id="2", identifier=number("B"))
    await take(first, second)
    ids = [entry["id"] for entry in await everybody(it)]
    await rows(it, update(source_record).values(patient_id=bindparam("somebody")), somebody=ids[1])
    assert await take(first | {"gender": "female"}) == (0, 1, 0, 0)
    assert [(one["id"], one["version"]) for one in await everybody(it)] == [(ids[0], 2), (ids[1], 1)]


async def test_the_last_word_of_a_file_counts(it: House, take: Take) -> None:
    """An older version behind a newer one is not passed over because it is what is stored; nor is a restriction."""
    old, new = ann(id="9"), ann(id="9", gender="female", meta=RESTRICTED)
    await take(old)
    assert await take(new, old) == (0, 2, 0, 0)
    [stored] = await everybody(it)
    assert (stored["restricted"], stored.get("administrative_gender")) == (True, None)
    assert await take(new, old) == (0, 0, 2, 0)
    assert await take(old, new) == (0, 1, 1, 0)
    assert await take(new) == (0, 0, 1, 0)
    assert await take(old) == (0, 1, 0, 0)


async def test_a_restriction_is_put_back(it: House, take: Take) -> None:
    """A source that goes on saying that a record is confidential is heard although it says nothing new."""
    await take(ann(id="9", meta=RESTRICTED), ann(id="9", meta=RESTRICTED, gender="female"))
    [stored] = await everybody(it)
    async with it.services.store.writing(REQUEST.context(CLERK), Act.UPDATE) as unit:
        record = (await unit.load_for_change([stored["id"]]))[stored["id"]]
        unit.change(record, {"restricted": False}, "test")
    created, updated, unchanged, rejected = await take(
        ann(id="9", meta=RESTRICTED), ann(id="9", meta=RESTRICTED, gender="female")
    )
    assert (created, updated + unchanged, rejected) == (0, 2, 0)
    [again] = await everybody(it)
    assert (again["restricted"], again["administrative_gender"]) == (True, "FEMALE")


async def test_an_import_says_which_restriction(it: House, take: Take) -> None:
    """A source has a restriction of its own, beside that of an officer: with one lifted, the other goes on.

    It does not take away an officer's by saying nothing of it, and says its own once.
    """
    officer, places = actor(Role.PRIVACY_OFFICER), it.services.restrictions
    await take(ann(id="9"))
    [stored] = await everybody(it)
    wanted, asked = {"kind": "RECORD", "basis": "COURT_ORDER"}, frozenset({"restricted", "restrictions"})
    await places.place(officer, REQUEST, stored["id"], 1, wanted, asked)
    assert await take(ann(id="9", meta=RESTRICTED)) == (0, 1, 0, 0)
    assert await take(ann(id="9", meta=RESTRICTED, gender="female")) == (0, 1, 0, 0)
    [stored] = await everybody(it)
    court, theirs = stored["restrictions"]
    assert [(one["basis"], one["placed_by"]) for one in (court, theirs)] == [
        ("COURT_ORDER", "u-1"),
        ("SOURCE_SYSTEM", "fhir"),
    ]
    after = await places.lift(officer, REQUEST, stored["id"], stored["version"], court["id"], asked)
    assert after["restricted"] is True
    after = await places.lift(officer, REQUEST, stored["id"], after["version"], theirs["id"], asked)
    assert after["restricted"] is False
    assert await take(ann(id="9", gender="other")) == (0, 1, 0, 0)
    [stored] = await everybody(it)
    assert (stored["restricted"], stored["restrictions"]) == (False, after["restrictions"])
    assert await take(ann(id="9", meta=RESTRICTED)) == (0, 1, 0, 0)
    [stored] = await everybody(it)
    assert (stored["restricted"], len(stored["restrictions"])) == (True, 3)


async def test_a_new_record_is_restricted_by_its_source(it: House, take: Take) -> None:
    """Also when the import is what made the record."""
    await take(ann(id="9", meta=RESTRICTED), source="pas")
    [stored] = await everybody(it)
    assert (stored["restricted"], [one["placed_by"] for one in stored["restrictions"]]) == (True, ["pas"])


async def test_what_a_person_confirms_is_theirs(it: House, take: Take) -> None:
    """Submitting the very value an import stored is a change of provenance: the next import does not overwrite it."""
    await take(ann(id="1", gender="female", telecom=[{"system": "phone", "value": "+447700900123"}]))
    [stored] = await everybody(it)
    changes, me = it.services.changes, actor(Role.FRONT_DESK)
    same = {"birth_date": "1950-01-01"}
    after = await changes.update(me, REQUEST, stored["id"], 1, same, frozenset({"birthDate"}))
    assert (after["version"], after["birth_date"]) == (2, "1950-01-01")
    assert json.loads((await it.outbox())[-1]["changed"]) == ["provenance"]
    again = await changes.update(me, REQUEST, stored["id"], 2, same, frozenset())
    assert again["version"] == 2
    assert await take(ann(id="1", gender="male") | {"birthDate": "1951-01-01"}) == (0, 1, 0, 0)
    [stored] = await everybody(it)
    assert (stored["birth_date"], stored["administrative_gender"]) == ("1950-01-01", "MALE")


async def test_an_application_is_no_source(it: House, take: Take) -> None:
    """An application that happens to bear the name of a source does not hand its users' words to imports."""
    phone = [{"system": "phone", "value": "+447700900123"}]
    await take(ann(id="1", telecom=phone))
    [stored] = await everybody(it)
    me = replace(actor(Role.FRONT_DESK), client_id="fhir")
    point = {"system": "PHONE", "value": "+447700900999"}
    await it.services.changes.add_contact_point(me, REQUEST, stored["id"], 1, point, frozenset())
    assert await take(ann(id="1", telecom=phone, gender="female")) == (0, 1, 0, 0)
    [stored] = await everybody(it)
    assert [one["value"] for one in stored["contact_points"]] == ["+447700900123", "+447700900999"]


async def test_one_patient_in_the_way_costs_one_record(it: House, take: Take) -> None:
    """Erased or damaged: that record is refused, the others of its chunk are stored, and the run goes on."""
    await take(ann(id="1"), bob(id="2"), ann(id="3"))
    ids = [entry["id"] for entry in await everybody(it)]
    shred = (
        update(patient_key).where(patient_key.c.patient_id == bindparam("id_")).values(state="shredded", wrapped=None)
    )
    await rows(it, shred, id_=ids[0])
    broken = update(sealed_row).where(sealed_row.c.patient_id == bindparam("id_")).values(seal=bindparam("zeros"))
    await rows(it, broken, id_=ids[1], zeros=bytes(28))
    news = [ann(id="1", gender="female"), bob(id="2", gender="male"), ann(id="3", gender="female"), ann(id="4")]
    assert await take(*news, reasons={"patient_erased": 1, "patient_damaged": 1}) == (1, 1, 0, 2)
    assert any(leaf["why"] == "TAMPERED" for leaf in await it.leaves(act="import", outcome="error"))
    erased = update(patient).where(patient.c.id == bindparam("id_")).values(status="erased")
    await rows(it, erased, id_=ids[2])
    assert await take(ann(id="3", gender="male"), reasons={"patient_erased": 1}) == (0, 0, 0, 1)


async def test_damage_behind_the_identity_costs_one_record(it: House, take: Take) -> None:
    """The person is recognised, but another part of the record cannot be opened: found while storing."""
    await take(ann(id="1", gender="female"), bob(id="2"))
    ids = [entry["id"] for entry in await everybody(it)]
    here = (sealed_row.c.patient_id == bindparam("id_"), sealed_row.c.key_class == "sensitive")
    await rows(it, update(sealed_row).where(*here).values(seal=bindparam("zeros")), id_=ids[0], zeros=bytes(28))
    news = [ann(id="1", gender="male"), bob(id="2", gender="male")]
    assert await take(*news, reasons={"patient_damaged": 1}) == (0, 1, 0, 1)


async def test_records_of_both_find_the_survivor_of_a_merge(it: House, take: Take) -> None:
    """What a source says of a merged record is said of the one it was merged into; undone, each finds its own again."""
    one = {"resourceType": "Patient", "id": "a-1", "name": [{"family": "Nwosu", "given": ["Ada"]}]}
    other = {**one, "id": "b-2", "name": [{"family": "Nwosu", "given": ["Adele"]}], "gender": "female"}
    assert await take(one, other) == (2, 0, 0, 0)
    ids = [entry["id"] for entry in await everybody(it)]
    if (await everybody(it))[0]["names"][0]["given"] != ["Ada"]:
        ids.reverse()
    officer, nothing = actor(Role.INTEGRATION, purpose=Purpose.RECORDMGT), frozenset[str]()
    await it.services.merging.merge(officer, REQUEST, Which(ids[0], 1, ids[1], 1), MergeReason.SOURCE_MERGED, nothing)
    assert await take(one, other) == (0, 0, 2, 0)
    assert await take({**other, "gender": "other"}) == (0, 1, 0, 0)
    assert [entry["id"] for entry in await everybody(it)] == [ids[0]]
    exported = fhir_out.patient_of({**(await everybody(it))[0]}, org=ORG, patient_id=ids[1])
    assert (await take(exported, source=f"urn:heed:{ORG}"))[0] == 0  # our own export under the old id makes nobody new
    version = (await it.services.profiles.read(officer, REQUEST, ids[0], frozenset({"active"})))["version"]
    which = Which(ids[0], version, ids[1])
    await it.services.merging.unmerge(officer, REQUEST, which, UnmergeReason.SOURCE_UNMERGED, nothing)
    assert await take({**other, "birthDate": "1971"}) == (0, 1, 0, 0)
    assert {entry["id"]: entry.get("birth_date") for entry in await everybody(it)} == {ids[0]: None, ids[1]: "1971"}
