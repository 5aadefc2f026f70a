"""Legal holds as stored: all of a patient, a new one, the end of one. The patient's lock says whose turn it is.

A hold is a row of its own: it changes neither the version nor the content of the record that it keeps from erasure.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import bindparam, insert, select, update

from crm.store.database import Connection, Fetch
from crm.store.statements import prepare
from crm.store.tables import legal_hold

__all__ = ["Hold", "active", "all_of", "lift", "place"]


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason why a patient must not be erased. Times are microseconds since 1970, UTC; `lifted_*` None while active.

    `reason` is a word of a closed list, `placed_by` and `lifted_by` are subjects of tokens as the log has them.
    """

    id: str
    patient_id: str
    reason: str
    placed_by: str
    placed_at: int
    lifted_by: str | None = None
    lifted_at: int | None = None


_COLUMNS = [legal_hold.c[name] for name in Hold.__dataclass_fields__]
_OF_PATIENT = prepare(
    select(*_COLUMNS)
    .where(legal_hold.c.org == bindparam("org"), legal_hold.c.patient_id == bindparam("patient_id"))
    .order_by(legal_hold.c.placed_at, legal_hold.c.id)
)
_PLACE = prepare(insert(legal_hold))
_LIFT = prepare(
    update(legal_hold)
    .where(legal_hold.c.org == bindparam("org"), legal_hold.c.id == bindparam("key"), legal_hold.c.lifted_at.is_(None))
    .values(lifted_by=bindparam("by"), lifted_at=bindparam("at"))
)


async def all_of(fetch: Fetch, org: str, patient_id: str) -> list[Hold]:
    """Every hold there ever was on the patient, in the order in which they were placed."""
    return [Hold(*row) for row in await fetch(_OF_PATIENT, org=org, patient_id=patient_id)]


async def active(fetch: Fetch, org: str, patient_id: str) -> list[Hold]:
    """The holds on the patient that nobody lifted. An erasure asks once it has locked the patient, and stops at any."""
    return [hold for hold in await all_of(fetch, org, patient_id) if hold.lifted_at is None]


async def place(connection: Connection, org: str, hold: Hold) -> None:
    """Stores a new hold. The caller has locked the patient, so that no erasure is half done beside it."""
    await connection.execute(_PLACE, org=org, **asdict(hold))


async def lift(connection: Connection, org: str, hold_id: str, by: str, at: int) -> bool:
    """Ends a hold; False if there is none of this id that is still active."""
    return await connection.execute(_LIFT, org=org, key=hold_id, by=by, at=at) == 1
