"""Readiness is honest: each part that it rests on is broken in turn, and `/readyz` says exactly which one it is."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import httpx
import pytest

from auth.development import DevelopmentIssuer
from auth.issuers import Issuer, IssuerKeys
from auth.roles import Role
from auth.tokens import TokenVerifier
from commands.house import PROBE, House, house
from commands.protocol import Connections
from commands.serving import _application
from crm.errors import StoreUnavailable
from crm.services.revocations import STALE, Revocations
from crm.settings import Settings, load
from crm.store.tables import RIGHTS, ROLE, metadata
from tests.conftest import Databases
from tests.durable import durable
from tests.processes import PATIENCE, founded

PARTS = ("database", "keys", "log", "issuers", "staying")
READ = '{ patient(id: "01890a5d-ac96-7749-9a3e-000000000000") { id } }'


class Away:
    """A database that does not answer a look, at once or ever."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.how: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def probe(self) -> None:
        """The look."""
        match self.how:
            case None:
                await self._inner.probe()
            case "refuses":
                raise StoreUnavailable
            case _:
                await asyncio.Event().wait()


@dataclass
class Site:
    """A process' real parts behind its real application; some of them can be broken."""

    http: httpx.AsyncClient
    url: str
    database: Away
    tokens: TokenVerifier
    provider: "Provider"
    revocations: Revocations
    connections: Connections
    token: str
    ticks: list[float]
    """What the clock of the revocations shows."""

    async def broken(self) -> tuple[int, set[str]]:
        """The status of `/readyz`, and what it says is not in order. The process is alive whatever that is."""
        assert (await self.http.get("/healthz")).status_code == 200
        answer = await self.http.get("/readyz")
        said = answer.json()
        assert tuple(said) == PARTS
        return answer.status_code, {part for part, well in said.items() if not well}

    async def until(self, status: int, broken: set[str]) -> None:
        """Returns when `/readyz` says just this; the whole time it says that or that all is well."""
        end = time.monotonic() + PATIENCE
        while (found := await self.broken()) != (status, broken):
            assert not found[1] or found[1] == broken or status == 200
            assert time.monotonic() < end, found
            await asyncio.sleep(0.05)

    async def ask(self) -> str:
        """The code of the answer to a look-up."""
        answer = await self.http.post("/graphql", json={"query": READ}, headers={"authorization": self.token})
        return str(answer.json()["errors"][0]["extensions"]["code"])

    @asynccontextmanager
    async def without(self, table: str) -> AsyncIterator[None]:
        """While the block runs the service has no such table."""
        given = ", ".join(RIGHTS[metadata.tables[table]])
        if self.url.startswith("sqlite:"):
            take, give = f"ALTER TABLE {table} RENAME TO gone", f"ALTER TABLE gone RENAME TO {table}"
        else:
            take, give = f"REVOKE ALL ON {table} FROM {ROLE}", f"GRANT {given} ON {table} TO {ROLE}"
        await self._run(take)
        yield
        await self._run(give)

    async def _run(self, statement: str) -> None:
        if self.url.startswith("sqlite:"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30)) as file:
                file.execute(statement)
            return
        connection = await asyncpg.connect(self.url)
        await connection.execute(statement)
        await connection.close()


