"""What goes in comes out: made-up profiles and naughty strings, through GraphQL, sealing and both databases."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings

from auth.roles import Role
from crm.domain import values
from crm.errors import Invalid
from tests.asking import EVERYTHING, question
from tests.client import Client, client
from tests.conftest import ENGINES, Databases
from tests.property.test_naughty_strings import strings
from tests.submissions import registrations

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGISTER = "mutation R($input: RegisterPatientInput!) { registerPatient(input: $input) { id } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Client]]:
    """A client on each engine, for what must be the same on both."""
    urls = [databases.create(engine) for engine in ENGINES]
    one, two = (tmp_path_factory.mktemp(engine) for engine in ENGINES)
    async with client(urls[0], one) as first, client(urls[1], two) as second:
        yield [first, second]
    for url in urls:
        databases.drop(url)


def missing(given: Any, answered: Any, place: str = "") -> Iterator[str]:
    """Where something that was submitted is not in the answer; what the answer adds is fine."""
    if isinstance(given, Mapping) and isinstance(answered, Mapping):
        for key, value in given.items():
            yield from missing(value, answered.get(key), f"{place}.{key}")
    elif isinstance(given, list) and isinstance(answered, list) and len(given) == len(answered):
        for number, (one, other) in enumerate(zip(given, answered, strict=True)):
            yield from missing(one, other, f"{place}.{number}")
    elif given != answered:
        yield place


async def read_back(it: Client, submitted: Mapping[str, Any]) -> dict[str, Any]:
    """What a registration answers and what a later query answers, which is the same."""
    stored = (await it.data(REGISTER, Role.INTEGRATION, variables={"input": submitted}))["registerPatient"]
    found = await it.data(question(EVERYTHING), Role.INTEGRATION, variables={"id": stored["id"]})
    profile: dict[str, Any] = found["patient"]
    return profile


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(submitted=registrations())
async def test_profiles_read_back(both: list[Client], submitted: dict[str, Any]) -> None:
    """Any profile that breaks no rule is answered as it was submitted, on both engines alike."""
    profiles = [await read_back(it, submitted) for it in both]
    for profile in profiles:
        assert list(missing(submitted, profile)) == []
    volatile = {"id", "recordedAt", "updatedAt", "provenance"}
    one, two = ({key: bare(value) for key, value in profile.items() if key not in volatile} for profile in profiles)
    assert one == two


def bare(value: Any) -> Any:
    """The value without the ids that were made up for its entries."""
    if isinstance(value, list):
        return [bare(item) for item in value]
    if isinstance(value, dict):
        return {key: bare(item) for key, item in value.items() if key != "id"}
    return value


# --- strings that break other systems --------------------------------------------------------------------------------


def lines_of(text: str) -> dict[str, Any]:
    """A registration with `text` wherever a line of text goes."""
    return {
        "preferredName": text,
        "names": [{"text": text, "family": text, "given": [text, "x"], "prefix": [text], "suffix": [text]}],
        "pronouns": text,
        "religion": text,
        "identifiers": [{"system": text, "value": text, "assigner": text, "type": {"text": text}}],
        "links": [{"type": "REFER", "other": text}],
        "contactPoints": [{"system": "OTHER", "value": text}],
        "addresses": [{"lines": [text], "city": text, "state": text, "postalCode": text, "country": text}],
        "caseManager": {"name": text, "reference": text, "organisation": text},
    }


def paragraphs_of(text: str) -> dict[str, Any]:
    """A registration with `text` wherever a longer text goes."""
    return {
        "instructions": text,
        "accessNeeds": [{"kind": "OTHER", "text": text}],
        "culturalNeeds": [{"kind": "OTHER", "handling": text, "detail": text}],
        "addresses": [{"text": text}],
    }


def kept(kind: Any, text: str) -> bool:
    """Whether the domain keeps this text."""
    try:
        values.parse(kind, text, "x")
    except Invalid:
        return False
    return True


async def post(it: Client, query: str, variables: Mapping[str, Any]) -> httpx.Response:
    """A request whose JSON spells every character out, so that any of them can be sent."""
    head = {"authorization": f"Bearer {it.token(Role.INTEGRATION)}", "content-type": "application/json"}
    body = json.dumps({"query": query, "variables": variables}, ensure_ascii=True)
    return await it.http.post("/graphql", content=body, headers=head)


def chunks(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The texts, a few at a time."""
    return (texts[start : start + size] for start in range(0, len(texts), size))


