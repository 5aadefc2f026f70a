"""A change that is asked for again under the same key: one effect, and the same answer."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import bindparam, select
from starlette.applications import Starlette

from auth.policy import Action
from auth.roles import Role
from crm.domain.retries import Retry
from crm.errors import RequestInProgress, SenderUnavailable
from crm.services.request import Request
from crm.services.retries import Repeatable, Retries
from crm.store.statements import prepare
from crm.store.tables import retry
from tests.client import Client, client
from tests.conftest import Databases
from tests.house import ORG, actor
from tests.postbox import Postbox
from tests.situations import ALL, situation
from tests.sockets import listening

PREFER = "mutation U($i: UpdatePreferencesInput!) { updatePreferences(input: $i) { id version preferredName } }"
_WHOLE = prepare(select(retry).where(retry.c.org == bindparam("org")))
_ROWS = prepare(select(retry.c.kind, retry.c.patient_id).where(retry.c.org == bindparam("org")))
_RUNNING_ON = {"openings", "ageMinutes", "note"}


@pytest.fixture(scope="module")
def postbox() -> Postbox:
    """What takes one-time codes."""
    return Postbox()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory, postbox: Postbox
) -> AsyncIterator[Client]:
    """One service for the module, on each engine in turn."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path_factory.mktemp("retries"), sender=postbox) as it:
        yield it


pytestmark = pytest.mark.asyncio(loop_scope="module")


def key() -> dict[str, str]:
    """A header with a new key."""
    return {"idempotency-key": uuid4().hex}


def settled(answer: dict[str, Any]) -> dict[str, Any]:
    """The same answer without what goes on by itself, such as the age of a grant."""
    return {
        root: {name: value for name, value in (fields or {}).items() if name not in _RUNNING_ON}
        for root, fields in answer["data"].items()
    }


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """The extensions of the one error of an answer."""
    [error] = answer["errors"]
    found: dict[str, Any] = error["extensions"]
    return found


@pytest.mark.parametrize("mutation", ALL)
async def test_every_mutation_is_safe_to_repeat(served: Client, mutation: str) -> None:
    """Asked three times it has one effect and one answer; each repetition is on record."""
    it = await situation(served, mutation)
    under = key()
    first = await it.ask(served, headers=under)
    assert "errors" not in first, first
    before = await served.house.outbox()
    again, leaves = await it.watched(served, headers=under)
    assert settled(again) == settled(first)
    assert settled(await it.ask(served, headers=under)) == settled(first)
    assert await served.house.outbox() == before
    if mutation != "recordInboundMessage":  # is known by its own id, and tells nothing of anybody
        assert [(leaf["out"], leaf.get("why")) for leaf in leaves] == [("ok", "REPEATED")]


async def test_the_answer_is_that_of_then(served: Client) -> None:
    """Once the record has moved on, who asks again is still told of the version that their change made."""
    ann = (await served.house.register())["id"]
    under, first = key(), {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}
    await served.ask(PREFER, variables={"i": first}, headers=under)
    later = {"patientId": ann, "expectedVersion": 2, "preferredName": "Bea"}
    await served.ask(PREFER, variables={"i": later}, headers=key())
    again = (await served.ask(PREFER, variables={"i": first}, headers=under)).json()
    assert again == {"data": {"updatePreferences": {"id": ann, "version": 2, "preferredName": "Ada"}}}


@pytest.mark.parametrize("header", ["idempotency-key", "x-request-id"])
async def test_another_request_under_the_same_key(served: Client, header: str) -> None:
    """Refused, whether values, variables or document differ; what was done is answered nevertheless."""
    ann = (await served.house.register())["id"]
    under, first = {header: uuid4().hex}, {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}
    done = (await served.ask(PREFER, variables={"i": first}, headers=under)).json()
    for query, other in (
        (PREFER, {**first, "preferredName": "Bea"}),
        (PREFER, {**first, "expectedVersion": 2}),
        (PREFER.replace("id version", "version"), first),
        (PREFER.replace(" updatePreferences", " other: updatePreferences"), first),
    ):
        answer = (await served.ask(query, variables={"i": other}, headers=under)).json()
        assert told(answer) == {"code": "VALIDATION_FAILED", "field": header, "rule": "repeated_with_other_payload"}
    reordered = dict(reversed(first.items()))
    assert (await served.ask(PREFER, variables={"i": reordered}, headers=under)).json() == done


