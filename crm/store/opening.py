"""The only place that turns sealed cells into plaintext; `Unit` is its only caller besides the change of a record."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from crm.audit.event import rfc3339
from crm.catalogue import BY_NAME, Field, KeyClass
from crm.crypto.box import unpack
from crm.crypto.data_key import DataKey
from crm.crypto.keyset import KeySet
from crm.errors import Erased, KeyUnavailable, Tampered
from crm.store.codec import decode
from crm.store.provenance import told
from crm.store.record import LIVE, SHREDDED, Record, sources


def unlock(
    keys: KeySet, record: Record, key_class: KeyClass, vouched: bytes | None = None
) -> tuple[DataKey, dict[int, bytes]]:
    """The data key of one class and its cells by field number, after the row seal was checked.

    `vouched` is `record.vouched`, for whoever unlocks several classes. Raises `Erased` when the key was destroyed,
    `KeyUnavailable` when this process may not hold it, `Tampered` when the row was moved or edited, one of its cells
    replaced by an older one, or the record's clear row edited beside it.
    """
    row = record.rows.get(key_class)
    if row is None:  # the record says that it has this class: somebody took it away
        raise Tampered
    if row.key_state == SHREDDED:
        raise Erased
    if row.wrapped is None or row.key_state != LIVE or row.version > record.version:
        raise Tampered
    key = keys.data_key(record.org, record.id, key_class, row.dek_no, row.wrapped)
    cells = unpack(row.box)
    octets = record.vouched if vouched is None else vouched
    key.verify_row(row.seal, row.version, cells, row.provenance.encode(), record=octets)
    return key, cells


def content(key: DataKey, cells: Mapping[int, bytes], field: Field) -> Any:
    """The value of one field of what `unlock` gave; None where nobody filled it in.

    No cell is opened anywhere else, but to exchange a data key (`resealing`). Raises `Tampered`, and ValueError for a
    value that this program cannot read.
    """
    envelope = cells.get(field.number)
    return None if envelope is None else decode(field, key.open(field, envelope))


def reveal(keys: KeySet, record: Record, names: Iterable[str], on: str) -> dict[str, Any]:
    """Values by catalogue name; absent is what nobody filled in, and what was erased (see `erased`).

    `on` (YYYY-MM-DD) is the day of today. Raises what `unlock` raises.
    """
    wanted = frozenset(names)
    if record.rows.keys() - record.classes:  # somebody made the record forget a class that it still has
        raise Tampered
    plan = _plan(wanted)
    values: dict[str, Any] = {}
    vouched = record.vouched
    for key_class in _to_open(keys, record, wanted, plan):
        key, cells = unlock(keys, record, key_class, vouched)
        for field in plan.sealed.get(key_class, ()):
            if field.number in cells:  # most people leave most fields empty
                values[field.name] = content(key, cells, field)
    return _answer(record, wanted, values, on)


def erased(record: Record, names: Iterable[str]) -> frozenset[str]:
    """Those of `names` that can be answered no more, because everything they come from was erased.

    What is vouched for by every class goes with the last one.
    """
    gone = record.erased
    if not gone:
        return frozenset()
    lost = {name for name in names if (classes := _classes_behind(name)) and classes <= gone}
    return frozenset(lost if record.classes - gone else lost | (_VOUCHED & frozenset(names)))


def _classes_behind(name: str) -> frozenset[KeyClass]:
    return frozenset(row.key_class for row in sources([name]) if row.key_class is not None)


class _Plan(NamedTuple):
    """What has to be done for a set of names.

    The fields to open, by the class under which they are sealed; and those names that are derived, or in the clear row.
    """

    sealed: Mapping[KeyClass, tuple[Field, ...]]
    unsealed: tuple[str, ...]


@lru_cache(maxsize=1024)
def _plan(wanted: frozenset[str]) -> _Plan:
    fields = [field for field in sources(wanted) if field.key_class is not None]
    sealed = {
        key_class: tuple(field for field in fields if field.key_class is key_class)
        for key_class in dict.fromkeys(field.key_class for field in fields if field.key_class is not None)
    }
    return _Plan(sealed, tuple(name for name in wanted if BY_NAME[name].derive is not None or name in _CLEAR))


def _to_open(keys: KeySet, record: Record, wanted: frozenset[str], plan: _Plan) -> frozenset[KeyClass]:
    """The classes whose rows must be verified for `wanted`; nothing is left to verify of one that was erased.

    Provenance stands beside the cells of every class. Any one row vouches for the restriction, so those that this
    process was given are enough. Raises `KeyUnavailable` where it was given none of them.
    """
    gone = record.erased
    live = record.classes - gone if gone else record.classes
    if "provenance" in wanted:
        return live
    needed = live.intersection(plan.sealed)
    if "restricted" in wanted and live:
        needed |= live & keys.held
        if not needed:
            raise KeyUnavailable("no key of a class that vouches for the record")
    return needed


def _answer(record: Record, wanted: frozenset[str], values: dict[str, Any], on: str) -> dict[str, Any]:
    """The wanted values: sources of a derived field that were not themselves wanted go, clear columns come."""
    unsealed = _plan(wanted).unsealed
    if not unsealed:
        return values
    result = {name: value for name, value in values.items() if name in wanted}
    for name in unsealed:
        derive = BY_NAME[name].derive
        result[name] = _CLEAR[name](record) if derive is None else derive(values, on)
    return result


_VOUCHED = frozenset({"restricted", "provenance"})

_CLEAR: dict[str, Callable[[Record], Any]] = {
    "restricted": lambda record: record.restricted,
    "recorded_at": lambda record: rfc3339(record.created_at),
    "updated_at": lambda record: rfc3339(record.updated_at),
    "provenance": told,
}
"""Fields that are not sealed come through the same door, so that reading them is noted too."""
