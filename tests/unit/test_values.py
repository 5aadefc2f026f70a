"""Values enter by one door: what is taken, in which form it is kept, and by which rule the rest is refused."""

import traceback
from typing import Any

import pytest

from crm.catalogue import FIELDS
from crm.domain import values
from crm.domain.need_codes import CATEGORIES
from crm.errors import Invalid

PATH = "input.field"
WINDOW = {"days": ["MON"], "from": "09:00", "to": "17:00", "time_zone": "Europe/London"}


def refusal(kind: Any, value: Any, **how: Any) -> tuple[str, str]:
    """The path below the field and the rule by which `value` is refused."""
    with pytest.raises(Invalid) as caught:
        values.parse(kind, value, PATH, **how)
    return caught.value.field.removeprefix(PATH).lstrip("."), caught.value.rule


def point(system: str, value: str, **more: Any) -> dict[str, Any]:
    """A contact point as a client sends it."""
    return {"system": system, "value": value, **more}


def parsed_point(system: str, value: str, *, region: str | None = None, lenient: bool = False, **more: Any) -> Any:
    """A contact point as it is kept."""
    return values.parse(values.ContactPoints, [point(system, value, **more)], PATH, region=region, lenient=lenient)[0]


SAMPLES: dict[str, Any] = {
    "preferred_name": "Zoë",
    "names": [
        {"use": "OFFICIAL", "family": "Ng", "given": ["Ann", "May"], "period": {"start": "2001", "end": "2001-02"}}
    ],
    "birth_date": "1980-02-29",
    "deceased": False,
    "deceased_at": "2024-02-29T23:59:60+13:45",
    "identifiers": [{"system": "urn:oid:1.2", "value": "A-1", "use": "USUAL", "type": {"code": "MR"}}],
    "active": True,
    "links": [{"type": "REPLACED_BY", "other": "Patient/1"}],
    "contact_points": [point("PHONE", "+44 20 7946 0018 ext. 5", rank=1), point("EMAIL", "Jo@Example.ORG")],
    "addresses": [{"use": "HOME", "lines": ["1 High St"], "postal_code": "X1 1XX", "text": "1 High St\nX1 1XX"}],
    "languages": [{"tag": "en-gb", "modes": ["WRITTEN"], "rank": 1, "preferred": True}, {"tag": "bfi"}],
    "interpreter_needed": "UNKNOWN",
    "accessible_formats": ["EASY_READ", "LARGE_PRINT_24"],
    "access_needs": [{"kind": "HEARING_LOOP", "review_due_at": "2030"}],
    "cultural_need_handling": [{"id": "n1", "handling": "Ask before touching."}],
    "cultural_need_detail": [{"id": "n1", "kind": "TOUCH_OR_SPACE", "detail": "By custom."}],
    "channel_preferences": [{"purpose": "TEST_RESULT", "channels": ["LETTER", "SMS"]}],
    "contact_windows": [WINDOW],
    "time_zone": "America/Argentina/Buenos_Aires",
    "communication_style": "PLAIN_LANGUAGE",
    "instructions": "Ring twice.\nThen wait.",
    "appointment_preferences": {"times": ["MORNING"], "days": ["TUE", "WED"], "clinician_gender": "FEMALE"},
    "case_manager": {"name": "B. Okafor", "since": "2020-05"},
    "care_team": ["nurse-7", "https://issuer.test/u|0042"],
    "sensitivity": ["EMPLOYEE", "CELEBRITY"],
    "pronouns": "they/them",
    "administrative_gender": "OTHER",
    "religion": "Quaker",
    "religion_code": "1071",
    "superseded_ids": ["0199c0de-0000-7000-8000-00000000c0de"],
    "related_persons": [
        {"name": "Ada Ng", "relationship": "CARER", "contact": "INSTEAD", "rank": 1, "purposes": ["BILLING"],
         "contact_points": [point("SMS", "+44 7700 900123")], "access_needs": [{"kind": "HEARING_LOOP"}]},
    ],
    "consents": [
        {"seq": 1, "decision": "DENY", "scope": {"channel": "SMS"}, "capture": {"at": "2026-11-01T09:00:00+01:00"},
         "effective_from": "2026-11-01T08:00:00Z", "effective_to": "2027", "received_at": "2026-11-01T08:00:01Z"},
    ],
    "confidential_communication": {
        "channel": "EMAIL", "value": "Jo@Example.ORG", "purposes": ["TEST_RESULT"], "set_at": "2026-11-01T09:00:00Z",
    },
    "restrictions": [
        {"kind": "CONTACT", "basis": "COURT_ORDER", "channels": ["VOICE"], "until": "2027-01", "placed_by": "dpo",
         "placed_at": "2026-11-01T09:00:00Z"},
    ],
    "suspensions": [
        {"kind": "UNCLEAR", "message_id": "SM1", "gateway": "main", "channel": "SMS", "text": "please stop",
         "received_at": "2026-11-01T09:00:00Z"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_parsing_again_changes_nothing(name: str) -> None:
    """What was parsed is canonical: it comes back from a second parse, strict or lenient, as it is."""
    kind = next(field.kind for field in FIELDS if field.name == name)
    once = values.parse(kind, SAMPLES[name], PATH)
    assert values.parse(kind, once, PATH) == once
    assert values.parse(kind, once, PATH, lenient=True) == once


def test_every_public_field_has_a_sample() -> None:
    """No kind of value that clients can send is left out of this file."""
    assert set(SAMPLES) == {field.name for field in FIELDS if field.kind is not None and field.paths}


@pytest.mark.parametrize("value", [0, "", [], {}, 1.5, float("nan"), object(), b"x", [[]], [None], {"x": 1}, 10**400])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_wrong_shape_is_a_typed_refusal(name: str, value: Any) -> None:
    """Whatever arrives is taken or refused as `Invalid` by a known rule; nothing else ever escapes."""
    kind = next(field.kind for field in FIELDS if field.name == name)
    try:
        values.parse(kind, value, PATH)
    except Invalid as refused:
        assert refused.rule in values.RULES
        assert refused.field.startswith(PATH)


@pytest.mark.parametrize(
    ("kind", "value", "place", "rule"),
    [
        (values.HumanNames, [{"use": "USUAL"}], "0", "empty"),
        (values.HumanNames, [{"given": ["A", " "]}], "0.given.1", "empty"),
        (values.HumanNames, [{"family": "A", "use": "Usual"}], "0.use", "unknown_code"),
        (values.HumanNames, [{"family": "A", "middle": "B"}], "0", "unknown_field"),
        (values.HumanNames, [{"family": "A"}] * 31, "", "too_many"),
        (
            values.HumanNames,
            [{"family": "A", "period": {"start": "2020", "end": "2019-12-31"}}],
            "0.period",
            "period_order",
        ),
        (values.HumanNames, [{"family": "A", "period": {"start": "2019-02-29"}}], "0.period.start", "date"),
        (values.Identifiers, [{"system": "urn:x"}], "0.value", "missing"),
        (values.Identifiers, [{"value": None}], "0.value", "missing"),
        (values.Links, [{"type": "SAME", "other": "Patient/1"}], "0.type", "unknown_code"),
        (values.ContactPoints, [point("PHONE", "020 7946 0018")], "0.value", "e164"),
        (values.ContactPoints, [point("PHONE", "+44 1")], "0.value", "e164"),
        (values.ContactPoints, [point("SMS", "ask for Mary: +447700900123")], "0.value", "e164"),
        (values.ContactPoints, [point("FAX", "+" + "1" * 100)], "0.value", "e164"),
        (values.ContactPoints, [point("EMAIL", "jo@")], "0.value", "email"),
        (values.ContactPoints, [point("EMAIL", "jo@localhost")], "0.value", "email"),
        (values.ContactPoints, [point("URL", "javascript:alert(1)")], "0.value", "url"),
        (values.ContactPoints, [point("CARRIER_PIGEON", "x")], "0.system", "unknown_code"),
        (values.ContactPoints, [{"value": "x"}], "0.system", "missing"),
        (values.ContactPoints, [point("OTHER", "x", rank=0)], "0.rank", "out_of_range"),
        (values.ContactPoints, [point("OTHER", "x", rank=10**40)], "0.rank", "out_of_range"),
        (values.ContactPoints, [point("OTHER", "x", rank="1")], "0.rank", "type"),
        (values.ContactPoints, [point("OTHER", "x", id="a b")], "0.id", "id"),
        (values.ContactPoints, [point("OTHER", "x", id="a"), point("OTHER", "y", id="a")], "", "duplicate"),
        (values.ContactPoints, [point("OTHER", "x", text_permitted="MAYBE")], "0.textPermitted", "unknown_code"),
        (values.ContactPoints, [point("OTHER", "x", capabilities=["SMS", "SMS"])], "0.capabilities", "duplicate"),
        (values.Addresses, [{"postal_code": 1234}], "0.postalCode", "type"),
        (values.Languages, [{"tag": "english"}], "0.tag", "bcp47"),
        (values.Languages, [{"tag": "zz"}], "0.tag", "bcp47"),
        (values.Languages, [{"tag": ""}], "0.tag", "bcp47"),
        (values.Languages, [{"tag": "en-" + "a1b2c3d4-" * 50}], "0.tag", "bcp47"),
        (values.Languages, [{"tag": "en", "proficiency": "E"}], "0.proficiency", "unknown_code"),
        (values.TriState, "MAYBE", "", "unknown_code"),
        (values.AccessibleFormats, ["BRAILLE", "BRAILLE"], "", "duplicate"),
        (values.AccessNeeds, [{"kind": "OTHER"}], "0.text", "missing"),
        (values.AccessNeeds, [{"kind": "DIAGNOSIS"}], "0.kind", "unknown_code"),
        (values.CulturalNeedHandlings, [{"id": "n1"}], "0.handling", "missing"),
        (values.ChannelPreferences, [{"purpose": "BILLING", "channels": []}], "0.channels", "too_few"),
        (values.ChannelPreferences, [{"purpose": "BILLING", "channels": ["SMS"]}] * 2, "", "duplicate"),
        (values.ContactWindows, [{**WINDOW, "to": "09:00"}], "0", "window_empty"),
        (values.ContactWindows, [{**WINDOW, "from": "24:00"}], "0.from", "time"),
        (values.ContactWindows, [{**WINDOW, "to": "9:00"}], "0.to", "time"),
        (values.ContactWindows, [{**WINDOW, "days": []}], "0.days", "too_few"),
        (values.ContactWindows, [{**WINDOW, "time_zone": "europe/london"}], "0.timeZone", "time_zone"),
        (values.ContactWindows, [{key: WINDOW[key] for key in ("days", "to", "time_zone")}], "0.from", "missing"),
        (values.TimeZone, "../../etc/passwd", "", "time_zone"),
        (values.TimeZone, "localtime", "", "time_zone"),
        (values.ReligionCode, "1083", "", "unknown_code"),
        (values.ReligionCode, "\u0661\u0660\u0660\u0661", "", "unknown_code"),
        (values.ShortText, "a" * 201, "", "too_long"),
        (values.LongText, "a" * 4001, "", "too_long"),
        (values.ShortText, "a\nb", "", "control_character"),
        (values.LongText, "a\0b", "", "control_character"),
        (values.LongText, "\ud83d", "", "unicode"),
        (values.LongText, "\n\t\u2003", "", "empty"),
        (bool, 1, "", "type"),
        (bool, "true", "", "type"),
    ],
)
def test_refusals(kind: Any, value: Any, place: str, rule: str) -> None:
    """Each rule is named by its word, with the path of what broke it in the spelling of the API."""
    assert refusal(kind, value) == (place, rule)
    assert rule in values.RULES


def test_the_first_broken_rule_is_reported_in_the_order_of_declaration() -> None:
    """Two mistakes give the same answer every time, wherever they stand in what was sent."""
    wrong = {"value": "", "use": "NOWHERE", "system": "PIGEON"}
    assert refusal(values.ContactPoints, [wrong]) == ("0.system", "unknown_code")
    assert refusal(values.ContactPoints, [dict(reversed(wrong.items()))]) == ("0.system", "unknown_code")


@pytest.mark.parametrize(
    "value",
    [
        [{"family": "A", "canary-7f3a": 1}],
        [{"canary-7f3a": {"canary-7f3a": "canary-7f3a"}}],
        [{"family": "A", "use": "canary-7f3a"}],
        [{"family": "canary-7f3a" * 50}],
        [{"given": ["canary-7f3a\0"]}],
        "canary-7f3a",
    ],
)
def test_a_refusal_never_holds_the_value(value: Any) -> None:
    """Neither the text nor the chain of causes of a refusal holds anything submitted, names of keys included."""
    with pytest.raises(Invalid) as caught:
        values.parse(values.HumanNames, value, PATH)
    refused = caught.value
    assert "canary" not in repr(refused) + refused.field + refused.rule
    assert "canary" not in "".join(traceback.format_exception_only(refused))
    assert refused.__context__ is None
    assert refused.__cause__ is None


def test_null_means_not_said() -> None:
    """A null in an object is the same as leaving the key out, for lists and defaults too."""
    said = {"family": "A", "use": None, "given": None, "period": {"start": None}}
    assert values.parse(values.HumanNames, [said], PATH) == [
        {"family": "A", "given": [], "prefix": [], "suffix": [], "period": {}}
    ]


def test_codes_are_taken_as_members_and_kept_as_words() -> None:
    """Enum members and their words are the same value."""
    assert values.parse(values.TriState, values.TriState.YES, PATH) == "YES"
    assert type(values.parse(values.TriState, values.TriState.YES, PATH)) is str


@pytest.mark.parametrize(
    ("written", "region", "value", "extension"),
    [
        ("+447700900123", None, "+447700900123", None),  # reserved for fiction: possible, never in service
        ("+44 (0)20 7946 0018", None, "+442079460018", None),
        ("020 7946 0018", "GB", "+442079460018", None),
        ("0044 20 7946 0018", "GB", "+442079460018", None),
        ("tel:+44-20-7946-0018;ext=5", None, "+442079460018", "5"),
        ("(555) 123-4567 x89", "US", "+15551234567", "89"),
        ("\uff10\uff12\uff10\uff17\uff19\uff14\uff16\uff10\uff10\uff11\uff18", "GB", "+442079460018", None),
        ("+1\u00a0555\u00a0123\u00a04567", None, "+15551234567", None),
    ],
)
def test_numbers_become_e164(written: str, region: str | None, value: str, extension: str | None) -> None:
    """A number is kept as E.164 with its extension apart, and as it was entered where that differs."""
    kept = parsed_point("PHONE", written, region=region)
    assert kept["value"] == value
    assert kept.get("extension") == extension
    assert kept.get("as_written") == (None if written == value else written)


@pytest.mark.parametrize("written", ["555-1234", "123342", "ring the bell", "+99 1", "270107520"])
def test_imports_keep_numbers_as_written(written: str) -> None:
    """What another system holds as a number and nobody can dial is kept, and claims nothing."""
    kept = parsed_point("PHONE", written, lenient=True)
    assert (kept["value"], kept["capabilities"]) == (written, [])
    assert "as_written" not in kept


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("Jo.Smith+a@Example.COM", "Jo.Smith+a@example.com"),
        (" jo@example.org ", "jo@example.org"),
        ("jo@clinic.test", "jo@clinic.test"),
        ("zoë@exämple.de", "zoë@exämple.de"),
    ],
)
def test_mailboxes(written: str, value: str) -> None:
    """The domain is kept in lower case, the local part as it is."""
    assert parsed_point("EMAIL", written)["value"] == value


def test_imports_keep_mailboxes_and_links_as_written() -> None:
    """What is no address in the strict sense is kept from imports."""
    assert parsed_point("EMAIL", "jo at home", lenient=True)["value"] == "jo at home"
    assert parsed_point("URL", "www.example.org", lenient=True)["value"] == "www.example.org"


@pytest.mark.parametrize(
    ("system", "more", "capabilities"),
    [
        ("PHONE", {}, ["VOICE"]),
        ("PHONE", {"use": "MOBILE"}, ["VOICE", "SMS"]),
        ("SMS", {}, ["SMS"]),
        ("FAX", {}, ["FAX"]),
        ("PHONE", {"use": "MOBILE", "capabilities": ["TTY"]}, ["TTY"]),
        ("PHONE", {"use": "MOBILE", "capabilities": []}, []),
    ],
)
def test_capabilities_follow_unless_they_are_stated(system: str, more: dict[str, Any], capabilities: list[str]) -> None:
    """What equipment can do follows from system and use, and a statement is never overruled."""
    assert parsed_point(system, "+442079460018", **more)["capabilities"] == capabilities


def test_a_mobile_number_can_take_texts() -> None:
    """A number from a mobile range takes texts even where no use was given."""
    assert parsed_point("PHONE", "+447912345678")["capabilities"] == ["VOICE", "SMS"]


def test_verified_is_derived() -> None:
    """`verified` follows the status of the verification, whatever was sent."""
    assert parsed_point("OTHER", "x", verified=True)["verified"] is False
    assert parsed_point("OTHER", "x", verification={"status": "VERIFIED"})["verified"] is True


def test_one_contact_point_follows_the_same_rules_as_a_list() -> None:
    """A single contact point is normalised too, and its path has no number in it."""
    one = values.parse(values.ContactPoint, point("PHONE", "0121 496 0000"), PATH, region="GB")
    assert one["value"] == "+441214960000"
    assert refusal(values.ContactPoint, point("PHONE", "0")) == ("value", "e164")


@pytest.mark.parametrize(
    ("written", "tag", "modes"),
    [
        ("en-gb", "en-GB", []),
        ("EN_us", "en-US", []),
        ("iw", "he", []),
        ("zh-hant-tw", "zh-Hant-TW", []),
        ("i-klingon", "tlh", []),
        ("x-clan", "x-clan", []),
        ("bfi", "bfi", ["SIGNED"]),
        ("sgn-GB", "bfi", ["SIGNED"]),
        ("sgn-ase-US", "ase-US", ["SIGNED"]),
        ("sgn-BE-FR", "sfb", ["SIGNED"]),
        ("und", "und", []),
    ],
)
def test_languages_are_canonical(written: str, tag: str, modes: list[str]) -> None:
    """Tags are kept in canonical form; a sign language is signed unless somebody says more."""
    assert values.parse(values.Languages, [{"tag": written}], PATH) == [{"tag": tag, "modes": modes}]


def test_imports_keep_well_formed_tags() -> None:
    """An import may bring a tag that is not registered yet, but not what is no tag at all."""
    assert values.parse(values.Languages, [{"tag": "zz-ZZ"}], PATH, lenient=True)[0]["tag"] == "zz-ZZ"
    assert refusal(values.Languages, [{"tag": "q"}], lenient=True) == ("0.tag", "bcp47")


@pytest.mark.parametrize("text", ["1800", "2200-12", "2024-02-29", "1999-12-31"])
def test_partial_dates(text: str) -> None:
    """A date is as precise as it is known."""
    assert values.parse(values.PartialDate, text, PATH) == text


@pytest.mark.parametrize(
    "text", ["", "80", "1799", "2201", "2023-02-29", "2023-13", "2023-00", "2023-1", "2023-01-01T00:00:00Z", "٢٠٢٣"]
)
def test_dates_that_are_none(text: str) -> None:
    """Impossible dates, absurd years, times and other digits are refused."""
    assert refusal(values.PartialDate, text) == ("", "date")


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2023-01-01T00:00:00Z", True),
        ("2023-06-30T23:59:60.123456789-00:30", True),
        ("2023-01-01T00:00:00+14:00", True),
        ("2023-01-01T00:00:00+14:01", False),
        ("2023-01-01T24:00:00Z", False),
        ("2023-01-01T00:00Z", False),
        ("2023-01-01T00:00:00", False),
        ("2023-02-30T00:00:00Z", False),
    ],
)
def test_partial_times(text: str, taken: bool) -> None:
    """A time has seconds and an offset (FHIR R4 `dateTime`), or it is refused."""
    if taken:
        assert values.parse(values.PartialDateTime, text, PATH) == text
    else:
        assert refusal(values.PartialDateTime, text) == ("", "date")


