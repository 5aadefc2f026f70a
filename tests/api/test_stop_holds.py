"""That a STOP holds at its number: wherever it stands, whoever has it later, and until the person wants otherwise."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import bindparam, select

from auth.roles import Role
from crm.services import messages
from crm.store.statements import prepare
from crm.store.tables import suppression
from tests.client import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECIDE = """query D($id: ID!, $channels: [Channel!], $purpose: CommunicationPurpose!) {
    contactDecision(patientId: $id, purpose: $purpose, channels: $channels) { reasons } }"""
SEEN = """query S($id: ID!) { patient(id: $id) { version contactPoints { id } suspensions { id kind text verdict }
    relatedPersons { id } consents { decision scope { channel contactPointId purpose } } } }"""
RECORD = "mutation R($input: RecordInboundMessageInput!) { recordInboundMessage(input: $input) { kind } }"
NUMBER, OTHER = "+12025550142", "+12025550143"


def mobile(number: str, **more: Any) -> dict[str, Any]:
    """A contact point with a number."""
    return {"system": "PHONE", "value": number, "use": "MOBILE", **more}


def stand_in(*numbers: str, name: str = "Mum", contact: str = "INSTEAD") -> dict[str, Any]:
    """A related person who is written to instead."""
    return {"name": name, "relationship": "PARENT", "contact": contact,
            "contactPoints": [mobile(number) for number in numbers]}  # fmt: skip


class Practice:
    """A client in an organisation of its own."""

    def __init__(self, it: Client) -> None:
        self.it = it
        self.org = uuid4().hex

    async def person(self, *numbers: str, **values: Any) -> str:
        """The id of a new patient with these numbers."""
        points = [mobile(number) for number in numbers]
        whole = {"preferred_name": "Ada", "contact_points": points, **values}
        return str((await self.it.house.register(whole, org=self.org))["id"])

    async def say(self, text: str, number: str = NUMBER, **more: Any) -> dict[str, Any]:
        """The answer to a message."""
        said = {"messageId": uuid4().hex, "from": number, "channel": "SMS", "text": text, **more}
        answer = await self.it.ask(RECORD, Role.MESSAGING, variables={"input": said}, org=self.org)
        found: dict[str, Any] = answer.json()
        return found

    async def silent(self, patient_id: str, purpose: str = "BILLING") -> bool:
        """Whether the patient is not to be texted because somebody said so."""
        asked = {"id": patient_id, "channels": ["SMS"], "purpose": purpose}
        found = await self.it.data(DECIDE, Role.MESSAGING, variables=asked, org=self.org)
        return "OPTED_OUT" in found["contactDecision"]["reasons"]

    async def seen(self, patient_id: str) -> dict[str, Any]:
        """The record, as the front desk sees it."""
        found = await self.it.data(SEEN, Role.FRONT_DESK, variables={"id": patient_id}, org=self.org)
        patient: dict[str, Any] = found["patient"]
        return patient

    async def change(self, name: str, patient_id: str, **values: Any) -> list[str]:
        """The rules of the errors of a mutation by the front desk, at the version that is."""
        kind = f"{name[0].upper()}{name[1:]}Input"
        version = (await self.seen(patient_id))["version"]
        query = f"mutation M($input: {kind}!) {{ {name}(input: $input) {{ version }} }}"
        wanted = {"patientId": patient_id, "expectedVersion": version, **values}
        answer = await self.it.ask(query, Role.FRONT_DESK, variables={"input": wanted}, org=self.org)
        return [error["extensions"].get("rule") for error in answer.json().get("errors", ())]

    async def kept(self) -> list[tuple[str, str]]:
        """The suppressions: channel and reason."""
        rows = prepare(select(suppression.c.channel, suppression.c.why).where(suppression.c.org == bindparam("org")))
        return sorted((row[0], row[1]) for row in await self.it.house.database.fetch(self.org, rows))


@pytest.fixture
def practice(served: Client) -> Practice:
    """A practice of its own for each test."""
    return Practice(served)


async def test_whoever_has_the_number_later(practice: Practice) -> None:
    """Another patient with the number, and one whose stand-in has it, are left alone there."""
    await practice.person(NUMBER)
    await practice.say("STOP")
    later = await practice.person(NUMBER)
    assert await practice.silent(later)
    assert [channel for channel, _ in await practice.kept()] == ["CHAT", "SMS", "VOICE"]
    child = await practice.person()
    assert await practice.change("addRelatedPerson", child, relatedPerson=stand_in(NUMBER)) == []
    assert await practice.silent(child)
    assert not await practice.silent(await practice.person(OTHER))


async def test_a_number_in_several_places(practice: Practice) -> None:
    """Of two relatives with one number both are left alone; and so is one from whom it is taken and given back."""
    child = await practice.person()
    for name, contact in (("Mum", "INSTEAD"), ("Dad", "BESIDE")):
        await practice.change("addRelatedPerson", child, relatedPerson=stand_in(NUMBER, name=name, contact=contact))
    await practice.say("STOP")
    seen = await practice.seen(child)
    points = {one["scope"]["contactPointId"] for one in seen["consents"]}
    assert len(points) == 2
    assert await practice.silent(child)
    [mother, _] = [person["id"] for person in seen["relatedPersons"]]
    for numbers in ([], [mobile(NUMBER)]):
        changed = {"contactPoints": numbers}
        assert await practice.change("updateRelatedPerson", child, relatedPersonId=mother, relatedPerson=changed) == []
    assert await practice.silent(child)


@pytest.mark.parametrize("number", ["12025550142", "0142", "+1 202", "VODAFONE"])
async def test_half_a_number(practice: Practice, number: str) -> None:
    """What is no whole number is refused: it would be answered, and stop nobody."""
    patient = await practice.person(NUMBER)
    answer = await practice.say("STOP", number)
    assert [error["extensions"]["rule"] for error in answer["errors"]] == ["e164"]
    assert not await practice.silent(patient)


async def test_many_requests_hide_nothing(practice: Practice) -> None:
    """However often somebody asks for messages, one request waits, and what may mean stop stops."""
    patient = await practice.person(NUMBER)
    for _ in range(5):
        await practice.say("START")
    await practice.say("leave me alone")
    assert [one["kind"] for one in (await practice.seen(patient))["suspensions"]] == ["OPT_IN_REQUEST", "UNCLEAR"]


async def test_words_behind_a_gap(practice: Practice) -> None:
    """Staff read the words that hint, also behind a thousand spaces."""
    patient = await practice.person(NUMBER)
    await practice.say(" " * 1_200 + "leave me alone")
    [one] = (await practice.seen(patient))["suspensions"]
    assert one["text"] == "leave me alone"


async def test_a_verdict_is_about_the_number_that_wrote(practice: Practice) -> None:
    """Where the number was changed since, an opt-in is refused, and what stopped is left alone all the same."""
    patient = await practice.person(NUMBER)
    await practice.say("START")
    await practice.say("leave me alone")
    await practice.say("STOP", OTHER)
    seen = await practice.seen(patient)
    [point], [start, unclear] = seen["contactPoints"], seen["suspensions"]
    changed = {"contactPointId": point["id"], "contactPoint": {"value": OTHER}}
    assert await practice.change("updateContactPoint", patient, **changed) == []
    refused = await practice.change("resolveMessage", patient, suspensionId=start["id"], verdict="OPTED_IN")
    assert refused == ["unknown_contact_point"]
    before = await practice.kept()
    assert await practice.change("resolveMessage", patient, suspensionId=unclear["id"], verdict="STOP") == []
    assert len(await practice.kept()) == len(before) + 3
    assert not (await practice.seen(patient))["consents"]
    assert await practice.silent(patient)  # the new number is another's, who said stop
    assert await practice.silent(await practice.person(NUMBER))


async def test_an_opt_in_ends_the_silence_for_what_was_answered(practice: Practice) -> None:
    """Of a number that stopped before its record was, the programme that START answered is written again, no other."""
    await practice.say("STOP")
    patient = await practice.person(NUMBER)
    await practice.say("START", inReplyTo="SURVEY")
    [start] = (await practice.seen(patient))["suspensions"]
    assert await practice.change("resolveMessage", patient, suspensionId=start["id"], verdict="OPTED_IN") == []
    found = [await practice.silent(patient, purpose=purpose) for purpose in ("SURVEY", "BILLING")]
    assert found == [False, True]
    assert [channel for channel, _ in await practice.kept()] == ["CHAT", "VOICE"]


@pytest.mark.parametrize(
    ("permit", "silent"),
    [
        ({"scope": {"channel": "SMS"}}, False),
        ({}, False),
        ({"scope": {"channel": "VOICE"}}, True),
        ({"scope": {"purpose": "SURVEY"}}, True),
        ({"capture": {"at": "2019-01-01T00:00:00Z"}}, True),
        ({"giver": {"role": "OTHER"}}, True),
    ],
)
async def test_the_persons_own_permission(practice: Practice, permit: dict[str, Any], silent: bool) -> None:
    """What the patient permits anew is written to; not by an older or narrower word, nor by that of others."""
    await practice.say("STOP")
    patient = await practice.person(NUMBER)
    assert await practice.silent(patient)
    assert await practice.change("recordConsent", patient, decision="PERMIT", **permit) == []
    assert await practice.silent(patient) is silent


async def test_a_permission_for_one_programme(practice: Practice) -> None:
    """Whose record forbids the rest may permit one programme: that one is written again, and the rest is not."""
    patient = await practice.person(NUMBER)
    await practice.say("STOP")
    scope = {"purpose": "SURVEY", "channel": "SMS"}
    assert await practice.change("recordConsent", patient, decision="PERMIT", scope=scope) == []
    found = [await practice.silent(patient, purpose=purpose) for purpose in ("SURVEY", "BILLING")]
    assert found == [False, True]
    assert [channel for channel, _ in await practice.kept()] == ["CHAT", "VOICE"]


async def test_a_number_of_very_many(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    """A STOP reaches so many records; the number is left alone on all, and no single permission ends that."""
    monkeypatch.setattr(messages, "MOST_SHARING", 2)
    await practice.say("STOP")
    people = [await practice.person(NUMBER) for _ in range(4)]
    assert (await practice.say("STOP"))["data"]["recordInboundMessage"]["kind"] == "STOP"
    assert [bool((await practice.seen(each))["consents"]) for each in people] == [True, True, False, False]
    assert await practice.kept() == [(channel, "SHARED") for channel in ("CHAT", "SMS", "VOICE")]
    await practice.change("recordConsent", people[-1], decision="PERMIT")
    assert [await practice.silent(each) for each in people] == [True] * 4
    await practice.say("please leave me alone")
    waits = [[one["kind"] for one in (await practice.seen(each))["suspensions"] or ()] for each in people]
    assert waits == [["UNCLEAR"], ["UNCLEAR"], [], []]
