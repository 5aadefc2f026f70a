"""A FHIR R4 Patient becomes the values of a profile, or a refusal that names the element and never its value."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.interchange import fhir_codes as codes
from crm.interchange.fhir_in import draft_of
from crm.interchange.rejects import Reason, Reject
from crm.services.imports import Draft

CANARY = "canary7f3a"


def read(**elements: Any) -> Draft | Reject:
    """The draft of a Patient with these elements."""
    return draft_of({"resourceType": "Patient", **elements}, org="north", source="pas", region="GB")


def values(**elements: Any) -> dict[str, Any]:
    """The values of a Patient that must be understood."""
    draft = read(**elements)
    assert isinstance(draft, Draft), draft
    return dict(draft.values)


def left(**elements: Any) -> frozenset[str]:
    """What of a Patient was left behind."""
    draft = read(**elements)
    assert isinstance(draft, Draft), draft
    return draft.not_taken


def test_names_keep_their_parts_order_use_and_period() -> None:
    """A name arrives as it was written."""
    name = {
        "use": "old",
        "text": "Dr Zoë van den Berg-Müller",
        "family": "van den Berg-Müller",
        "given": ["Zoë", "Anne  Marie"],
        "prefix": ["Dr", "h.c."],
        "suffix": ["MBE"],
        "period": {"start": "2001", "end": "2010-06-01T10:00:00+02:00"},
    }
    assert values(name=[name])["names"] == [name | {"use": "OLD"}]


@pytest.mark.parametrize(
    ("names", "preferred"),
    [
        ([{"use": "usual", "given": ["Jim"]}], None),
        ([{"use": "official", "family": "Chalmers", "given": ["Peter"]}, {"use": "usual", "given": ["Jim"]}], "Jim"),
        ([{"use": "usual", "family": "X"}, {"use": "nickname", "given": ["Kit"]}], "Kit"),
        (
            [{"use": "official", "family": "X"}, {"use": "usual", "text": "Al"}, {"use": "nickname", "text": "Kit"}],
            "Kit",
        ),
        ([{"use": "official", "family": "X"}, {"use": "usual", "text": "Al", "period": {"end": "2020"}}], None),
        ([{"use": "official", "family": "X", "given": ["Y"]}], None),
        ([{"family": "X", "given": ["Y"]}], None),
        ([{"id": "preferred-name", "use": "nickname", "text": "Sam"}], "Sam"),
    ],
)
def test_the_preferred_name(names: list[dict[str, Any]], preferred: str | None) -> None:
    """A lasting nickname, else the usual name beside an official one, else nobody said."""
    assert values(name=names).get("preferred_name") == preferred


def test_our_own_preferred_name_is_no_further_name() -> None:
    """What an export adds to say the preferred name does not come back as a name."""
    assert "names" not in values(name=[{"id": "preferred-name", "use": "nickname", "text": "Sam"}])


def test_telecom_is_kept_as_written_beside_its_normal_form() -> None:
    """Numbers that parse get E.164; those that do not stay as they are, and nothing is refused for it."""
    points = values(
        telecom=[
            {"system": "phone", "value": "07700 900123", "use": "mobile", "rank": 1, "period": {"start": "2020"}},
            {"system": "phone", "value": "ask at desk", "use": "old"},
            {"system": "email", "value": "not an address"},
            {"system": "sms", "value": "+44 7700 900124"},
            {"use": "home"},
        ]
    )["contact_points"]
    assert [point["value"] for point in points] == ["+447700900123", "ask at desk", "not an address", "+447700900124"]
    assert points[0]["as_written"] == "07700 900123"
    assert (points[0]["use"], points[0]["rank"], points[0]["period"]) == ("MOBILE", 1, {"start": "2020"})
    assert all(not point["verified"] for point in points)


def test_a_textphone_is_a_capability() -> None:
    """UK Core says in an extension that an `other` contact point is a textphone."""
    coding = {"system": codes.UK_SYSTEM, "code": "textphone", "display": "Minicom (Textphone)"}
    extension = [{"url": codes.OTHER_CONTACT_SYSTEM, "valueCoding": coding}]
    point = values(telecom=[{"system": "other", "value": "01632960587", "extension": extension}])["contact_points"][0]
    assert point["capabilities"] == ["TTY"]


def test_addresses_identifiers_and_links() -> None:
    """Each element arrives with its use, type and period."""
    taken = values(
        address=[
            {"use": "temp", "type": "postal", "text": "c/o Ada", "line": ["Flat 1", "2 Road"], "city": "Leeds",
             "district": "D", "state": "S", "postalCode": "LS1 6AE", "country": "GB", "period": {"end": "2030"}},
            {"use": "home"},
        ],
        identifier=[
            {"use": "official", "system": "urn:a", "value": "1",
             "assigner": {"display": "Acme", "reference": "Organization/1"},
             "type": {"coding": [{"system": "urn:t", "code": "MR", "display": "R"}, {"code": "X"}], "text": "H"}},
            {"system": "urn:b"},
        ],
        link=[
            {"other": {"reference": "Patient/b"}, "type": "replaced-by"},
            {"other": {"reference": "#c"}, "type": "seealso"},
        ],
    )  # fmt: skip
    (address,) = taken["addresses"]
    assert {key: part for key, part in address.items() if key != "id"} == {
        "use": "TEMP", "type": "POSTAL", "text": "c/o Ada", "lines": ["Flat 1", "2 Road"], "city": "Leeds",
        "district": "D", "state": "S", "postal_code": "LS1 6AE", "country": "GB", "period": {"end": "2030"},
    }  # fmt: skip
    assert taken["identifiers"] == [
        {"use": "OFFICIAL", "system": "urn:a", "value": "1", "assigner": "Acme",
         "type": {"system": "urn:t", "code": "MR", "text": "H"}}
    ]  # fmt: skip
    assert taken["links"] == [{"type": "REPLACED_BY", "other": "Patient/b"}]


def _language(code: str | None, system: str | None = codes.BCP_47, **more: Any) -> dict[str, Any]:
    coding = ({"system": system} if system else {}) | ({"code": code} if code else {})
    return {"language": {"coding": [coding]} | more}


def test_languages_with_codes_words_and_modes() -> None:
    """Tags are canonical, words are kept, and what has no code is still a language."""
    ability = {
        "url": codes.PROFICIENCY,
        "extension": [
            {"url": "level", "valueCoding": {"system": codes.ABILITY_LEVEL, "code": "F"}},
            {"url": "type", "valueCoding": {"system": codes.ABILITY_MODE, "code": "ESP"}},
            {"url": "type", "valueCoding": {"system": codes.ABILITY_MODE, "code": "RWR"}},
        ],
    }
    written = {"extension": [{"url": codes.PREFERENCE, "valueCoding": {"code": "written"}}]}
    languages = values(
        communication=[
            _language("zh-hant-tw") | {"preferred": True, "_preferred": written},
            _language("en", None) | {"preferred": False, "extension": [ability]},
            _language("q4", codes.UK_LANGUAGE),
            {"language": {"text": "Klingon, I think"}},
        ]
    )["languages"]
    assert languages == [
        {"tag": "zh-Hant-TW", "preferred": True, "modes": ["WRITTEN"]},
        {"tag": "en", "preferred": False, "modes": ["SPOKEN", "WRITTEN"], "proficiency": "FAIR"},
        {"tag": "bfi", "modes": ["SIGNED"]},
        {"tag": "und", "text": "Klingon, I think", "modes": []},
    ]


def test_a_language_without_code_and_words_is_left_behind() -> None:
    """Nothing usable is counted, not refused."""
    assert "languages" not in values(communication=[_language("!!")])
    assert any("coding" in path for path in left(communication=[_language("!!")]))


def _nhs(interpreter: bool, code: str = "fr") -> dict[str, Any]:
    concept = {"coding": [{"system": codes.UK_LANGUAGE, "code": code}]}
    return {
        "url": codes.NHS_COMMUNICATION,
        "extension": [
            {"url": "language", "valueCodeableConcept": concept},
            {"url": "interpreterRequired", "valueBoolean": interpreter},
        ],
    }


@pytest.mark.parametrize(
    ("extensions", "interpreter"),
    [
        ([{"url": codes.INTERPRETER_REQUIRED, "valueBoolean": True}], "YES"),
        ([{"url": codes.INTERPRETER_REQUIRED, "valueBoolean": False}], "NO"),
        ([{"url": codes.INTERPRETER_NEEDED, "valueCoding": {"system": codes.SNOMED, "code": "373066001"}}], "YES"),
        ([{"url": codes.INTERPRETER_NEEDED, "valueCoding": {"system": codes.SNOMED, "code": "373067005"}}], "NO"),
        ([{"url": codes.INTERPRETER_NEEDED, "valueCoding": {"system": codes.NULL_FLAVOR, "code": "UNK"}}], "UNKNOWN"),
        ([{"url": codes.INTERPRETER_NEEDED, "valueCoding": {"system": "urn:x", "code": "373066001"}}], None),
        ([_nhs(True)], "YES"),
        ([_nhs(False), {"url": codes.INTERPRETER_REQUIRED, "valueBoolean": True}], "YES"),
        ([], None),
    ],
)
def test_interpreter(extensions: list[dict[str, Any]], interpreter: str | None) -> None:
    """Three extensions say it; of two that disagree the yes wins, because the other mistake is worse."""
    assert values(**({"extension": extensions} if extensions else {})).get("interpreter_needed") == interpreter


def test_the_nhs_language_is_added_once() -> None:
    """The language of the UK extension joins those of `communication`; Braille in its place is a format."""
    taken = values(extension=[_nhs(True)], communication=[_language("pl")])
    assert [language["tag"] for language in taken["languages"]] == ["pl", "fr"]
    assert len(values(extension=[_nhs(True)], communication=[_language("fr")])["languages"]) == 1
    assert values(extension=[_nhs(True, "q1")])["accessible_formats"] == ["BRAILLE"]


def _preference(*parts: tuple[str, str, str]) -> dict[str, Any]:
    coded = [
        {"url": url, "valueCodeableConcept": {"coding": [{"system": system, "code": code}]}}
        for url, system, code in parts
    ]
    return {"url": codes.CONTACT_PREFERENCE, "extension": coded}


def test_the_uk_contact_preference_comes_apart() -> None:
    """A method speaks for the purposes of care, a format is a format, and times are a note that nobody parses."""
    entry = _preference(
        ("PreferredContactMethod", codes.UK_METHOD, "1"), ("PreferredWrittenCommunicationFormat", codes.UK_FORMAT, "12")
    )
    entry["extension"].append({"url": "PreferredContactTimes", "valueString": "Not after 7pm"})
    taken = values(extension=[entry])
    assert taken["accessible_formats"] == ["BRAILLE"]
    assert {row["purpose"] for row in taken["channel_preferences"]} == set(codes.GENERAL_PURPOSES)
    assert all(row["channels"] == ["LETTER"] for row in taken["channel_preferences"])
    assert taken["instructions"] == "Preferred contact times: Not after 7pm"
    assert "contact_windows" not in taken


@pytest.mark.parametrize("code", ["6", "7", "8"])
def test_a_method_that_is_no_channel_is_told_to_staff(code: str) -> None:
    """A proxy, sign language and "no telephone" are no channels, and too important to drop."""
    taken = values(extension=[_preference(("PreferredContactMethod", codes.UK_METHOD, code))])
    assert "channel_preferences" not in taken
    assert taken["instructions"] == f"Preferred contact method: {codes.UK_METHOD_DISPLAYS[code]}"


@pytest.mark.parametrize(
    ("concept", "pronouns"),
    [
        ({"coding": [{"system": codes.LOINC, "code": "LA29520-6", "display": "they/them/their"}]}, "they/them"),
        ({"text": "xe/xem"}, "xe/xem"),
        ({"coding": [{"system": "urn:x", "code": "1", "display": "fae/faer"}]}, "fae/faer"),
    ],
)
def test_pronouns(concept: dict[str, Any], pronouns: str) -> None:
    """A code, words, or the display of a code we do not know."""
    entry = {"url": codes.PRONOUNS, "extension": [{"url": "value", "valueCodeableConcept": concept}]}
    assert values(extension=[entry])["pronouns"] == pronouns


def test_religion_has_words_and_a_code() -> None:
    """The person's words win over the display; a code outside the system is left behind."""
    coding = {"system": codes.RELIGION, "code": "1041", "display": "Roman Catholic Church"}
    url = codes.RELIGION_OF_PATIENT
    taken = values(extension=[{"url": url, "valueCodeableConcept": {"coding": [coding], "text": "Catholic, lapsed"}}])
    assert (taken["religion"], taken["religion_code"]) == ("Catholic, lapsed", "1041")
    unknown = [{"url": url, "valueCodeableConcept": {"coding": [coding | {"code": "9"}]}}]
    assert "religion_code" not in values(extension=unknown)


