"""Owns whether a JSON object is a FHIR R4 Patient or Consent at all; maps nothing.

`fhir.resources` knows the elements and their types. What it lets pass is checked here: empty and null elements, JSON
types it would convert, required value sets, and the invariants ele-1, ext-1, cpt-2, pat-1 and att-1 (FHIR 4.0.1).
Not ppc-1, by which a Consent names a policy: what it says of contact is clear without.
Not checked: profiles, the narrative, whether references lead anywhere. None of these is read.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from fhir.resources.R4B.consent import Consent
from fhir.resources.R4B.patient import Patient
from pydantic import BaseModel, ValidationError

from crm.interchange.rejects import Reason, Refused

__all__ = ["check"]

_DEEPEST: Final = 40

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
_ELEMENT = re.compile(r"_?[a-z][A-Za-z]{0,39}", re.ASCII)
# FHIR `string`: no control characters but tab, line feed and carriage return. JSON may smuggle in lone surrogates.
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")

_GENDER = frozenset({"male", "female", "other", "unknown"})
_NAME_USE = frozenset({"usual", "official", "temp", "nickname", "anonymous", "old", "maiden"})
_SYSTEM = frozenset({"phone", "fax", "email", "pager", "url", "sms", "other"})
_POINT_USE = frozenset({"home", "work", "temp", "old", "mobile"})
_ADDRESS_USE = frozenset({"home", "work", "temp", "old", "billing"})
_ADDRESS_TYPE = frozenset({"postal", "physical", "both"})
_IDENTIFIER_USE = frozenset({"usual", "official", "temp", "secondary", "old"})
_PROVISION_TYPE = frozenset({"deny", "permit"})
_MODELS: Mapping[str, type[BaseModel]] = {"Patient": Patient, "Consent": Consent}
# Elements with a required binding, by their path without indices; those of a Patient and of a Consent do not collide.
_CODES: Mapping[str, frozenset[str]] = {
    "gender": _GENDER,
    "contact.gender": _GENDER,
    "name.use": _NAME_USE,
    "contact.name.use": _NAME_USE,
    "telecom.system": _SYSTEM,
    "contact.telecom.system": _SYSTEM,
    "telecom.use": _POINT_USE,
    "contact.telecom.use": _POINT_USE,
    "address.use": _ADDRESS_USE,
    "contact.address.use": _ADDRESS_USE,
    "address.type": _ADDRESS_TYPE,
    "contact.address.type": _ADDRESS_TYPE,
    "identifier.use": _IDENTIFIER_USE,
    "generalPractitioner.identifier.use": _IDENTIFIER_USE,
    "managingOrganization.identifier.use": _IDENTIFIER_USE,
    "link.type": frozenset({"replaced-by", "replaces", "refer", "seealso"}),
    "patient.identifier.use": _IDENTIFIER_USE,
    "status": frozenset({"draft", "proposed", "active", "rejected", "inactive", "entered-in-error"}),
    "provision.type": _PROVISION_TYPE,
    "provision.provision.type": _PROVISION_TYPE,
    "text.status": frozenset({"generated", "extensions", "additional", "empty"}),
}
_BOOLEANS = frozenset(
    {"active", "deceasedBoolean", "multipleBirthBoolean", "preferred", "userSelected", "valueBoolean", "verified"}
)
_INTEGERS = frozenset({"rank", "multipleBirthInteger", "valueInteger", "valuePositiveInt", "valueUnsignedInt"})
_EXTENSIONS = frozenset({"extension", "modifierExtension"})
_CONTACT_PARTS = frozenset({"name", "telecom", "address", "organization"})

# pydantic's words for what fhir.resources refuses.
_REASONS: Mapping[str, Reason] = {
    "extra_forbidden": Reason.UNKNOWN_ELEMENT,
    "missing": Reason.MISSING_ELEMENT,
    "model_field_validation.missing": Reason.MISSING_ELEMENT,
    "string_too_long": Reason.TOO_LONG,
    "greater_than_equal": Reason.BAD_VALUE,
    "less_than_equal": Reason.BAD_VALUE,
}
_DATED = re.compile(r"(?:date|time|instant|start|end|birthDate)", re.IGNORECASE)


def check(resource: Mapping[str, Any]) -> None:
    """Raises `Refused` with the first fault of `resource`, an object whose `resourceType` is Patient or Consent."""
    identity = resource.get("id")
    if identity is not None and not (isinstance(identity, str) and _ID.fullmatch(identity)):
        raise Refused(Reason.BAD_ID, "id")
    if "implicitRules" in resource:  # FHIR 4.0.1: who does not know the rules must not read the resource
        raise Refused(Reason.MODIFIER_NOT_UNDERSTOOD, "implicitRules")
    _object(resource, "", "", 0)
    try:
        _MODELS[resource["resourceType"]].model_validate(dict(resource))
    except ValidationError as refused:
        fault = _fault(refused)
    except Exception:  # noqa: BLE001 - on odd input its look-ups fail with KeyError and others: refused, never a crash
        fault = Refused(Reason.BAD_TYPE)
    else:
        return
    raise fault


def _object(node: Mapping[str, Any], path: str, kind: str, depth: int) -> None:
    """Checks one element: `path` says where it stands, `kind` is the same without indices."""
    if not node:
        raise Refused(Reason.EMPTY_ELEMENT, path)
    if depth > _DEEPEST:
        raise Refused(Reason.TOO_DEEP, path)
    for key, value in node.items():
        if not _ELEMENT.fullmatch(key) and key != "fhir_comments":
            raise Refused(Reason.UNKNOWN_ELEMENT, path)  # the name itself is input, and so not repeated
        here = f"{path}.{key}" if path else key
        below = f"{kind}.{key}" if kind else key
        if isinstance(value, list):
            _list(value, node.get("_" + key) if key[0] != "_" else node.get(key[1:]), key, here, below, depth)
        else:
            _value(value, key, here, below, depth)
    _invariants(node, path, kind)


def _list(entries: list[Any], beside: object, key: str, path: str, kind: str, depth: int) -> None:
    if not entries:
        raise Refused(Reason.EMPTY_ELEMENT, path)
    others = beside if isinstance(beside, list) else []
    for index, entry in enumerate(entries):
        if entry is None:
            # A null holds the place of a value whose extensions stand in the list beside it, or the other way round.
            if index >= len(others) or others[index] is None:
                raise Refused(Reason.NULL_ELEMENT, f"{path}[{index}]")
        elif isinstance(entry, list):
            raise Refused(Reason.BAD_TYPE, f"{path}[{index}]")
        else:
            _value(entry, key, f"{path}[{index}]", kind, depth)
            if key in _EXTENSIONS:
                _extension(entry, key, f"{path}[{index}]")


def _value(value: object, key: str, path: str, kind: str, depth: int) -> None:
    if isinstance(value, dict):
        _object(value, path, kind, depth + 1)
        return
    if value is None:
        raise Refused(Reason.NULL_ELEMENT, path)
    if key in _BOOLEANS and not isinstance(value, bool):
        raise Refused(Reason.BAD_TYPE, path)
    if key in _INTEGERS and (not isinstance(value, int) or isinstance(value, bool)):
        raise Refused(Reason.BAD_TYPE, path)
    if isinstance(value, str):
        _string(value, path, kind)
    elif key not in _BOOLEANS and isinstance(value, bool):
        raise Refused(Reason.BAD_TYPE, path)


def _string(value: str, path: str, kind: str) -> None:
    if not value or value.isspace():
        raise Refused(Reason.EMPTY_ELEMENT, path)
    if _NO_TEXT.search(value):
        raise Refused(Reason.BAD_TEXT, path)
    codes = _CODES.get(kind)
    if codes is not None and value not in codes:
        raise Refused(Reason.BAD_CODE, path)


def _extension(entry: object, key: str, path: str) -> None:
    if key == "modifierExtension":  # it may turn the meaning of its element round
        raise Refused(Reason.MODIFIER_NOT_UNDERSTOOD, path)
    if isinstance(entry, dict):
        values = sum(name.lstrip("_").startswith("value") for name in entry)
        if not isinstance(entry.get("url"), str) or (values > 0) == ("extension" in entry):
            raise Refused(Reason.BAD_EXTENSION, path)


def _invariants(node: Mapping[str, Any], path: str, kind: str) -> None:
    if kind in {"telecom", "contact.telecom"} and "value" in node and "system" not in node:
        raise Refused(Reason.MISSING_ELEMENT, f"{path}.system")  # cpt-2
    if kind == "contact" and not _CONTACT_PARTS & set(node):
        raise Refused(Reason.MISSING_ELEMENT, path)  # pat-1
    if kind == "photo" and "data" in node and "contentType" not in node:
        raise Refused(Reason.MISSING_ELEMENT, f"{path}.contentType")  # att-1


def _fault(refused: ValidationError) -> Refused:
    first = refused.errors(include_url=False, include_context=False, include_input=False)[0]
    place: tuple[int | str, ...] = first["loc"]
    kind = first["type"]
    if kind == "extra_forbidden":
        place = place[:-1]
    path = ""
    for step in place:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _ELEMENT.fullmatch(step) and step != "root":
            path += f".{step}" if path else step
    if kind in _REASONS:
        return Refused(_REASONS[kind], path)
    named = next((step for step in reversed(place) if isinstance(step, str)), "")
    if kind == "value_error" and not _DATED.search(named):
        return Refused(Reason.BAD_CHOICE, path)  # two of value[x], deceased[x], multipleBirth[x]
    return Refused(Reason.BAD_DATE if _DATED.search(named) else Reason.BAD_TYPE, path)
