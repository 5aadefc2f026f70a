"""The wall between organisations, told to PostgreSQL itself: even raw SQL of the service's role sees one side only.

What is proved here holds for every statement, also for one that forgot its `WHERE org = …`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import Table, bindparam, select, text

from crm.errors import Unsafe
from crm.store import tables
from crm.store.database import Database, connect
from crm.store.postgres import PostgresDatabase
from crm.store.statements import Statement, prepare
from tests.conftest import Databases

NORTH, SOUTH = "north", "south"
ID = "0199c0de-0000-7000-8000-000000000001"

VALUES: dict[str, Any] = {
    "BIGINT": 1,
    "INTEGER": 1,
    "SMALLINT": 0,
    "TEXT": "x",
    "BYTEA": b"x",
}
SPECIAL: dict[tuple[str, str], Any] = {
    ("patient", "id"): ID,
    ("patient", "status"): "active",
    ("patient", "merged_into"): None,
    ("patient_key", "state"): "live",
    ("patient_key", "patient_id"): ID,
    ("sealed_row", "patient_id"): ID,
    ("blind_index", "patient_id"): ID,
    ("source_record", "patient_id"): ID,
    ("waiting_message", "patient_id"): ID,
    ("contact_verification", "patient_id"): ID,
    ("change", "kind"): "CHANGED",
    ("webhook_endpoint", "state"): "active",
    ("webhook_message", "state"): "waiting",
    ("record_merge", "duplicate_id"): "y",
    ("possible_duplicate", "second_id"): "y",
    ("possible_duplicate", "verdict"): "UNDECIDED",
}
_ALL = [table for table in tables.metadata.sorted_tables if "org" in table.c]
ORDER = sorted(_ALL, key=lambda table: table is tables.sealed_row)  # its rows need a live key
REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.RestrictViolationError)
"""By row-level security, or by a trigger that finds no live key on the other side of it."""
SCOPED = [table for table in ORDER if table in tables.SCOPED]


def a_row(table: Table, org: str) -> dict[str, Any]:
    """Any valid row of a table, for an organisation."""
    kinds = {"BLOB": "BYTEA"}
    row = {
        column.name: SPECIAL.get((table.name, column.name), VALUES[kinds.get(str(column.type), str(column.type))])
        for column in table.columns
    }
    return {**row, "org": org}


async def put(connection: Any, table: Table, org: str, suffix: str = "") -> None:
    """Insert a row with plain SQL."""
    row = a_row(table, org)
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({places}) {suffix}", *row.values())


async def fill(url: str) -> None:
    """A row of both organisations in every table."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")  # a pair of patients is made up
    for org in (NORTH, SOUTH):
        for table in ORDER:
            await put(connection, table, org)
    await connection.close()


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """One PostgreSQL database for all that follows: whatever is tried here must leave it as it is."""
    made = databases.create("postgresql")
    asyncio.run(fill(made))
    yield made
    databases.drop(made)


@pytest.fixture
async def owner(url: str) -> AsyncIterator[Any]:
    """The superuser that owns the tables: row-level security does not bind a superuser."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
async def app(url: str) -> AsyncIterator[Any]:
    """A raw connection in the service's role, with no organisation set."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"SET ROLE {tables.ROLE}")
    yield connection
    await connection.close()


async def enter(connection: Any, org: str) -> None:
    """Set the scope as a lane does."""
    await connection.execute("SELECT set_config('heed.org', $1, false)", org)


