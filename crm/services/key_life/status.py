"""What is where: every stored key with its age and what is under it, the root keys, the replicas, and what is due."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crm.catalogue import KeyClass
from crm.crypto.provider import USES
from crm.services.key_life import indexes
from crm.services.key_life.custodian import Custodian
from crm.store import keystore, rotating
from crm.store.keystore import KeyRow
from crm.store.replicas import Replica

__all__ = ["KeyStatus", "Periods", "ReplicaStatus", "RootStatus", "Status", "due_of", "status"]


@dataclass(frozen=True, slots=True)
class Periods:
    """How long keys are used and copies are kept, in microseconds."""

    wrap: int
    index: int
    root: int
    backup: int

    def of(self, use: str) -> int | None:
        """After what time the active key of a use is due; None for keys that are not rotated."""
        return None if use == "log" else self.index if use == "index" else self.wrap


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One stored key. Times are microseconds since 1970; `due` is when to rotate an active key, or end a drained one.

    `references` counts the live data keys, or the index values and digests, that are under it.
    """

    use: str
    no: int
    state: str
    provider: str
    key_ref: str
    created_at: int
    activated_at: int | None
    drained_at: int | None
    destroyed_at: int | None
    references: int
    due: int | None


@dataclass(frozen=True, slots=True)
class RootStatus:
    """The newest root key of a use that this process holds, since when it is known to wrap, and how many are older."""

    use: str
    key_ref: str
    since: int | None
    older: int
    due: int | None


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A process and what it lacks of the pending and active keys: `use no`. `missing` is the uses it has no key of."""

    node: str
    started_at: int
    seen_at: int
    live: bool
    lacks: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Everything. `data_keys` counts live data keys by class; `holds` are the uses that this process was given."""

    keys: tuple[KeyStatus, ...]
    roots: tuple[RootStatus, ...]
    replicas: tuple[ReplicaStatus, ...]
    data_keys: Mapping[str, int]
    holds: tuple[str, ...]
    now: int

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


async def status(custodian: Custodian, periods: Periods) -> Status:
    """Looks everywhere; counts what all organisations have. Raises StoreUnavailable, ProviderUnavailable."""
    rows = await keystore.key_rows(custodian.keystore)
    counts, by_class = await _counts(custodian)
    held = [use for use in USES if use in custodian.provider.uses()]
    live = {replica.node for replica in await custodian.live()}
    return Status(
        tuple(_key(row, counts[row.key.name], periods) for row in rows),
        tuple([_root(use, custodian.provider.roots(use), rows, periods) for use in held]),
        tuple(_replica(one, rows, live) for one in await custodian.replicas()),
        by_class,
        tuple(held),
        custodian.now(),
    )


def due_of(row: KeyRow, periods: Periods) -> int | None:
    """When an active key is to be rotated, or a drained one ended."""
    period = periods.of(row.key.use)
    if row.state == "active" and period is not None:
        return (row.activated_at or row.created_at) + period
    if row.state == "retiring" and row.drained_at is not None:
        return row.drained_at + periods.backup
    return None


async def _counts(custodian: Custodian) -> tuple[Counter[tuple[str, int]], dict[str, int]]:
    """What is under each key, by its name, and how many data keys there are of each class."""
    counts: Counter[tuple[str, int]] = Counter()
    for org in await custodian.organisations():
        counts.update(await rotating.data_keys(custodian.store.database, org))
    by_class = {name.value: sum(many for (use, _), many in counts.items() if use == name) for name in KeyClass}
    counts.update({("index", no): many for no, many in (await indexes.stored(custodian)).items()})
    return counts, by_class


def _key(row: KeyRow, references: int, periods: Periods) -> KeyStatus:
    return KeyStatus(
        row.key.use,
        row.no,
        row.state,
        row.key.provider,
        row.key.key_ref,
        row.created_at,
        row.activated_at,
        row.drained_at,
        row.destroyed_at,
        references,
        due_of(row, periods),
    )


def _root(use: str, refs: Sequence[str], rows: Sequence[KeyRow], periods: Periods) -> RootStatus:
    """The provider does not say how old a root key is; the first key that it wrapped does."""
    newest = refs[-1]
    wrapped = [row.wrapped_at or row.created_at for row in rows if row.key.use == use and row.key.key_ref == newest]
    since = min(wrapped, default=None)
    return RootStatus(use, newest, since, len(refs) - 1, None if since is None else since + periods.root)


def _replica(replica: Replica, rows: Sequence[KeyRow], live: set[str]) -> ReplicaStatus:
    needed = [row.key.name for row in rows if row.state in ("pending", "active")]
    lacks = tuple(f"{use} {no}" for use, no in needed if not replica.knows(use, no))
    missing = () if replica.holds is None else tuple(use for use in USES if use not in replica.holds)
    return ReplicaStatus(
        replica.node, replica.started_at, replica.seen_at, replica.node in live, lacks, missing
    )  # fmt: skip
