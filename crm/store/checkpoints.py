"""The checkpoints that were published, and who cosigned them: writes and reads their rows. Knows no witness."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Text, and_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from crm.audit.checkpoint import Checkpoint, parse
from crm.store.database import Database
from crm.store.statements import prepare
from crm.store.tables import audit_checkpoint

__all__ = ["Published", "cosign", "newest", "publish", "waiting_since"]

_C: Final = audit_checkpoint.c
_RECENT: Final = 16
"""Rows among which a witness's newest cosignature is looked for: after so many visits without one it is asked anew."""

# The PostgreSQL construct; both engines spell ON CONFLICT DO NOTHING alike.
_PUBLISH = prepare(
    insert_unless(audit_checkpoint)
    .values(
        org=bindparam("org"),
        epoch=bindparam("of_epoch"),
        size=bindparam("of_size"),
        note=bindparam("signed"),
        published_at=bindparam("now"),
    )
    .on_conflict_do_nothing()
)
_COSIGN = prepare(
    update(audit_checkpoint)
    .where(_C.org == bindparam("org"), _C.epoch == bindparam("of_epoch"), _C.size == bindparam("of_size"))
    .values(
        cosignatures=_C.cosignatures + bindparam("lines", type_=Text),
        witnessed_at=bindparam("now", type_=BigInteger),
    )
)


def _rows(*where: Any) -> Any:
    return (
        select(_C.epoch, _C.size, _C.note, _C.published_at, _C.cosignatures, _C.witnessed_at)
        .where(_C.org == bindparam("org"), *where)
        .order_by(_C.epoch.desc(), _C.size.desc())
        .limit(_RECENT)
    )


_NEWEST = prepare(_rows())
_WITNESSED = prepare(_rows(_C.witnessed_at.is_not(None)))
_WAITING = prepare(
    select(func.min(_C.published_at).label("since")).where(
        _C.org == bindparam("org"),
        or_(
            _C.epoch > bindparam("of_epoch"),
            and_(_C.epoch == bindparam("of_epoch"), _C.size > bindparam("of_size")),
        ),
    )
)


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
    """Keeps a checkpoint; one that another process published before stays as it is. Raises StoreUnavailable."""
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


async def waiting_since(database: Database, org: str, covered: Published | None) -> int | None:
    """When the first checkpoint behind `covered` was published, in microseconds since 1970; None where none is."""
    epoch, size = (covered.epoch, covered.size) if covered else (0, 0)
    [row] = await database.fetch(org, _WAITING, of_epoch=epoch, of_size=size)
    return None if row["since"] is None else int(row["since"])
