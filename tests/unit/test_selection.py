"""What a query asks of a patient, through fragments, unions, connections, @skip and @include."""

from typing import Any

import pytest
from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode, parse, validate

from crm.catalogue import BY_PATH
from crm.errors import BatchTooLarge
from schema.documents import Document
from schema.errors import Code, Refused
from schema.plan import RULES
from schema.prepared import Operations
from schema.sdl import build_schema
from schema.selection import SPLIT
from schema.settings import Limits
from schema.types import CLEAR

SCHEMA = build_schema()


def plan(text: str, variables: dict[str, Any] | None = None, limits: Limits | None = None) -> Any:
    """The plan of the one operation in a valid document."""
    document = parse(text)
    assert validate(SCHEMA, document) == []
    return planned(document, variables or {}, limits or Limits())


def planned(tree: DocumentNode, variables: dict[str, Any], limits: Limits) -> Any:
    """The plan of the one operation in a document."""
    operation = next(each for each in tree.definitions if isinstance(each, OperationDefinitionNode))
    fragments = {each.name.value: each for each in tree.definitions if isinstance(each, FragmentDefinitionNode)}
    operations = Operations(SCHEMA, RULES, count=1, size=100_000)
    found = operations.get(Document(tree, {None: operation}, fragments, "", 0), None)
    coerced = found.coerced(variables)
    return operations.prepared(found, coerced).plan(coerced, limits)


def asked(text: str, variables: dict[str, Any] | None = None) -> set[str]:
    """What the first root field asks for."""
    return set(next(iter(plan(text, variables).roots.values())).asked)


def test_every_field_of_patient_is_in_the_catalogue_and_back() -> None:
    """A field without a row could be read without policy; a row without a field could not be read at all."""
    patient: Any = SCHEMA.type_map["Patient"]
    need: Any = SCHEMA.type_map["CulturalNeed"]
    spoken = {name for name in patient.fields if name not in {*CLEAR, *SPLIT}}
    spoken |= {f"culturalNeeds.{name}" for name in need.fields}
    assert spoken == set(BY_PATH)


def test_every_root_field_has_a_rule() -> None:
    """A root field that nobody planned would be executed without being admitted."""
    assert SCHEMA.query_type is not None
    assert SCHEMA.mutation_type is not None
    assert SCHEMA.subscription_type is not None
    roots = (SCHEMA.query_type, SCHEMA.mutation_type, SCHEMA.subscription_type)
    assert set(RULES) == {name for root in roots for name in root.fields}


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ("id version __typename", set()),
        ("displayName", {"displayName"}),
        ("name: displayName other: displayName", {"displayName"}),
        ("contactPoints { value period { start } }", {"contactPoints"}),
        ("legalName { given } names { family }", {"legalName", "names"}),
        ("culturalNeeds { handling }", {"culturalNeeds.handling"}),
        ("culturalNeeds { kind }", {"culturalNeeds.kind"}),
        ("culturalNeeds { __typename }", {"culturalNeeds.id"}),
        ("culturalNeeds { ... { ... on CulturalNeed { detail } } }", {"culturalNeeds.detail"}),
        ("... on Patient { pronouns }", {"pronouns"}),
        ("... { religion }", {"religion"}),
        ("...F", {"birthDate", "timeZone"}),
        ("pronouns @skip(if: true) religion @include(if: false) displayName", {"displayName"}),
        ("...F @skip(if: true) ... @include(if: false) { religion } displayName", {"displayName"}),
    ],
)
def test_paths(selected: str, expected: set[str]) -> None:
    """Each way to select a field asks for its path, and what is skipped is not asked for."""
    tail = "fragment F on Patient { birthDate ...G } fragment G on Patient { timeZone }" if "...F" in selected else ""
    assert asked(f'{{ patient(id: "x") {{ {selected} }} }} {tail}') == expected


def test_variables_decide_what_is_skipped() -> None:
    """@include with a variable follows the value that was sent, or its default."""
    text = 'query ($more: Boolean! = false) { patient(id: "x") { displayName religion @include(if: $more) } }'
    assert asked(text) == {"displayName"}
    assert asked(text, {"more": True}) == {"displayName", "religion"}


