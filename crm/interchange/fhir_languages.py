"""Owns languages on their way in and out: `Patient.communication` with its proficiency and preference type."""

from collections.abc import Mapping, Sequence
from typing import Any

from crm.domain import values
from crm.errors import Invalid
from crm.interchange import fhir_codes as codes
from crm.interchange import own_extensions
from crm.interchange.left_behind import LeftBehind

__all__ = ["UNDETERMINED", "language_of", "read_communication", "write_communication"]

UNDETERMINED = "und"
"""BCP 47 for a language that has no code here: the words of the source stand beside it."""

_LEVEL_OF = {proficiency: code for code, proficiency in codes.LEVELS.items()}
_MODE_CODES: Mapping[str, tuple[str, str]] = {
    "SPOKEN": ("ESP", "RSP"),
    "WRITTEN": ("EWR", "RWR"),
    "SIGNED": ("ESGN", "RSGN"),
}


def read_communication(
    entries: Sequence[Mapping[str, Any]], left: LeftBehind
) -> tuple[list[dict[str, Any]], list[int]]:
    """Raw language values in the order of the record, and the index of each in `entries`."""
    languages: list[dict[str, Any]] = []
    places: list[int] = []
    for place, entry in enumerate(entries):
        left.rest(entry, "communication", {"language", "preferred", "_preferred", "extension"})
        language = language_of(entry["language"], left, "communication.language")
        if language is None:
            continue
        if "preferred" in entry:
            language["preferred"] = entry["preferred"]
        modes = _preference_modes(entry.get("_preferred", {}), left)
        for extension in entry.get("extension", ()):
            if extension["url"] == own_extensions.LANGUAGE:
                path = f"communication[{place}].extension"
                language |= own_extensions.unpack(extension, path, own_extensions.LANGUAGE_KEYS)
            elif extension["url"] == codes.PROFICIENCY:
                language |= _proficiency(extension, modes, left)
            else:
                left.extension(extension, "communication")
        if modes:
            language["modes"] = list(dict.fromkeys(modes))
        languages.append(language)
        places.append(place)
    return languages, places


def language_of(concept: Mapping[str, Any], left: LeftBehind, path: str) -> dict[str, Any] | None:
    """The tag and the words of a language; None when it has neither a usable code nor words."""
    left.rest(concept, path, {"coding", "text"})
    tag: str | None = None
    for coding in concept.get("coding", ()):
        code = None if tag else _tag(coding)
        if code is None:
            left.add(f"{path}.coding (no language tag, or after the first)")
        else:
            tag = code
            left.rest(coding, f"{path}.coding", {"system", "code"})
    if tag is None and "text" not in concept:
        return None
    return {"tag": tag or UNDETERMINED} | ({"text": concept["text"]} if "text" in concept else {})


def _tag(coding: Mapping[str, Any]) -> str | None:
    code, system = coding.get("code"), coding.get("system")
    if not isinstance(code, str):
        return None
    if system == codes.UK_LANGUAGE:
        code = codes.UK_SIGN_LANGUAGES.get(code, code)
    try:
        # BCP 47 need only be well-formed; a code of another system counts only when it is a registered tag too.
        tag: str = values.parse(values.LanguageTag, code, "code", lenient=system == codes.BCP_47)
    except Invalid:
        return None
    return tag


def _preference_modes(preferred: Mapping[str, Any], left: LeftBehind) -> list[str]:
    left.rest(preferred, "communication.preferred", {"extension"})
    modes: list[str] = []
    for extension in preferred.get("extension", ()):
        code = extension.get("valueCoding", {}).get("code")
        if extension["url"] == codes.PREFERENCE and code in codes.PREFERENCE_MODES:
            modes.append(codes.PREFERENCE_MODES[code])
        else:
            left.extension(extension, "communication.preferred")
    return modes


def _proficiency(extension: Mapping[str, Any], modes: list[str], left: LeftBehind) -> dict[str, Any]:
    """How well the language is used; spoken, written and signed are added to `modes`."""
    said: dict[str, Any] = {}
    for part in extension.get("extension", ()):
        code = part.get("valueCoding", {}).get("code")
        if part["url"] == "level" and code in codes.LEVELS:
            said["proficiency"] = codes.LEVELS[code]
        elif part["url"] == "type" and code in codes.MODES:
            modes.append(codes.MODES[code])
        else:
            left.extension(part, "communication.extension(patient-proficiency)")
    return said


def write_communication(languages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`Patient.communication` of the profile's languages, in their order."""
    return [_written(language) for language in languages]


def _written(language: Mapping[str, Any]) -> dict[str, Any]:
    concept: dict[str, Any] = {}
    if language["tag"] != UNDETERMINED or "text" not in language:
        concept["coding"] = [{"system": codes.BCP_47, "code": language["tag"]}]
    if "text" in language:
        concept["text"] = language["text"]
    entry: dict[str, Any] = {}
    extensions = _extensions(language)
    modes = language.get("modes", [])
    plain = bool(modes) and set(modes) <= {"SPOKEN", "WRITTEN"} and "proficiency" not in language
    if plain and language.get("preferred"):
        # Preferred for speaking, for writing, or for both: FHIR says so at `preferred` itself.
        kinds = [code for code, mode in codes.PREFERENCE_MODES.items() if mode in modes]
        codings = [{"system": codes.PREFERENCE_TYPE, "code": code} for code in kinds]
        entry["_preferred"] = {"extension": [{"url": codes.PREFERENCE, "valueCoding": coding} for coding in codings]}
    elif modes or "proficiency" in language:
        extensions.insert(0, _ability(language))
    if extensions:
        entry["extension"] = extensions
    entry["language"] = concept
    if "preferred" in language:
        entry["preferred"] = language["preferred"]
    return entry


def _extensions(language: Mapping[str, Any]) -> list[dict[str, Any]]:
    ours = {key: language[key] for key in sorted(own_extensions.LANGUAGE_KEYS) if key in language}
    return [own_extensions.pack(own_extensions.LANGUAGE, ours)] if ours else []


def _ability(language: Mapping[str, Any]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if "proficiency" in language:
        coding = {"system": codes.ABILITY_LEVEL, "code": _LEVEL_OF[language["proficiency"]]}
        parts.append({"url": "level", "valueCoding": coding})
    for mode in language.get("modes", ()):
        parts += [
            {"url": "type", "valueCoding": {"system": codes.ABILITY_MODE, "code": code}} for code in _MODE_CODES[mode]
        ]
    return {"url": codes.PROFICIENCY, "extension": parts}
