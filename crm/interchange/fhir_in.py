"""Owns how a FHIR R4 Patient becomes the values of a profile; pure, and silent about values when it refuses.

Languages and the Patient's extensions have modules of their own; docs/fhir.md is the table for people.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from crm.catalogue import BY_NAME
from crm.domain import values
from crm.errors import Invalid
from crm.interchange import fhir_codes as codes
from crm.interchange import own_extensions, structure
from crm.interchange.fhir_extensions import read_extensions
from crm.interchange.fhir_languages import read_communication
from crm.interchange.identity import incoming_of
from crm.interchange.left_behind import LeftBehind
from crm.interchange.rejects import Reason, Refused, Reject
from crm.services.imports import Draft
from crm.services.recognition import Person

__all__ = ["draft_of", "preferred_name_of"]

_RULES: Mapping[str, Reason] = {
    "control_character": Reason.BAD_TEXT,
    "unicode": Reason.BAD_TEXT,
    "empty": Reason.EMPTY_ELEMENT,
    "too_long": Reason.TOO_LONG,
    "too_many": Reason.TOO_MANY,
    "too_large": Reason.TOO_LONG,
    "period_order": Reason.BAD_PERIOD,
    "date": Reason.BAD_DATE,
    "unknown_code": Reason.BAD_CODE,
}
# Names of the profile that differ from FHIR's, for the path of a refusal.
_FHIR_NAMES: Mapping[str, str] = {"lines": "line", "asWritten": "value", "other": "other.reference", "tag": "language"}
_PARTS = ("given", "prefix", "suffix")
_TAKEN = frozenset(
    {
        "resourceType", "id", "meta", "extension", "name", "telecom", "address", "identifier", "link", "communication",
        "gender", "birthDate", "active", "deceasedBoolean", "deceasedDateTime",
    }
)  # fmt: skip


def draft_of(resource: Mapping[str, Any], *, org: str, source: str, region: str | None = None) -> Draft | Reject:
    """`resource`, any JSON object, as a draft, or why it is refused.

    `org` tells our own exports from those of others; `source` names the sending system; `region` is the ISO 3166 region
    in which telephone numbers without `+` are read.
    """
    try:
        if resource.get("resourceType") != "Patient":
            raise Refused(Reason.NOT_A_PATIENT, "resourceType")
        structure.check(resource)
        return _Reading(resource, region).draft(org, source)
    except Refused as refused:
        return refused.reject


def preferred_name_of(names: Sequence[Mapping[str, Any]]) -> str | None:
    """What the person wants to be called, as far as their names say it (docs/fhir.md, "The preferred name").

    A nickname; or the usual name when there is an official one beside it. A name whose period has an end never counts.
    """
    lasting = [name for name in names if "end" not in name.get("period", {})]
    uses = {name.get("use") for name in names}
    for use in ("NICKNAME", "USUAL") if "OFFICIAL" in uses else ("NICKNAME",):
        for name in lasting:
            words = name.get("text") or " ".join(name.get("given", ())) or name.get("family")
            if name.get("use") == use and words:
                return str(words)
    return None


class _Reading:
    """One resource being read: what was taken so far, and what was left behind."""

    def __init__(self, resource: Mapping[str, Any], region: str | None) -> None:
        self._resource = resource
        self._region = region
        self._left = LeftBehind()
        self._values: dict[str, Any] = {}

    def draft(self, org: str, source: str) -> Draft:
        resource = self._resource
        self._left.rest(resource, "", _TAKEN)
        self._names()
        self._telecom()
        self._addresses()
        self._identifiers()
        self._links()
        languages, places = read_communication(resource.get("communication", ()), self._left)
        self._take("languages", languages, "communication", places)
        self._scalars()
        self._sensitivity()
        for name, (value, path) in read_extensions(resource.get("extension", ()), self._values, self._left).items():
            self._take(name, value, path)
        restricted = self._restricted()
        incoming = incoming_of(resource, org=org, source=source, person=Person.of(self._values))
        return Draft(incoming, self._values, restricted, self._left.paths())

    def _take(self, name: str, value: Any, path: str, places: Sequence[int] | None = None) -> None:
        """Puts one field through the door that every value uses; `places` are the indices of list entries in FHIR."""
        if value is None or value == []:
            return
        try:
            taken = values.parse(BY_NAME[name].kind, value, path, region=self._region, lenient=True)
        except Invalid as fault:
            reason = _RULES.get(fault.rule, Reason.BAD_VALUE)
            place = _place(fault.field.removeprefix(path), places)
        else:
            self._values[name] = taken
            return
        raise Refused(reason, path + place)

    def _names(self) -> None:
        names, places, preferred = [], [], None
        for place, name in enumerate(self._resource.get("name", ())):
            if name.get("id") == codes.PREFERRED_NAME_ID and name.get("use") == "nickname" and "text" in name:
                preferred = name["text"]
                continue
            taken: dict[str, Any] = {key: name[key] for key in ("text", "family") if key in name}
            taken |= {key: _strings(name[key]) for key in _PARTS if key in name}
            self._left.rest(name, "name", {"use", "text", "family", "period", *_PARTS})
            if not any(taken.values()):
                self._left.add("name (nothing but its use)")
                continue
            names.append(taken | self._use(name) | self._period(name, "name"))
            places.append(place)
        self._take("names", names, "name", places)
        self._take("preferred_name", preferred or preferred_name_of(names), "name")

    def _telecom(self) -> None:
        points, places = [], []
        for place, point in enumerate(self._resource.get("telecom", ())):
            self._left.rest(point, "telecom", {"system", "value", "use", "rank", "period", "extension"})
            ours, capabilities = self._telecom_extensions(point.get("extension", ()), place)
            if "value" not in point:
                self._left.add("telecom (no value)")
                continue
            taken = {"system": point["system"].upper(), "value": point["value"]}
            if "value" in ours:  # our own export: the number as written stands in the element, its normal form here
                taken |= {"value": ours.pop("value"), "as_written": point["value"]}
            taken |= {"rank": point["rank"]} if "rank" in point else {}
            points.append(taken | self._use(point) | self._period(point, "telecom") | capabilities | ours)
            places.append(place)
        self._take("contact_points", points, "telecom", places)

    def _telecom_extensions(self, extensions: Sequence[Any], place: int) -> tuple[dict[str, Any], dict[str, Any]]:
        ours: dict[str, Any] = {}
        capabilities: dict[str, Any] = {}
        for entry in extensions:
            coding = entry.get("valueCoding", {})
            if entry["url"] == own_extensions.CONTACT_POINT:
                ours = own_extensions.unpack(entry, f"telecom[{place}].extension", own_extensions.CONTACT_POINT_KEYS)
            elif entry["url"] == codes.OTHER_CONTACT_SYSTEM and coding.get("code") == "textphone":
                capabilities = {"capabilities": ["TTY"]}
                self._left.rest(coding, "telecom.extension.valueCoding", {"system", "code", "display"})
            else:
                self._left.extension(entry, "telecom")
        return ours, capabilities

    def _addresses(self) -> None:
        addresses, places = [], []
        for place, address in enumerate(self._resource.get("address", ())):
            self._left.rest(address, "address", {"use", "type", "line", "period", "postalCode", *_ADDRESS_PARTS})
            taken: dict[str, Any] = {key: address[key] for key in _ADDRESS_PARTS if key in address}
            taken |= {"lines": _strings(address["line"])} if "line" in address else {}
            taken |= {"postal_code": address["postalCode"]} if "postalCode" in address else {}
            if not any(taken.values()):
                self._left.add("address (nothing but its use)")
                continue
            taken |= {"type": address["type"].upper()} if "type" in address else {}
            addresses.append(taken | self._use(address) | self._period(address, "address"))
            places.append(place)
        self._take("addresses", addresses, "address", places)

    def _identifiers(self) -> None:
        identifiers, places = [], []
        for place, identifier in enumerate(self._resource.get("identifier", ())):
            known = {"use", "type", "system", "value", "period", "assigner"}
            self._left.rest(identifier, "identifier", known)
            if "value" not in identifier:
                self._left.add("identifier (no value)")
                continue
            taken: dict[str, Any] = {key: identifier[key] for key in ("system", "value") if key in identifier}
            kind = self._identifier_type(identifier.get("type", {}))
            taken |= {"type": kind} if kind else {}
            assigner = identifier.get("assigner", {})
            self._left.rest(assigner, "identifier.assigner", {"display"})
            taken |= {"assigner": assigner["display"]} if "display" in assigner else {}
            identifiers.append(taken | self._use(identifier) | self._period(identifier, "identifier"))
            places.append(place)
        self._take("identifiers", identifiers, "identifier", places)

    def _identifier_type(self, concept: Mapping[str, Any]) -> dict[str, Any]:
        self._left.rest(concept, "identifier.type", {"coding", "text"})
        first, *more = concept.get("coding", [{}])
        self._left.rest(first, "identifier.type.coding", {"system", "code"})
        if more:
            self._left.add("identifier.type.coding (after the first)")
        kind = {key: first[key] for key in ("system", "code") if key in first}
        return kind | ({"text": concept["text"]} if "text" in concept else {})

    def _links(self) -> None:
        links, places = [], []
        for place, link in enumerate(self._resource.get("link", ())):
            other = link["other"]
            self._left.rest(link, "link", {"type", "other"})
            self._left.rest(other, "link.other", {"reference"})
            reference = other.get("reference", "#")
            if reference.startswith("#"):  # leads into `contained`, which is not taken, or nowhere
                self._left.add("link (no reference to another record)")
                continue
            links.append({"type": link["type"].replace("-", "_").upper(), "other": reference})
            places.append(place)
        self._take("links", links, "link", places)

    def _scalars(self) -> None:
        resource = self._resource
        self._take("administrative_gender", _upper(resource.get("gender")), "gender")
        self._take("birth_date", resource.get("birthDate"), "birthDate")
        self._take("active", resource.get("active"), "active")
        if "deceasedDateTime" in resource:
            self._take("deceased_at", resource["deceasedDateTime"], "deceasedDateTime")
            self._take("deceased", True, "deceasedDateTime")
        self._take("deceased", resource.get("deceasedBoolean"), "deceasedBoolean")

    def _restricted(self) -> bool:
        meta = self._resource.get("meta", {})
        self._left.rest(meta, "meta", {"security", "source", "versionId", "lastUpdated"})
        return any(
            label.get("system") == codes.CONFIDENTIALITY and label.get("code") in codes.RESTRICTED
            for label in meta.get("security", ())
        )

    def _sensitivity(self) -> None:
        labels = self._resource.get("meta", {}).get("security", ())
        found = [codes.SENSITIVITIES.get(one.get("code")) for one in labels if one.get("system") == codes.ACT_CODE]
        self._take("sensitivity", [*dict.fromkeys(filter(None, found))], "meta.security")

    @staticmethod
    def _use(element: Mapping[str, Any]) -> dict[str, Any]:
        return {"use": element["use"].upper()} if "use" in element else {}

    def _period(self, element: Mapping[str, Any], path: str) -> dict[str, Any]:
        period = element.get("period")
        if not period:
            return {}
        self._left.rest(period, f"{path}.period", {"start", "end"})
        taken = {key: period[key] for key in ("start", "end") if key in period}
        return {"period": taken} if taken else {}


_ADDRESS_PARTS = ("text", "city", "district", "state", "country")


def _strings(entries: Sequence[str | None]) -> list[str]:
    return [entry for entry in entries if entry is not None]


def _upper(code: str | None) -> str | None:
    return None if code is None else code.upper()


def _place(steps: str, places: Sequence[int] | None) -> str:
    """`.2.postalCode` of a list of values as `[4].postalCode` of the FHIR list it was taken from."""
    path, outer = "", True
    for step in filter(None, steps.split(".")):
        if step.isdecimal():
            index = int(step)
            path += f"[{places[index] if outer and places is not None else index}]"
            outer = False
        else:
            path += "." + _FHIR_NAMES.get(step, step)
    return path