def test_merged_fields_are_asked_together() -> None:
    """Two selections under one response key are one root field."""
    assert asked('{ patient(id: "x") { displayName } patient(id: "x") { pronouns } }') == {"displayName", "pronouns"}


def test_unions_and_connections() -> None:
    """A patient is found wherever it stands in the answer, and nothing else is taken for one."""
    text = '{ patients(ids: ["x"]) { ... on Refusal { id code } ... on Patient { displayName } ...R } }'
    text += " fragment R on PatientResult { ... on Patient { pronouns } }"
    assert asked(text) == {"displayName", "pronouns"}
    text = '{ searchPatients(by: { phone: "1" }) { edges { cursor node { displayName } } pageInfo { hasNextPage } } }'
    assert asked(text) == {"displayName"}
    assert asked("{ accessEvents { edges { node { patientId fieldsReturned } } } }") == set()
    assert asked("{ viewer { patientId } }") == set()


def test_mutations_ask_for_what_they_answer() -> None:
    """The answer of a change is a read."""
    text = 'mutation { registerPatient(input: { preferredName: "x" }) { id displayName } }'
    assert asked(text) == {"displayName"}


def test_cost_is_counted_in_records() -> None:
    """A look-up costs one, a batch its ids, a page its size, the caller nothing."""
    text = """query ($ids: [ID!]!) { viewer { org } __typename
      a: patient(id: "x") { id } patients(ids: $ids) { __typename }
      searchPatients(by: { phone: "1" }, first: 7) { edges { cursor } } accessEvents { edges { cursor } } }"""
    found = plan(text, {"ids": ["a", "b", "c"]})
    assert {key: root.records for key, root in found.roots.items()} == {
        "viewer": 0, "__typename": 0, "a": 1, "patients": 3, "searchPatients": 7, "accessEvents": 25,
    }  # fmt: skip
    assert found.roots["patients"].ids == ("a", "b", "c")


def test_too_many_records_and_too_many_ids() -> None:
    """One more than allowed is refused, with a code of its own for a single batch."""
    text = "query ($ids: [ID!]!) { patients(ids: $ids) { __typename } patient(id: 1) { id } }"
    ids = [str(number) for number in range(1000)]
    with pytest.raises(Refused) as refusal:
        plan(text, {"ids": ids})
    assert refusal.value.code is Code.QUERY_TOO_COSTLY
    with pytest.raises(BatchTooLarge):
        plan(text, {"ids": [*ids, "more"]})


def test_too_many_root_fields() -> None:
    """Root fields do I/O, so there is a limit of their own."""
    with pytest.raises(Refused) as refusal:
        plan("{ " + " ".join(f'a{n}: patient(id: "x") {{ id }}' for n in range(21)) + " }")
    assert (refusal.value.code, refusal.value.limit) == (Code.QUERY_TOO_COSTLY, 20)


@pytest.mark.parametrize(
    ("declared", "variables", "path"),
    [
        ("$v: ID!", {}, "v"),
        ("$v: ID!", {"v": None}, "v"),
        ("$v: ID!", {"v": {"secret": 1}}, "v"),
        ("$v: ID!, $w: [ID!]", {"v": "x", "w": ["a", None]}, "w.1"),
        ("$v: ID!, $w: AccessEventFilter", {"v": "x", "w": {"outcome": "SECRET"}}, "w.outcome"),
        ("$v: ID!, $w: AccessEventFilter", {"v": "x", "w": {"secret": 1}}, "w"),
    ],
)
def test_variables_that_do_not_fit_are_named_by_path(declared: str, variables: dict[str, Any], path: str) -> None:
    """The refusal says where, never what."""
    use = "patients(ids: $w) { __typename }" if "[ID!]" in declared else "accessEvents(filter: $w) { __typename }"
    text = f"query ({declared}) {{ patient(id: $v) {{ id }} {use if '$w' in declared else ''} }}"
    with pytest.raises(Refused) as refusal:
        planned(parse(text), variables, Limits())
    assert refusal.value.code is Code.VALIDATION_FAILED
    assert refusal.value.field == path
    assert "secret" not in f"{refusal.value.text}".lower()
