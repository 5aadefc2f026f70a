"""What an erasure does to the rows of one patient, in the caller's transaction and without any key. Decides nothing.

Data keys become NULL and `shredded`, for good: triggers refuse their return. Cells and seals go although nobody could
open them any more, and with them search values and what imports knew. The clear row stays as the fact that there was a
record; after the erasure of a whole patient it has a new name for the log, under which the erasure itself is recorded,
so that no row leads from the id to the old events: its history, which names callers and requests, goes as well.

What another record said while this one was merged into it by mistake is of both: those of its former rows are emptied
too, under a data key that stays. The ledger names them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import BigInteger, Update, bindparam, delete, exists, null, select, update

from crm.audit.event import recorded_request, recorded_subject
from crm.catalogue import BY_NAME, INDEXES, Index, KeyClass
from crm.errors import LegalHold
from crm.store import duplicates, holds, ledger, retries
from crm.store.context import Context
from crm.store.database import Connection
from crm.store.ledger import Erasure
from crm.store.merges import Span
from crm.store.record import LIVE, SHREDDED, Record
from crm.store.statements import Statement, any_of, prepare
from crm.store.tables import (
    blind_index,
    contact_verification,
    patient,
    patient_key,
    patient_version,
    sealed_row,
    sealed_version,
    source_record,
    waiting_message,
)

__all__ = ["erase", "erase_again"]


def _of_classes(table: Any) -> Any:
    mine = (table.c.org == bindparam("org")) & (table.c.patient_id == bindparam("id_"))
    return mine & any_of(table.c.key_class, "classes")


_SHRED = prepare(
    update(patient_key)
    .where(_of_classes(patient_key), patient_key.c.state == LIVE)
    .values(wrapped=null(), state=SHREDDED, shredded_at=bindparam("now", type_=BigInteger))
)
_KEYS = prepare(
    select(patient_key.c.key_class, patient_key.c.dek_no, patient_key.c.epoch)
    .where(_of_classes(patient_key))
    .order_by(patient_key.c.key_class, patient_key.c.dek_no)
)


def _emptied(table: Any) -> Statement:
    return prepare(update(table).where(_of_classes(table)).values(cells=null(), seal=null(), provenance="{}"))


def _emptied_span() -> Statement:
    """Former rows of these versions, of those that held until the last of them at most: the others hold on."""
    until = bindparam("until", type_=BigInteger)

    def replaced(table: Any) -> Any:
        return exists().where(
            table.c.org == sealed_version.c.org,
            table.c.patient_id == sealed_version.c.patient_id,
            table.c.key_class == sealed_version.c.key_class,
            table.c.version > sealed_version.c.version,
            table.c.version <= until,
        )

    return prepare(
        update(sealed_version)
        .where(
            _of_classes(sealed_version),
            sealed_version.c.version >= bindparam("first", type_=BigInteger),
            sealed_version.c.version < until,
            replaced(sealed_version.alias("later")) | replaced(sealed_row),
        )
        .values(cells=null(), seal=null(), provenance="{}")
    )


def _without(table: Any) -> Statement:
    return prepare(delete(table).where(table.c.org == bindparam("org"), table.c.patient_id == bindparam("id_")))


_EMPTY: Final = (_emptied(sealed_row), _emptied(sealed_version))
_EMPTY_SPAN: Final = _emptied_span()
_FORGET: Final = (_without(sealed_version), _without(patient_version))

_TERMS: Final = (
    (blind_index.c.org == bindparam("org"))
    & (blind_index.c.patient_id == bindparam("id_"))
    & any_of(blind_index.c.index_code, "codes")
)
_VERSIONS = prepare(select(blind_index.c.key_ver).distinct().where(_TERMS))
_UNINDEX = prepare(delete(blind_index).where(_TERMS))
_REPORTED: Final = (source_record.c.org == bindparam("org")) & (source_record.c.patient_id == bindparam("id_"))
_REPORT_VERSIONS = prepare(select(source_record.c.key_ver).distinct().where(_REPORTED))
_UNREPORT = prepare(delete(source_record).where(_REPORTED))
_UNSEND: Final = _without(contact_verification)
_UNWAIT: Final = _without(waiting_message)


def _patient(**values: Any) -> Update:
    return (
        update(patient)
        .where(patient.c.org == bindparam("org"), patient.c.id == bindparam("id_"))
        .values(
            version=bindparam("version_", type_=BigInteger), updated_at=bindparam("now", type_=BigInteger), **values
        )
    )


_STEP = prepare(_patient())
_END = prepare(_patient(status="erased", restricted=0, audit_subject=bindparam("subject")))


async def erase(
    connection: Connection,
    context: Context,
    record: Record,
    classes: frozenset[KeyClass] | None,
    why: str,
    now: int,
    index_versions: Iterable[int],
    spans: Sequence[Span] = (),
) -> Erasure:
    """Erases these classes of a locked record, or all of it with None, and enters it into the ledger.

    `record` then says what is stored. `why` is a reason code, `now` in microseconds since 1970; `index_versions` are
    those that this process knows: older copies may hold values under any of them; `spans` are versions of other locked
    records that are emptied as well. Raises `LegalHold`, also where one of those is held.
    """
    for name in {record.id, *(span.patient_id for span in spans)}:
        if await holds.active(connection.fetch, record.org, name):
            raise LegalHold
    keys, versions, indexed = await _destroy(connection, record, classes, now)
    await _empty(connection, record.org, spans, KeyClass if classes is None else classes)
    erasure = Erasure(
        org=record.org,
        seq=0,
        patient_id=record.id,
        whole=classes is None,
        classes=tuple(dict.fromkeys(key_class for key_class, _, _ in keys)),
        former=tuple((span.patient_id, span.first, span.until) for span in spans),
        keys=keys,
        index_versions=tuple(sorted({*versions, *index_versions})) if indexed else (),
        reason=why,
        request_id=recorded_request(context.request_id),
        by=recorded_subject(context.who.sub),
        at=now,
    )
    return await ledger.append(connection, erasure)


async def erase_again(
    connection: Connection, record: Record, told: Erasure, now: int, spans: Sequence[Span] = ()
) -> frozenset[KeyClass]:
    """Does to a locked record what `told` says was done to it; the classes of which there was anything left.

    Nobody is asked about holds: this was decided, and done, when there was none.
    """
    await _empty(connection, record.org, spans, KeyClass if told.whole else map(KeyClass, told.classes))
    if record.status == "erased":
        return frozenset()
    left = record.classes - record.erased
    if told.whole:
        await _destroy(connection, record, None, now)
    elif left := left & {KeyClass(name) for name in told.classes}:
        await _destroy(connection, record, left, now)
    return left


async def _empty(connection: Connection, org: str, spans: Iterable[Span], classes: Iterable[KeyClass]) -> None:
    chosen = sorted(classes)
    for span in spans:
        place = {"org": org, "id_": span.patient_id, "first": span.first, "until": span.until}
        await connection.execute(_EMPTY_SPAN, **place, classes=chosen)


async def _destroy(
    connection: Connection, record: Record, classes: frozenset[KeyClass] | None, now: int
) -> tuple[tuple[tuple[str, int, int], ...], set[int], bool]:
    """Class, number and last epoch of each data key; versions of search values; whether there can be any at all.

    Data keys that were shredded before are named again, because copies from before that may still hold them.
    """
    of = {"org": record.org, "id_": record.id}
    chosen = sorted(KeyClass if classes is None else classes)
    codes = [index.code for index in INDEXES if not _feeding(index).isdisjoint(chosen)]
    await connection.execute(_SHRED, **of, classes=chosen, now=now)
    # Read after the update: whoever wraps data keys anew is done with these by then, and does not touch them later.
    keys = tuple(
        (row["key_class"], row["dek_no"], row["epoch"]) for row in await connection.fetch(_KEYS, **of, classes=chosen)
    )
    for empty in _EMPTY:
        await connection.execute(empty, **of, classes=chosen)
    versions = {row["key_ver"] for row in await connection.fetch(_VERSIONS, **of, codes=codes)}
    # Also for a class alone: a digest of all that a source said would let somebody with the index key test guesses.
    reported = {row["key_ver"] for row in await connection.fetch(_REPORT_VERSIONS, **of)}
    await connection.execute(_UNREPORT, **of)
    await connection.execute(_UNINDEX, **of, codes=codes)
    await duplicates.forget(connection, record.org, record.id)
    if KeyClass.CONTACT in chosen:
        await connection.execute(_UNSEND, **of)
    if KeyClass.PREFERENCE in chosen:  # nobody could read any more what waits to be read
        await connection.execute(_UNWAIT, **of)
    record.version += 1
    record.updated_at = at = max(now, record.updated_at)
    if classes is None:
        record.status, record.restricted, record.audit_subject = "erased", False, uuid4().hex
        await connection.execute(_END, **of, version_=record.version, now=at, subject=record.audit_subject)
        for forget in _FORGET:
            await connection.execute(forget, **of)
        await retries.empty(connection, record.org, record.id)
    else:
        await connection.execute(_STEP, **of, version_=record.version, now=at)
    for key_class in record.rows.keys() & set(chosen):
        row = record.rows[key_class]
        row.wrapped, row.key_state, row.box, row.seal, row.provenance = None, SHREDDED, b"", b"", "{}"
    return keys, versions | reported, bool(codes or reported)


def _feeding(index: Index) -> set[KeyClass | None]:
    """The classes of the fields that an index is made of."""
    return {BY_NAME[name].key_class for name in index.fields}
