"""Changing patients over HTTP, on both engines: versions, what a change means, and what it refuses."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from auth.roles import Role
from tests.asking import EVERYTHING, question
from tests.client import Client
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFERENCES = """mutation Change($input: UpdatePreferencesInput!) {
  updatePreferences(input: $input) { id version preferredName interpreterNeeded }
}"""
IDENTITY = """mutation Change($input: UpdateIdentityInput!) { updateIdentity(input: $input) { version displayName } }"""


def preferences(patient_id: str, version: int | None, **values: Any) -> dict[str, Any]:
    """Variables of `PREFERENCES`."""
    target = {"patientId": patient_id} | ({} if version is None else {"expectedVersion": version})
    return {"input": {**target, **values}}


async def profile(served: Client, patient_id: str, selection: str = EVERYTHING) -> dict[str, Any]:
    """The record as a role that reads everything sees it."""
    found = await served.data(question(selection), Role.PRIVACY_OFFICER, variables={"id": patient_id})
    result: dict[str, Any] = found["patient"]
    return result


async def test_a_change_and_its_traces(served: Client) -> None:
    """A new version, an answer from what is stored, one event with the fields changed and returned, one outbox row."""
    patient = await served.house.register()
    answer, [leaf] = await served.watched(PREFERENCES, variables=preferences(patient["id"], 1, interpreterNeeded="NO"))
    assert answer.json()["data"]["updatePreferences"] == {
        "id": patient["id"],
        "version": 2,
        "preferredName": "Sam",
        "interpreterNeeded": "NO",
    }
    assert (leaf["act"], leaf["out"], leaf["chg"]) == ("update", "ok", ["interpreterNeeded"])
    assert leaf["fld"] == ["interpreterNeeded", "preferredName"]
    assert leaf["obj"] == [{"t": "Patient", "ver": 2}]
    outbox = [row for row in await served.house.outbox() if row["patient_id"] == patient["id"]]
    assert [(row["version"], row["changed"]) for row in outbox][1:] == [(2, '["interpreter_needed"]')]


async def test_omitted_stays_null_clears(served: Client) -> None:
    """What is not named stays, null removes, and an empty list is an answer of its own: there are none."""
    patient = await served.house.register()
    change = preferences(patient["id"], 1, pronouns=None, languages=[])
    before = await profile(served, patient["id"])
    await served.data(PREFERENCES, variables=change)
    after = await profile(served, patient["id"])
    assert (after["pronouns"], after["languages"]) == (None, [])
    ours = {"pronouns", "languages", "version", "updatedAt", "provenance"}
    assert {key: value for key, value in after.items() if key not in ours} == {
        key: value for key, value in before.items() if key not in ours
    }


async def test_a_list_replaces_the_list(served: Client) -> None:
    """Lists are replaced whole; entries keep the ids that they are sent with."""
    patient = await served.house.register({"access_needs": WHOLE["access_needs"]})
    [old] = (await profile(served, patient["id"]))["accessNeeds"]
    needs = [{"id": old["id"], "kind": "HEARING_LOOP"}, {"kind": "STEP_FREE_ACCESS"}]
    await served.data(PREFERENCES, variables=preferences(patient["id"], 1, accessNeeds=needs))
    new = (await profile(served, patient["id"]))["accessNeeds"]
    assert [(need["id"] == old["id"], need["kind"], need["text"]) for need in new] == [
        (True, "HEARING_LOOP", None),
        (False, "STEP_FREE_ACCESS", None),
    ]


async def test_the_same_value_again_is_no_change(served: Client) -> None:
    """Nothing new by who said so before: the version stays and nobody is told, but the attempt is recorded."""
    patient = await served.house.register()
    same = preferences(patient["id"], 1, preferredName="Sam")
    answer, [leaf] = await served.watched(PREFERENCES, Role.INTEGRATION, variables=same)
    assert answer.json()["data"]["updatePreferences"]["version"] == 1
    assert (leaf["act"], leaf["out"], "chg" in leaf) == ("update", "ok", False)
    assert len([row for row in await served.house.outbox() if row["patient_id"] == patient["id"]]) == 1


async def test_a_version_is_required(served: Client) -> None:
    """Without `expectedVersion` nothing is changed."""
    patient = await served.house.register()
    answer, [leaf] = await served.watched(PREFERENCES, variables=preferences(patient["id"], None, preferredName="No"))
    [error] = answer.json()["errors"]
    assert (error["extensions"], answer.json()["data"]) == ({"code": "VERSION_REQUIRED"}, {"updatePreferences": None})
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("update", "denied", "VERSION_REQUIRED")
    assert (await profile(served, patient["id"], "version preferredName")) == {"version": 1, "preferredName": "Sam"}


@pytest.mark.parametrize("version", [0, 2, 2**31 - 1, -1])
async def test_a_stale_version_conflicts(served: Client, version: int) -> None:
    """Another version than the stored one: refused with the version now stored, nothing written, one denied event."""
    patient = await served.house.register()
    answer, [leaf] = await served.watched(
        PREFERENCES, variables=preferences(patient["id"], version, preferredName="No", pronouns="xe/xem")
    )
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "VERSION_CONFLICT", "currentVersion": 1}
    assert answer.json()["data"] == {"updatePreferences": None}
    assert (leaf["act"], leaf["out"], leaf["why"], "chg" in leaf) == ("update", "denied", "VERSION_CONFLICT", False)
    assert "xe/xem" not in answer.text
    stored = await profile(served, patient["id"], "version preferredName pronouns")
    assert stored == {"version": 1, "preferredName": "Sam", "pronouns": "they/them"}
    assert len([row for row in await served.house.outbox() if row["patient_id"] == patient["id"]]) == 1


async def test_fifty_writers_with_one_version(served: Client) -> None:
    """Scenario S7: exactly one wins, and its value is the one that is stored."""
    patient = await served.house.register()
    names = [f"Writer {number}" for number in range(50)]
    answers = await asyncio.gather(
        *(served.ask(PREFERENCES, variables=preferences(patient["id"], 1, preferredName=name)) for name in names)
    )
    won = [answer.json()["data"]["updatePreferences"] for answer in answers if "errors" not in answer.json()]
    lost = [error["extensions"] for answer in answers for error in answer.json().get("errors", ())]
    assert len(won) == 1
    changed = ["displayName", "preferredName"]
    assert lost == [{"code": "VERSION_CONFLICT", "currentVersion": 2, "changedFields": changed}] * 49
    stored = await profile(served, patient["id"], "version preferredName")
    assert stored == {"version": 2, "preferredName": won[0]["preferredName"]}


async def test_writers_in_a_row_lose_nothing(served: Client) -> None:
    """Ten writers who read again after a conflict all get through: ten changes, version eleven."""
    patient = await served.house.register()

    async def write(number: int) -> None:
        while True:
            version = (await profile(served, patient["id"], "version"))["version"]
            change = preferences(patient["id"], version, instructions=f"Writer {number}")
            if not await served.codes(PREFERENCES, variables=change):
                return

    await asyncio.gather(*(write(number) for number in range(10)))
    assert (await profile(served, patient["id"], "version"))["version"] == 11


async def test_an_unknown_patient(served: Client) -> None:
    """NOT_FOUND, before or after anything else that could be told about the record."""
    answer, [leaf] = await served.watched(PREFERENCES, variables=preferences(str(uuid4()), 1, preferredName="No"))
    assert answer.json()["errors"][0]["extensions"] == {"code": "NOT_FOUND"}
    assert (leaf["out"], leaf["why"], leaf["cnt"]) == ("denied", "NOT_FOUND", 1)


BAD: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "empty name": ("preferences", {"preferredName": "  "}, "input.preferredName", "empty"),
    "long name": ("preferences", {"preferredName": "x" * 201}, "input.preferredName", "too_long"),
    "control": ("preferences", {"pronouns": "they\u0007"}, "input.pronouns", "control_character"),
    "language": ("preferences", {"languages": [{"tag": "en"}, {"tag": "qqqq"}]}, "input.languages.1.tag", "bcp47"),
    "rank": ("preferences", {"languages": [{"tag": "en", "rank": 0}]}, "input.languages.0.rank", "out_of_range"),
    "time zone": ("preferences", {"timeZone": "Mars/Olympus"}, "input.timeZone", "time_zone"),
    "religion": ("preferences", {"religionCode": "9999"}, "input.religionCode", "unknown_code"),
    "clock": (
        "preferences",
        {"contactWindows": [{"days": ["MON"], "from": "25:00", "to": "10:00", "timeZone": "UTC"}]},
        "input.contactWindows.0.from",
        "time",
    ),
    "empty window": (
        "preferences",
        {"contactWindows": [{"days": ["MON"], "from": "10:00", "to": "10:00", "timeZone": "UTC"}]},
        "input.contactWindows.0",
        "window_empty",
    ),
    "one row for each purpose": (
        "preferences",
        {"channelPreferences": [{"purpose": "TEST_RESULT", "channels": ["SMS"]}] * 2},
        "input.channelPreferences",
        "duplicate",
    ),
    "handling": (
        "preferences",
        {"culturalNeeds": [{"handling": "Ask."}, {"handling": " "}]},
        "input.culturalNeeds.1.handling",
        "empty",
    ),
    "need without text": ("preferences", {"accessNeeds": [{"kind": "OTHER"}]}, "input.accessNeeds.0.text", "missing"),
    "too many needs": (
        "preferences",
        {"accessNeeds": [{"kind": "HEARING_LOOP"}] * 51},
        "input.accessNeeds",
        "too_many",
    ),
    "birth date": ("identity", {"birthDate": "1984-02-30"}, "input.birthDate", "date"),
    "birth in the far future": ("identity", {"birthDate": "2300"}, "input.birthDate", "date"),
    "empty name parts": ("identity", {"names": [{"use": "OFFICIAL"}]}, "input.names.0", "empty"),
    "period": (
        "identity",
        {"names": [{"text": "A", "period": {"start": "2020", "end": "2019"}}]},
        "input.names.0.period",
        "period_order",
    ),
    "identifier": ("identity", {"identifiers": [{"value": ""}]}, "input.identifiers.0.value", "empty"),
    "address id": (
        "identity",
        {"addresses": [{"id": "a b", "city": "Leeds"}]},
        "input.addresses.0.id",
        "id",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_each_kind_of_bad_value(served: Client, case: str) -> None:
    """VALIDATION_FAILED with the path and the rule; nothing is changed, and nothing of the value is repeated."""
    mutation, values, field, rule = BAD[case]
    patient = await served.house.register()
    query = PREFERENCES if mutation == "preferences" else IDENTITY
    variables = preferences(patient["id"], 1, **values)
    answer, [leaf] = await served.watched(query, Role.INTEGRATION, variables=variables)
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "VALIDATION_FAILED", "field": field, "rule": rule}
    assert error["message"] == "A submitted value breaks a rule of its field."
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("update", "denied", "VALIDATION_FAILED")
    assert (await profile(served, patient["id"], "version"))["version"] == 1


async def test_the_reason_of_a_need_is_blamed_by_its_place(served: Client) -> None:
    """The path counts the needs as they were sent, also where the ones before have no reason."""
    patient = await served.house.register()
    needs = [{"handling": "A"}, {"handling": "B"}, {"handling": "C", "detail": "Why, but of no kind."}]
    answer = await served.ask(PREFERENCES, Role.CLINICIAN, variables=preferences(patient["id"], 1, culturalNeeds=needs))
    expected = {"code": "VALIDATION_FAILED", "field": "input.culturalNeeds.2.kind", "rule": "missing"}
    assert answer.json()["errors"][0]["extensions"] == expected


async def test_needs_keep_their_reasons(served: Client) -> None:
    """The front desk may edit what to do without knowing why, and cannot remove why; whoever may know it can."""
    two = [
        {"kind": "DIET", "handling": "Ask.", "detail": "Fasting."},
        {"kind": "MODESTY", "handling": "Chaperone.", "detail": "Private."},
    ]
    patient = await served.house.register({"cultural_needs": two})
    asked = "culturalNeeds { id kind handling detail }"
    first, second = (await profile(served, patient["id"], asked))["culturalNeeds"]
    edited = [{"id": first["id"], "handling": "Ask twice."}, {"handling": "Quiet room."}]
    await served.data(PREFERENCES, variables=preferences(patient["id"], 1, culturalNeeds=edited))
    kept, new, left = (await profile(served, patient["id"], asked))["culturalNeeds"]
    assert kept == {"id": first["id"], "kind": "DIET", "handling": "Ask twice.", "detail": "Fasting."}
    assert {**new, "id": ""} == {"id": "", "kind": None, "handling": "Quiet room.", "detail": None}
    assert left == {**second, "handling": None}

    changed = [{"id": first["id"], "kind": "PRAYER_OR_RITUAL", "handling": "Ask."}]
    await served.data(PREFERENCES, Role.CLINICIAN, variables=preferences(patient["id"], 2, culturalNeeds=changed))
    assert (await profile(served, patient["id"], asked))["culturalNeeds"] == [
        {"id": first["id"], "kind": "PRAYER_OR_RITUAL", "handling": "Ask.", "detail": None}
    ]
    await served.data(PREFERENCES, variables=preferences(patient["id"], 3, culturalNeeds=None))
    [left] = (await profile(served, patient["id"], asked))["culturalNeeds"]
    assert (left["kind"], left["handling"]) == ("PRAYER_OR_RITUAL", None)
    await served.data(PREFERENCES, Role.CLINICIAN, variables=preferences(patient["id"], 4, culturalNeeds=None))
    assert (await profile(served, patient["id"], asked))["culturalNeeds"] is None


async def test_a_reason_needs_the_right_to_write_it(served: Client) -> None:
    """The front desk may not state the kind of a need."""
    patient = await served.house.register()
    needs = [{"kind": "DIET", "handling": "Ask."}]
    answer, [leaf] = await served.watched(PREFERENCES, variables=preferences(patient["id"], 1, culturalNeeds=needs))
    assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN_FIELD", "field": "culturalNeeds.detail"}
    assert leaf["fld"] == ["culturalNeeds.detail", "culturalNeeds.kind"]


async def test_a_restricted_record_is_not_overwritten_unseen(served: Client) -> None:
    """Who may not see where a person lives, or how to reach them, may not replace it either, whatever is asked back."""
    patient_id = await served.house.store({**WHOLE, "restricted": True})
    before = await profile(served, patient_id)
    target = {"patientId": patient_id, "expectedVersion": 1}
    point = {"system": "PHONE", "value": "+447700900000"}
    known = before["contactPoints"][0]["id"]
    for name, kind, values in (
        ("updateIdentity", "UpdateIdentityInput", {"addresses": []}),
        ("updatePreferences", "UpdatePreferencesInput", {"caseManager": None}),
        ("addContactPoint", "AddContactPointInput", {"contactPoint": point}),
        ("updateContactPoint", "UpdateContactPointInput", {"contactPointId": known, "contactPoint": {"rank": 9}}),
        ("retireContactPoint", "RetireContactPointInput", {"contactPointId": known}),
    ):
        query = f"mutation($input: {kind}!) {{ {name}(input: $input) {{ version }} }}"
        answer, [leaf] = await served.watched(query, variables={"input": {**target, **values}})
        assert answer.json()["errors"][0]["extensions"] == {"code": "RESTRICTED_RECORD"}, name
        assert (leaf["out"], leaf["why"]) == ("denied", "RESTRICTED_RECORD")
    assert await profile(served, patient_id) == before
    await served.data(PREFERENCES, variables=preferences(patient_id, 1, interpreterNeeded="NO"))
    assert (await profile(served, patient_id, "version"))["version"] == 2


@pytest.mark.parametrize("date", ["1984", "1984-07", "1984-07-03"])
async def test_partial_dates_stay_partial(served: Client, date: str) -> None:
    """A date is kept as precise as it was given, never filled up."""
    patient = await served.house.register({"preferred_name": "Sam"})
    await served.data(IDENTITY, variables=preferences(patient["id"], 1, birthDate=date))
    assert (await profile(served, patient["id"], "birthDate"))["birthDate"] == date


async def test_a_new_name_shows_at_once(served: Client) -> None:
    """The one display name follows the names, in the answer of the change itself."""
    patient = await served.house.register({"names": [{"use": "OFFICIAL", "family": "Old", "given": ["Ann"]}]})
    names = [{"use": "OFFICIAL", "family": "New", "given": ["Ann"]}]
    changed = await served.data(IDENTITY, variables=preferences(patient["id"], 1, names=names))
    assert changed["updateIdentity"] == {"version": 2, "displayName": "Ann New"}
    changed = await served.data(IDENTITY, variables=preferences(patient["id"], 2, preferredName="Nan"))
    assert changed["updateIdentity"] == {"version": 3, "displayName": "Nan"}


async def test_two_changes_in_one_operation(served: Client) -> None:
    """Mutations run in their order: the second builds on the first, or is refused without undoing it."""
    patient = await served.house.register()
    query = """mutation($id: ID!, $second: Int!) {
      one: updatePreferences(input: {patientId: $id, expectedVersion: 1, preferredName: "One"}) { version }
      two: updatePreferences(input: {patientId: $id, expectedVersion: $second, preferredName: "Two"}) { version }
    }"""
    answer = await served.ask(query, variables={"id": patient["id"], "second": 1})
    [error] = answer.json()["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["two"], "VERSION_CONFLICT")
    assert await profile(served, patient["id"], "version displayName") == {"version": 2, "displayName": "One"}


async def test_unknown_and_extra_input_is_refused(served: Client) -> None:
    """Fields that are not in the input types, such as a version or a status of one's own, never reach the service."""
    patient = await served.house.register()
    extras: list[dict[str, Any]] = [{"restricted": False}, {"id": "x"}, {"recordedAt": "2020"}, {"sourceRecords": []}]
    for extra in extras:
        answer = await served.ask(PREFERENCES, variables=preferences(patient["id"], 1, **extra))
        assert answer.json()["errors"][0]["extensions"]["code"] == "VALIDATION_FAILED"
        assert "data" not in answer.json()
    assert (await profile(served, patient["id"], "version"))["version"] == 1
