"""Who may break the glass, look through it, and judge it: for every role, on both engines, and by people who cheat.

What is expected is read from the printed policy. On denial the data stay absent, the queue stays as it is, and the
attempt is on record.
"""

import asyncio
from typing import Any

import pytest

from auth import policy
from auth.development import DEFAULT_PURPOSES
from auth.errors import Forbidden
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.domain.break_glass import Verdict
from crm.errors import Invalid
from tests.asking import OTHER_MUTATIONS
from tests.breaking import GRANTS, LOOK, REQUEST, REVIEW, WORDS, looked, queue, request, restricted, review
from tests.client import Client
from tests.house import ORG, OTHER_ORG, actor
from tests.house import REQUEST as ASKED
from tests.scene import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

MATRIX = {(row.role, row.purpose): row for row in policy.matrix()}
QUERIES = {"requestBreakGlass": REQUEST, "reviewBreakGlass": REVIEW, "breakGlassGrants": GRANTS}
ACTIONS = {
    "requestBreakGlass": "patient:break-glass",
    "reviewBreakGlass": "break-glass:review",
    "breakGlassGrants": "break-glass:review",
}
ACTS = {"requestBreakGlass": "breakglass", "reviewBreakGlass": "review", "breakGlassGrants": "audit.read"}
SECRETS = ("Zoe", "447700", "Quay", "unconscious")


async def variables(served: Client, root: str, patient_id: str, org: str = ORG) -> dict[str, Any]:
    """Good variables for a root; the grant to review is requested for it, by another."""
    match root:
        case "requestBreakGlass":
            return {"i": {"patientId": patient_id, "reason": "PUBLIC_SAFETY", "text": WORDS}}
        case "reviewBreakGlass":
            grant = await request(served, patient_id, org=org, subject="another-clinician")
            return {"i": {"grantId": grant["id"], "verdict": "JUSTIFIED"}}
        case _:
            return {"first": 1}


def code_of(answer: Any) -> str:
    """The one error code of an answer."""
    [error] = answer.json()["errors"]
    return str(error["extensions"]["code"])


def silent(answer: Any) -> None:
    """Nothing of a person stands in an answer."""
    assert not any(secret in answer.text for secret in SECRETS)


async def test_every_mutation_is_covered() -> None:
    """Those about break-glass stand here."""
    assert {name for name in OTHER_MUTATIONS if "BreakGlass" in name} == QUERIES.keys() - {"breakGlassGrants"}


# --- who may ask and judge -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("root", QUERIES)
async def test_every_role(served: Client, root: str, role: Role) -> None:
    """Ten roles try: whom the printed policy lets, does it; nobody else does or learns anything; all is recorded."""
    patient = await restricted(served)
    given = await variables(served, root, patient)
    before = await queue(served)
    bound = patient if role in PERSONAL else None
    answer, [leaf] = await served.watched(QUERIES[root], role, variables=given, patient=bound)
    assert leaf["act"] == ACTS[root]
    row = MATRIX[role.value, DEFAULT_PURPOSES[role].value]
    if ACTIONS[root] in row.actions.split():
        assert "errors" not in answer.json(), answer.json()
        assert leaf["out"] == "ok"
        return
    assert code_of(answer) == "FORBIDDEN"
    assert (leaf["out"], leaf["why"]) == ("denied", "FORBIDDEN")
    silent(answer)
    assert await queue(served) == before


@pytest.mark.parametrize("root", QUERIES)
async def test_nobody_and_somebody_elsewhere(served: Client, root: str) -> None:
    """Without a token 401; with the right role of another organisation, as if there were nothing."""
    patient = await restricted(served)
    given = await variables(served, root, patient)
    before = await queue(served)
    answer, leaves = await served.watched(QUERIES[root], None, variables=given, log="_")
    assert (answer.status_code, [leaf["out"] for leaf in leaves]) == (401, ["denied"])
    silent(answer)
    role = Role.CLINICIAN if root == "requestBreakGlass" else Role.PRIVACY_OFFICER
    answer, [leaf] = await served.watched(QUERIES[root], role, variables=given, org=OTHER_ORG, log=OTHER_ORG)
    silent(answer)
    assert patient not in answer.text
    if root != "breakGlassGrants":
        assert (code_of(answer), leaf["out"], leaf["why"]) == ("NOT_FOUND", "denied", "NOT_FOUND")
        assert "pat" not in leaf
    assert await queue(served) == before


