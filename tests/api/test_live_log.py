"""Following the access log as it grows, on both engines: what is told, to whom, from where, and what that leaves."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from graphql import GraphQLObjectType

from auth.purposes import Purpose
from auth.roles import Role
from crm.audit.entry import Draft
from crm.audit.event import Act, Event, Outcome, Who
from crm.audit.writer import LogWriter, Seal
from crm.store.database import Database
from crm.store.log import LogSink
from schema.sdl import build_schema
from tests.asking import question
from tests.client import Client, client
from tests.following import Follower, following
from tests.house import ORG, OTHER_ORG, log_sink, now
from tests.intruder import Intruder
from tests.logs import signer
from tests.sockets import PATIENCE

FOLLOW = """subscription Follow($filter: AccessEventFilter, $after: String) {
  accessEventAppended(filter: $filter, after: $after) {
    position edges { cursor node { id seq action outcome reason actor { subject } patientId flags count } } } }"""
EVENTS = """query Log($filter: AccessEventFilter) {
  accessEvents(filter: $filter, first: 100) { edges { node { id action reason } } } }"""
OFFICER = Role.COMPLIANCE_OFFICER


@pytest.fixture
async def it(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A service of its own for each test, whose log bears a busy machine."""
    async with client(database_url, tmp_path, deadline=20.0) as made:
        yield made


async def beginning(follower: Follower) -> str:
    """The position in the first answer, which tells of no event."""
    first = await follower.hear()
    assert first["edges"] == []
    position: str = first["position"]
    return position


async def heard(follower: Follower, count: int) -> list[dict[str, Any]]:
    """The next events, from as many answers as it takes."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        answer = await follower.hear()
        assert 0 < len(answer["edges"]) <= 100
        found += [edge["node"] for edge in answer["edges"]]
    assert len(found) == count
    return found


def attempts(count: int, subject: str = "made") -> list[Event]:
    """Events that nobody else makes."""
    return [Event(Act.QUERY, Outcome.OK, op=f"n{number}", who=Who(sub=subject)) for number in range(count)]


async def test_events_are_told_as_they_come(it: Client) -> None:
    """Who looked at whom, in the order of the log; that somebody follows and is told stands there, too."""
    patient_id = (await it.house.register())["id"]
    async with following(it, FOLLOW, OFFICER, subject="officer") as officer:
        await beginning(officer)
        await it.data(question("displayName"), variables={"id": patient_id}, subject="ann")
        [read] = await heard(officer, 1)
        assert await it.codes(question("religion"), variables={"id": patient_id}, subject="ben") == ["FORBIDDEN_FIELD"]
        [denied] = await heard(officer, 1)
    assert (read["action"], read["outcome"], read["actor"]["subject"], read["patientId"]) == (
        "read", "OK", "ann", patient_id,
    )  # fmt: skip
    assert (denied["outcome"], denied["actor"]["subject"], denied["seq"] > read["seq"]) == ("DENIED", "ben", True)
    left = await it.house.leaves(request=officer.request_id)
    assert [(leaf["act"], leaf["why"], leaf["cnt"], leaf["who"]["sub"]) for leaf in left] == [
        ("audit.read", "FOLLOWED", 0, "officer"), ("audit.read", "LIVE", 1, "officer"),
        ("audit.read", "LIVE", 1, "officer"),
    ]  # fmt: skip


def _whole_event() -> str:
    """A selection of everything that an access event has."""
    kind = build_schema().type_map["AccessEvent"]
    assert isinstance(kind, GraphQLObjectType)
    actor = kind.fields["actor"].type.of_type
    return " ".join(name for name in kind.fields if name != "actor") + f" actor {{ {' '.join(actor.fields)} }}"


async def test_an_event_is_told_whole(it: Client) -> None:
    """Each member as `accessEvents` shows it, and nothing of the patient but names of fields."""
    patient_id = (await it.house.register())["id"]
    whole = _whole_event()
    query = f"subscription {{ accessEventAppended {{ edges {{ node {{ {whole} }} }} position }} }}"
    async with following(it, query, OFFICER) as officer:
        await beginning(officer)
        await it.data(question("displayName pronouns"), variables={"id": patient_id}, subject="ann")
        [told] = await heard(officer, 1)
    listed = await it.data(
        f'{{ accessEvents(filter: {{actor: "ann"}}) {{ edges {{ node {{ {whole} }} }} }} }}', OFFICER
    )
    assert [edge["node"] for edge in listed["accessEvents"]["edges"]] == [told]
    assert told["fieldsReturned"] == ["displayName", "pronouns"]
    assert "Sam" not in str(told)


async def test_two_officers_come_to_rest(it: Client) -> None:
    """What telling one adds to the log is not told to the other, and still stands in it; a third one's coming is."""
    async with (
        following(it, FOLLOW, OFFICER, subject="one") as one,
        following(it, FOLLOW, OFFICER, subject="two") as two,
    ):
        await beginning(one)
        await beginning(two)
        assert [event["reason"] for event in await heard(one, 1)] == ["FOLLOWED"]  # that the other began
        await it.house.log.append(ORG, attempts(1))
        for each in (one, two):
            assert [event["actor"]["subject"] for event in await heard(each, 1)] == ["made"]
            await each.quiet()
        before = len(await it.house.leaves())
        await asyncio.sleep(0.5)
        assert len(await it.house.leaves()) == before
        listed = await it.data(EVENTS, OFFICER, variables={"filter": {"actor": "one"}})
    told = [edge["node"]["reason"] for edge in listed["accessEvents"]["edges"]]
    assert told.count("LIVE") == 2


