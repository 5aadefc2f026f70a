"""Messages that patients send, over HTTP and on both engines: STOP on a shared number (S3), the queue, and verdicts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import bindparam, func, select

from auth.roles import Role
from crm.domain.codes import Channel
from crm.domain.decision.fingerprint import named
from crm.domain.decision.rules import ContactRules, RevokeScope, Sender, SharedNumbers
from crm.domain.times import micros
from crm.store.statements import prepare
from crm.store.tables import audit_event, inbound_message, patient, sealed_row, suppression, waiting_message
from tests.client import Client, client
from tests.conftest import Databases
from tests.house import OTHER_ORG

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBER = "+12025550142"
NINE = "2026-11-23T09:00:00Z"
ANSWER = "kind honourBy confirmation { kind until language }"
RECORD = f"mutation R($input: RecordInboundMessageInput!) {{ recordInboundMessage(input: $input) {{ {ANSWER} }} }}"
DIRECTIVES = """consents { decision scope { channel contactPointId purpose sender } effectiveFrom honourBy
    giver { role relatedPersonId } capture { messageId contactPointId by system evidence } }"""
DECIDE = """query D($id: ID!, $channels: [Channel!]) {
    contactDecision(patientId: $id, purpose: APPOINTMENT_REMINDER, sender: "clinic", channels: $channels) {
        outcome reasons } }"""
RESOLVE = f"""mutation R($input: ResolveMessageInput!) {{ resolveMessage(input: $input) {{ version {DIRECTIVES}
    suspensions {{ id verdict resolvedBy }} }} }}"""
QUEUE = """query Q($after: String, $first: Int) { waitingMessages(first: $first, after: $after) {
    edges { node { id kind receivedAt patient { id version displayName suspensions { id text channel } } } cursor }
    pageInfo { hasNextPage } } }"""
ALL_BY_NUMBER = [{"channel": "SMS"}, {"channel": "VOICE"}, {"channel": "CHAT"}]
"""What a STOP from somebody's own number forbids, whichever of the three it came by."""
CLINIC = Sender("clinic", (Channel.SMS, Channel.VOICE, Channel.CHAT), ("en", "fr"), numbers=frozenset({"+12025550100"}))


def sent(text: str, message_id: str | None = None, **more: Any) -> dict[str, Any]:
    """A message from the shared number, received at nine."""
    message_id = message_id or uuid4().hex
    message = {"gateway": "texts", "messageId": message_id, "from": NUMBER, "channel": "SMS", "text": text, **more}
    return {"input": {"receivedAt": NINE, **message}}


