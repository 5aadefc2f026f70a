"""One-time codes against those who guess, replay, flood and overhear; for every role, on both engines."""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from auth.roles import PERSONAL, Role
from crm.audit.event import Act
from crm.errors import SenderUnavailable
from crm.services.senders import Bounced
from tests.client import Client, client
from tests.conftest import Databases
from tests.house import ORG, OTHER_ORG, REQUEST, actor
from tests.intruder import Intruder
from tests.postbox import Postbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

START = (
    "mutation S($i: StartContactVerificationInput!) { startContactVerification(input: $i) { contactPointId channel } }"
)
POINTS = "version contactPoints { id verified verification { status method at by } undeliverable { count } }"
CONFIRM = f"mutation C($i: ConfirmContactVerificationInput!) {{ confirmContactVerification(input: $i) {{ {POINTS} }} }}"
ATTEST = f"mutation A($i: AttestContactPointInput!) {{ attestContactPoint(input: $i) {{ {POINTS} }} }}"
MAILBOX, MOBILE = "zoe.secret@example.test", "+447700900321"
MAY = {Role.FRONT_DESK, Role.CLINICIAN, Role.CARE_COORDINATOR, Role.PATIENT, Role.INTEGRATION}


@dataclass(frozen=True)
class Desk:
    """A service, its postbox, and somebody in its database."""

    it: Client
    box: Postbox
    intruder: Intruder

    async def person(self, **more: Any) -> tuple[str, str, str]:
        """A patient, their mailbox and their mobile, by ids."""
        points = [
            {"system": "EMAIL", "value": MAILBOX},
            {"system": "PHONE", "value": MOBILE, "use": "MOBILE"},
        ]
        patient = await self.it.house.store({"contact_points": points, **more})
        found = await self.points(patient)
        return patient, found[0]["id"], found[1]["id"]

    async def points(self, patient: str) -> list[dict[str, Any]]:
        """Their contact points."""
        query = f"query Q($id: ID!) {{ patient(id: $id) {{ {POINTS} }} }}"
        found = await self.it.data(query, Role.PRIVACY_OFFICER, variables={"id": patient})
        points: list[dict[str, Any]] = found["patient"]["contactPoints"]
        return points

    async def start(self, whose: str, point: str, role: Role = Role.FRONT_DESK, **who: Any) -> dict[str, Any]:
        """The answer to a request for a code."""
        variables = {"i": {"patientId": whose, "contactPointId": point}}
        answer: dict[str, Any] = (await self.it.ask(START, role, variables=variables, **who)).json()
        return answer

    async def code(self, patient: str, point: str) -> str:
        """A code that was sent."""
        assert "errors" not in await self.start(patient, point)
        return self.box.code()

    async def confirm(
        self, whose: str, point: str, code: str, version: int = 1, role: Role = Role.FRONT_DESK, **who: Any
    ) -> str:
        """`ok`, or the rule or code by which the confirmation was refused."""
        variables = {"i": {"patientId": whose, "expectedVersion": version, "contactPointId": point, "code": code}}
        return why((await self.it.ask(CONFIRM, role, variables=variables, **who)).json())


def why(answer: dict[str, Any]) -> str:
    """`ok`, or the rule or code of the one refusal."""
    if "errors" not in answer:
        return "ok"
    [error] = answer["errors"]
    return str(error["extensions"].get("rule", error["extensions"]["code"]))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    """One desk for the module, on each engine in turn."""
    url, box = databases.create(shared_engine), Postbox()
    async with client(url, tmp_path_factory.mktemp("desk"), sender=box) as it:
        yield Desk(it, box, Intruder(url))
    databases.drop(url)


# --- the good way ----------------------------------------------------------------------------------------------------


async def test_a_code_verifies_the_point_it_was_sent_to(desk: Desk) -> None:
    """Sent by mail and by text, told at the desk: verified by OTP, by whom and when, and only that contact point."""
    patient, mail, mobile = await desk.person()
    for version, (point, channel, address) in enumerate(((mail, "EMAIL", MAILBOX), (mobile, "SMS", MOBILE)), 1):
        answer = await desk.start(patient, point)
        assert answer["data"]["startContactVerification"] == {"contactPointId": point, "channel": channel}
        assert (desk.box.sent[-1].address, desk.box.sent[-1].channel) == (address, channel)
        assert await desk.confirm(patient, point, desk.box.code(), version) == "ok"
        said = {each["id"]: each["verification"] for each in await desk.points(patient)}[point]
        assert (said["status"], said["method"], said["by"]) == ("VERIFIED", "OTP", "front_desk-1")
        assert [each["verified"] for each in await desk.points(patient)] == [True, version == 2]


