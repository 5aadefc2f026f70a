"""What patients see of the log: their own events and nobody else's, and of the staff only what policy says."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from auth.issuers import IssuerKeys
from auth.purposes import Purpose
from auth.roles import Role
from auth.tokens import TokenVerifier
from crm.audit.checkpoint import parse
from crm.audit.event import Act, Event, Who, leaf_hash
from crm.audit.tree import verify_inclusion
from crm.crypto.note import open_note
from crm.services.own_log import OwnLog
from schema.app import create_app
from schema.settings import Settings
from tests.asking import question
from tests.client import Client, client
from tests.conftest import Databases
from tests.house import ORG, OTHER_ORG
from tests.logs import verifier_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODE = """id recordedAt action outcome purposeOfUse roles organisation yourself subject circumstances
  fields { path label }"""
PROOF = "proof { index size leaf leafHash hashes tlogProof checkpoint { size note } }"
ASKED = f"""query Mine($first: Int, $after: String) {{ myAccessLog(first: $first, after: $after) {{
  edges {{ cursor node {{ {NODE} }} }} pageInfo {{ hasNextPage hasPreviousPage endCursor }} }} }}"""
PROVED = f"query Proved {{ myAccessLog(first: 100) {{ edges {{ node {{ id subject {PROOF} }} }} }} }}"


@dataclass(frozen=True)
class Two:
    """Two patients of one organisation, at whom a nurse looked; `subject` is the first one's name in the log."""

    ada: str
    grace: str
    subject: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(served: Client) -> AsyncIterator[Two]:
    """Ada's record was read, and refused to somebody, and read under break-glass; Grace's was read."""
    ada = str((await served.house.register({"preferred_name": "Ada"}))["id"])
    grace = str((await served.house.register({"preferred_name": "Grace"}))["id"])
    for patient in (ada, grace):
        await served.data(question("religion"), Role.CLINICIAN, variables={"id": patient}, subject="nurse-joy")
    assert await served.codes(question("religion"), variables={"id": ada}, subject="clerk-kim") == ["FORBIDDEN_FIELD"]
    subject = (await served.house.leaves(actor="clerk-kim"))[0]["pat"]
    doctor = Who(iss="https://issuer.test", sub="doctor-lee", roles=("clinician",), org=ORG)
    flags = ("break_glass", "same_surname", "after_hours", "coworker")
    await served.house.log.append(ORG, [Event(Act.READ, who=doctor, pou="BTG", pat=subject, flg=flags)])
    yield Two(ada, grace, subject)


async def mine(served: Client, patient: str, query: str = ASKED, **variables: Any) -> list[dict[str, Any]]:
    """The events that a patient is shown, newest first."""
    data = await served.data(query, Role.PATIENT, patient=patient, variables=variables)
    return [edge["node"] for edge in data["myAccessLog"]["edges"]]


async def test_who_looked_at_my_record(served: Client, two: Two) -> None:
    """Everything that names the record: when, what, why, in which role, and what was special; the person not."""
    shown = [node for node in await mine(served, two.ada) if node["action"] != "audit.read"]
    assert [(node["action"], node["outcome"], node["purposeOfUse"], node["roles"]) for node in shown] == [
        ("read", "OK", "BTG", ["CLINICIAN"]),
        ("read", "DENIED", "PATADMIN", ["FRONT_DESK"]),
        ("read", "OK", "TREAT", ["CLINICIAN"]),
        ("create", "OK", "RECORDMGT", ["INTEGRATION"]),
    ]
    # What says something about a member of staff, or what the patient knows better, is not shown.
    assert shown[0]["circumstances"] == ["AFTER_HOURS", "BREAK_GLASS"]
    assert [field["path"] for field in shown[2]["fields"]] == ["religion"]
    assert shown[2]["fields"][0]["label"].startswith("Religion")
    assert {node["subject"] for node in shown} == {None}
    assert {node["organisation"] for node in shown} == {ORG}
    assert not any(node["yourself"] for node in shown)


async def test_nothing_of_anybody_else(served: Client, two: Two) -> None:
    """No event of another patient, no name of staff, and no name of a patient in the log, whatever is selected."""
    for query in (ASKED, PROVED):
        answer = await served.ask(query, Role.PATIENT, patient=two.ada)
        ids = {edge["node"]["id"] for edge in answer.json()["data"]["myAccessLog"]["edges"]}
        own = {leaf["id"] for leaf in await served.house.leaves(patient=two.subject)}
        assert ids <= own
        assert len(ids) >= 4
        for secret in ("nurse-joy", "clerk-kim", "doctor-lee", "u-1", two.grace, two.subject):
            assert secret not in answer.text
    [grace] = [node for node in await mine(served, two.grace) if node["action"] == "read"]
    assert grace["id"] not in ids


async def test_the_look_is_an_event_of_ones_own(served: Client, two: Two) -> None:
    """Exactly one, naming oneself; the next time it is seen, as what one did oneself. Proofs add none."""
    for query in (ASKED, PROVED):
        answer, [leaf] = await served.watched(query, Role.PATIENT, patient=two.ada)
        shown = answer.json()["data"]["myAccessLog"]["edges"]
        assert (leaf["act"], leaf["out"], leaf["pat"]) == ("audit.read", "ok", two.subject)
        assert leaf["cnt"] == len(shown)
    newest = (await mine(served, two.ada))[0]
    assert (newest["action"], newest["yourself"], newest["subject"]) == ("audit.read", True, "patient-1")