class Clinic:
    """A client in an organisation of its own, at a fixed time, with a mother and a child who share a number."""

    def __init__(self, it: Client) -> None:
        self.it = it
        self.org = f"clinic-{uuid4().hex}"
        self.mother = self.child = ""
        self.at(NINE)

    async def data(self, query: str, role: Role = Role.FRONT_DESK, **more: Any) -> dict[str, Any]:
        """As `Client.data`, in this organisation."""
        return await self.it.data(query, role, **{"org": self.org, **more})

    async def ask(self, query: str, role: Role | None, **more: Any) -> httpx.Response:
        """As `Client.ask`, in this organisation."""
        return await self.it.ask(query, role, **{"org": self.org, **more})

    async def codes(self, query: str, role: Role | None = Role.FRONT_DESK, **more: Any) -> list[str]:
        """As `Client.codes`, in this organisation."""
        return await self.it.codes(query, role, **{"org": self.org, **more})

    async def watched(
        self, query: str, role: Role | None = Role.FRONT_DESK, **more: Any
    ) -> tuple[httpx.Response, list[dict[str, Any]]]:
        """As `Client.watched`, in this organisation."""
        return await self.it.watched(query, role, log=self.org, **{"org": self.org, **more})

    def at(self, time: str) -> None:
        """What the service takes for now."""
        self.it.house.services.store.clock = lambda: micros(time)

    async def person(self, name: str, **values: Any) -> str:
        """The id of a new patient, by default with the shared number."""
        point = {"system": "PHONE", "value": NUMBER, "use": "MOBILE"}
        whole = {"preferred_name": name, "contact_points": [point], "time_zone": "America/New_York", **values}
        return str((await self.it.house.register(whole, org=self.org))["id"])

    async def send(self, text: str, message_id: str | None = None, **more: Any) -> dict[str, Any]:
        """The answer to a message."""
        found = await self.data(RECORD, Role.MESSAGING, variables=sent(text, message_id, **more))
        answer: dict[str, Any] = found["recordInboundMessage"]
        return answer

    async def consents(self, patient_id: str) -> list[dict[str, Any]]:
        """The directives of a patient."""
        query = f'{{ patient(id: "{patient_id}") {{ {DIRECTIVES} }} }}'
        found: list[dict[str, Any]] = (await self.data(query, Role.PRIVACY_OFFICER))["patient"]["consents"] or []
        return found

    async def version(self, patient_id: str) -> int:
        """The version of a record."""
        found = await self.data(f'{{ patient(id: "{patient_id}") {{ version }} }}', Role.PRIVACY_OFFICER)
        return int(found["patient"]["version"])

    async def outcome(self, patient_id: str, *channels: str) -> tuple[str, list[str]]:
        """What a sender is told of a patient."""
        asked = {"id": patient_id, "channels": list(channels) or ["SMS"]}
        found = (await self.data(DECIDE, Role.MESSAGING, variables=asked))["contactDecision"]
        return found["outcome"], found["reasons"]

    async def rows(self, org: str | None = None) -> dict[str, int]:
        """How many rows each table has that a message may touch, here or in another organisation."""
        org, counted = org or self.org, {}
        for table in (inbound_message, waiting_message, suppression, audit_event, sealed_row, patient):
            count = prepare(select(func.count()).select_from(table).where(table.c.org == bindparam("org")))
            counted[table.name] = int((await self.it.house.database.fetch(org, count))[0][0])
        versions = prepare(select(func.sum(patient.c.version)).where(patient.c.org == bindparam("org")))
        counted["versions"] = int((await self.it.house.database.fetch(org, versions))[0][0] or 0)
        return counted

    async def queue(self) -> list[dict[str, Any]]:
        """The messages that wait."""
        edges = (await self.data(QUEUE, Role.FRONT_DESK))["waitingMessages"]["edges"]
        return [edge["node"] for edge in edges]

    async def resolve(self, node: dict[str, Any], verdict: str, **more: Any) -> dict[str, Any]:
        """The profile after a verdict on a waiting message."""
        who = node["patient"]
        wanted = {"patientId": who["id"], "expectedVersion": who["version"], "suspensionId": node["id"]}
        found = await self.data(RESOLVE, variables={"input": {**wanted, "verdict": verdict, **more}})
        profile: dict[str, Any] = found["resolveMessage"]
        return profile