async def test_a_code_that_arrived_ends_a_mark(desk: Desk) -> None:
    """Where a code was read, messages do arrive."""
    points = [{"system": "EMAIL", "value": MAILBOX, "undeliverable": {"since": "2026", "reason": "UNKNOWN"}}]
    patient = await desk.it.house.store({"contact_points": points})
    [point] = await desk.points(patient)
    assert point["undeliverable"] == {"count": 1}
    assert await desk.confirm(patient, point["id"], await desk.code(patient, point["id"])) == "ok"
    assert (await desk.points(patient))[0]["undeliverable"] is None


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
async def test_every_role(desk: Desk, role: Role) -> None:
    """Who may change contact points has a code sent; nobody else causes a message, and the attempt is on record."""
    patient, mail, _ = await desk.person()
    before = len(desk.box.sent)
    bound = patient if role in PERSONAL else None
    variables = {"i": {"patientId": patient, "contactPointId": mail}}
    answer, leaves = await desk.it.watched(START, role, variables=variables, patient=bound)
    [leaf] = leaves
    if role in MAY:
        assert (len(desk.box.sent), leaf["out"], leaf["why"]) == (before + 1, "ok", "CODE_SENT")
    else:
        assert (len(desk.box.sent), leaf["out"], why(answer.json())[:9]) == (before, "denied", "FORBIDDEN")
    assert MAILBOX not in answer.text
    assert leaf["pat"]


@pytest.mark.parametrize("role", sorted(MAY))
async def test_strangers(desk: Desk, role: Role) -> None:
    """Nobody, another organisation and another patient: nothing is sent, and no try is used up."""
    patient, mail, _ = await desk.person()
    other, _, _ = await desk.person()
    code = await desk.code(patient, mail)
    before = len(desk.box.sent)
    bound = other if role in PERSONAL else None
    who: dict[str, Any] = {"org": OTHER_ORG, "patient": patient if role in PERSONAL else None}
    if role in PERSONAL:
        assert why(await desk.start(patient, mail, role, patient=bound)) == "NOT_FOUND"
        for _ in range(5):
            assert await desk.confirm(patient, mail, desk.box.other(code), role=role, patient=bound) == "NOT_FOUND"
    assert why(await desk.start(patient, mail, role, **who)) == "NOT_FOUND"
    for _ in range(5):
        assert await desk.confirm(patient, mail, desk.box.other(code), role=role, **who) == "NOT_FOUND"
    nobody = await desk.it.ask(START, None, variables={"i": {"patientId": patient, "contactPointId": mail}})
    assert why(nobody.json()) == "UNAUTHENTICATED"
    assert len(desk.box.sent) == before
    assert await desk.confirm(patient, mail, code) == "ok"


async def test_what_a_restricted_record_withholds_is_not_verified(desk: Desk) -> None:
    """Front desk cannot reach the hidden contact points through a code; the patient can, with five tries left."""
    patient, mail, _ = await desk.person(restricted=True)
    before = len(desk.box.sent)
    assert why(await desk.start(patient, mail)) == "RESTRICTED_RECORD"
    assert len(desk.box.sent) == before
    own: dict[str, Any] = {"role": Role.PATIENT, "patient": patient}
    assert "errors" not in await desk.start(patient, mail, **own)
    code = desk.box.code()
    for _ in range(6):
        assert await desk.confirm(patient, mail, desk.box.other(code)) == "RESTRICTED_RECORD"
    assert await desk.confirm(patient, mail, code, **own) == "ok"


async def test_who_asked_to_be_reached_elsewhere_is_left_alone(desk: Desk) -> None:
    """Staff cannot have anything sent past a confidential communication; the person can, to themself."""
    where = {"channel": "EMAIL", "value": "private@example.test", "set_at": "2026-05-01T08:00:00Z"}
    patient, mail, _ = await desk.person(confidential_communication=where)
    before = len(desk.box.sent)
    assert why(await desk.start(patient, mail)) == "confidential_communication"
    assert len(desk.box.sent) == before
    assert "errors" not in await desk.start(patient, mail, Role.PATIENT, patient=patient)


