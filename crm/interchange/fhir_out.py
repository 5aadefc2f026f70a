"""Owns how the values of a profile become a FHIR R4 Patient; pure, and the same values always give the same bytes.

What FHIR has no element for travels in extensions of our own (`own_extensions`), so that an export is whole; the
verification of contact points and the provenance do not travel.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from crm.domain import values
from crm.errors import Invalid
from crm.interchange import fhir_codes as codes
from crm.interchange import own_extensions
from crm.interchange.fhir_extensions import write_extensions
from crm.interchange.fhir_in import preferred_name_of
from crm.interchange.fhir_languages import write_communication

__all__ = ["patient_of", "written"]

_PARTS = ("given", "prefix", "suffix")
_CONTACT_FLAGS = ("text_permitted", "voicemail_ok", "detailed_message_ok")
_NUMBERS = frozenset({"PHONE", "SMS", "FAX"})


def patient_of(profile: Mapping[str, Any], *, org: str, patient_id: str) -> dict[str, Any]:
    """A Patient of `profile`, which holds values by catalogue name, and `restricted`.

    It names us as its source, so that an import knows it again.
    """
    profile = {name: value for name, value in profile.items() if value is not None}
    meta: dict[str, Any] = {"source": f"urn:heed:{org}"}
    if labels := _security(profile):
        meta["security"] = labels
    names = [_name(name) for name in profile.get("names", ())]
    preferred = profile.get("preferred_name")
    if preferred and preferred != preferred_name_of(profile.get("names", ())):
        names.append({"id": codes.PREFERRED_NAME_ID, "use": "nickname", "text": preferred})
    resource: dict[str, Any] = {
        "resourceType": "Patient",
        "id": patient_id,
        "meta": meta,
        "extension": write_extensions(profile),
        "identifier": [_identifier(entry) for entry in profile.get("identifiers", ())],
        "active": profile.get("active"),
        "name": names,
        "telecom": [_telecom(point) for point in profile.get("contact_points", ())],
        "gender": _lower(profile.get("administrative_gender")),
        "birthDate": profile.get("birth_date"),
        **_deceased(profile),
        "address": [_address(address) for address in profile.get("addresses", ())],
        "communication": write_communication(profile.get("languages", ())),
        "link": [
            {"other": {"reference": link["other"]}, "type": link["type"].lower().replace("_", "-")}
            for link in profile.get("links", ())
        ],
    }
    return {key: value for key, value in resource.items() if value is not None and value != []}


def _security(profile: Mapping[str, Any]) -> list[dict[str, str]]:
    """The security labels: confidentiality first, then the sensitivities in their order."""
    labels = [(codes.CONFIDENTIALITY, "R", "restricted")] if profile.get("restricted") else []
    for sensitivity in profile.get("sensitivity", ()):
        code = next(code for code, meant in codes.SENSITIVITIES.items() if meant == sensitivity)
        labels.append((codes.ACT_CODE, code, codes.SENSITIVITY_DISPLAYS[code]))
    return [{"system": system, "code": code, "display": display} for system, code, display in labels]


def written(resource: Mapping[str, Any]) -> bytes:
    """`resource` as one line of NDJSON, with its end."""
    return orjson.dumps(resource, option=orjson.OPT_APPEND_NEWLINE)


def _lower(code: str | None) -> str | None:
    return None if code is None else code.lower()


def _use(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"use": entry["use"].lower()} if "use" in entry else {}


def _kept(entry: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: entry[key] for key in keys if entry.get(key) not in (None, [], {})}


def _name(name: Mapping[str, Any]) -> dict[str, Any]:
    return _use(name) | _kept(name, "text", "family", *_PARTS, "period")


def _identifier(entry: Mapping[str, Any]) -> dict[str, Any]:
    element = _use(entry)
    kind = entry.get("type", {})
    coding = _kept(kind, "system", "code")
    concept = ({"coding": [coding]} if coding else {}) | _kept(kind, "text")
    if concept:
        element["type"] = concept
    element |= _kept(entry, "system", "value", "period")
    return element | ({"assigner": {"display": entry["assigner"]}} if "assigner" in entry else {})


def _telecom(point: Mapping[str, Any]) -> dict[str, Any]:
    capabilities = point.get("capabilities", [])
    extensions: list[dict[str, Any]] = []
    ours = {key: point[key] for key in _CONTACT_FLAGS if point.get(key, "UNKNOWN") != "UNKNOWN"}
    if point["system"] == "OTHER" and capabilities == ["TTY"]:
        coding = {"system": codes.UK_SYSTEM, "code": "textphone", "display": "Minicom (Textphone)"}
        extensions.append({"url": codes.OTHER_CONTACT_SYSTEM, "valueCoding": coding})
    elif capabilities != _read_again(point, point["value"]).get("capabilities", []):
        ours["capabilities"] = capabilities
    as_written = point.get("as_written", point["value"])
    if point["system"] in _NUMBERS and _read_again(point, as_written).get("value") != point["value"]:
        ours["value"] = point["value"]  # written without its country: whoever reads it may be in another
    if ours:
        extensions.append(own_extensions.pack(own_extensions.CONTACT_POINT, ours))
    element: dict[str, Any] = {"extension": extensions} if extensions else {}
    element |= {"system": point["system"].lower(), "value": as_written}
    return element | _use(point) | _kept(point, "rank", "period")


def _read_again(point: Mapping[str, Any], value: str) -> dict[str, Any]:
    """What an import would make of `value`, which knows no region; empty when it would refuse it."""
    bare = {"system": point["system"], "value": value} | _kept(point, "use")
    try:
        again: dict[str, Any] = values.parse(values.ContactPoint, bare, "telecom", lenient=True)
    except Invalid:
        return {}
    return again


def _deceased(profile: Mapping[str, Any]) -> dict[str, Any]:
    """One of the two forms of `deceased[x]`; the date says more."""
    if profile.get("deceased_at") and profile.get("deceased") is not False:
        return {"deceasedDateTime": profile["deceased_at"]}
    return {"deceasedBoolean": profile.get("deceased")}


def _address(address: Mapping[str, Any]) -> dict[str, Any]:
    element = _use(address) | ({"type": address["type"].lower()} if "type" in address else {})
    element |= _kept(address, "text")
    if address.get("lines"):
        element["line"] = address["lines"]
    element |= _kept(address, "city", "district", "state")
    if "postal_code" in address:
        element["postalCode"] = address["postal_code"]
    return element | _kept(address, "country", "period")
