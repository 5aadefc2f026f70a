"""Documents that are named and not sent: by `documentId`, and in Apollo's way, on both engines."""

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from auth.roles import Role
from crm.services.documents import TrustedDocuments, digest
from schema.documents import Documents
from schema.errors import Code, Refused
from schema.sdl import build_schema
from schema.settings import Limits, Settings
from schema.trusted import Source
from tests.client import Client, client
from tests.conftest import Databases
from tests.house import now
from tests.speaking import speaking
from tests.trusting import CARD, in_apollos_way, named, posted, registered, retired, told

JSON = "application/json"
RESPONSE = "application/graphql-response+json"
CHANGE = """mutation Change($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { id version } }"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """A client of a service that takes any document, queries by GET too, and remembers what Apollo's clients send.

    Every test uses documents of its own.
    """
    url = databases.create(shared_engine)
    settings = Settings(graphql_get=True, persisted_queries=True)
    async with client(url, tmp_path_factory.mktemp("documents"), settings, documents_refresh=0) as one:
        yield one
    databases.drop(url)


async def test_the_digest_is_that_of_the_specification() -> None:
    """Both examples of the appendix on persisted documents of GraphQL over HTTP, with and without white space."""
    assert digest("query ($id: ID!) {\n  user(id: $id) {\n    name\n  }\n}") == (
        "7dba4bd717b41f10434822356a93c32b1fb4907b983e854300ad839f84cdcd6e"
    )
    assert digest("query($id:ID!){user(id:$id){name}}") == (
        "71f7dc5758652baac68e4a10c50be732b741c892ade2883a99358f52b555286b"
    )


async def test_a_registered_document_is_executed_by_its_name(it: Client) -> None:
    """With and without the prefix, as `documentId` or in Apollo's way, by POST or GET, alone or with its text."""
    patient = str((await it.house.register())["id"])
    await registered(it, CARD)
    expected = {"data": {"patient": {"id": patient, "displayName": "Sam"}}}
    bodies: list[dict[str, Any]] = [
        named(CARD, id=patient),
        named(CARD, id=patient) | {"documentId": digest(CARD)},
        named(CARD, id=patient) | {"operationName": "Card", "query": None},
        named(CARD, id=patient) | {"query": CARD},
        in_apollos_way(CARD, id=patient),
        in_apollos_way(CARD, id=patient) | {"documentId": digest(CARD)},
    ]
    for body in bodies:
        answer = await posted(it, body)
        assert (answer.status_code, answer.json()) == (200, expected), body
    query = urlencode({"documentId": f"sha256:{digest(CARD)}", "variables": f'{{"id":"{patient}"}}'})
    headers = {"authorization": f"Bearer {it.token(Role.FRONT_DESK)}", "accept": RESPONSE}
    answer = await it.http.get(f"/graphql?{query}", headers=headers)
    assert (answer.status_code, answer.json()) == (200, expected)


async def test_a_browser_gets_the_answer_and_not_the_page() -> None:
    """An address that names a document asks for its answer, also in development, where a browser is given GraphiQL."""
    browser = {"accept": "text/html, */*;q=0.8", "authorization": "Bearer front_desk"}
    async with speaking(Settings(development=True, graphql_get=True)) as speaker:
        speaker.services.registered[digest("{ __typename }")] = "{ __typename }"
        answer = await speaker.http.get("/graphql", params={"documentId": digest("{ __typename }")}, headers=browser)
        page = await speaker.http.get("/graphql", headers=browser)
    assert answer.json() == {"data": {"__typename": "Query"}}
    assert page.headers["content-type"].startswith("text/html")