# --- who may look ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.CLINICIAN}))
async def test_no_other_role_has_the_purpose(served: Client, role: Role) -> None:
    """Break-glass is no purpose for them, whatever grant there may be."""
    patient = await restricted(served)
    await request(served, patient, subject=f"{role.value}-1")
    bound = patient if role in PERSONAL else None
    answer, [leaf] = await looked(served, patient, role=role, patient=bound)
    assert (code_of(answer), leaf["out"]) == ("PURPOSE_NOT_PERMITTED", "denied")
    silent(answer)


async def refused(served: Client, patient: str, **who: Any) -> None:
    """A look under break-glass that needs a grant, told as such and recorded under the patient's name, unmarked."""
    answer, [leaf] = await looked(served, patient, **who)
    assert code_of(answer) == "BREAK_GLASS_REQUIRED"
    assert (leaf["act"], leaf["out"], leaf["why"], "pat" in leaf) == ("read", "denied", "BREAK_GLASS_REQUIRED", True)
    assert "fld" not in leaf
    assert "ref" not in leaf
    assert "break_glass" not in leaf.get("flg", ())
    silent(answer)


async def opened(served: Client, patient: str, **who: Any) -> None:
    """The control: with a grant of one's own, the record is answered."""
    answer, [leaf] = await looked(served, patient, **who)
    assert answer.json()["data"]["patient"]["contactPoints"]
    assert "break_glass" in leaf["flg"]


async def test_a_grant_is_for_one_person_and_one_patient(served: Client) -> None:
    """No grant; a colleague's grant; a grant for somebody else: each is none. The own one opens."""
    patient, other = await restricted(served), await restricted(served)
    await refused(served, patient)
    await request(served, patient, subject="colleague")
    await refused(served, patient)
    await request(served, other)
    await refused(served, patient)
    await request(served, patient)
    await opened(served, patient)
    await opened(served, patient, subject="colleague")


async def test_a_grant_does_not_lift_the_restriction_for_treatment(served: Client) -> None:
    """Who holds a grant and asks for treatment goes on being shown what treatment shows, unmarked."""
    patient = await restricted(served)
    await request(served, patient)
    answer, [leaf] = await served.watched(LOOK, Role.CLINICIAN, variables={"id": patient})
    assert answer.json()["data"]["patient"]["contactPoints"] is None
    assert (leaf["msk"], "ref" in leaf, "break_glass" in leaf["flg"]) == (["contactPoints"], False, False)


async def test_the_same_subject_of_another_issuer(served: Client) -> None:
    """Two issuers may both know a `clinician-1`: a grant is for one of them."""
    patient = await restricted(served)
    await request(served, patient, subject="twin")
    profiles = served.house.services.profiles
    twin = actor(Role.CLINICIAN, purpose=Purpose.BTG, subject="twin")  # of another issuer than the tokens'
    [answer] = await profiles.read_many(twin, ASKED, [patient], frozenset({"displayName"}))
    assert getattr(answer, "code", None) == "BREAK_GLASS_REQUIRED"
    await opened(served, patient, subject="twin")


async def test_a_grant_expires(scene: Scene) -> None:
    """From the moment of its end on it is none, although it is on the list."""
    served = scene.it
    patient = await restricted(served)
    grant = await request(served, patient)
    await opened(served, patient)
    moved = "UPDATE break_glass SET requested_at = requested_at - ?, expires_at = requested_at WHERE id = ?"
    await scene.intruder.run(moved, 3_600_000_000, grant["id"])
    await refused(served, patient)
    assert grant["id"] in [node["id"] for node in await queue(served)]