async def test_a_key_is_its_callers_own(served: Client) -> None:
    """Nobody else is answered, or kept from anything, by a key that another caller, or header, has used."""
    ann = (await served.house.register())["id"]
    name, first = uuid4().hex, {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}
    await served.ask(PREFER, variables={"i": first}, headers={"idempotency-key": name})
    others: list[tuple[Role, dict[str, Any]]] = [(Role.FRONT_DESK, {"subject": "another"}), (Role.CLINICIAN, {})]
    for role, more in others:
        answer = (
            await served.ask(PREFER, role, variables={"i": first}, headers={"idempotency-key": name}, **more)
        ).json()
        assert told(answer)["code"] == "VERSION_CONFLICT"
    answer = (await served.ask(PREFER, variables={"i": first}, headers={"x-request-id": name})).json()
    assert told(answer)["code"] == "VERSION_CONFLICT"


async def test_a_refused_change_claims_nothing(served: Client) -> None:
    """After a refusal the key is as good as new, also for something else."""
    ann = (await served.house.register())["id"]
    under, values = key(), {"patientId": ann, "expectedVersion": 9, "preferredName": "Ada"}
    assert told((await served.ask(PREFER, variables={"i": values}, headers=under)).json())["code"] == "VERSION_CONFLICT"
    values["expectedVersion"] = 1
    done = (await served.ask(PREFER, variables={"i": values}, headers=under)).json()
    assert done["data"]["updatePreferences"]["version"] == 2


@pytest.mark.parametrize("bad", ["", "with space", "x" * 256, "caf\u00e9"])
async def test_a_malformed_key(served: Client, bad: str) -> None:
    """Neither header nor extension takes it, and nothing is done."""
    ann = (await served.house.register())["id"]
    values = {"i": {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}}
    headers = {"idempotency-key": bad.encode("latin-1")}
    answer = (await served.ask(PREFER, variables=values, headers=headers)).json()  # type: ignore[arg-type]
    assert told(answer) == {"code": "VALIDATION_FAILED", "field": "idempotency-key", "rule": "retry_key"}
    body = {"query": PREFER, "variables": values, "extensions": {"idempotencyKey": bad}}
    bearer = {"authorization": f"Bearer {served.token(Role.FRONT_DESK)}"}
    answer = (await served.http.post("/graphql", json=body, headers=bearer)).json()
    assert told(answer) == {"code": "VALIDATION_FAILED", "field": "extensions.idempotencyKey"}
    assert await version(served, ann) == 1


@pytest.mark.parametrize("bad", ["", "x y", "x" * 300, "caf\u00e9"])
async def test_a_request_id_that_cannot_be_a_key(served: Client, bad: str) -> None:
    """A mutation is not made without the key that its sender believes it has; a query, and another key, do without."""
    ann = (await served.house.register())["id"]
    values = {"i": {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}}
    headers: Any = {"x-request-id": bad.encode("latin-1")}
    answer = (await served.ask(PREFER, variables=values, headers=headers)).json()
    assert told(answer) == {"code": "VALIDATION_FAILED", "field": "x-request-id", "rule": "retry_key"}
    assert await version(served, ann) == 1
    assert "errors" not in (await served.ask(f'{{ patient(id: "{ann}") {{ version }} }}', headers=headers)).json()
    done = (await served.ask(PREFER, variables=values, headers={**headers, **key()})).json()
    assert done["data"]["updatePreferences"]["version"] == 2


async def test_a_key_in_the_body(served: Client) -> None:
    """`extensions.idempotencyKey` is as good as the header, and the same key."""
    ann = (await served.house.register())["id"]
    values, name = {"i": {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}}, uuid4().hex
    body = {"query": PREFER, "variables": values, "extensions": {"idempotencyKey": name}}
    bearer = {"authorization": f"Bearer {served.token(Role.FRONT_DESK)}"}
    first = (await served.http.post("/graphql", json=body, headers=bearer)).json()
    again = (await served.ask(PREFER, variables=values, headers={"idempotency-key": name})).json()
    assert again == first == {"data": {"updatePreferences": {"id": ann, "version": 2, "preferredName": "Ada"}}}


async def test_several_changes_in_one_request(served: Client) -> None:
    """Each root field is done once; one that failed is done when the request comes again, the others are answered."""
    ann = (await served.house.register())["id"]
    ben = (await served.house.register({"preferred_name": "Ben"}))["id"]
    query = """mutation Two($a: UpdatePreferencesInput!, $b: UpdatePreferencesInput!) {
      a: updatePreferences(input: $a) { version } b: updatePreferences(input: $b) { version } }"""
    values = {
        "a": {"patientId": ann, "expectedVersion": 1, "instructions": "One."},
        "b": {"patientId": ben, "expectedVersion": 2, "instructions": "Two."},
    }
    under = key()
    first = (await served.ask(query, variables=values, headers=under)).json()
    assert first["data"] == {"a": {"version": 2}, "b": None}
    await served.ask(PREFER, variables={"i": {"patientId": ben, "expectedVersion": 1, "preferredName": "Benno"}})
    again = (await served.ask(query, variables=values, headers=under)).json()
    assert again == {"data": {"a": {"version": 2}, "b": {"version": 3}}}