@pytest.fixture(scope="module")
def place(shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Where all is in order, and a process notices soon when it does not see its keys."""
    with ExitStack() as opened:
        on_postgresql = shared_engine == "postgresql"
        url = opened.enter_context(durable()).url if on_postgresql else databases.create("sqlite")
        folder = tmp_path_factory.mktemp("place")
        yield load(**founded(folder, url), keys_refresh="0.1", keys_max_age="1")
        if not on_postgresql:
            databases.drop(url)


@dataclass
class Provider:
    """An identity provider with one key set, if it answers."""

    keys: bytes
    answers: bool = True

    async def fetch(self, _address: str, _octets: int) -> bytes:
        """The key set."""
        if not self.answers:
            raise OSError
        return self.keys


@asynccontextmanager
async def opened(place: Settings, *, introduced: bool = True) -> AsyncIterator[Site]:
    """The parts of one process in order; with `introduced` false the keys of one issuer were never had."""
    issuer = DevelopmentIssuer(place.data_dir)
    own = issuer.issuer
    assert own.jwks_file is not None
    provider = Provider(own.jwks_file.read_bytes(), introduced)
    another = Issuer("https://idp.example", "heed", own.algorithms, jwks_url="https://idp.example/jwks")
    tokens = TokenVerifier([IssuerKeys(own, development=True), IssuerKeys(another, provider.fetch)])
    await tokens.refresh()
    async with house(place, lasting=True) as it:
        database, ticks, connections = Away(it.database), [0.0], Connections()
        revocations = Revocations(it.services.store, lambda: ticks[0])
        await revocations.refresh()
        there: House = replace(it, database=database, services=replace(it.services, revocations=revocations))
        transport = httpx.ASGITransport(app=_application(place, there, tokens, connections))
        async with httpx.AsyncClient(transport=transport, base_url="http://heed.test") as http:
            token = f"Bearer {issuer.sign(Role.CLINICIAN, 'dr-1', org='north')}"
            yield Site(http, place.database_url, database, tokens, provider, revocations, connections, token, ticks)


@pytest.fixture
async def site(place: Settings) -> AsyncIterator[Site]:
    """A process that is ready."""
    async with opened(place) as made:
        await made.until(200, set())
        yield made


@pytest.mark.parametrize("how", ["refuses", "is silent"])
async def test_the_database(site: Site, how: str) -> None:
    """Away or silent: said within a little more than a second, and not any more as soon as it answers."""
    site.database.how = how
    began = time.monotonic()
    assert await site.broken() == (503, {"database"})
    assert time.monotonic() - began < PROBE + 2
    site.database.how = None
    assert await site.broken() == (200, set())


async def test_the_keys(site: Site) -> None:
    """A key store that was not seen for too long to change records by."""
    async with site.without("crypto_key"):
        await site.until(503, {"keys"})
    await site.until(200, set())


async def test_the_log(site: Site) -> None:
    """Events cannot be stored, which is noticed by those that must be."""
    async with site.without("audit_event"):
        while await site.broken() == (200, set()):
            assert await site.ask() == "AUDIT_UNAVAILABLE"
        assert await site.broken() == (503, {"log"})
    await site.until(200, set())
    assert await site.ask() == "NOT_FOUND"


async def test_what_is_revoked(site: Site) -> None:
    """Not known any more, so that no token is believed."""
    site.ticks[0] += STALE + 1
    assert await site.broken() == (503, {"issuers"})
    await site.revocations.refresh()
    assert await site.broken() == (200, set())


async def test_an_issuer_whose_keys_never_came(place: Settings) -> None:
    """One of two is enough for good tokens to be refused; keys that came once are kept."""
    async with opened(place, introduced=False) as site:
        while "log" in (await site.broken())[1]:  # noqa: ASYNC110 - dead processes' events are taken in first
            await asyncio.sleep(0.02)
        assert await site.broken() == (503, {"issuers"})
        site.provider.answers = True
        await site.tokens.refresh()
        assert await site.broken() == (200, set())
        site.provider.answers = False
        await site.tokens.refresh()
        assert await site.broken() == (200, set())


async def test_leaving(site: Site) -> None:
    """Told to end; `test_rolling_restarts.py` sends the signal."""
    site.connections.leaving = True
    assert await site.broken() == (503, {"staying"})


async def test_several_at_once(site: Site) -> None:
    """Each of them is named."""
    site.database.how, site.connections.leaving = "refuses", True
    site.ticks[0] += STALE + 1
    assert await site.broken() == (503, {"database", "issuers", "staying"})
