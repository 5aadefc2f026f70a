"""What people wrote beside events of the log, sealed under a data key of the patient: stored once, opened for officers.

The key is a row of `patient_key` like those of a record, of class identity and with a number from 1,000,000 up. So wrap
keys are rotated over it, and the erasure of the patient, or of that class, destroys it. The sealed octets are never
changed: the leaf has their digest. After an erasure they stay, as noise, and nothing is missing from the evidence.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, NamedTuple

from sqlalchemy import bindparam, insert, select

from crm.catalogue import KeyClass
from crm.crypto.detail import FIRST_KEY, number_of
from crm.crypto.keyset import KeySet
from crm.errors import CrmError, Erased, Tampered
from crm.store.context import Context
from crm.store.database import Connection, Fetch, Row
from crm.store.record import LIVE, SHREDDED
from crm.store.statements import any_of, prepare
from crm.store.tables import audit_detail, patient_key

__all__ = ["CLASS", "Detail", "read", "seal"]

CLASS: Final = KeyClass.IDENTITY
"""The class of the keys: what is written about an access says who the person is."""

_K: Final = patient_key.c
_OURS: Final = (
    _K.org == bindparam("org"),
    _K.key_class == CLASS.value,
    _K.dek_no >= FIRST_KEY,
)
_NEWEST: Final = prepare(
    select(_K.dek_no, _K.wrapped, _K.state)
    .where(*_OURS, _K.patient_id == bindparam("patient"))
    .order_by(_K.dek_no.desc())
    .limit(1)
)
_KEYS: Final = prepare(
    select(_K.patient_id, _K.dek_no, _K.wrapped, _K.state).where(*_OURS, any_of(_K.patient_id, "ids"))
)
_ADD_KEY: Final = prepare(insert(patient_key))
_ADD: Final = prepare(insert(audit_detail))
_FIND: Final = prepare(
    select(audit_detail.c.id, audit_detail.c.kind, audit_detail.c.octets).where(
        audit_detail.c.org == bindparam("org"), any_of(audit_detail.c.id, "ids"), any_of(audit_detail.c.kind, "kinds")
    )
)


class Detail(NamedTuple):
    """Which words: those beside the event of this `kind` (its act) about `ref`."""

    ref: str
    kind: str


async def seal(
    connection: Connection, keys: KeySet, context: Context, patient_id: str, detail: Detail, words: str, now: int
) -> str:
    """Stores the words sealed, and returns the digest of the sealed octets as a leaf has it.

    The caller has locked the patient, so that no erasure is half done beside it. Raises `KeyUnavailable`, `Tampered`.
    """
    keys.check_age()
    rows = await connection.fetch(_NEWEST, org=context.org, patient=patient_id)
    if rows and rows[0]["state"] == LIVE:
        key = keys.data_key(context.org, patient_id, CLASS, rows[0]["dek_no"], bytes(rows[0]["wrapped"]))
    else:
        number = rows[0]["dek_no"] + 1 if rows else FIRST_KEY
        key, new = keys.new_data_key(context.org, patient_id, CLASS, number)
        await connection.execute(
            _ADD_KEY,
            org=context.org,
            patient_id=patient_id,
            key_class=CLASS.value,
            dek_no=number,
            epoch=new.epoch,
            wrapped=new.wrapped,
            state=LIVE,
            created_at=now,
            shredded_at=None,
        )
    octets = key.seal_detail(detail.kind, detail.ref, words.encode())
    await connection.execute(_ADD, org=context.org, id=detail.ref, kind=detail.kind, octets=octets)
    return "sha256:" + hashlib.sha256(octets).hexdigest()


async def read(
    fetch: Fetch,
    keys: KeySet,
    renew: Callable[[], Awaitable[None]],
    context: Context,
    kinds: Collection[str],
    patients: Mapping[str, str],
) -> dict[Detail, str | CrmError]:
    """The words of these kinds; `patients` has, by `ref`, the patient whom they are about.

    `Erased` stands in place of words whose key was destroyed, `Tampered` in place of those that do not authenticate, so
    that one of them does not hide the others; absent is what nobody wrote. `renew` looks for new keys where one is
    unknown. Raises `KeyUnavailable`.
    """
    if not patients:
        return {}
    stored = await fetch(_FIND, org=context.org, ids=sorted(patients), kinds=sorted(kinds))
    rows = await fetch(_KEYS, org=context.org, ids=sorted(set(patients.values())))
    if any(row["wrapped"] is not None and not keys.knows(CLASS, bytes(row["wrapped"])) for row in rows):
        await renew()
    held = {(row["patient_id"], row["dek_no"]): row for row in rows}
    found: dict[Detail, str | CrmError] = {}
    for row in stored:
        detail, patient_id, octets = Detail(row["id"], row["kind"]), patients[row["id"]], bytes(row["octets"])
        try:
            key = held.get((patient_id, number_of(octets)))
            found[detail] = _opened(keys, context.org, patient_id, key, detail, octets)
        except Tampered as failure:
            found[detail] = failure
    return found


def _opened(keys: KeySet, org: str, patient_id: str, row: Row | None, detail: Detail, octets: bytes) -> str | CrmError:
    if row is None:
        raise Tampered("data key")
    if row["state"] == SHREDDED:
        return Erased()
    key = keys.data_key(org, patient_id, CLASS, row["dek_no"], bytes(row["wrapped"]))
    return key.open_detail(detail.kind, detail.ref, octets).decode()