async def test_many_at_once(served: Client) -> None:
    """Of fifty at the same moment one is done; the others get its answer, or are told to come again."""
    ann = (await served.house.register())["id"]
    values, under = {"i": {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}}, key()
    answers = await asyncio.gather(*(served.ask(PREFER, variables=values, headers=under) for _ in range(50)))
    bodies = [answer.json() for answer in answers]
    done = [body for body in bodies if "errors" not in body]
    assert all(body["data"]["updatePreferences"] == {"id": ann, "version": 2, "preferredName": "Ada"} for body in done)
    waiting = [answer for answer in answers if "errors" in answer.json()]
    assert {told(answer.json())["code"] for answer in waiting} <= {"REQUEST_IN_PROGRESS", "RATE_LIMITED"}
    assert {answer.status_code for answer in waiting} <= {409, 429}
    assert all(answer.headers["retry-after"] == "1" for answer in waiting)
    assert done
    assert await version(served, ann) == 2


async def test_nobody_waits_for_what_is_being_done(served: Client) -> None:
    """While a request is at work, the same again is refused at once, and on record as refused."""
    clerk, going, done = actor(Role.FRONT_DESK), asyncio.Event(), asyncio.Event()
    request = Request(uuid4().hex, "Test", Retry("idempotency-key", uuid4().hex, b"asked"))
    change = Repeatable(Action.UPDATE, (), frozenset())

    async def slowly(_: Request) -> str:
        going.set()
        await done.wait()
        return "done"

    once = served.house.services.retries.once
    first = asyncio.create_task(once(clerk, request, change, slowly))
    await going.wait()
    async with asyncio.timeout(5):
        with pytest.raises(RequestInProgress):
            await once(clerk, request, change, slowly)
    done.set()
    assert await first == "done"
    [leaf] = await served.house.leaves(request=request.id)
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("update", "denied", "REQUEST_IN_PROGRESS")
    page = (await served.http.get("/metrics")).text
    assert re.search(r'^heed_retries_total\{outcome="in_progress"\} [1-9]', page, re.MULTILINE)


async def test_permissions_are_those_of_now(served: Client) -> None:
    """Who may not ask any more is answered nothing, whatever they were answered before."""
    ann = (await served.house.register())["id"]
    values, under = {"i": {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}}, key()
    who: dict[str, Any] = {"subject": "somebody"}
    await served.ask(PREFER, variables=values, headers=under, **who)
    refused = (await served.ask(PREFER, Role.MESSAGING, variables=values, headers=under, **who)).json()
    assert (told(refused)["code"], "Ada" in str(refused)) == ("FORBIDDEN", False)


async def test_after_an_erasure(served: Client) -> None:
    """What was done is not done again, and nothing that leads to the patient is left of it."""
    register = "mutation R($i: RegisterPatientInput!) { registerPatient(input: $i) { id } }"
    under, values = key(), {"i": {"preferredName": "Ada"}}
    ann = (await served.ask(register, variables=values, headers=under)).json()["data"]["registerPatient"]["id"]
    erase = "mutation E($i: ErasePatientInput!) { erasePatient(input: $i) { whole } }"
    gone = {"patientId": ann, "expectedVersion": 1, "reason": "PATIENT_REQUEST"}
    await served.data(erase, Role.PRIVACY_OFFICER, variables={"i": gone})
    again = (await served.ask(register, variables=values, headers=under)).json()
    assert told(again)["code"] == "ERASED"
    rows = await served.house.database.fetch(ORG, _ROWS)
    assert ann not in {row["patient_id"] for row in rows}
    assert "gone" in {row["kind"] for row in rows}


async def test_what_is_not_kept_is_forgotten(served: Client) -> None:
    """Rows go after the hours that they are kept; a younger one stays."""
    ann = (await served.house.register())["id"]
    values, under = {"i": {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}}, key()
    await served.ask(PREFER, variables=values, headers=under)
    held = served.house.services
    for hours, kept in ((1, True), (0, False)):
        later = Retries(held.store, held.profiles, held.holds, held.erasures, held.break_glass, hours=hours)
        await later.prune()
        assert (ann in {row["patient_id"] for row in await served.house.database.fetch(ORG, _ROWS)}) is kept


