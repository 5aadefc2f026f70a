"""Connections that last are no way around anything: the same rights, records and limits as one request has.

Each question is asked over a WebSocket and as an event stream, of real services on both engines.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from auth.development import DevelopmentIssuer
from auth.issuers import IssuerKeys
from auth.roles import Role
from auth.tokens import TokenVerifier
from crm.audit.entry import Draft
from crm.audit.writer import Seal
from crm.store.database import Database
from crm.store.log import LogSink
from schema.app import create_app
from schema.settings import Settings
from tests.client import Client, client
from tests.house import ORG, OTHER_ORG
from tests.logs import signer
from tests.sockets import PATIENCE, Feed, Listening, listening, schema_with
from tests.speaking import ready

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRANSPORTS = ("websocket", "events")
NAME = "query Name($id: ID!) { patient(id: $id) { displayName } }"
FOLLOW = "subscription Follow($id: ID!) { patient(id: $id) { displayName } }"
SETTINGS = Settings(stream_check=0.05)


@dataclass
class Heard:
    """What came of one question: the answers, and the code that refused it without one, if any."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    refused: str | None = None

    @property
    def codes(self) -> list[str]:
        """All error codes of the answers."""
        return [error["extensions"]["code"] for answer in self.answers for error in answer.get("errors", ())]

    @property
    def names(self) -> list[str]:
        """The names of patients in the answers."""
        patients = [(answer.get("data") or {}).get("patient") for answer in self.answers]
        return [patient["displayName"] for patient in patients if patient]


class Site:
    """A served application over the house of a client, asked over either transport."""

    def __init__(self, client: Client, verifier: TokenVerifier, feed: Feed, server: Listening) -> None:
        self.client = client
        self.verifier = verifier
        self.feed = feed
        self.server = server

    async def ask(
        self, transport: str, query: str, token: str | None, variables: Mapping[str, Any], request_id: str = "r"
    ) -> Heard:
        """Everything that is heard until the operation ends."""
        parameters = {"query": query, "variables": variables}
        if transport == "websocket":
            return await self._over_websocket(parameters, token, request_id)
        return await self._in_events(parameters, token, request_id)

    async def _over_websocket(self, parameters: Any, token: str | None, request_id: str) -> Heard:
        heard = Heard()
        async with self.server.line(additional_headers={"x-request-id": request_id}) as line:
            payload = {} if token is None else {"authorization": f"Bearer {token}"}
            await line.say(type="connection_init", payload=payload)
            await line.say(type="subscribe", id="1", payload=parameters)
            try:
                while (message := await line.hear())["type"] != "complete":
                    if message["type"] == "next":
                        heard.answers.append(message["payload"])
                    elif message["type"] == "error":
                        heard.answers.append({"errors": message["payload"]})
                        break
            except ConnectionClosed:
                heard.refused = (line.socket.close_reason or "").removeprefix("Forbidden: ")
        return heard

    async def _in_events(self, parameters: Any, token: str | None, request_id: str) -> Heard:
        heard = Heard()
        headers = {"accept": "text/event-stream", "x-request-id": request_id}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            response = await http.post(self.server.http, json=parameters, headers=headers)
        if response.status_code != 200:
            heard.refused = response.json()["errors"][0]["extensions"]["code"]
            assert "data" not in response.json()
            return heard
        lines = response.text.splitlines()
        heard.answers = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        return heard

    async def watched(
        self, transport: str, query: str, token: str | None, variables: Mapping[str, Any], log: str = ORG
    ) -> tuple[Heard, list[dict[str, Any]]]:
        """What was heard, and what this question left in the log of the organisation `log`."""
        request_id = uuid4().hex
        heard = await self.ask(transport, query, token, variables, request_id)
        ids = {request_id, f"{request_id}.1"}
        return heard, [leaf for leaf in await self.client.house.leaves(org=log) if leaf.get("req") in ids]


