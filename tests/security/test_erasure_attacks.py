"""Attacks on erasure in the live service, E-30 to E-32: nothing answers, nothing is left, nothing comes back."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, bindparam, update

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import BY_NAME
from crm.crypto.box import unpack
from crm.domain.erasure import ErasureReason
from crm.errors import Erased, VersionConflict
from crm.services.exports import Exports
from crm.store.record import Record
from crm.store.statements import prepare
from crm.store.tables import patient, patient_key, sealed_row
from crm.store.unit import WritingUnit
from tests.asking import EVERYTHING, question
from tests.client import client
from tests.conftest import Databases
from tests.durable import durable
from tests.house import ORG, REQUEST, actor
from tests.intruder import Intruder
from tests.people import WHOLE
from tests.premises import Place, Premises, opened
from tests.processes import done, founded, serving

OFFICER = actor(Role.PRIVACY_OFFICER)
CLERK = actor(Role.INTEGRATION)

SEARCHES = (
    '{ phone: "+447700900321" }',
    '{ email: "zoleka@example.test" }',
    '{ fullName: "Zoleka Wanjiru" }',
    '{ familyName: "Wanjiru", birthDate: "1990-02-17" }',
    '{ identifier: { system: "urn:example:hospital-number", value: "H-7781" } }',
)


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A place of its own, with keys and records in one database."""
    return Place(database_url, tmp_path)


# --- E-30 -----------------------------------------------------------------------------------------------------------


async def test_e30_nothing_answers(database_url: str, tmp_path: Path) -> None:
    """Read, batch, search, change and export of an erased patient: ERASED or nobody; and they found them before."""
    async with client(database_url, tmp_path) as it:
        house = it.house
        gone, other = [(await house.register(WHOLE))["id"] for _ in range(2)]
        exports = Exports(house.services.store, OFFICER, REQUEST)

        async def found(by: str) -> list[str]:
            data = await it.data(f"{{ searchPatients(by: {by}) {{ edges {{ node {{ id }} }} }} }}")
            return [edge["node"]["id"] for edge in data["searchPatients"]["edges"]]

        async def exported() -> set[str]:
            return {profile["id"] async for chunk in exports.patients() for profile in chunk}

        for by in SEARCHES:
            assert await found(by) == sorted([gone, other])
        assert await exported() == {gone, other}
        assert (await exports.patient(gone))["preferred_name"] == "Zoe"
        await house.services.erasures.erase(OFFICER, REQUEST, gone, 1, None, ErasureReason.PATIENT_REQUEST)

        answer, [leaf] = await it.watched(question(EVERYTHING), Role.CLINICIAN, variables={"id": gone})
        assert answer.json()["data"] == {"patient": None}
        assert [error["extensions"] for error in answer.json()["errors"]] == [{"code": "ERASED"}]
        assert (leaf["out"], leaf["why"], "fld" in leaf) == ("denied", "ERASED", False)
        many = "query B($ids: [ID!]!) { patients(ids: $ids) { ... on Patient { id } ... on Refusal { id code } } }"
        batch = await it.data(many, variables={"ids": [gone, other]})
        assert batch["patients"] == [{"id": gone, "code": "ERASED"}, {"id": other}]
        for by in SEARCHES:
            assert await found(by) == [other]
        target = f'patientId: "{gone}", expectedVersion: 2'
        change = f'mutation {{ updatePreferences(input: {{ {target}, timeZone: "UTC" }}) {{ id }} }}'
        assert await it.codes(change) == ["ERASED"]
        assert await exported() == {other}
        with pytest.raises(Erased):
            await exports.patient(gone)


async def _with_a_past(it: Premises) -> str:
    """Somebody of whom a field in every class was changed once."""
    patient_id = str((await it.house.register(WHOLE))["id"])
    async with it.house.services.store.writing(REQUEST.context(CLERK), Act.UPDATE) as unit:
        record = (await unit.load_for_change([patient_id]))[patient_id]
        said = {"preferred_name": "Neu", "contact_points": [], "time_zone": "UTC", "religion": "Other"}
        unit.change(record, said, "test")
    return patient_id


async def test_e30_nothing_is_left_in_the_tables(place: Place) -> None:
    """No key, cell, seal, provenance, search value, report of a source or former version is left; others' are."""
    async with opened(place) as it:
        gone, other = [await _with_a_past(it) for _ in range(2)]
        async with it.house.services.store.writing(REQUEST.context(CLERK), Act.IMPORT) as unit:
            await unit.remember({b"slot of gone": (gone, bytes(32)), b"slot of other": (other, bytes(32))})
        before = await place.left(gone)
        assert all(before.values())
        assert await place.left(other) == before
        await it.erase(gone)
        assert set((await place.left(gone)).values()) == {0}
        assert await place.left(other) == before


