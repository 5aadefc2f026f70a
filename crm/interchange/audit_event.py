"""Owns how an event of the log becomes a FHIR R4 AuditEvent, in the shapes of IHE BALP 1.1. Pure.

Where BALP asks for what is not recorded (network addresses), the element says that it is absent. Field paths, numbers
and circumstances, which have no element, travel in an entity and in extensions of our own.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["audit_event_of"]

_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_REST: Final = "http://hl7.org/fhir/restful-interaction"
_LIFECYCLE: Final = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
_REST_TYPE: Final = ("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest")
_BALP_ENTITY: Final = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
_BALP_AUTHZ: Final = "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType"
_ENTITY: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_OURS: Final = "urn:heed:audit:"

Code = tuple[str, str]

_KINDS: Final[Mapping[str, tuple[Code, Code | None, str]]] = {
    "read": (_REST_TYPE, (_REST, "read"), "R"),
    "query": (_REST_TYPE, (_REST, "search-type"), "E"),
    "create": (_REST_TYPE, (_REST, "create"), "C"),
    "update": (_REST_TYPE, (_REST, "update"), "U"),
    "merge": ((_DCM, "110110"), (_LIFECYCLE, "merge"), "U"),
    "unmerge": ((_DCM, "110110"), (_LIFECYCLE, "unmerge"), "U"),
    "delete": (_REST_TYPE, (_REST, "delete"), "D"),
    "import": ((_DCM, "110107"), (_LIFECYCLE, "receive"), "C"),
    "export": ((_DCM, "110106"), (_LIFECYCLE, "disclose"), "R"),
    "disclose": ((_DCM, "110106"), (_LIFECYCLE, "disclose"), "R"),
    "notify": (_REST_TYPE, (_REST, "history-instance"), "R"),
    "decide": ((_DCM, "110113"), (_BALP_AUTHZ, "AuthZ-Role"), "E"),
    "breakglass": ((_DCM, "110113"), (_DCM, "110127"), "E"),
    "review": ((_DCM, "110113"), None, "E"),
    "login": ((_DCM, "110114"), (_DCM, "110122"), "E"),
    "logout": ((_DCM, "110114"), (_DCM, "110123"), "E"),
    "audit.read": ((_DCM, "110101"), None, "R"),
    "audit.export": ((_DCM, "110101"), (_LIFECYCLE, "extract"), "R"),
    "erase": (_REST_TYPE, (_LIFECYCLE, "destroy"), "D"),
    "hold": (_REST_TYPE, (_LIFECYCLE, "hold"), "U"),
    "release": (_REST_TYPE, (_LIFECYCLE, "unhold"), "U"),
    "prune": ((_DCM, "110101"), (_LIFECYCLE, "destroy"), "D"),
    "key.rotate": ((_DCM, "110113"), None, "E"),
    "config": ((_DCM, "110113"), None, "E"),
    "boot": ((_DCM, "110100"), (_DCM, "110120"), "E"),
    "shutdown": ((_DCM, "110100"), (_DCM, "110121"), "E"),
}
"""Type, subtype and action for each act. Every event also has our own word for the act as a subtype."""

_OUTCOMES: Final = {"ok": "0", "partial": "4", "denied": "8", "error": "12"}
_GIVES: Final = frozenset({"read", "export", "disclose", "notify"})
"""Acts in which the server is the source of the data; in all others BALP has it as the destination."""

_UNKNOWN: Final = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unsupported"}]
}


def audit_event_of(
    content: Mapping[str, Any], seq: int, leaf: bytes, *, origin: str, patient_id: str | None
) -> dict[str, Any]:
    """The AuditEvent of event `seq` of the log `origin`: `content` is what its octets `leaf` say."""
    kind, subtype, action = _KINDS[content["act"]]
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": content["id"],
        "extension": [
            {"url": f"{_OURS}number", "valueString": str(seq)},
            {"url": f"{_OURS}leaf-sha256", "valueString": hashlib.sha256(leaf).hexdigest()},
            *({"url": f"{_OURS}flag", "valueCode": flag} for flag in content.get("flg", ())),
        ],
        "type": _coding(kind),
        "subtype": [_coding(each) for each in (subtype, (f"{_OURS}act", content["act"])) if each],
        "action": action,
        "recorded": content["t"],
        "outcome": _OUTCOMES[content["out"]],
        "agent": _agents(content),
        "source": {
            "site": origin,
            "observer": {"identifier": {"system": f"{_OURS}run", "value": content["src"]["node"]}},
            "type": [_coding(("http://terminology.hl7.org/CodeSystem/security-source-type", "4"))],
        },
    }
    if content.get("why"):
        resource["outcomeDesc"] = content["why"]
    if content.get("pou"):
        resource["purposeOfEvent"] = _purposes(content)
    if entities := _entities(content, patient_id):
        resource["entity"] = entities
    return resource


def _agents(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Client, server, user and the user's organisation, as far as the caller's token named them."""
    who = content.get("who", {})
    source, destination = (_DCM, "110153"), (_DCM, "110152")
    gives = content["act"] in _GIVES
    client: dict[str, Any] = {"identifier": {"value": who["client"]}} if "client" in who else {"display": "unknown"}
    server = {"identifier": {"system": f"{_OURS}run", "value": content["src"]["node"]}}
    agents: list[dict[str, Any]] = [
        {"type": _concept(destination if gives else source), "who": client, "requestor": False, "network": _UNKNOWN},
        {"type": _concept(source if gives else destination), "who": server, "requestor": False, "network": _UNKNOWN},
    ]
    if "sub" in who:
        identifier = {"system": who["iss"], "value": who["sub"]} if "iss" in who else {"value": who["sub"]}
        user: dict[str, Any] = {
            "type": _concept(("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP")),
            "who": {"identifier": identifier},
            "requestor": True,
        }
        if who.get("roles"):
            user["role"] = [_concept((f"{_OURS}role", role)) for role in who["roles"]]
        if "jti" in who:
            user["policy"] = [f"urn:ietf:params:oauth:jti:{who['jti']}"]
        if content.get("pou"):
            user["purposeOfUse"] = _purposes(content)
        agents.append(user)
    if "org" in who:
        kind = ("http://terminology.hl7.org/CodeSystem/v3-RoleClass", "PROV")
        agents.append({"type": _concept(kind), "who": {"identifier": {"value": who["org"]}}, "requestor": False})
    return agents


