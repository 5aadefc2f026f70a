"""FHIR Consents in and out: what is about contact comes back as it went, all else is refused for a reason."""

from typing import Any

import pytest
from fhir.resources.R4B.consent import Consent
from hypothesis import given
from hypothesis import strategies as st

from crm.domain.consent_history import appended
from crm.domain.times import micros
from crm.interchange import consent_codes as codes
from crm.interchange.consent_in import statement_of
from crm.interchange.consent_out import consents_of
from crm.interchange.rejects import Reject
from crm.services.consent_imports import Statement

NOW = micros("2026-11-23T09:00:00Z")
HOUR = 3_600_000_000
SMS_CATEGORY = {"coding": [{"system": "http://loinc.org", "code": "89057-4"}]}


def foreign(**more: Any) -> dict[str, Any]:
    """A consent to texts as another system writes it; a member that is None is left out."""
    resource = {
        "resourceType": "Consent",
        "id": "c1",
        "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "treatment"}]},
        "category": [SMS_CATEGORY],
        "patient": {"reference": "Patient/7"},
        "dateTime": "2026-03-01",
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
    } | more
    return {key: value for key, value in resource.items() if value is not None}


def rule(**more: Any) -> dict[str, Any]:
    """A consent that is about contact by our own codes, with this nested provision."""
    scope = {"coding": [{"system": codes.SCOPE, "code": codes.CONTACT}]}
    category = {"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}
    provision = {"provision": [{"type": "deny", **more}]}
    return foreign(scope=scope, category=[category], policyRule=None, provision=provision)


def taken(resource: dict[str, Any]) -> Statement:
    """The statement of a resource that must be taken."""
    statement = statement_of(resource, org="north", source="pas")
    assert isinstance(statement, Statement), statement
    return statement


def refused(resource: dict[str, Any]) -> tuple[str, str]:
    """Why a resource is refused, and which element is to blame."""
    reject = statement_of(resource, org="north", source="pas")
    assert isinstance(reject, Reject)
    return reject.reason.value, reject.path


def history() -> list[Any]:
    """Directives of every kind, entered hour by hour."""
    told = [
        {"decision": "PERMIT", "scope": {"channel": "SMS", "purpose": "RECALL_SCREENING", "sender": "recalls"}},
        {"decision": "DENY", "scope": {"channel": "SMS"}, "note": "Rang us.", "effective_to": "2027-01-01T00:00:00Z"},
        {"decision": "DENY", "giver": {"role": "PARENT", "related_person_id": "mo"}},
        {"decision": "DENY", "scope": {"contact_point_id": "p1"}, "capture": {"message_id": "SM1", "channel": "SMS"}},
        {
            "decision": "PERMIT",
            "scope": {"channel": "SMS"},
            "confirmed_at": "2026-11-23T09:00:00Z",
            "capture": {"by": "u-1", "system": "desk", "wording_id": "texts", "wording_version": "2", "language": "cy"},
        },
    ]
    entries: list[Any] = []
    for number, said in enumerate(told):
        entries = appended(entries, [said], NOW + number * HOUR)
    return entries


def test_our_own_come_back_whole() -> None:
    """Every member survives a journey through FHIR, and each is a valid Consent about the patient."""
    entries = history()
    written = consents_of({"consents": entries}, org="north", patient_id="p-1")
    back: list[Any] = []
    for resource in written:
        Consent.model_validate(resource)
        statement = taken(resource)
        assert (statement.about.heed_id, statement.about.beside, statement.not_taken) == ("p-1", True, frozenset())
        back = appended(back, [statement.directive], NOW + 10 * HOUR)
    assert back == entries


def test_what_a_later_one_beats_is_inactive() -> None:
    """Whoever reads only what is active is not told of a permission that was withdrawn."""
    status = [one["status"] for one in consents_of({"consents": history()}, org="north", patient_id="p")]
    assert status == ["inactive", "inactive", "active", "active", "active"]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([("DENY", {}), ("PERMIT", {"channel": "SMS"})], ["active", "active"]),
        ([("DENY", {}), ("PERMIT", {})], ["inactive", "active"]),
        ([("PERMIT", {}), ("DENY", {"channel": "SMS"})], ["active", "active"]),
        ([("PERMIT", {"channel": "SMS"}), ("DENY", {})], ["inactive", "active"]),
        ([("PERMIT", {"channel": "SMS"}), ("DENY", {"channel": "VOICE"})], ["active", "active"]),
    ],
)
def test_what_beats_what(entries: list[tuple[str, dict[str, str]]], expected: list[str]) -> None:
    """A prohibition leaves nothing of what it covers, a permission only of what says the same scope."""
    told: list[Any] = []
    for number, (decision, scope) in enumerate(entries):
        told = appended(told, [{"decision": decision, "scope": scope}], NOW + number * HOUR)
    assert [one["status"] for one in consents_of({"consents": told}, org="north", patient_id="p")] == expected


def test_consent_to_texts_of_another_system() -> None:
    """LOINC 89057-4 or SNOMED 699237001 is about SMS; the date, the period and the source are taken along."""
    statement = taken(foreign(provision={"period": {"start": "2026-03-02", "end": "2026-12-31"}}))
    assert statement.directive == {
        "id": statement.directive["id"],
        "decision": "PERMIT",
        "scope": {"channel": "SMS"},
        "giver": {"role": "PATIENT"},
        "capture": {"at": "2026-03-01", "system": "pas"},
        "effective_from": "2026-03-02",
        "effective_to": "2027-01-01T00:00:00.000000Z",
    }
    assert (statement.about.source, statement.about.source_id, statement.about.heed_id) == ("pas", "7", None)
    snomed = {"coding": [{"system": "http://snomed.info/sct", "code": "699237001"}]}
    other = taken(foreign(category=[{"text": "x"}], provision={"type": "permit", "code": [snomed]}))
    assert other.directive["scope"] == {"channel": "SMS"}


