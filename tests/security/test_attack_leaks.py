"""Faults deep inside, and objects in the wrong hands: what a traceback, a driver's error or a format string gives away.

The store binds sealed octets only, so that no statement, error or local variable from there down holds a value.
"""

import ast
import json
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
import sqlalchemy
from sqlalchemy.exc import StatementError

from auth.roles import Role
from crm.catalogue import KeyClass
from crm.crypto.aead import Aead
from crm.crypto.data_key import DataKey
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.crypto.stored_key import new_wrap_key
from crm.store.database import Connection, Database, Dialect, Row
from crm.store.statements import Statement
from crm.store.work import Grow, Work
from tests.asking import question
from tests.client import client
from tests.intruder import Intruder
from tests.keys import ENV, key_set
from tests.people import camel
from tests.planted import MARK, PERSON, found_in, token

ROOT = Path(__file__).resolve().parents[2]
REGISTER = "mutation R($input: RegisterPatientInput!) { registerPatient(input: $input) { id } }"
CHANGE = """mutation C($id: ID!, $text: String) {
  updatePreferences(input: {patientId: $id, expectedVersion: 1, instructions: $text}) { version } }"""

T = TypeVar("T")


class Listening:
    """A database that writes down each error with all local variables between here and the driver."""

    dialect: Dialect

    def __init__(self) -> None:
        self.heard: list[str] = []
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
        with self.listening():
            return await self._inner.fetch(org, statement, **params)

    @asynccontextmanager
    async def transaction(self, org: str, /) -> AsyncIterator[Connection]:
        async with self._inner.transaction(org) as connection:
            yield _ListeningConnection(connection, self)

    async def grow(self, org: str, grow: Grow, /) -> Sequence[Row]:
        with self.listening():
            return await self._inner.grow(org, grow)

    async def perform(self, org: str, work: Work[T], /) -> T:
        with self.listening():
            return await self._inner.perform(org, work)

    def listening(self) -> "_Ear":
        return _Ear(self.heard)


class _Ear:
    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            told = traceback.TracebackException.from_exception(error, capture_locals=True)
            self._heard.append("".join(told.format()))


class _ListeningConnection:
    def __init__(self, inner: Connection, listening: Listening) -> None:
        self._inner = inner
        self._listening = listening

    async def fetch(self, statement: Statement, /, **params: Any) -> Sequence[Row]:
        with self._listening.listening():
            return await self._inner.fetch(statement, **params)

    async def fetch_one(self, statement: Statement, /, **params: Any) -> Row | None:
        with self._listening.listening():
            return await self._inner.fetch_one(statement, **params)

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        with self._listening.listening():
            return await self._inner.execute(statement, **params)

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]], /) -> None:
        with self._listening.listening():
            await self._inner.execute_many(statement, rows)

    async def perform(self, work: Work[T], /) -> T:
        with self._listening.listening():
            return await self._inner.perform(work)


