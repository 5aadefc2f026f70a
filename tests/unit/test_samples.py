"""The demo's patients: valid, diverse, the same for the same seed, and nobody a telephone would reach."""

import re
from collections import Counter
from typing import Any

from crm.catalogue import BY_NAME
from crm.domain import values
from crm.interchange import samples

MANY: list[dict[str, Any]] = list(samples.generate(1500, seed=2026))

# Numbers that regulators keep for fiction: Ofcom, NANP 555-01xx, ARCEP, Bundesnetzagentur.
_FICTION = re.compile(
    r"\+44(7700900\d{3}|2079460\d{3}|1[1-9]\d4960\d{3}|2920180\d{3})|\+1\d{3}55501\d\d"
    r"|\+33(639980\d{3}|199000\d{3})|\+49(17139200\d\d|3023125\d{3})"
)


def test_every_value_passes_the_strict_rules() -> None:
    """No sample needs the leniency of imports, and parsing changes nothing that it says."""
    for patient in MANY:
        for name, value in patient.items():
            if name != "restricted":
                parsed = values.parse(BY_NAME[name].kind, value, name)
                assert values.parse(BY_NAME[name].kind, parsed, name) == parsed


def test_the_same_seed_gives_the_same_people() -> None:
    """Also the ids; and a shorter series is the beginning of a longer one."""
    assert list(samples.generate(200, seed=2026)) == MANY[:200]
    assert list(samples.generate(200, seed=1)) != MANY[:200]
    assert list(samples.generate(0, seed=1)) == []


def test_the_first_patient_is_the_one_of_the_documentation() -> None:
    """Sam: their name, pronouns, languages and number are promised in the README, and the number is nobody else's."""
    sam = MANY[0]
    assert sam == samples.first_patient() == next(samples.generate(1, seed=5))
    assert sam["preferred_name"] == "Sam"
    assert (sam["names"][0]["family"], sam["names"][0]["given"]) == ("Okafor", ["Samantha"])
    assert (sam["pronouns"], sam["interpreter_needed"], sam["restricted"]) == ("they/them", "YES", False)
    assert [(language["tag"], language["modes"]) for language in sam["languages"]] == [
        ("so", ["SPOKEN"]),
        ("en", ["WRITTEN"]),
    ]
    holders = [
        patient for patient in MANY for point in patient["contact_points"] if point["value"] == samples.FIRST_PHONE
    ]
    assert holders == [sam]


def test_no_number_rings_and_no_mail_arrives() -> None:
    """Only ranges kept for fiction, and the example domains of RFC 2606."""
    for patient in MANY:
        for point in patient["contact_points"]:
            if point["system"] == "PHONE":
                assert _FICTION.fullmatch(point["value"]), point["value"]
            else:
                assert re.search(r"@example\.(com|net|org)$", point["value"])
        family = [point for person in patient.get("related_persons", ()) for point in person["contact_points"]]
        for end in [*family, *filter(None, [patient.get("confidential_communication")])]:
            assert end["value"].endswith("@example.org")


def test_identifiers_are_unique_and_plainly_invented() -> None:
    """Hospital numbers count up; NHS numbers are of the test range with a right check digit; SSNs start with 9."""
    pairs = Counter((entry["system"], entry["value"]) for patient in MANY for entry in patient["identifiers"])
    assert max(pairs.values()) == 1
    for system, value in pairs:
        if system == samples.NHS_NUMBER:
            assert value.startswith("999")
            total = sum(int(digit) * weight for digit, weight in zip(value, range(10, 1, -1), strict=False))
            assert (11 - total % 11) % 11 == int(value[-1])
        if system == samples.US_SSN:
            assert re.fullmatch(r"9\d\d-[0-4]\d-\d{4}", value)


def test_ids_inside_records_are_unique() -> None:
    """Clients keep objects by id, so two patients never share one."""
    lists = ("contact_points", "addresses", "access_needs", "cultural_need_handling", "related_persons", "consents")
    ids = Counter(entry["id"] for patient in MANY for name in lists for entry in patient.get(name, ()))
    assert max(ids.values()) == 1


def test_the_people_are_as_diverse_as_a_hospital() -> None:
    """Scripts, languages, zones, needs, families, restricted and deceased: everything the service is for occurs."""
    tags = Counter(language["tag"] for patient in MANY for language in patient["languages"])
    expected = "en-GB en-US es-MX so ar zh-Hans zh-Hant ja ko hi pa pl uk vi fr tr pt-BR de bfi"
    assert set(expected.split()) <= set(tags)
    assert sum(not name.get("text", "a").isascii() for patient in MANY for name in patient["names"]) > 200
    pronouns = Counter(patient.get("pronouns") for patient in MANY)
    assert pronouns["they/them"] > 20
    assert pronouns["xe/xem"] + pronouns["ze/hir"] + pronouns["fae/faer"] > 3
    assert {patient["interpreter_needed"] for patient in MANY} == {"YES", "NO", "UNKNOWN"}
    assert len({patient["time_zone"] for patient in MANY}) >= 6
    assert 5 < sum(patient["restricted"] for patient in MANY) < 60
    assert 5 < sum(patient["deceased"] for patient in MANY) < 90
    for name in BY_NAME:
        if BY_NAME[name].key_class is not None and name not in {
            "links",
            "source_records",
            "superseded_ids",
            "merged_into",
        }:
            assert any(name in patient for patient in MANY), name


def test_families_share_a_telephone() -> None:
    """A number that belongs to several people is the case that a search and a STOP must get right."""
    homes: dict[str, set[str]] = {}
    for patient in MANY:
        for point in patient["contact_points"]:
            homes.setdefault(point["value"], set()).add(patient["names"][0]["family"])
    phones = Counter(
        point["value"] for patient in MANY for point in patient["contact_points"] if point["use"] == "HOME"
    )
    assert sum(count > 1 for count in phones.values()) > 30


def test_the_reason_of_a_need_stands_apart_from_what_to_do() -> None:
    """Handling and detail are joined by their ids only, and the handling names no religion."""
    for patient in MANY:
        handling = {need["id"]: need["handling"] for need in patient.get("cultural_need_handling", ())}
        assert handling.keys() == {need["id"] for need in patient.get("cultural_need_detail", ())}
        for text in handling.values():
            assert not re.search(r"Muslim|Jewish|Hindu|Sikh|Christian|Jehovah", text)