def test_life_and_death_and_the_rest() -> None:
    """Scalars: a date of death says that the person died; partial dates stay partial."""
    taken = values(gender="other", birthDate="1974-12", active=False, deceasedDateTime="2015-02-14T13:42:00+10:00")
    assert taken == {
        "administrative_gender": "OTHER",
        "birth_date": "1974-12",
        "active": False,
        "deceased": True,
        "deceased_at": "2015-02-14T13:42:00+10:00",
    }
    assert values(deceasedBoolean=False) == {"deceased": False}
    assert (
        values(extension=[{"url": codes.TIME_ZONE, "valueCode": "Africa/Mogadishu"}])["time_zone"] == "Africa/Mogadishu"
    )


@pytest.mark.parametrize(("code", "restricted"), [("R", True), ("V", True), ("N", False), ("U", False)])
def test_confidentiality(code: str, restricted: bool) -> None:
    """Restricted and very restricted mark the record; NHS writes U for everybody else."""
    draft = read(meta={"security": [{"system": codes.CONFIDENTIALITY, "code": code}]})
    assert isinstance(draft, Draft)
    assert draft.restricted is restricted


def test_sensitivity() -> None:
    """Celebrities and employees are marked, once each and in the order of the labels; illnesses never are."""
    labels = [(codes.ACT_CODE, code) for code in ("EMP", "HIV", "CEL", "EMP")] + [(codes.CONFIDENTIALITY, "CEL")]
    security = [{"system": system, "code": code} for system, code in labels]
    assert values(meta={"security": security})["sensitivity"] == ["EMPLOYEE", "CELEBRITY"]
    assert "sensitivity" not in values(meta={"security": security[1:2]})


