"""Plans of statements: the hot one is as good on a PostgreSQL that was just filled as on one that was analysed."""

import sqlite3
from contextlib import closing

import asyncpg
import pytest

from crm.catalogue import CLASSES
from crm.store import search, unmet
from crm.store.record import _select
from crm.store.statements import Statement
from tests.conftest import Databases


@pytest.mark.parametrize("single", [True, False], ids=["one", "many"])
async def test_a_plan_made_on_empty_tables_goes_by_primary_key(databases: Databases, single: bool) -> None:
    """Without any statistics the records of the ids asked for are found by loops over primary keys, never by a scan."""
    url = databases.create("postgresql")
    form = _select(frozenset(CLASSES), single).postgresql()
    connection = await asyncpg.connect(url)
    try:
        values = {"org": "'north'", "id": "'one'", "ids": "ARRAY['one', 'two']"}
        await connection.execute("SET ROLE heed_app; SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE hot AS {form.sql}")
        given = ", ".join(values[name] for name in form.names)
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE hot({given})"))
    finally:
        await connection.close()
        databases.drop(url)
    assert "pk_sealed_row" in plan
    assert "pk_patient_key" in plan
    assert not [word for word in ("Seq Scan", "Hash", "Merge", "Materialize") if word in plan], plan


_UNMET = ("ix_audit_event_unmet", unmet._PATIENTS, {"since": "0", "until": "9", "after": "''", "limit": "9"})
_OVERDUE = ("ix_blind_index", search._ANY, {"code": "8", "after": "''", "limit": "9"})


@pytest.mark.parametrize(("index", "statement", "given"), [_UNMET, _OVERDUE], ids=["unmet", "overdue"])
async def test_lists_of_needs_go_by_their_index(
    databases: Databases, engine: str, index: str, statement: Statement, given: dict[str, str]
) -> None:
    """Neither walks through the log or through all index values of an organisation."""
    url = databases.create(engine)
    try:
        plan = await (_on_sqlite if engine == "sqlite" else _on_postgresql)(url, statement, given)
    finally:
        databases.drop(url)
    assert index in plan, plan
    assert "Seq Scan on audit_event" not in plan
    assert "SCAN audit_event" not in plan


async def _on_sqlite(url: str, statement: Statement, given: dict[str, str]) -> str:
    form = statement.sqlite()
    lists = {"versions": "[1]", "hashes": '["00"]'}
    values = [lists.get(name) or given.get(name, "north").strip("'") for name in form.names]
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
        file.create_function("heed_unhex", 1, bytes.fromhex)
        return "\n".join(str(row[3]) for row in file.execute(f"EXPLAIN QUERY PLAN {form.sql}", values))


async def _on_postgresql(url: str, statement: Statement, given: dict[str, str]) -> str:
    form = statement.postgresql()
    values = {
        "org": "'north'",
        "status_1": "'active'",
        "versions": "ARRAY[1]",
        "hashes": "ARRAY['\\x00'::bytea]",
        **given,
    }
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SET ROLE heed_app; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off"
        )
        await connection.execute(f"PREPARE asked AS {form.sql}")
        arguments = ", ".join(values[name] for name in form.names)
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE asked({arguments})"))
    finally:
        await connection.close()
