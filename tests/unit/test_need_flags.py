"""Needs as Flags of the NHS and as US accommodations: what others read in them, and that nothing is lost on the way."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.domain import values
from crm.domain.need_codes import AccessibleFormat, AccessNeedKind
from crm.interchange.need_codes import BY_LABEL, BY_SNOMED, SNOMED_CODES, Form
from crm.interchange.need_flags import flags_of, needs_of
from crm.interchange.rejects import Refused

P9: dict[str, Any] = {
    "access_needs": values.parse(
        values.AccessNeeds,
        [
            {
                "kind": "BSL_INTERPRETER",
                "text": "Bring an interpreter.",
                "identified_at": "2025-02-03",
                "source": "The person",
                "sharing_basis": "NO_OBJECTION",
                "last_met_at": "2026-01-05T09:00:00Z",
                "last_unmet_at": "2025-06",
                "last_reviewed_at": "2026-01-05",
                "review_due_at": "2027-01",
                "flag_visible": False,
            },
            {"kind": "CONTACT_BY_SMS"},
            {"kind": "OTHER", "text": "Hearing loop: only the one at desk two"},
        ],
        "needs",
    ),
    "accessible_formats": ["EASY_READ", "SIGNED_VIDEO"],
}


@pytest.mark.parametrize("form", Form)
def test_a_round_trip(form: Form) -> None:
    """Scenario S14: whatever is known of needs and formats is the same after both ways."""
    assert needs_of(flags_of(P9, form, patient_id="p9")) == P9


TEXTS = st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30)


@given(
    st.lists(st.tuples(st.sampled_from(AccessNeedKind), TEXTS), max_size=8),
    st.lists(st.sampled_from(AccessibleFormat), unique=True, max_size=8),
    st.sampled_from(Form),
)
def test_every_round_trip(kinds: list[tuple[AccessNeedKind, str | None]], formats: list[Any], form: Form) -> None:
    """Any needs with any words, in either form."""
    needs = [{"kind": kind, "text": text or ("x" if kind == "OTHER" else None)} for kind, text in kinds]
    known = {
        "access_needs": values.parse(values.AccessNeeds, needs, "needs"),
        "accessible_formats": values.parse(values.AccessibleFormats, formats, "formats"),
    }
    assert needs_of(flags_of(known, form, patient_id="p")) == known


def test_what_the_nhs_reads() -> None:
    """A SNOMED CT code first, ours beside it, the category of the code, the details as text; and no diagnosis."""
    interpreter, by_text, other, easy_read, _ = flags_of(P9, Form.NHS, patient_id="p9")
    assert interpreter["code"]["coding"] == [
        {"system": "http://snomed.info/sct", "code": "204331000000107"},
        {"system": "urn:heed:access-need", "code": "BSL_INTERPRETER", "display": "BSL interpreter"},
    ]
    assert interpreter["code"]["text"] == "Bring an interpreter."
    assert (interpreter["status"], interpreter["subject"]) == ("active", {"reference": "Patient/p9"})
    assert interpreter["period"] == {"start": "2025-02-03"}
    categories = [each["category"][0]["coding"][0]["code"] for each in (interpreter, by_text, other, easy_read)]
    assert categories == ["002", "003", "005", "004"]
    assert by_text["code"]["coding"][0]["code"] == "936701000000103"


def test_what_the_us_reads() -> None:
    """Words that need no code system, under the category of accommodations."""
    flags = flags_of(P9, Form.US, patient_id="p9")
    assert [flag["code"] for flag in flags] == [
        {"text": "BSL interpreter: Bring an interpreter."},
        {"text": "Contact by SMS"},
        {"text": "Other: Hearing loop: only the one at desk two"},
        {"text": "Easy read"},
        {"text": "Signed video"},
    ]
    assert {flag["category"][0]["coding"][0]["code"] for flag in flags} == {"accommodation"}


def _flag(code: Any, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Flag", "status": "active", "code": code, **more}


def test_flags_of_others() -> None:
    """A SNOMED CT code alone, words in another case, words that nobody coded, and a Flag that has ended."""
    found = needs_of(
        [
            _flag({"coding": [{"system": "http://snomed.info/sct", "code": "441092009"}]}),
            _flag({"text": "bsl INTERPRETER"}),
            _flag({"text": "American sign language interpreter required"}),
            _flag({"text": "Easy read"}, status="inactive"),
        ]
    )
    assert [(need["kind"], need.get("text")) for need in found["access_needs"]] == [
        ("LIP_READS", None),
        ("BSL_INTERPRETER", None),
        ("OTHER", "American sign language interpreter required"),
    ]
    assert found["accessible_formats"] == []


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ({"resourceType": "Patient"}, "bad_type"),
        (_flag({}), "missing_element"),
        (_flag({"text": 7}), "bad_type"),
        (_flag({"coding": [{"system": "http://snomed.info/sct", "code": "73211009"}]}), "bad_code"),
        (_flag({"text": "Hearing loop"}, period={"start": "soon"}), "bad_value"),
        (_flag({"text": "Hearing loop"}, extension=[{"url": "urn:heed:fhir:access-need"}]), "bad_extension"),
    ],
)
def test_what_is_refused(flag: dict[str, Any], reason: str) -> None:
    """By a reason and a place; a code of a diagnosis is among them."""
    with pytest.raises(Refused) as refused:
        needs_of([flag])
    assert refused.value.reject.reason == reason


def test_the_tables() -> None:
    """Each code stands for one thing, each label for one code, and every code is one of ours."""
    ours = {each.value for each in (*AccessNeedKind, *AccessibleFormat)}
    assert len(BY_SNOMED) == len(SNOMED_CODES)
    assert set(SNOMED_CODES) <= ours == set(BY_LABEL.values())
