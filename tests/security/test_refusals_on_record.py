"""What is refused before the policy is asked: on record, without letting anybody fill a log that only grows."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crm.errors import AuditUnavailable
from crm.services.refusals import NOBODY, Refusals
from crm.services.request import Request
from crm.store.unit import Store
from schema.documents import label_of
from tests.client import client
from tests.house import House, house
from tests.speaking import FakeServices, code, speaking


class Stopped:
    """A clock that stands still until it is moved, in microseconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def nobody(tmp_path: Path, database_url: str) -> AsyncIterator[tuple[House, Refusals, Stopped]]:
    """A service, the refusals of a process with a clock of the test's own, and that clock."""
    clock = Stopped()
    async with house(database_url, tmp_path) as it:
        store = it.services.store
        yield it, Refusals(Store(store.database, store.keys, it.log, clock)), clock


async def test_a_flood_of_bad_tokens_is_summed(nobody: tuple[House, Refusals, Stopped]) -> None:
    """Twenty events of one second stand alone; the others become one for each reason, and none is lost."""
    it, refusals, clock = nobody
    for number in range(500):
        await refusals.refuse("signature" if number % 5 else "expired", Request(f"r-{number}", "http"))
    assert len(await it.leaves(org=NOBODY)) == 20
    await refusals.flush()
    leaves = await it.leaves(org=NOBODY)
    assert [(leaf["why"], leaf["cnt"]) for leaf in leaves[20:]] == [("expired", 96), ("signature", 384)]
    assert {leaf["req"] for leaf in leaves[:20]} == {f"r-{number}" for number in range(20)}
    assert all((leaf["act"], leaf["out"]) == ("login", "denied") for leaf in leaves)
    clock.now += 1_000_000
    await refusals.refuse("missing", Request("later", "http"))
    assert (await it.leaves(org=NOBODY))[-1]["req"] == "later"
    await refusals.close()
    assert len(await it.leaves(org=NOBODY)) == 23


async def test_sums_are_recorded_without_being_asked_for(nobody: tuple[House, Refusals, Stopped]) -> None:
    """A second later they are in the log."""
    it, refusals, _ = nobody
    for _ in range(30):
        await refusals.refuse("missing", Request("r", "http"))
    while not (sums := [leaf for leaf in await it.leaves(org=NOBODY) if "cnt" in leaf]):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert [leaf["cnt"] for leaf in sums] == [10]
    await refusals.close()


async def test_sums_outlast_a_log_that_is_away(nobody: tuple[House, Refusals, Stopped]) -> None:
    """What the log does not take is kept, and taken with the next."""
    it, refusals, _ = nobody
    for _ in range(30):
        await refusals.refuse("missing", Request("r", "http"))
    await it.log.stop()
    with pytest.raises(AuditUnavailable):
        await refusals.flush()
    await it.log.start()
    await refusals.close()
    assert [leaf["cnt"] for leaf in await it.leaves(org=NOBODY) if "cnt" in leaf] == [10]


BATCH = "query Batch($ids: [ID!]!) { patients(ids: $ids) { __typename } }"
TWO = "query Batch($ids: [ID!]!) { a: patients(ids: $ids) { __typename } b: patients(ids: $ids) { __typename } }"
WIDE = "query Wide { viewer { " + "org " * 401 + "} }"
CROSSED = "query Crossed { viewer { " + "org " * 390 + "} }"


@pytest.mark.parametrize(
    ("query", "ids", "recorded"),
    [
        (BATCH, 1_001, ("BATCH_TOO_LARGE", "read", 1_001, "Batch")),
        (TWO, 600, ("QUERY_TOO_COSTLY", "read", 1_200, "Batch")),
        (WIDE, 0, ("QUERY_TOO_COSTLY", "query", None, label_of(WIDE))),
        (CROSSED, 0, ("QUERY_TOO_COSTLY", "query", None, label_of(CROSSED))),
        (BATCH, 40_000, ("QUERY_TOO_COSTLY", "query", None, "http")),
    ],
    ids=["ids", "records", "fields", "validation", "octets"],
)
async def test_refused_mass_reads_are_recorded(
    database_url: str, tmp_path: Path, query: str, ids: int, recorded: tuple[str, str, int | None, str]
) -> None:
    """One denied event: who, why, and how many ids where that is known; not which."""
    asked = [f"id-{number}" for number in range(ids)]
    async with client(database_url, tmp_path) as it:
        answer, [leaf] = await it.watched(query, variables={"ids": asked} if ids else None)
    assert code(answer.json()) == recorded[0]
    assert (leaf["why"], leaf["act"], leaf.get("cnt"), leaf["op"]) == recorded
    assert (leaf["out"], leaf["who"]["sub"], "pat" in leaf) == ("denied", "front_desk-1", False)
    assert "id-" not in str(leaf)


async def test_what_names_no_patient_is_not_recorded(database_url: str, tmp_path: Path) -> None:
    """Documents that cannot be parsed or do not fit, and malformed requests, leave nothing behind."""
    async with client(database_url, tmp_path) as it:
        for query in ("{", "{ nope }", "query Q($id: ID!) { patient(id: $id) { id } }"):
            assert (await it.watched(query))[1] == []


async def test_a_refusal_that_cannot_be_recorded_is_not_told() -> None:
    """503 instead, also for what is refused before it becomes an operation."""

    async def fail() -> None:
        raise AuditUnavailable

    async with speaking(services=FakeServices(before=fail)) as speaker:
        assert code((await speaker.ask(WIDE))[1]) == "AUDIT_UNAVAILABLE"
        response = await speaker.post({"query": WIDE + " " * 102_400})
        assert (response.status_code, code(response.json())) == (503, "AUDIT_UNAVAILABLE")
