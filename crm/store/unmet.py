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
# Gathered by themselves, and summed up before they are joined: else SQLite goes by the index of all times, or looks for
# the events of each patient.
_EVENTS: Final = (
    select(_E.pat, _E.ts)
    .where(
        _E.org == bindparam("org"),
        _E.flags.op("&")(FLAGS["need_unmet"]) != 0,
        _E.ts >= bindparam("since", type_=BigInteger),
        _E.ts < bindparam("until", type_=BigInteger),
    )
    .cte("unmet")
    .prefix_with("MATERIALIZED")
)
_SUMMED: Final = (
    select(_EVENTS.c.pat, func.max(_EVENTS.c.ts).label("last"), func.count().label("times"))
    .group_by(_EVENTS.c.pat)
    .subquery("summed")
)
_PATIENTS = prepare(
    select(_P.id, _SUMMED.c.last, _SUMMED.c.times)
    .select_from(_SUMMED.join(patient, _P.audit_subject == _SUMMED.c.pat))
    .where(_P.org == bindparam("org"), _P.id > bindparam("after"), _P.status == "active")
    .order_by(_P.id)
    .limit(bindparam("limit", type_=BigInteger))
)


async def patients(fetch: Fetch, org: str, since: int, until: int, after: str, limit: int) -> list[Unmet]:
    """The first `limit` active patients after `after`, ascending, with such an event from `since` until before `until`.

    Erased patients are not among them: the name under which these events stand leads to nobody any more.
    """
    rows = await fetch(_PATIENTS, org=org, since=since, until=until, after=after, limit=limit)
    return [Unmet(row["id"], row["last"], row["times"]) for row in rows]
