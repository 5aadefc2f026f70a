"""From a commit to a subscriber of another process: the part `delivery` of `make bench`.

One process changes records, a second one serves, a third one follows; on SQLite, which serves one process, the first
serves, too. Times are told on the clock that all processes of a machine share, and count from the moment at which the
changing process knew that its transaction was committed. The floor is what PostgreSQL's LISTEN and NOTIFY do by
themselves, from one bare connection to another, and nothing else.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from auth.development import DevelopmentIssuer
from auth.roles import Role
from bench.children import ROOT, environment, heed
from bench.delivery_follower import CHANNEL
from commands.actors import command_request, system_actor
from commands.house import House, house, verifier
from commands.serving import transport
from crm.audit.event import Act, Event, Who
from crm.delivery.revocations import tell
from crm.settings import Settings
from schema.app import create_app
from tests.sockets import listening

ORG = "bench"
EVERY = 0.05
"""Seconds between two changes, which keeps each from waiting for the one before."""
CHANGES = "subscription { profileChanged { id version position } }"
LOG = 'subscription { accessEventAppended(filter: {actor: "bench"}) { position edges { cursor } } }'
WAYS = {"websocket": "WebSocket", "events": "event stream"}

Happen = Callable[[], Awaitable[float]]
"""Lets something happen once; the time at which it was known to have."""


@dataclass(frozen=True, slots=True)
class Site:
    """A house that changes records, and the address of the service that tells of it."""

    house: House
    address: str

    def token(self, role: Role, subject: str) -> str:
        """A good token."""
        return DevelopmentIssuer(self.house.settings.data_dir).sign(role, subject, org=ORG)


async def compare(engine: str, url: str, bare_url: str, settings: Settings, count: int) -> AsyncIterator[str]:
    """Lines of a table: each way with the time that half, and 99 of 100, took at most."""
    if engine == "postgresql":
        async with _bare(bare_url) as happen:
            yield await _measured("floor: bare NOTIFY to LISTEN", ["listen", bare_url], happen, count)
    async with _site(engine, url, settings) as site:
        for kind, way in WAYS.items():
            asked = [kind, site.address, site.token(Role.INTEGRATION, "follower"), CHANGES]
            yield await _measured(f"profileChanged, {way}", asked, await _changing(site.house), count)
        asked = ["websocket", site.address, site.token(Role.COMPLIANCE_OFFICER, "officer"), LOG]
        yield await _measured("accessEventAppended, WebSocket", asked, _recording(site.house), count)
        yield await _revoked(site, min(count, 20))


@asynccontextmanager
async def _site(engine: str, url: str, settings: Settings) -> AsyncIterator[Site]:
    async with house(settings, lasting=True) as it, AsyncExitStack() as opened:
        if engine == "postgresql":
            child = await asyncio.to_thread(opened.enter_context, heed(url, settings.data_dir))  # the house goes on
            yield Site(it, f"http://127.0.0.1:{child.port}/graphql")
            return
        tokens = verifier(settings, it.services.revocations.revoked)
        await tokens.refresh()
        app = create_app(it.services, tokens, transport(settings), it.ready)
        it.services.revocations.told = app.state.streams.look
        yield Site(it, (await opened.enter_async_context(listening(app))).http)


async def _changing(it: House) -> Happen:
    """Changes of one record."""
    store: Any = it.services.store
    go_on, moments = store._committed, [0.0]  # noqa: SLF001 - nobody else is told the moment of a commit

    def committed(org: str) -> None:
        moments.append(time.monotonic())
        go_on(org)

    store._committed = committed  # noqa: SLF001
    actor, request = system_actor(ORG), command_request("bench")
    patient = await it.services.changes.register(actor, request, {"preferred_name": "Bo"}, frozenset())
    version = patient["version"]

    async def happen() -> float:
        nonlocal version
        values = {"pronouns": f"they/them {version}"}
        await it.services.changes.update(actor, request, patient["id"], version, values, frozenset())
        version += 1
        return moments[-1]

    return happen


def _recording(it: House) -> Happen:
    """Events of the log."""

    async def happen() -> float:
        await it.log.append(ORG, [Event(Act.QUERY, who=Who(sub="bench"))])
        return time.monotonic()

    return happen


@asynccontextmanager
async def _bare(url: str) -> AsyncIterator[Happen]:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS bench_change (at timestamptz)")

    async def happen() -> float:
        async with connection.transaction():
            await connection.execute("INSERT INTO bench_change VALUES (now())")
            await connection.execute(f"SELECT pg_notify('{CHANNEL}', 'x')")
        return time.monotonic()

    try:
        yield happen
    finally:
        await connection.close()


@asynccontextmanager
async def _follower(words: Sequence[str]) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """A process that follows; gives the time of what it is told next."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.delivery_follower", *words,
        cwd=ROOT, env=environment({}), stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out = process.stdout
    assert out is not None

    async def heard() -> float:
        async with asyncio.timeout(30):
            return float(await out.readline())

    try:
        yield heard
    finally:
        process.terminate()
        await process.wait()


async def _measured(name: str, words: Sequence[str], happen: Happen, count: int) -> str:
    async with _follower(words) as heard:
        await _listens(heard, happen)
        waits = []
        for _ in range(count):
            began = await happen()
            waits.append((await heard() - began) * 1e3)
            await asyncio.sleep(EVERY)
    return _row(name, waits)


async def _listens(heard: Callable[[], Awaitable[float]], happen: Happen) -> None:
    """Returns once what happens is heard, and nothing of it is still on its way."""
    hearing = asyncio.ensure_future(heard())
    while not hearing.done():
        await happen()
        await asyncio.wait({hearing}, timeout=0.5)
    while True:
        waiting = asyncio.ensure_future(heard())
        done, _ = await asyncio.wait({waiting}, timeout=1.0)
        if not done:
            waiting.cancel()
            await asyncio.wait({waiting})
            return


async def _revoked(site: Site, count: int) -> str:
    """How long a socket outlives its token."""
    waits = []
    actor, request = system_actor(ORG, Role.OPERATOR), command_request("bench")
    issuer = DevelopmentIssuer(site.house.settings.data_dir).issuer.issuer
    for number in range(count):
        subject = f"revoked-{number}"
        words = ["websocket", site.address, site.token(Role.COMPLIANCE_OFFICER, subject), LOG]
        async with _follower(words) as heard:
            await heard()
            await site.house.services.revocations.revoke_subject(actor, request, issuer, subject)
            began = time.monotonic()
            await tell(site.house.bell)
            waits.append((await heard() - began) * 1e3)
    return _row("a revoked token's socket is closed", waits)


def _row(name: str, waits: Sequence[float]) -> str:
    ordered = sorted(waits)
    p99 = ordered[min(len(ordered) - 1, round(len(ordered) * 0.99))]
    return f"  {name:<38}{statistics.median(ordered):8.1f}{p99:8.1f}{ordered[-1]:8.1f}   ms, of {len(ordered)}"


HEADER = f"  {'':<38}{'p50':>8}{'p99':>8}{'most':>8}"
