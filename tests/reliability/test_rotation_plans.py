"""Plans of the statements that run once for each patient or batch: none of them walks through an organisation."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import asyncpg
import pytest

from crm.store import changing, reindexing, resealing, rotating
from crm.store.statements import Statement
from tests.conftest import Databases

BY_EPOCH = "ix_patient_key_epoch"
BY_PATIENT = "ix_blind_index_patient"
BY_KEY = "by the primary key"

PLANS: dict[str, tuple[Statement, str, str]] = {
    # name: statement, how the rows are found, and by how much of that index at least
    "data keys of an epoch": (rotating._BATCH, BY_EPOCH, "org"),
    "one data key": (rotating._MOVE, BY_KEY, "patient_id"),
    "values of the next patients": (reindexing._NEXT, BY_PATIENT, "patient_id"),
    "values of neighbours": (reindexing._BETWEEN, BY_PATIENT, "patient_id"),
    "one value": (reindexing._DELETE, BY_KEY, "patient_id"),
    "old digests": (reindexing._OLD_DIGESTS, BY_KEY, "slot"),
    "some digests": (reindexing._DELETE_DIGESTS, BY_KEY, "slot"),
    "patients with old data keys": (resealing._NEXT, BY_KEY, "patient_id"),
    "old data keys of a patient": (resealing._OF_PATIENT, BY_KEY, "patient_id"),
    "a data key to shred": (resealing._SHRED, BY_KEY, "patient_id"),
    "a row to seal anew": (resealing._RESEAL, BY_KEY, "patient_id"),
    "values that a change replaces": (changing._DELETE_INDEX, BY_PATIENT, "patient_id"),
}
_OCTETS = {"wrapped", "value", "cells", "seal"}
_LISTS = {"ids", "slots", "skipped"}


@pytest.fixture(scope="module")
def urls(databases: Databases) -> Iterator[dict[str, str]]:
    """Empty databases with the newest tables: neither engine knows how much there will be."""
    made = {engine: databases.create(engine) for engine in ("sqlite", "postgresql")}
    yield made
    for url in made.values():
        databases.drop(url)


@pytest.mark.parametrize("name", PLANS)
def test_on_sqlite(urls: dict[str, str], name: str) -> None:
    """The first table is searched by that index, as far as the column that tells patients apart."""
    statement, index, column = PLANS[name]
    form = statement.sqlite()
    values: list[Any] = ["[]" if each in _LISTS else 1 for each in form.names]
    with closing(sqlite3.connect(urls["sqlite"].removeprefix("sqlite:///"))) as database:
        database.create_function("heed_unhex", 1, bytes.fromhex)
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {form.sql}", values)]
    assert (index if index != BY_KEY else "sqlite_autoindex_") in plan[0], plan
    assert f"{column}=?" in plan[0] or f"{column}>?" in plan[0], plan


@pytest.mark.parametrize("name", PLANS)
async def test_on_postgresql(urls: dict[str, str], name: str) -> None:
    """The same, with a plan that is made while the tables are empty, and kept."""
    statement, index, column = PLANS[name]
    form = statement.postgresql()
    values = ["'{}'" if each in _LISTS else "'\\x00'" if each in _OCTETS else "'1'" for each in form.names]
    connection = await asyncpg.connect(urls["postgresql"])
    try:
        await connection.execute("SET ROLE heed_app; SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE planned AS {form.sql}")
        plan = [row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE planned({', '.join(values)})")]
    finally:
        await connection.close()
    scan = next(line for line in plan if "Scan" in line)
    # One value may be found by either: both lead to the patient.
    assert f"using {'pk_' if index == BY_KEY else index}" in scan or (name == "one value" and BY_PATIENT in scan), plan
    assert column in next(line for line in plan if "Index Cond" in line), plan
