"""A person with a value in every field, as the service takes it, and what a client submits for each mutation."""

from typing import Any

from crm.catalogue import FIELDS

__all__ = ["ENTRIES", "INPUTS", "OF_THEIR_OWN", "RIGHTS", "WHOLE", "camel"]

WHOLE: dict[str, Any] = {
    "preferred_name": "Zoe",
    "names": [
        {"use": "OFFICIAL", "family": "Wanjiru", "given": ["Zoleka"], "prefix": ["Dr"], "period": {"start": "2019-05"}},
        {"use": "MAIDEN", "family": "Kamau", "given": ["Zoleka"], "period": {"end": "2019-04"}},
    ],
    "birth_date": "1990-02-17",
    "deceased": False,
    "deceased_at": "2024-01-31",
    "identifiers": [
        {"system": "urn:example:hospital-number", "value": "H-7781", "use": "USUAL", "type": {"code": "MR"}}
    ],
    "active": True,
    "links": [{"type": "SEEALSO", "other": "Patient/8842"}],
    "contact_points": [
        {"system": "PHONE", "value": "+447700900321", "use": "MOBILE", "rank": 1, "text_permitted": "YES"},
        {"system": "EMAIL", "value": "zoleka@example.test", "use": "HOME", "rank": 2},
    ],
    "addresses": [{"use": "HOME", "lines": ["17 Quay Street"], "city": "Leeds", "postal_code": "LS1 1AA"}],
    "languages": [
        {"tag": "sw", "modes": ["SPOKEN"], "rank": 1, "proficiency": "EXCELLENT"},
        {"tag": "bfi", "modes": ["SIGNED"], "rank": 1},
    ],
    "interpreter_needed": "YES",
    "accessible_formats": ["LARGE_PRINT"],
    "access_needs": [{"kind": "HEARING_LOOP", "text": "Loop at desk two."}],
    "cultural_needs": [{"kind": "DIET", "handling": "Ask before serving.", "detail": "Fasts in spring."}],
    "channel_preferences": [{"purpose": "APPOINTMENT_REMINDER", "channels": ["SMS", "EMAIL"]}],
    "contact_windows": [{"days": ["MON"], "from": "18:00", "to": "20:30", "time_zone": "Africa/Nairobi"}],
    "time_zone": "Africa/Nairobi",
    "communication_style": "PLAIN_LANGUAGE",
    "instructions": "Ring twice.",
    "appointment_preferences": {"times": ["MORNING"], "days": ["TUE"], "clinician_gender": "FEMALE"},
    "case_manager": {"name": "Pat Doe", "organisation": "North Clinic"},
    "care_team": ["Zoleka-nurse"],
    "sensitivity": ["EMPLOYEE"],
    "superseded_ids": ["0199c0de-0000-7000-8000-00000000c0de"],
    "related_persons": [
        {
            "name": "Wambui Kamau",
            "relationship": "SIBLING",
            "contact": "BESIDE",
            "contact_points": [{"system": "EMAIL", "value": "wambui@example.test"}],
        }
    ],
    "confidential_communication": {
        "channel": "EMAIL",
        "value": "zoleka.private@example.test",
        "purposes": ["TEST_RESULT"],
        "set_at": "2026-05-01T08:00:00Z",
    },
    "consents": [
        {
            "seq": 1,
            "decision": "DENY",
            "scope": {"channel": "FAX"},
            "capture": {"at": "2026-05-01T08:00:00Z"},
            "effective_from": "2026-05-01T08:00:00Z",
            "received_at": "2026-05-01T08:00:00Z",
        }
    ],
    "suspensions": [
        {
            "kind": "OPT_IN_REQUEST",
            "message_id": "SM-1",
            "gateway": "texts",
            "channel": "SMS",
            "text": "Start again please.",
            "received_at": "2026-05-02T08:00:00Z",
        }
    ],
    "restrictions": [
        {
            "kind": "CONTACT",
            "basis": "SELF_PAID",
            "purposes": ["BILLING"],
            "placed_by": "officer",
            "placed_at": "2026-05-03T08:00:00Z",
        }
    ],
    "pronouns": "she/her",
    "administrative_gender": "FEMALE",
    "religion": "Quietist",
    "religion_code": "1020",
}
"""`cultural_needs` stands for the two fields in which it is stored; `source_records` is known to imports only, and
`merged_into` to merges."""

