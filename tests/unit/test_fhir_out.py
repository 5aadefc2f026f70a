"""A profile becomes a FHIR R4 Patient that validates, says everything, and comes back as the same profile."""

import json
from typing import Any

import pytest
from fhir.resources.R4B.patient import Patient
from hypothesis import given
from hypothesis import strategies as st

from crm.catalogue import BY_NAME
from crm.domain import values
from crm.interchange import fhir_codes as codes
from crm.interchange import samples
from crm.interchange.fhir_in import draft_of
from crm.interchange.fhir_out import patient_of, written
from crm.interchange.rejects import Reject
from crm.services.imports import Draft
from tests.import_target import bare

ORG = "north"
APART = {"consents", "related_persons", "confidential_communication", "restrictions", "suspensions"}
"""Consents are resources of their own; the others do not travel in FHIR (docs/fhir.md)."""

SAMPLES = list(samples.generate(120, seed=7))


def _profile(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample as the store would give it back."""
    parsed = {
        name: values.parse(BY_NAME[name].kind, value, name) for name, value in sample.items() if name != "restricted"
    }
    return parsed | {"restricted": sample["restricted"]}


def _out(profile: dict[str, Any]) -> dict[str, Any]:
    return patient_of(profile, org=ORG, patient_id="0192-aa")


def _in(resource: dict[str, Any]) -> Draft:
    draft = draft_of(resource, org=ORG, source="pas")
    assert isinstance(draft, Draft), draft
    return draft


def _native(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource without our own extensions and without what an export says of itself."""

    def strip(node: Any) -> Any:
        if isinstance(node, list):
            return [strip(entry) for entry in node if not _ours(entry)]
        if isinstance(node, dict):
            return {key: kept for key, entry in node.items() if (kept := strip(entry)) not in ([], {})}
        return node

    return {key: strip(value) for key, value in resource.items() if key not in {"id", "meta"}}


def _ours(entry: Any) -> bool:
    return isinstance(entry, dict) and str(entry.get("url", "")).startswith("urn:heed:")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample["identifiers"][0]["value"]))
def test_a_profile_comes_back_whole(sample: dict[str, Any]) -> None:
    """A Patient says all but verification, failed delivery and what is `APART`; a second one has the same bytes."""
    profile = _profile(sample)
    resource = _out(profile)
    Patient.model_validate(resource)
    draft = _in(resource)
    assert not draft.not_taken
    assert draft.restricted == profile["restricted"]
    expected = {name: value for name, value in profile.items() if name not in {"restricted", *APART}}
    for point in expected.get("contact_points", ()):
        point.update(verified=False, verification={"status": "UNVERIFIED"})
        point.pop("undeliverable", None)
    if "preferred_name" not in expected and "preferred_name" in draft.values:
        expected["preferred_name"] = draft.values["preferred_name"]  # names alone already say it
    assert bare(dict(draft.values)) == bare(expected)
    again = _out({**draft.values, "restricted": draft.restricted})
    assert written(again) == written(resource)


