"""Variables and arguments by the short way are those of graphql-core, or refused where it refuses them."""

import random
from typing import Any, cast

import pytest
from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLNonNull,
    OperationDefinitionNode,
    get_argument_values,
    is_input_type,
    parse,
)
from graphql.execution.values import get_variable_values

from schema.errors import Refused
from schema.sdl import build_schema
from schema.variables import Variables, arguments_of

SCHEMA = build_schema()
NAMES = sorted(name for name, kind in SCHEMA.type_map.items() if is_input_type(kind) and not name.startswith("__"))
VALUES: list[Any] = [
    None, "", "x", "PHONE", "CLINICIAN", 0, 7, 2**31, 1.0, 1.5, True, [], ["x"], ["x", None], [1, "x"], [["x"]],
    ["PHONE"], {}, {"id": "x"}, {"patientId": "x"}, {"phone": "1"}, {"start": "2020"}, {"x": 1},
]  # fmt: skip


def operation(text: str) -> OperationDefinitionNode:
    """The operation of a document."""
    return cast(OperationDefinitionNode, parse(text).definitions[0])


@pytest.mark.parametrize("name", NAMES)
def test_variables(name: str) -> None:
    """Every type of the schema alone, required, in lists, with and without a default, for every kind of value."""
    for kind in (name, f"{name}!", f"[{name}!]", f"[{name}]!", f"[[{name}]]"):
        for default in ("", " = null") if not kind.endswith("!") else ("",):
            declared = operation(f"query ($v: {kind}{default}) {{ __typename }}")
            variables = Variables(SCHEMA, declared)
            for sent in ({}, *({"v": value} for value in VALUES)):
                expected = get_variable_values(SCHEMA, declared.variable_definitions, sent)
                try:
                    found: Any = variables.coerced(sent)
                except Refused as refusal:
                    assert isinstance(expected, list), (kind, sent)
                    assert str(refusal.field).startswith("v")
                else:
                    assert found == expected, (kind, sent)
                    assert repr(found) == repr(expected), "of the same classes"


@pytest.mark.parametrize(
    ("kind", "sent", "field"),
    [
        ("MergePatientsInput!", {"patientId": "canary"}, "v.duplicateId"),
        ("[KnownRecord!]!", [{"id": "canary", "version": 1}, {"id": "canary"}], "v.1.version"),
        ("[KnownRecord!]!", [{"id": "canary", "version": 1, "canary": 2}], "v.0"),
        ("[KnownRecord!]!", [{"id": "canary", "version": "canary"}], "v.0.version"),
        ("[KnownRecord!]!", {"id": "canary"}, "v.version"),
    ],
)
def test_the_member_that_is_missing(kind: str, sent: Any, field: str) -> None:
    """A refusal names it by its path, and of what was sent it says nothing."""
    with pytest.raises(Refused) as refused:
        Variables(SCHEMA, operation(f"query ($v: {kind}) {{ __typename }}")).coerced({"v": sent})
    assert refused.value.field == field
    assert "canary" not in f"{refused.value}{vars(refused.value)}"


def test_a_default_is_made_anew() -> None:
    """What one request does to its variables is not seen by the next one."""
    variables = Variables(SCHEMA, operation('query ($v: [ID!] = ["x"]) { __typename }'))
    variables.coerced({})["v"].append("y")
    assert variables.coerced({}) == {"v": ["x"]}


def test_what_was_sent_is_not_shared() -> None:
    """A list of ids is a list of its own, as graphql-core makes one."""
    sent = {"v": ["x"]}
    found = Variables(SCHEMA, operation("query ($v: [ID!]!) { __typename }")).coerced(sent)
    found["v"].append("y")
    assert sent == {"v": ["x"]}


def test_arguments() -> None:
    """Every root field, with variables, literals, nothing and null, as far as each fits."""
    assert SCHEMA.query_type
    assert SCHEMA.mutation_type
    dice = random.Random(1)
    compared = refused = 0
    for parent in (SCHEMA.query_type, SCHEMA.mutation_type):
        for name, field in parent.fields.items():
            for _ in range(8):
                ways = {each: dice.choice(["$" + each, "null", '"x"', "[]", ""]) for each in field.args}
                given = ", ".join(f"{each}: {way}" for each, way in ways.items() if way)
                node: Any = operation(f"{{ {name}{f'({given})' if given else ''} }}").selection_set.selections[0]
                variables = {each: dice.choice(["x", None, ["a"], 3]) for each in ways if dice.random() < 0.7}
                made = arguments_of(field, [node])
                try:
                    expected = get_argument_values(field, node, variables)
                except GraphQLError:
                    refused += 1
                    with pytest.raises(Refused):
                        made(variables)
                else:
                    compared += 1
                    assert made(variables) == expected, (name, given, variables)
    assert min(compared, refused) > 30


def test_the_types_that_are_met() -> None:
    """The check itself: scalars, enums and input objects are among them, with required members."""
    kinds = [SCHEMA.type_map[name] for name in NAMES]
    objects = [kind for kind in kinds if isinstance(kind, GraphQLInputObjectType)]
    assert len(kinds) > len(objects) > 20
    assert any(isinstance(field.type, GraphQLNonNull) for kind in objects for field in kind.fields.values())