@pytest.mark.parametrize(
    ("start", "end", "taken"),
    [
        ("2020", "2020", True),
        ("2020-12-31", "2020", True),
        ("2020-05", "2020-05-01", True),
        ("2020-05-02", "2020-05-01", False),
        ("2020-05-01T10:00:00Z", "2020-05-01", True),
        ("2020-05-01T10:00:00+02:00", "2020-05-01T08:00:00Z", True),
        ("2020-05-01T10:00:01+02:00", "2020-05-01T08:00:00Z", False),
        ("2021", "2020-12", False),
    ],
)
def test_periods_are_compared_by_precision(start: str, end: str, taken: bool) -> None:
    """A period is refused only when its end is before its start however the unknown parts are filled in."""
    period = {"start": start, "end": end}
    if taken:
        assert values.parse(values.Period, period, PATH) == period
    else:
        assert refusal(values.Period, period) == ("", "period_order")


@pytest.mark.parametrize(
    ("begin", "end"), [("22:00", "06:00"), ("00:00", "24:00"), ("00:00", "23:59"), ("18:00", "00:00")]
)
def test_windows(begin: str, end: str) -> None:
    """A window may cross midnight, end with the day, or last all day."""
    window = {**WINDOW, "from": begin, "to": end}
    assert values.parse(values.ContactWindows, [window], PATH) == [window]
    renamed = {("from_" if key == "from" else key): part for key, part in window.items()}
    assert values.parse(values.ContactWindows, [renamed], PATH) == [window]


