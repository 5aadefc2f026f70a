"""Trusted documents as stored: one by its SHA-256, a client's, new ones and retired ones. Judges no document.

They belong to no organisation and hold no patient data, so every statement runs in the scope of nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, bindparam, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from crm.store.database import NO_ORG, Database, Row
from crm.store.statements import any_of, prepare
from crm.store.tables import trusted_document

__all__ = ["Registration", "add", "every", "retire", "text_of"]

_D: Final = trusted_document.c
_NEW: Final = insert(trusted_document)
_LIVE: Final = _D.retired_at.is_(None)

_TEXT: Final = prepare(select(_D.text).where(_D.sha256 == bindparam("sha256"), _LIVE).limit(1))
# The PostgreSQL construct; both engines spell it alike. What stands there and is not retired is left as it is.
_ADD: Final = prepare(
    _NEW.on_conflict_do_update(
        index_elements=["sha256", "client"],
        set_={
            "registered_at": _NEW.excluded.registered_at,
            "registered_by": _NEW.excluded.registered_by,
            "retired_at": None,
            "retired_by": None,
        },
        where=_D.retired_at.is_not(None),
    )
)
_RETIRE: Final = prepare(
    update(trusted_document)
    .where(_D.client == bindparam("of_client"), any_of(_D.sha256, "digests"), _LIVE)
    .values(retired_at=bindparam("now", type_=BigInteger), retired_by=bindparam("by"))
)
_EVERY: Final = prepare(
    select(trusted_document)
    .where(or_(_D.client == bindparam("of_client"), bindparam("of_client") == ""))
    .order_by(_D.client, _D.name, _D.sha256)
)


@dataclass(frozen=True, slots=True)
class Registration:
    """One document of one client. Times are microseconds since 1970, UTC; `retired_at` is None for one that serves."""

    client: str
    sha256: str
    name: str
    text: str
    registered_at: int
    registered_by: str
    retired_at: int | None = None
    retired_by: str | None = None


async def text_of(database: Database, sha256: str) -> str | None:
    """The text that any client has registered under this digest, and not retired. Raises StoreUnavailable."""
    rows = await database.fetch(NO_ORG, _TEXT, sha256=sha256)
    return rows[0]["text"] if rows else None


async def add(database: Database, entries: Sequence[Registration]) -> int:
    """Stores documents, all or none; how many were not there, or retired. Raises StoreUnavailable."""
    added = 0
    async with database.transaction(NO_ORG) as connection:
        for entry in entries:
            added += await connection.execute(
                _ADD,
                sha256=entry.sha256,
                client=entry.client,
                name=entry.name,
                text=entry.text,
                registered_at=entry.registered_at,
                registered_by=entry.registered_by,
                retired_at=None,
                retired_by=None,
            )
    return added


async def retire(database: Database, client: str, digests: Sequence[str], now: int, by: str) -> int:
    """Retires documents of a client; how many served until now. Raises StoreUnavailable."""
    async with database.transaction(NO_ORG) as connection:
        return await connection.execute(_RETIRE, of_client=client, digests=list(digests), now=now, by=by)


async def every(database: Database, client: str = "") -> list[Registration]:
    """All documents, or those of one client, retired ones among them. Raises StoreUnavailable."""
    return [_registration(row) for row in await database.fetch(NO_ORG, _EVERY, of_client=client)]


def _registration(row: Row) -> Registration:
    return Registration(
        row["client"],
        row["sha256"],
        row["name"],
        row["text"],
        row["registered_at"],
        row["registered_by"],
        row["retired_at"],
        row["retired_by"],
    )
