"""Floods: what anybody can send without a token, or many times with one, costs little and starves nobody."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn

from commands import serving
from commands.protocol import BoundedHttp
from schema import media
from schema.app import create_app
from schema.documents import Documents, Invalidities
from schema.sdl import build_schema
from schema.settings import Settings
from tests.speaking import FakeServices, Tokens, code, ready, speaking

JSON = "application/json"
POST = b"POST /graphql HTTP/1.1\r\nhost: heed.test\r\nauthorization: Bearer front_desk\r\ncontent-type: %b\r\n" % (
    JSON.encode()
)
READ = '{ patient(id: "ann") { id displayName } }'

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def parsed() -> int:
    """How many Accept headers were parsed so far."""
    return media._ranges.cache_info().misses


@pytest.mark.parametrize(
    "accept",
    [
        ",".join(["*/*"] * 33),
        ",".join(["*/*"] * 1_000),
        f"{JSON}; x={'y' * 1_000}",
        ", " * 16_000 + JSON,
        'a/b; a="' + ";" * 16_000 + '"',
    ],
    ids=["33 entries", "1,000 entries", "1,000 characters", "nothing between commas", "semicolons"],
)
async def test_an_endless_accept_header_is_not_parsed(accept: str, parsed: int) -> None:
    """It accepts nothing: 406 before a token is looked at, and without looking into the header."""
    async with speaking() as speaker:
        response = await speaker.post({"query": READ}, role=None, accept=accept)
    assert (response.status_code, code(response.json())) == (406, "VALIDATION_FAILED")
    assert media._ranges.cache_info().misses == parsed
    assert speaker.services.refusals == []


async def test_each_accept_header_is_parsed_once() -> None:
    """However often it comes, for however many media types; 32 entries are allowed."""
    accept = ",".join([*(f"x/y{n}" for n in range(31)), JSON])
    before = media._ranges.cache_info().misses
    for _ in range(3):
        assert media.accepted(accept) == JSON
        assert media.accepted(accept, (media.HTML,)) is None
    assert media._ranges.cache_info().misses == before + 1


async def test_an_endless_content_type_is_not_parsed() -> None:
    """It declares nothing that is read here."""
    before = media._is_json.cache_info().misses
    async with speaking() as speaker:
        response = await speaker.post({"query": READ}, content_type=f'{JSON}; a="' + ";" * 16_000 + '"')
    assert response.status_code == 415
    assert media._is_json.cache_info().misses == before


# --- what HTTP itself would read forever -----------------------------------------------------------------------------


@asynccontextmanager
async def listening(
    settings: Settings | None = None, **bounds: float
) -> AsyncIterator[Callable[[], Awaitable[Connection]]]:
    """Opens connections to the application as it is really served; `bounds` replace those of the protocol."""
    config = serving._config(create_app(FakeServices(), Tokens(), settings or Settings(), ready))
    config.http = type("Bounded", (BoundedHttp,), bounds)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listener]))
        opened: list[asyncio.StreamWriter] = []

        async def connect() -> Connection:
            reader, writer = await asyncio.open_connection(*address)
            opened.append(writer)
            return reader, writer

        try:
            yield connect
        finally:
            for writer in opened:
                writer.close()
            server.should_exit = True
            await task


async def poured(connection: Connection, start: bytes, rest: bytes, times: int) -> bytes:
    """What the server says when `start` is followed by `rest` again and again, until it closes the connection."""
    reader, writer = connection
    writer.write(start)
    answer = asyncio.create_task(everything(reader))
    with suppress(OSError):
        for _ in range(times):
            writer.write(rest)
            await writer.drain()
    return await answer


async def everything(reader: asyncio.StreamReader) -> bytes:
    """All octets up to the end of the connection, however it ends."""
    octets = b""
    with suppress(OSError):
        while piece := await reader.read(65_536):
            octets += piece
    return octets


ENDLESS = {
    "a header's value": (POST + b"x-a: ", b"a" * 65_536),
    "headers": (POST, b"x-a: b\r\n" * 8_192),
    "a header's name": (POST, b"a" * 65_536),
    "a path": (b"GET /graphql?query=", b"a" * 65_536),
    "a method": (b"", b"A" * 65_536),
    "empty lines": (b"", b"\r\n" * 32_768),
    "the size of a chunk": (POST + b"transfer-encoding: chunked\r\n\r\n1;a=", b"a" * 65_536),
    "headers behind a body": (POST + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x-a: b\r\n" * 8_192),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_nothing_is_read_without_end(what: str) -> None:
    """The server closes the connection long before the flood ends, and answers the next caller."""
    start, rest = ENDLESS[what]
    async with listening() as connect:
        said = await poured(await connect(), start, rest, 1_000)
        assert b"HTTP/1.1 200" not in said
        assert await asked(await connect()) == 200


async def asked(connection: Connection, more: bytes = b"", body: bytes = b'{"query": "{ viewer { org } }"}') -> int:
    """The status of a whole answer to a whole request."""
    reader, writer = connection
    writer.write(POST + more + b"content-length: %d\r\n\r\n" % len(body) + body)
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split()[1])


async def test_where_the_bound_is() -> None:
    """A head of a little less than 16 KiB is fine, request after request; a larger one is 431 and the end."""
    async with listening() as connect:
        connection = await connect()
        for _ in range(5):
            assert await asked(connection, b"x-a: " + b"a" * 15_000 + b"\r\n") == 200
        assert await asked(connection, body=b'{"query": "{ viewer { org } }"' + b" " * 90_000 + b"}") == 200
        _, writer = connection
        writer.write(POST + b"x-a: " + b"a" * 16_384)
        said = await everything(connection[0])
    assert said.startswith(b"HTTP/1.1 431 ")
    assert b"connection: close" in said


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"", b""),
        (b"GET /", b"HTTP/1.1 408 "),
        (POST + b"x-a: ", b"HTTP/1.1 408 "),
        (b"GET /nowhere HTTP/1.1\r\nhost: heed.test\r\ncontent-length: 10\r\n\r\n1", b"HTTP/1.1 404 "),
    ],
    ids=["nothing", "half a path", "half a head", "a body behind its answer"],
)
async def test_nobody_is_waited_for_without_end(start: bytes, said: bytes) -> None:
    """Whoever says nothing, or dribbles, loses the connection; the answer that came before stays."""
    async with listening(patience=0.2) as connect:
        reader, writer = await connect()
        writer.write(start)
        answer = asyncio.create_task(everything(reader))
        while not answer.done():
            if start:
                writer.write(b"1")
            await asyncio.sleep(0.05)
        assert (await answer).startswith(said)
        assert await asked(await connect()) == 200


async def test_a_pipeline_has_an_end() -> None:
    """Requests sent without waiting for answers do not queue up: the connection is closed long before all are taken."""
    async with listening() as connect:
        said = await poured(await connect(), b"", b"GET /healthz HTTP/1.1\r\nhost: heed.test\r\n\r\n" * 4_096, 50)
    assert said.count(b"HTTP/1.1 200") < 4_096


# --- places ----------------------------------------------------------------------------------------------------------


async def test_senders_of_bodies_take_no_place_from_others() -> None:
    """Bodies that dribble are waited for apart from requests at work, and give up sooner: 408, connection closed."""
    settings = Settings(in_flight=4, body_deadline=0.5)
    half = POST.replace(b"front_desk", b"front_desk@slow") + b"content-length: 100\r\n\r\n{"
    async with listening(settings) as connect:
        slow = [await connect() for _ in range(4)]
        for _, writer in slow:
            writer.write(half)
        assert await asked(await connect()) == 200
        said = await everything(slow[0][0])
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in said
    assert b'"OVERLOADED"' in said


async def test_one_caller_gets_a_quarter() -> None:
    """One token cannot take all places: RATE_LIMITED for its caller, an answer for the others."""
    gate = asyncio.Event()
    full = asyncio.Barrier(3)

    async def wait() -> None:
        await full.wait()
        await gate.wait()

    async with speaking(Settings(in_flight=8), FakeServices(before=wait)) as speaker:
        held = [asyncio.create_task(speaker.ask(READ, "front_desk@ada")) for _ in range(2)]
        await full.wait()
        speaker.services.before = None
        response = await speaker.post({"query": READ}, "front_desk@ada")
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        assert code(response.json()) == "RATE_LIMITED"
        assert (await speaker.ask(READ, "front_desk@bo"))[0] == 200
        gate.set()
        assert [status for status, _ in await asyncio.gather(*held)] == [200, 200]
        assert (await speaker.ask(READ, "front_desk@ada"))[0] == 200


async def test_bodies_have_shares_too() -> None:
    """A caller's quarter holds for bodies on their way as well."""
    settings = Settings(in_flight=1, body_deadline=60)
    async with listening(settings) as connect:
        slow = await connect()
        slow[1].write(POST + b"content-length: 100\r\n\r\n{")
        while await asked(await connect()) == 200:  # noqa: ASYNC110 - until the half request has arrived
            await asyncio.sleep(0)
        assert await asked(await connect()) == 429


