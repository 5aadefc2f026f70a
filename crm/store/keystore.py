"""The `crypto_key` rows: the service's own keys as the provider wrapped them. Opens none of them.

Takes whichever database holds them, which need not be the one that holds the records.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from crm.crypto.stored_key import StoredKey
from crm.store.database import NO_ORG, Database
from crm.store.statements import prepare
from crm.store.tables import crypto_key

__all__ = ["bootstrap", "stored_keys"]

_C: Final = crypto_key.c

_ALL: Final = prepare(
    select(_C.kind, _C.key_class, _C.no, _C.state, _C.provider, _C.key_ref, _C.wrapped).order_by(
        _C.kind, _C.key_class, _C.no
    )
)

_ADD: Final = prepare(insert(crypto_key).on_conflict_do_nothing())


async def stored_keys(database: Database) -> list[StoredKey]:
    """Every key row, in the order of kind, class and number. Raises StoreUnavailable."""
    return [StoredKey(*row) for row in await database.fetch(NO_ORG, _ALL)]


async def bootstrap(database: Database, make: Callable[[], Sequence[StoredKey]], now: int) -> list[StoredKey]:
    """The stored keys; where there are none, those of `make` are stored first. `now` is in microseconds since 1970.

    Several replicas may start at once: the first to commit wins, and all of them get its keys. Raises StoreUnavailable.
    """
    if stored := await stored_keys(database):
        return stored
    async with database.transaction(NO_ORG) as connection:
        # The first insert waits for a replica that is before us, and then all of them find their key taken.
        for key in make():
            await connection.execute(
                _ADD,
                kind=key.kind,
                key_class=key.key_class,
                no=key.no,
                state=key.state,
                provider=key.provider,
                key_ref=key.key_ref,
                wrapped=key.wrapped,
                created_at=now,
                activated_at=now if key.state == "active" else None,
                destroyed_at=None,
                wrapped_at=None,
                retired_at=None,
                drained_at=None,
            )
    return await stored_keys(database)