Clients = Callable[[ContactRules], Awaitable[Client]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clients(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Clients]:
    """Gives the client of a service with certain rules, on each engine in turn."""
    made: dict[str, Client] = {}
    async with AsyncExitStack() as opened:

        async def of(rules: ContactRules) -> Client:
            if rules.version not in made:
                url = databases.create(shared_engine)
                opened.callback(databases.drop, url)
                serving = client(url, tmp_path_factory.mktemp("messages"), contact=rules)
                made[rules.version] = await opened.enter_async_context(serving)
            return made[rules.version]

        yield of


@pytest.fixture
def rules() -> ContactRules:
    """The rules as they come, with one sender."""
    return named(ContactRules("", senders={"clinic": CLINIC}, zones=("America/New_York",)))


@pytest_asyncio.fixture(loop_scope="module")
async def clinic(clients: Clients, rules: ContactRules) -> Clinic:
    """The clinic with the two of them."""
    made = Clinic(await clients(rules))
    made.mother, made.child = await made.person("Ada"), await made.person("Ben")
    return made


def scopes(consents: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The scopes of the directives, without what they do not name."""
    return [{name: value for name, value in one["scope"].items() if value} for one in consents]


async def test_stop_on_a_shared_number(clinic: Clinic) -> None:
    """Both who share the number are left alone at once; one confirmation may be sent, until five minutes later."""
    request_id = uuid4().hex
    assert (await clinic.outcome(clinic.mother))[0] != "DENY"
    answer = (
        await clinic.data(RECORD, Role.MESSAGING, variables=sent("Stop", "M1"), headers={"x-request-id": request_id})
    )["recordInboundMessage"]
    assert answer == {
        "kind": "STOP",
        "honourBy": "2026-12-07T09:00:00.000000Z",
        "confirmation": {"kind": "STOPPED", "until": "2026-11-23T09:05:00.000000Z", "language": None},
    }
    events = await clinic.it.house.leaves(org=clinic.org, request=request_id)
    assert [(leaf["act"], leaf["out"], leaf["why"], leaf["chg"]) for leaf in events] == [
        ("update", "ok", "STOP", ["consents"])
    ] * 2
    assert len({leaf["pat"] for leaf in events}) == 2
    for patient_id in (clinic.mother, clinic.child):
        consents = await clinic.consents(patient_id)
        assert scopes(consents) == ALL_BY_NUMBER
        assert {one["decision"] for one in consents} == {"DENY"}
        assert {one["effectiveFrom"] for one in consents} == {"2026-11-23T09:00:00.000000Z"}
        assert {one["honourBy"] for one in consents} == {"2026-12-07T09:00:00.000000Z"}
        assert {one["capture"]["messageId"] for one in consents} == {"M1"}
        assert await clinic.outcome(patient_id) == ("DENY", ["OPTED_OUT"])
        assert await clinic.outcome(patient_id, "VOICE") == ("DENY", ["OPTED_OUT"])


async def test_the_same_message_again(clinic: Clinic) -> None:
    """A repetition is answered alike and leaves no row, not even after more was said."""
    first = await clinic.send("Stop", "M1")
    before = await clinic.rows()
    clinic.at("2026-11-23T11:00:00Z")
    assert await clinic.send("Stop", "M1") == first
    assert await clinic.rows() == before
    assert await clinic.send("Stop", "M2") == first
    after = await clinic.rows()
    assert after["versions"] == before["versions"]  # what is in force is not said twice
    assert (after["inbound_message"], after["audit_event"]) == (
        before["inbound_message"] + 1,
        before["audit_event"] + 2,
    )


@pytest.mark.parametrize("changed", [{"text": "Start"}, {"text": "hello"}, {"text": "stop this please"}])
async def test_the_same_id_with_another_content(clinic: Clinic, changed: dict[str, str]) -> None:
    """An id that comes again with something else is refused, recorded, and changes nothing."""
    await clinic.send("Stop", "M1")
    before = await clinic.rows()
    asked = {**sent("Stop", "M1")["input"], **changed}
    answer, leaves = await clinic.watched(RECORD, Role.MESSAGING, variables={"input": asked})
    [error] = answer.json()["errors"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("VALIDATION_FAILED", "input.messageId")
    assert [(leaf["out"], leaf["why"]) for leaf in leaves] == [("denied", "VALIDATION_FAILED")]
    assert await clinic.rows() == {**before, "audit_event": before["audit_event"] + 1}
    # The same id of another gateway is another message.
    assert (await clinic.send("Stop", "M1", gateway="calls"))["kind"] == "STOP"


async def test_an_id_that_was_taken_stops_nobody_from_stopping(clinic: Clinic) -> None:
    """A STOP whose id somebody used before is refused, and done; ids of another application are not in its way."""
    await clinic.send("hello", "M1")
    for reader in (Role.INTEGRATION, Role.MESSAGING):
        answer, leaves = await clinic.watched(RECORD, reader, variables=sent("Stop", "M1"))
        assert [error["extensions"]["rule"] for error in answer.json()["errors"]] == ["other_content"]
        assert [leaf["out"] for leaf in leaves] == ["ok", "ok", "denied"]
        assert [leaf["why"] for leaf in leaves] == ["STOP", "STOP", "VALIDATION_FAILED"]
    assert scopes(await clinic.consents(clinic.mother)) == ALL_BY_NUMBER
    assert await clinic.outcome(clinic.child) == ("DENY", ["OPTED_OUT"])


@pytest.mark.parametrize("channel", ["SMS", "VOICE", "CHAT"])
async def test_by_whichever_it_came(clinic: Clinic, channel: str) -> None:
    """A STOP from somebody's own number ends texts, calls and chats alike, and no mail."""
    await clinic.send("Stop", channel=channel)
    assert scopes(await clinic.consents(clinic.mother)) == ALL_BY_NUMBER
    for each in ("SMS", "VOICE"):
        assert await clinic.outcome(clinic.mother, each) == ("DENY", ["OPTED_OUT"])


@pytest.mark.parametrize(
    ("text", "language", "of_the_sender"),
    [("opt out", "en", "en"), ("STOPALL", None, None), ("ARRÊT", "fr", "fr"), ("Detener", "es", None)],
)
async def test_other_words_that_stop(
    clinic: Clinic, text: str, language: str | None, of_the_sender: str | None
) -> None:
    """They do as STOP does; the confirmation is in their language if the sender has it, else in none of ours."""
    answer = await clinic.send(text)
    assert (answer["kind"], answer["confirmation"]["language"]) == ("STOP", language)
    assert await clinic.outcome(clinic.child) == ("DENY", ["OPTED_OUT"])
    to_a_sender = await clinic.send(text, to="+1 202 555 0100")
    assert to_a_sender["confirmation"]["language"] == of_the_sender


async def test_unclear(clinic: Clinic) -> None:
    """What only hints at stopping waits for staff, and nothing is sent meanwhile but emergencies."""
    answer = await clinic.send("please stop texting me")
    assert (answer["kind"], answer["confirmation"]["kind"]) == ("UNCLEAR", "CLARIFY")
    waiting = await clinic.queue()
    assert {node["patient"]["id"] for node in waiting} == {clinic.mother, clinic.child}
    for node in waiting:
        assert [(one["id"], one["text"]) for one in node["patient"]["suspensions"]] == [
            (node["id"], "please stop texting me")
        ]
        outcome, reasons = await clinic.outcome(node["patient"]["id"])
        assert (outcome, reasons[0]) == ("MANUAL", "REVIEW_PENDING")
        assert await clinic.consents(node["patient"]["id"]) == []
    stop, dismissed = waiting
    assert scopes((await clinic.resolve(stop, "STOP"))["consents"]) == ALL_BY_NUMBER
    assert await clinic.outcome(stop["patient"]["id"]) == ("DENY", ["OPTED_OUT"])
    assert not (await clinic.resolve(dismissed, "NOT_STOP"))["consents"]
    assert (await clinic.outcome(dismissed["patient"]["id"]))[0] != "MANUAL"
    assert await clinic.queue() == []
    again = await clinic.codes(
        RESOLVE, variables={"input": {"patientId": stop["patient"]["id"], "suspensionId": stop["id"], "verdict": "STOP",
                                      "expectedVersion": await clinic.version(stop["patient"]["id"])}}
    )  # fmt: skip
    assert again == ["VALIDATION_FAILED"]


async def test_start_never_permits(clinic: Clinic) -> None:
    """START asks; staff ask the person, and what they then permit is for that number, and newer than the STOP."""
    await clinic.send("Stop")
    history = await clinic.consents(clinic.mother)
    answer = await clinic.send("START")
    assert (answer["kind"], answer["honourBy"]) == ("START", None)
    assert answer["confirmation"]["kind"] == "OPT_IN_REQUESTED"
    assert await clinic.consents(clinic.mother) == history
    assert await clinic.outcome(clinic.mother) == ("DENY", ["OPTED_OUT"])
    [node] = [node for node in await clinic.queue() if node["patient"]["id"] == clinic.mother]
    assert node["kind"] == "OPT_IN_REQUEST"
    clinic.at("2026-11-23T18:00:00Z")
    profile = await clinic.resolve(node, "OPTED_IN")
    assert profile["consents"][:3] == history
    [permit] = profile["consents"][3:]
    assert (permit["decision"], permit["scope"]["channel"]) == ("PERMIT", "SMS")
    assert permit["scope"]["contactPointId"] == permit["capture"]["contactPointId"] is not None
    assert permit["capture"]["by"] == "front_desk-1"
    assert (await clinic.outcome(clinic.mother))[0] == "ALLOW"
    assert await clinic.outcome(clinic.mother, "VOICE") == ("DENY", ["OPTED_OUT"])
    assert await clinic.outcome(clinic.child) == ("DENY", ["OPTED_OUT"])


@pytest.mark.parametrize(("text", "kind", "confirmed"), [("HELP", "HELP", "HELP"), ("See you at 9", "OTHER", None)])
async def test_nothing_changes(clinic: Clinic, text: str, kind: str, confirmed: str | None) -> None:
    """HELP is answered, everything else is not; either is recorded once, and changes nothing of anybody."""
    before = await clinic.rows()
    answer = await clinic.send(text)
    assert (answer["kind"], answer["honourBy"]) == (kind, None)
    assert (answer["confirmation"] or {}).get("kind") == confirmed
    after = await clinic.rows()
    assert after == {
        **before, "inbound_message": before["inbound_message"] + 1, "audit_event": before["audit_event"] + 1
    }  # fmt: skip


async def test_history_keeps_what_was_permitted(clinic: Clinic) -> None:
    """A STOP leaves an earlier permission as it is."""
    permit = """mutation P($input: RecordConsentInput!) { recordConsent(input: $input) { consents { id } } }"""
    wanted = {"patientId": clinic.mother, "expectedVersion": 1, "decision": "PERMIT", "scope": {"channel": "SMS"}}
    clinic.at("2026-11-22T09:00:00Z")
    await clinic.data(permit, variables={"input": wanted})
    [earlier] = await clinic.consents(clinic.mother)
    clinic.at(NINE)
    await clinic.send("Stop")
    history = await clinic.consents(clinic.mother)
    assert history[0] == earlier
    assert len(history) == 4
    assert await clinic.outcome(clinic.mother) == ("DENY", ["OPTED_OUT"])


class TestLegalMinimum:
    """The revocation scope is dated."""

    @pytest.fixture
    def rules(self) -> ContactRules:
        """What the law demands, and no more."""
        scope = RevokeScope.LEGAL_MINIMUM
        return named(ContactRules("", senders={"clinic": CLINIC}, revoke_scope=scope, zones=("America/New_York",)))

    async def test_before(self, clinic: Clinic) -> None:
        """Until 30 January 2027 only the programme that was answered ends, at that number."""
        clinic.at("2027-01-30T15:00:00Z")
        await clinic.send("Stop", receivedAt=None, sender="clinic", inReplyTo="SURVEY")
        found = scopes(await clinic.consents(clinic.mother))
        assert [(one["channel"], one["purpose"], sorted(one)) for one in found] == [
            (channel, "SURVEY", ["channel", "contactPointId", "purpose"]) for channel in ("SMS", "VOICE")
        ]
        assert (await clinic.outcome(clinic.mother))[0] == "ALLOW"

    async def test_chats(self, clinic: Clinic) -> None:
        """A STOP in a chat ends chats: the law that binds calls and texts together is not about them."""
        clinic.at("2027-01-30T15:00:00Z")
        await clinic.send("Stop", receivedAt=None, sender="clinic", inReplyTo="SURVEY", channel="CHAT")
        assert [one["channel"] for one in scopes(await clinic.consents(clinic.mother))] == ["CHAT"]

    async def test_after(self, clinic: Clinic) -> None:
        """From 31 January 2027 all that the sender sends ends, and START confirmed beats that too."""
        clinic.at("2027-02-01T15:00:00Z")
        await clinic.send("Stop", receivedAt=None, sender="clinic", inReplyTo="SURVEY")
        assert scopes(await clinic.consents(clinic.mother)) == [
            {"channel": channel, "sender": "clinic"} for channel in ("SMS", "VOICE")
        ]
        assert await clinic.outcome(clinic.mother) == ("DENY", ["OPTED_OUT"])
        await clinic.send("START", receivedAt=None)
        [node] = [node for node in await clinic.queue() if node["patient"]["id"] == clinic.mother]
        clinic.at("2027-02-01T15:01:00Z")
        await clinic.resolve(node, "OPTED_IN")
        assert (await clinic.outcome(clinic.mother))[0] == "ALLOW"


@pytest.mark.parametrize("day", ["2027-01-30", "2027-02-01"])
async def test_all_is_all_on_any_day(clinic: Clinic, day: str) -> None:
    """The default covers everything, before and after the law demands it."""
    clinic.at(f"{day}T15:00:00Z")
    await clinic.send("Stop", receivedAt=None, sender="clinic", inReplyTo="SURVEY")
    assert scopes(await clinic.consents(clinic.mother)) == ALL_BY_NUMBER


class TestNoneQueue:
    """A shared number of nobody in particular."""

    @pytest.fixture
    def rules(self) -> ContactRules:
        """Nobody's directive before staff have read."""
        return named(
            ContactRules(
                "", senders={"clinic": CLINIC}, shared_numbers=SharedNumbers.NONE_QUEUE, zones=("America/New_York",)
            )
        )

    async def test_shared(self, clinic: Clinic) -> None:
        """A STOP of several waits for staff, and nothing is sent to any of them; the answer is the same."""
        answer = await clinic.send("Stop")
        assert (answer["kind"], answer["confirmation"]["kind"]) == ("STOP", "STOPPED")
        assert {node["patient"]["id"] for node in await clinic.queue()} == {clinic.mother, clinic.child}
        for patient_id in (clinic.mother, clinic.child):
            assert await clinic.consents(patient_id) == []
            assert (await clinic.outcome(patient_id))[0] == "MANUAL"

    async def test_alone(self, clinic: Clinic) -> None:
        """A STOP from somebody's own number needs nobody."""
        alone = await clinic.person("Cleo", contact_points=[{"system": "PHONE", "value": "+12025550177"}])
        await clinic.send("Stop", **{"from": "+1 (202) 555-0177"})
        assert scopes(await clinic.consents(alone)) == ALL_BY_NUMBER


async def test_unknown_number(clinic: Clinic) -> None:
    """Whoever is on no record is answered alike, and is left alone once they are on one."""
    known, unknown = await clinic.send("Stop"), await clinic.send("Stop", **{"from": "+12025550199"})
    assert known == unknown
    assert (await clinic.rows())["suppression"] == 6  # the known one as well: it may become somebody else's
    late = await clinic.person("Dan", contact_points=[{"system": "PHONE", "value": "+12025550199", "use": "MOBILE"}])
    clinic.at("2026-11-23T17:00:00Z")
    assert await clinic.outcome(late) == ("DENY", ["OPTED_OUT"])
    assert (await clinic.rows(OTHER_ORG))["suppression"] == 0
    await clinic.send("START", **{"from": "+12025550199"})
    [node] = await clinic.queue()
    await clinic.resolve(node, "OPTED_IN")
    clinic.at("2026-11-23T18:00:00Z")
    assert (await clinic.outcome(late))[0] == "ALLOW"


async def test_chat_of_an_unknown_number(clinic: Clinic) -> None:
    """Who says stop in a chat and is on no record is not texted either, once they are on one."""
    await clinic.send("Stop", **{"from": "+12025550198", "channel": "CHAT"})
    late = await clinic.person("Eli", contact_points=[{"system": "PHONE", "value": "+12025550198", "use": "MOBILE"}])
    clinic.at("2026-11-23T17:00:00Z")
    assert await clinic.outcome(late) == ("DENY", ["OPTED_OUT"])
    chats = await clinic.person("Fay", contact_points=[{"system": "OTHER", "value": "+12025550198"}])
    assert await clinic.outcome(chats, "CHAT") == ("DENY", ["OPTED_OUT"])


async def test_another_organisation(clinic: Clinic) -> None:
    """A STOP concerns the organisation that it was sent to, and no other."""
    point = {"system": "PHONE", "value": NUMBER, "use": "MOBILE"}
    await clinic.it.house.register({"preferred_name": "Eve", "contact_points": [point]}, org=OTHER_ORG)
    before = await clinic.rows(OTHER_ORG)
    await clinic.send("Stop")
    assert await clinic.rows(OTHER_ORG) == before


async def test_other_peoples_numbers(clinic: Clinic) -> None:
    """A stand-in, a confidential number and a number of former times speak for themselves alone."""
    stand_in = {"name": "Fay", "relationship": "PARENT", "contact": "INSTEAD",
                "contact_points": [{"system": "PHONE", "value": "+12025550151", "use": "MOBILE"}]}  # fmt: skip
    private = {"channel": "SMS", "value": "+12025550152", "set_at": "2026-01-01T00:00:00Z"}
    old = {"system": "PHONE", "value": "+12025550153", "use": "OLD"}
    person = await clinic.it.house.store(
        {"preferred_name": "Gil", "contact_points": [old], "related_persons": [stand_in],
         "confidential_communication": private}, org=clinic.org
    )  # fmt: skip
    for place, number in enumerate(("+12025550151", "+12025550152", "+12025550153")):
        await clinic.send("Stop", **{"from": number})
        new = (await clinic.consents(person))[3 * place :]
        assert [one["scope"]["channel"] for one in new] == ["SMS", "VOICE", "CHAT"]
        assert {one["scope"]["contactPointId"] for one in new} == {one["capture"]["contactPointId"] for one in new}
        assert [one["giver"]["role"] for one in new] == (["OTHER"] * 3 if place == 0 else ["PATIENT"] * 3)


async def test_mail(clinic: Clinic) -> None:
    """A mailbox is matched without regard to case, and ends mail alone."""
    person = await clinic.person(
        "Hal", contact_points=[{"system": "EMAIL", "value": "hal@example.test"}, {"system": "PHONE", "value": NUMBER}]
    )
    await clinic.send("Unsubscribe\n> Reply STOP", **{"from": "HAL@Example.test", "channel": "EMAIL"})
    assert scopes(await clinic.consents(person)) == [{"channel": "EMAIL"}]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"from": "VODAFONE"}, "input.from"),
        ({"from": "nobody", "channel": "EMAIL"}, "input.from"),
        ({"channel": "LETTER"}, "input.channel"),
        ({"receivedAt": "2026-11-23T09:06:00Z"}, "input.receivedAt"),
        ({"receivedAt": "yesterday"}, "input.receivedAt"),
        ({"sender": "nobody"}, "input.sender"),
        ({"messageId": ""}, "input.messageId"),
        ({"messageId": "x" * 201}, "input.messageId"),
        ({"gateway": "a\nb"}, "input.gateway"),
    ],
)
async def test_malformed(clinic: Clinic, changed: dict[str, str], field: str) -> None:
    """What is malformed is refused with its path, and nothing of it is told or kept."""
    before = await clinic.rows()
    answer = await clinic.ask(RECORD, Role.MESSAGING, variables={"input": {**sent("Stop")["input"], **changed}})
    [error] = answer.json()["errors"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("VALIDATION_FAILED", field)
    assert "yesterday" not in answer.text
    after = await clinic.rows()
    assert {**after, "audit_event": 0} == {**before, "audit_event": 0}


async def test_at_once_by_many(clinic: Clinic) -> None:
    """The same message by many at once, and other messages beside it, have one effect each."""
    same = [clinic.send("Stop", "M1") for _ in range(6)]
    others = [clinic.send("Stop", f"N{number}") for number in range(3)]
    answers = await asyncio.gather(*same, *others)
    assert all(answer == answers[0] for answer in answers)
    assert (await clinic.rows())["inbound_message"] == 4
    assert len(await clinic.consents(clinic.mother)) == len(await clinic.consents(clinic.child)) == 3


async def test_pages_of_the_queue(clinic: Clinic) -> None:
    """The queue comes in pages, the longest waiting first, with one event for each patient and one for the look."""
    for number in range(3):
        await clinic.send(f"stop it all {number} please")
    first, leaves = await clinic.watched(QUEUE, variables={"first": 4})
    page = first.json()["data"]["waitingMessages"]
    assert (len(page["edges"]), page["pageInfo"]["hasNextPage"]) == (4, True)
    rest = (await clinic.data(QUEUE, variables={"after": page["edges"][-1]["cursor"]}))["waitingMessages"]["edges"]
    ids = [edge["node"]["id"] for edge in [*page["edges"], *rest]]
    assert ids == sorted(set(ids))
    assert len(ids) == 6
    assert sorted((leaf["act"], leaf.get("cnt")) for leaf in leaves if "pat" not in leaf) == [("query", 4)]
    assert [leaf["fld"] for leaf in leaves if "pat" in leaf] == [["displayName", "suspensions"]] * 2


async def test_words_are_sealed(clinic: Clinic, caplog: pytest.LogCaptureFixture) -> None:
    """What somebody wrote, and their number, stand in no table, event, answer or log line in clear."""
    await clinic.send("stop, says the Marmalade canary")
    await clinic.send("STOP", **{"from": "+12025550199"})
    [node, _] = await clinic.queue()
    assert "Marmalade" in node["patient"]["suspensions"][0]["text"]
    for table in (inbound_message, waiting_message, suppression, audit_event):
        everything = prepare(select(table).where(table.c.org == bindparam("org")))
        for row in await clinic.it.house.database.fetch(clinic.org, everything):
            text = repr([bytes(value) if isinstance(value, memoryview) else value for value in row])
            assert [word for word in ("Marmalade", "2025550") if word in text] == []
    assert [word for word in ("Marmalade", "2025550") if word in caplog.text] == []


async def test_verdict_of_another(clinic: Clinic) -> None:
    """A verdict needs the version, the right patient's message, and a role that may give it."""
    await clinic.send("please stop this")
    node, other = await clinic.queue()
    wanted = {"patientId": node["patient"]["id"], "suspensionId": node["id"], "verdict": "STOP",
              "expectedVersion": node["patient"]["version"]}  # fmt: skip
    for role, changed, code in (
        (None, {}, "UNAUTHENTICATED"),
        (Role.MESSAGING, {}, "FORBIDDEN"),
        (Role.PRIVACY_OFFICER, {}, "FORBIDDEN"),
        (Role.FRONT_DESK, {"expectedVersion": None}, "VERSION_REQUIRED"),
        (Role.FRONT_DESK, {"expectedVersion": 1}, "VERSION_CONFLICT"),
        (Role.FRONT_DESK, {"suspensionId": other["id"]}, "VALIDATION_FAILED"),
    ):
        assert await clinic.codes(RESOLVE, role, variables={"input": {**wanted, **changed}}) == [code]
    elsewhere = await clinic.codes(RESOLVE, Role.FRONT_DESK, variables={"input": wanted}, org=OTHER_ORG)
    assert elsewhere == ["NOT_FOUND"]
    assert len(await clinic.queue()) == 2
    assert await clinic.consents(node["patient"]["id"]) == []


async def test_who_may_bring_messages(clinic: Clinic) -> None:
    """Messaging and integrations bring messages, the front desk and patients do not; a refusal is recorded."""
    before = await clinic.rows()
    for role, code in ((None, "UNAUTHENTICATED"), (Role.FRONT_DESK, "FORBIDDEN"), (Role.OPERATOR, "FORBIDDEN")):
        answer, leaves = await clinic.watched(RECORD, role, variables=sent("Stop", "M1"))
        assert [error["extensions"]["code"] for error in answer.json()["errors"]] == [code]
        assert role is None or [leaf["out"] for leaf in leaves] == ["denied"]
    after = await clinic.rows()
    assert {**after, "audit_event": 0} == {**before, "audit_event": 0}
    assert (await clinic.ask(RECORD, Role.INTEGRATION, variables=sent("Stop", "M1"))).status_code == 200
    assert len(await clinic.consents(clinic.mother)) == 3
