"""Owns how the consent directives of a profile become FHIR R4 Consents: one for each, the oldest first; pure.

The policy of the organisation is the base rule, and each directive one exception to it, as R4 has it: the type stands
in a nested provision. A directive that a later one beats in everything it says is written as `inactive`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from crm.interchange import consent_codes as codes
from crm.interchange import own_extensions

__all__ = ["consents_of"]

Directive = Mapping[str, Any]

_BESIDE = ("giver", "confirmed_at", "received_at", "note")
"""Members of a directive that travel whole in the extension."""


def consents_of(profile: Mapping[str, Any], *, org: str, patient_id: str) -> list[dict[str, Any]]:
    """A Consent for each directive of `profile`, which holds values by catalogue name."""
    directives = profile.get("consents") or []
    patient: dict[str, Any] = {"reference": f"Patient/{patient_id}"}
    return [_consent(entry, directives, org, patient) for entry in directives]


def _consent(entry: Directive, directives: Sequence[Directive], org: str, patient: dict[str, Any]) -> dict[str, Any]:
    scope = entry["scope"]
    beside = {name: entry[name] for name in _BESIDE if name in entry}
    beside["capture"] = {name: value for name, value in entry["capture"].items() if name != "at"}
    beside["scope"] = {name: scope[name] for name in ("contact_point_id", "sender") if name in scope}
    rule: dict[str, Any] = {"type": entry["decision"].lower()}
    if "purpose" in scope:
        rule["purpose"] = [{"system": codes.PURPOSE, "code": scope["purpose"]}]
    if "channel" in scope:
        rule["code"] = [{"coding": [{"system": codes.CHANNEL, "code": scope["channel"]}]}]
    period = {"start": entry["effective_from"]} | ({"end": entry["effective_to"]} if "effective_to" in entry else {})
    consent: dict[str, Any] = {
        "resourceType": "Consent",
        "id": entry["id"],
        "meta": {"source": f"urn:heed:{org}"},
        "extension": [own_extensions.pack(codes.DIRECTIVE, beside)],
        "status": "inactive" if any(_beats(other, entry) for other in directives) else "active",
        "scope": {"coding": [{"system": codes.SCOPE, "code": codes.CONTACT}], "text": "Contact"},
        "category": [{"coding": [dict(zip(("system", "code", "display"), codes.PRIVACY_CATEGORY, strict=True))]}],
        "patient": patient,
        "dateTime": entry["capture"]["at"],
        "performer": [_performer(entry["giver"], patient)],
    }
    policy = {"coding": [{"system": codes.POLICY, "code": "default"}], "text": "The organisation's policy of contact"}
    return consent | {"policyRule": policy, "provision": {"period": period, "provision": [rule]}}


def _performer(giver: Mapping[str, Any], patient: dict[str, Any]) -> dict[str, Any]:
    if giver["role"] == "PATIENT":
        return patient
    if "related_person_id" in giver:
        return {"reference": f"RelatedPerson/{giver['related_person_id']}"}
    return {"display": giver["role"]}


def _beats(other: Directive, entry: Directive) -> bool:
    """Whether `other` leaves nothing of `entry`: the later beats the earlier, a DENY that which it covers.

    A PERMIT beats a DENY only where it is as narrow, and so leaves nothing of it only where both say the same scope.
    """
    if other["decision"] == entry["decision"]:
        return False
    if "effective_to" in other and other["effective_to"] < entry.get("effective_to", "~"):  # after every instant
        return False
    if other["decision"] == "PERMIT":
        return other["effective_from"] > entry["effective_from"] and bool(other["scope"] == entry["scope"])
    covers = all(entry["scope"].get(member) == value for member, value in other["scope"].items())
    return other["effective_from"] >= entry["effective_from"] and covers
