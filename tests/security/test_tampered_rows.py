"""Rows moved, replayed and edited in the database itself, on both engines: an error and an event, never a value."""

from collections.abc import Callable
from typing import Any

import pytest

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import KeyClass
from crm.crypto.box import pack, unpack
from tests.asking import question
from tests.house import OTHER_ORG, REQUEST, actor
from tests.people import WHOLE
from tests.scene import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLASSES = tuple(each.value for each in KeyClass)


@pytest.mark.parametrize("key_class", CLASSES)
@pytest.mark.parametrize(
    "columns", [("cells",), ("cells", "seal"), ("cells", "seal", "version", "provenance"), ("cells", "seal", "wrapped")]
)
async def test_e02_another_patients_row(scene: Scene, key_class: str, columns: tuple[str, ...]) -> None:
    """Cells, with their seal, even with their key, open for nobody but the patient they were sealed for."""
    one, two = await scene.person(), await scene.person()
    mine, theirs = await scene.intruder.row(one, key_class), await scene.intruder.row(two, key_class)
    await scene.intruder.write(one, key_class, **{name: theirs[name] for name in columns})
    await scene.refused(one)
    await scene.whole_again(two)
    await scene.intruder.write(one, key_class, **{name: mine[name] for name in columns})
    await scene.whole_again(one)


async def test_e02_another_organisations_row(scene: Scene) -> None:
    """A row and its key of another organisation's patient do not open here."""
    one, foreign = await scene.person(), await scene.person(OTHER_ORG)
    for key_class in CLASSES:
        mine, theirs = await scene.intruder.row(one, key_class), await scene.intruder.row(foreign, key_class)
        await scene.intruder.write(one, key_class, **theirs)
        await scene.refused(one)
        await scene.intruder.write(one, key_class, **mine)
    await scene.whole_again(one)


async def test_e02_a_record_carried_over_the_wall(scene: Scene) -> None:
    """All rows of a patient, moved to another organisation in SQL, are found there and open to nobody."""
    one = await scene.person(OTHER_ORG)
    url = scene.intruder
    columns = "id, version, status, restricted, classes, audit_subject, created_at, updated_at"
    await url.run(
        f"INSERT INTO patient (org, {columns}) SELECT 'north-clinic', {columns} FROM patient WHERE id = ?", one
    )
    for table, names in (
        ("sealed_row", "patient_id, key_class, version, dek_no, cells, seal, provenance"),
        ("patient_key", "patient_id, key_class, dek_no, epoch, wrapped, state"),
    ):
        await url.run(
            f"INSERT INTO {table} (org, {names}) SELECT 'north-clinic', {names} FROM {table} WHERE patient_id = ?", one
        )
    for selection in ("displayName", "contactPoints { value }", "timeZone", "religion"):
        await scene.incident(question(selection), one)


@pytest.mark.parametrize("source", CLASSES)
async def test_e03_another_class_of_the_same_patient(scene: Scene, source: str) -> None:
    """A row of one class in the place of another opens neither there nor with its own key."""
    one = await scene.person()
    target = CLASSES[CLASSES.index(source) - 1]
    mine, other = await scene.intruder.row(one, target), await scene.intruder.row(one, source)
    for columns in (other, {key: other[key] for key in ("cells", "seal")}):
        await scene.intruder.write(one, target, **columns)
        await scene.refused(one)
    await scene.intruder.write(one, target, **mine)
    await scene.whole_again(one)


@pytest.mark.parametrize("key_class", ["identity", "preference", "sensitive"])
@pytest.mark.parametrize("columns", [("cells",), ("seal",), ("cells", "seal"), ("cells", "version")])
async def test_e08_an_old_row_is_not_replayed(scene: Scene, key_class: str, columns: tuple[str, ...]) -> None:
    """Yesterday's cells do not come back beside today's seal, nor yesterday's seal beside today's version."""
    one = await scene.person()
    old = await scene.intruder.row(one, key_class)
    await scene.change(one, 1)
    new = await scene.intruder.row(one, key_class)
    await scene.intruder.write(one, key_class, **{name: old[name] for name in columns})
    await scene.refused(one)
    await scene.intruder.write(one, key_class, **new)
    await scene.whole_again(one)