def _entities(content: Mapping[str, Any], patient_id: str | None) -> list[dict[str, Any]]:
    """Patient, record, search, request, fields and decision, those of them that the event has."""
    found: list[dict[str, Any]] = []
    if "pat" in content:
        named = {"reference": f"Patient/{patient_id}"} if patient_id else {}
        what = {**named, "type": "Patient", "identifier": {"system": f"{_OURS}subject", "value": content["pat"]}}
        found.append({"what": what, "type": _coding((_ENTITY, "1")), "role": _coding((_ROLE, "1"))})
        if content["act"] != "query":
            for each in content.get("obj", ()):
                record = {**what, "reference": f"Patient/{patient_id}/_history/{each['ver']}"} if patient_id else what
                found.append({"what": record, "type": _coding((_ENTITY, "2")), "role": _coding((_ROLE, "4"))})
    if content["act"] == "query":
        asked = content.get("op", "unknown")
        found.append(
            {
                "type": _coding((_ENTITY, "2")),
                "role": _coding((_ROLE, "24")),
                "description": asked,
                "query": base64.b64encode(asked.encode()).decode(),
            }
        )
    if "req" in content:
        found.append({"type": _coding((_BALP_ENTITY, "XrequestId")), "what": {"identifier": {"value": content["req"]}}})
    names = (("fld", "field"), ("msk", "masked"), ("chg", "changed"))
    fields = [_detail(label, path) for name, label in names for path in content.get(name, ())]
    fields += [_detail(label, str(content[name])) for name, label in _DETAILS if name in content]
    if fields:
        found.append({"type": _coding((f"{_OURS}entity", "fields")), "detail": fields})
    policy = content.get("pol", {})
    decided = [_detail("policy", policy["v"])] if "v" in policy else []
    if decided := decided + [_detail("rule", rule) for rule in policy.get("d", ())]:
        found.append({"type": _coding((f"{_OURS}entity", "decision")), "detail": decided})
    return found


_DETAILS: Final = (("cnt", "count"), ("qid", "query"), ("ref", "reference"), ("sealed", "sealed"), ("op", "operation"))


def _purposes(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_concept((_REASON, purpose)) for purpose in content["pou"]]


def _detail(label: str, text: str) -> dict[str, str]:
    return {"type": label, "valueString": text}


def _coding(code: Code) -> dict[str, str]:
    return {"system": code[0], "code": code[1]}


def _concept(code: Code) -> dict[str, Any]:
    return {"coding": [_coding(code)]}
