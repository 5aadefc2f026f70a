"""What changed, as a client asks: since a version, from a position, and as it happens; scenario S12 of the design."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from auth.roles import Role
from crm.crypto.positions import seal_position
from crm.services.profiles import encode_cursor
from crm.store import feed
from schema.metrics import Metrics
from tests.changes import CHANGES, FOLLOW, SINCE, change, followed, newest, since
from tests.client import Client, client
from tests.conftest import Databases
from tests.following import following
from tests.house import ORG
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """A service that all tests of this module share, which tells of changes as they happen."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path_factory.mktemp("feed"), live=True) as made:
        yield made
    databases.drop(url)


def sealed(it: Client, seq: int, at: int, org: str = ORG) -> str:
    """The position of a change."""
    return base64.urlsafe_b64encode(seal_position(it.house.services.store.keys, org, seq, at)).decode().rstrip("=")


async def somebody(it: Client) -> str:
    """The id of a new patient, at version 1."""
    return str((await it.house.register({**WHOLE, "identifiers": []}))["id"])


async def page(it: Client, first: int | None, after: str | None, role: Role = Role.INTEGRATION) -> dict[str, Any]:
    """One page of changes."""
    found: dict[str, Any] = (await it.data(CHANGES, role, variables={"first": first, "after": after}))["recordChanges"]
    return found


# --- changedSince ----------------------------------------------------------------------------------------------------


async def test_scenario_s12(it: Client) -> None:
    """Of P1 at its version, P2 that moved on and PX that is unknown: P2 with the readable fields, and PX refused."""
    first, second = await somebody(it), await somebody(it)
    for version in (1, 2, 3, 4):
        await change(it, second, version, preferred_name=f"Sam {version}", religion=f"R{version}")
    for version in range(1, 8):
        await change(it, first, version, instructions=f"Ring {version} times.")
    found = await since(it, {first: 8, second: 3, "px": 1})
    assert found == [
        {"id": second, "version": 5, "changedFields": ["displayName", "preferredName"]},
        {"id": "px", "code": "NOT_FOUND"},
    ]
    clinician = await since(it, {second: 3}, Role.CLINICIAN)
    assert clinician == [{"id": second, "version": 5, "changedFields": ["displayName", "preferredName", "religion"]}]


async def test_each_record_told_of_has_an_event(it: Client) -> None:
    """One for each that is told of or refused, and one with how many were asked about; all of one question."""
    moved, same = await somebody(it), await somebody(it)
    await change(it, moved, 1, pronouns="xe/xem")
    variables = {"known": [{"id": each, "version": 1} for each in (moved, same, "px")]}
    _, leaves = await it.watched(SINCE, variables=variables)
    told, refused, whole = leaves
    assert {leaf["act"] for leaf in leaves} == {"notify"}
    assert (told["out"], told["chg"]) == ("ok", ["pronouns"])
    assert (refused["out"], refused["why"], refused["cnt"]) == ("denied", "NOT_FOUND", 1)
    assert (whole["out"], whole["cnt"]) == ("ok", 3)
    assert len({leaf["qid"] for leaf in leaves}) == 1


async def test_a_later_version_than_there_is(it: Client) -> None:
    """Somebody knows a record from before the database was put back: it changed, and nobody knows in what."""
    patient = await somebody(it)
    assert await since(it, {patient: 7}) == [{"id": patient, "version": 1, "changedFields": None}]


async def test_the_same_record_twice(it: Client) -> None:
    """It is answered once, since the older of the versions."""
    patient = await somebody(it)
    await change(it, patient, 1, pronouns="xe/xem")
    await change(it, patient, 2, time_zone="Europe/Paris")
    variables = {"known": [{"id": patient, "version": version} for version in (2, 1, 3)]}
    found = await it.data(SINCE, variables=variables)
    [each] = found["changedSince"]
    assert each["changedFields"] == ["pronouns", "timeZone"]


async def test_nothing_known_and_too_much(it: Client) -> None:
    """An empty list is answered with one; more than 1,000 records are refused, and recorded."""
    assert await since(it, {}) == []
    assert len(await since(it, {f"u-{n}": 1 for n in range(1_000)})) == 1_000
    known = [{"id": f"u-{n}", "version": 1} for n in range(1_001)]
    answer, [leaf] = await it.watched(SINCE, variables={"known": known})
    [error] = answer.json()["errors"]
    assert (error["extensions"]["code"], leaf["why"], leaf["cnt"]) == ("BATCH_TOO_LARGE", "BATCH_TOO_LARGE", 1_001)


# --- recordChanges ---------------------------------------------------------------------------------------------------


