"""The random names of patients in the log, and back. The mapping dies with the patient's erasure."""

from collections.abc import Collection

from sqlalchemy import bindparam, select

from crm.store.database import Fetch
from crm.store.statements import any_of, prepare
from crm.store.tables import patient

_BY_PATIENT = prepare(
    select(patient.c.id, patient.c.audit_subject).where(patient.c.org == bindparam("org"), any_of(patient.c.id, "ids"))
)
_BY_SUBJECT = prepare(
    select(patient.c.id, patient.c.audit_subject).where(
        patient.c.org == bindparam("org"), any_of(patient.c.audit_subject, "subjects")
    )
)


async def subjects_of(fetch: Fetch, org: str, ids: Collection[str]) -> dict[str, str]:
    """Audit subject by patient id; unknown ids are absent."""
    rows = await fetch(_BY_PATIENT, org=org, ids=sorted(set(ids))) if ids else []
    return {row["id"]: row["audit_subject"] for row in rows}


async def patients_of(fetch: Fetch, org: str, subjects: Collection[str]) -> dict[str, str]:
    """Patient id by audit subject; subjects whose mapping died are absent."""
    rows = await fetch(_BY_SUBJECT, org=org, subjects=sorted(set(subjects))) if subjects else []
    return {row["audit_subject"]: row["id"] for row in rows}