def test_decisions() -> None:
    """The type of the provision, else the policy rule; a nested provision is the exception that R4 means."""
    opt_out = {"coding": [{"code": "OPTOUT"}]}
    assert taken(foreign(policyRule=opt_out)).directive["decision"] == "DENY"
    assert taken(foreign(policyRule=None, provision={"type": "deny"})).directive["decision"] == "DENY"
    channel = {"coding": [{"system": codes.CHANNEL, "code": "EMAIL"}]}
    purpose = [{"system": codes.PURPOSE, "code": "MARKETING"}]
    narrow = taken(rule(code=[channel], purpose=purpose)).directive
    assert (narrow["decision"], narrow["scope"]) == ("DENY", {"channel": "EMAIL", "purpose": "MARKETING"})


def test_somebody_else_speaks() -> None:
    """A performer who is not the patient is on record as somebody else, in a right that nobody stated."""
    assert taken(foreign(performer=[{"reference": "Patient/7"}])).directive["giver"] == {"role": "PATIENT"}
    for somebody_else in ({"reference": "RelatedPerson/9"}, {"reference": "Patient/8"}, {"display": "Mother"}):
        performer = [{"reference": "Patient/7"}, somebody_else]
        assert taken(foreign(performer=performer)).directive["giver"] == {"role": "OTHER"}
    assert taken(foreign()).directive["giver"] == {"role": "PATIENT"}


def test_the_same_consent_has_the_same_id() -> None:
    """And other words have another: what changed is appended beside what was there."""
    one, again = taken(foreign()).directive["id"], taken(foreign()).directive["id"]
    assert one == again
    assert one != taken(foreign(dateTime="2026-03-02")).directive["id"]
    assert one != taken(foreign(patient={"reference": "Patient/8"})).directive["id"]


def test_our_extension_is_believed_of_ourselves_only() -> None:
    """Somebody else's file states neither a giver nor who entered it, and what it states is left behind."""
    [resource] = consents_of({"consents": history()[2:3]}, org="south", patient_id="p-1")
    statement = taken(resource)
    assert statement.directive["giver"] == {"role": "OTHER"}
    assert statement.about.heed_id is None
    assert f"extension({codes.DIRECTIVE})" in statement.not_taken


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (foreign(category=[{"text": "texts"}]), ("not_about_contact", "scope")),
        (foreign(status="inactive"), ("consent_not_active", "status")),
        (foreign(status="entered-in-error"), ("consent_not_active", "status")),
        (foreign(status="maybe"), ("bad_code", "status")),
        (foreign(policyRule=None), ("not_expressible", "provision.type")),
        (foreign(provision={"type": "deny"}), ("not_expressible", "provision.type")),
        (foreign(provision={"actor": [{"role": {"text": "x"}, "reference": {"display": "y"}}]}),
         ("not_expressible", "provision.actor")),
        (foreign(provision={"action": [{"text": "access"}]}), ("not_expressible", "provision.action")),
        (foreign(provision={"purpose": [{"system": "urn:other", "code": "HMARKT"}]}),
         ("not_expressible", "provision.purpose")),
        (foreign(provision={"code": [{"text": "results"}]}), ("not_expressible", "provision.code")),
        (foreign(provision={"provision": [{"type": "deny"}]}), ("not_expressible", "provision.type")),
        (foreign(provision={"provision": [{"type": "deny"}, {"type": "permit"}]}),
         ("not_expressible", "provision.provision")),
        (foreign(dateTime=None), ("missing_element", "dateTime")),
        (foreign(patient={"display": "somebody"}), ("missing_element", "patient.reference")),
        (foreign(patient=None), ("missing_element", "patient.reference")),
        (foreign(category=None), ("missing_element", "category")),
        (foreign(modifierExtension=[{"url": "urn:x", "valueBoolean": True}]),
         ("modifier_not_understood", "modifierExtension[0]")),
        (foreign(dateTime=1772323200), ("bad_type", "dateTime")),
        (foreign(provision={"period": {"end": 1}}), ("bad_type", "provision.period.end")),
        (foreign(provision={"period": {"end": "2400"}}), ("bad_date", "provision.period.end")),
        (foreign(colour="red"), ("unknown_element", "")),
    ],
)  # fmt: skip
def test_refusals(resource: dict[str, Any], expected: tuple[str, str]) -> None:
    """What a directive cannot say whole is not taken in part."""
    assert refused(resource) == expected


def test_what_never_ends() -> None:
    """The last year of a calendar is no end."""
    statement = taken(foreign(provision={"period": {"end": "9999-12-31"}}))
    assert "effective_to" not in statement.directive


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["Patient/1", "active", "2026"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["coding", "code", "system", "reference", "identifier", "period", "end", "url", "provision"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(st.sampled_from([*foreign(), "provision", "performer", "meta", "extension", "identifier"]), _ODD)
def test_nothing_that_comes_in_makes_it_fall(element: str, odd: Any) -> None:
    """Whatever stands in an element of a Consent, it is taken or refused, and what is taken can be said."""
    resource = foreign(provision={"type": "permit", "period": {"start": "2026-01-01"}}) | {element: odd}
    if element == "resourceType":
        return
    statement = statement_of(resource, org="north", source="pas")
    if isinstance(statement, Statement):
        assert set(statement.directive) >= {"id", "decision", "scope", "giver", "capture"}


def test_a_denial_needs_no_date() -> None:
    """Who forbids is heard although nobody knows since when."""
    statement = taken(foreign(dateTime=None, policyRule=None, provision={"type": "deny"}))
    assert "effective_from" not in statement.directive
