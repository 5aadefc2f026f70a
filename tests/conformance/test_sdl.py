"""The schema in git is the schema that is served, and everything in it is described."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema as parse_schema
from graphql import is_enum_type, is_input_object_type, is_object_type

from schema.erasures import allowed_to
from schema.federation import FIELDS, clients_schema
from schema.plan import RULES
from schema.sdl import build_schema, print_sdl

FILE = Path(__file__).resolve().parents[2] / "schema" / "schema.graphql"

QUERIES = {
    "viewer", "patient", "patientByIdentifier", "patients", "searchPatients", "me", "accessEvents", "legalHolds",
    "erasureReceipts", "breakGlassGrants", "accessSummary", "accessAnomalies", "accountingOfDisclosures",
    "auditCheckpoint", "auditInclusionProof", "auditConsistencyProof", "auditCompleteness", "myAccessLog",
    "contactDecision", "contactDecisions", "explainContact", "waitingMessages", "overdueReviews", "unmetNeeds",
    "changedSince", "recordChanges", "merges", "history", "compareVersions", "possibleDuplicates",
}  # fmt: skip
MUTATIONS = {
    "registerPatient": "Patient",
    "updatePreferences": "Patient",
    "updateIdentity": "Patient",
    "addContactPoint": "Patient",
    "updateContactPoint": "Patient",
    "retireContactPoint": "Patient",
    "setConfidentialCommunication": "Patient",
    "clearConfidentialCommunication": "Patient",
    "restrictRecord": "Patient",
    "liftRestriction": "Patient",
    "addRelatedPerson": "Patient",
    "updateRelatedPerson": "Patient",
    "endRelatedPerson": "Patient",
    "recordConsent": "Patient",
    "recordInboundMessage": "InboundMessage",
    "resolveMessage": "Patient",
    "startContactVerification": "ContactCode",
    "confirmContactVerification": "Patient",
    "attestContactPoint": "Patient",
    "reportDelivery": "DeliveryReport",
    "reviewNeed": "Patient",
    "recordNeedOutcome": "Patient",
    "mergePatients": "Patient",
    "unmergePatients": "Patient",
    "reviewDuplicate": "DuplicateReview",
    "erasePatient": "ErasureReceipt",
    "placeLegalHold": "LegalHold",
    "liftLegalHold": "LegalHold",
    "requestBreakGlass": "BreakGlassGrant",
    "reviewBreakGlass": "BreakGlassGrant",
}
"""What each mutation answers: the object that it changed or made."""


def described() -> Iterator[tuple[str, str | None]]:
    """Every coordinate of the schema that is ours, with its description."""
    schema = build_schema()
    for name, kind in schema.type_map.items():
        if name.startswith("__") or name in {"String", "Int", "Float", "Boolean", "ID"}:
            continue
        yield name, kind.description
        members: dict[str, Any] = getattr(kind, "fields", {}) or getattr(kind, "values", {})
        for member, definition in members.items():
            yield f"{name}.{member}", definition.description
            for argument, about in getattr(definition, "args", {}).items():
                yield f"{name}.{member}({argument}:)", about.description


def test_the_file_is_the_schema() -> None:
    """`make generate` writes the file anew; the difference is then there to be reviewed."""
    assert FILE.read_text("utf-8") == print_sdl()


def test_the_file_is_valid_sdl() -> None:
    """What is printed can be read again, and says the same."""
    again = parse_schema(FILE.read_text("utf-8"))
    assert set(again.type_map) >= {"Patient", "AccessEvent", "Refusal"}


def test_everything_is_described() -> None:
    """Every type, field, argument, input field and enum value says what it is, as a sentence."""
    coordinates = list(described())
    assert len(coordinates) > 300
    assert [name for name, text in coordinates if not text or text == "An enumeration."] == []
    assert [name for name, text in coordinates if text and text.strip()[-1] not in ".!"] == []


def test_names_follow_the_contract() -> None:
    """Fields are camelCase, enum values UPPER_CASE, and the roots are those promised, and those of routers."""
    assert {*FIELDS} == set(build_schema().query_type.fields) - QUERIES  # type: ignore[union-attr]
    schema = clients_schema(build_schema())
    for name, kind in schema.type_map.items():
        if name.startswith("__"):
            continue
        if is_object_type(kind) or is_input_object_type(kind):
            fields: dict[str, Any] = getattr(kind, "fields", {})
            assert all(field[0].islower() and "_" not in field for field in fields), name
        if is_enum_type(kind):
            values: dict[str, Any] = getattr(kind, "values", {})
            assert all(value == value.upper() for value in values), name
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    assert set(schema.query_type.fields) == QUERIES
    assert set(schema.mutation_type.fields) == set(MUTATIONS)


@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_mutations_take_one_input_and_answer_what_they_change(mutation: str) -> None:
    """One `input`, `expectedVersion` beside `patientId` where a record changes, the changed object as the answer."""
    schema = build_schema()
    assert schema.mutation_type is not None
    field = schema.mutation_type.fields[mutation]
    assert list(field.args) == ["input"]
    assert str(field.type) == MUTATIONS[mutation]
    submitted: Any = getattr(field.args["input"].type, "of_type")  # noqa: B009 - NonNull, which mypy does not see
    # Those name no record, or by a grant or a number.
    if mutation not in {"registerPatient", "reviewBreakGlass", "recordInboundMessage"}:
        assert str(submitted.fields["patientId"].type) == "ID!"
        version = submitted.fields.get("expectedVersion")
        unchanged = MUTATIONS[mutation] in {
            "LegalHold", "BreakGlassGrant", "ContactCode", "DeliveryReport", "DuplicateReview"
        }  # fmt: skip
        assert (version and str(version.type)) == (None if unchanged else "Int")


def test_who_may_read_a_field_is_said_where_it_stands() -> None:
    """The policy is part of the documentation."""
    patient: Any = build_schema().type_map["Patient"]
    silent = [name for name, field in patient.fields.items() if "Readable by: " not in (field.description or "")]
    assert silent == ["id", "version"]


def test_who_may_ask_is_said_of_every_root() -> None:
    """By the action that the root is admitted under, or by the group of fields that it changes; in the same form."""
    schema = build_schema()
    silent = {
        name
        for root in (schema.query_type, schema.mutation_type)
        for name, field in (root.fields if root else {}).items()
        if (action := RULES[name].action) is None
        or not (allowed_to(action) in (said := field.description or "") or said.count(" For: ") == 1)
        or "Writable by: " in said
    }
    assert silent - FIELDS == {"viewer"}