async def test_a_mutation_that_is_named_is_not_made_by_get(it: Client) -> None:
    """GET is refused with 405, and the record stays as it is."""
    patient = await it.house.register()
    await registered(it, CHANGE)
    query = urlencode(named(CHANGE) | {"variables": f'{{"input":{{"patientId":"{patient["id"]}"}}}}'})
    headers = {"authorization": f"Bearer {it.token(Role.FRONT_DESK)}", "accept": JSON}
    answer = await it.http.get(f"/graphql?{query}", headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    card = await posted(it, {"query": "query V($id: ID!) { patient(id: $id) { version } }", "variables": patient})
    assert card.json()["data"]["patient"]["version"] == patient["version"]


@pytest.mark.parametrize(("accept", "status"), [(JSON, 200), (RESPONSE, 400)])
async def test_an_unknown_name_is_told_in_apollos_words(it: Client, accept: str, status: int) -> None:
    """One error, whose message and code Apollo's clients look for, and no `data`."""
    for body in (named("{ unheard }"), in_apollos_way("{ unheard }")):
        answer = await posted(it, body, accept=accept)
        assert answer.status_code == status
        error = {"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}
        assert answer.json() == {"errors": [error]}


_OTHER = digest("{ other }")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"documentId": "sha256:short"}, "documentId"),
        ({"documentId": digest(CARD).upper()}, "documentId"),
        ({"documentId": f"md5:{'0' * 32}"}, "documentId"),
        ({"documentId": 7}, "documentId"),
        ({"documentId": _OTHER, "query": CARD}, "documentId"),
        (in_apollos_way(CARD) | {"documentId": _OTHER}, "documentId"),
        (in_apollos_way("{ other }") | {"query": CARD}, "extensions.persistedQuery.sha256Hash"),
        ({"extensions": {"persistedQuery": {"version": 1}}}, "extensions.persistedQuery.sha256Hash"),
        ({"extensions": {"persistedQuery": {"version": 2, "sha256Hash": _OTHER}}}, "extensions.persistedQuery"),
        ({"extensions": {"persistedQuery": {"version": True, "sha256Hash": _OTHER}}}, "extensions.persistedQuery"),
        ({"extensions": {"persistedQuery": {"version": 1.0, "sha256Hash": _OTHER}}}, "extensions.persistedQuery"),
        ({"extensions": {"persistedQuery": True}, "query": CARD}, "extensions.persistedQuery"),
        ({"documentId": _OTHER, "query": 7}, "query"),
        ({"documentId": None}, "query"),
    ],
)
async def test_a_malformed_name_is_refused(body: dict[str, Any], field: str) -> None:
    """A name is one SHA-256 in lower-case hex, and that of the text where one is sent; nothing of it is repeated."""
    async with speaking(Settings()) as speaker:
        answer = await speaker.post(body)
    assert answer.json().keys() == {"errors"}
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "VALIDATION_FAILED", "field": field}
    assert _OTHER not in answer.text


async def test_a_new_document_serves_at_once_and_a_retired_one_no_longer(it: Client) -> None:
    """Registered and retired by another process: this one sees both without a restart."""
    text = "query New { viewer { org } }"

    async def codes() -> list[str]:
        return told(await posted(it, named(text)))

    assert await codes() == ["PERSISTED_QUERY_NOT_FOUND"]
    await registered(it, text)
    await registered(it, text, client="mobile")
    assert await codes() == []
    await retired(it, text)
    assert await codes() == []  # the other client still has it
    await retired(it, text, client="mobile")
    assert await codes() == ["PERSISTED_QUERY_NOT_FOUND"]
    await registered(it, text)
    assert await codes() == []


async def test_what_is_remembered_is_asked_for_again(it: Client) -> None:
    """A retired document serves no longer than `refresh` seconds after it was looked up, also if time goes back."""
    text = "query Known { viewer { org } }"
    time = 1_000_000_000
    documents = TrustedDocuments(it.house.database, lambda: time, refresh=10)
    await registered(it, text)
    assert await documents.text(digest(text)) == text
    await retired(it, text)
    time += 9_999_999
    assert await documents.text(digest(text)) == text
    time += 1
    assert await documents.text(digest(text)) is None
    assert len(documents) == 0
    await registered(it, text)
    assert await documents.text(digest(text)) == text
    await retired(it, text)
    time -= 1
    assert await documents.text(digest(text)) is None


async def test_what_is_remembered_is_bounded(it: Client) -> None:
    """In number and in size; what was used last stays."""
    texts = [f"{{ a{number} }}" for number in range(4)]
    await registered(it, *texts)
    few = TrustedDocuments(it.house.database, now, count=2)
    short = TrustedDocuments(it.house.database, now, size=len(texts[0]) * 2)
    for documents in (few, short):
        for text in (texts[0], texts[1], texts[0], texts[2]):
            assert await documents.text(digest(text)) == text
        assert len(documents) == 2
        await retired(it, texts[0])
        assert await documents.text(digest(texts[0])) == texts[0]
        await registered(it, texts[0])


