"""Owns the extensions of a Patient, in and out: interpreter, pronouns, religion, contact preference, time zone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crm.domain import values
from crm.domain.values import TriState
from crm.errors import Invalid
from crm.interchange import fhir_codes as codes
from crm.interchange import own_extensions
from crm.interchange.fhir_languages import language_of
from crm.interchange.left_behind import LeftBehind

__all__ = ["read_extensions", "write_extensions"]

_TIMES = "Preferred contact times: "
_NHS = "extension(NHSCommunication)"
_METHOD = "Preferred contact method: "
_PRONOUN_CODE = {words: code for code, words in codes.PRONOUN_CODES.items()}
_METHOD_OF = {channel: code for code, channel in codes.UK_METHODS.items()}
_FORMAT_OF = {written: code for code, written in codes.UK_FORMATS.items()}
_YES, _NO, _UNKNOWN = TriState.YES, TriState.NO, TriState.UNKNOWN


def read_extensions(
    entries: Sequence[Mapping[str, Any]], so_far: Mapping[str, Any], left: LeftBehind
) -> dict[str, tuple[Any, str]]:
    """Raw values by catalogue name, each with the path it comes from; languages are those `so_far` and the new ones."""
    reading = _Extensions(so_far, left)
    for place, entry in enumerate(entries):
        reading.read(entry, f"extension[{place}]")
    return reading.found


class _Extensions:
    """The extensions of one record being read."""

    def __init__(self, so_far: Mapping[str, Any], left: LeftBehind) -> None:
        self.found: dict[str, tuple[Any, str]] = {}
        self._so_far = so_far
        self._left = left
        self._readers: Mapping[str, Callable[[Mapping[str, Any], str], bool]] = {
            codes.INTERPRETER_REQUIRED: self._interpreter_required,
            codes.INTERPRETER_NEEDED: self._interpreter_needed,
            codes.NHS_COMMUNICATION: self._nhs_communication,
            codes.CONTACT_PREFERENCE: self._contact_preference,
            codes.PRONOUNS: self._pronouns,
            codes.RELIGION_OF_PATIENT: self._religion,
            codes.TIME_ZONE: self._time_zone,
        }

    def read(self, entry: Mapping[str, Any], path: str) -> None:
        """Takes what the extension says; what says nothing usable is left behind."""
        name = own_extensions.field_of(entry["url"])
        if name is not None:
            self.found[name] = own_extensions.unpack(entry, path), path
            return
        reader = self._readers.get(entry["url"])
        if reader is None or not reader(entry, path):
            self._left.extension(entry, "")

    def _interpreter(self, said: TriState | None, path: str) -> bool:
        """Of several statements a yes wins over a no, and both over not knowing."""
        if said is None:
            return False
        order = [_UNKNOWN, _NO, _YES]
        before = self.found.get("interpreter_needed", (_UNKNOWN, ""))[0]
        self.found["interpreter_needed"] = max(before, said, key=order.index), path
        return True

    def _interpreter_required(self, entry: Mapping[str, Any], path: str) -> bool:
        said = entry.get("valueBoolean")
        return self._interpreter(None if said is None else _YES if said else _NO, path)

    def _interpreter_needed(self, entry: Mapping[str, Any], path: str) -> bool:
        coding = entry.get("valueCoding", {})
        return self._interpreter(codes.INTERPRETER.get((coding.get("system", ""), coding.get("code", ""))), path)

    def _nhs_communication(self, entry: Mapping[str, Any], path: str) -> bool:
        for part in entry.get("extension", ()):
            concept = part.get("valueCodeableConcept", {})
            if part["url"] == "interpreterRequired" and isinstance(part.get("valueBoolean"), bool):
                self._interpreter(_YES if part["valueBoolean"] else _NO, path)
            elif part["url"] == "language" and _code_of(concept, codes.UK_LANGUAGE) == codes.UK_BRAILLE:
                self._add_format(codes.UK_FORMATS["12"], path)
            elif part["url"] == "language" and (language := language_of(concept, self._left, _NHS)):
                self._add_language(language, path)
            else:
                self._left.extension(part, _NHS)
        return True

    def _add_language(self, language: dict[str, Any], path: str) -> None:
        known = self.found.get("languages", (self._so_far.get("languages", []), ""))[0]
        if language["tag"] not in {entry["tag"] for entry in known}:
            self.found["languages"] = [*known, language | {"preferred": True}], path

    def _add_format(self, wanted: str, path: str) -> None:
        known = self.found.get("accessible_formats", ([], ""))[0]
        if isinstance(known, list) and wanted not in known:
            self.found["accessible_formats"] = [*known, wanted], path

    def _contact_preference(self, entry: Mapping[str, Any], path: str) -> bool:
        for part in entry.get("extension", ()):
            concept = part.get("valueCodeableConcept", {})
            written = codes.UK_FORMATS.get(_code_of(concept, codes.UK_FORMAT))
            if part["url"] == "PreferredWrittenCommunicationFormat" and written:
                self._add_format(written, path)
            elif part["url"] == "PreferredContactTimes" and isinstance(part.get("valueString"), str):
                self._note(_TIMES + part["valueString"], path)
            elif part["url"] != "PreferredContactMethod" or not self._method(_code_of(concept, codes.UK_METHOD), path):
                self._left.extension(part, "extension(ContactPreference)")
        return True

    def _method(self, code: str, path: str) -> bool:
        """A channel for the purposes of care; a proxy, sign language or "no telephone" is none, so staff read of it."""
        if code in codes.UK_METHODS:
            rows = [{"purpose": purpose, "channels": [codes.UK_METHODS[code]]} for purpose in codes.GENERAL_PURPOSES]
            self.found.setdefault("channel_preferences", (rows, path))
        elif code in codes.UK_METHOD_DISPLAYS:
            self._note(_METHOD + codes.UK_METHOD_DISPLAYS[code], path)
        return code in codes.UK_METHOD_DISPLAYS

    def _note(self, line: str, path: str) -> None:
        before = self.found.get("instructions", (None, ""))[0]
        self.found["instructions"] = line if before is None else f"{before}\n{line}", path

    def _pronouns(self, entry: Mapping[str, Any], path: str) -> bool:
        parts = {part["url"]: part for part in entry.get("extension", ())}
        concept = parts.get("value", {}).get("valueCodeableConcept", {})
        words = concept.get("text") or codes.PRONOUN_CODES.get(_code_of(concept, codes.LOINC))
        words = words or next((coding["display"] for coding in concept.get("coding", ()) if "display" in coding), None)
        if words is None:
            return False
        before = self.found.get("pronouns", (None, ""))[0]
        self.found["pronouns"] = words if before is None else f"{before}, {words}", path
        for url in parts.keys() - {"value"}:
            self._left.extension(parts[url], "extension(individual-pronouns)")
        return True

    def _religion(self, entry: Mapping[str, Any], path: str) -> bool:
        concept = entry.get("valueCodeableConcept", {})
        code = _code_of(concept, codes.RELIGION)
        words = concept.get("text") or next(
            (coding["display"] for coding in concept.get("coding", ()) if "display" in coding), None
        )
        if "religion" in self.found or "religion_code" in self.found or not (words or code):
            return False
        if words:
            self.found["religion"] = words, path
        if _fits(values.ReligionCode, code):
            self.found["religion_code"] = code, path
        elif code:
            self._left.add("extension(patient-religion).coding (unknown code)")
        return True

    def _time_zone(self, entry: Mapping[str, Any], path: str) -> bool:
        zone = entry.get("valueCode")
        if not _fits(values.TimeZone, zone):
            return False
        self.found["time_zone"] = zone, path
        return True


def _code_of(concept: Mapping[str, Any], system: str) -> str:
    """The code that `concept` has in `system`; empty when it has none."""
    found = (coding.get("code", "") for coding in concept.get("coding", ()) if coding.get("system") == system)
    return next(found, "")


def _fits(kind: Any, value: object) -> bool:
    try:
        values.parse(kind, value, "value", lenient=True)
    except Invalid:
        return False
    return True


def write_extensions(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The extensions of a profile's Patient, always in the same order."""
    written: list[dict[str, Any]] = []
    interpreter = profile.get("interpreter_needed")
    if interpreter == _UNKNOWN:
        written.append({"url": codes.INTERPRETER_NEEDED, "valueCoding": {"system": codes.NULL_FLAVOR, "code": "UNK"}})
    elif interpreter:
        written.append({"url": codes.INTERPRETER_REQUIRED, "valueBoolean": interpreter == _YES})
    if "pronouns" in profile:
        value = {"url": "value", "valueCodeableConcept": _pronoun_concept(profile["pronouns"])}
        written.append({"url": codes.PRONOUNS, "extension": [value]})
    if "religion" in profile or "religion_code" in profile:
        written.append({"url": codes.RELIGION_OF_PATIENT, "valueCodeableConcept": _religion_concept(profile)})
    if "time_zone" in profile:
        written.append({"url": codes.TIME_ZONE, "valueCode": profile["time_zone"]})
    preference, covered = _contact_preference(profile)
    written += [{"url": codes.CONTACT_PREFERENCE, "extension": preference}] if preference else []
    for name in own_extensions.FIELDS:
        if profile.get(name) is not None and profile[name] != [] and name not in covered:
            written.append(own_extensions.pack(own_extensions.url_of(name), profile[name]))
    return written