async def test_nothing_is_lost_between_connections(it: Client) -> None:
    """However often a follower comes again with the last position, while others write: each event once, in order."""
    chance = random.Random(7)
    found: list[dict[str, Any]] = []
    async with following(it, FOLLOW, OFFICER) as officer:
        position = await beginning(officer)
    writing = asyncio.create_task(_write(it.house.log, 300))
    while len(found) < 300:
        variables = {"filter": {"actor": "made"}, "after": position}
        async with following(it, FOLLOW, OFFICER, variables) as officer:
            assert await beginning(officer) == position
            for _ in range(chance.randrange(3)):
                if len(found) < 300:
                    answer = await officer.hear()
                    position = answer["position"]
                    found += [edge["node"] for edge in answer["edges"]]
    await writing
    assert [event["seq"] for event in found] == sorted({event["seq"] for event in found})
    assert len(found) == 300


async def _write(log: LogWriter, count: int) -> None:
    for event in attempts(count):
        await log.append(ORG, [event])


async def test_the_cursor_of_an_event_is_a_position(it: Client) -> None:
    """Also one of the list: what is behind it is told, and it itself not."""
    await it.house.log.append(ORG, attempts(5))
    query = '{ accessEvents(filter: {actor: "made"}, first: 3) { edges { cursor node { seq } } } }'
    edges = (await it.data(query, OFFICER))["accessEvents"]["edges"]
    variables = {"after": edges[2]["cursor"], "filter": {"actor": "made"}}
    async with following(it, FOLLOW, OFFICER, variables) as officer:
        await beginning(officer)
        told = [event["seq"] for event in await heard(officer, 2)]
    assert told == [edges[1]["node"]["seq"], edges[0]["node"]["seq"]]


async def test_who_is_slow_finds_more_the_next_time(it: Client) -> None:
    """Nothing queues up for somebody who does not read: a thousand events later they get a hundred at a time."""
    async with following(it, FOLLOW, OFFICER, {"filter": {"actor": "made"}}) as officer:
        await beginning(officer)
        for _ in range(10):
            await it.house.log.append(ORG, attempts(100))
        sizes = [len((await officer.hear())["edges"]) for _ in range(10)]
    assert sizes == [100] * 10


async def test_events_of_another_process_are_told(it: Client, database_url: str) -> None:
    """Nobody rings for them: the end of the log is looked at while somebody follows it."""
    other = LogWriter(log_sink(it.house.database), node="other", clock=now)
    await other.start()
    async with following(it, FOLLOW, OFFICER, {"filter": {"actor": "other"}}) as officer:
        await beginning(officer)
        await other.append(ORG, attempts(1, subject="other"))
        assert [event["actor"]["subject"] for event in await heard(officer, 1)] == ["other"]
    await other.stop()