ELEMENTS: dict[str, Any] = {
    "extension": [
        {"url": codes.INTERPRETER_REQUIRED, "valueBoolean": True},
        {
            "url": codes.PRONOUNS,
            "extension": [
                {
                    "url": "value",
                    "valueCodeableConcept": {
                        "coding": [
                            {
                                "system": codes.LOINC,
                                "code": "LA29520-6",
                                "display": "they/them/their/theirs/themselves",
                            }
                        ],
                        "text": "they/them",
                    },
                }
            ],
        },
        {
            "url": codes.RELIGION_OF_PATIENT,
            "valueCodeableConcept": {"coding": [{"system": codes.RELIGION, "code": "1047"}], "text": "Sikh"},
        },
        {"url": codes.TIME_ZONE, "valueCode": "Europe/London"},
        {
            "url": codes.CONTACT_PREFERENCE,
            "extension": [
                {
                    "url": "PreferredWrittenCommunicationFormat",
                    "valueCodeableConcept": {
                        "coding": [{"system": codes.UK_FORMAT, "code": "12", "display": "Braille"}]
                    },
                },
                {
                    "url": "PreferredContactMethod",
                    "valueCodeableConcept": {"coding": [{"system": codes.UK_METHOD, "code": "1", "display": "Letter"}]},
                },
                {"url": "PreferredContactTimes", "valueString": "Not after 7pm"},
            ],
        },
    ],
    "identifier": [
        {
            "use": "usual",
            "type": {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}],
                "text": "MRN",
            },
            "system": "urn:oid:1.2.3",
            "value": " 12 345",
            "period": {"start": "2001-05-06", "end": "2001-05-06T10:10:10Z"},
            "assigner": {"display": "Acme"},
        },
        {"value": "no system"},
    ],
    "active": False,
    "name": [
        {"use": "official", "family": "O'Neil-Ó", "given": ["B", "A"], "prefix": ["Dr"], "suffix": ["Jr.", "PhD"]},
        {"use": "usual", "text": "Bee"},
        {"use": "maiden", "family": "W", "period": {"end": "2002"}},
    ],
    "telecom": [
        {"system": "phone", "value": "(03) 5555 6473", "use": "work", "rank": 1, "period": {"end": "2014"}},
        {"system": "email", "value": "B@Example.ORG"},
        {"system": "url", "value": "not a link"},
        {"system": "fax", "value": "+44 20 7946 0000"},
    ],
    "gender": "unknown",
    "birthDate": "1974",
    "deceasedDateTime": "2015-02-14T13:42:00+10:00",
    "address": [
        {
            "use": "home",
            "type": "both",
            "text": "534 Erewhon St",
            "line": ["534 Erewhon St", "Flat 2"],
            "city": "P",
            "district": "R",
            "state": "Vic",
            "postalCode": "3999",
            "country": "AU",
            "period": {"start": "1974-12-25"},
        }
    ],
    "communication": [
        {"language": {"coding": [{"system": codes.BCP_47, "code": "nl-NL"}], "text": "Nederlands"}, "preferred": True},
        {"language": {"text": "Something else"}},
    ],
    "link": [{"other": {"reference": "Patient/b"}, "type": "replaced-by"}],
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_an_accepted_element_is_given_back_as_it_came(name: str) -> None:
    """Phones as written, parts in their order, periods, and the extensions that were understood."""
    source = {"resourceType": "Patient", name: ELEMENTS[name]}
    assert _native(_out(dict(_in(source).values))) == source


def test_a_number_written_without_its_country_keeps_both_forms() -> None:
    """The reader of an export may be in another country, so the normal form travels beside the written one."""
    source = {"resourceType": "Patient", "telecom": [{"system": "phone", "value": "07700 900123"}]}
    draft = draft_of(source, org=ORG, source="pas", region="GB")
    assert isinstance(draft, Draft)
    again = _in(_out(dict(draft.values)))
    assert bare(dict(again.values)) == bare(dict(draft.values))
    assert again.values["contact_points"][0]["value"] == "+447700900123"


def test_an_export_does_not_vouch_for_a_number() -> None:
    """That a number was verified here is not for a file to claim elsewhere."""
    point = {"system": "PHONE", "value": "+447700900123", "verification": {"status": "VERIFIED", "method": "OTP"}}
    profile = {"contact_points": values.parse(values.ContactPoints, [point], "x")}
    assert b"VERIFIED" not in written(_out(profile))


def test_sensitivity_travels_beside_confidentiality() -> None:
    """Both are security labels of the resource, and an import takes both from there."""
    resource = _out({"restricted": True, "sensitivity": ["EMPLOYEE", "CELEBRITY"]})
    assert [label["code"] for label in resource["meta"]["security"]] == ["R", "EMP", "CEL"]
    assert _in(resource).values["sensitivity"] == ["EMPLOYEE", "CELEBRITY"]
    assert _in(resource).restricted