@pytest.mark.parametrize("key_class", CLASSES)
async def test_e08_one_old_cell_is_not_replayed(scene: Scene, key_class: str) -> None:
    """A single cell, properly sealed for this very place but replaced since, breaks the seal of its row."""
    one = await scene.person()
    old = unpack((await scene.intruder.row(one, key_class))["cells"])
    query = """mutation C($id: ID!) {
      i: updatePreferences(input: {patientId: $id, expectedVersion: 1, preferredName: "B", timeZone: "UTC",
        pronouns: "b/b"}) { version }
      c: addContactPoint(input: {patientId: $id, expectedVersion: 2, contactPoint: {system: OTHER, value: "b"}})
        { version } }"""
    await scene.it.data(query, Role.INTEGRATION, variables={"id": one})
    new = await scene.intruder.row(one, key_class)
    cells = unpack(new["cells"])
    [replaced] = [number for number, cell in cells.items() if old.get(number) != cell]
    await scene.intruder.write(one, key_class, cells=pack({**cells, replaced: old[replaced]}))
    await scene.refused(one)
    del cells[replaced]
    await scene.intruder.write(one, key_class, cells=pack(cells))
    await scene.refused(one)


Edit = Callable[[dict[str, Any]], dict[str, Any]]


def flipped(name: str, place: float) -> Edit:
    """One bit of a column turned, at a fraction of its length."""

    def edit(row: dict[str, Any]) -> dict[str, Any]:
        octets = bytearray(row[name])
        octets[min(int(len(octets) * place), len(octets) - 1)] ^= 1
        return {name: bytes(octets)}

    return edit


FLIPS: dict[str, Edit] = {
    f"{name} at {place}": flipped(name, place) for name in ("cells", "seal", "wrapped") for place in (0, 0.4, 1)
}
CUTS: dict[str, Edit] = {
    "cells cut": lambda row: {"cells": row["cells"][:-1]},
    "cells longer": lambda row: {"cells": row["cells"] + b"\0"},
    "cells emptied": lambda row: {"cells": b""},
    "cells gone": lambda row: {"cells": None},
    "cells in plain text": lambda row: {"cells": b'{"preferred_name": "Zoe", "pronouns": "ze/zir", "religion": null}'},
    "seal cut": lambda row: {"seal": row["seal"][:-1]},
    "seal gone": lambda row: {"seal": None},
    "wrapped cut": lambda row: {"wrapped": row["wrapped"][:-1]},
    "wrapped in plain": lambda row: {"wrapped": bytes(32)},
}
CLEAR: dict[str, Edit] = {
    "an older version": lambda row: {"version": row["version"] - 1},
    "a newer version": lambda row: {"version": row["version"] + 1},
    "another data key": lambda row: {"dek_no": row["dek_no"] + 1},
    "provenance": lambda row: {"provenance": row["provenance"].replace("test-client", "some-client")},
    "a space in the provenance": lambda row: {"provenance": row["provenance"] + " "},
}


async def _edited(scene: Scene, edit: Edit) -> None:
    """The row is not believed while it is edited, in the class that comes first and in the one that comes last."""
    one = await scene.person()
    for key_class in ("identity", "sensitive"):
        row = await scene.intruder.row(one, key_class)
        await scene.intruder.write(one, key_class, **edit(row))
        await scene.refused(one)
        await scene.intruder.write(one, key_class, **row)
    await scene.whole_again(one)


@pytest.mark.parametrize("name", FLIPS)
async def test_e04_a_flipped_bit(scene: Scene, name: str) -> None:
    """One bit of what is sealed, turned in SQL."""
    await _edited(scene, FLIPS[name])


@pytest.mark.parametrize("name", CUTS)
async def test_e05_a_row_cut_or_in_plain(scene: Scene, name: str) -> None:
    """Sealed octets that were shortened, lengthened, removed or replaced by plain ones are no value."""
    await _edited(scene, CUTS[name])


@pytest.mark.parametrize("name", CLEAR)
async def test_e09_an_edited_clear_column(scene: Scene, name: str) -> None:
    """A number or a text that stands in the clear beside the cells."""
    await _edited(scene, CLEAR[name])


@pytest.mark.parametrize("key_class", CLASSES)
async def test_e09_a_restriction_is_not_lifted_in_sql(scene: Scene, key_class: str) -> None:
    """The flag that withholds an address is vouched for by every row: changed in the clear, nothing opens."""
    field = {
        "identity": "displayName",
        "contact": "addresses { city }",
        "preference": "timeZone",
        "sensitive": "pronouns",
    }[key_class]
    for before, after in ((True, 0), (False, 1)):
        one = await scene.it.house.store({**WHOLE, "restricted": before})
        await scene.intruder.run(f"UPDATE patient SET restricted = {after} WHERE id = ?", one)
        answer, [leaf] = await scene.it.watched(question(field), Role.PATIENT, variables={"id": one}, patient=one)
        assert answer.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert (leaf["out"], leaf["why"]) == ("error", "TAMPERED")
        await scene.intruder.run(f"UPDATE patient SET restricted = {int(before)} WHERE id = ?", one)
        await scene.whole_again(one)