async def test_every_change_from_a_position_in_order(it: Client) -> None:
    """Page by page all that happened since, oldest first, each once; the last page ends at the newest change."""
    after = await newest(it)
    one, other = await somebody(it), await somebody(it)
    for version in (1, 2, 3):
        await change(it, one, version, pronouns=f"p{version}")
        await change(it, other, version, pronouns=f"q{version}")
    seen: list[dict[str, Any]] = []
    position: str | None = after
    while True:
        found = await page(it, 3, position)
        assert [edge["cursor"] for edge in found["edges"]] == [edge["node"]["position"] for edge in found["edges"]]
        seen += [edge["node"] for edge in found["edges"]]
        position = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            break
    assert position == found["newest"] == await newest(it)
    assert [each["version"] for each in seen if each["id"] == one] == [1, 2, 3, 4]
    assert [each["version"] for each in seen if each["id"] == other] == [1, 2, 3, 4]
    assert [(each["id"], each["version"]) for each in seen][:2] == [(one, 1), (other, 1)]
    assert "names" in seen[0]["changedFields"]
    assert seen[-1]["changedFields"] == ["pronouns"]
    assert (await page(it, 3, position))["edges"] == []


async def test_what_may_not_be_told_is_passed_over(it: Client) -> None:
    """A page of a role that may be told of none of it is empty, and yet ends behind what it looked at."""
    patient = await somebody(it)
    after = await newest(it)
    for version in (1, 2, 3):
        await change(it, patient, version, religion=f"R{version}")
    await change(it, patient, 4, preferred_name="Ann")
    found = await page(it, 2, after, Role.MESSAGING)
    assert (found["edges"], found["pageInfo"]["hasNextPage"]) == ([], True)
    found = await page(it, 2, found["pageInfo"]["endCursor"], Role.MESSAGING)
    assert [edge["node"]["version"] for edge in found["edges"]] == [5]
    assert not found["pageInfo"]["hasNextPage"]


async def test_an_acknowledged_change_is_in_the_feed(it: Client) -> None:
    """Whoever asks after the answer to a change finds it, whether or not it had its number by then."""
    patient = await somebody(it)
    for version in range(1, 11):
        after = await newest(it)
        await change(it, patient, version, pronouns=f"p{version}")
        [edge] = (await page(it, 5, after))["edges"]
        assert edge["node"]["version"] == version + 1


@pytest.mark.parametrize("root", ["recordChanges", "profileChanged"])
async def test_positions_that_are_none(it: Client, root: str) -> None:
    """What was never a position is malformed; what is no position any more says that all has to be read anew."""
    patient = await somebody(it)
    [*_, last] = await feed.read(partial(it.house.database.fetch, ORG), ORG, 0, 999)
    whole = sealed(it, last.seq, last.at)
    changed = ("B" if whole[30] == "A" else "A").join((whole[:30], whole[31:]))
    forged = [encode_cursor(f"{last.seq}-{last.at}"), encode_cursor("0-0"), changed, sealed(it, last.seq, last.at, "x")]
    malformed = ["?", "", "ä", encode_cursor(patient), whole[:-1], *forged]
    expired = [sealed(it, last.seq, last.at + 1), sealed(it, last.seq + 9, last.at)]
    for positions, code in ((malformed, "VALIDATION_FAILED"), (expired, "POSITION_EXPIRED")):
        for position in positions:
            if root == "recordChanges":
                variables = {"after": position}
                assert await it.codes(CHANGES, Role.INTEGRATION, variables=variables) == [code], position
            else:
                async with followed(it, Role.INTEGRATION, None, position) as follower:
                    assert await follower.refused() == [code], position


