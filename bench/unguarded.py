"""Heed without what makes it Heed: no token is checked, nothing is sealed, nobody is recorded. For the benchmark alone.

The same server, HTTP, GraphQL, policy and statements, on a database whose boxes hold clear JSON: what is left out is
exchanged here, in a process of the benchmark; the product has no such switch. Started by `children.unguarded`.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson

from auth.actor import Actor
from auth.tokens import TokenVerifier
from bench.imports import ORG
from commands import serving
from commands.house import house
from crm.audit.event import Event
from crm.audit.writer import LogWriter
from crm.catalogue import BY_NAME
from crm.crypto.keyset import KeySet
from crm.settings import Settings, load
from crm.store import opening
from crm.store import record as records
from crm.store.reading import Unit
from crm.store.record import Record

_SEALED = frozenset(name for name, field in BY_NAME.items() if field.key_class is not None)
_BATCH = 1_000


async def clear(heed: str, settings: Settings, ids: Sequence[str]) -> str:
    """The URL of a copy of the database at `heed`, a superuser's, with clear JSON in its boxes; made if need be."""
    url = urlsplit(heed)._replace(path="/clear").geturl()
    maintenance = await asyncpg.connect(urlsplit(heed)._replace(path="/postgres").geturl())
    try:
        if await maintenance.fetchval("SELECT 1 FROM pg_database WHERE datname = 'clear'"):
            return url
        await maintenance.execute("CREATE DATABASE clear TEMPLATE heed STRATEGY FILE_COPY")
    finally:
        await maintenance.close()
    connection = await asyncpg.connect(url)
    try:
        async with house(settings) as it:
            for start in range(0, len(ids), _BATCH):
                found = await records.load(partial(it.database.fetch, ORG), ORG, ids[start : start + _BATCH], _SEALED)
                rows = [row for record in found.values() for row in _opened(it.services.store.keys, record)]
                await connection.executemany(
                    "UPDATE sealed_row SET cells = $4 WHERE org = $1 AND patient_id = $2 AND key_class = $3", rows
                )
        await connection.execute("VACUUM FULL ANALYZE sealed_row")
    finally:
        await connection.close()
    return url


def _opened(keys: KeySet, record: Record) -> Iterable[tuple[str, str, str, bytes]]:
    values = opening.reveal(keys, record, _SEALED, "2026-01-01")
    for key_class in record.rows:
        own = {name: value for name, value in values.items() if BY_NAME[name].key_class is key_class}
        yield record.org, record.id, key_class.value, orjson.dumps(own)


def _reveal(_: KeySet, record: Record, names: Iterable[str], on: str) -> dict[str, Any]:
    """In place of `opening.reveal`: the boxes as they are."""
    wanted = frozenset(names)
    values: dict[str, Any] = {}
    for row in record.rows.values():
        values.update(orjson.loads(row.box))
    needed = {field.name for field in records.sources(wanted)}
    return opening._answer(record, wanted, {name: values[name] for name in needed & values.keys()}, on)  # noqa: SLF001


_verify = TokenVerifier.verify
_known: list[Actor] = []


def _everybody(tokens: TokenVerifier, authorization: str | None, purpose: str | None = None) -> Actor:
    """In place of `TokenVerifier.verify`: whoever asks is who asked first."""
    if not _known:
        _known.append(_verify(tokens, authorization, purpose))
    return _known[0]


async def _forget(_: LogWriter, org: str, events: Sequence[Event]) -> None:
    """In place of `LogWriter.append`."""


def _none(_: Unit) -> list[Event]:
    return []


def main() -> None:
    """Serves, with the settings of the environment."""
    exchanged: Sequence[tuple[Any, str, Any]] = (
        (opening, "reveal", _reveal),
        (Unit, "events", _none),
        (TokenVerifier, "verify", _everybody),
        (LogWriter, "append", _forget),
    )
    for place, name, other in exchanged:
        if not hasattr(place, name):
            raise RuntimeError(f"there is no {name} any more that could be exchanged")
        setattr(place, name, other)
    serving.serve(load())


if __name__ == "__main__":
    main()