CLEAR_EDITS = {
    "status": "UPDATE patient SET status = 'merged' WHERE id = ?",
    "age": "UPDATE patient SET created_at = created_at - 1 WHERE id = ?",
    "name in the log": f"UPDATE patient SET audit_subject = '{'e' * 32}' WHERE id = ?",
    "one class less": """UPDATE patient SET classes = '["identity","preference","sensitive"]' WHERE id = ?""",
    "no classes": "UPDATE patient SET classes = '[]' WHERE id = ?",
}


@pytest.mark.parametrize("name", CLEAR_EDITS)
async def test_e09_an_edited_clear_row(scene: Scene, name: str) -> None:
    """The clear row decides who is written to, restricted, found and logged: every sealed row vouches for it."""
    one = await scene.person()
    await scene.intruder.run(CLEAR_EDITS[name], one)
    await scene.refused(one)


@pytest.mark.parametrize("key_class", CLASSES)
async def test_e09_a_row_that_was_taken_away(scene: Scene, key_class: str) -> None:
    """A telephone number that vanished with its row is an error, not a person without a telephone."""
    one = await scene.person()
    await scene.intruder.run(f"DELETE FROM sealed_row WHERE key_class = '{key_class}' AND patient_id = ?", one)
    await scene.refused(one)
    # Nor when every trace of the class is removed: the other rows know that it was there.
    await scene.intruder.run(f"DELETE FROM patient_key WHERE key_class = '{key_class}' AND patient_id = ?", one)
    left = "[" + ",".join(f'"{other}"' for other in sorted(CLASSES) if other != key_class) + "]"
    await scene.intruder.run("UPDATE patient SET classes = ? WHERE id = ?", left, one)
    await scene.refused(one)


async def test_a_restriction_is_set_and_lifted_by_the_rules(scene: Scene) -> None:
    """The service itself seals all rows anew when the flag changes."""
    one = await scene.person()
    store = scene.it.house.services.store
    for flag in (True, False):
        async with store.writing(REQUEST.context(actor(Role.INTEGRATION)), Act.UPDATE) as unit:
            record = (await unit.load_for_change([one]))[one]
            assert unit.change(record, {"restricted": flag}, "test") == ["restricted"]
        await scene.whole_again(one)
        found = await scene.it.data(question("restricted addresses { city }"), variables={"id": one})
        assert found["patient"] == {"restricted": flag, "addresses": None if flag else [{"city": "Leeds"}]}


async def test_e04_a_search_does_not_step_over_a_tampered_row(scene: Scene) -> None:
    """A candidate that cannot be believed is an error, not a missing hit: nobody may be made to disappear."""
    family = "Tamperidge"
    values = {**WHOLE, "names": [{"family": family, "given": ["Una"]}], "identifiers": []}
    one = (await scene.it.house.register(values))["id"]
    row = await scene.intruder.row(one, "identity")
    await scene.intruder.write(one, "identity", **flipped("cells", 0.2)(row))
    query = f'{{ searchPatients(by: {{fullName: "Una {family}"}}) {{ edges {{ node {{ id }} }} }} }}'
    answer, [leaf] = await scene.it.watched(query, Role.CLINICIAN)
    assert answer.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("query", "error", "TAMPERED")


async def test_e21_a_blind_index_that_points_elsewhere(scene: Scene) -> None:
    """Index rows moved to another patient find nobody: a hit is confirmed by what is sealed."""
    one, two = await scene.person(), await scene.person()
    unique = {"contact_points": [{"system": "PHONE", "value": "+447700900555"}]}
    three = (await scene.it.house.register(unique))["id"]
    move = "UPDATE blind_index SET patient_id = ? WHERE patient_id = ? AND index_code = 2"
    await scene.intruder.run(move, two, three)
    query = '{ searchPatients(by: {phone: "+447700900555"}) { edges { node { id } } } }'
    assert (await scene.it.data(query))["searchPatients"]["edges"] == []
    await scene.whole_again(one)


async def test_a_shredded_key(scene: Scene) -> None:
    """A class whose key was destroyed is erased, not broken: told as such, field by field, and recorded."""
    one = await scene.person()
    await scene.intruder.run("UPDATE patient_key SET state = 'shredded', wrapped = NULL WHERE patient_id = ?", one)
    answer, [leaf] = await scene.it.watched(question("displayName"), variables={"id": one})
    assert answer.json()["errors"][0]["extensions"] == {"code": "ERASED"}
    assert (leaf["out"], leaf["why"], "fld" in leaf) == ("partial", "ERASED", False)
