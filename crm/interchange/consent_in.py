"""Owns how a FHIR R4 Consent becomes a consent directive about contact; pure, and silent about values when it refuses.

A Consent may say more, and other things, than a directive can. Whatever would be lost widens or narrows what the person
said, so such a Consent is refused whole. docs/consent.md is the table for people.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from crm.domain.shape import parse
from crm.domain.times import PartialDateTime, ends_at
from crm.errors import Invalid
from crm.interchange import consent_codes as codes
from crm.interchange import own_extensions, structure
from crm.interchange.left_behind import LeftBehind
from crm.interchange.rejects import Reason, Refused, Reject
from crm.services.consent_imports import Statement
from crm.services.recognition import Incoming, Person

__all__ = ["statement_of"]

_PATIENT = re.compile(r"(?:.*/)?Patient/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?", re.ASCII)

_TAKEN = frozenset(
    {
        "resourceType", "id", "meta", "extension", "status", "scope", "category", "patient", "dateTime", "performer",
        "policyRule", "provision",
    }
)  # fmt: skip
_NARROWING: Final = ("actor", "action", "securityLabel", "class", "data", "dataPeriod")
"""Elements of a provision that say whom or what it is about in a way that a directive cannot."""
_NEVER: Final = "9999"
_KEYS: Final = frozenset({"giver", "confirmed_at", "received_at", "note", "capture", "scope"})

Node = Mapping[str, Any]


def statement_of(resource: Node, *, org: str, source: str) -> Statement | Reject:
    """`resource`, a JSON object that calls itself a Consent, as a directive about a patient, or why it is refused.

    `org` tells our own exports from those of others; `source` names the sending system.
    """
    try:
        structure.check(resource)
        return _Reading(resource, org, source).statement()
    except Refused as refused:
        return refused.reject


class _Reading:
    """One Consent being read."""

    def __init__(self, resource: Node, org: str, source: str) -> None:
        self._resource = resource
        self._source = source
        self._ours = resource.get("meta", {}).get("source") == f"urn:heed:{org}"
        self._left = LeftBehind()

    def statement(self) -> Statement:
        named = self._about()
        self._require_active()
        about = self._patient()
        decision, period, rule = self._rule()
        directive: dict[str, Any] = {"decision": decision} | self._beside()
        scope = directive.get("scope", {}) | self._purpose(rule)
        channels = named | self._channels(rule)
        if len(channels) > 1:
            raise Refused(Reason.NOT_EXPRESSIBLE, "provision.code")
        directive["scope"] = scope | ({"channel": channels.pop()} if channels else {})
        said_at = _moment(self._resource, "dateTime", "dateTime")
        directive["capture"] = {**directive.get("capture", {}), **({"at": said_at} if said_at else {})}
        start = _moment(period, "start", "provision.period.start") or said_at
        if start is None and decision == "PERMIT":  # nobody knows what it would beat
            raise Refused(Reason.MISSING_ELEMENT, "dateTime")
        directive |= {"effective_from": start} if start else {}
        directive |= _ending(period)
        directive["id"] = self._id(directive)
        if not self._ours:
            directive["capture"]["system"] = self._source
            directive["giver"] = {"role": self._giver()}
        self._left.rest(self._resource, "", _TAKEN)
        return Statement(about, directive, self._left.paths())

    # --- whether --------------------------------------------------------------------------------------------------

    def _about(self) -> set[str]:
        """The channels that others' codes name, if any. Refuses what is not about contact."""
        scope = [(one.get("system"), one.get("code")) for one in self._resource["scope"].get("coding", ())]
        nodes = _nodes(self._resource.get("provision", {}))
        concepts = [*self._resource["category"], *(code for node in nodes for code in node.get("code", ()))]
        found = {codes.ABOUT_CHANNEL[pair].value for pair in _codings(concepts) if pair in codes.ABOUT_CHANNEL}
        if not found and (codes.SCOPE, codes.CONTACT) not in scope:
            raise Refused(Reason.NOT_ABOUT_CONTACT, "scope")
        return found

    def _require_active(self) -> None:
        """Who ended a consent of another system has to say so by a denial; our own say themselves what beat them."""
        status = self._resource.get("status")
        if status != "active" and not (self._ours and status == "inactive"):
            raise Refused(Reason.CONSENT_NOT_ACTIVE, "status")

    # --- what -----------------------------------------------------------------------------------------------------

    def _rule(self) -> tuple[str, Node, Node]:
        """The decision, its period, and the provision that says the rest."""
        root: Node = self._resource.get("provision", {})
        nested = root.get("provision", [])
        if len(nested) > 1 or any("provision" in one for one in nested) or (nested and "type" in root):
            raise Refused(Reason.NOT_EXPRESSIBLE, "provision.provision")
        rule: Node = nested[0] if nested else root
        for path, node in (("provision", root), ("provision.provision[0]", rule)):
            for element in _NARROWING:
                if element in node:
                    raise Refused(Reason.NOT_EXPRESSIBLE, f"{path}.{element}")
        if nested and ("period" in rule or not root.keys() <= {"period", "provision"}):
            raise Refused(Reason.NOT_EXPRESSIBLE, "provision")
        kinds = {code for _, code in _codings([self._resource.get("policyRule", {})])}
        base = {"PERMIT"} if "OPTIN" in kinds else {"DENY"} if "OPTOUT" in kinds else set[str]()
        stated = {rule["type"].upper()} if "type" in rule else base
        if len(stated) != 1 or (base and stated != base):
            raise Refused(Reason.NOT_EXPRESSIBLE, "provision.type")
        return stated.pop(), root.get("period", {}), rule

    def _purpose(self, rule: Node) -> dict[str, str]:
        purposes = rule.get("purpose", [])
        if not purposes:
            return {}
        if len(purposes) > 1 or purposes[0].get("system") != codes.PURPOSE or "code" not in purposes[0]:
            raise Refused(Reason.NOT_EXPRESSIBLE, "provision.purpose")
        return {"purpose": purposes[0]["code"]}

    def _channels(self, rule: Node) -> set[str]:
        """The channels of our own codes. Refuses a code of whatever else a Consent may be about."""
        found = set()
        for concept in rule.get("code", ()):
            pairs = list(_codings([concept]))
            found |= {code for system, code in pairs if system == codes.CHANNEL}
            if not any(system == codes.CHANNEL or (system, code) in codes.ABOUT_CHANNEL for system, code in pairs):
                raise Refused(Reason.NOT_EXPRESSIBLE, "provision.code")
        return found

    def _beside(self) -> dict[str, Any]:
        """What our extension says, which only our own exports are believed."""
        taken: dict[str, Any] = {}
        for number, entry in enumerate(self._resource.get("extension", ())):
            if entry["url"] == codes.DIRECTIVE and self._ours:
                taken = own_extensions.unpack(entry, f"extension[{number}]", _KEYS)
            else:
                self._left.extension(entry, "")
        for member in ("capture", "scope"):
            if not isinstance(taken.get(member, {}), dict):
                raise Refused(Reason.BAD_EXTENSION, "extension")
        return taken

    def _giver(self) -> str:
        """The patient, if nobody else performed; in which right somebody else speaks, other systems do not say."""
        patient = self._resource["patient"].get("reference")
        performers = [one.get("reference", "") for one in self._resource.get("performer", ())]
        return "PATIENT" if all(one == patient for one in performers) else "OTHER"

    # --- whose ----------------------------------------------------------------------------------------------------

    def _patient(self) -> Incoming:
        reference = self._resource.get("patient", {})
        found = _PATIENT.fullmatch(reference.get("reference", ""))
        identifier = reference.get("identifier", {})
        pairs = ((identifier["system"], identifier["value"]),) if {"system", "value"} <= identifier.keys() else ()
        if found is None and not pairs:
            raise Refused(Reason.MISSING_ELEMENT, "patient.reference")
        about = found[1] if found else None
        return Incoming(
            source=self._source,
            heed_id=about if self._ours else None,
            source_id=about,
            identifiers=pairs,
            digest_material=b"",
            person=Person(identifiers=frozenset(pairs)),
            beside=True,
        )

    def _id(self, directive: Node) -> str:
        """The id that says again which directive this is: our own, or one for what this source says in this Consent."""
        known = self._resource.get("id")
        if self._ours and known is not None:
            return str(known)
        said = json.dumps([self._source, known, self._resource["patient"], directive], sort_keys=True)
        return str(uuid5(NAMESPACE_URL, "urn:heed:fhir:consent:" + hashlib.sha256(said.encode()).hexdigest()))


def _moment(node: Node, element: str, path: str) -> str | None:
    """A date or time as it is written; the check of the structure takes a number for one, too."""
    found = node.get(element)
    if found is None or isinstance(found, str):
        return found
    raise Refused(Reason.BAD_TYPE, path)


def _ending(period: Node) -> dict[str, str]:
    """Just before when it ends. The year 9999 is how databases write that it does not."""
    end = _moment(period, "end", "provision.period.end")
    if end is None or end.startswith(_NEVER):
        return {}
    try:
        return {"effective_to": ends_at(parse(PartialDateTime, end, "provision.period.end"))}
    except Invalid:
        raise Refused(Reason.BAD_DATE, "provision.period.end") from None


def _nodes(provision: Node) -> Iterator[Node]:
    yield provision
    yield from provision.get("provision", ())


def _codings(concepts: list[Any]) -> Iterator[tuple[str, str]]:
    for concept in concepts:
        for coding in concept.get("coding", ()):
            yield coding.get("system", ""), coding.get("code", "")