def test_windows_travel_whole() -> None:
    """When somebody does not want to be contacted does not become when they do, and what is wrong is refused."""
    day = {"days": ["SAT"], "from": "00:00", "to": "24:00", "time_zone": "Pacific/Apia"}
    night = {"days": ["MON", "SUN"], "from": "22:30", "to": "06:00", "time_zone": "Europe/London", "quiet": True}
    windows = values.parse(values.ContactWindows, [day, night], "x")
    resource = _out({"contact_windows": windows})
    assert _in(resource).values["contact_windows"] == windows == [day, night]
    resource["extension"][0]["valueString"] = resource["extension"][0]["valueString"].replace("true", '"yes"')
    assert isinstance(draft_of(resource, org=ORG, source="pas"), Reject)


def test_the_identity_of_an_export_is_ours() -> None:
    """An import knows an export again by its id and its source, in the same organisation only."""
    resource = _out({})
    assert (resource["id"], resource["meta"]) == ("0192-aa", {"source": "urn:heed:north"})
    assert _in(resource).incoming.heed_id == "0192-aa"
    other = draft_of(resource, org="south", source="pas")
    assert isinstance(other, Draft)
    assert (other.incoming.heed_id, other.incoming.source_id) == (None, "0192-aa")


def test_a_line_of_ndjson_is_one_line() -> None:
    """Line breaks inside values do not break the file."""
    line = written(_out({"instructions": "one\ntwo", "preferred_name": "a\u2028b"}))
    assert line.count(b"\n") == 1
    assert json.loads(line)["name"][0]["text"] == "a\u2028b"


_TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: text.strip()
)
_PERIOD = st.fixed_dictionaries(
    {}, optional={"start": st.sampled_from(["1999", "2001-02"]), "end": st.just("2020-01-01")}
)
_NAME = st.fixed_dictionaries(
    {"given": st.lists(_TEXT, min_size=1, max_size=3)},
    optional={
        "use": st.sampled_from(list(values.NameUse)),
        "text": _TEXT,
        "family": _TEXT,
        "period": _PERIOD.filter(bool),
    },
)
_LANGUAGE = st.fixed_dictionaries(
    {"tag": st.sampled_from(["so", "en", "zh-Hant", "bfi", "und"])},
    optional={
        "text": _TEXT,
        "modes": st.lists(st.sampled_from(list(values.LanguageMode)), unique=True, max_size=3),
        "rank": st.integers(1, 9),
        "preferred": st.booleans(),
        "proficiency": st.sampled_from(list(values.Proficiency)),
    },
)
_PROFILE = st.fixed_dictionaries(
    {},
    optional={
        "names": st.lists(_NAME, min_size=1, max_size=4),
        "preferred_name": _TEXT,
        "languages": st.lists(_LANGUAGE, min_size=1, max_size=4),
        "pronouns": _TEXT,
        "religion": _TEXT,
        "interpreter_needed": st.sampled_from(list(values.TriState)),
        "instructions": _TEXT | st.just("Preferred contact times: \u2003") | st.just("Preferred contact times: x\ny"),
        "accessible_formats": st.lists(
            st.sampled_from(list(values.AccessibleFormat)), unique=True, min_size=1, max_size=3
        ),
        "deceased": st.booleans(),
        "deceased_at": st.sampled_from(["2020", "2020-01-01T10:00:00Z"]),
    },
)


@given(_PROFILE)
def test_export_import_export_gives_the_same_bytes(raw: dict[str, Any]) -> None:
    """Whatever a profile holds, its second export is byte for byte the first."""
    profile = {name: values.parse(BY_NAME[name].kind, value, name) for name, value in raw.items()}
    first = _out(profile)
    draft = _in(first)
    assert written(_out(dict(draft.values))) == written(first)