def test_what_is_not_taken_is_counted_by_path() -> None:
    """The purpose limits what is kept; what is dropped is told, without its content."""
    paths = left(
        maritalStatus={"text": CANARY},
        extension=[{"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race", "valueString": CANARY}],
        birthDate="1990",
        _birthDate={"extension": [{"url": "urn:x", "valueString": CANARY}]},
        name=[
            {
                "id": CANARY,
                "family": "F",
                "_family": {"id": CANARY},
                "given": [None, "G"],
                "_given": [{"id": "x"}, None],
            }
        ],
        contact=[{"name": {"family": CANARY}}],
        generalPractitioner=[{"display": CANARY}],
    )
    assert paths == {
        "maritalStatus",
        "extension(http://hl7.org/fhir/us/core/StructureDefinition/us-core-race)",
        "_birthDate",
        "name.id",
        "name._family",
        "name._given",
        "contact",
        "generalPractitioner",
    }


@pytest.mark.parametrize(
    ("elements", "reason", "path"),
    [
        ({"resourceType": "RelatedPerson"}, Reason.NOT_A_PATIENT, "resourceType"),
        ({"resourceType": ["Patient"]}, Reason.NOT_A_PATIENT, "resourceType"),
        ({"id": 1}, Reason.BAD_ID, "id"),
        ({"id": f"{CANARY} x"}, Reason.BAD_ID, "id"),
        ({"id": "a" * 65}, Reason.BAD_ID, "id"),
        ({CANARY: 1}, Reason.UNKNOWN_ELEMENT, ""),
        ({"unknownElement": CANARY}, Reason.UNKNOWN_ELEMENT, ""),
        ({"name": [{"nick": CANARY}]}, Reason.UNKNOWN_ELEMENT, "name[0]"),
        ({"name": {"family": CANARY}}, Reason.BAD_TYPE, "name"),
        ({"name": [{"given": CANARY}]}, Reason.BAD_TYPE, "name[0].given"),
        ({"name": [{"given": [[CANARY]]}]}, Reason.BAD_TYPE, "name[0].given[0]"),
        ({"name": [{"family": 5}]}, Reason.BAD_TYPE, "name[0].family"),
        ({"name": []}, Reason.EMPTY_ELEMENT, "name"),
        ({"name": [{}]}, Reason.EMPTY_ELEMENT, "name[0]"),
        ({"name": [{"family": "  "}]}, Reason.EMPTY_ELEMENT, "name[0].family"),
        ({"name": [{"given": ["a", None]}]}, Reason.NULL_ELEMENT, "name[0].given[1]"),
        ({"gender": None}, Reason.NULL_ELEMENT, "gender"),
        ({"gender": CANARY}, Reason.BAD_CODE, "gender"),
        ({"name": [{"family": "x"}, {"use": CANARY}]}, Reason.BAD_CODE, "name[1].use"),
        ({"telecom": [{"system": CANARY, "value": "1"}]}, Reason.BAD_CODE, "telecom[0].system"),
        ({"telecom": [{"system": "phone", "value": "1", "use": CANARY}]}, Reason.BAD_CODE, "telecom[0].use"),
        ({"telecom": [{"value": CANARY}]}, Reason.MISSING_ELEMENT, "telecom[0].system"),
        ({"telecom": [{"system": "phone", "value": "1", "rank": "1"}]}, Reason.BAD_TYPE, "telecom[0].rank"),
        ({"telecom": [{"system": "phone", "value": "1", "rank": 0}]}, Reason.BAD_VALUE, "telecom[0].rank"),
        ({"address": [{"use": CANARY}]}, Reason.BAD_CODE, "address[0].use"),
        ({"address": [{"type": CANARY}]}, Reason.BAD_CODE, "address[0].type"),
        ({"identifier": [{"use": CANARY}]}, Reason.BAD_CODE, "identifier[0].use"),
        ({"link": [{"other": {"reference": "Patient/1"}, "type": CANARY}]}, Reason.BAD_CODE, "link[0].type"),
        ({"link": [{"other": {"reference": "Patient/1"}}]}, Reason.MISSING_ELEMENT, "link[0].type"),
        ({"communication": [{"preferred": True}]}, Reason.MISSING_ELEMENT, "communication[0].language"),
        ({"contact": [{"gender": "male"}]}, Reason.MISSING_ELEMENT, "contact[0]"),
        ({"active": "true"}, Reason.BAD_TYPE, "active"),
        ({"active": 1}, Reason.BAD_TYPE, "active"),
        ({"birthDate": "1974-2-1"}, Reason.BAD_DATE, "birthDate"),
        ({"birthDate": "1974-02-31"}, Reason.BAD_DATE, "birthDate"),
        ({"birthDate": "1974-01-01T00:00:00Z"}, Reason.BAD_DATE, "birthDate"),
        ({"birthDate": 1974}, Reason.BAD_DATE, "birthDate"),
        ({"birthDate": "2974"}, Reason.BAD_DATE, "birthDate"),
        ({"deceasedDateTime": "2000-01-01T00:00:00"}, Reason.BAD_DATE, "deceasedDateTime"),
        ({"deceasedBoolean": True, "deceasedDateTime": "2000"}, Reason.BAD_CHOICE, ""),
        ({"name": [{"family": "x", "period": {"start": "2020", "end": "2019"}}]}, Reason.BAD_PERIOD, "name[0].period"),
        ({"name": [{"use": "old"}, {"family": "x\x00"}]}, Reason.BAD_TEXT, "name[1].family"),
        ({"name": [{"family": "\ud800"}]}, Reason.BAD_TEXT, "name[0].family"),
        ({"name": [{"family": "x" * 5000}]}, Reason.TOO_LONG, "name[0].family"),
        ({"name": [{"family": "x"}] * 31}, Reason.TOO_MANY, "name"),
        ({"extension": [{"url": "urn:x"}]}, Reason.BAD_EXTENSION, "extension[0]"),
        ({"extension": [{"valueString": CANARY}]}, Reason.BAD_EXTENSION, "extension[0]"),
        ({"extension": [{"url": "urn:x", "valueString": "a", "extension": [{"url": "y", "valueString": "z"}]}]},
         Reason.BAD_EXTENSION, "extension[0]"),
        ({"extension": [{"url": "urn:x", "valueString": "a", "valueCode": "b"}]}, Reason.BAD_CHOICE, "extension[0]"),
        ({"extension": [{"url": "urn:heed:fhir:instructions", "valueString": "{"}]},
         Reason.BAD_EXTENSION, "extension[0]"),
        ({"extension": [{"url": "urn:heed:fhir:access-needs", "valueString": '[{"kind":"CANARY"}]'}]},
         Reason.BAD_CODE, "extension[0][0].kind"),
        ({"modifierExtension": [{"url": "urn:x", "valueString": "a"}]},
         Reason.MODIFIER_NOT_UNDERSTOOD, "modifierExtension[0]"),
        ({"implicitRules": "urn:x"}, Reason.MODIFIER_NOT_UNDERSTOOD, "implicitRules"),
        ({"contained": [{"resourceType": "Organization", "nonsense": 1}]}, Reason.UNKNOWN_ELEMENT, "contained[0]"),
    ],
)  # fmt: skip
def test_refusals(elements: dict[str, Any], reason: Reason, path: str) -> None:
    """Each fault has its reason and its place; neither holds what was there."""
    reject = read(**elements)
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.path) == (reason, path)
    assert CANARY not in reject.path


