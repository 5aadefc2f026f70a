"""Prepared statements: one text for each engine, values in the driver's order, and no way around the organisation."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Text, bindparam, delete, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.elements import ClauseElement

from crm.store.migrations import upgrade
from crm.store.sqlite import connection
from crm.store.statements import any_of, prepare, prepare_growth
from crm.store.tables import audit_event, blind_index, crypto_key, organisation, outbox, patient, sealed_row

MINE = patient.c.org == bindparam("org")


def flat(sql: str) -> str:
    """The text on one line, with single spaces."""
    return " ".join(sql.split())


def test_a_look_up_takes_its_values_in_the_drivers_order() -> None:
    """Names are in the order of the placeholders, whatever the order of the keyword arguments."""
    found = prepare(select(patient.c.id).where(patient.c.version >= bindparam("least"), MINE))

    assert found.sqlite().names == found.postgresql().names == ("least", "org")
    assert found.sqlite().arguments({"org": "o", "least": 3}) == [3, "o"]
    assert flat(found.sqlite().sql).endswith("WHERE patient.version >= ? AND patient.org = ?")
    assert "$1" in found.postgresql().sql


def test_a_parameter_used_twice_is_given_as_often_as_the_driver_wants() -> None:
    """sqlite3 counts places, PostgreSQL numbers parameters."""
    wanted = bindparam("id", type_=Text())
    found = prepare(select(patient.c.id).where(MINE, (patient.c.id == wanted) | (patient.c.merged_into == wanted)))

    assert found.sqlite().arguments({"org": "o", "id": "a"}) == ["o", "a", "a"]
    assert found.postgresql().arguments({"org": "o", "id": "a"}) == ["o", "a"]


def test_a_form_is_compiled_once() -> None:
    """Nothing of SQLAlchemy runs a second time."""
    found = prepare(select(patient.c.id).where(MINE))

    assert found.sqlite() is found.sqlite()
    assert found.postgresql() is found.postgresql()


def test_the_programs_integers_stand_in_the_text_and_its_strings_do_not() -> None:
    """A generic plan can use the partial index on `out <> 0` only where the zero is part of the text."""
    denied = prepare(
        select(audit_event.c.seq).where(
            audit_event.c.org == bindparam("org"), audit_event.c.out != 0, audit_event.c.act == "read"
        )
    )

    assert "audit_event.out != 0" in denied.postgresql().sql
    assert "'read'" not in denied.postgresql().sql
    assert denied.postgresql().arguments({"org": "o"}) == ["o", "read"]


def test_a_missing_value_is_named() -> None:
    """A programmer's mistake names the parameter, and no value of the others."""
    found = prepare(select(patient.c.id).where(MINE, patient.c.id == bindparam("id")))

    with pytest.raises(RuntimeError, match="needs the parameter id") as caught:
        found.sqlite().arguments({"org": "canary"})
    assert "canary" not in str(caught.value)


def test_an_insert_takes_every_column() -> None:
    """Every column is a parameter; forgetting one is an error, never a silent NULL."""
    assert prepare(insert(outbox)).sqlite().names == tuple(column.name for column in outbox.columns)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_any_of_has_one_text_for_every_length(engine: str) -> None:
    """A list is one parameter, so that the text, and with it the prepared statement, is always the same."""
    found = prepare(select(patient.c.id).where(MINE, any_of(patient.c.id, "ids")))
    form = getattr(found, engine)()

    assert form.names == ("org", "ids")
    assert form.arguments({"org": "o", "ids": ["a"]})[1] == ('["a"]' if engine == "sqlite" else ["a"])
    assert "= 1" not in form.sql


def test_any_of_octets_reaches_sqlite_as_hexadecimal_digits() -> None:
    """JSON carries no octets, and blind index values are octets."""
    found = prepare(
        select(blind_index.c.patient_id).where(
            blind_index.c.org == bindparam("org"), any_of(blind_index.c.value, "values")
        )
    )

    assert found.sqlite().arguments({"org": "o", "values": [b"\x00\xff", b""]})[1] == '["00ff",""]'
    assert found.postgresql().arguments({"org": "o", "values": [b"\x00\xff"]})[1] == [b"\x00\xff"]


