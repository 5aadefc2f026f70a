"""The officers' questions against a log of six years with needles in it, on both engines: found, and by an index."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from auth.roles import Role
from tests.client import Client, client
from tests.conftest import Databases
from tests.house import now
from tests.officers import Needles, Watched, fill, plan, questions, scanned

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = 15_000


@dataclass(frozen=True)
class Office:
    """A client of a service with that log."""

    url: str
    client: Client
    known: Needles
    database: Watched


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    """The log, and whoever asks."""
    url = databases.create(shared_engine)
    known = await fill(url, events=EVENTS, patients=2_000, staff=100, end=now() - 60_000_000)
    watched: list[Watched] = []

    def watch(database: Any) -> Any:
        watched.append(Watched(database))
        return watched[0]

    async with client(url, tmp_path_factory.mktemp("office"), database=watch) as served:
        yield Office(url, served, known, watched[0])
    databases.drop(url)


async def answer(office: Office, what: str) -> Any:
    """The answer to one of the questions, below its root field."""
    data = await office.client.data(questions(office.known)[what], Role.COMPLIANCE_OFFICER)
    return next(iter(data.values()))


async def nodes(office: Office, what: str) -> list[dict[str, Any]]:
    """The events of a page."""
    return [edge["node"] for edge in (await answer(office, what))["edges"]]


async def test_the_needles_are_found(office: Office) -> None:
    """Each question answers with what was put into the log, and with nothing else."""
    known = office.known
    viewers = await answer(office, "all viewers of the hottest patient")
    assert viewers["complete"] is (known.viewers <= 100)
    asked = f'filter: {{ patientId: "{known.hot}" }}, groupBy: [ACTOR], first: 1000'
    everybody = await office.client.data(f"{{ accessSummary({asked}) {{ rows {{ events }} }} }}", Role.PRIVACY_OFFICER)
    found = everybody["accessSummary"]["rows"]
    # The look of a moment ago names the patient too: it is the officer's one event.
    assert (len(found), sum(row["events"] for row in found)) == (known.viewers + 1, known.views + 1)
    seen = await answer(office, "what somebody saw in 30 days")
    assert len(seen["rows"]) == 100
    assert not seen["complete"]
    anomalies = await answer(office, "far more patients than before")
    assert [(row["actor"], row["patients"]) for row in anomalies["rows"]] == [(known.snoop, 180)]
    assert anomalies["complete"]
    refusals = {row["actor"]: row["refused"] for row in (await answer(office, "refusals by person, 7 days"))["rows"]}
    assert refusals[known.thief] == 40
    accounting = await answer(office, "disclosures of a patient, 6 years")
    assert len(accounting["disclosures"]) == known.recipients > 0
    whole = await answer(office, "is the log whole")
    assert (whole["contiguous"], whole["checkedFrom"]) == (True, 0)


async def test_the_events_are_found(office: Office) -> None:
    """Pages of events hold those that they are asked for."""
    known = office.known
    assert {node["actor"]["subject"] for node in await nodes(office, "one session")} == {known.thief}
    assert len(await nodes(office, "one session")) == 40
    [one] = await nodes(office, "one request")
    assert (one["actor"]["subject"], one["flags"]) == (known.cousin, ["BREAK_GLASS"])
    assert (await nodes(office, "under break-glass"))[0]["id"] == one["id"]
    kin = await nodes(office, "own record, surname, address, 30 days")
    assert (kin[0]["actor"]["subject"], kin[0]["flags"]) == (known.cousin, ["SAME_SURNAME"])
    assert all({"SELF_ACCESS", "SAME_SURNAME", "SAME_ADDRESS"} & set(node["flags"]) for node in kin)
    assert all("VIP" in node["flags"] for node in await nodes(office, "VIPs"))


async def test_no_question_scans_the_log(office: Office) -> None:
    """Every statement of every question walks an index of the log, and reads neither it nor the days as a whole."""
    walked: dict[str, list[str]] = {}
    for what, query in questions(office.known).items():
        office.database.asked.clear()
        await office.client.data(query, Role.COMPLIANCE_OFFICER)
        asked = list(office.database.asked)
        assert asked
        walked[what] = [await plan(office.url, statement, params) for statement, params in asked]
    scans = [(what, one) for what, plans in walked.items() for one in plans if scanned(one)]
    assert scans == []
    for what, index in INDEXES.items():
        assert any(f"ix_audit_event_{index}" in one for one in walked[what]), f"{what}: " + "\n".join(walked[what])


INDEXES = {
    "who saw a patient": "patient",
    "who saw the hottest patient": "patient",
    "all viewers of the hottest patient": "patient",
    "what somebody saw in 30 days": "actor",
    "under break-glass": "break_glass",
    "after hours by person, 30 days": "flagged",
    "own record, surname, address, 30 days": "kin",
    "refusals by person, 7 days": "refused",
    "disclosures of a patient, 6 years": "disclosed",
    "one request": "request",
    "one session": "actor",
}
"""The index by which a question must be answered on both engines; the others may choose between good ones."""
