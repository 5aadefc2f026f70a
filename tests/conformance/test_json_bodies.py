"""Bodies that torture readers of JSON: the files of JSONTestSuite, as bodies and inside them, and more of the kind.

Whatever comes, the answer is typed: a body is refused with 400 (413 where it is too large), or read in one way only.
"""

import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from websockets.exceptions import ConnectionClosed

from schema.settings import Settings
from tests.sockets import listening
from tests.speaking import Speaker, code, speaking

VECTORS = Path(__file__).with_name("vectors") / "json_bodies.json"
PLAIN = b'{"query": "{ viewer { org } }"'
PLACES = {
    "extensions": PLAIN + b', "extensions": {"x": %b}}',
    "variables": PLAIN + b', "variables": {"x": %b}}',
    "another name": PLAIN + b', "reserved": %b}',
}
REFUSED = {
    "y_object_duplicated_key": "GRAPHQL_PARSE_FAILED",  # two readers could take two requests out of these
    "y_object_duplicated_key_and_value": "GRAPHQL_PARSE_FAILED",
    "y_object_escaped_null_in_key": "VALIDATION_FAILED",  # PostgreSQL cannot store the character
    "y_string_null_escape": "VALIDATION_FAILED",
    "i_structure_500_nested_arrays": "QUERY_TOO_COSTLY",
}
"""Well-formed, and refused all the same."""

AS_THEY_ARE = {
    "i_number_double_huge_neg_exp",
    "i_number_real_underflow",
    "i_number_too_big_neg_int",
    "i_number_too_big_pos_int",
    "i_number_very_big_negative_int",
}
"""What RFC 8259 leaves to the reader, and this one takes: numbers that a double holds, if not exactly."""


def _octets(entry: Any) -> bytes:
    text = entry["repeat"] * entry["times"] + entry["then"] if isinstance(entry, dict) else entry
    return str(text).encode("latin-1")


FILES = {name: _octets(entry) for name, entry in json.loads(VECTORS.read_text("utf-8"))["files"].items()}


async def answer(speaker: Speaker, body: bytes) -> tuple[int, str | None]:
    """Status and code of the answer to a body; one that refuses has no data."""
    response = await speaker.post(body)
    found = response.json()
    assert ("data" in found) != ("errors" in found), body
    return response.status_code, code(found) if "errors" in found else None


async def test_each_file_as_a_body() -> None:
    """None is a request: what is no JSON text is said to be none, and nothing else is."""
    seen: dict[str, set[Any]] = {"y": set(), "n": set(), "i": set()}
    async with speaking() as speaker:
        for name, octets in FILES.items():
            if name in REFUSED:
                assert await answer(speaker, octets) == (400, REFUSED[name])
            else:
                seen[name[0]].add(await answer(speaker, octets))
        assert speaker.services.calls == []
        assert (await speaker.ask("{ viewer { org } }"))[0] == 200
    assert len(FILES) == 318
    assert seen["y"] == {(400, "VALIDATION_FAILED")}
    assert seen["n"] == {(400, "GRAPHQL_PARSE_FAILED"), (413, "QUERY_TOO_COSTLY")}
    assert seen["i"] == {(400, "GRAPHQL_PARSE_FAILED"), (400, "VALIDATION_FAILED")}


@pytest.mark.parametrize("place", PLACES)
async def test_each_file_inside_a_body(place: str) -> None:
    """Beside a query that is answered: exactly those files that are JSON, once and in one way, are let through."""
    through: set[str] = set()
    async with speaking() as speaker:
        for name, octets in FILES.items():
            status, problem = await answer(speaker, PLACES[place] % octets)
            if status == 200:
                through.add(name)
            else:
                expected = REFUSED.get(name, "GRAPHQL_PARSE_FAILED")
                assert (status, problem) in {(400, expected), (413, "QUERY_TOO_COSTLY")}, name
    assert through == {name for name in FILES if name.startswith("y_")} - REFUSED.keys() | AS_THEY_ARE


@pytest.mark.parametrize("name", ["variables", "extensions"])
async def test_each_file_in_an_address(name: str) -> None:
    """By GET the same files are read inside a parameter, and those that are no object are refused."""
    statuses: dict[str, set[int]] = {"y": set(), "n": set(), "i": set()}
    headers = {"authorization": "Bearer front_desk"}
    async with speaking(Settings(graphql_get=True)) as speaker:
        for file, octets in FILES.items():
            if len(octets) < 10_000:  # an address cannot be longer than 16 KiB
                wrapped = quote_from_bytes(b'{"x":%b}' % octets)
                response = await speaker.http.get(f"/graphql?query={{viewer{{org}}}}&{name}={wrapped}", headers=headers)
                assert "code" in response.text or response.json()["data"], file
                statuses[file[0]].add(response.status_code)
    assert statuses == {"y": {200, 400}, "n": {400}, "i": {200, 400}}


async def test_each_file_as_a_message_and_inside_one() -> None:
    """Over WebSocket the same strictness: a message that is none ends the connection, and those inside are as above."""
    subscribe = b'{"id": "1", "type": "subscribe", "payload": %b}}'
    through: set[str] = set()
    async with speaking() as speaker, listening(speaker.app) as server:
        for name, octets in FILES.items():
            inside = subscribe % (PLACES["extensions"][:-1] % octets)
            for message in (octets, inside) if name.startswith(("n_structure", "y_structure")) else (inside,):
                async with server.line() as line:
                    await line.start()
                    with suppress(ConnectionClosed):  # the server may hang up on the first half of a large one
                        await line.socket.send(message, text=True)
                        assert (await line.hear())["payload"] == {"data": {"viewer": {"org": "north-clinic"}}}
                        through.add(name)
                        continue
                    assert (await line.closed())[0] in {4400, 1007, 1009}, name
        assert (await speaker.ask("{ viewer { org } }"))[0] == 200
    assert through == {name for name in FILES if name.startswith("y_")} - REFUSED.keys() | AS_THEY_ARE