_STORED = {*WHOLE, "cultural_need_handling", "cultural_need_detail", "source_records"} - {"cultural_needs"}
_STORED |= {"merged_into"}
assert {row.name for row in FIELDS if row.key_class} == _STORED, "a new field needs a value here"

OF_THEIR_OWN = frozenset(
    {"confidential_communication", "consents", "related_persons", "restrictions", "superseded_ids", "suspensions"}
)
"""Fields that only mutations of their own write; no other input has a place for them."""

INPUTS: dict[str, dict[str, Any]] = {
    "registerPatient": {"preferredName": "Ada"},
    "updatePreferences": {"preferredName": "Ada"},
    "updateIdentity": {"preferredName": "Ada"},
    "addContactPoint": {"contactPoint": {"system": "PHONE", "value": "+447700900999", "use": "MOBILE"}},
    "updateContactPoint": {"contactPoint": {"rank": 7}},
    "retireContactPoint": {},
    "recordConsent": {"decision": "DENY", "scope": {"channel": "VOICE"}},
    "setConfidentialCommunication": {"channel": "EMAIL", "value": "ada@example.test"},
    "clearConfidentialCommunication": {},
    "restrictRecord": {"kind": "CONTACT", "basis": "OBJECTION"},
    "liftRestriction": {},
    "addRelatedPerson": {"relatedPerson": {"name": "Ada", "relationship": "FRIEND_OR_NEIGHBOUR"}},
    "updateRelatedPerson": {"relatedPerson": {"rank": 7}},
    "endRelatedPerson": {},
    "resolveMessage": {"verdict": "DISMISSED"},
    "confirmContactVerification": {"code": "424242"},
    "attestContactPoint": {"verified": True},
    "reviewNeed": {"reviewDueAt": "2199"},
    "recordNeedOutcome": {"met": True},
}
"""A small good input for every mutation, without the patient, the version and the entry it is about."""

ENTRIES: dict[str, tuple[str, str]] = {
    "updateContactPoint": ("contactPointId", "contactPoints"),
    "retireContactPoint": ("contactPointId", "contactPoints"),
    "liftRestriction": ("restrictionId", "restrictions"),
    "updateRelatedPerson": ("relatedPersonId", "relatedPersons"),
    "endRelatedPerson": ("relatedPersonId", "relatedPersons"),
    "resolveMessage": ("suspensionId", "suspensions"),
    "confirmContactVerification": ("contactPointId", "contactPoints"),
    "attestContactPoint": ("contactPointId", "contactPoints"),
    "reviewNeed": ("needId", "accessNeeds"),
    "recordNeedOutcome": ("needId", "accessNeeds"),
}
"""For mutations about one entry of a list: the member of the input that names it, and the field of `Patient`."""

RIGHTS: dict[str, tuple[str, str]] = {
    "registerPatient": ("patient:register", "ADDRESSING"),
    "updatePreferences": ("patient:update", "ADDRESSING"),
    "updateIdentity": ("patient:update", "ADDRESSING"),
    "addContactPoint": ("patient:update", "CONTACT"),
    "updateContactPoint": ("patient:update", "CONTACT"),
    "retireContactPoint": ("patient:update", "CONTACT"),
    "recordConsent": ("consent:record", "CONSENT"),
    "setConfidentialCommunication": ("confidential:set", "CONFIDENTIAL"),
    "clearConfidentialCommunication": ("confidential:set", "CONFIDENTIAL"),
    "restrictRecord": ("patient:restrict", "RESTRICTION"),
    "liftRestriction": ("patient:restrict", "RESTRICTION"),
    "addRelatedPerson": ("patient:update", "RELATED"),
    "updateRelatedPerson": ("patient:update", "RELATED"),
    "endRelatedPerson": ("patient:update", "RELATED"),
    "resolveMessage": ("message:resolve", "MESSAGES"),
    "confirmContactVerification": ("patient:update", "CONTACT"),
    "attestContactPoint": ("contact:attest", "CONTACT"),
    "reviewNeed": ("patient:update", "ACCESS"),
    "recordNeedOutcome": ("patient:update", "ACCESS"),
}
"""The action and the group of fields by which the policy judges each input of `INPUTS`."""


def camel(value: Any) -> Any:
    """The same value with its keys as GraphQL has them."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key.split("_")[0] + "".join(map(str.capitalize, key.split("_")[1:])): camel(of) for key, of in value.items()
    }