async def test_pages(served: Client, two: Two) -> None:
    """Pages put together are the whole list; a cursor of somebody else's event shows nothing of it."""
    before = [node["id"] for node in await mine(served, two.ada, first=100)]
    seen: list[str] = []
    after = None
    while len(seen) < len(before):
        variables = {"first": 2, "after": after}
        found = (await served.data(ASKED, Role.PATIENT, patient=two.ada, variables=variables))["myAccessLog"]
        seen += [edge["node"]["id"] for edge in found["edges"] if edge["node"]["id"] in before]
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            break
    assert seen == before
    theirs = await served.data(ASKED, Role.PATIENT, patient=two.grace, variables={"first": 1})
    cursor = theirs["myAccessLog"]["pageInfo"]["endCursor"]
    assert {node["id"] for node in await mine(served, two.ada, after=cursor)} <= {
        leaf["id"] for leaf in await served.house.leaves(patient=two.subject)
    }
    for wrong in ("AA", "LTE"):
        answer = await served.ask(ASKED, Role.PATIENT, patient=two.ada, variables={"after": wrong})
        assert answer.json()["errors"][0]["extensions"]["rule"] == "cursor"


async def test_every_entry_is_proved(served: Client, two: Two) -> None:
    """By one signed checkpoint; the leaf stays back, but it is that leaf which is proved."""
    leaves = {leaf["id"]: leaf for leaf in await served.house.leaves(patient=two.subject)}
    notes = set()
    for node in await mine(served, two.ada, PROVED):
        proof = node["proof"]
        assert proof["leaf"] is None
        notes.add(proof["checkpoint"]["note"])
        checkpoint = parse(open_note(proof["checkpoint"]["note"], verifier_key(f"heed.test/{ORG}/1")))
        path = [base64.b64decode(each) for each in proof["hashes"]]
        hashed = base64.b64decode(proof["leafHash"])
        verify_inclusion(hashed, proof["index"], proof["size"], path, checkpoint.root)
        known = leaves[node["id"]]
        assert hashed == leaf_hash(json.dumps(known, sort_keys=True, separators=(",", ":")).encode())
    assert len(notes) == 1


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PATIENT])
async def test_nobody_else_asks(served: Client, two: Two, role: Role) -> None:
    """Nine roles may not, proxies among them; nothing is told, and the attempt is on record."""
    answer, [leaf] = await served.watched(ASKED, role, patient=two.ada)
    assert answer.json() == {"errors": answer.json()["errors"]}
    assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("audit.read", "denied", "FORBIDDEN")


async def test_whoever_is_no_patient_of_this_organisation(served: Client, two: Two) -> None:
    """Without a token, bound to nobody, for another purpose, or of another organisation: nothing, and recorded."""
    assert await served.codes(ASKED, None) == ["UNAUTHENTICATED"]
    assert await served.codes(ASKED, Role.PATIENT, patient=None) == ["FORBIDDEN"]
    assert await served.codes(ASKED, Role.PATIENT, patient=two.ada, purpose=Purpose.TREAT) == ["PURPOSE_NOT_PERMITTED"]
    for patient, org in ((two.ada, OTHER_ORG), (str(uuid4()), ORG)):
        answer, [leaf] = await served.watched(ASKED, Role.PATIENT, patient=patient, org=org, log=org)
        assert answer.json()["errors"][0]["extensions"] == {"code": "NOT_FOUND"}
        assert (leaf["act"], leaf["out"], leaf["why"], "pat" in leaf) == ("audit.read", "denied", "NOT_FOUND", False)


async def test_where_policy_tells_names(databases: Databases, tmp_path: Path) -> None:
    """Then the subject is told, and the leaf is given, so that the proof can be checked from end to end."""
    url = databases.create("sqlite")
    async with AsyncExitStack() as opened:
        plain = await opened.enter_async_context(client(url, tmp_path))
        house = plain.house
        store, log = house.services.store, house.services.access_log
        own_log = OwnLog(store, log, house.services.evidence, names=True)
        named = replace(house.services, own_log=own_log)

        async def ready() -> dict[str, bool]:
            return {}

        verifier = TokenVerifier([IssuerKeys(plain.issuer.issuer, development=True)])
        app = create_app(named, verifier, Settings(), ready)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        http = await opened.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://heed.test"))
        served = replace(plain, http=http)
        patient = str((await house.register())["id"])
        await served.data(question("religion"), Role.CLINICIAN, variables={"id": patient}, subject="nurse-joy")
        newest = (await mine(served, patient, PROVED))[0]
        assert newest["subject"] == "nurse-joy"
        assert json.loads(newest["proof"]["leaf"])["who"]["sub"] == "nurse-joy"
        assert leaf_hash(newest["proof"]["leaf"].encode()) == base64.b64decode(newest["proof"]["leafHash"])
        assert (await mine(plain, patient, PROVED))[1]["proof"]["leaf"] is None
    databases.drop(url)
