"""Unique texts in every sealed field, a busy hour, and then a search for them wherever octets remain.

The database's files and tables, its write-ahead log, what was logged at the lowest level, every error that was
answered, the access log, the outbox and the metrics: none may hold any of them, in any usual form.
"""

import base64
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest
import pytest_asyncio

from auth.roles import Role
from crm.catalogue import FIELDS
from tests.asking import EVERYTHING, question
from tests.client import Client, client
from tests.conftest import Databases
from tests.house import OTHER_ORG
from tests.people import camel
from tests.planted import CLEAR, MARK, OPEN_VALUES, PERSON, PHONE, found_in, raw_person, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGISTER = f"mutation R($input: RegisterPatientInput!) {{ registerPatient(input: $input) {{ {EVERYTHING} }} }}"
CHANGE = "mutation C($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { version } }"
SEARCH = f"query S($by: PatientSearch!) {{ searchPatients(by: $by) {{ edges {{ node {{ {EVERYTHING} }} }} }} }}"


class Kept(logging.Handler):
    """Keeps everything that is logged, with its arguments and its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter("%(name)s %(levelname)s %(message)s").format(record)
        self.lines.append(f"{text} {record.args!r} {record.__dict__!r}")


@dataclass
class Hour:
    """What a busy hour left behind."""

    it: Client
    url: str
    logged: Kept
    ids: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    metrics: str = ""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hour(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Hour]:
    """The hour itself, with every logger at its most talkative."""
    url = databases.create(shared_engine)
    kept, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    try:
        async with client(url, tmp_path_factory.mktemp("canary")) as it:
            passing = Hour(it, url, kept)
            await _live(passing)
            yield passing
    finally:
        root.removeHandler(kept)
        root.setLevel(level)
    databases.drop(url)


async def _live(hour: Hour) -> None:
    """Store, read, search, change, and do all of it wrong as well."""
    it = hour.it
    answer = await it.data(REGISTER, Role.INTEGRATION, variables={"input": camel(PERSON)}, subject=CLEAR)
    one = answer["registerPatient"]["id"]
    assert MARK in str(answer)
    other = await it.house.store({}, raw=raw_person())
    hour.ids = [one, other]
    for role in Role:
        for patient_id in hour.ids:
            await it.ask(question(EVERYTHING), role, variables={"id": patient_id}, patient=patient_id)
    for patient_id in hour.ids:
        await _keep(hour, question(EVERYTHING), Role.INTEGRATION, {"id": patient_id}, org=OTHER_ORG)
        await _keep(hour, question(EVERYTHING), Role.FRONT_DESK, {"id": patient_id})
        await _keep(hour, question(EVERYTHING), None, {"id": patient_id})
    odd = await it.ask(question(EVERYTHING), Role.INTEGRATION, variables={"id": other})
    hour.errors.append(orjson.dumps(odd.json()["errors"]).decode())
    await _search(hour)
    await _submit(hour, one)
    await _speak_badly(hour)
    hour.metrics = (await it.http.get("/metrics")).text


async def _keep(hour: Hour, query: str, role: Role | None, variables: dict[str, Any], **who: Any) -> None:
    """Ask what must be refused, and keep the refusal."""
    answer = await hour.it.ask(query, role, variables=variables, **who)
    assert answer.json()["errors"], answer.text
    assert not any((answer.json().get("data") or {}).values())
    hour.errors.append(f"{answer.headers!r} {answer.text}")


async def _search(hour: Hour) -> None:
    for by in (
        {"phone": PHONE},
        {"email": PERSON["contact_points"][1]["value"]},
        {"fullName": f"{MARK}Given {MARK}Family"},
        {"familyName": f"{MARK}Family", "birthDate": PERSON["birth_date"]},
        {"identifier": {"system": PERSON["identifiers"][0]["system"], "value": PERSON["identifiers"][0]["value"]}},
    ):
        found = await hour.it.data(SEARCH, Role.CLINICIAN, variables={"by": by})
        assert [edge["node"]["id"] for edge in found["searchPatients"]["edges"]] == [hour.ids[0]], by
        await _keep(hour, SEARCH, Role.FRONT_DESK, {"by": by})
        await _keep(hour, SEARCH, Role.CLINICIAN, {"by": {**by, "fullName": MARK, "phone": PHONE}})
    await _keep(hour, SEARCH, Role.CLINICIAN, {"by": {"phone": token("no number")}})
    await _keep(hour, SEARCH, Role.CLINICIAN, {"by": {"familyName": MARK, "birthDate": token("no date")}})


async def _submit(hour: Hour, patient_id: str) -> None:
    """Changes that succeed, conflict, break a rule in every field, and are forbidden."""
    target = {"patientId": patient_id, "expectedVersion": 1}
    for version in (None, 7):
        await _keep(
            hour, CHANGE, Role.CLINICIAN,
            {"input": {**target, "expectedVersion": version, "instructions": token("conflict")}},
        )  # fmt: skip
    wrong: dict[str, Any] = {
        "preferredName": token("x" * 300),
        "languages": [{"tag": MARK}],
        "timeZone": f"Mars/{MARK}",
        "religionCode": MARK,
        "religion": f"{MARK}\u0001",
        "contactWindows": [{"days": ["MON"], "from": MARK, "to": MARK, "timeZone": MARK}],
        "accessNeeds": [{"id": token("id"), "kind": "OTHER", "text": MARK}],
        "interpreterNeeded": MARK,
        "communicationStyle": MARK,
        MARK: MARK,
    }
    for name, value in wrong.items():
        await _keep(hour, CHANGE, Role.INTEGRATION, {"input": {**target, name: value}})
    await _keep(hour, CHANGE, Role.FRONT_DESK, {"input": {**target, "religion": token("forbidden")}})
    await _keep(hour, CHANGE, Role.CLINICIAN, {"input": {**target, "patientId": str(uuid4()), "religion": MARK}})
    point = """mutation A($input: AddContactPointInput!) { addContactPoint(input: $input) { version } }"""
    for system in ("PHONE", "EMAIL", "URL", "SMS"):
        entered = {"system": system, "value": token("no such")}
        await _keep(hour, point, Role.CLINICIAN, {"input": {**target, "contactPoint": entered}})
    changed = {"input": {**target, "instructions": token("changed")}}
    assert "errors" not in (await hour.it.ask(CHANGE, Role.CLINICIAN, variables=changed)).json()


async def _speak_badly(hour: Hour) -> None:
    """Documents with texts in them: as literals, in the wrong place, and cut off."""
    for query in (
        f'{{ searchPatients(by: {{phone: "{MARK}"}}) {{ edges {{ node {{ id }} }} }} }}',
        f'{{ patient(id: "{MARK}") {{ displayName }} }}',
        f'{{ patient(id: {{a: "{MARK}"}}) {{ displayName }} }}',
        f'{{ patient(id: "1") {{ displayName }} }} # {MARK}\n}}',
        f'mutation {{ registerPatient(input: {{interpreterNeeded: "{MARK}"}}) {{ id }} }}',
        f'mutation {{ registerPatient(input: {{preferredName: {{a: "{MARK}"}}}}) {{ id }} }}',
        f'mutation {{ registerPatient(input: {{preferredName: "{MARK}", preferredName: "{MARK}"}}) {{ id }} }}',
        f'mutation {{ registerPatient(input: {{birthDate: "{MARK}"}}) {{ id }} }}',
        f'query Q($x: Int = "{MARK}") {{ viewer {{ org }} }}',
        f'{{ accessEvents(filter: {{from: "{MARK}"}}) {{ edges {{ node {{ id }} }} }} }}',
        f'{{ accessEvents(after: "{MARK}") {{ edges {{ node {{ id }} }} }} }}',
        f'{{ patient(id: "{MARK}',
        f"{{ {MARK}(",
    ):
        for role in (Role.PRIVACY_OFFICER, Role.OPERATOR, Role.FRONT_DESK):
            await _keep(hour, query, role, {})
    # Names of fields and arguments are told to those who may see the schema: no value stands where a name does.
    for query in (
        f'{{ patient(id: "1", {MARK}: 1) {{ id }} }}',
        f'{{ patient(id: "1") {{ {MARK} }} }}',
        f"{{ {MARK} }}",
    ):
        await _keep(hour, query, Role.FRONT_DESK, {})
    for body in (f'{{"query": "{MARK}', f'{{"{MARK}": 1}}', f'[{{"query": "{MARK}"}}]', f'{{"query": ["{MARK}"]}}'):
        head = {"authorization": f"Bearer {hour.it.token(Role.FRONT_DESK)}", "content-type": "application/json"}
        answer = await hour.it.http.post("/graphql", content=body, headers=head)
        assert answer.status_code == 400
        hour.errors.append(answer.text)


# --- the search ------------------------------------------------------------------------------------------------------


async def test_e23_every_sealed_field_was_planted() -> None:
    """A new field of the catalogue has a token as well; only yes and no have no room for one."""
    assert {row.name for row in FIELDS if row.key_class} - OPEN_VALUES == {"deceased", "active"}
    assert raw_person().keys() == OPEN_VALUES
    assert all(found_in(orjson.dumps(value)) for value in raw_person().values())
    assert all(found_in(orjson.dumps(value)) for value in PERSON.values())


@pytest.mark.parametrize(
    "written",
    [
        MARK.encode(),
        MARK.lower().encode(),
        MARK.encode()[::-1],
        MARK.encode("utf-16-le"),
        MARK.encode().hex().encode(),
        "".join(f"%{octet:02X}" for octet in MARK.encode()).encode(),
        *(base64.b64encode(b"x" * before + MARK.encode() + b"y" * 5) for before in range(6)),
    ],
)
async def test_e23_the_search_knows_the_usual_forms(written: bytes) -> None:
    """The control of the search itself."""
    assert found_in(b"\0\xff" * 9 + written + b"\0" * 9)


def files_of(folder: Path, pattern: str = "*") -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder with its content; one that vanishes meanwhile held nothing that remains."""
    for file in sorted(folder.rglob(pattern)):
        try:
            if file.is_file():
                yield file, file.read_bytes()
        except OSError:
            continue


