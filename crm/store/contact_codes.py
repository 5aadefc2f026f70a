"""One-time codes as stored: a new one in place of older ones, a counted try, an end. Sends nothing, and knows no code.

What is stored is a keyed hash (`KeySet.digest`), which nobody without the index key can test the million codes against.
It is computed again under the active version, so a rotation of that key ends the codes of the last minutes.
"""

import hmac
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, bindparam, delete, insert, literal, select, update
from uuid_utils import uuid7

from crm.crypto.keyset import KeySet
from crm.domain.contact_codes import ATTEMPTS, LASTING, SENDS_IN, bound, wait
from crm.errors import RateLimited
from crm.store.database import Connection
from crm.store.statements import prepare
from crm.store.tables import contact_verification

__all__ = ["add", "end", "tried"]

_C: Final = contact_verification.c
_OF_PERSON: Final = (_C.org == bindparam("org")) & (_C.patient_id == bindparam("patient"))
_OF_POINT: Final = _OF_PERSON & (_C.contact_point_id == bindparam("point")) & _C.closed_at.is_(None)
_NOW: Final = bindparam("now", type_=BigInteger)

_FORGET = prepare(delete(contact_verification).where(_OF_PERSON, _C.created_at <= bindparam("since", type_=BigInteger)))
_SENT = prepare(select(_C.contact_point_id, _C.created_at).where(_OF_PERSON).order_by(_C.created_at.desc()))
_END = prepare(update(contact_verification).where(_OF_POINT).values(closed_at=_NOW))
_ADD = prepare(insert(contact_verification))
_TRY = prepare(
    update(contact_verification)
    .where(_OF_POINT, _C.expires_at > _NOW, _C.attempts < literal(ATTEMPTS, Integer))
    .values(attempts=_C.attempts + literal(1, Integer))
    .returning(_C.code)
)


def _hashed(keys: KeySet, org: str, patient_id: str, point: Mapping[str, Any], code: str) -> bytes:
    return keys.digest(org, "contact-code", bound(patient_id, point, code))


async def add(
    connection: Connection, keys: KeySet, org: str, patient_id: str, point: Mapping[str, Any], code: str, now: int
) -> str:
    """Stores a code for a contact point of a locked record, and its id; one that was sent before serves no more.

    Raises `RateLimited` where too many were sent within the hour, and `KeyUnavailable`.
    """
    person = {"org": org, "patient": patient_id}
    await connection.execute(_FORGET, **person, since=now - SENDS_IN)
    sent = [(row["contact_point_id"], row["created_at"]) for row in await connection.fetch(_SENT, **person)]
    if (seconds := wait(sent, point["id"], now)) is not None:
        raise RateLimited(seconds)
    await end(connection, org, patient_id, point["id"], now)
    code_id = str(uuid7())
    await connection.execute(
        _ADD,
        org=org,
        id=code_id,
        patient_id=patient_id,
        contact_point_id=point["id"],
        code=_hashed(keys, org, patient_id, point, code),
        created_at=now,
        expires_at=now + LASTING,
        attempts=0,
        closed_at=None,
    )
    return code_id


async def tried(
    connection: Connection, keys: KeySet, org: str, patient_id: str, point: Mapping[str, Any], code: str, now: int
) -> bool | None:
    """Whether `code` is the one that was sent to the point; None where none may be tried now. The try is counted.

    The caller must let the count be committed, whatever comes of it. Raises `KeyUnavailable`.
    """
    hashed = _hashed(keys, org, patient_id, point, code)
    rows = await connection.fetch(_TRY, org=org, patient=patient_id, point=point["id"], now=now)
    return hmac.compare_digest(bytes(rows[0]["code"]), hashed) if rows else None


async def end(connection: Connection, org: str, patient_id: str, point_id: str, now: int) -> None:
    """No code that was sent to the point serves any more."""
    await connection.execute(_END, org=org, patient=patient_id, point=point_id, now=now)
