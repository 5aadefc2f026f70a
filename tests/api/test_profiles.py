"""Reading patients over HTTP, on both engines: what comes back, in which order, and what it leaves in the log."""

from uuid import uuid4

import pytest

from auth.purposes import Purpose
from auth.roles import Role
from tests.asking import EVERYTHING, question
from tests.client import Client
from tests.house import OTHER_ORG
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCH = """query Batch($ids: [ID!]!) { patients(ids: $ids) {
  __typename ... on Patient { id displayName } ... on Refusal { id code }
} }"""
BY_IDENTIFIER = """query Known($system: String!, $value: String!) {
  patientByIdentifier(system: $system, value: $value) { id displayName }
}"""


async def test_a_front_desk_look_up(served: Client) -> None:
    """Scenario S1: names, pronouns, languages, numbers and the handling of a need; one event says exactly that."""
    patient = await served.house.register()
    asked = "displayName pronouns languages { tag modes rank } interpreterNeeded contactPoints { value } version"
    answer, leaves = await served.watched(question(asked), variables={"id": patient["id"]})
    assert answer.json()["data"]["patient"] == {
        "displayName": "Sam",
        "pronouns": "they/them",
        "languages": [
            {"tag": "so", "modes": ["SPOKEN"], "rank": 1},
            {"tag": "en", "modes": ["WRITTEN"], "rank": 1},
        ],
        "interpreterNeeded": "YES",
        "contactPoints": [{"value": "+447700900123"}],
        "version": 1,
    }
    [leaf] = leaves
    assert leaf["fld"] == ["contactPoints", "displayName", "interpreterNeeded", "languages", "pronouns"]
    assert (leaf["act"], leaf["out"], leaf["pou"], leaf["op"]) == ("read", "ok", ["PATADMIN"], "Asked")
    assert "msk" not in leaf
    assert leaf["obj"] == [{"t": "Patient", "ver": 1}]
    assert leaf["pol"]["d"] == ["front_desk/PATADMIN"]


async def test_a_need_without_its_reason(served: Client) -> None:
    """Scenario S1: the front desk reads what to do about a need; adding the kind refuses the whole query."""
    patient = await served.house.register()
    found = await served.data(question("culturalNeeds { handling }"), variables={"id": patient["id"]})
    assert found["patient"] == {"culturalNeeds": [{"handling": "Offer a chaperone."}]}
    answer, [leaf] = await served.watched(
        question("displayName culturalNeeds { handling kind }"), variables={"id": patient["id"]}
    )
    assert answer.json() == {
        "errors": [
            {
                "message": "Your role and purpose of use do not allow at least one of the fields named.",
                "extensions": {"code": "FORBIDDEN_FIELD", "field": "culturalNeeds.kind"},
            }
        ]
    }
    assert (leaf["out"], leaf["why"], leaf["fld"]) == ("denied", "FORBIDDEN_FIELD", ["culturalNeeds.kind"])


async def test_every_field_reads_back(served: Client) -> None:
    """A person with a value in every field is answered whole to a role that may read everything."""
    patient = await served.house.register(WHOLE)
    found = (await served.data(question(EVERYTHING), Role.INTEGRATION, variables={"id": patient["id"]}))["patient"]
    assert {name for name, value in found.items() if value is None} == set()
    assert found["id"] == patient["id"]
    assert found["legalName"]["family"] == "Wanjiru"
    assert found["names"][1]["period"] == {"start": None, "end": "2019-04"}
    assert found["birthDate"] == "1990-02-17"
    assert found["contactWindows"] == [
        {"days": ["MON"], "from": "18:00", "to": "20:30", "timeZone": "Africa/Nairobi", "quiet": False}
    ]
    assert found["culturalNeeds"][0].keys() == {"id", "kind", "handling", "detail"}
    assert (found["culturalNeeds"][0]["kind"], found["culturalNeeds"][0]["detail"]) == ("DIET", "Fasts in spring.")
    assert found["accessNeeds"][0]["category"] == "COMMUNICATION_SUPPORT"
    assert found["identifiers"][0]["type"] == {"system": None, "code": "MR", "text": None}
    assert found["recordedAt"] == found["updatedAt"]


