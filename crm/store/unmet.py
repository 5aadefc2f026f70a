"""Whose needs were not met, by the events that say so: a fact of the log, joined to patients by their names in it.

An event stands for a need that a contact decision could not meet, or for what staff recorded of a visit.
"""

from typing import Final, NamedTuple

from sqlalchemy import BigInteger, bindparam, func, select

from crm.audit.event import FLAGS
from crm.store.database import Fetch
from crm.store.statements import prepare
from crm.store.tables import audit_event, patient

__all__ = ["Unmet", "patients"]


class Unmet(NamedTuple):
    """A patient, when a need of theirs was last not met (microseconds since 1970), and how often."""

    patient_id: str
    last: int
    times: int


_E: Final = audit_event.c
_P: Final = patient.c
_PATIENTS = prepare(
    select(_P.id, func.max(_E.ts).label("last"), func.count().label("times"))
    .select_from(audit_event.join(patient, (_P.org == _E.org) & (_P.audit_subject == _E.pat)))
    .where(
        _E.org == bindparam("org"),
        _E.flags.op("&")(FLAGS["need_unmet"]) != 0,
        _E.ts >= bindparam("since", type_=BigInteger),
        _E.ts < bindparam("until", type_=BigInteger),
        _P.id > bindparam("after"),
        _P.status == "active",
    )
    .group_by(_P.id)
    .order_by(_P.id)
    .limit(bindparam("limit", type_=BigInteger))
)


async def patients(fetch: Fetch, org: str, since: int, until: int, after: str, limit: int) -> list[Unmet]:
    """The first `limit` active patients after `after`, ascending, with such an event from `since` until before `until`.

    Erased patients are not among them: the name under which these events stand leads to nobody any more.
    """
    rows = await fetch(_PATIENTS, org=org, since=since, until=until, after=after, limit=limit)
    return [Unmet(row["id"], row["last"], row["times"]) for row in rows]