WHOLE = json.dumps(
    {
        "query": 'query Q($ids: [ID!]!) { patients(ids: $ids) { __typename } viewer { org } }  # "é" \U0001f3e5',
        "variables": {"ids": ["ann", "bo"], "x": 1.5e3, "y": [None, True, {"a": "b\\u00e9"}]},
        "operationName": "Q",
        "extensions": {"a": {}},
    },
    ensure_ascii=False,
).encode()

ODD = {
    "a lone surrogate in the document": b'{"query": "{ viewer { org } } #\\ud800"}',
    "a lone surrogate in a variable": b'{"query": "{ viewer { org } }", "variables": {"x": "\\udc00"}}',
    "a lone surrogate in a name": b'{"query": "{ viewer { org } }", "variables": {"\\ud83d": 1}}',
    "surrogates the wrong way round": b'{"query": "{ viewer { org } }", "operationName": "\\udc00\\ud800"}',
    "a surrogate as octets": b'{"query": "{ viewer { org } } #\xed\xa0\x80"}',
    "an overlong slash": b'{"query": "{ viewer { org } } #\xc0\xaf"}',
    "half a character": b'{"query": "{ viewer { org } } #\xf0\x9f\x8f"}',
    "beyond Unicode": b'{"query": "{ viewer { org } } #\xf4\x90\x80\x80"}',
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN + b"}",
    "UTF-16": (PLAIN + b"}").decode().encode("utf-16"),
    "UTF-32": (PLAIN + b"}").decode().encode("utf-32"),
    "NUL as an octet": PLAIN + b', "operationName": "\0"}',
    "NUL between": PLAIN + b"\0}",
    "a query twice": PLAIN + b', "query": "{ me { id } }"}',
    "a query twice, once escaped": PLAIN + b', "\\u0071uery": "{ me { id } }"}',
    "a variable twice": PLAIN + b', "variables": {"a": 1, "a": 1}}',
    "a name twice, deep": PLAIN + b', "extensions": {"a": [{"b": {"c": 1, "c": 2}}]}}',
    "a name twice, far apart": PLAIN
    + b', "extensions": {'
    + b"".join(b'"k%d":1,' % n for n in range(900))
    + b'"k0":1}}',
    "NaN": PLAIN + b', "variables": {"a": NaN}}',
    "an infinite number": PLAIN + b', "variables": {"a": -Infinity}}',
    "a number that overflows": PLAIN + b', "variables": {"a": 1e400}}',
    "a comment": PLAIN + b"/* */}",
    "single quotes": PLAIN.replace(b'"', b"'") + b"}",
    "two texts": (PLAIN + b"}") * 2,
    "a text of one letter": b"{",
    "nothing but white space": b" \r\n\t",
}


async def test_no_second_reading() -> None:
    """Neither octets that are no UTF-8, nor names that come twice, nor numbers that are none make a request."""
    async with speaking() as speaker:
        answers = {what: await answer(speaker, body) for what, body in ODD.items()}
    assert answers == dict.fromkeys(ODD, (400, "GRAPHQL_PARSE_FAILED"))


async def test_deep_and_long() -> None:
    """Depth and digits end in a refusal, whatever brackets they are made of; the next request is answered."""
    opened = [b"[", b'{"a":', b'[{"a":']
    async with speaking() as speaker:
        for piece in opened:
            for times in (17, 1_000, 12_000):
                closed = b"".join({b"[": b"]", b"{": b"}"}[bytes([c])] for c in reversed(piece * times) if c in b"[{")
                body = PLAIN + b', "extensions": {"x": ' + piece * times + b"1" + closed + b"}}"
                assert await answer(speaker, body) in {(400, "QUERY_TOO_COSTLY"), (400, "GRAPHQL_PARSE_FAILED")}
        digits = PLAIN + b', "variables": {"x": ' + b"9" * 50_000 + b"}}"
        assert (await answer(speaker, digits))[0] in {200, 400}
        assert (await speaker.ask("{ viewer { org } }"))[0] == 200


async def test_whatever_octets_come() -> None:
    """A thousand requests with octets changed, left out, doubled or cut off: an answer or a refusal, never a fault."""
    dice = random.Random(7)
    async with speaking() as speaker:
        assert await answer(speaker, WHOLE) == (200, None)
        for _ in range(1_000):
            octets = bytearray(WHOLE)
            for _ in range(dice.choice((1, 1, 2, 8, 40))):
                place = dice.randrange(len(octets))
                match dice.randrange(4):
                    case 0:
                        octets[place] = dice.randrange(256)
                    case 1:
                        del octets[place : place + dice.randrange(1, 4)]
                    case 2:
                        octets[place:place] = octets[max(0, place - 5) : place]
                    case _:
                        octets[place:place] = dice.choice((b"\0", b"\xff", b"\\ud800", b'"', b"{", b"e99", b"\\u0000"))
                octets = octets or bytearray(b"{")
            body = bytes(octets[: dice.randrange(len(octets))] if dice.randrange(10) == 0 else octets)
            response = await speaker.post(body)
            assert response.status_code in {200, 400}, body
            assert "INTERNAL" not in response.text, body