async def test_provenance_names_the_source_of_each_group(served: Client) -> None:
    """Source, subject and time of each group that the caller may read; a change moves only the groups it touched."""
    patient = await served.house.register()
    change = """mutation Change($id: ID!) {
      updatePreferences(input: {patientId: $id, expectedVersion: 1, interpreterNeeded: NO}) {
        updatedAt provenance { group source recordedBy recordedAt }
      }
    }"""
    changed = (await served.data(change, variables={"id": patient["id"]}, subject="clerk-7"))["updatePreferences"]
    notes = {note["group"]: note for note in changed["provenance"]}
    assert set(notes) == {
        "ADDRESSING", "BIRTH", "CONTACT", "HANDLING", "IDENTIFIERS", "LANGUAGE", "LEGAL_NAME", "PRONOUNS"
    }  # fmt: skip
    assert (notes["LANGUAGE"]["source"], notes["LANGUAGE"]["recordedBy"]) == ("heed-development", "clerk-7")
    assert notes["LANGUAGE"]["recordedAt"] == changed["updatedAt"]
    assert (notes["BIRTH"]["source"], notes["BIRTH"]["recordedBy"]) == ("test-client", "u-1")
    assert notes["BIRTH"]["recordedAt"] < changed["updatedAt"]


async def test_nothing_known_is_null(served: Client) -> None:
    """A record in which nobody wrote anything answers null, not an empty value, and has no groups of provenance."""
    patient = await served.house.register({"preferred_name": "Only"})
    found = (await served.data(question(EVERYTHING), Role.INTEGRATION, variables={"id": patient["id"]}))["patient"]
    known = {"id", "version", "displayName", "preferredName", "restricted", "recordedAt", "updatedAt", "provenance"}
    assert {name for name, value in found.items() if value is not None} == known
    assert (found["displayName"], found["restricted"]) == ("Only", False)


async def test_a_batch_keeps_order_and_repeats(served: Client) -> None:
    """Answers stand in the order of the ids, an id that is given twice twice; each patient has one event."""
    one, two = await served.house.register({"preferred_name": "One"}), await served.house.register()
    unknown = str(uuid4())
    ids = [two["id"], unknown, one["id"], two["id"]]
    answer, leaves = await served.watched(BATCH, variables={"ids": ids})
    assert answer.json() == {
        "data": {
            "patients": [
                {"__typename": "Patient", "id": two["id"], "displayName": "Sam"},
                {"__typename": "Refusal", "id": unknown, "code": "NOT_FOUND"},
                {"__typename": "Patient", "id": one["id"], "displayName": "One"},
                {"__typename": "Patient", "id": two["id"], "displayName": "Sam"},
            ]
        }
    }
    reads = [leaf for leaf in leaves if "pat" in leaf]
    [refused] = [leaf for leaf in leaves if "pat" not in leaf]
    assert len(reads) == len({leaf["pat"] for leaf in reads}) == 2
    assert {tuple(leaf["fld"]) for leaf in reads} == {("displayName",)}
    assert (refused["out"], refused["why"], refused["cnt"]) == ("denied", "NOT_FOUND", 1)


async def test_an_empty_batch(served: Client) -> None:
    """No ids, no patients, no event."""
    answer, leaves = await served.watched(BATCH, variables={"ids": []})
    assert (answer.json(), leaves) == ({"data": {"patients": []}}, [])


async def test_a_batch_of_a_thousand(served: Client) -> None:
    """A thousand ids are taken, one more is refused before anything is read or recorded for a patient."""
    patient = await served.house.register()
    ids = [str(uuid4()) for _ in range(999)]
    found = await served.data(BATCH, variables={"ids": [*ids, patient["id"]]})
    assert [entry["id"] for entry in found["patients"]] == [*ids, patient["id"]]
    answer, leaves = await served.watched(BATCH, variables={"ids": [*ids, patient["id"], patient["id"]]})
    [error] = answer.json()["errors"]
    assert (error["extensions"], "data" in answer.json()) == ({"code": "BATCH_TOO_LARGE", "limit": 1_000}, False)
    assert [leaf for leaf in leaves if "pat" in leaf] == []


