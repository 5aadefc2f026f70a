"""What following clients make of the service: npm's graphql-ws and graphql-sse, and Python's gql, real ones all.

Each follows changes and the access log over a cable that is cut, and goes on from its last position.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportError
from gql.transport.websockets import WebsocketsTransport

from auth.roles import Role
from crm.audit.event import Act, Event, Outcome, Who
from tests import node
from tests.cables import Cable, cable
from tests.house import ORG, OTHER_ORG, REQUEST, actor
from tests.listening import Reachable, reachable
from tests.sockets import PATIENCE

CHANGES = """subscription Changes($after: String) {
  profileChanged(after: $after) { id version changedFields kind position } }"""
LOG = """subscription Log($after: String) {
  accessEventAppended(after: $after, filter: {actor: "made"}) { position edges { node { seq operation } } } }"""
COUNT = 12
KINDS = ("ws", "sse")


@pytest.fixture
async def here(database_url: str, tmp_path: Path) -> AsyncIterator[Reachable]:
    """A service that listens, on each engine."""
    async with reachable(database_url, tmp_path) as it:
        yield it


@pytest.fixture
async def wire(here: Reachable) -> AsyncIterator[Cable]:
    """The cable to it."""
    async with cable(int(here.address.split(":")[2].split("/")[0])) as made:
        yield made


async def followed(
    kind: str, wire: Cable, token: str, query: str, after: str | None, last: int = 0, attempts: int = 50
) -> dict[str, Any]:
    """What a client of npm heard and how it ended; `attempts` are how often it comes again."""
    scheme = "ws" if kind == "ws" else "http"
    given = {
        "kind": kind, "url": f"{scheme}://{wire.host}/graphql", "token": token, "query": query,
        "variables": {"after": after}, "last": last, "attempts": attempts,
    }  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        told: dict[str, Any] = await node.run("following.mjs", json.dumps(given))
    return told


async def newest(here: Reachable) -> str:
    """The position behind all that has changed until now."""
    page = await here.house.services.feed.page(actor(Role.INTEGRATION), REQUEST, 1, None)
    return page.newest


async def update(here: Reachable, patient_id: str, version: int) -> None:
    """Changes a record that is in this version."""
    values, asked = {"pronouns": f"they/them {version}"}, frozenset({"pronouns"})
    await here.house.services.changes.update(actor(Role.INTEGRATION), REQUEST, patient_id, version, values, asked)


async def changed(here: Reachable, wire: Cable, patient_id: str) -> None:
    """Changes a record again and again, and cuts the cable now and then."""
    for version in range(1, COUNT + 1):
        await update(here, patient_id, version)
        await cut_after(wire, version)


async def recorded(here: Reachable, wire: Cable) -> None:
    """Adds events to the log, and cuts the cable now and then."""
    for number in range(1, COUNT + 1):
        await here.house.log.append(ORG, [Event(Act.QUERY, Outcome.OK, op=f"n{number}", who=Who(sub="made"))])
        await cut_after(wire, number)


async def cut_after(wire: Cable, number: int) -> None:
    """Every third time, once something was told: a client is not cut off while it connects."""
    if number % 3 == 0:
        async with asyncio.timeout(PATIENCE):
            await wire.told()
        wire.cut()


@pytest.mark.parametrize("kind", KINDS)
async def test_no_change_is_lost(here: Reachable, wire: Cable, kind: str) -> None:
    """Every version, in order, each once or again, although the connection broke in between."""
    patient_id = (await here.house.register())["id"]
    position, token = await newest(here), here.token(Role.INTEGRATION, "follower")
    told, _ = await asyncio.gather(
        followed(kind, wire, token, CHANGES, position, last=COUNT), changed(here, wire, patient_id)
    )
    assert [each["version"] for each in told["heard"]] == list(range(2, COUNT + 2))
    assert {(each["id"], each["kind"], *each["changedFields"]) for each in told["heard"]} == {
        (patient_id, "CHANGED", "pronouns")
    }
    assert told["connections"] > wire.cuts - 1 > 1


@pytest.mark.parametrize("kind", KINDS)
async def test_no_access_event_is_lost(here: Reachable, wire: Cable, kind: str) -> None:
    """The same of the log."""
    await here.house.register()
    page = await here.house.services.access_log.events(actor(Role.COMPLIANCE_OFFICER), REQUEST, {}, 1, None)
    [first] = page.cursors
    token = here.token(Role.COMPLIANCE_OFFICER, "follower")
    told, _ = await asyncio.gather(followed(kind, wire, token, LOG, first, last=COUNT), recorded(here, wire))
    assert [edge["node"]["operation"] for edge in told["heard"]] == [f"n{number}" for number in range(1, COUNT + 1)]
    assert told["connections"] > wire.cuts - 1 > 1


@pytest.mark.parametrize("engine", ["sqlite"])  # nothing of a client is in a database
@pytest.mark.parametrize(("kind", "code"), [("ws", 4403), ("sse", 401)])
async def test_a_revoked_token_ends_it(here: Reachable, wire: Cable, kind: str, code: int) -> None:
    """The client comes again, as it does for broken connections, and learns then that it may not."""
    await here.house.register()
    token = here.token(Role.COMPLIANCE_OFFICER, "follower")
    following = asyncio.create_task(followed(kind, wire, token, LOG, None, attempts=2))
    async with asyncio.timeout(PATIENCE):
        await wire.told()
    revoke = here.house.services.revocations.revoke_subject
    await revoke(actor(Role.OPERATOR), REQUEST, here.issuer.issuer.issuer, "follower")
    told = await following
    assert (told["ended"]["code"], told["heard"]) == (code, [])
    refused = [leaf for leaf in await here.house.leaves(actor="follower") if leaf["out"] == "denied"]
    assert {leaf["why"] for leaf in refused} == {"revoked"}


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_apollo_and_urql_subscribe(here: Reachable, wire: Cable) -> None:
    """Through their own links, from a position on: both are told the same."""
    patient_id = (await here.house.register())["id"]
    position = await newest(here)
    for version in (1, 2):
        await update(here, patient_id, version)
    given = {
        "url": f"ws://{wire.host}/graphql", "token": here.token(Role.INTEGRATION, "follower"), "query": CHANGES,
        "variables": {"after": position}, "last": 2,
    }  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        told = await node.run("subscribing.mjs", json.dumps(given))
    assert [each["profileChanged"]["version"] for each in told["apollo"]] == [2, 3]
    assert told["apollo"] == told["urql"]


def over_sockets(wire: Cable, token: str) -> Client:
    """Python's gql."""
    payload = {"authorization": f"Bearer {token}"}
    return Client(transport=WebsocketsTransport(f"ws://{wire.host}/graphql", init_payload=payload))


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_gql_goes_on_from_its_position(here: Reachable, wire: Cable) -> None:
    """It says that the connection broke, and leaves coming again to its caller."""
    patient_id = (await here.house.register())["id"]
    position, token = await newest(here), here.token(Role.INTEGRATION, "follower")
    changing = asyncio.create_task(changed(here, wire, patient_id))
    versions: list[int] = []
    broken = 0
    async with asyncio.timeout(PATIENCE):
        while len(versions) < COUNT:
            try:
                async with over_sockets(wire, token) as session:
                    request = GraphQLRequest(CHANGES, variable_values={"after": position})
                    async for told in session.subscribe(request):
                        versions.append(told["profileChanged"]["version"])
                        position = told["profileChanged"]["position"]
                        if len(versions) == COUNT:
                            break
            except (TransportError, OSError):
                broken += 1
    await changing
    assert versions == list(range(2, COUNT + 2))
    assert wire.cuts >= broken > 1


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_strangers_hear_nothing(here: Reachable, wire: Cable) -> None:
    """The same questions from another organisation, while this one's records are changed and looked at."""
    patient_id = (await here.house.register())["id"]

    async def heard(role: Role, query: str) -> list[Any]:
        found: list[Any] = []
        async with over_sockets(wire, here.token(role, "stranger", org=OTHER_ORG)) as session:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    async for told in session.subscribe(GraphQLRequest(query)):
                        found.append(told)  # noqa: PERF401 - what was heard until time is over
        return found

    async def happen() -> None:
        await asyncio.sleep(0.3)
        await update(here, patient_id, 1)

    changes, log, _ = await asyncio.gather(
        heard(Role.INTEGRATION, CHANGES), heard(Role.COMPLIANCE_OFFICER, LOG.replace('"made"', '"u-1"')), happen()
    )
    assert changes == []
    assert [len(each["accessEventAppended"]["edges"]) for each in log] == [0]  # where it begins
