"""The shape and the status of every refusal over HTTP, and that none of them carries a value."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from crm.errors import (
    AuditUnavailable,
    BatchTooLarge,
    Erased,
    Invalid,
    KeyUnavailable,
    Overloaded,
    StoreUnavailable,
    Tampered,
    VersionConflict,
    VersionRequired,
)
from schema.settings import Settings
from tests.speaking import FakeServices, Speaker, code, never, speaking

READ = '{ patient(id: "ann") { id displayName } }'
CANARY = "canary-51c9"
JSON = "application/json"
RESPONSE = "application/graphql-response+json"


@pytest.fixture
async def speaker() -> AsyncIterator[Speaker]:
    """A client of the application in production."""
    async with speaking() as client:
        yield client


def failing(error: Exception) -> FakeServices:
    """Services whose every call ends so."""

    async def fail() -> None:
        raise error

    return FakeServices(before=fail)


async def test_an_answer(speaker: Speaker) -> None:
    """What it looks like when nothing is wrong: data, no store in between, a request id."""
    response = await speaker.post({"query": READ})
    assert response.json() == {"data": {"patient": {"id": "ann", "displayName": "Ann"}}}
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert len(response.headers["x-request-id"]) == 32
    assert not {"server", "x-powered-by", "set-cookie"} & set(response.headers)


@pytest.mark.parametrize(
    ("given", "echoed"), [("req-1.A_b", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("a,b", False)]
)
async def test_request_ids_are_echoed_when_they_are_harmless(speaker: Speaker, given: str, echoed: bool) -> None:
    """Anything else is replaced, so that no header or log line can be forged with it."""
    response = await speaker.post({"query": READ}, x_request_id=given)
    assert (response.headers["x-request-id"] == given) is echoed


@pytest.mark.parametrize("media", [JSON, RESPONSE])
async def test_no_token(speaker: Speaker, media: str) -> None:
    """401 with the challenge, in both media types; the attempt is recorded first."""
    response = await speaker.post({"query": READ}, role=None, accept=media)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.json() == {
        "errors": [{"message": "A valid bearer token is required.", "extensions": {"code": "UNAUTHENTICATED"}}]
    }
    assert speaker.services.refusals == [("missing", "http", None)]
    assert speaker.services.calls == []


async def test_bad_tokens_all_look_the_same(speaker: Speaker) -> None:
    """What was wrong with a token is for the log only."""
    without = await speaker.post({"query": READ}, role=None)
    forged = await speaker.post({"query": READ}, role="forged")
    assert forged.status_code == 401
    assert forged.json() == without.json()


async def test_two_tokens_are_none(speaker: Speaker) -> None:
    """A second Authorization header is not skipped over."""
    headers = [("authorization", "Bearer front_desk"), ("authorization", "Bearer operator"), ("content-type", JSON)]
    response = await speaker.http.post("/graphql", headers=headers, content=json.dumps({"query": READ}))
    assert response.status_code == 401
    assert speaker.services.refusals == [("header_twice", "http", None)]


async def test_an_attempt_that_cannot_be_recorded(speaker: Speaker) -> None:
    """Not even a refusal is given without a record."""
    async with speaking(services=failing(AuditUnavailable())) as client:
        response = await client.post({"query": READ}, role=None)
    assert (response.status_code, code(response.json())) == (503, "AUDIT_UNAVAILABLE")


@pytest.mark.parametrize(
    ("purpose", "expected", "recorded"),
    [
        ("NONSENSE", "PURPOSE_NOT_PERMITTED", ("PURPOSE_NOT_PERMITTED", "http", "u-1")),
        ("HMARKT", "PURPOSE_NOT_PERMITTED", ("PurposeNotPermitted", "Look", "u-1")),
    ],
)
async def test_purposes(speaker: Speaker, purpose: str, expected: str, recorded: tuple[str, str, str]) -> None:
    """An unknown purpose and one the role may not have are refused before anything is read, and recorded."""
    status, answer = await speaker.ask(f"query Look {READ}", x_purpose_of_use=purpose)
    assert (status, code(answer), "data" in answer) == (200, expected, False)
    assert speaker.services.refusals == [recorded]
    assert speaker.services.calls == []


async def test_a_forbidden_field_refuses_the_whole_operation(speaker: Speaker) -> None:
    """No other root field is executed either; the field to blame is named by its path."""
    query = '{ a: patient(id: "ann") { displayName } b: patient(id: "ann") { culturalNeeds { kind } } }'
    status, answer = await speaker.ask(query)
    assert (status, code(answer), "data" in answer) == (200, "FORBIDDEN_FIELD", False)
    assert answer["errors"][0]["extensions"]["field"] == "culturalNeeds.kind"
    assert speaker.services.calls == []
    assert [name for name, *_ in speaker.services.refusals] == ["ForbiddenField"]


@pytest.mark.parametrize(
    ("role", "query"),
    [
        ("operator", READ),
        ("front_desk", '{ accessEvents { edges { cursor } } patient(id: "ann") { id } }'),
        ("front_desk", "{ me { id } }"),
        ("compliance_officer", '{ searchPatients(by: { phone: "1" }) { edges { cursor } } }'),
    ],
)
async def test_forbidden_actions(speaker: Speaker, role: str, query: str) -> None:
    """A role that may not do a thing at all is refused before any root field is executed."""
    status, answer = await speaker.ask(query, role)
    assert (status, code(answer), "data" in answer) == (200, "FORBIDDEN", False)
    assert speaker.services.calls == []


@pytest.mark.parametrize("media", [JSON, RESPONSE])
@pytest.mark.parametrize(
    ("error", "expected", "after"),
    [
        (AuditUnavailable(), "AUDIT_UNAVAILABLE", "1"),
        (KeyUnavailable(), "KEY_UNAVAILABLE", "1"),
        (Overloaded(7), "OVERLOADED", "7"),
        (StoreUnavailable(2), "OVERLOADED", "2"),
    ],
)
async def test_unavailable(error: Exception, expected: str, after: str, media: str) -> None:
    """503 with Retry-After and without `data`, even beside fields that succeeded."""
    async with speaking(services=failing(error)) as speaker:
        query = f"{{ viewer {{ org }} {READ[1:-1]} }}"
        response = await speaker.post({"query": query}, accept=media)
    assert (response.status_code, response.headers["retry-after"]) == (503, after)
    assert code(response.json()) == expected
    assert list(response.json()) == ["errors"]
    assert len(response.json()["errors"]) == 1


@pytest.mark.parametrize(
    ("error", "extensions"),
    [
        (Erased(), {"code": "ERASED"}),
        (VersionRequired(), {"code": "VERSION_REQUIRED"}),
        (VersionConflict(4), {"code": "VERSION_CONFLICT", "currentVersion": 4}),
        (Invalid("input.a", "time_zone"), {"code": "VALIDATION_FAILED", "field": "input.a", "rule": "time_zone"}),
        (BatchTooLarge(1000), {"code": "BATCH_TOO_LARGE", "limit": 1000}),
    ],
)
async def test_field_errors(error: Exception, extensions: dict[str, Any]) -> None:
    """A root field that refuses is null, and its error has the path and the code."""
    async with speaking(services=failing(error)) as speaker:
        status, answer = await speaker.ask(READ)
    assert (status, answer["data"]) == (200, {"patient": None})
    assert answer["errors"][0]["extensions"] == extensions
    assert answer["errors"][0]["path"] == ["patient"]


@pytest.mark.parametrize("error", [ValueError(CANARY), Tampered(CANARY), TimeoutError(CANARY)])
async def test_failures_of_ours(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """The answer has an incident that the log has too; neither has the text of what failed."""
    with caplog.at_level(logging.DEBUG):
        async with speaking(services=failing(error)) as speaker:
            status, answer = await speaker.ask(READ)
    assert (status, code(answer)) == (200, "INTERNAL_SERVER_ERROR")
    assert answer["errors"][0]["extensions"]["incident"] in caplog.text
    assert CANARY not in f"{answer} {caplog.text}"


async def test_an_answer_that_is_no_json_is_not_sent() -> None:
    """Whatever a service hands up that cannot be written, nothing of it goes out."""
    odd = {"ann": {"id": "ann", "version": 1, "display_name": "\ud800" + CANARY}}
    async with speaking(services=FakeServices(known=odd)) as speaker:
        response = await speaker.post({"query": READ})
    assert (response.status_code, code(response.json())) == (500, "INTERNAL_SERVER_ERROR")
    assert CANARY not in response.text


async def test_the_deadline() -> None:
    """A request that takes too long is given up, and the next one is answered."""
    services = FakeServices(before=never)
    async with speaking(Settings(deadline=0.05), services) as speaker:
        response = await speaker.post({"query": READ})
        assert (response.status_code, code(response.json())) == (503, "OVERLOADED")
        services.before = None
        assert (await speaker.ask(READ))[0] == 200


async def test_too_many_at_once() -> None:
    """One request more than may be in flight is refused at once; the others go on."""
    gate = asyncio.Event()
    full = asyncio.Barrier(3)

    async def wait() -> None:
        await full.wait()
        await gate.wait()

    async with speaking(Settings(in_flight=2), FakeServices(before=wait)) as speaker:
        held = [asyncio.create_task(speaker.ask(READ, f"front_desk@{name}")) for name in ("ada", "bo")]
        await full.wait()
        response = await speaker.post({"query": READ})
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert code(response.json()) == "OVERLOADED"
        gate.set()
        assert [status for status, _ in await asyncio.gather(*held)] == [200, 200]


async def test_what_is_too_costly_says_how_much_it_may_be() -> None:
    """The message names what was counted, and `limit` is its number, whoever asks; the count itself is not told."""
    many = "query ($ids: [ID!]!) { a: patients(ids: $ids) { __typename } b: patients(ids: $ids) { __typename } }"
    nested: list[Any] = []
    for _ in range(16):
        nested = [nested]
    asked: list[tuple[str, dict[str, Any], str, int]] = [
        ("{ viewer {" + " org" * 401 + "}}", {}, "The document selects too many fields.", 400),
        ("{ viewer {" + " org" * 1_000 + "}}", {}, "The document has too many tokens.", 1_000),
        ("#\n" * 251 + "{ viewer { org } }", {}, "The document has too many comments.", 250),
        (f"# {'x' * 50_000}\n{{ viewer {{ org }} }}", {}, "The document has too many characters.", 50_000),
        (many, {"ids": ["x"] * 501}, "The operation may touch too many records.", 1_000),
        ("x" * 102_400, {}, "The body has too many octets.", 102_400),
        ("{ viewer { org } }", {"a": nested}, "The body is nested too deeply.", 16),
    ]
    async with speaking() as speaker:
        for query, variables, message, limit in asked:
            response = await speaker.post({"query": query, "variables": variables})
            (problem,) = response.json()["errors"]
            extensions = {"code": "QUERY_TOO_COSTLY", "limit": limit}
            assert (problem["message"], problem["extensions"]) == (message, extensions)


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        pytest.param(b'{"query": "{ __typename }", "query": "{ nope }"}', 400, "GRAPHQL_PARSE_FAILED", id="key twice"),
        pytest.param(b'{"query": "{ __typename }", "variables": {"a": 1, "\\u0061": 2}}', 400, "GRAPHQL_PARSE_FAILED",
                     id="key twice, once escaped"),
        pytest.param(b'{"query": "{ __typename }", "variables": {"a": NaN}}', 400, "GRAPHQL_PARSE_FAILED", id="NaN"),
        pytest.param(b'{"query": "{ __typename }", "variables": {"a": "\\ud800"}}', 400, "GRAPHQL_PARSE_FAILED",
                     id="lone surrogate"),
        pytest.param(b'{"query": "{ __typename }", "variables": {"a": "\xff"}}', 400, "GRAPHQL_PARSE_FAILED",
                     id="not UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"query": "{ __typename }"}', 400, "GRAPHQL_PARSE_FAILED", id="byte order mark"),
        pytest.param('{"query": "{ __typename }"}'.encode("utf-16"), 400, "GRAPHQL_PARSE_FAILED", id="UTF-16"),
        pytest.param(b"[" * 90_000, 400, "GRAPHQL_PARSE_FAILED", id="never closed"),
        pytest.param(b'{"query": "{ __typename }", "variables": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}", 400,
                     "QUERY_TOO_COSTLY", id="deep"),
        pytest.param(b'{"query": "{ __typename }", "variables": {"a": ["\\u0000"]}}', 400, "VALIDATION_FAILED",
                     id="NUL"),
        pytest.param(b'{"query": "{ a }", "x": "' + b"y" * 102_400 + b'"}', 413, "QUERY_TOO_COSTLY", id="size"),
    ],
)  # fmt: skip
async def test_bodies_that_mean_harm(speaker: Speaker, body: bytes, status: int, expected: str) -> None:
    """Each is refused with a type, in time, and without being repeated."""
    response = await speaker.post(body)
    assert (response.status_code, code(response.json())) == (status, expected)
    assert (await speaker.ask("{ __typename }"))[0] == 200


async def test_an_escaped_backslash_is_not_nul(speaker: Speaker) -> None:
    r"""The text `\u0000` of six characters is a text like any other."""
    status, answer = await speaker.ask("query ($id: ID!) { patient(id: $id) { id } }", variables={"id": "\\u0000"})
    assert (status, code(answer)) == (200, "NOT_FOUND")


async def test_a_body_without_a_length_is_counted(speaker: Speaker) -> None:
    """Chunks are counted as they come."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 1024

    headers = {"authorization": "Bearer front_desk", "content-type": JSON}
    response = await speaker.http.post("/graphql", content=chunks(), headers=headers)
    assert response.status_code == 413