# --- guessing --------------------------------------------------------------------------------------------------------


async def test_five_tries_and_no_more(desk: Desk) -> None:
    """Each refused try is counted although it was refused, and then the right code is none."""
    patient, mail, _ = await desk.person()
    code = await desk.code(patient, mail)
    for _ in range(5):
        assert await desk.confirm(patient, mail, desk.box.other(code)) == "wrong_code"
    assert await desk.confirm(patient, mail, code) == "no_code"
    assert [each["verified"] for each in await desk.points(patient)] == [False, False]


async def test_many_at_once_have_five_tries_too(desk: Desk) -> None:
    """Twelve wrong tries at one moment: five are compared, the others find no code."""
    patient, mail, _ = await desk.person()
    wrong = desk.box.other(await desk.code(patient, mail))
    answers = await asyncio.gather(*(desk.confirm(patient, mail, wrong) for _ in range(12)))
    assert sorted(answers) == ["no_code"] * 7 + ["wrong_code"] * 5


async def test_what_is_no_code_is_not_tried(desk: Desk) -> None:
    """Other lengths and letters are refused by their form, also digits of other scripts; a stale version costs none."""
    patient, mail, _ = await desk.person()
    code = await desk.code(patient, mail)
    for form in ("", "12345", "1234567", "12345a", "１２３４５６", f" {code}", f"{code}\n"):
        assert await desk.confirm(patient, mail, form) == "code"
    assert await desk.confirm(patient, mail, desk.box.other(code), 7) == "VERSION_CONFLICT"
    [(attempts,)] = await desk.intruder.run(
        "SELECT attempts FROM contact_verification WHERE patient_id = ? AND closed_at IS NULL", patient
    )
    assert attempts == 0
    assert await desk.confirm(patient, mail, code) == "ok"


async def test_a_code_serves_one_point_of_one_person_once(desk: Desk) -> None:
    """Not the other contact point, not somebody else's of the same value, and not a second time."""
    patient, mail, mobile = await desk.person()
    other, their_mail, _ = await desk.person()
    code = await desk.code(patient, mail)
    await desk.code(patient, mobile)
    await desk.code(other, their_mail)
    assert await desk.confirm(patient, mobile, code) == "wrong_code"
    assert await desk.confirm(other, their_mail, code) == "wrong_code"
    assert await desk.confirm(patient, mail, code) == "ok"
    assert await desk.confirm(patient, mail, code, 2) == "no_code"


async def test_a_hash_that_was_moved_is_worth_nothing(desk: Desk) -> None:
    """Somebody in the database puts the hash of a code they know at another person's point of the same value."""
    mine, my_mail, _ = await desk.person()
    other, their_mail, _ = await desk.person()
    code = await desk.code(mine, my_mail)
    await desk.code(other, their_mail)
    moved = "UPDATE contact_verification SET code = (SELECT code FROM contact_verification WHERE patient_id = ?)"
    await desk.intruder.run(f"{moved} WHERE patient_id = ?", mine, other)
    assert await desk.confirm(other, their_mail, code) == "wrong_code"
    assert await desk.confirm(mine, my_mail, code) == "ok"


async def test_a_newer_code_ends_an_older_one(desk: Desk) -> None:
    """Only the newest serves, so that tries do not add up."""
    patient, mail, _ = await desk.person()
    old = await desk.code(patient, mail)
    new = await desk.code(patient, mail)
    if old != new:
        assert await desk.confirm(patient, mail, old) == "wrong_code"
    assert await desk.confirm(patient, mail, new) == "ok"


async def test_a_code_for_an_edited_value_is_dead(desk: Desk) -> None:
    """Who changes the mailbox between sending and telling verifies neither."""
    patient, mail, _ = await desk.person()
    code = await desk.code(patient, mail)
    change = "mutation U($i: UpdateContactPointInput!) { updateContactPoint(input: $i) { version } }"
    point = {"value": "mallory@example.test"}
    variables = {"i": {"patientId": patient, "expectedVersion": 1, "contactPointId": mail, "contactPoint": point}}
    await desk.it.data(change, variables=variables)
    assert await desk.confirm(patient, mail, code, 2) == "wrong_code"
    assert not any(each["verified"] for each in await desk.points(patient))