async def test_naughty_strings_are_kept(both: list[Client]) -> None:
    """Every string that the rules of texts allow reads back as it was sent, on both engines."""
    short = [text for text in dict.fromkeys(strings()) if kept(values.ShortText, text)]
    long = [text for text in dict.fromkeys(strings()) if kept(values.LongText, text)]
    assert len(short) > 40
    for it in both:
        for some in chunks(short, 20):
            submitted = {name: value for name, value in lines_of(some[0]).items() if not isinstance(value, list)}
            for name in ("names", "identifiers", "links", "contactPoints", "addresses"):
                submitted[name] = [lines_of(text)[name][0] for text in some]
            assert list(missing(submitted, await read_back(it, submitted))) == []
        for some in chunks(long, 20):
            submitted = {"instructions": "\n".join(some)[:4000].strip("\r\n") or "x"}
            for name in ("accessNeeds", "culturalNeeds", "addresses"):
                submitted[name] = [paragraphs_of(text)[name][0] for text in some]
            if kept(values.LongText, submitted["instructions"]):
                assert list(missing(submitted, await read_back(it, submitted))) == []


async def test_naughty_strings_are_refused(both: list[Client]) -> None:
    """Every other string is refused with a typed error in every place, by the same octets on both engines."""
    refused = [text for text in dict.fromkeys(strings()) if not kept(values.ShortText, text)]
    assert len(refused) > 10
    for text in refused:
        places = lines_of(text)
        if not kept(values.LongText, text):
            places |= paragraphs_of(text)
        for name, value in places.items():
            answers = [await post(it, REGISTER, {"input": {name: value}}) for it in both]
            assert answers[0].content == answers[1].content
            assert answers[0].status_code == answers[1].status_code
            [error] = answers[0].json()["errors"]
            if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
                assert (answers[0].status_code, error["extensions"]["code"]) == (400, "GRAPHQL_PARSE_FAILED")
            else:
                assert error["extensions"]["code"] == "VALIDATION_FAILED", (name, text)
                assert error["extensions"].get("field", "input").split(".")[0] in {"input", "variables"}
            assert not (answers[0].json().get("data") or {}).get("registerPatient")
            assert len(text) < 5 or text not in answers[0].text


async def test_naughty_strings_elsewhere(both: list[Client]) -> None:
    """As an id, a search term, a cursor or a filter: found nowhere or refused, alike on both engines; never a crash."""
    queries = (
        "query Q($t: ID!) { patient(id: $t) { id } }",
        "query Q($t: ID!) { patients(ids: [$t]) { ... on Refusal { code } } }",
        "query Q($t: String!) { patientByIdentifier(system: $t, value: $t) { version } }",
        "query Q($t: String!) { searchPatients(by: {phone: $t}) { edges { cursor } } }",
        "query Q($t: String!) { searchPatients(by: {email: $t}) { edges { cursor } } }",
        """query Q($t: String!) { searchPatients(by: {email: "a@example.test"}, after: $t) { edges { cursor } } }""",
        'query Q($t: PartialDate!) { searchPatients(by: {familyName: "A", birthDate: $t}) { edges { cursor } } }',
    )
    told = {"NOT_FOUND", "VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED"}
    for text in [text for text in dict.fromkeys(strings()) if len(text) < 300][::8]:
        for query in queries:
            answers = [await post(it, query, {"t": text}) for it in both]
            assert answers[0].content == answers[1].content, text
            assert {error["extensions"]["code"] for error in answers[0].json().get("errors", ())} <= told


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "a\udfffb", "\udc00\ud800"])
async def test_what_no_database_can_hold(both: list[Client], text: str) -> None:
    """NUL and lone surrogates are refused before anything is stored: in variables and in the document alike."""
    before = [len(await it.house.outbox()) for it in both]
    for it in both:
        answer = await post(it, REGISTER, {"input": {"preferredName": text}})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["extensions"]["code"] in {"VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED"}
        literal = "".join(f"\\u{ord(letter):04x}" for letter in text)
        document = f'mutation {{ registerPatient(input: {{preferredName: "{literal}"}}) {{ id }} }}'
        answer = await post(it, document, {})
        assert answer.json()["errors"][0]["extensions"]["code"] in {"VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED"}
        assert "data" not in answer.json()
    assert [len(await it.house.outbox()) for it in both] == before
