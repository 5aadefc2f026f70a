"""What JavaScript clients make of the service: a real one with real tokens, on a socket.

Each asks the same questions (tests/conformance/node/clients.mjs), and must hand the same to its caller.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auth.roles import Role
from schema.settings import Settings
from tests import node
from tests.conftest import Databases
from tests.listening import Reachable, reachable

CLIENTS = ["apollo", "apolloPersisted", "urql", "graphqlRequest", "graphqlHttp", "graphqlSse", "graphqlWs"]

LEFT = Counter(
    {("read", "ok"): 3, ("query", "ok"): 2, ("update", "ok"): 1, ("read", "denied"): 3, ("update", "denied"): 1}
)
"""What the questions leave in the log: a search leaves an event of its own, and one of whom it found."""
CACHED = Counter({("read", "ok"): 1, ("update", "ok"): 1})


def plain(value: Any) -> Any:
    """A value without the `__typename` that some clients ask for, except where the document asked itself."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if name != "__typename"}
    return value


def refused(answer: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """What there was of data, and the error codes."""
    return plain(answer["data"]), answer["codes"]


def check_reads(told: Mapping[str, Any], sam: Mapping[str, Any]) -> None:
    """Fragments, variables, directives, unions and connections come whole."""
    assert [told[each]["codes"] for each in ("card", "short card", "batch", "search")] == [[]] * 4
    card = plain(told["card"]["data"]["patient"])
    points = card.pop("contactPoints")
    assert (card["id"], card["pronouns"], card["languages"][0]) == (
        sam["id"], "they/them", {"tag": "so", "modes": ["SPOKEN"], "rank": 1},
    )  # fmt: skip
    assert [(point["value"], point["verification"]["status"]) for point in points] == [("+447700900123", "UNVERIFIED")]
    assert plain(told["short card"]["data"]["patient"]) == card
    found, unknown = told["batch"]["data"]["patients"]
    assert (found["__typename"], plain(found)) == ("Patient", card)
    assert (unknown["__typename"], unknown["code"]) == ("Refusal", "NOT_FOUND")
    page = plain(told["search"]["data"]["searchPatients"])
    assert [edge["node"] for edge in page["edges"]] == [card]
    assert page["pageInfo"] == {"hasNextPage": False, "endCursor": page["edges"][0]["cursor"]}


def check_refusals(told: Mapping[str, Any]) -> None:
    """An error's code reaches whoever asked, with the data that there is."""
    assert refused(told["stale change"]) == ({"updatePreferences": None}, ["VERSION_CONFLICT"])
    assert refused(told["unknown"]) == ({"patient": None}, ["NOT_FOUND"])
    assert refused(told["forbidden"]) == (None, ["FORBIDDEN_FIELD"])
    assert refused(told["wrong variables"]) == (None, ["VALIDATION_FAILED"])
    assert refused(told["nobody"]) == (None, ["UNAUTHENTICATED"])


async def asked(here: Reachable, patient_id: str) -> dict[str, Any]:
    """What the clients were told, each with a token in its own name."""
    tokens = {name: here.token(Role.FRONT_DESK, subject=name) for name in CLIENTS}
    told: dict[str, Any] = await node.run("clients.mjs", here.address, patient_id, json.dumps(tokens))
    return told


async def test_clients_are_told_the_same_and_leave_the_same(databases: Databases, tmp_path: Path) -> None:
    """Apollo Client, also with persisted queries, urql, graphql-request, -http, -sse, -ws; and what is in the log."""
    async with reachable(databases.create("sqlite"), tmp_path, Settings(persisted_queries=True)) as here:
        sam = await here.house.register()
        told = await asked(here, sam["id"])
        cache = told.pop("cache")
        events = await here.house.events()
    assert list(told) == CLIENTS
    for version, (name, answers) in enumerate(told.items(), start=2):
        check_reads(answers, sam)
        check_refusals(answers)
        changed = {"updatePreferences": {"id": sam["id"], "version": version, "preferredName": name}}
        assert refused(answers["change"]) == (changed, [])
    assert cache == {"before": len(CLIENTS) + 1, "after": len(CLIENTS) + 2}
    for name in CLIENTS:
        left = Counter((event["action"], event["outcome"]) for event in events if event["actor"]["subject"] == name)
        assert left == LEFT + (CACHED if name == "apollo" else Counter()), name