async def test_a_position_that_is_not_kept_any_more(shared_engine: str, databases: Databases, tmp_path: Any) -> None:
    """After the days for which changes are kept: a typed refusal, on record; the newest position is still one."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path, live=True) as it:
        patient = await somebody(it)
        first = (await page(it, 1, None))["edges"][0]["cursor"]
        beginning = sealed(it, 0, 0)
        assert len((await page(it, 5, beginning))["edges"]) == 1
        await change(it, patient, 1, pronouns="xe/xem")
        await change(it, patient, 2, pronouns="ze/zir")
        last = await newest(it)
        assert await feed.prune(it.house.database, ORG, 2**60) == 2
        for position in (first, beginning):
            answer, [leaf] = await it.watched(CHANGES, Role.INTEGRATION, variables={"after": position})
            assert answer.json()["errors"][0]["extensions"]["code"] == "POSITION_EXPIRED"
            assert (leaf["out"], leaf["why"]) == ("denied", "POSITION_EXPIRED")
            async with followed(it, Role.INTEGRATION, None, position) as follower:
                assert await follower.refused() == ["POSITION_EXPIRED"]
        assert (await page(it, 5, last))["edges"] == []
        assert [edge["node"]["version"] for edge in (await page(it, 5, None))["edges"]] == [3]
    databases.drop(url)


@pytest.mark.parametrize("first", [0, 101])
async def test_pages_have_a_size(it: Client, first: int) -> None:
    """As all pages."""
    assert await it.codes(CHANGES, Role.INTEGRATION, variables={"first": first}) == ["VALIDATION_FAILED"]


# --- profileChanged --------------------------------------------------------------------------------------------------


async def test_from_now_on(it: Client) -> None:
    """Without a position nothing of the past is told; a new record is told of too, to who follows all."""
    await somebody(it)
    async with following(it, FOLLOW, Role.INTEGRATION) as follower:
        first = asyncio.ensure_future(follower.answer())
        await asyncio.sleep(0.2)
        patient = await somebody(it)
        told = (await first).data["profileChanged"]
        assert (told["id"], told["version"], told["kind"]) == (patient, 1, "CHANGED")
        await change(it, patient, 1, pronouns="xe/xem")
        assert (await follower.hear())["version"] == 2


async def test_resuming_loses_nothing_and_repeats_the_same(it: Client) -> None:
    """Broken off after any change, and begun again behind it: the rest comes in order, the same as the first time."""
    patient = await somebody(it)
    after = await newest(it)
    for version in range(1, 7):
        await change(it, patient, version, pronouns=f"p{version}")
    async with followed(it, Role.FRONT_DESK, [patient], after) as follower:
        whole = [await follower.hear() for _ in range(6)]
    assert [each["version"] for each in whole] == [2, 3, 4, 5, 6, 7]
    for place, each in enumerate(whole[:-1], start=1):
        async with followed(it, Role.FRONT_DESK, [patient], each["position"]) as follower:
            assert [await follower.hear() for _ in whole[place:]] == whole[place:]


async def test_only_the_named_records(it: Client) -> None:
    """Others change too; nothing of them is told, and more than 1,000 cannot be named."""
    one, other = await somebody(it), await somebody(it)
    after = await newest(it)
    async with followed(it, Role.CLINICIAN, [one, "unknown"], after) as follower:
        await change(it, other, 1, pronouns="xe/xem")
        await change(it, one, 1, pronouns="ze/zir")
        await change(it, other, 2, pronouns="ze/zir")
        await change(it, one, 2, pronouns="xe/xem")
        for version in (2, 3):
            heard = await follower.hear()
            assert (heard["id"], heard["version"]) == (one, version)
    async with followed(it, Role.CLINICIAN, [f"u-{n}" for n in range(1_001)], after) as follower:
        assert await follower.refused() == ["BATCH_TOO_LARGE"]
    async with followed(it, Role.CLINICIAN, [], after) as follower:
        await follower.quiet(0.1)


async def test_a_change_that_changes_nothing_is_not_told(it: Client) -> None:
    """The same values again: the version stays, and nobody is told."""
    patient = await somebody(it)
    after = await newest(it)
    await change(it, patient, 1, pronouns=WHOLE["pronouns"], time_zone=WHOLE["time_zone"])
    assert (await page(it, 5, after))["edges"] == []


async def test_what_is_counted() -> None:
    """How long a change has waited for its number; nothing where none waits."""

    @dataclass
    class Seen:
        waiting_since: int | None

    for at, lines in ((1_500_000, ["heed_feed_waiting_since_seconds 1.5"]), (None, [])):
        page = Metrics(feed=Seen(at)).page().decode().splitlines()
        assert [line for line in page if line.startswith("heed_feed")] == lines


MERGE = "mutation M($i: MergePatientsInput!) { mergePatients(input: $i) { id version } }"


@pytest.mark.parametrize("late", [False, True])
async def test_a_merged_record_is_followed_under_its_survivor(it: Client, late: bool) -> None:
    """Who follows the duplicate hears that it was merged, and from then on of the survivor; also who comes late."""
    values = {"preferred_name": "Sam", "time_zone": "Europe/Paris"}
    keeps, goes = [str((await it.house.register(values))["id"]) for _ in range(2)]
    after = await newest(it)

    async def happen() -> None:
        given = {
            "patientId": keeps,
            "expectedVersion": 1,
            "duplicateId": goes,
            "duplicateVersion": 1,
            "reason": "REGISTERED_TWICE",
        }
        merged = (await it.data(MERGE, Role.INTEGRATION, variables={"i": given}))["mergePatients"]
        assert merged["id"] == keeps
        await change(it, keeps, merged["version"], pronouns="xe/xem")

    if late:
        await happen()
    async with followed(it, Role.FRONT_DESK, [goes], after) as follower:
        if not late:
            await happen()
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1]["changedFields"] != ["pronouns"]:
            heard.append(await follower.hear())
    assert (goes, "MERGED") in [(each["id"], each["kind"]) for each in heard]
    assert heard[-1]["id"] == keeps
    assert {each["kind"] for each in heard[:-1]} == {"MERGED"}