async def test_a_code_serves_ten_minutes(desk: Desk) -> None:
    """Eleven minutes later it is none; nine minutes later it is."""
    for minutes, expected in ((11, "no_code"), (9, "ok")):
        patient, mail, _ = await desk.person()
        code = await desk.code(patient, mail)
        await _pass_time(desk, patient, minutes)
        assert await desk.confirm(patient, mail, code) == expected


async def _pass_time(desk: Desk, patient: str, minutes: int) -> None:
    """Moves what was sent to a patient into the past."""
    ago = minutes * 60_000_000
    await desk.intruder.run(
        f"UPDATE contact_verification SET created_at = created_at - {ago}, expires_at = expires_at - {ago}"
        " WHERE patient_id = ?",
        patient,
    )


# --- flooding --------------------------------------------------------------------------------------------------------


async def test_three_codes_an_hour(desk: Desk) -> None:
    """The fourth within an hour is refused with the time to wait, and not sent; an hour later there is another."""
    patient, mail, mobile = await desk.person()
    for _ in range(3):
        await desk.code(patient, mail)
    before = len(desk.box.sent)
    refused = await desk.start(patient, mail)
    assert why(refused) == "RATE_LIMITED"
    assert 3590 <= refused["errors"][0]["extensions"]["retryAfter"] <= 3600
    assert len(desk.box.sent) == before
    await desk.code(patient, mobile)
    await _pass_time(desk, patient, 61)
    await desk.code(patient, mail)


async def test_ten_codes_an_hour_about_one_person(desk: Desk) -> None:
    """New contact points do not open a way to have numbers of others called without end."""
    points = [{"system": "EMAIL", "value": f"other-{n}@example.test"} for n in range(11)]
    patient = await desk.it.house.store({"contact_points": points})
    answers = [why(await desk.start(patient, point["id"])) for point in await desk.points(patient)]
    assert answers == ["ok"] * 10 + ["RATE_LIMITED"]


async def test_many_at_once_are_three_too(desk: Desk) -> None:
    """Eight requests at one moment send three codes."""
    patient, mail, _ = await desk.person()
    before = len(desk.box.sent)
    answers = await asyncio.gather(*(desk.start(patient, mail) for _ in range(8)))
    assert sorted(map(why, answers)) == ["RATE_LIMITED"] * 5 + ["ok"] * 3
    assert len(desk.box.sent) == before + 3


# --- where nothing can be sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "rule"),
    [
        ({"system": "URL", "value": "https://example.test"}, "no_sender"),
        ({"system": "FAX", "value": "+442071838750"}, "no_sender"),
        ({"system": "PHONE", "value": "+442071838750", "use": "HOME"}, "no_sender"),
        ({"system": "EMAIL", "value": MAILBOX, "use": "OLD"}, "not_in_use"),
        ({"system": "EMAIL", "value": MAILBOX, "period": {"end": "2020-01"}}, "not_in_use"),
        ({"system": "PHONE", "value": MOBILE, "use": "MOBILE", "text_permitted": "NO"}, "texts_not_permitted"),
    ],
)
async def test_a_point_that_no_code_may_reach(desk: Desk, point: dict[str, Any], rule: str) -> None:
    """Each is refused by a rule, and nothing is sent or stored."""
    patient = await desk.it.house.store({"contact_points": [point]})
    before = len(desk.box.sent)
    assert why(await desk.start(patient, (await desk.points(patient))[0]["id"])) == rule
    assert len(desk.box.sent) == before
    assert await desk.intruder.run("SELECT id FROM contact_verification WHERE patient_id = ?", patient) == []