async def test_nothing_but_reading_by_id(served: Client) -> None:
    """Under break-glass nobody searches, changes, or asks by identifier, grant or not: refused before any row."""
    patient = await restricted(served)
    await request(served, patient)
    for query, given in (
        ('query S { searchPatients(by: {phone: "+447700900321"}) { edges { node { id } } } }', {}),
        ('query B { patientByIdentifier(system: "urn:example:hospital-number", value: "H-7781") { id } }', {}),
        (
            "mutation U($i: UpdatePreferencesInput!) { updatePreferences(input: $i) { version } }",
            {"i": {"patientId": patient, "expectedVersion": 1, "timeZone": "UTC"}},
        ),
    ):
        answer, [leaf] = await served.watched(query, Role.CLINICIAN, purpose=Purpose.BTG, variables=given)
        assert (code_of(answer), leaf["out"], leaf["why"]) == ("FORBIDDEN", "denied", "FORBIDDEN")
        silent(answer)


# --- the review ------------------------------------------------------------------------------------------------------


async def test_nobody_reviews_their_own(served: Client) -> None:
    """Also who is both at once: refused under the patient's name, and the grant goes on waiting."""
    patient = await restricted(served)
    grant = await request(served, patient, subject="both")
    said = {"grantId": grant["id"], "verdict": "JUSTIFIED"}
    answer, [leaf] = await served.watched(REVIEW, Role.PRIVACY_OFFICER, variables={"i": said}, subject="both")
    assert code_of(answer) == "FORBIDDEN"
    assert (leaf["act"], leaf["out"], "pat" in leaf) == ("review", "denied", True)
    assert grant["id"] in [node["id"] for node in await queue(served)]
    await review(served, grant["id"], subject="another")
    assert grant["id"] not in [node["id"] for node in await queue(served)]


async def test_a_grant_is_reviewed_once(served: Client) -> None:
    """The second verdict is refused by the rule, and leaves the first and its note as they are."""
    grant = await request(served, await restricted(served))
    first = await review(served, grant["id"], "UNJUSTIFIED", "Nobody asked for this.")
    said = {"grantId": grant["id"], "verdict": "JUSTIFIED", "note": "It was fine after all."}
    answer, [leaf] = await served.watched(REVIEW, Role.COMPLIANCE_OFFICER, variables={"i": said})
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "VALIDATION_FAILED", "field": "input.grantId", "rule": "already_reviewed"}
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("review", "denied", "VALIDATION_FAILED")
    [node] = [node for node in await queue(served, reviewed=True) if node["id"] == grant["id"]]
    assert node == first


@pytest.mark.parametrize("verdict", Verdict)
async def test_a_finding_ends_the_access(served: Client, verdict: Verdict) -> None:
    """Whatever is not justified opens nothing from then on; who needs it asks anew, and that waits in the queue."""
    patient = await restricted(served)
    grant = await request(served, patient)
    await opened(served, patient)
    await review(served, grant["id"], verdict.value)
    if verdict is Verdict.JUSTIFIED:
        await opened(served, patient)
        return
    await refused(served, patient)
    again = await request(served, patient)
    assert again["id"] in [node["id"] for node in await queue(served)]
    await opened(served, patient)


async def test_only_one_of_many_at_once(served: Client) -> None:
    """Eight officers judge at the same moment: one verdict, one leaf of it, seven refusals."""
    patient = await restricted(served)
    grant = await request(served, patient)
    reviews = served.house.services.break_glass

    async def judge(number: int) -> Any:
        officer = actor(Role.PRIVACY_OFFICER, subject=f"officer-{number}")
        note = f"Judged by number {number}."
        return await reviews.review(officer, ASKED, grant["id"], Verdict.JUSTIFIED, note, frozenset({"note"}))

    outcomes = await asyncio.gather(*(judge(number) for number in range(8)), return_exceptions=True)
    [won] = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    assert sum(isinstance(outcome, Invalid) for outcome in outcomes) == 7
    leaves = [
        leaf for leaf in await served.house.leaves() if leaf["act"] == "review" and leaf.get("ref") == grant["id"]
    ]
    assert [leaf["who"]["sub"] for leaf in leaves if leaf["out"] == "ok"] == [won["reviewed_by"]]
    [node] = [node for node in await queue(served, reviewed=True) if node["id"] == grant["id"]]
    assert (node["reviewedBy"], node["note"]) == (won["reviewed_by"], won["note"])


