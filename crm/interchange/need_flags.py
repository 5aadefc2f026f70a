"""Owns how access needs and accessible formats become FHIR R4 Flags for others, and back: one need, two forms.

* `Form.NHS`: a reasonable adjustment, coded in SNOMED CT and under its category (DAPB4019; draft of March 2024).
* `Form.US`: an accommodation of USCDI v7 in words: no code system is required of it, and US Core's draft is a Flag.

What a Flag has no element for travels in an extension of our own. Never a diagnosis: a need says what to do.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from crm.domain import values
from crm.domain.codes import AccessNeedCategory
from crm.domain.need_codes import CATEGORIES, AccessibleFormat, AccessNeedKind
from crm.errors import Invalid
from crm.interchange import own_extensions
from crm.interchange.fhir_codes import SNOMED
from crm.interchange.need_codes import BY_LABEL, BY_SNOMED, RA_CATEGORIES, SNOMED_CODES, Form, label
from crm.interchange.rejects import Reason, Refused

__all__ = ["flags_of", "needs_of"]

_OURS: Final = "urn:heed:access-need"
_NHS_CATEGORY: Final = "https://fhir.nhs.uk/England/CodeSystem/RA-FlagCategory"
_US_CATEGORY: Final = {"system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "code": "accommodation"}
_EXTENSION: Final = "urn:heed:fhir:access-need"
_KEPT: Final = (
    "flag_visible", "source", "sharing_basis", "last_met_at", "last_unmet_at", "last_reviewed_at", "review_due_at",
)  # fmt: skip
_FORMATS: Final = frozenset(each.value for each in AccessibleFormat)
_KINDS: Final = frozenset(each.value for each in AccessNeedKind)


def flags_of(profile: Mapping[str, Any], form: Form, *, patient_id: str) -> list[dict[str, Any]]:
    """One active Flag for each need and each format of `profile` (values by catalogue name), in their order."""
    needs = [_flag(need, need["kind"], form, patient_id) for need in profile.get("access_needs") or ()]
    formats = [_flag({}, code, form, patient_id) for code in profile.get("accessible_formats") or ()]
    return needs + formats


def needs_of(flags: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Canonical `access_needs` and `accessible_formats` of the active Flags of one person, in either form.

    A Flag in words that we have no code for becomes a need of kind OTHER with these words. Raises `Refused` for a Flag
    without words or a code that is known, and for values that are none.
    """
    needs: list[dict[str, Any]] = []
    formats: list[str] = []
    for number, flag in enumerate(flags):
        path = f"flags[{number}]"
        if flag.get("resourceType") != "Flag":
            raise Refused(Reason.BAD_TYPE, path)
        if flag.get("status") != "active":
            continue
        code, text = _meaning(flag, path)
        if code in _FORMATS:
            formats.append(code)
        else:
            needs.append(_need(flag, code, text, path))
    return {"access_needs": needs, "accessible_formats": list(dict.fromkeys(formats))}


def _flag(need: Mapping[str, Any], code: str, form: Form, patient_id: str) -> dict[str, Any]:
    flag: dict[str, Any] = {"resourceType": "Flag"}
    if "id" in need:
        flag["id"] = need["id"]
    if kept := {name: need[name] for name in _KEPT if name in need}:
        flag["extension"] = [own_extensions.pack(_EXTENSION, kept)]
    flag["status"] = "active"
    flag["category"] = [{"coding": [_category(code, form)]}]
    flag["code"] = _coded(code, need.get("text")) if form is Form.NHS else {"text": _words(code, need.get("text"))}
    flag["subject"] = {"reference": f"Patient/{patient_id}"}
    if "identified_at" in need:
        flag["period"] = {"start": need["identified_at"]}
    return flag


def _category(code: str, form: Form) -> dict[str, str]:
    if form is Form.US:
        return dict(_US_CATEGORY)
    group = AccessNeedCategory.INFORMATION_FORMAT if code in _FORMATS else CATEGORIES[AccessNeedKind(code)]
    return {"system": _NHS_CATEGORY, "code": RA_CATEGORIES[group]}


def _coded(code: str, text: str | None) -> dict[str, Any]:
    coding = [{"system": _OURS, "code": code, "display": label(code)}]
    if code in SNOMED_CODES:
        coding.insert(0, {"system": SNOMED, "code": SNOMED_CODES[code]})
    return {"coding": coding} | ({} if text is None else {"text": text})


def _words(code: str, text: str | None) -> str:
    """Words from which the code can be read again."""
    return label(code) if text is None else f"{label(code)}: {text}"


def _meaning(flag: Mapping[str, Any], path: str) -> tuple[str, str | None]:
    """Our code of what is needed, and the details in words. Raises `Refused`."""
    concept = flag.get("code") or {}
    text = concept.get("text")
    if text is not None and not isinstance(text, str):
        raise Refused(Reason.BAD_TYPE, f"{path}.code.text")
    codings = concept.get("coding") or []
    for coding in codings:
        system, code = coding.get("system"), coding.get("code")
        if system == _OURS and code in _KINDS | _FORMATS:
            return code, text
        if system == SNOMED and code in BY_SNOMED:
            return BY_SNOMED[code], text
    if not text:
        raise Refused(Reason.BAD_CODE if codings else Reason.MISSING_ELEMENT, f"{path}.code")
    head, _, rest = text.partition(": ")
    if known := BY_LABEL.get(head.casefold()):
        return known, rest or None
    return AccessNeedKind.OTHER.value, text


def _need(flag: Mapping[str, Any], code: str, text: str | None, path: str) -> dict[str, Any]:
    need: dict[str, Any] = {"kind": code, "text": text, "identified_at": (flag.get("period") or {}).get("start")}
    if "id" in flag:
        need["id"] = flag["id"]
    for entry in flag.get("extension") or ():
        if entry.get("url") == _EXTENSION:
            need |= own_extensions.unpack(entry, f"{path}.extension", _KEPT)
    try:
        known: dict[str, Any] = values.parse(values.AccessNeed, need, path, lenient=True)
    except Invalid as invalid:
        raise Refused(Reason.BAD_VALUE, invalid.field) from None
    return known
