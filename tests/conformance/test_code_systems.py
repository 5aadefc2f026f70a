"""Our lists against the registries they come from: languages, zones, telephone plans, orders of names."""

import csv
import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from crm.domain import addressing, values
from crm.domain.contact_points import e164
from crm.domain.languages import SIGN_LANGUAGES
from crm.errors import Invalid

REFERENCE = Path(__file__).resolve().parents[2] / "../shared/data/reference"

# Which codes each list must have, in the spelling of the code system that its docstring names.
FHIR_CODES = {
    values.NameUse: "usual official temp nickname anonymous old maiden",
    values.IdentifierUse: "usual official temp secondary old",
    values.LinkType: "replaced-by replaces refer seealso",
    values.AdministrativeGender: "male female other unknown",
    values.ContactPointSystem: "phone fax email pager url sms other",
    values.ContactPointUse: "home work temp old mobile",
    values.AddressUse: "home work temp old billing",
    values.AddressType: "postal physical both",
    values.Day: "mon tue wed thu fri sat sun",
    values.Capability: "voice fax data tty sms",
}
# Sign languages whose names in the registry do not say so.
NAMED_OTHERWISE = {"ils"}
# Registered after the library that reads the registry was released; imports keep them all the same.
NEWER_THAN_THE_LIBRARY = {"CQ", "suz-Sunu", "tok"}
EAST_ASIAN = {"ja", "ko", "zh", "yue"}


def reference(name: str) -> Path:
    """A reference list that nobody in this project wrote; skips where it is not at hand."""
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the project")
    return path


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a reference table."""
    with reference(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tag_of(text: str) -> str | None:
    """The canonical tag, or None where it is refused."""
    try:
        return str(values.parse(values.LanguageTag, text, "tag"))
    except Invalid:
        return None


@pytest.mark.parametrize("codes", FHIR_CODES, ids=lambda codes: codes.__name__)
def test_lists_are_complete(codes: Any) -> None:
    """A list has exactly the codes of its code system, in upper case."""
    assert {str(code) for code in codes} == {code.upper().replace("-", "_") for code in FHIR_CODES[codes].split()}


def test_codes_are_their_own_names() -> None:
    """A code is stored and shown by one word only, and every list says where it comes from."""
    lists = [thing for thing in vars(values).values() if isinstance(thing, type) and issubclass(thing, StrEnum)]
    assert len(lists) >= 25
    for codes in lists:
        assert codes.__doc__
        assert all(code.name == code.value for code in codes)


def test_religions_are_the_whole_code_system() -> None:
    """v3-ReligiousAffiliation numbers its concepts 1001 to 1082 without a gap."""
    taken = [code for code in range(900, 1200) if _is_religion(str(code))]
    assert taken == list(range(1001, 1083))


def _is_religion(code: str) -> bool:
    try:
        values.parse(values.ReligionCode, code, "code")
    except Invalid:
        return False
    return True


def test_sign_languages_are_those_of_the_registry() -> None:
    """The registry's sign languages are ours, by their descriptions."""
    named = {
        row["subtag"] for row in rows("iana_language_subtags.csv") if "sign language" in row["description"].lower()
    }
    assert named | NAMED_OTHERWISE == SIGN_LANGUAGES


def test_two_and_three_letter_languages_are_taken() -> None:
    """Nearly every registered language is a valid tag; the rest are newer than the library that reads the registry."""
    registered = [row["subtag"] for row in rows("iana_language_subtags.csv") if ".." not in row["subtag"]]
    refused = [subtag for subtag in registered if tag_of(subtag) is None]
    assert len(registered) > 8000
    assert len(refused) < len(registered) / 100


def test_refused_languages_can_be_imported() -> None:
    """What the library does not know yet is kept from imports."""
    for row in rows("iana_language_subtags.csv"):
        if ".." not in row["subtag"]:
            assert values.parse(values.Languages, [{"tag": row["subtag"]}], "languages", lenient=True)


def test_regions_and_scripts_are_taken() -> None:
    """Every current region and nearly every script of the registry can follow a language."""
    regions = [row["subtag"] for row in rows("iana_region_subtags.csv") if ".." not in row["subtag"]]
    scripts = [row["subtag"] for row in rows("iana_script_subtags.csv") if ".." not in row["subtag"]]
    assert {region for region in regions if tag_of(f"en-{region}") is None} <= NEWER_THAN_THE_LIBRARY
    assert len([script for script in scripts if tag_of(f"en-{script}") is None]) < len(scripts) / 10


def test_languages_with_names_are_taken() -> None:
    """Every locale that has data in CLDR is a language a patient may have."""
    data = json.loads(reference("cldr48_languages.json").read_text(encoding="utf-8"))
    locales = [*data["availableLocales"]["full"], *data["availableLocales"]["modern"]]
    refused = {locale for locale in locales if locale != "root" and tag_of(locale) is None}
    assert refused <= NEWER_THAN_THE_LIBRARY


def test_a_mobile_number_of_every_region() -> None:
    """One valid mobile number per region is taken in its national form, and keeps its country's code."""
    numbers: dict[str, str] = json.loads(reference("libphonenumber_example_mobile.json").read_text(encoding="utf-8"))
    assert len(numbers) > 200
    refused = {region: number for region, number in numbers.items() if e164(number, region) is None}
    assert refused == {}
    for region, number in numbers.items():
        kept = e164(number, region)
        assert kept is not None
        assert e164(kept[0], None) == kept


def test_names_of_every_locale_can_be_shown() -> None:
    """Family-first scripts are composed family first without a space; every other script given name first."""
    samples = [
        json.loads(line) for line in reference("cldr48_person_name_samples.ndjson").read_text("utf-8").splitlines()
    ]
    assert len(samples) > 100
    for sample in samples:
        native = sample["sampleName"].get("nativeGS")
        if native and "surname" in native:
            name = {"given": [native["given"]], "family": native["surname"], "prefix": [], "suffix": []}
            locale = sample["locales"][0].partition("-")[0]
            parts = (
                (native["surname"], native["given"]) if locale in EAST_ASIAN else (native["given"], native["surname"])
            )
            assert addressing.display_name([name], None, "2025-01-01") == ("" if locale in EAST_ASIAN else " ").join(
                parts
            )


def test_time_zones_are_those_of_the_database() -> None:
    """Links are taken as well as canonical zones, as IANA names them; files that are no zones are not."""
    for zone in (
        "Europe/London",
        "Asia/Kathmandu",
        "America/Argentina/ComodRivadavia",
        "UTC",
        "Etc/GMT+12",
        "Asia/Calcutta",
    ):
        assert values.parse(values.TimeZone, zone, "timeZone") == zone
    for none in ("Factory", "localtime", "posix/UTC", "tzdata.zi", "BST", "GMT+1", "Europe", "Mars/Olympus", " UTC"):
        with pytest.raises(Invalid):
            values.parse(values.TimeZone, none, "timeZone")