async def site_over(client: Client, settings: Settings = SETTINGS) -> AsyncIterator[Site]:
    """The application with subscriptions over the client's house."""
    feed = Feed()
    verifier = TokenVerifier([IssuerKeys(client.issuer.issuer, development=True)])
    app = create_app(client.house.services, verifier, settings, ready, schema=schema_with(feed))
    async with listening(app) as server:
        yield Site(client, verifier, feed, server)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(served: Client) -> AsyncIterator[Site]:
    """The application that all tests share which leave it as it is."""
    async for it in site_over(served):
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sam(served: Client) -> dict[str, str]:
    """Variables that name a patient."""
    return {"id": str((await served.house.register())["id"])}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_right_role_is_answered_and_recorded(site: Site, sam: dict[str, str], transport: str) -> None:
    """One event, with the patient and the field, under the request's id."""
    heard, [leaf] = await site.watched(transport, NAME, site.client.token(Role.FRONT_DESK), sam)
    assert (heard.names, heard.codes) == (["Sam"], [])
    assert (leaf["out"], leaf["op"], leaf["fld"]) == ("ok", "Name", ["displayName"])


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("token", [None, "a.b.c"], ids=["none", "bad"])
async def test_nobody_is_refused_and_recorded(
    site: Site, sam: dict[str, str], transport: str, token: str | None
) -> None:
    """Without a word about the patient, in the log of those who proved nothing."""
    heard, leaves = await site.watched(transport, NAME, token, sam, log="_")
    assert (heard.refused, heard.answers) == ("UNAUTHENTICATED", [])
    assert [leaf["out"] for leaf in leaves] == ["denied"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("query", [NAME, FOLLOW])
async def test_the_wrong_role_is_refused_and_recorded(
    site: Site, sam: dict[str, str], transport: str, query: str
) -> None:
    """Before anything is read, also where events would be told."""
    heard, leaves = await site.watched(transport, query, site.client.token(Role.OPERATOR), sam)
    assert (heard.codes, heard.names) == (["FORBIDDEN"], [])
    assert [leaf["out"] for leaf in leaves] == ["denied"]
    assert not site.feed.subscribers


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_another_organisation_sees_nothing(site: Site, sam: dict[str, str], transport: str) -> None:
    """The right role there is told that there is no such record, and is on record there."""
    token = site.client.token(Role.FRONT_DESK, org=OTHER_ORG)
    heard, leaves = await site.watched(transport, NAME, token, sam, log=OTHER_ORG)
    assert (heard.codes, heard.names) == (["NOT_FOUND"], [])
    assert [leaf["out"] for leaf in leaves] == ["denied"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_event_of_a_subscription_is_recorded(site: Site, sam: dict[str, str], transport: str) -> None:
    """What three events told is three looks at the record."""
    token = site.client.token(Role.FRONT_DESK)
    playing = asyncio.create_task(site.feed.play(1, 2, 3, None))
    heard, leaves = await site.watched(transport, FOLLOW, token, sam)
    await playing
    assert heard.names == ["Sam"] * 3
    assert [(leaf["out"], leaf["op"]) for leaf in leaves] == [("ok", "Follow")] * 3


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_events_about_another_organisation_tell_nothing(site: Site, sam: dict[str, str], transport: str) -> None:
    """A subscription to somebody else's patient is as good as one to nobody; each look is on record."""
    token = site.client.token(Role.FRONT_DESK, org=OTHER_ORG)
    playing = asyncio.create_task(site.feed.play(1, None))
    heard, leaves = await site.watched(transport, FOLLOW, token, sam, log=OTHER_ORG)
    await playing
    assert (heard.codes, heard.names) == (["NOT_FOUND"], [])
    assert [leaf["out"] for leaf in leaves] == ["denied"]


_SPREADS = [f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(20)]
FAN_OUT = " ".join(["{ ...f0 }", *_SPREADS, "fragment f20 on Query { viewer { org } }"])
TOO_MUCH = {
    "a fan-out of fragments": (FAN_OUT, {}),
    "repeated fields": ("{ " + "__typename " * 1_000 + "}", {}),
    "too many records": ("query Q($ids: [ID!]!) { patients(ids: $ids) { __typename } }", {"ids": ["x"] * 1_001}),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("what", TOO_MUCH)
async def test_limits_hold(site: Site, transport: str, what: str) -> None:
    """As over HTTP: refused before validation, recorded, and the next question is answered."""
    query, variables = TOO_MUCH[what]
    token = site.client.token(Role.FRONT_DESK)
    heard, leaves = await site.watched(transport, query, token, variables)
    assert heard.codes in (["QUERY_TOO_COSTLY"], ["BATCH_TOO_LARGE"])
    assert [leaf["why"] for leaf in leaves] == heard.codes
    assert (await site.ask(transport, "{ __typename }", token, {})).answers == [{"data": {"__typename": "Query"}}]


@pytest.mark.parametrize(("octets", "code"), [(102_401, 1009), (102_000, 1000), (1_000_000, 1009)])
async def test_a_message_may_be_as_large_as_a_body(site: Site, octets: int, code: int) -> None:
    """What is larger closes the socket, and is on record unless it is too large to be looked at at all."""
    request_id = uuid4().hex
    async with site.server.line(additional_headers={"x-request-id": request_id}) as line:
        await line.start(site.client.token(Role.FRONT_DESK))
        start = '{"type": "ping", "payload": {"a": "'
        await line.socket.send(start + "x" * (octets - len(start) - 3) + '"}}')
        if code == 1000:
            assert (await line.hear())["type"] == "pong"
        else:
            assert (await line.closed())[0] == code
    leaves = [leaf.get("why") for leaf in await site.client.house.leaves(request=request_id)]
    assert leaves == (["QUERY_TOO_COSTLY"] if octets == 102_401 else [])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_only_trusted_documents_where_that_is_set(served: Client, transport: str) -> None:
    """Nothing else is executed, over whatever it comes, and the attempt is on record."""
    async for site in site_over(served, Settings(trusted_documents=True)):
        for query in ("{ __typename }", "{ __schema { types { name } } }", "subscription { viewer }"):
            heard, leaves = await site.watched(transport, query, served.token(Role.OPERATOR), {})
            assert heard.codes == ["FORBIDDEN"]
            assert [leaf["why"] for leaf in leaves] == heard.codes


async def test_introspection_is_closed(site: Site) -> None:
    """For ordinary roles, over either transport."""
    for transport in TRANSPORTS:
        heard = await site.ask(transport, "{ __schema { types { name } } }", site.client.token(Role.FRONT_DESK), {})
        assert heard.codes == ["FORBIDDEN"]


# --- tokens and logs that end ----------------------------------------------------------------------------------------


async def withdraw(site: Site, folder: Path) -> None:
    """The issuer publishes other keys than those it signed with."""
    DevelopmentIssuer(folder / "another")
    published = site.client.issuer.issuer.jwks_file
    assert published is not None
    published.write_text((folder / "another" / published.name).read_text("utf-8"), "utf-8")
    await site.verifier.refresh()


@pytest.mark.parametrize("engine", ["sqlite"])  # nothing of it is in a database
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_key_that_is_withdrawn_ends_connections(database_url: str, tmp_path: Path, transport: str) -> None:
    """A token is looked at again and again: what its issuer does not stand for any more is told nothing more."""
    async with client(database_url, tmp_path) as it:
        patient = {"id": (await it.house.register())["id"]}
        async for site in site_over(it):
            token = it.token(Role.FRONT_DESK)
            asking = asyncio.create_task(site.ask(transport, FOLLOW, token, patient))
            await site.feed.listened()
            await withdraw(site, tmp_path)
            heard = await asking
            assert heard.answers == []
            assert heard.refused == ("UNAUTHENTICATED" if transport == "websocket" else None)
            await site.feed.listened(0)


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_an_operation_with_a_withdrawn_key_is_refused_and_recorded(database_url: str, tmp_path: Path) -> None:
    """However long until somebody looks at the token anyway: the socket closes, and the attempt is on record."""
    async with client(database_url, tmp_path) as it:
        patient = {"id": (await it.house.register())["id"]}
        async for site in site_over(it, Settings(stream_check=300)):
            async with site.server.line(additional_headers={"x-request-id": "withdrawn"}) as line:
                await line.start(it.token(Role.FRONT_DESK))
                await withdraw(site, tmp_path)
                await line.ask(NAME, variables=patient)
                assert await line.closed() == (4403, "Forbidden: UNAUTHENTICATED")
        [leaf] = await it.house.leaves(org="_", request="withdrawn.1")
        assert (leaf["out"], leaf["why"]) == ("denied", "key")


class Fault:
    """A log whose commits can be made to fail."""

    def __init__(self) -> None:
        self.broken = False
        self._inner: LogSink

    def around(self, database: Database) -> "Fault":
        """The sink over a real database."""
        self._inner = LogSink(database, signer)
        return self

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        if self.broken:
            raise OSError("no space left on device")
        await self._inner.commit(org, drafts, seal)

    async def orphans(self, before: int, limit: int) -> Mapping[str, Sequence[Draft]]:
        return await self._inner.orphans(before, limit)

    def stamp(self, org: str, draft: Draft) -> bytes:
        return self._inner.stamp(org, draft)


async def test_what_cannot_be_recorded_is_not_told(database_url: str, tmp_path: Path) -> None:
    """Over either transport, for a query as for an event: AUDIT_UNAVAILABLE and no data; nobody new is let in."""
    fault = Fault()
    async with client(database_url, tmp_path, sink=fault.around, deadline=1.0) as it:
        patient = {"id": (await it.house.register())["id"]}
        async for site in site_over(it):
            token = it.token(Role.FRONT_DESK)
            following = [asyncio.create_task(site.ask(each, FOLLOW, token, patient)) for each in TRANSPORTS]
            await site.feed.listened(2)
            fault.broken = True
            site.feed.tell(1)
            for heard in await asyncio.gather(*following):
                assert (heard.codes, heard.names) == (["AUDIT_UNAVAILABLE"], [])
            websocket, events = [await site.ask(each, NAME, token, patient) for each in TRANSPORTS]
            assert (websocket.codes, websocket.names) == (["AUDIT_UNAVAILABLE"], [])
            assert (events.refused, events.answers) == ("AUDIT_UNAVAILABLE", [])
            nobody = [await site.ask(each, NAME, "a.b.c", patient) for each in TRANSPORTS]
            assert [heard.refused for heard in nobody] == ["AUDIT_UNAVAILABLE"] * 2
            fault.broken = False