# --- what looks small ------------------------------------------------------------------------------------------------

LONG = "x" * 201
CROSSED = "query Crossed { viewer { " + "org " * 390 + "} }"
CRITERIA = [
    ({"phone": LONG}, "by.phone"),
    ({"email": LONG}, "by.email"),
    ({"fullName": LONG}, "by.fullName"),
    ({"familyName": LONG, "birthDate": "1980"}, "by.familyName"),
    ({"familyName": "x", "birthDate": LONG}, "by.birthDate"),
    ({"identifier": {"system": LONG, "value": "x"}}, "by.identifier.system"),
    ({"identifier": {"system": "x", "value": LONG}}, "by.identifier.value"),
]


@pytest.mark.parametrize(("by", "field"), CRITERIA)
async def test_long_criteria_are_not_looked_at(by: dict[str, Any], field: str) -> None:
    """No folding, no parsing: refused by its length, by name, on record, and before any service is asked."""
    query = "query Find($by: PatientSearch!) { searchPatients(by: $by) { edges { cursor } } }"
    async with speaking() as speaker:
        _, answer = await speaker.ask(query, variables={"by": by})
        assert answer["errors"][0]["extensions"] == {"code": "VALIDATION_FAILED", "field": field, "rule": "too_long"}
        assert speaker.services.calls == []
        assert speaker.services.refusals == [("VALIDATION_FAILED", "Find", "u-1, None ids")]