async def test_compressed_bodies_are_not_unpacked(speaker: Speaker) -> None:
    """What could unpack to gigabytes is refused by its header."""
    response = await speaker.post(b"x", content_encoding="gzip")
    assert response.status_code == 415


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (f'{{ patient(id: {{ x: "{CANARY}" }}) {{ id }} }}', None),
        (f'{{ searchPatients(by: {{ phone: "1" }}, first: "{CANARY}") {{ edges {{ cursor }} }} }}', None),
        (f'{{ patient(id: "{CANARY}" "{CANARY}") {{ id }} }}', None),
        (f'{{ accessEvents(filter: {{ outcome: "{CANARY}" }}) {{ edges {{ cursor }} }} }}', None),
        ("query ($f: Int) { accessEvents(first: $f) { edges { cursor } } }", {"f": CANARY}),
        ("query ($f: AccessEventFilter) { accessEvents(filter: $f) { __typename } }", {"f": {"outcome": CANARY}}),
        ("query ($f: AccessEventFilter) { accessEvents(filter: $f) { __typename } }", {"f": {"to": {"x": CANARY}}}),
    ],
)
async def test_no_submitted_value_comes_back(query: str, variables: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a message, not in an extension, not in a log line, whoever asks."""
    with caplog.at_level(logging.DEBUG):
        async with speaking(Settings(open_introspection=True)) as speaker:
            response = await speaker.post({"query": query, "variables": variables}, role="compliance_officer")
    assert "errors" in response.json()
    assert CANARY not in f"{response.text} {caplog.text} {response.headers}"


async def test_closed_mode_says_nothing_about_the_schema(speaker: Speaker) -> None:
    """Without `schema:read` a wrong document is wrong, and introspection is forbidden; an operator is told more."""
    _, answer = await speaker.ask("{ patients { displayNam } }")
    assert [error["message"] for error in answer["errors"]] == ["The document does not fit the schema."]
    assert "locations" not in answer["errors"][0]
    assert code((await speaker.ask("{ __schema { types { name } } }"))[1]) == "FORBIDDEN"
    assert code((await speaker.ask('{ __type(name: "Patient") { name } }'))[1]) == "FORBIDDEN"
    assert (await speaker.ask("{ __typename }"))[1] == {"data": {"__typename": "Query"}}
    _, answer = await speaker.ask("{ viewer { nam } }", "operator")
    assert "'nam'" in answer["errors"][0]["message"]
    assert "Did you mean" not in json.dumps(answer)
    assert "data" in (await speaker.ask("{ __schema { types { name } } }", "operator"))[1]


async def test_services_get_plain_values(speaker: Speaker) -> None:
    """Names in snake_case, codes as text, omitted apart from null, and the version as it came."""
    mutation = "mutation ($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { version } }"
    given = {
        "patientId": "ann", "expectedVersion": 3, "timeZone": None, "interpreterNeeded": "YES",
        "contactWindows": [{"days": ["MON"], "from": "09:00", "to": "17:00", "timeZone": "Europe/London"}],
    }  # fmt: skip
    _, answer = await speaker.ask(mutation, variables={"input": given})
    assert answer == {"data": {"updatePreferences": {"version": 3}}}
    expected = {
        "time_zone": None, "interpreter_needed": "YES",
        "contact_windows": [{"days": ["MON"], "from_": "09:00", "to": "17:00", "time_zone": "Europe/London"}],
    }  # fmt: skip
    assert speaker.services.calls[0].values == ("ann", 3, expected)
    assert type(speaker.services.calls[0].values[2]["interpreter_needed"]) is str


async def test_answers_are_translated(speaker: Speaker) -> None:
    """Needs are put together again, keys get their GraphQL names, a verification becomes a yes."""
    query = """{ patient(id: "ann") { culturalNeeds { id kind handling } contactWindows { from to timeZone }
      contactPoints { verified } languages { tag } } }"""
    _, answer = await speaker.ask(query, "clinician")
    assert answer["data"]["patient"] == {
        "culturalNeeds": [{"id": "n1", "kind": "MODESTY", "handling": "Offer a chaperone."}],
        "contactWindows": [{"from": "09:00", "to": "17:00", "timeZone": "Europe/London"}],
        "contactPoints": [{"verified": True}],
        "languages": None,
    }


async def test_pages(speaker: Speaker) -> None:
    """Connections have edges, cursors and page info; page sizes outside 1 to 100 are refused by name."""
    query = """query ($n: Int) { searchPatients(by: { phone: "1" }, first: $n) {
      edges { cursor node { id } } pageInfo { hasNextPage endCursor } } }"""
    _, answer = await speaker.ask(query)
    assert answer["data"]["searchPatients"] == {
        "edges": [{"cursor": "cursor", "node": {"id": "ann"}}],
        "pageInfo": {"hasNextPage": True, "endCursor": "cursor"},
    }  # fmt: skip
    assert speaker.services.calls[0].values[1] == 25
    for size in (0, -1, 101):
        _, answer = await speaker.ask(query, variables={"n": size})
        told = {"code": "VALIDATION_FAILED", "field": "first", "rule": "out_of_range"}
        assert answer["errors"][0]["extensions"] == told


async def test_batches(speaker: Speaker) -> None:
    """Each id is answered or refused on its own, in order; 1,001 ids are too many."""
    query = """query ($ids: [ID!]!) { patients(ids: $ids) {
      __typename ... on Patient { id } ... on Refusal { id code } } }"""
    _, answer = await speaker.ask(query, variables={"ids": ["nobody", "ann"]})
    assert answer["data"]["patients"] == [
        {"__typename": "Refusal", "id": "nobody", "code": "NOT_FOUND"}, {"__typename": "Patient", "id": "ann"},
    ]  # fmt: skip
    _, answer = await speaker.ask(query, variables={"ids": ["x"] * 1001})
    assert (answer["errors"][0]["extensions"], "data" in answer) == ({"code": "BATCH_TOO_LARGE", "limit": 1000}, False)


async def test_the_other_addresses(speaker: Speaker) -> None:
    """Alive, ready, numbers, and nothing else; none of them may be kept."""
    found = {
        "/healthz": 200,
        "/readyz": 200,
        "/metrics": 200,
        "/nope": 404,
        "/graphql/": 404,
        "/graphiql/start.js": 404,
    }
    for path, status in found.items():
        response = await speaker.http.get(path)
        assert (response.status_code, response.headers["cache-control"]) == (status, "no-store"), path


async def test_metrics_name_nobody(speaker: Speaker) -> None:
    """Labels are statuses and codes; what was asked is not among them."""
    await speaker.ask('query Secret { patient(id: "ann") { id } }', x_request_id="req-77")
    await speaker.post({"query": READ}, role=None)
    text = (await speaker.http.get("/metrics")).text
    assert 'heed_http_requests_total{code="none",status="200"} 1.0' in text
    assert 'heed_http_requests_total{code="UNAUTHENTICATED",status="401"} 1.0' in text
    assert not [word for word in ("ann", "Secret", "req-77") if f'"{word}"' in text]


async def test_the_page_is_for_development_only(speaker: Speaker) -> None:
    """A browser gets GraphiQL in development, from this server alone; in production it gets nothing to look at."""
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    assert (await speaker.http.get("/graphql", headers=browser)).status_code == 405
    async with speaking(Settings(development=True)) as client:
        page = await client.http.get("/graphql", headers=browser)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "//" not in page.text.replace("<!doctype", "")
        query = await client.http.get("/graphql", params={"query": READ})
        assert (query.status_code, query.headers["allow"]) == (405, "POST, OPTIONS")  # GET is for the page alone
        loaded = [part.split('"')[0] for part in page.text.split('="graphiql/')[1:]]
        assert loaded
        for asset in loaded:
            response = await client.http.get(f"/graphiql/{asset}")
            assert response.status_code == 200, asset
        assert (await client.http.get("/graphiql/..%2fhttp.py")).status_code == 404