def _pronoun_concept(words: str) -> dict[str, Any]:
    code = _PRONOUN_CODE.get(words)
    if code is None:
        return {"text": words}
    return {"coding": [{"system": codes.LOINC, "code": code, "display": codes.PRONOUN_DISPLAYS[code]}], "text": words}


def _religion_concept(profile: Mapping[str, Any]) -> dict[str, Any]:
    concept: dict[str, Any] = {}
    if "religion_code" in profile:
        concept["coding"] = [{"system": codes.RELIGION, "code": profile["religion_code"]}]
    if "religion" in profile:
        concept["text"] = profile["religion"]
    return concept


def _contact_preference(profile: Mapping[str, Any]) -> tuple[list[dict[str, Any]], set[str]]:
    """The parts of the UK extension, and the fields that it says completely; others travel in extensions of ours."""
    parts: list[dict[str, Any]] = []
    covered: set[str] = set()
    formats = profile.get("accessible_formats", [])
    if len(formats) == 1 and formats[0] in _FORMAT_OF:
        code = _FORMAT_OF[formats[0]]
        display = codes.UK_FORMAT_DISPLAYS[code]
        parts.append(_coded("PreferredWrittenCommunicationFormat", codes.UK_FORMAT, code, display))
        covered.add("accessible_formats")
    rows = profile.get("channel_preferences", [])
    channel = rows[0]["channels"][0] if rows and rows[0]["channels"] else None
    general = [{"purpose": purpose, "channels": [channel]} for purpose in codes.GENERAL_PURPOSES]
    if channel in _METHOD_OF and rows == general:
        code = _METHOD_OF[channel]
        parts.append(_coded("PreferredContactMethod", codes.UK_METHOD, code, codes.UK_METHOD_DISPLAYS[code]))
        covered.add("channel_preferences")
    note = profile.get("instructions") or ""
    times = note.removeprefix(_TIMES)
    if times not in {note, ""} and not times.isspace() and "\n" not in times:
        parts.append({"url": "PreferredContactTimes", "valueString": times})
        covered.add("instructions")
    return parts, covered


def _coded(url: str, system: str, code: str, display: str) -> dict[str, Any]:
    return {"url": url, "valueCodeableConcept": {"coding": [{"system": system, "code": code, "display": display}]}}