FAULTS: dict[str, dict[str, str]] = {
    "a rule of the database": {
        "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON sealed_row BEGIN SELECT RAISE(ABORT, 'no'); END",
        "postgresql": "ALTER TABLE sealed_row ADD CONSTRAINT refuse CHECK (version < 0) NOT VALID",
    },
    "a duplicate": {
        "sqlite": "CREATE UNIQUE INDEX twice ON sealed_row (length(seal))",
        "postgresql": "CREATE UNIQUE INDEX twice ON sealed_row (length(seal))",
    },
    "a table that is not there": {
        "sqlite": "ALTER TABLE sealed_row RENAME TO elsewhere",
        "postgresql": "ALTER TABLE sealed_row RENAME TO elsewhere",
    },
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_e24_errors_of_the_driver(
    database_url: str, engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """Even a traceback that prints every local variable from the store down holds no value; nor does what is logged."""
    caplog.set_level(logging.DEBUG)
    listening = Listening()
    await Intruder(database_url).run(FAULTS[fault][engine])
    async with client(database_url, tmp_path, database=listening.around) as it:
        answer, [leaf] = await it.watched(REGISTER, Role.INTEGRATION, variables={"input": camel(PERSON)})
        assert answer.json()["errors"][0]["extensions"]["code"] in {"INTERNAL_SERVER_ERROR", "OVERLOADED"}
        assert leaf["out"] == "error"
        assert found_in(answer.text) == []
    assert any("'cells': b'" in told for told in listening.heard), "the sealed rows are among the variables"
    assert [place for told in listening.heard for place in found_in(told)] == []
    assert found_in(caplog.text) == []


class FailingCipher:
    """A cipher whose failure quotes what it was given, as a careless library's might; row seals it still makes."""

    def __init__(self, inner: Aead, where: str) -> None:
        self._inner = inner
        self._where = where

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        if data and self._where == "sealing":
            raise RuntimeError(f"cannot encrypt {data!r}")
        return self._inner.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        opened = self._inner.decrypt(nonce, data, associated_data)
        if opened and self._where == "opening":
            raise RuntimeError(f"decrypted {opened!r}, and then something went wrong")
        return opened


class FailingKeys(KeySet):
    """Keys that are all right until they fail in sealing or in opening, as `where` says."""

    __slots__ = ("where",)

    def __init__(self, inner: KeySet) -> None:
        for name in KeySet.__slots__:
            setattr(self, name, getattr(inner, name))
        self.where = ""

    def data_key(self, *place: Any) -> DataKey:
        """The real key, with a cipher that may fail."""
        key = super().data_key(*place)
        key._cipher = FailingCipher(key._cipher, self.where)
        return key


@pytest.mark.parametrize(("where", "query"), [("sealing", CHANGE), ("opening", question("instructions"))])
async def test_e24_a_cipher_that_quotes_its_input(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str, query: str
) -> None:
    """A failure in the middle of sealing or opening is an incident: type and place in the log, and not its words."""
    caplog.set_level(logging.DEBUG)
    async with client(database_url, tmp_path, keys=FailingKeys) as it:
        keys = it.house.services.store.keys
        assert isinstance(keys, FailingKeys)
        patient_id = (await it.house.register(PERSON))["id"]
        keys.where = where
        variables = {"id": patient_id, "text": token("never stored")}
        answer, [leaf] = await it.watched(query, Role.CLINICIAN, variables=variables)
        assert answer.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert (leaf["out"], leaf["why"]) == ("error", "INTERNAL")
        assert found_in(answer.text) == []
    assert "RuntimeError at" in caplog.text
    assert found_in(caplog.text) == []


class Sealing(sqlalchemy.TypeDecorator[str]):
    """Encryption in the mapping, as other libraries do it."""

    impl = sqlalchemy.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        raise RuntimeError("the provider does not answer")


@pytest.mark.parametrize("hide", [False, True])
def test_e24_encryption_in_the_mapping_would_leak(hide: bool) -> None:
    """The control: a TypeDecorator holds the value where it fails; hidden parameters help the message, not the locals.

    That is why values are sealed above the store, and the store never sees one.
    """
    table = sqlalchemy.Table("t", sqlalchemy.MetaData(), sqlalchemy.Column("name", Sealing()))
    engine = sqlalchemy.create_engine("sqlite://", hide_parameters=hide)
    with engine.connect() as connection, pytest.raises(StatementError) as failed:
        connection.execute(sqlalchemy.insert(table), {"name": MARK})
    engine.dispose()
    told = traceback.TracebackException.from_exception(failed.value, capture_locals=True)
    assert bool(found_in(str(failed.value))) is not hide
    assert found_in("".join(told.format()))


def test_e25_engines_hide_parameters_and_never_echo() -> None:
    """Every SQLAlchemy engine of the program is made with hidden parameters and without `echo`."""
    paths = [
        path for room in ("auth", "crm", "schema", "commands", "migrations") for path in (ROOT / room).rglob("*.py")
    ]
    calls = [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    engines = [
        {word.arg: ast.unparse(word.value) for word in call.keywords}
        for call in calls
        if isinstance(call, ast.Call) and ast.unparse(call.func) in {"create_engine", "create_async_engine"}
    ]
    assert len(engines) == 2
    for words in engines:
        assert words["hide_parameters"] == "True"
        assert not {"echo", "echo_pool"} & words.keys()


def _secrets(folder: Path) -> dict[str, tuple[Any, list[bytes]]]:
    """Everything that holds a key: the object, and the octets that it must not show."""
    ring = KeyRing.create(folder / "other.json")
    keys = key_set(folder)
    key, new = keys.new_data_key("org", "0198f0c2-7a00-7000-8000-000000000001", KeyClass.IDENTITY, 1)
    row = new_wrap_key(ring, ENV, KeyClass.IDENTITY, 1, "active")
    root = next(iter(ring._entries.values()))
    assert root.secret is not None
    assert row.wrapped is not None
    return {
        "key ring": (ring, [root.secret]),
        "root key": (root, [root.secret]),
        "key set": (keys, [keys._keys["index", 1]]),
        "wrap key": (keys._keys["identity", 1], []),
        "data key": (key, []),
        "new data key": (new, [new.wrapped]),
        "stored key": (row, [row.wrapped]),
    }


SECRETS = ("key ring", "root key", "key set", "wrap key", "data key", "new data key", "stored key")


@pytest.mark.parametrize("name", SECRETS)
def test_e25_what_holds_a_key_does_not_show_it(name: str, tmp_path: Path) -> None:
    """By repr, str, `%s`, an f-string, a list around it or a log line there is nothing to see; JSON refuses."""
    secrets = _secrets(tmp_path)
    assert tuple(secrets) == SECRETS
    thing, octets = secrets[name]
    line = logging.LogRecord("x", logging.INFO, "x", 1, "key %s %r", (thing, thing), None).getMessage()
    for shown in (repr(thing), str(thing), f"{thing}", f"{thing!r}", "%s" % thing, repr([thing]), line):  # noqa: UP031
        for secret in octets:
            assert repr(secret)[2:-1] not in shown
            assert secret.hex() not in shown
    for to_json in (json.dumps, orjson.dumps):
        if not isinstance(thing, tuple) and name not in {"stored key", "root key", "new data key", "wrap key"}:
            with pytest.raises(TypeError):
                to_json(thing)
    if name in {"key ring", "key set", "data key"}:
        with pytest.raises(TypeError):
            pickle.dumps(thing)
