"""What is said of a document before anybody sends it: its cost, and the refusals that the policy would give."""

from dataclasses import replace

import pytest
from graphql import GraphQLNamedType, get_named_type, is_leaf_type

from auth.policy import GRANTS
from auth.roles import Role
from crm.errors import BatchTooLarge
from schema.appraisal import Appraisal, appraise
from schema.documents import Documents
from schema.errors import Code, Refused
from schema.sdl import build_schema
from schema.settings import Limits, Settings
from tests.speaking import speaking

SCHEMA = build_schema()
LIMITS = Limits()


def appraised(text: str, limits: Limits = LIMITS) -> list[Appraisal]:
    """The operations of a document."""
    documents = Documents(SCHEMA, limits, count=1, size=limits.source, refused=1)
    return appraise(SCHEMA, documents.get(text), limits)


def blamed(operation: Appraisal, role: Role) -> set[tuple[str, Code, tuple[str, ...]]]:
    """What a role is refused, whatever its purpose."""
    return {(each.root, each.code, each.fields) for each in operation.refusals if each.role is role}


def test_the_cost_is_that_of_the_longest_lists_and_pages() -> None:
    """Fields and levels through fragments; as many ids and edges as variables may bring; texts in the document."""
    [card, many, two] = appraised(
        """
        query Card($id: ID!) { patient(id: $id) { ...Names contactPoints { value } } }
        query Many($ids: [ID!]!, $by: PatientSearch!, $first: Int, $system: String!) {
          patients(ids: $ids) { ... on Patient { id } }
          searchPatients(by: $by, first: $first) { edges { node { ...Names } } }
          patientByIdentifier(system: $system, value: "H-1001") { id }
        }
        query Two { patients(ids: ["a", "b"]) { ... on Patient { id } } searchPatients(by: {phone: "1"}, first: 7) {
          edges { cursor } } }
        fragment Names on Patient { displayName legalName { family } }
        """
    )
    assert (card.name, card.kind, card.fields, card.depth, card.records) == ("Card", "query", 6, 3, 1)
    assert (many.records, many.most) == (LIMITS.batch + LIMITS.page + 1, LIMITS.records)
    assert (two.records, two.depth) == (9, 3)
    assert card.literals == many.literals == two.literals == 4


def test_what_is_selected_on_a_condition_is_appraised() -> None:
    """Whatever @skip and @include may leave in counts for the refusals, also inside fragments."""
    [operation] = appraised(
        """
        query Card($id: ID!, $more: Boolean!) {
          patient(id: $id) { id ...Faith @include(if: $more) pronouns @skip(if: $more) }
        }
        fragment Faith on Patient { religion @include(if: false) }
        """
    )
    assert blamed(operation, Role.FRONT_DESK) == {("patient", Code.FORBIDDEN_FIELD, ("religion",))}
    assert blamed(operation, Role.CLINICIAN) == set()
    assert blamed(operation, Role.OPERATOR) == {("patient", Code.FORBIDDEN, ())}


def test_every_root_field_that_is_refused_is_told() -> None:
    """By the key under which it is answered; introspection is for those who may read the schema."""
    [operation] = appraised("query Q { me { id } log: accessEvents { edges { cursor } } __schema { types { name } } }")
    assert blamed(operation, Role.OPERATOR) == {("me", Code.FORBIDDEN, ()), ("log", Code.FORBIDDEN, ())}
    assert {each[0] for each in blamed(operation, Role.FRONT_DESK)} == {"me", "log", "__schema"}
    assert {each[0] for each in blamed(operation, Role.PATIENT)} == {"log", "__schema"}


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("query Q($a: ID!) {" + " ".join(f"p{n}: patient(id: $a) {{ id }}" for n in range(15)) + "}", None),
        ("{" + " ".join(f"p{n}: patient(id: 1) {{ id }}" for n in range(16)) + "}", Refused),
        ("{ patients(ids: [" + '"a" ' * 3 + "]) { ... on Patient { id } } }", BatchTooLarge),
    ],
)
def test_what_no_variables_could_make_acceptable_is_raised(text: str, failure: type[Exception] | None) -> None:
    """Limits on the document itself, and on what stands in it."""
    limits = replace(LIMITS, batch=2)
    if failure is None:
        assert appraised(text, limits)
        return
    with pytest.raises(failure):
        appraised(text, limits)


def _selection(kind: GraphQLNamedType) -> str:
    return "" if is_leaf_type(kind) else "{ __typename }"


def test_every_root_field_can_be_appraised() -> None:
    """With every argument in a variable: there is a longest value for each input type of the schema."""
    for keyword, root in (("query", SCHEMA.query_type), ("mutation", SCHEMA.mutation_type)):
        assert root is not None
        for name, field in root.fields.items():
            variables = ", ".join(f"${each}: {argument.type}" for each, argument in field.args.items())
            given = ", ".join(f"{each}: ${each}" for each in field.args)
            head = f"{keyword} Q({variables})" if variables else f"{keyword} Q"
            called = f"{name}({given})" if given else name
            [operation] = appraised(f"{head} {{ {called} {_selection(get_named_type(field.type))} }}")
            assert operation.records <= LIMITS.records, name
            assert (name == "viewer") == (not operation.refusals), name


SENT = """
query Sent($id: ID!, $ids: [ID!]!) {
  patient(id: $id) { id displayName religion }
  patients(ids: $ids) { ... on Patient { birthDate contactPoints { value } } }
}
"""


VARIABLES = {"id": "ann", "ids": ["ann"], "any": [{"__typename": "Patient", "id": "ann"}]}


async def test_refusals_are_those_that_callers_get() -> None:
    """Each role and purpose gets, for each of these operations, the code and the field that was foretold."""
    operations = [
        SENT,
        "query Names($id: ID!) { patient(id: $id) { id displayName } }",
        "query Own { me { displayName pronouns } }",
        "query Log { accessEvents(first: 1) { edges { cursor } } }",
        "query Viewer { viewer { org } }",
        "query Subgraph { _service { sdl } }",
        "query Entities($any: [_Any!]!) { _entities(representations: $any) { ... on Patient { pronouns } } }",
        "query Schema { __schema { queryType { name } } }",
        "query Holds($id: ID!) { legalHolds(patientId: $id) { id } }",
    ]
    async with speaking(Settings()) as speaker:
        for text in operations:
            [operation] = appraised(text)
            for grant in GRANTS:
                for purpose in grant.purposes:
                    foretold = next(
                        (each for each in operation.refusals if (each.role, each.purpose) == (grant.role, purpose)),
                        None,
                    )
                    body = {"query": text, "variables": VARIABLES}
                    answer = (await speaker.post(body, grant.role.value, x_purpose_of_use=purpose.value)).json()
                    told = [each["extensions"] for each in answer.get("errors", []) if "path" not in each]
                    if foretold is None:
                        assert told == [], (text, grant.role, purpose)
                        continue
                    expected = {"code": foretold.code.value}
                    if foretold.fields:
                        expected["field"] = foretold.fields[0]
                    assert told == [expected], (text, grant.role, purpose)
