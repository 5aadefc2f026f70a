"""The checkpoints that were published, and who cosigned them: writes and reads their rows. Believes none of them.

Whoever owns the database can write any row: `crm.services.believing` tells which to believe.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Text, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from crm.audit.checkpoint import Checkpoint, parse
from crm.store.database import Database
from crm.store.statements import prepare
from crm.store.tables import audit_checkpoint

__all__ = ["PAGE", "Published", "after", "cosign", "newest", "publish", "upto"]

_C: Final = audit_checkpoint.c
PAGE: Final = 16
"""Rows that are read at once."""

# The PostgreSQL construct; both engines spell ON CONFLICT alike.
_INSERT = insert_unless(audit_checkpoint).values(
    org=bindparam("org"),
    epoch=bindparam("of_epoch"),
    size=bindparam("of_size"),
    note=bindparam("signed"),
    published_at=bindparam("now"),
    cosignatures="",
    witnessed_at=None,
)
_CLEAN = ("note", "published_at", "cosignatures", "witnessed_at")
_PUBLISH = prepare(
    _INSERT.on_conflict_do_update(
        index_elements=[_C.org, _C.epoch, _C.size],
        set_={name: _INSERT.excluded[name] for name in _CLEAN},
        where=_C.note != _INSERT.excluded.note,
    )
)
_COSIGN = prepare(
    update(audit_checkpoint)
    .where(_C.org == bindparam("org"), _C.epoch == bindparam("of_epoch"), _C.size == bindparam("of_size"))
    .values(
        cosignatures=_C.cosignatures + bindparam("lines", type_=Text),
        witnessed_at=bindparam("now", type_=BigInteger),
    )
)


def _rows(*where: Any, newest_first: bool = True) -> Any:
    order = (_C.epoch.desc(), _C.size.desc()) if newest_first else (_C.epoch, _C.size)
    return (
        select(_C.epoch, _C.size, _C.note, _C.published_at, _C.cosignatures, _C.witnessed_at)
        .where(_C.org == bindparam("org"), *where)
        .order_by(*order)
        .limit(PAGE)
    )


_NEWEST = prepare(_rows())
_WITNESSED = prepare(_rows(_C.witnessed_at.is_not(None)))
_SEEN = _C.witnessed_at.is_not(None)
_IN = (_C.epoch == bindparam("of_epoch"), _C.size <= bindparam("of_size"))
_UPTO = prepare(_rows(*_IN))
_UPTO_WITNESSED = prepare(_rows(*_IN, _SEEN))
_AFTER = prepare(_rows(_C.epoch == bindparam("of_epoch"), _C.size > bindparam("of_size"), newest_first=False))


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that was published: the signed note, and the lines of the witnesses that cosigned it.

    Times are microseconds since 1970; `witnessed_at` is None while nobody has cosigned it.
    """

    epoch: int
    size: int
    note: str
    published_at: int
    cosignatures: str
    witnessed_at: int | None

    @property
    def checkpoint(self) -> Checkpoint:
        """What the note says; its signature is not looked at. Raises Tampered."""
        return parse(self.note.partition("\n\n")[0] + "\n")


async def publish(database: Database, org: str, epoch: int, size: int, note: str, now: int) -> None:
    """Keeps a checkpoint; the same one that another process published before stays as it is. Raises StoreUnavailable.

    Another note in its place goes away with all that was written beside it: for when that is not to be believed.
    """
    async with database.transaction(org) as connection:
        await connection.execute(_PUBLISH, of_epoch=epoch, of_size=size, signed=note, now=now)


async def cosign(database: Database, org: str, epoch: int, size: int, lines: str, now: int) -> None:
    """Adds the lines of a witness to a published checkpoint. Raises StoreUnavailable."""
    async with database.transaction(org) as connection:
        await connection.execute(_COSIGN, of_epoch=epoch, of_size=size, lines=lines, now=now)


async def newest(database: Database, org: str, *, witnessed: bool = False) -> list[Published]:
    """The latest checkpoints, or those of them that somebody cosigned, newest first. Raises StoreUnavailable."""
    rows = await database.fetch(org, _WITNESSED if witnessed else _NEWEST)
    return [Published(*row) for row in rows]


async def upto(database: Database, org: str, epoch: int, size: int, *, witnessed: bool = False) -> list[Published]:
    """The next `PAGE` checkpoints of an epoch over at most `size` events, newest first. Raises StoreUnavailable."""
    rows = await database.fetch(org, _UPTO_WITNESSED if witnessed else _UPTO, of_epoch=epoch, of_size=size)
    return [Published(*row) for row in rows]


async def after(database: Database, org: str, epoch: int, size: int) -> list[Published]:
    """The next `PAGE` checkpoints of an epoch over more than `size` events, oldest first. Raises StoreUnavailable."""
    rows = await database.fetch(org, _AFTER, of_epoch=epoch, of_size=size)
    return [Published(*row) for row in rows]