async def test_e23_the_tables(hour: Hour) -> None:
    """Every column of every row of every table, as a superuser reads them."""
    found = [(table, place) async for table, row in rows_of(hour.url) for place in found_in(row)]
    assert found == []
    control = {table async for table, row in rows_of(hour.url) if found_in(row, clear=True)}
    assert {"sealed_row", "audit_event"} <= control


async def rows_of(url: str) -> AsyncIterator[tuple[str, bytes]]:
    """Table and row, each row as one heap of octets."""
    if url.startswith("sqlite:"):
        import sqlite3  # noqa: PLC0415 - as anybody would who got hold of the file

        file = sqlite3.connect(url.removeprefix("sqlite:///"))
        for (table,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            for row in file.execute(f'SELECT * FROM "{table}"'):
                yield table, b"\0".join(_octets(value) for value in row)
        file.close()
        return
    connection = await asyncpg.connect(url)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        for row in await connection.fetch(f'SELECT * FROM "{table}"'):
            yield table, b"\0".join(_octets(value) for value in row)
    await connection.close()


def _octets(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


async def test_e23_the_files(hour: Hour) -> None:
    """The database's own files and its write-ahead log, while it runs."""
    if hour.url.startswith("sqlite:"):
        folder = Path(hour.url.removeprefix("sqlite:///")).parent
        heaps = list(files_of(folder))
        assert {file.name for file, _ in heaps} >= {"heed.db", "heed.db-wal", "heed.db-shm"}
    else:
        heaps = await cluster(hour.url)
    assert [(file.name, place) for file, octets in heaps for place in found_in(octets)] == []
    assert [file for file, octets in heaps if found_in(octets, clear=True)]


async def cluster(url: str) -> list[tuple[Path, bytes]]:
    """PostgreSQL's files of this database, and the write-ahead log of the whole server; skips where out of reach."""
    connection = await asyncpg.connect(url)
    await connection.execute("CHECKPOINT")
    folder = Path(await connection.fetchval("SHOW data_directory"))
    oid = await connection.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    await connection.close()
    if not (folder / "base" / str(oid)).is_dir():
        pytest.skip("the server's data directory is out of reach")
    return [*files_of(folder / "base" / str(oid)), *files_of(folder / "pg_wal")]


async def test_e23_what_was_logged(hour: Hour) -> None:
    """At the lowest level, with arguments and tracebacks; the incidents are there, so something was logged at all."""
    assert any("incident" in line for line in hour.logged.lines)
    assert [place for line in hour.logged.lines for place in found_in(line)] == []


async def test_e23_what_was_answered_in_errors(hour: Hour) -> None:
    """Messages, paths, extensions and headers."""
    assert len(hour.errors) > 80
    assert [place for text in hour.errors for place in found_in(text)] == []


async def test_e23_the_access_log_and_the_metrics(hour: Hour) -> None:
    """Leaves of all three logs, what waits in the outbox, and the numbers for operators."""
    leaves = [leaf for org in ("north-clinic", OTHER_ORG, "_") for leaf in await hour.it.house.leaves(org=org)]
    assert {leaf["act"] for leaf in leaves} >= {"read", "query", "create", "update", "login", "audit.read"}
    assert found_in(orjson.dumps(leaves)) == []
    assert found_in(orjson.dumps(leaves), clear=True)
    assert found_in(orjson.dumps(await hour.it.house.outbox())) == []
    assert 'code="VALIDATION_FAILED"' in hour.metrics
    assert found_in(hour.metrics) == []
