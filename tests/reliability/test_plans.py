"""Plans of the hot statement on PostgreSQL: as good on a database that was just filled as on one that was analysed."""

import asyncpg
import pytest

from crm.catalogue import CLASSES
from crm.store.record import _select
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