async def test_e30_no_octet_is_left_in_the_file(databases: Databases, tmp_path: Path) -> None:
    """SQLite: wrapped keys and envelopes stand in file or write-ahead log before, and in neither after the erasure."""
    url = databases.create("sqlite")
    async with opened(Place(url, tmp_path)) as it:
        gone = await _with_a_past(it)
        secrets = _octets(url, gone)
        assert all(secret in _heap(url) for secret in secrets)
        async with it.house.services.store.writing(REQUEST.context(OFFICER), Act.ERASE) as unit:
            await unit.erase((await unit.load_for_change([gone]))[gone], None, "PATIENT_REQUEST")
        # The control: committed, and still there for whoever reads the write-ahead log.
        assert any(secret in _heap(url) for secret in secrets)
        assert await it.house.database.scrub()
        assert not any(secret in _heap(url) for secret in secrets)

        another = await _with_a_past(it)
        secrets = _octets(url, another)
        await it.erase(another)
        assert not any(secret in _heap(url) for secret in secrets)
    databases.drop(url)


async def test_e30_a_reader_in_the_way_of_scrubbing(databases: Databases, tmp_path: Path) -> None:
    """SQLite: while another process reads an older state the old octets stay; that is said, and made up for."""
    url = databases.create("sqlite")
    async with opened(Place(url, tmp_path)) as it:
        gone = (await it.house.register(WHOLE))["id"]
        secrets = _octets(url, gone)
        reader = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM patient").fetchone()
        await it.erase(gone)
        assert not await it.house.database.scrub()
        assert any(secret in _heap(url) for secret in secrets)
        reader.close()
        assert await it.house.database.scrub()
        assert not any(secret in _heap(url) for secret in secrets)
    databases.drop(url)


def _octets(url: str, patient_id: str) -> list[bytes]:
    """Wrapped keys and whole envelopes of a patient, as they are stored now."""
    file = sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)
    keys = [row[0] for row in file.execute("SELECT wrapped FROM patient_key WHERE patient_id = ?", (patient_id,))]
    boxes = [
        row[0]
        for table in ("sealed_row", "sealed_version")
        for row in file.execute(f"SELECT cells FROM {table} WHERE patient_id = ?", (patient_id,))
    ]
    file.close()
    found = [*keys, *(envelope for box in boxes for envelope in unpack(box).values())]
    assert len(found) > 20
    return found


def _heap(url: str) -> bytes:
    file = Path(url.removeprefix("sqlite:///"))
    log = file.with_name(f"{file.name}-wal")
    return file.read_bytes() + (log.read_bytes() if log.exists() else b"")


# --- E-31 -----------------------------------------------------------------------------------------------------------


async def test_e31_many_writers_at_once(place: Place) -> None:
    """Changes and an erasure of one patient at the same time: each change is before it or refused, none after it."""
    async with opened(place) as it:
        gone = (await it.house.register(WHOLE))["id"]

        async def change(number: int) -> str:
            values = {"preferred_name": f"Zoe {number}", "contact_points": [], "religion": "Other"}
            for version in range(1, 20):
                try:
                    await it.house.services.changes.update(CLERK, REQUEST, gone, version, values, frozenset())
                except VersionConflict:
                    continue
                except Erased:
                    return "erased"
                return "changed"
            return "overtaken"

        work = [change(number) for number in range(8)]
        outcomes = await asyncio.gather(*work[:4], it.erase(gone), *work[4:])
        assert {"erased"} <= set(outcomes[:4]) | set(outcomes[5:]) <= {"erased", "changed"}
        assert set((await place.left(gone)).values()) == {0}


Late = Callable[[WritingUnit, Record], Awaitable[None]]


async def _late_fields(unit: WritingUnit, record: Record) -> None:
    """Fields of every class, under the data keys that the writer unwrapped before."""
    values = {"time_zone": "UTC", "religion": "Other", "preferred_name": "Back", "contact_points": []}
    unit.change(record, values, "late")


async def _late_report(unit: WritingUnit, record: Record) -> None:
    """What an import remembers of its source."""
    await unit.remember({b"late": (record.id, bytes(32))})


