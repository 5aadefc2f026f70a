"""Which mutations were done under a client's key, as stored: claimed, completed, found again. Makes no answer.

A key is claimed at the start of the transaction that changes something, and completed in it, so that there is never an
effect without its row or a row without its effect; what has to leave besides is completed once it has left. A refusal
rolls both back. What a row names is read again for the answer: no value of a patient is kept here. The digests are made
with a key that is not rotated, because a client that asks again must be known whatever happened to the keys meanwhile.
"""

import hmac
from enum import StrEnum
from typing import Final, NamedTuple

import orjson
from sqlalchemy import BigInteger, bindparam, delete, func, insert, null, select, update

from crm.crypto.keyset import KeySet
from crm.errors import Invalid, RequestInProgress
from crm.store.context import Context
from crm.store.database import Connection, Fetch
from crm.store.statements import prepare
from crm.store.tables import retry

__all__ = ["Claim", "Effect", "Kind", "Repeated", "claim", "complete", "done", "empty", "prune", "slot_of"]

_SLOT: Final = "retry"
_PAYLOAD: Final = "retry payload"

_R: Final = retry.c
_OF_SLOT: Final = (_R.org == bindparam("org")) & (_R.slot == bindparam("slot_"))
_NUMBER: Final = bindparam("number", type_=BigInteger)
# SQLite has one writer at a time: whoever is here has claimed everything.
_TRY: Final = prepare(
    select((_NUMBER.is_not(None)).label("free")),
    postgresql=select(func.pg_try_advisory_xact_lock(_NUMBER).label("free")),
)
_DONE: Final = prepare(
    select(_R.step, _R.payload, _R.kind, _R.patient_id, _R.version, _R.ref, _R.done_at).where(_OF_SLOT)
)
_COMPLETE: Final = prepare(insert(retry))
_EMPTY: Final = prepare(
    update(retry)
    .where(_R.org == bindparam("org"), _R.patient_id == bindparam("id_"))
    .values(patient_id=null(), kind=bindparam("gone"), version=bindparam("none", type_=BigInteger), ref="")
)
_PRUNE: Final = prepare(
    delete(retry).where(_R.org == bindparam("org"), _R.done_at < bindparam("before", type_=BigInteger))
)


class Kind(StrEnum):
    """What a mutation answered, and so where the same answer is found again."""

    PROFILE = "profile"
    REPORT = "report"
    RECEIPT = "receipt"
    HOLD_PLACED = "hold_placed"
    HOLD_LIFTED = "hold_lifted"
    GRANT_GIVEN = "grant_given"
    GRANT_REVIEWED = "grant_reviewed"
    CODE = "code"
    MESSAGE = "message"
    PAIR = "pair"
    GONE = "gone"


class Effect(NamedTuple):
    """What a unit did: a kind, the patient and the version, the id of what it stored. `at` is microseconds, UTC."""

    kind: Kind
    patient_id: str | None = None
    version: int = 0
    ref: str = ""
    at: int = 0


class Repeated(Exception):
    """What is being asked was done before. Ends a unit of work that would do it again; `effect` is what was done."""

    def __init__(self, effect: Effect) -> None:
        super().__init__(effect.kind.value)
        self.effect = effect


class Claim(NamedTuple):
    """A step that nobody has done yet, and nobody else can do before this transaction ends."""

    slot: bytes
    step: int
    payload: bytes


def slot_of(keys: KeySet, context: Context) -> bytes:
    """The keyed digest of who asks and their key: nobody else's key is the same. Raises `KeyUnavailable`."""
    retry, who = context.retry, context.who
    if retry is None:
        raise RuntimeError("this request gave no key")
    parts = [retry.source, retry.key, who.iss, who.sub, who.client]
    return keys.lasting_digest(context.org, _SLOT, orjson.dumps(parts))


async def claim(connection: Connection, keys: KeySet, context: Context) -> Claim | None:
    """Claims the step that the context names until the transaction ends; None where it names none.

    Raises `Repeated` where it was done, `Invalid` where the key came with something else, `RequestInProgress` where
    somebody else has claimed it: nobody waits here with a connection. And `KeyUnavailable`.
    """
    if context.retry is None:
        return None
    slot = slot_of(keys, context)
    [row] = await connection.fetch(_TRY, number=int.from_bytes(slot[:8], signed=True))
    if not row["free"]:
        raise RequestInProgress
    if found := await done(connection.fetch, keys, context):
        raise Repeated(found)
    return Claim(slot, context.retry.step, _payload(keys, context))


async def done(fetch: Fetch, keys: KeySet, context: Context) -> Effect | None:
    """What was done in the step that the context names, if it was. Raises `Invalid`, `KeyUnavailable`."""
    if context.retry is None:
        return None
    rows = await fetch(_DONE, slot_=slot_of(keys, context), org=context.org)
    payload = _payload(keys, context)
    # Steps of another request under this key count too: a key belongs to all that was asked together.
    if not all(hmac.compare_digest(bytes(row["payload"]), payload) for row in rows):
        raise Invalid(context.retry.source, "repeated_with_other_payload")
    for row in rows:
        if row["step"] == context.retry.step:
            return Effect(Kind(row["kind"]), row["patient_id"], row["version"], row["ref"], row["done_at"])
    return None


async def complete(connection: Connection, claimed: Claim, org: str, effect: Effect, at: int) -> None:
    """Stores what was done under a claim of the same transaction."""
    await connection.execute(
        _COMPLETE,
        org=org,
        slot=claimed.slot,
        step=claimed.step,
        payload=claimed.payload,
        kind=effect.kind.value,
        patient_id=effect.patient_id,
        version=effect.version,
        ref=effect.ref,
        done_at=at,
    )


async def empty(connection: Connection, org: str, patient_id: str) -> None:
    """Takes a patient out of all rows. That something was done stays known, or it would be done again."""
    await connection.execute(_EMPTY, org=org, id_=patient_id, gone=Kind.GONE.value, none=0)


async def prune(connection: Connection, org: str, before: int) -> int:
    """Removes what was done before a moment (microseconds, UTC); how many rows."""
    return await connection.execute(_PRUNE, org=org, before=before)


def _payload(keys: KeySet, context: Context) -> bytes:
    """The keyed digest of what was asked: a plain one would let guesses at the values be tested."""
    return keys.lasting_digest(context.org, _PAYLOAD, context.retry.payload if context.retry else b"")
