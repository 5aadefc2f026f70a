"""Faults in the middle of the work, with a patient's value in the exception: refused, recorded, and not one word of it.

Faults are put in front of the database, the keys and the log of a real service; nothing is patched.
"""

import logging
import pickle
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from auth.roles import Role
from crm.audit.event import Event
from crm.catalogue import BY_NAME, KeyClass
from crm.crypto.data_key import DataKey
from crm.crypto.keyset import KeySet
from crm.errors import KeyUnavailable, StoreUnavailable
from crm.services.profiles import Refused
from crm.services.search import parse
from crm.store.database import Connection, Database, Dialect, Row
from crm.store.statements import Statement
from crm.store.view import View
from crm.store.work import Grow, Work
from schema.execution import Answer, Parameters
from tests.asking import question
from tests.client import Client, client
from tests.planted import MARK, PERSON, PHONE, found_in

SEARCH = f'query S {{ searchPatients(by: {{phone: "{PHONE}"}}) {{ edges {{ node {{ id }} }} }} }}'
CHANGE = """mutation C($id: ID!, $text: String) {
  updatePreferences(input: {patientId: $id, expectedVersion: 1, instructions: $text}) { version } }"""
BATCH = "query B($id: ID!) { patients(ids: [$id]) { ... on Patient { displayName } } }"

T = TypeVar("T")


class Fault:
    """What goes wrong, and where: `where` is read, begin, commit, key, or nothing yet."""

    def __init__(self) -> None:
        self.where = ""
        self.error: Exception = RuntimeError(MARK)

    def at(self, place: str) -> None:
        """Raise here, if here is where it goes wrong."""
        if self.where == place:
            raise self.error


class FaultyDatabase:
    """A database that fails with the row in its message, as drivers do."""

    dialect: Dialect

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._inner: Database

    def around(self, inner: Database) -> Database:
        """Stand before `inner`."""
        self._inner, self.dialect = inner, inner.dialect
        return self

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def probe(self) -> None:
        await self._inner.probe()

    async def scrub(self) -> bool:
        return await self._inner.scrub()

    async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[Row]:
        if "sealed_row" in statement.sqlite().sql or "blind_index" in statement.sqlite().sql:
            self._fault.at("read")
        return await self._inner.fetch(org, statement, **params)

    @asynccontextmanager
    async def transaction(self, org: str, /) -> AsyncIterator[Connection]:
        self._fault.at("begin")
        async with self._inner.transaction(org) as connection:
            yield connection
            self._fault.at("commit")

    async def grow(self, org: str, grow: Grow, /) -> Sequence[Row]:
        self._fault.at("begin")
        return await self._inner.grow(org, grow)

    async def perform(self, org: str, work: Work[T], /) -> T:
        self._fault.at("begin")
        result = await self._inner.perform(org, work)
        self._fault.at("commit")
        return result


class FaultyKeys(KeySet):
    """Keys that fail with something in their message that they should not have known."""

    __slots__ = ("_fault",)

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def around(self, inner: KeySet) -> KeySet:
        """Stand before `inner`."""
        for name in KeySet.__slots__:
            setattr(self, name, getattr(inner, name))
        return self

    def data_key(self, org: str, patient_id: str, key_class: KeyClass, dek_no: int, wrapped: bytes) -> DataKey:
        self._fault.at("key")
        return super().data_key(org, patient_id, key_class, dek_no, wrapped)


@pytest.fixture
async def faulty(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Client, str, Fault]]:
    """A client, a patient with planted texts, and the fault."""
    fault = Fault()
    database, keys = FaultyDatabase(fault), FaultyKeys(fault)
    async with client(database_url, tmp_path, database=database.around, keys=keys.around) as it:
        patient = await it.house.register(PERSON)
        yield it, patient["id"], fault


QUERIES = {"read": [question("displayName"), BATCH, SEARCH], "key": [question("displayName"), BATCH, SEARCH, CHANGE],
           "begin": [CHANGE], "commit": [CHANGE]}  # fmt: skip