def test_the_place_counts_as_the_file_does() -> None:
    """Entries that were left behind still count in the path of a refusal."""
    faulty = {"system": "urn:x", "value": "1", "period": {"start": "2020", "end": "2019"}}
    reject = read(identifier=[{"system": "urn:only-a-system"}, faulty])
    assert reject == Reject(Reason.BAD_PERIOD, "identifier[1].period")


def test_nesting_beyond_reason_is_refused() -> None:
    """Extensions in extensions without end are cut off before they cut off us."""
    nested: dict[str, Any] = {"url": "urn:x", "valueString": "end"}
    for _ in range(200):
        nested = {"url": "urn:x", "extension": [nested]}
    reject = read(extension=[nested])
    assert isinstance(reject, Reject)
    assert reject.reason is Reason.TOO_DEEP


def test_reading_leaves_the_resource_alone() -> None:
    """The resource is the caller's: a later digest or a rejects file must see it as it came."""
    resource = {"resourceType": "Patient", "name": [{"use": "usual", "given": ["A"]}], "telecom": [{"use": "home"}]}
    before = copy.deepcopy(resource)
    draft_of(resource, org="north", source="pas")
    assert resource == before


RICH: dict[str, Any] = {
    "id": "rich",
    "meta": {"security": [{"system": codes.CONFIDENTIALITY, "code": "R"}]},
    "extension": [
        _nhs(True),
        _preference(("PreferredContactMethod", codes.UK_METHOD, "4")),
        {"url": codes.PRONOUNS, "extension": [{"url": "value", "valueCodeableConcept": {"text": "they/them"}}]},
    ],
    "identifier": [{"system": "urn:a", "value": "1", "type": {"text": "t"}, "assigner": {"display": "d"}}],
    "name": [{"use": "official", "family": "F", "given": ["G"], "period": {"start": "2000"}}],
    "telecom": [{"system": "phone", "value": "07700 900123", "rank": 1}],
    "address": [{"line": ["1 Road"], "period": {"end": "2030"}}],
    "communication": [_language("so") | {"preferred": True}],
    "link": [{"other": {"reference": "Patient/2"}, "type": "refer"}],
    "birthDate": "1990",
}

_HOLLOW = ("[]", "{}", "[null]", "[[]]", '{"extension": [{}]}', '[{"url": 1}]')
_ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(_HOLLOW).map(json.loads)  # a new object each time
)


def _places(node: Any) -> list[tuple[Any, Any]]:
    pairs = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [(node, key) for key, _ in pairs] + [place for _, child in pairs for place in _places(child)]


@given(st.data())
def test_no_mutation_crashes(data: st.DataObject) -> None:
    """Any element replaced by anything, anywhere: a draft or a refusal."""
    resource = copy.deepcopy({"resourceType": "Patient", **RICH})
    for _ in range(data.draw(st.integers(1, 3))):
        node, key = data.draw(st.sampled_from(_places(resource)))
        node[key] = data.draw(_ODD)
    outcome = draft_of(resource, org="north", source="pas", region="GB")
    assert isinstance(outcome, Draft | Reject)


@given(
    st.recursive(
        _ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    )
)
def test_no_object_crashes(value: Any) -> None:
    """Any JSON object that calls itself a Patient."""
    resource = {"resourceType": "Patient", **(value if isinstance(value, dict) else {"name": value})}
    assert isinstance(draft_of(resource, org="north", source="pas"), Draft | Reject)
