"""The `crypto_key` rows: the service's own keys as the provider wrapped them, and the turns of their lives.

Opens none of them. Takes whichever database holds them, which need not be the one that holds the records. Every turn is
a compare-and-set, so that several who rotate at once, or one who is killed, leave the keys in order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Update, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from crm.crypto.stored_key import StoredKey
from crm.store.database import NO_ORG, Connection, Database
from crm.store.statements import prepare
from crm.store.tables import crypto_key

__all__ = ["KeyRow", "activate", "add", "bootstrap", "drained", "end", "ended", "key_rows", "rewrap", "stored_keys"]

_C: Final = crypto_key.c
_KEY: Final = (_C.kind, _C.key_class, _C.no, _C.state, _C.provider, _C.key_ref, _C.wrapped)
_TIMES: Final = ("created_at", "wrapped_at", "activated_at", "retired_at", "drained_at", "destroyed_at")

_ALL: Final = prepare(select(*_KEY).order_by(_C.kind, _C.key_class, _C.no))
_ROWS: Final = prepare(
    select(*_KEY, *(_C[name] for name in _TIMES), _C.former_refs).order_by(_C.kind, _C.key_class, _C.no)
)
_ADD: Final = prepare(insert(crypto_key).on_conflict_do_nothing())


def _this(*more: ColumnElement[bool]) -> Update:
    """A change of one key, named by kind, class and number, if it is still as `more` says."""
    name = (_C.kind == bindparam("kind_"), _C.key_class == bindparam("class_"), _C.no == bindparam("no_"))
    return update(crypto_key).where(*name, *more)


_RETIRE: Final = prepare(_this(_C.state == "active").values(state="retiring", retired_at=bindparam("at")))
_ACTIVATE: Final = prepare(_this(_C.state == "pending").values(state="active", activated_at=bindparam("at")))
_DRAINED: Final = prepare(_this(_C.state == "retiring").values(drained_at=bindparam("at")))
_END: Final = prepare(_this(_C.state == "retiring", _C.drained_at.is_not(None)).values(state="destroyed", wrapped=None))
_REWRAP: Final = prepare(
    _this(_C.state != "destroyed", _C.key_ref == bindparam("old_ref"), _C.wrapped == bindparam("old")).values(
        provider=bindparam("provider"),
        key_ref=bindparam("key_ref"),
        wrapped=bindparam("new"),
        former_refs=bindparam("former"),
        wrapped_at=bindparam("at"),
    )
)
_ENDED: Final = prepare(_this(_C.state == "destroyed", _C.destroyed_at.is_(None)).values(destroyed_at=bindparam("at")))


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key and the times of its life, microseconds since 1970, UTC; None for what has not come yet.

    `former` are the root keys that wrapped it before the present one, and `wrapped_at` is when that changed last.
    `destroyed_at` of a destroyed key is None until every root key that ever wrapped it is destroyed as well.
    """

    key: StoredKey
    created_at: int
    wrapped_at: int | None
    activated_at: int | None
    retired_at: int | None
    drained_at: int | None
    destroyed_at: int | None
    former: tuple[str, ...] = ()

    @property
    def no(self) -> int:
        """The key's number among those of its use."""
        return self.key.no

    @property
    def roots(self) -> tuple[str, ...]:
        """Every root key that ever wrapped it; whoever has one of them can open a copy of the key store from then."""
        return *self.former, self.key.key_ref

    @property
    def state(self) -> str:
        """See `StoredKey`."""
        return self.key.state


async def stored_keys(database: Database) -> list[StoredKey]:
    """Every key, in the order of kind, class and number. Raises StoreUnavailable."""
    return [StoredKey(*row) for row in await database.fetch(NO_ORG, _ALL)]


async def key_rows(database: Database) -> list[KeyRow]:
    """The same with the times of each. Raises StoreUnavailable."""
    return [
        KeyRow(
            StoredKey(*(row[column.name] for column in _KEY)),
            **{name: row[name] for name in _TIMES},
            former=tuple(orjson.loads(row["former_refs"])),
        )
        for row in await database.fetch(NO_ORG, _ROWS)
    ]


async def bootstrap(database: Database, make: Callable[[], Sequence[StoredKey]], now: int) -> list[StoredKey]:
    """The stored keys; where there are none, those of `make` are stored first. `now` is in microseconds since 1970.

    Several replicas may start at once: the first to commit wins, and all of them get its keys. Raises StoreUnavailable.
    """
    if stored := await stored_keys(database):
        return stored
    async with database.transaction(NO_ORG) as connection:
        # The first insert waits for a replica that is before us, and then all of them find their key taken.
        for key in make():
            await _add(connection, key, now)
    return await stored_keys(database)


async def add(database: Database, key: StoredKey, now: int) -> None:
    """Stores one key more, unless there is one of its kind, class and number. Raises StoreUnavailable."""
    async with database.transaction(NO_ORG) as connection:
        await _add(connection, key, now)


async def _add(connection: Connection, key: StoredKey, now: int) -> None:
    times: dict[str, int | None] = dict.fromkeys(_TIMES)
    times |= {"created_at": now, "activated_at": now if key.state == "active" else None}
    wrapped = {"provider": key.provider, "key_ref": key.key_ref, "wrapped": key.wrapped}
    await connection.execute(
        _ADD, kind=key.kind, key_class=key.key_class, no=key.no, state=key.state, former_refs="[]", **wrapped, **times
    )


async def activate(database: Database, old: StoredKey, new: StoredKey, now: int) -> bool:
    """Retires the active key `old` and makes the pending key `new` active; False when somebody did so before."""
    try:
        async with database.transaction(NO_ORG) as connection:
            for statement, key in ((_RETIRE, old), (_ACTIVATE, new)):
                if not await connection.execute(statement, **_name(key), at=now):
                    raise _Overtaken
    except _Overtaken:
        return False
    return True


class _Overtaken(Exception):
    """Somebody else was first: takes a transaction back."""


async def drained(database: Database, key: StoredKey, now: int) -> None:
    """Notes that nothing needs a retiring key any more."""
    await _do(database, _DRAINED, key, at=now)


async def rewrap(database: Database, row: KeyRow, new: StoredKey, now: int) -> bool:
    """Stores a key under another root key; False when it is not as `row` says any more."""
    values = {"provider": new.provider, "key_ref": new.key_ref, "new": new.wrapped, "at": now}
    old = {"old_ref": row.key.key_ref, "old": row.key.wrapped, "former": orjson.dumps(row.roots).decode()}
    return await _do(database, _REWRAP, row.key, **old, **values)


async def end(database: Database, key: StoredKey) -> bool:
    """Forgets the octets of a retiring key that is drained; False when it is neither, or no more."""
    return await _do(database, _END, key)


async def ended(database: Database, key: StoredKey, at: int) -> None:
    """Notes from when on nobody can use a destroyed key, not even with an old copy of the key store."""
    await _do(database, _ENDED, key, at=at)


def _name(key: StoredKey) -> dict[str, Any]:
    return {"kind_": key.kind, "class_": key.key_class, "no_": key.no}


async def _do(database: Database, statement: Any, key: StoredKey, **values: Any) -> bool:
    async with database.transaction(NO_ORG) as connection:
        return bool(await connection.execute(statement, **_name(key), **values))