@pytest.mark.parametrize("where", QUERIES)
async def test_a_fault_in_the_middle(
    faulty: tuple[Client, str, Fault], caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """An incident for the client, a type and a place in the log, an error event; no data, no change, no value."""
    it, patient_id, fault = faulty
    caplog.set_level(logging.DEBUG)
    for error in (RuntimeError(MARK), KeyError(MARK), ValueError(f"Key (value)=({MARK}) already exists")):
        fault.where, fault.error = where, error
        for query in QUERIES[where]:
            variables = {"id": patient_id, "text": MARK} if query != SEARCH else {}
            answer, [leaf] = await it.watched(query, Role.CLINICIAN, variables=variables)
            [problem] = answer.json()["errors"]
            assert problem["extensions"].keys() == {"code", "incident"}
            assert problem["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
            assert problem["extensions"]["incident"] in caplog.text
            assert not any((answer.json()["data"] or {}).values())
            assert found_in(answer.text) == []
            assert (leaf["out"], leaf["why"], "fld" in leaf) == ("error", "INTERNAL", False)
    assert found_in(caplog.text) == []
    assert "RuntimeError at" in caplog.text
    fault.where = ""
    found = await it.data(question("version"), variables={"id": patient_id})
    assert found["patient"] == {"version": 1}


async def test_a_key_that_is_not_here(faulty: tuple[Client, str, Fault]) -> None:
    """503 without `data`, and an error event; another record's key may well be here, so nothing else stops."""
    it, patient_id, fault = faulty
    fault.where, fault.error = "key", KeyUnavailable(f"no key for {MARK}")
    for query in (question("displayName"), BATCH, CHANGE):
        answer, [leaf] = await it.watched(query, Role.CLINICIAN, variables={"id": patient_id, "text": MARK})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json().keys() == {"errors"}
        assert answer.json()["errors"][0]["extensions"] == {"code": "KEY_UNAVAILABLE", "retryAfter": 1}
        assert found_in(answer.text) == []
        assert (leaf["out"], leaf["why"]) == ("error", "KEY_UNAVAILABLE")


async def test_a_database_that_is_away(faulty: tuple[Client, str, Fault]) -> None:
    """503 without `data`, and when to try again."""
    it, patient_id, fault = faulty
    for where in ("read", "begin"):
        fault.where, fault.error = where, StoreUnavailable(3)
        query = CHANGE if where == "begin" else question("displayName")
        answer = await it.ask(query, variables={"id": patient_id, "text": MARK})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
        assert answer.json().keys() == {"errors"}
        assert answer.json()["errors"][0]["extensions"] == {"code": "OVERLOADED", "retryAfter": 3}


async def test_one_root_that_fails_takes_nothing_along(faulty: tuple[Client, str, Fault]) -> None:
    """An unavailable key for one root field leaves nothing of the other: the answer is 503 as a whole."""
    it, patient_id, fault = faulty
    query = "query Q($id: ID!) { viewer { subject } a: patient(id: $id) { displayName } b: patient(id: $id) { id } }"
    fault.where, fault.error = "key", KeyUnavailable()
    answer = await it.ask(query, variables={"id": patient_id})
    assert (answer.status_code, answer.json().keys()) == (503, {"errors"})


def test_what_repr_shows() -> None:
    """Objects that carry values or secrets show neither, wherever a debugger or a log line prints them."""
    field = BY_NAME["preferred_name"]
    query = parse({"phone": "+447700900123"}, "GB")
    shown = repr([query, field, View(frozenset()), Parameters(MARK, None, {"x": MARK}), Answer((), {"x": MARK})])
    assert found_in(shown) == []
    assert "447700900123" not in shown
    assert MARK in repr(Refused(MARK, "NOT_FOUND")), "an id is no value: it is the caller's own word for the record"


def test_an_event_has_no_place_for_a_value() -> None:
    """Members of an event are names, codes and numbers; a sentence fits nowhere, and is refused or digested."""
    for facts in ({"why": "Sam asked"}, {"fld": ("Sam Okafor",)}, {"pat": "Sam"}, {"rul": ("a b",)}, {"pou": "Sam"}):
        with pytest.raises(RuntimeError) as refused:
            Event("read", **facts)  # type: ignore[arg-type]
        assert "Sam" not in str(refused.value)
    assert "Sam Okafor" not in repr(Event("read", op="Sam Okafor", req="Sam Okafor"))  # type: ignore[arg-type]


async def test_keys_cannot_be_carried_away(faulty: tuple[Client, str, Fault]) -> None:
    """Neither a key set nor a data key can be pickled, and neither shows anything of itself."""
    it, patient_id, _ = faulty
    keys = it.house.services.store.keys
    key, _ = keys.new_data_key("north-clinic", patient_id, KeyClass.IDENTITY, 1)
    for secret in (keys, key):
        with pytest.raises(TypeError):
            pickle.dumps(secret)
        assert repr(secret) == "***"