async def test_long_criteria_in_literals_and_identifiers() -> None:
    """It does not matter how a criterion comes; 200 characters are fine."""
    by_identifier = 'query ($v: String!) { patientByIdentifier(system: "urn:x", value: $v) { id } }'
    async with speaking() as speaker:
        _, answer = await speaker.ask(f'{{ searchPatients(by: {{ phone: "{LONG}" }}) {{ edges {{ cursor }} }} }}')
        assert answer["errors"][0]["extensions"]["field"] == "by.phone"
        _, answer = await speaker.ask(by_identifier, variables={"v": LONG})
        assert answer["errors"][0]["extensions"]["field"] == "value"
        _, answer = await speaker.ask(by_identifier, variables={"v": LONG[:200]})
        assert "errors" not in answer


async def test_a_refused_document_is_validated_once() -> None:
    """Its problems are remembered; only so many, by digest, and apart from the documents that passed."""
    documents = Documents(build_schema(), Settings().limits, count=2, size=10_000, refused=3)
    documents.get("{ __typename }")
    with pytest.raises(Invalidities) as first:
        documents.get(CROSSED)
    with pytest.raises(Invalidities) as second:
        documents.get(CROSSED)
    assert second.value.public is first.value.public
    assert second.value is not first.value
    for number in range(10):
        with pytest.raises(Invalidities):
            documents.get(f"{{ x{number} }}")
    assert (len(documents), documents.refused) == (1, 3)


@pytest.mark.parametrize("directive", ["include", "skip"])
@pytest.mark.parametrize("query", ["{ patient(id: $id) { id @%s(if: $x) } }", "{ __typename @%s(if: $x) }"])
async def test_a_condition_that_is_null(query: str, directive: str) -> None:
    """A default lets a nullable variable through validation; null in it is the caller's mistake, not ours."""
    text = 'query Q($x: Boolean = true, $id: ID = "ann") ' + query % directive
    if "$id" not in query:
        text = text.replace(', $id: ID = "ann"', "")
    async with speaking() as speaker:
        _, answer = await speaker.ask(text, variables={"x": None})
        assert answer["errors"][0]["extensions"] == {"code": "VALIDATION_FAILED", "field": directive}
        assert "data" not in answer