def test_every_need_has_a_group() -> None:
    """The group of a need follows from its kind, and no kind is without one."""
    assert set(CATEGORIES) == set(values.AccessNeedKind)
    sent = {"kind": "BSL_INTERPRETER", "category": "ADDITIONAL"}
    assert values.parse(values.AccessNeeds, [sent], PATH)[0]["category"] == "COMMUNICATION_PROFESSIONAL"
    assert CATEGORIES[values.AccessNeedKind.LIP_READS] == "COMMUNICATION_SUPPORT"
    assert CATEGORIES[values.AccessNeedKind.ADVOCATE] == "COMMUNICATION_PROFESSIONAL"
    assert CATEGORIES[values.AccessNeedKind.VISUAL_ALERT] == "CONTACT_METHOD"
    assert CATEGORIES[values.AccessNeedKind.READ_ALOUD_BY_THIRD_PARTY] == "INFORMATION_FORMAT"
    assert CATEGORIES[values.AccessNeedKind.STEP_FREE_ACCESS] == CATEGORIES[values.AccessNeedKind.OTHER] == "ADDITIONAL"


def test_ids_are_made_where_none_came() -> None:
    """Entries without an id get one of their own; an id that came stays."""
    first, second, third = values.parse(values.Addresses, [{"city": "A"}, {"city": "A"}, {"id": "x.1"}], PATH)
    assert first["id"] != second["id"]
    assert third["id"] == "x.1"


def test_a_value_must_fit_its_cell() -> None:
    """Entries that are each small enough are refused together above 32 KiB."""
    entries = [{"kind": "OTHER", "text": "ä" * 4000} for _ in range(5)]
    assert refusal(values.AccessNeeds, entries) == ("", "too_large")


def test_imports_may_bring_long_lines_and_empty_names() -> None:
    """What is valid FHIR is kept: line breaks in a name, long text, a name that only has a use, an ancient date."""
    name = {"use": "USUAL", "text": "A\nB" + "b" * 300, "period": {"start": "0987"}}
    assert values.parse(values.HumanNames, [name, {"use": "OLD"}], PATH, lenient=True)[0]["text"] == name["text"]
