"""Only trusted documents are executed where that is set; being on the list gives nobody a right."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from graphql import get_introspection_query
from sqlalchemy import bindparam, update

from auth.roles import Role
from crm.errors import AuditUnavailable, StoreUnavailable
from crm.services.documents import digest
from crm.store.database import NO_ORG
from crm.store.statements import prepare
from crm.store.tables import trusted_document
from schema.app import create_app
from schema.execution import Engine, Parameters
from schema.sdl import build_schema
from schema.settings import Limits, Settings
from tests.client import Client, client
from tests.conftest import Databases
from tests.house import OTHER_ORG, actor
from tests.sockets import Feed, Listening, listening, schema_with
from tests.speaking import FakeServices, Tokens, ready, speaking
from tests.trusting import CARD, in_apollos_way, named, posted, registered, told, watched

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRICT = Settings(trusted_documents=True, open_introspection=True, graphql_get=True)
PATIENT = "query Anything($id: ID!) { patient(id: $id) { displayName } }"
CHANGE = """mutation Change($id: ID!) {
  updatePreferences(input: {patientId: $id, expectedVersion: 1, preferredName: "Else"}) { id }
}"""
_FORGE = prepare(
    update(trusted_document).where(trusted_document.c.sha256 == bindparam("digest")).values(text=bindparam("another"))
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """A client of a service that executes trusted documents alone, with introspection and GET as open as can be."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path_factory.mktemp("trusted"), STRICT, documents_refresh=0) as one:
        yield one
    databases.drop(url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient(it: Client) -> str:
    """Sam's id."""
    return str((await it.house.register())["id"])


def texts() -> list[Any]:
    """Texts that are on no list, by what they are."""
    return [
        pytest.param({"query": PATIENT}, Role.FRONT_DESK, id="query"),
        pytest.param({"query": CHANGE}, Role.FRONT_DESK, id="mutation"),
        pytest.param({"query": "{ __typename }"}, Role.FRONT_DESK, id="smallest"),
        pytest.param({"query": get_introspection_query()}, Role.OPERATOR, id="introspection"),
        pytest.param({"query": "{ _service { sdl } }"}, Role.OPERATOR, id="subgraph"),
        pytest.param({"query": CARD + " "}, Role.FRONT_DESK, id="one space more"),
        pytest.param({"query": "{ nonsense"}, Role.FRONT_DESK, id="malformed"),
        pytest.param({"query": ""}, Role.FRONT_DESK, id="empty"),
        pytest.param({"query": PATIENT, "documentId": digest(PATIENT)}, Role.FRONT_DESK, id="with its name"),
        pytest.param(in_apollos_way(PATIENT, sent=True), Role.FRONT_DESK, id="Apollo's way"),
    ]


@pytest.mark.parametrize(("body", "role"), texts())
async def test_no_other_text_is_executed(it: Client, patient: str, body: dict[str, Any], role: Role) -> None:
    """Refused as FORBIDDEN before it is parsed, with no data, nothing changed, and one event that names nobody."""
    await registered(it, CARD)
    answer, events = await watched(it, body | {"variables": {"id": patient}}, role)
    assert told(answer) == ["FORBIDDEN"]
    assert answer.json().keys() == {"errors"}
    [event] = events
    assert (event["out"], event["why"], event["op"]) == ("denied", "FORBIDDEN", f"sha256:{digest(body['query'])}")
    assert "pat" not in event
    card = (await posted(it, named(CARD, id=patient))).json()
    assert card == {"data": {"patient": {"id": patient, "displayName": "Sam"}}}


async def test_an_unknown_name_is_recorded(it: Client) -> None:
    """Whoever tries names is seen: a name off the list is a refusal like another."""
    for body in (named("{ unheard }"), in_apollos_way("{ unheard }")):
        answer, [event] = await watched(it, body)
        assert told(answer) == ["PERSISTED_QUERY_NOT_FOUND"]
        assert answer.json().keys() == {"errors"}
        assert (event["out"], event["why"]) == ("denied", "PERSISTED_QUERY_NOT_FOUND")
        assert event["op"] == f"sha256:{digest('{ unheard }')}"


async def test_a_text_under_the_name_of_another_is_recorded(it: Client) -> None:
    """A registered name does not cover for another text: refused, and seen."""
    await registered(it, CARD)
    for body in (named(CARD) | {"query": PATIENT}, in_apollos_way(CARD) | {"query": PATIENT}):
        answer, [event] = await watched(it, body)
        assert told(answer) == ["VALIDATION_FAILED"]
        assert answer.json().keys() == {"errors"}
        assert (event["out"], event["why"]) == ("denied", "VALIDATION_FAILED")


async def test_no_text_is_remembered(it: Client) -> None:
    """What Apollo's clients send does not get onto the list."""
    for _ in range(2):
        assert told(await posted(it, in_apollos_way(PATIENT, sent=True))) == ["FORBIDDEN"]
        assert told(await posted(it, in_apollos_way(PATIENT))) == ["PERSISTED_QUERY_NOT_FOUND"]


async def test_get_is_no_way_around(it: Client, patient: str) -> None:
    """A text in an address is refused like one in a body."""
    headers = {"authorization": f"Bearer {it.token(Role.FRONT_DESK)}", "accept": "application/json"}
    answer = await it.http.get(
        "/graphql", params={"query": f'{{ patient(id: "{patient}") {{ id }} }}'}, headers=headers
    )
    assert told(answer) == ["FORBIDDEN"]
    assert "data" not in answer.json()


async def test_a_text_on_the_list_is_the_document(it: Client, patient: str) -> None:
    """Whoever sends the very text asks nothing else than its name does."""
    await registered(it, CARD)
    answer = await posted(it, {"query": CARD, "variables": {"id": patient}})
    assert answer.json() == {"data": {"patient": {"id": patient, "displayName": "Sam"}}}


async def test_being_on_the_list_gives_no_right(it: Client, patient: str) -> None:
    """As nobody, wrong role, right role elsewhere, right role: the policy decides, and what it says is recorded."""
    secret = "query Faith($id: ID!) { patient(id: $id) { religion } }"
    await registered(it, secret)
    asked = named(secret, id=patient)
    nobody = await posted(it, asked, None)
    assert (nobody.status_code, told(nobody)) == (401, ["UNAUTHENTICATED"])
    wrong, [event] = await watched(it, asked, Role.MESSAGING)
    assert (told(wrong), "data" in wrong.json()) == (["FORBIDDEN_FIELD"], False)
    assert (event["out"], event["op"], event["fld"]) == ("denied", "Faith", ["religion"])
    elsewhere = await posted(it, asked, Role.CLINICIAN, org=OTHER_ORG)
    assert (told(elsewhere), "Quaker" in elsewhere.text) == (["NOT_FOUND"], False)
    right, [event] = await watched(it, asked, Role.CLINICIAN)
    assert right.json() == {"data": {"patient": {"religion": "Quaker"}}}
    assert (event["out"], event["op"], event["fld"]) == ("ok", "Faith", ["religion"])


async def test_a_text_that_was_exchanged_is_not_executed(it: Client, patient: str) -> None:
    """Whoever writes another text into the row of a document gains nothing: its digest is not that of its name."""
    text = CARD.replace("Card", "Exchanged")
    await registered(it, text)
    async with it.house.database.transaction(NO_ORG) as connection:
        assert await connection.execute(_FORGE, digest=digest(text), another=PATIENT) == 1
    answer, events = await watched(it, named(text, id=patient))
    assert told(answer) == ["INTERNAL_SERVER_ERROR"]
    assert answer.json().keys() == {"errors"}
    assert "Sam" not in answer.text
    assert events == []


async def test_limits_hold_for_what_was_registered(it: Client, patient: str) -> None:
    """A document that was registered under wider limits is refused where they are narrower now."""
    await registered(it, CARD)
    narrow = Settings(trusted_documents=True, limits=replace(Limits(), depth=1))
    engine = Engine(build_schema(), it.house.services, narrow)
    asked = Parameters("", None, {"id": patient}, digest(CARD))
    answer = await engine.answer(actor(Role.FRONT_DESK), "narrow", asked)
    assert [problem.code for problem in answer.problems] == ["QUERY_TOO_COSTLY"]
    assert not answer.executed
    [event] = await it.house.leaves(request="narrow")
    assert (event["out"], event["why"]) == ("denied", "QUERY_TOO_COSTLY")


async def test_a_refusal_that_cannot_be_recorded_is_not_told() -> None:
    """While the log takes no events, who sends another text learns that, and nothing of the list."""

    async def full() -> None:
        raise AuditUnavailable

    services = FakeServices(before=full)
    async with speaking(Settings(trusted_documents=True), services) as speaker:
        for body in ({"query": "{ __typename }"}, named("{ unheard }")):
            answer = await speaker.post(body)
            assert (answer.status_code, told(answer)) == (503, ["AUDIT_UNAVAILABLE"])


async def test_a_list_that_cannot_be_read_lets_nothing_through() -> None:
    """While the database is silent no text and no name is executed."""

    class Silent(FakeServices):
        """Services whose database does not answer."""

        async def text(self, sha256: str) -> str | None:
            raise StoreUnavailable

    async with speaking(Settings(trusted_documents=True), Silent()) as speaker:
        for body in ({"query": "{ __typename }"}, named("{ __typename }")):
            answer = await speaker.post(body)
            assert (answer.status_code, told(answer)) == (503, ["OVERLOADED"])


# --- every transport -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def spoken() -> AsyncIterator[tuple[FakeServices, Listening]]:
    """A server with fake services that executes trusted documents alone, of which there is one, on real sockets."""
    services = FakeServices(registered={digest(CARD): CARD})
    feed = Feed()
    app = create_app(services, Tokens(), Settings(trusted_documents=True), ready, schema=schema_with(feed))
    async with listening(app) as server:
        yield services, server


OTHERS = ["{ __typename }", PATIENT, "subscription { viewer }", "{ __schema { types { name } } }", "{ nonsense"]


async def test_a_socket_is_no_way_around() -> None:
    """Over WebSocket as by POST: a text is refused and recorded, whatever it asks; a name on the list is answered."""
    async with spoken() as (services, server), server.line() as line:
        await line.start()
        for number, text in enumerate(OTHERS):
            await line.ask(text, id=str(number), variables={"id": "ann"})
            heard = await line.hear()
            assert (heard["type"], heard["id"]) == ("error", str(number))
            assert [each["extensions"]["code"] for each in heard["payload"]] == ["FORBIDDEN"]
        assert services.refusals == [("FORBIDDEN", f"sha256:{digest(text)}", "u-1, None ids") for text in OTHERS]
        assert services.calls == []
        await line.say(id="card", type="subscribe", payload=named(CARD, id="ann"))
        heard = await line.hear()
        assert heard["payload"]["data"] == {"patient": {"id": "ann", "displayName": "Ann"}}


async def test_an_event_stream_is_no_way_around() -> None:
    """The same over server-sent events."""
    headers = {"authorization": "Bearer front_desk", "accept": "text/event-stream"}
    async with spoken() as (services, server), httpx.AsyncClient(headers=headers) as http:
        for text in OTHERS:
            answer = await http.post(server.http, json={"query": text, "variables": {"id": "ann"}})
            assert '"code":"FORBIDDEN"' in answer.text
            assert '"data"' not in answer.text
        assert services.refusals == [("FORBIDDEN", f"sha256:{digest(text)}", "u-1, None ids") for text in OTHERS]
        assert services.calls == []
        answer = await http.post(server.http, json=named(CARD, id="ann"))
        assert '{"data":{"patient":{"id":"ann","displayName":"Ann"}}}' in answer.text