@pytest.mark.parametrize("late", [_late_fields, _late_report])
async def test_e31_a_writer_that_locked_nothing(place: Place, late: Late) -> None:
    """Somebody who read the record before the erasure and writes after it is refused by the database: ERASED.

    Without its triggers, the control, the same writer brings the patient back.
    """
    async with opened(place) as it:
        gone, back = [(await it.house.register(WHOLE))["id"] for _ in range(2)]
        stale = await _read_without_lock(it, [gone, back])
        await it.erase(gone)
        context = REQUEST.context(CLERK)
        with pytest.raises(Erased):
            async with it.house.services.store.writing(context, Act.UPDATE, [gone]) as unit:
                await late(unit, stale[gone])
        assert set((await place.left(gone)).values()) == {0}
        [leaf] = await it.house.leaves(outcome="denied")
        assert (leaf["act"], leaf["why"]) == ("update", "ERASED")

        await it.erase(back)
        await _without_triggers(place.url)
        await Intruder(place.url).run("DELETE FROM patient_version")  # which holds that version already
        async with it.house.services.store.writing(context, Act.UPDATE, [back]) as unit:
            await late(unit, stale[back])
        assert any((await place.left(back)).values())


async def test_e31_keys_and_patients_do_not_come_back(place: Place) -> None:
    """No statement makes a shredded key live again, an erased patient active, or cells without a key: ERASED each."""
    async with opened(place) as it:
        gone = (await it.house.register(WHOLE))["id"]
        await it.erase(gone)
        wrapped = update(patient_key).where(*_rows(patient_key)).values(state="live", wrapped=bindparam("octets"))
        active = update(patient).where(patient.c.org == bindparam("org"), patient.c.id == bindparam("id_"))
        cells = update(sealed_row).where(*_rows(sealed_row)).values(cells=bindparam("octets"))
        for statement in (wrapped, active.values(status="active"), cells):
            with pytest.raises(Erased):
                async with it.house.database.transaction(ORG) as connection:
                    await connection.execute(prepare(statement), id_=gone, octets=b"octets")
        assert set((await place.left(gone)).values()) == {0}


def _rows(table: Table) -> tuple[Any, ...]:
    return table.c.org == bindparam("org"), table.c.patient_id == bindparam("id_")


async def test_e31_a_writer_that_waits_for_the_erasure(databases: Databases, tmp_path: Path) -> None:
    """PostgreSQL: a writer that locked nothing and comes while the erasure is not committed waits, and is refused."""
    place = Place(databases.create("postgresql"), tmp_path)
    async with opened(place) as it:
        gone = (await it.house.register(WHOLE))["id"]
        stale = await _read_without_lock(it, [gone])
        store = it.house.services.store

        async def write() -> None:
            async with store.writing(REQUEST.context(CLERK), Act.UPDATE, [gone]) as unit:
                unit.change(stale[gone], {"religion": "Other"}, "late")

        async with store.writing(REQUEST.context(OFFICER), Act.ERASE, [gone]) as unit:
            await unit.erase((await unit.load_for_change([gone]))[gone], None, "PATIENT_REQUEST")
            late = asyncio.create_task(write())
            done, _ = await asyncio.wait([late], timeout=0.5)
            assert not done
        with pytest.raises(Erased):
            await late
        assert set((await place.left(gone)).values()) == {0}
    databases.drop(place.url)


async def _read_without_lock(it: Premises, ids: list[str]) -> dict[str, Record]:
    async with it.house.services.store.reading(REQUEST.context(CLERK), Act.READ) as unit:
        return await unit.load(ids, BY_NAME)


async def _without_triggers(url: str) -> None:
    intruder = Intruder(url)
    if url.startswith("sqlite:"):
        await intruder.run("SELECT 1")  # it drops every trigger before it does anything
    else:
        for table in ("sealed_row", "sealed_version", "blind_index", "source_record", "patient_key", "patient"):
            await intruder.run(f"ALTER TABLE {table} DISABLE TRIGGER USER")


# --- E-32 -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_e32_another_process_sees_it_at_once(engine: str, databases: Databases, tmp_path: Path) -> None:
    """A running server answers ERASED to the first question after another process has erased; before, it answered."""
    with ExitStack() as running:
        url = databases.create("sqlite") if engine == "sqlite" else running.enter_context(durable()).url
        settings: dict[str, Any] = {**founded(tmp_path / "data", url), "env": "development"}
        source = tmp_path / "patients.ndjson"
        source.write_text('{"resourceType": "Patient", "id": "1", "name": [{"family": "Okafor", "given": ["Sam"]}]}\n')
        done("import", "fhir", source, **settings)
        patient_id = json.loads(done("export", "fhir", **settings))["id"]
        server = running.enter_context(serving("serve", **settings))
        token = done("token", "--role", "front_desk", "--subject", "u", **settings).strip()
        query = question("displayName")
        assert server.ask(token, query, id=patient_id).json()["data"]["patient"] == {"displayName": "Sam Okafor"}
        done("erase", patient_id, "--yes", **settings)
        answer = server.ask(token, query, id=patient_id).json()
        assert answer["data"] == {"patient": None}
        assert answer["errors"][0]["extensions"] == {"code": "ERASED"}