RESTRICT = "mutation R($i: RestrictRecordInput!) { restrictRecord(input: $i) { version } }"
ADD = """mutation A($i: AddContactPointInput!) {
  addContactPoint(input: $i) { version contactPoints { value } displayName } }"""


async def test_what_is_withheld_by_now_is_withheld(served: Client) -> None:
    """Restricted after the change, the record shows who asks again no more than it shows them else."""
    ann = (await served.house.register({"preferred_name": "Ada"}))["id"]
    point = {"system": "EMAIL", "value": "hidden.by.now@example.test"}
    values, under = {"i": {"patientId": ann, "expectedVersion": 1, "contactPoint": point}}, key()
    first = (await served.ask(ADD, variables=values, headers=under)).json()
    assert "hidden.by.now" in str(first)
    restriction = {"patientId": ann, "expectedVersion": 2, "kind": "RECORD", "basis": "SAFEGUARDING"}
    await served.data(RESTRICT, Role.PRIVACY_OFFICER, variables={"i": restriction})
    again = (await served.ask(ADD, variables=values, headers=under)).json()
    assert "hidden.by.now" not in str(again)
    assert again["data"]["addContactPoint"] == {"version": 2, "contactPoints": None, "displayName": "Ada"}


async def test_another_organisation(served: Client) -> None:
    """The same person, application and key in another organisation ask for something else."""
    ann = (await served.house.register())["id"]
    values, under = {"i": {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}}, key()
    await served.ask(PREFER, variables=values, headers=under)
    answer = (await served.ask(PREFER, variables=values, headers=under, org="south-clinic")).json()
    assert (told(answer)["code"], "Ada" in str(answer)) == ("NOT_FOUND", False)


async def test_what_was_told_is_what_is_stored(served: Client) -> None:
    """Neither the key nor any value of the request is in the row of a retry."""
    ann = (await served.house.register())["id"]
    values = {"i": {"patientId": ann, "expectedVersion": 1, "preferredName": "Canary-of-a-retry"}}
    await served.ask(PREFER, variables=values, headers={"idempotency-key": "Canary-of-a-key"})
    rows = await served.house.database.fetch(ORG, _WHOLE)
    octets = b"".join(part if isinstance(part, bytes) else str(part).encode() for row in rows for part in tuple(row))
    assert ann.encode() in octets
    assert b"Canary" not in octets


async def test_a_code_that_could_not_be_sent(served: Client, postbox: Postbox) -> None:
    """Asked again after the sender failed, it is sent; asked again after that, it is not sent twice."""
    it = await situation(served, "startContactVerification")
    under, before = key(), len(postbox.sent)
    postbox.failure = SenderUnavailable()
    assert told(await it.ask(served, headers=under))["code"] == "OVERLOADED"
    postbox.failure = None
    answers = [await it.ask(served, headers=under) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(postbox.sent) == before + 1


async def test_a_code_that_nobody_knows_to_have_been_sent(served: Client, postbox: Postbox) -> None:
    """While the sender hung the request ended: asked again a fresh code is sent, and after that no other."""
    it = await situation(served, "startContactVerification")
    under, before = key(), len(postbox.sent)
    postbox.hanging = asyncio.Event()
    lost = asyncio.create_task(it.ask(served, headers=under))
    async with asyncio.timeout(10):
        await postbox.hanging.wait()
    lost.cancel()
    await asyncio.wait([lost])
    postbox.hanging = None
    assert len(postbox.sent) == before
    answers = [await it.ask(served, headers=under) for _ in range(2)]
    assert "errors" not in answers[0]
    assert answers[0] == answers[1]
    assert len(postbox.sent) == before + 1


async def test_over_a_websocket(served: Client) -> None:
    """The key of an operation comes with it; under the id of the handshake alone nothing is repeated."""
    ann = (await served.house.register())["id"]
    name, heard = uuid4().hex, []
    head: dict[str, Any] = {"additional_headers": {"x-request-id": uuid4().hex}}
    async with listening(cast(Starlette, served.app)) as server, server.line(**head) as line:
        await line.start(served.token(Role.FRONT_DESK))
        for more in ({"idempotencyKey": name}, {"idempotencyKey": name}, {}):
            values = {"i": {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}}
            await line.ask(PREFER, variables=values, extensions=more)
            heard.append((await line.hear())["payload"])
            await line.hear()
    assert heard[0] == heard[1] == {"data": {"updatePreferences": {"id": ann, "version": 2, "preferredName": "Ada"}}}
    assert told(heard[2])["code"] == "VERSION_CONFLICT"


async def version(served: Client, patient: str) -> int:
    """The version now stored."""
    return int((await served.data(f'{{ patient(id: "{patient}") {{ version }} }}'))["patient"]["version"])