async def test_registering_twice_changes_nothing(it: Client) -> None:
    """A document that is on the list stays as it is; one that was retired is new again."""
    documents = TrustedDocuments(it.house.database, now)
    assert await documents.register("twice", {CARD: "Card", CHANGE: "Change"}, "account:ann") == 2
    assert await documents.register("twice", {CARD: "Card"}, "account:bob") == 0
    assert await documents.retire("twice", [digest(CARD), digest("{ other }")], "account:bob") == 1
    assert await documents.retire("twice", [digest(CARD)], "account:eve") == 0
    found = {each.name: (each.registered_by, each.retired_by) for each in await documents.every("twice")}
    assert found == {"Card": ("account:ann", "account:bob"), "Change": ("account:ann", None)}
    assert await documents.every("nobody") == []
    assert await documents.register("twice", {CARD: "Card"}, "account:bob") == 1
    [card] = [each for each in await documents.every("twice") if each.name == "Card"]
    assert replace(card, registered_at=0) == replace(
        card, registered_at=0, registered_by="account:bob", retired_at=None, retired_by=None, text=CARD
    )


# --- Apollo's protocol -----------------------------------------------------------------------------------------------


async def test_a_text_that_was_sent_once_is_remembered(it: Client) -> None:
    """The dance of Apollo's clients: the name alone, the name and the text, from then on the name alone."""
    text = CARD.replace("Card", "Sent")
    patient = str((await it.house.register())["id"])
    assert told(await posted(it, in_apollos_way(text, id=patient))) == ["PERSISTED_QUERY_NOT_FOUND"]
    for sent in (True, False):
        answer = await posted(it, in_apollos_way(text, sent=sent, id=patient))
        assert answer.json() == {"data": {"patient": {"id": patient, "displayName": "Sam"}}}
    assert digest(text) not in {each.sha256 for each in await it.house.services.documents.every()}


async def test_what_does_not_fit_is_not_remembered(it: Client) -> None:
    """A text that validation refuses is refused again, and its name stays unknown."""
    for text in ("{ nope }", "{ viewer {"):
        [code] = told(await posted(it, in_apollos_way(text, sent=True)))
        assert code in {"GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED"}
        assert told(await posted(it, in_apollos_way(text))) == ["PERSISTED_QUERY_NOT_FOUND"]


async def test_where_the_protocol_is_off_nothing_is_remembered() -> None:
    """Apollo's clients are told to go on without; what they send with a name is executed all the same."""
    text = "query Off { viewer { purposeOfUse } }"
    async with speaking(Settings()) as speaker:
        for _ in range(2):
            answer = await speaker.post(in_apollos_way(text))
            assert [error["message"] for error in answer.json()["errors"]] == ["PersistedQueryNotSupported"]
            assert told(answer) == ["PERSISTED_QUERY_NOT_SUPPORTED"]
            assert told(await speaker.post(in_apollos_way(text, sent=True))) == []
        speaker.services.registered[digest(text)] = text
        assert told(await speaker.post(in_apollos_way(text))) == []


@pytest.mark.parametrize(
    "settings",
    [Settings(persisted_queries=True, documents=2), Settings(persisted_queries=True, documents_size=170)],
    ids=["number", "size"],
)
async def test_what_clients_send_is_bounded(settings: Settings) -> None:
    """The oldest text is forgotten first, by number and by size."""

    class Nothing:
        """A list without documents."""

        async def text(self, sha256: str) -> str | None:
            """No text."""

    documents = Documents(build_schema(), Limits(), count=9, size=99_999, refused=1)
    source = Source(documents, Nothing(), settings)
    texts = [f"query Text{number} {{ __typename }}" for number in range(3)]
    assert 2 * sys.getsizeof(texts[0]) <= 170 < 3 * sys.getsizeof(texts[0])
    for text in texts:
        await source.find(text, digest(text), automatic=True)
    with pytest.raises(Refused) as refused:
        await source.find("", digest(texts[0]), automatic=True)
    assert refused.value.code is Code.PERSISTED_QUERY_NOT_FOUND
    for text in texts[1:]:
        assert (await source.find("", digest(text), automatic=True)).digest == digest(text)
