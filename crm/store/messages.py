"""Messages that came in, what of them waits for staff, and numbers to leave alone, as stored. Decides nothing.

No word of a message and no number stands here in clear: what is kept are keyed digests, codes and times. The digests
are made with a key that is not rotated (`KeySet.lasting_digest`), because nothing they were made of is kept.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, and_, bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from crm.crypto.keyset import KeySet
from crm.domain.reply_terms import endpoint
from crm.store.database import Connection, Fetch
from crm.store.statements import any_of, prepare
from crm.store.tables import inbound_message, patient, suppression, waiting_message

__all__ = [
    "SHARED", "Answered", "Waiting", "claim", "close", "known", "number_digest", "page", "release", "suppress",
    "suppressed", "wait",
]  # fmt: skip

SHARED: Final = "SHARED"
"""Why a number is left alone that is on more records than a message reaches: no one person speaks for it."""

_NUMBERS: Final = "suppressed number"
"""What the digests of numbers and mailboxes are derived for."""

_M: Final = inbound_message.c
_W: Final = waiting_message.c
_S: Final = suppression.c
_CLAIM: Final = prepare(insert_unless(inbound_message).on_conflict_do_nothing())
_KNOWN: Final = prepare(
    select(_M.digest, _M.answer).where(
        _M.org == bindparam("org"), _M.gateway == bindparam("gateway"), _M.message_id == bindparam("message_id")
    )
)
_WAIT: Final = prepare(insert(waiting_message))
_CLOSE: Final = prepare(
    update(waiting_message)
    .where(_W.org == bindparam("org"), _W.id == bindparam("id_"), _W.resolved_at.is_(None))
    .values(resolved_at=bindparam("at", type_=BigInteger))
)
_PAGE: Final = prepare(
    select(_W.id, _W.patient_id, _W.kind, _W.received_at)
    .join_from(waiting_message, patient, and_(patient.c.org == _W.org, patient.c.id == _W.patient_id))
    .where(
        _W.org == bindparam("org"),
        _W.resolved_at.is_(None),
        _W.id > bindparam("after"),
        patient.c.status != "erased",  # the words went with the record, and so did the question
    )
    .order_by(_W.id)
    .limit(bindparam("rows", type_=BigInteger))
)
_SUPPRESS: Final = prepare(insert_unless(suppression).on_conflict_do_nothing())
_SUPPRESSED: Final = prepare(
    select(_S.value, _S.channel).where(_S.org == bindparam("org"), any_of(_S.value, "digests"))
)
_RELEASE: Final = prepare(
    delete(suppression).where(
        _S.org == bindparam("org"),
        _S.value == bindparam("digest"),
        _S.channel == bindparam("channel_"),
        _S.since < bindparam("before", type_=BigInteger),
        _S.why != SHARED,
    )
)

_FORGET: Final = prepare(
    delete(suppression).where(
        _S.org == bindparam("org"), _S.value == bindparam("digest"), _S.channel == bindparam("channel_")
    )
)


class Answered(NamedTuple):
    """A message that was taken before: the digest of what it said, and the answer that was given (JSON)."""

    digest: bytes
    answer: str


class Waiting(NamedTuple):
    """One message in the queue; `id` is that of the suspension in the patient's record. Time in microseconds, UTC."""

    id: str
    patient_id: str
    kind: str
    received_at: int


async def claim(
    connection: Connection, org: str, gateway: str, message_id: str, said: Answered, received_at: int
) -> bool:
    """Takes a message in; False where it is there already, also by who takes the same one at this moment: it waits."""
    row = {"gateway": gateway, "message_id": message_id, "received_at": received_at}
    return await connection.execute(_CLAIM, org=org, **row, digest=said.digest, answer=said.answer) == 1


async def known(fetch: Fetch, org: str, gateway: str, message_id: str) -> Answered | None:
    """What was taken in under this id of this gateway."""
    rows = await fetch(_KNOWN, org=org, gateway=gateway, message_id=message_id)
    return Answered(bytes(rows[0]["digest"]), rows[0]["answer"]) if rows else None


async def wait(connection: Connection, org: str, waiting: Iterable[Waiting]) -> None:
    """Puts messages at the end of the queue."""
    rows = [{"org": org, **each._asdict(), "resolved_at": None} for each in waiting]
    if rows:
        await connection.execute_many(_WAIT, rows)


async def close(connection: Connection, org: str, waiting_id: str, at: int) -> bool:
    """Takes a message out of the queue; False where it is not in it."""
    return await connection.execute(_CLOSE, org=org, id_=waiting_id, at=at) == 1


async def page(fetch: Fetch, org: str, after: str, rows: int) -> list[Waiting]:
    """At most so many messages that wait, the oldest first, behind the id `after`; not those of erased patients."""
    return [Waiting(*row) for row in await fetch(_PAGE, org=org, after=after, rows=rows)]


async def suppress(
    connection: Connection, keys: KeySet, org: str, values: Iterable[tuple[str, str | bytes]], since: int, why: str
) -> None:
    """Leaves numbers and mailboxes alone from now on, each for one channel; `why` is a code. Repeating changes nothing.

    What is octets is a digest of one already. Values that no term can be made of are passed over: nothing can be sent
    there. Raises KeyUnavailable.
    """
    digests = {(digest, channel) for channel, value in values if (digest := number_digest(keys, org, channel, value))}
    rows = [
        {"org": org, "value": digest, "channel": channel, "since": since, "why": why}
        for digest, channel in sorted(digests)
    ]
    if why == SHARED:  # also of one that was left alone for less
        for digest, channel in sorted(digests):
            await connection.execute(_FORGET, org=org, digest=digest, channel_=channel)
    if rows:
        await connection.execute_many(_SUPPRESS, rows)


async def suppressed(fetch: Fetch, keys: KeySet, org: str, values: Collection[tuple[str, str]]) -> frozenset[str]:
    """Those of the values, each given with the channel it would be used for, that are to be left alone there.

    One statement, whatever their number; none without any. Raises KeyUnavailable.
    """
    asked: dict[tuple[bytes, str], list[str]] = {}
    for channel, value in set(values):
        if digest := number_digest(keys, org, channel, value):
            asked.setdefault((digest, channel), []).append(value)
    if not asked:
        return frozenset()
    rows = await fetch(_SUPPRESSED, org=org, digests=sorted({digest for digest, _ in asked}))
    found = [asked.get((bytes(row["value"]), row["channel"]), ()) for row in rows]
    return frozenset(value for each in found for value in each)


async def release(
    connection: Connection, keys: KeySet, org: str, values: Iterable[tuple[str, str | bytes]], before: int
) -> None:
    """Lets numbers and mailboxes be used again that are left alone since a moment before `before` (microseconds, UTC).

    Each for one channel, in the order in which `suppress` takes them; none that is left alone as `SHARED`. Raises
    KeyUnavailable.
    """
    digests = {(digest, channel) for channel, value in values if (digest := number_digest(keys, org, channel, value))}
    for digest, channel in sorted(digests):
        await connection.execute(_RELEASE, org=org, digest=digest, channel_=channel, before=before)


def number_digest(keys: KeySet, org: str, channel: str, value: str | bytes) -> bytes | None:
    """The keyed hash by which a number or mailbox is left alone; None for what is none. Raises KeyUnavailable."""
    if isinstance(value, bytes):
        return value
    term = endpoint(channel, value)
    return keys.lasting_digest(org, _NUMBERS, term) if term else None