async def test_a_sender_that_fails(desk: Desk) -> None:
    """One that rests is OVERLOADED, a dead mailbox `undeliverable`; both are on record, and count as sent."""
    patient, mail, _ = await desk.person()
    variables = {"i": {"patientId": patient, "contactPointId": mail}}
    cases = ((SenderUnavailable(7), "OVERLOADED", "error"), (Bounced(), "undeliverable", "denied"))
    for failure, expected, outcome in cases:
        desk.box.failure = failure
        try:
            answer, leaves = await desk.it.watched(START, variables=variables)
        finally:
            desk.box.failure = None
        assert why(answer.json()) == expected
        assert [leaf["out"] for leaf in leaves] == ["ok", outcome]
    await desk.code(patient, mail)
    assert why(await desk.start(patient, mail)) == "RATE_LIMITED"


# --- what others see of it -------------------------------------------------------------------------------------------


async def test_neither_code_nor_address_is_kept_or_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The row has a hash that is not the code's own; answers, leaves and log lines have nothing."""
    patient, mail, _ = await desk.person()
    with caplog.at_level(logging.DEBUG):
        variables = {"i": {"patientId": patient, "contactPointId": mail}}
        answer, leaves = await desk.it.watched(START, variables=variables)
        code = desk.box.code()
        await desk.confirm(patient, mail, desk.box.other(code))
    [(stored,)] = await desk.intruder.run("SELECT code FROM contact_verification WHERE patient_id = ?", patient)
    assert len(bytes(stored)) == 32
    assert bytes(stored) != hashlib.sha256(code.encode()).digest()
    for text in (answer.text, str(leaves), caplog.text):
        assert not re.search(rf"\b{code}\b", text)
        assert MAILBOX not in text
    assert MAILBOX not in desk.box.sent[-1].text
    assert repr(desk.box.sent[-1]).count(code) + repr(desk.box.sent[-1]).count(MAILBOX) == 0


async def test_a_refused_try_is_on_record(desk: Desk) -> None:
    """A wrong code leaves a denial of that patient; the right one the change of contact points."""
    patient, mail, _ = await desk.person()
    code = await desk.code(patient, mail)
    for given, outcome, changed in ((desk.box.other(code), "denied", None), (code, "ok", ["contactPoints"])):
        variables = {"i": {"patientId": patient, "expectedVersion": 1, "contactPointId": mail, "code": given}}
        _, [leaf] = await desk.it.watched(CONFIRM, variables=variables)
        assert (leaf["act"], leaf["out"], leaf.get("chg"), "pat" in leaf) == ("update", outcome, changed, True)


async def test_erasure_takes_codes_along(desk: Desk) -> None:
    """Of an erased patient no row says that a code was sent, or when."""
    patient, mail, _ = await desk.person()
    await desk.code(patient, mail)
    context = REQUEST.context(actor(Role.PRIVACY_OFFICER, org=ORG))
    async with desk.it.house.services.store.writing(context, Act.ERASE) as unit:
        await unit.erase((await unit.load_for_change([patient]))[patient], None, "PATIENT_REQUEST")
    assert await desk.intruder.run("SELECT id FROM contact_verification WHERE patient_id = ?", patient) == []


# --- the word of staff -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
async def test_only_staff_attest(desk: Desk, role: Role) -> None:
    """Three roles of staff say that a point is the person's, or is not; no patient or program does."""
    patient, mail, _ = await desk.person()
    bound = patient if role in PERSONAL else None
    may = role in {Role.FRONT_DESK, Role.CLINICIAN, Role.CARE_COORDINATOR}
    for version, verified in ((1, True), (2, False)):
        given = {"patientId": patient, "expectedVersion": version, "contactPointId": mail, "verified": verified}
        answer, [leaf] = await desk.it.watched(ATTEST, role, variables={"i": given}, patient=bound)
        said = (await desk.points(patient))[0]["verification"]
        if may:
            state = "VERIFIED" if verified else "FAILED"
            assert (said["status"], said["method"], said["by"]) == (state, "STAFF", f"{role.value}-1")
        else:
            assert why(answer.json())[:9] == "FORBIDDEN"
            assert (leaf["out"], said["status"]) == ("denied", "UNVERIFIED")


async def test_staff_end_a_code(desk: Desk) -> None:
    """A code that waits must not turn a failed verification round."""
    patient, mail, _ = await desk.person()
    code = await desk.code(patient, mail)
    given = {"patientId": patient, "expectedVersion": 1, "contactPointId": mail, "verified": False}
    await desk.it.data(ATTEST, variables={"i": given})
    assert await desk.confirm(patient, mail, code, 2) == "no_code"