def test_any_of_on_sqlite_is_answered_from_the_index(tmp_path: Path) -> None:
    """The list is looked up in the index of the key; no table is scanned, whatever the length."""
    path = tmp_path / "heed.db"
    upgrade(f"sqlite:///{path}")
    form = prepare(select(patient.c.version).where(MINE, any_of(patient.c.id, "ids"))).sqlite()

    database = connection(path)
    plan = " ".join(row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {form.sql}", ("o", "[]")))
    database.close()

    assert "SEARCH patient USING INDEX sqlite_autoindex_patient_1 (org=? AND id=?)" in plan
    assert "SCAN patient" not in plan


def test_a_list_that_is_not_any_of_is_refused_when_prepared() -> None:
    """SQLAlchemy would rewrite the text for each length at run time; here nothing is rewritten."""
    with pytest.raises(RuntimeError, match="any_of"):
        prepare(select(patient.c.id).where(MINE, patient.c.id.in_(bindparam("ids", expanding=True))))


UNSCOPED: dict[str, Callable[[], ClauseElement]] = {
    "select": lambda: select(patient.c.id),
    "by key only": lambda: select(patient.c.id).where(patient.c.id == bindparam("id")),
    "another organisation's name": lambda: select(patient.c.id).where(patient.c.org == "north"),
    "another parameter": lambda: select(patient.c.id).where(patient.c.org == bindparam("other")),
    "join": lambda: select(organisation.c.org).join(patient, patient.c.org == organisation.c.org),
    "subquery": lambda: select(organisation.c.org).where(select(sealed_row.c.org).exists()),
    "update": lambda: update(patient).values(version=1),
    "delete": lambda: delete(sealed_row).where(sealed_row.c.patient_id == bindparam("id")),
    "insert": lambda: insert(outbox).values(id=bindparam("id")),
}


@pytest.mark.parametrize("make", UNSCOPED.values(), ids=UNSCOPED)
@pytest.mark.filterwarnings("ignore:Column 'outbox")
def test_a_statement_without_its_organisation_cannot_be_prepared(make: Callable[[], ClauseElement]) -> None:
    """On SQLite nothing else stands between two organisations, so it is refused when the program is loaded."""
    with pytest.raises(RuntimeError, match="no parameter org"):
        prepare(make())


def test_tables_of_no_organisation_need_none() -> None:
    """Keys of the service, and the list of organisations itself."""
    assert prepare(select(crypto_key.c.no)).sqlite().names == ()
    assert prepare(select(organisation.c.org)).sqlite().names == ()


def test_constructs_of_postgresql_compile_for_both() -> None:
    """Upserts, RETURNING, row values and locks are written once."""
    add = upsert(organisation)
    statements = (
        add.on_conflict_do_nothing(),
        add.on_conflict_do_update(index_elements=["org"], set_={"created_at": add.excluded.created_at}),
        update(patient).where(MINE).values(version=patient.c.version + 1).returning(patient.c.version),
        select(patient.c.id).where(MINE).with_for_update(),
        select(patient.c.id).where(MINE, tuple_(patient.c.created_at, patient.c.id) < (bindparam("t"), bindparam("i"))),
    )

    for statement in map(prepare, statements):
        assert statement.sqlite().names == statement.postgresql().names
        assert "FOR UPDATE" not in statement.sqlite().sql


def test_growth_takes_its_rows_as_columns_on_postgresql() -> None:
    """One statement that changes and adds there, two on SQLite; a name that means two things is refused."""
    change = update(patient).where(MINE).values(version=bindparam("raised")).returning(patient.c.version)
    found = prepare_growth(change, organisation)

    assert found.columns == ("created_at",)
    assert found.insert.sqlite().names == ("org", "created_at")
    assert found.change.sqlite().names == ("raised", "org")
    assert {*found.together.postgresql().names} == {"raised", "org", "created_at"}
    assert "unnest($" in found.together.postgresql().sql
    clashing = update(patient).where(MINE).values(version=bindparam("created_at")).returning(patient.c.version)
    with pytest.raises(RuntimeError, match="created_at"):
        prepare_growth(clashing, organisation)