async def day(it: Client) -> dict[str, dict[str, Any]]:
    """Things happen to two patients; filters by what they ask, each of which finds something."""
    one = (await it.house.register({"preferred_name": "One", "religion": "Quaker"}))["id"]
    two = (await it.house.register())["id"]
    request_id = uuid4().hex
    headers = {"x-request-id": request_id}
    await it.data(question("displayName"), variables={"id": one}, subject="ann", headers=headers)
    await it.data(question("religion"), Role.CLINICIAN, variables={"id": two}, subject="bo", purpose=Purpose.TREAT)
    assert await it.codes(question("religion"), variables={"id": one}, subject="ann") == ["FORBIDDEN_FIELD"]
    assert await it.codes("{ viewer { subject } }", None) == ["UNAUTHENTICATED"]
    leaves = await it.house.leaves()
    subject = next(leaf["pat"] for leaf in leaves if leaf.get("req") == request_id)
    token = next(leaf["who"]["jti"] for leaf in leaves if leaf["who"]["sub"] == "bo")
    return {
        "everything": {},
        "patient": {"patientId": one},
        "pseudonym": {"auditSubject": subject},
        "actor": {"actor": "ann"},
        "session": {"actor": "bo", "tokenId": token},
        "outcome": {"outcome": "DENIED"},
        "purpose": {"purpose": "TREAT"},
        "action": {"action": "create"},
        "request": {"requestId": request_id},
        "nobody": {"unattributed": True},
        "times": {"from": leaves[1]["t"], "to": leaves[-1]["t"]},
    }


async def test_filters_find_what_the_list_finds(it: Client) -> None:
    """Followed from the first event on, each tells what `accessEvents` lists, the other way round."""
    await it.house.log.append(ORG, attempts(1))
    async with following(it, FOLLOW, OFFICER) as officer:
        start = await beginning(officer)
    async with following(it, FOLLOW, OFFICER, {"filter": {"unattributed": True}}) as officer:
        nobodys = await beginning(officer)
    for name, chosen in (await day(it)).items():
        listed = (await it.data(EVENTS, OFFICER, variables={"filter": chosen}))["accessEvents"]["edges"]
        wanted = [edge["node"]["id"] for edge in reversed(listed) if edge["node"]["action"] != "audit.read"]
        wanted = [each for each in wanted if each != (await it.house.leaves())[0]["id"]]
        assert wanted, name
        variables = {"filter": chosen, "after": nobodys if "unattributed" in chosen else start}
        async with following(it, FOLLOW, OFFICER, variables) as officer:
            await beginning(officer)
            told: list[str] = []
            while len(told) < len(wanted):
                edges = (await officer.hear())["edges"]
                told += [edge["node"]["id"] for edge in edges if edge["node"]["action"] != "audit.read"]
        assert told == wanted, name


async def test_others_are_refused_and_recorded(it: Client) -> None:
    """Every other role, before anything is looked at; and nothing is told afterwards."""
    patient_id = (await it.house.register())["id"]
    for role in set(Role) - {OFFICER, Role.PRIVACY_OFFICER}:
        who = {"patient": patient_id} if role in {Role.PATIENT, Role.PROXY} else {}
        async with following(it, FOLLOW, role, **who) as somebody:
            assert await somebody.refused() == ["FORBIDDEN"], role
            await it.house.log.append(ORG, attempts(1))
            with pytest.raises(StopAsyncIteration):
                await somebody.answer()
        [leaf] = await it.house.leaves(request=somebody.request_id)
        assert (leaf["act"], leaf["out"], leaf["why"]) == ("audit.read", "denied", "FORBIDDEN")


async def test_another_organisation_hears_nothing(it: Client) -> None:
    """Not even with the position or the patient of this one; what happens there is told there."""
    patient_id = (await it.house.register())["id"]
    for chosen in ({}, {"patientId": patient_id}):
        async with following(it, FOLLOW, OFFICER, {"filter": chosen}, org=OTHER_ORG) as stranger:
            await beginning(stranger)
            await it.data(question("displayName"), variables={"id": patient_id})
            await stranger.quiet()
    async with following(it, FOLLOW, OFFICER, org=OTHER_ORG) as stranger:
        await beginning(stranger)
        await it.house.log.append(OTHER_ORG, attempts(1))
        assert [event["actor"]["subject"] for event in await heard(stranger, 1)] == ["made"]