async def test_t31_only_a_review_of_somebody_else_ends_the_wait(served: Client) -> None:
    """Neither the end of the grant, nor a look, nor a refused review, nor the one who asked: only a leaf of another."""
    patient = await restricted(served)
    grant = await request(served, patient, subject="both", minutes=1)
    await opened(served, patient, subject="both")
    reviews = served.house.services.break_glass
    said = {"grantId": grant["id"], "verdict": "JUSTIFIED"}
    assert code_of(await served.ask(REVIEW, Role.PRIVACY_OFFICER, variables={"i": said}, subject="both")) == "FORBIDDEN"
    with pytest.raises(Forbidden):
        await reviews.review(actor(Role.FRONT_DESK), ASKED, grant["id"], Verdict.JUSTIFIED, None, frozenset())
    assert grant["id"] in [node["id"] for node in await queue(served)]
    await review(served, grant["id"])
    reviewed = {leaf["ref"] for leaf in await served.house.leaves() if leaf["act"] == "review" and leaf["out"] == "ok"}
    waiting = {node["id"] for node in await queue(served)}
    told = {leaf["ref"] for leaf in await served.house.leaves() if leaf["act"] == "breakglass" and leaf["out"] == "ok"}
    assert told - reviewed == waiting
    assert grant["id"] in reviewed


# --- somebody in the database ----------------------------------------------------------------------------------------


async def test_words_open_only_in_their_own_place(scene: Scene) -> None:
    """Swapped between two grants, or edited: that one is an incident, and the others of the page are answered."""
    served = scene.it
    patient = await restricted(served)
    one = await request(served, patient)
    two = await request(served, patient, text="Another story altogether.", subject="colleague")
    octets = "SELECT octets FROM audit_detail WHERE id = ?"
    [(first,)], [(second,)] = [await scene.intruder.run(octets, each["id"]) for each in (one, two)]
    swap = "UPDATE audit_detail SET octets = ? WHERE id = ?"
    for forged in (second, first[:-1] + bytes([first[-1] ^ 1]), first[:20], b"", b"plain words of ten"):
        await scene.intruder.run(swap, forged, one["id"])
        answer = (await served.ask(GRANTS, Role.PRIVACY_OFFICER, variables={"first": 100})).json()
        nodes = {edge["node"]["id"]: edge["node"] for edge in answer["data"]["breakGlassGrants"]["edges"]}
        assert (nodes[one["id"]]["text"], nodes[two["id"]]["text"]) == (None, "Another story altogether.")
        [error] = answer["errors"]
        assert (error["extensions"]["code"], error["path"][-1]) == ("INTERNAL_SERVER_ERROR", "text")
    await scene.intruder.run("DELETE FROM audit_detail WHERE id = ?", one["id"])
    answer = (await served.ask(GRANTS, Role.PRIVACY_OFFICER, variables={"first": 100})).json()
    assert [error["path"][-1] for error in answer["errors"]] == ["text"]
    await scene.intruder.run("INSERT INTO audit_detail VALUES (?, ?, ?, ?)", ORG, one["id"], "breakglass", first)
    assert one["id"] in [node["id"] for node in await queue(served) if node["text"] == WORDS]


async def test_a_grant_moved_to_another_patient(scene: Scene) -> None:
    """A row pointed at somebody else would open their record; the leaf of the request says whose it was.

    What the database's owner may write, the service cannot tell from its own; the evidence can.
    """
    served = scene.it
    patient, other = await restricted(served), await restricted(served)
    grant = await request(served, patient)
    subject = "SELECT audit_subject FROM patient WHERE id = ?"
    [(mine,)], [(theirs,)] = [await scene.intruder.run(subject, each) for each in (patient, other)]
    await scene.intruder.run("UPDATE break_glass SET subject = ? WHERE id = ?", theirs, grant["id"])
    await refused(served, patient)
    [leaf] = [leaf for leaf in await served.house.leaves() if leaf.get("ref") == grant["id"]]
    assert leaf["pat"] == mine
    await scene.intruder.run("UPDATE break_glass SET subject = ? WHERE id = ?", mine, grant["id"])
