"""Statements on the patient table, and a way to open it: what the tests of both databases share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from crm.store.database import Database, connect
from crm.store.statements import any_of, prepare
from crm.store.tables import blind_index, patient, sealed_row

NORTH, SOUTH = "north", "south"

_P = patient.c
_MINE = _P.org == bindparam("org")

ADD = prepare(insert(patient))
ONE = prepare(select(_P.id, _P.version, _P.audit_subject).where(_MINE, _P.id == bindparam("id")))
ALL = prepare(select(_P.id).where(_MINE).order_by(_P.id))
SOME = prepare(select(_P.id).where(_MINE, any_of(_P.id, "ids")).order_by(_P.id))
LOOK_UP = prepare(
    select(_P.id, _P.version, _P.audit_subject).where(_MINE, _P.id == bindparam("id")),
    many=prepare(select(_P.id, _P.version, _P.audit_subject).where(_MINE, any_of(_P.id, "ids"))),
)
OTHER_LOOK_UP = prepare(
    select(_P.id, _P.version).where(_MINE, _P.id == bindparam("id")),
    many=prepare(select(_P.id, _P.version).where(_MINE, any_of(_P.id, "ids"))),
)
RAISE = prepare(
    update(patient)
    .where(_MINE, _P.id == bindparam("key"), _P.version == bindparam("expected"))
    .values(version=_P.version + 1)
    .returning(_P.version)
)
RAISE_ALL = prepare(update(patient).where(_MINE).values(version=_P.version + 1))
ADD_ROW = prepare(insert(sealed_row))
ADD_INDEX = prepare(insert(blind_index))
BY_INDEX = prepare(
    select(blind_index.c.patient_id)
    .where(blind_index.c.org == bindparam("org"), any_of(blind_index.c.value, "values"))
    .order_by(blind_index.c.patient_id)
)
CLEAR_INDEX = prepare(delete(blind_index).where(blind_index.c.org == bindparam("org")))


def record(id: str, **other: Any) -> dict[str, Any]:
    """The clear row of a patient."""
    return {
        "id": id,
        "version": 1,
        "status": "active",
        "restricted": 0,
        "classes": "[]",
        "audit_subject": f"subject-{id}",
        "created_at": 1,
        "updated_at": 1,
        "merged_into": None,
        **other,
    }


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    """A database for as long as the block lasts."""
    database = connect(url, durable=False, **options)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def ids(database: Database, org: str = NORTH) -> list[str]:
    """The ids of an organisation's patients."""
    return [row["id"] for row in await database.fetch(org, ALL)]