@pytest.mark.parametrize(("position", "code"), [("OTk5OTk5", "POSITION_EXPIRED"), ("x!", "VALIDATION_FAILED")])
async def test_a_position_that_the_log_does_not_have(it: Client, position: str, code: str) -> None:
    """It never had it, or it is none: told with a code of its own, and recorded."""
    async with following(it, FOLLOW, OFFICER, {"after": position}) as officer:
        assert await officer.refused() == [code]
    [leaf] = await it.house.leaves(request=officer.request_id)
    assert (leaf["out"], leaf["why"]) == ("denied", code)


async def test_a_position_that_was_pruned(it: Client, database_url: str) -> None:
    """What is gone is not passed over in silence; right behind it one may go on."""
    await it.house.log.append(ORG, attempts(5))
    query = '{ accessEvents(filter: {actor: "made"}) { edges { cursor node { seq } } } }'
    places = {edge["node"]["seq"]: edge["cursor"] for edge in (await it.data(query, OFFICER))["accessEvents"]["edges"]}
    first = min(places)
    await Intruder(database_url).run("UPDATE audit_head SET pruned = ? WHERE org = ?", first + 2, ORG)
    async with following(it, FOLLOW, OFFICER, {"after": places[first]}) as officer:
        assert await officer.refused() == ["POSITION_EXPIRED"]
    async with following(it, FOLLOW, OFFICER, {"after": places[first + 1], "filter": {"actor": "made"}}) as officer:
        await beginning(officer)
        assert [event["seq"] for event in await heard(officer, 3)] == [first + 2, first + 3, first + 4]


async def test_an_erasure_cuts_what_was_from_what_comes(it: Client) -> None:
    """A question by the patient's id leads to nothing before the erasure from then on, as in the list."""
    patient_id = (await it.house.register())["id"]
    async with following(it, FOLLOW, OFFICER, {"filter": {"patientId": patient_id}}) as officer:
        await beginning(officer)
        await it.data(question("displayName"), variables={"id": patient_id})
        assert len(await heard(officer, 1)) == 1
        erase = "mutation E($id: ID!) { erasePatient(input: {patientId: $id, expectedVersion: 1}) { reason } }"
        await it.data(erase, Role.PRIVACY_OFFICER, variables={"id": patient_id})
        assert await it.codes(question("displayName"), variables={"id": patient_id}) == ["ERASED"]
        told = [(event["action"], event["reason"]) for event in await heard(officer, 2)]
        listed = await it.data(EVENTS, OFFICER, variables={"filter": {"patientId": patient_id}})
    nodes = [edge["node"] for edge in listed["accessEvents"]["edges"]]
    assert told == [(node["action"], node["reason"]) for node in reversed(nodes) if node["action"] != "audit.read"]


class Fault:
    """A log whose commits can be made to fail."""

    def __init__(self, database: Database) -> None:
        self.broken = False
        self._inner = LogSink(database, signer)

    async def commit(self, org: str, drafts: list[Draft], seal: Seal) -> None:
        if self.broken:
            raise OSError("no space left on device")
        await self._inner.commit(org, drafts, seal)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def test_what_cannot_be_recorded_is_not_told(database_url: str, tmp_path: Path) -> None:
    """The subscription ends with AUDIT_UNAVAILABLE; from its last position on, nothing is missing afterwards."""
    faults: list[Fault] = []

    def sink(database: Database) -> Any:
        faults.append(Fault(database))
        return faults[0]

    async with client(database_url, tmp_path, sink=sink) as it:
        async with following(it, FOLLOW, OFFICER, {"filter": {"actor": "made"}}) as officer:
            position = await beginning(officer)
            other = LogWriter(log_sink(it.house.database), node="other", clock=now)
            await other.start()
            faults[0].broken = True
            await other.append(ORG, attempts(1))
            assert await officer.refused() == ["AUDIT_UNAVAILABLE"]
            with pytest.raises(StopAsyncIteration):
                await officer.answer()
            faults[0].broken = False
            await other.stop()
        async with asyncio.timeout(PATIENCE):
            while await it.codes("{ accessEvents(first: 1) { edges { cursor } } }", OFFICER):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        async with following(it, FOLLOW, OFFICER, {"filter": {"actor": "made"}, "after": position}) as officer:
            await beginning(officer)
            assert len(await heard(officer, 1)) == 1