async def test_every_table_of_an_organisation_has_its_wall(owner: Any) -> None:
    """Enabled and forced on each table with a column `org`: a new table without a policy fails here."""
    walls = {
        row["relname"]: (row["relrowsecurity"], row["relforcerowsecurity"], row["policies"])
        for row in await owner.fetch(
            "SELECT relname, relrowsecurity, relforcerowsecurity, "
            "  (SELECT count(*) FROM pg_policy WHERE polrelid = pg_class.oid) AS policies "
            "FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
    }
    assert set(walls) == {*tables.metadata.tables, "alembic_version"}
    for table in ORDER:
        enabled, forced, policies = walls[table.name]
        assert enabled, table.name
        assert forced, table.name
        assert policies == (1 if table in tables.SCOPED else 2), table.name


@pytest.mark.parametrize("table", SCOPED, ids=str)
async def test_without_a_scope_nothing_is_visible_or_writable(app: Any, table: Table) -> None:
    """A connection that was told no organisation sees an empty database, and can add to none."""
    for scope in (None, ""):
        if scope is not None:
            await enter(app, scope)
        assert await app.fetchval(f"SELECT count(*) FROM {table.name}") == 0
        with pytest.raises(REFUSED):
            await put(app, table, NORTH)
        with pytest.raises((*REFUSED, asyncpg.CheckViolationError)):
            await put(app, table, "")


@pytest.mark.parametrize("table", SCOPED, ids=str)
async def test_the_other_side_is_invisible_and_unwritable(app: Any, owner: Any, table: Table) -> None:
    """Reading, adding, changing, removing, moving across, upserting: none reaches the other organisation."""
    await enter(app, SOUTH)
    rights = tables.RIGHTS[table]
    assert [row[0] for row in await app.fetch(f"SELECT org FROM {table.name}")] == [SOUTH]
    assert await app.fetch(f"SELECT 1 FROM {table.name} WHERE org = '{NORTH}'") == []
    with pytest.raises(REFUSED):
        await put(app, table, NORTH)
    if "UPDATE" in rights:
        column = [*table.c][-1].name
        assert await app.execute(f"UPDATE {table.name} SET {column} = {column} WHERE org = '{NORTH}'") == "UPDATE 0"
        with pytest.raises(REFUSED):
            await app.execute(f"UPDATE {table.name} SET org = '{NORTH}'")
        keys = ", ".join(key.name for key in table.primary_key)
        with pytest.raises(REFUSED):
            await put(app, table, NORTH, f"ON CONFLICT ({keys}) DO UPDATE SET org = '{SOUTH}'")
    if "DELETE" in rights:
        assert await app.execute(f"DELETE FROM {table.name} WHERE org = '{NORTH}'") == "DELETE 0"
    assert await owner.fetchval(f"SELECT count(*) FROM {table.name} WHERE org = '{NORTH}'") == 1


async def test_the_list_of_organisations_is_read_by_all_and_written_in_its_own_scope(app: Any) -> None:
    """The one list that is seen from everywhere holds names only."""
    assert await app.fetchval("SELECT count(*) FROM organisation") == 2
    await enter(app, SOUTH)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("INSERT INTO organisation VALUES ('east', 1)")


@pytest.mark.parametrize("table", tables.metadata.sorted_tables, ids=str)
async def test_the_role_has_exactly_the_rights_it_needs(app: Any, table: Table) -> None:
    """What `tables.RIGHTS` says and nothing more; others have no rights at all."""
    every = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    held = {right for right in every if await app.fetchval(f"SELECT has_table_privilege('{table.name}', '{right}')")}
    assert held == set(tables.RIGHTS[table])
    assert not await app.fetchval(
        "SELECT EXISTS (SELECT FROM information_schema.table_privileges WHERE grantee = 'PUBLIC' AND table_name = $1)",
        table.name,
    )


@pytest.mark.parametrize(
    "order",
    [
        "ALTER TABLE patient DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own ON patient",
        "CREATE POLICY mine ON patient USING (true)",
        "DROP TABLE patient",
        "TRUNCATE patient",
        "CREATE TABLE copy AS SELECT * FROM patient",
        "ALTER ROLE heed_app BYPASSRLS",
        "DROP TRIGGER append_only ON audit_event",
        "TRUNCATE audit_event",
        "UPDATE audit_event SET actor = 'x'",
        "DELETE FROM audit_event",
        "UPDATE alembic_version SET version_num = 'x'",
        "DELETE FROM patient",
    ],
)
async def test_the_role_cannot_pull_the_wall_down(app: Any, order: str) -> None:
    """It owns nothing."""
    await enter(app, SOUTH)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(order)


async def test_security_off_is_an_error_not_a_way_round(app: Any) -> None:
    """`row_security = off` makes PostgreSQL refuse instead of filter; it never shows more."""
    await enter(app, SOUTH)
    await app.execute("SET row_security = off")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.fetch("SELECT * FROM patient")


def unscoped(sql: str) -> Statement:
    """A statement that forgot its organisation, past the check of `prepare`."""
    return prepare(text(sql))


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """The service's own way in, with two lanes, under a superuser's login."""
    made = connect(url, pool_size=2, durable=False)
    await made.open()
    yield made
    await made.close()


async def test_a_lane_never_carries_one_organisation_into_the_next(database: Database) -> None:
    """Lanes are shared: alternating scopes, rollbacks and failures between them never mix the two."""
    everyone = unscoped("SELECT org FROM patient")
    for turn in range(40):
        org, other = (NORTH, SOUTH) if turn % 2 else (SOUTH, NORTH)
        assert [row["org"] for row in await database.fetch(org, everyone)] == [org]
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the rollback is the point
            async with database.transaction(other) as connection:
                assert [row["org"] for row in await connection.fetch(everyone)] == [other]
                raise ZeroDivisionError
        assert [row["org"] for row in await database.fetch(other, everyone)] == [other]
        with pytest.raises(RuntimeError):
            await database.fetch(org, unscoped("SELECT 1 FROM nowhere"))


async def test_organisations_keep_their_lanes_while_there_are_enough(url: str) -> None:
    """Two organisations in turn do not take each other's lane; a third takes the one that idles longest."""
    database = PostgresDatabase(url, pool_size=3, durable=False)
    await database.open()
    everyone = unscoped("SELECT org FROM patient")
    for org in (NORTH, SOUTH, NORTH, SOUTH, "east"):
        await database.fetch(org, everyone)
    assert [lane.org for lane in database._idle] == [NORTH, SOUTH, "east"]
    await database.fetch("west", everyone)
    assert [lane.org for lane in database._idle] == [SOUTH, "east", "west"]
    await database.close()


async def test_a_superusers_login_is_fenced_too(database: Database) -> None:
    """Lanes take on the role at once; the login's own power is never used."""
    row = (await database.fetch(NORTH, unscoped("SELECT current_user AS me, session_user AS login")))[0]
    assert row["me"] == tables.ROLE
    assert row["login"] != tables.ROLE


async def test_the_scoped_statement_costs_one_index_look_up(app: Any) -> None:
    """Row-level security is decided once for the statement, not for each row: the plan stays on the key."""
    patient = tables.patient.c
    form = prepare(
        select(patient.version).where(patient.org == bindparam("org"), patient.id == bindparam("id"))
    ).postgresql()
    await enter(app, NORTH)
    await app.execute("SET plan_cache_mode = force_generic_plan")
    await app.execute(f"PREPARE q (text, text) AS {form.sql}")
    plan = "\n".join(row[0] for row in await app.fetch(f"EXPLAIN EXECUTE q ('{NORTH}', '{ID}')"))
    assert "One-Time Filter" in plan
    assert "Index Scan using pk_patient" in plan


@pytest.mark.parametrize(
    ("spoil", "mend"),
    [
        pytest.param("ALTER ROLE heed_app BYPASSRLS", "ALTER ROLE heed_app NOBYPASSRLS", id="bypass"),
        pytest.param("ALTER ROLE heed_app SUPERUSER", "ALTER ROLE heed_app NOSUPERUSER", id="superuser"),
        pytest.param("ALTER ROLE heed_app LOGIN", "ALTER ROLE heed_app NOLOGIN", id="login"),
        pytest.param("ALTER TABLE patient OWNER TO heed_app", "ALTER TABLE patient OWNER TO CURRENT_USER", id="owner"),
    ],
)
async def test_a_role_that_the_wall_does_not_bind_is_refused_at_start(
    url: str, owner: Any, spoil: str, mend: str
) -> None:
    """The service does not start under a role that could pass or pull down the wall."""
    if "HEED_TEST_POSTGRES_URL" in os.environ:
        pytest.skip("the role belongs to the whole server, which other tests may be using now")
    await owner.execute(spoil)
    try:
        with pytest.raises(Unsafe, match="row-level security"):
            await connect(url, durable=False).open()
    finally:
        await owner.execute(mend)


async def test_a_login_that_may_not_become_the_role_is_refused(url: str, owner: Any) -> None:
    """A stranger's login does not start the service, and the message says what is missing."""
    await owner.execute("CREATE ROLE stranger LOGIN")
    try:
        stranger = urlsplit(url)._replace(netloc=f"stranger@{urlsplit(url).netloc.rpartition('@')[2]}").geturl()
        with pytest.raises(Unsafe, match="heed_app"):
            await connect(stranger, durable=False).open()
    finally:
        await owner.execute("DROP ROLE stranger")