async def test_by_identifier(served: Client) -> None:
    """The patient who carries the identifier; NOT_FOUND without one; nobody is answered where several carry it."""
    system, value = "urn:example:mrn", uuid4().hex
    one = await served.house.register({"preferred_name": "One", "identifiers": [{"system": system, "value": value}]})
    found = await served.data(BY_IDENTIFIER, variables={"system": system, "value": value})
    assert found["patientByIdentifier"] == {"id": one["id"], "displayName": "One"}
    for wrong in ({"system": system, "value": value[:-1]}, {"system": "urn:example:other", "value": value}):
        assert await served.codes(BY_IDENTIFIER, variables=wrong) == ["NOT_FOUND"]
    await served.house.register({"preferred_name": "Two", "identifiers": [{"system": system, "value": value}]})
    answer, [leaf] = await served.watched(BY_IDENTIFIER, variables={"system": system, "value": value})
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "VALIDATION_FAILED", "field": "value", "rule": "ambiguous"}
    assert (leaf["out"], leaf["why"], "pat" in leaf) == ("denied", "VALIDATION_FAILED", False)


async def test_the_identifier_of_another_organisation(served: Client) -> None:
    """The same identifier in another organisation is another patient's business."""
    system, value = "urn:example:mrn", uuid4().hex
    await served.house.register({"identifiers": [{"system": system, "value": value}]}, org=OTHER_ORG)
    assert await served.codes(BY_IDENTIFIER, variables={"system": system, "value": value}) == ["NOT_FOUND"]


async def test_me(served: Client) -> None:
    """A patient reads the own record without knowing its id; everybody else has none."""
    patient = await served.house.register()
    found = await served.data("{ me { id displayName } }", Role.PATIENT, patient=patient["id"])
    assert found["me"] == {"id": patient["id"], "displayName": "Sam"}
    assert await served.codes("{ me { id } }", Role.FRONT_DESK) == ["FORBIDDEN"]
    assert await served.codes("{ me { id } }", Role.PATIENT) == ["FORBIDDEN"]
    assert await served.codes("{ me { id } }", Role.PATIENT, patient=str(uuid4())) == ["NOT_FOUND"]


async def test_viewer(served: Client) -> None:
    """The caller as the token names it; no patient is touched, so nothing is recorded."""
    asked = "{ viewer { subject org roles purposeOfUse clientId patientId policyVersion expiresAt } }"
    answer, leaves = await served.watched(asked, Role.CLINICIAN, purpose=Purpose.ETREAT)
    viewer = answer.json()["data"]["viewer"]
    assert viewer.pop("expiresAt").endswith("Z")
    assert viewer.pop("policyVersion").startswith("sha256:")
    assert viewer == {
        "subject": "clinician-1",
        "org": "north-clinic",
        "roles": ["CLINICIAN"],
        "purposeOfUse": "ETREAT",
        "clientId": "heed-development",
        "patientId": None,
    }
    assert leaves == []


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"preferred_name": "Sam", "names": [{"use": "OFFICIAL", "family": "Okafor", "given": ["Samantha"]}]}, "Sam"),
        ({"names": [{"use": "OFFICIAL", "family": "Okafor", "given": ["Samantha"]}]}, "Samantha Okafor"),
        (
            {"names": [{"use": "USUAL", "text": "Sammy O."}, {"use": "OFFICIAL", "family": "Okafor", "given": ["S"]}]},
            "Sammy O.",
        ),
        (
            {
                "names": [
                    {"use": "USUAL", "text": "Before", "period": {"end": "2001"}},
                    {"use": "OFFICIAL", "text": "Now"},
                ]
            },
            "Now",
        ),
    ],
)
async def test_the_one_rule_for_a_name(served: Client, values: dict[str, object], shown: str) -> None:
    """The preferred name first, then the usual one that holds today, then the official one."""
    patient = await served.house.register(values)
    found = await served.data(question("displayName"), variables={"id": patient["id"]})
    assert found["patient"]["displayName"] == shown


async def test_a_header_chooses_another_purpose(served: Client) -> None:
    """X-Purpose-Of-Use takes the token's place if the role may use it; the event names it."""
    patient = await served.house.register()
    headers = {"x-purpose-of-use": "ETREAT"}
    _, [leaf] = await served.watched(
        question("religion"), Role.CLINICIAN, variables={"id": patient["id"]}, headers=headers
    )
    assert (leaf["pou"], leaf["pol"]["d"]) == (["ETREAT"], ["clinician/ETREAT"])
    answer, [leaf] = await served.watched(
        question("displayName"), Role.FRONT_DESK, variables={"id": patient["id"]}, headers=headers
    )
    assert answer.json()["errors"][0]["extensions"]["code"] == "PURPOSE_NOT_PERMITTED"
    assert (leaf["out"], leaf["why"]) == ("denied", "PURPOSE_NOT_PERMITTED")
