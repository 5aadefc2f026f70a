"""The compiled executor answers as graphql-core does, or not at all: operations and outcomes drawn at random."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import graphene
import orjson
import pytest
from graphql import (
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLSchema,
    OperationDefinitionNode,
    parse,
    validate,
)

from auth.roles import Role
from crm.domain.decision import ContactDecision, Outcome, Reason
from crm.services.profiles import Refused
from schema.completion import complete
from schema.context import Context
from schema.documents import Document
from schema.plan import RULES, Rule
from schema.prepared import Operations as Ready
from schema.prepared import Prepared
from schema.sdl import build_schema
from schema.settings import Limits
from tests.house import REQUEST, actor
from tests.operations import Make, Operations, Values
from tests.speaking import HOLD, RECEIPT

SCHEMA = build_schema()
LIMITS = Limits(root_fields=1000, records=10**6)
OF_A_NEED = {"cultural_need_handling": "handling", "cultural_need_detail": "kind detail"}


def _patient(values: Values) -> dict[str, Any]:
    """The members of a patient, with cultural needs as services give them."""
    found = values.members(cast(Any, SCHEMA.type_map["Patient"]))
    for name, parts in OF_A_NEED.items():
        need = values.members(cast(Any, SCHEMA.type_map["CulturalNeed"]))
        found[name] = values.either([{"id": "n1"} | {part: need.get(part) for part in parts.split()}])
    return found


def _decision(values: Values) -> dict[str, Any]:
    """A decision on contact, with what its sentences are made of."""
    found = values.members(cast(Any, SCHEMA.type_map["ContactDecision"]))
    return {"unmet_needs": (), **found, "explanation": DECISION}


DECISION = ContactDecision(Outcome.DENY, (Reason.DECEASED,))

MADE: dict[str, Make] = {
    "Patient": _patient,
    "ContactDecision": _decision,
    "ContactWindow": lambda values: {
        "from": values.either("09:00"), **values.members(cast(Any, SCHEMA.type_map["ContactWindow"]))
    },
    "ErasureReceipt": lambda values: values.either(RECEIPT),
    "LegalHold": lambda values: values.either(HOLD),
    "Refusal": lambda values: values.either(Refused("0193", "NOT_FOUND")),  # a dict is no refusal to any union
}  # fmt: skip


@dataclass
class Tried:
    """How one operation went: the compiled answer, and the one of graphql-core."""

    text: str
    compiled: dict[str, Any] | None
    reference: ExecutionResult
    prepared: Prepared


async def tried(ready: Ready, text: str, outcomes: Any, sent: dict[str, Any]) -> Tried:
    """One operation answered twice, from the same outcomes."""
    tree = parse(text)
    definition = next(each for each in tree.definitions if isinstance(each, OperationDefinitionNode))
    fragments = {each.name.value: each for each in tree.definitions if isinstance(each, FragmentDefinitionNode)}
    operation = ready.get(Document(tree, {None: definition}, fragments, "", 0), None)
    variables = operation.coerced(sent)
    prepared = ready.prepared(operation, variables)
    prepared = ready.prepared(operation, variables)
    plan = prepared.plan(variables, LIMITS)
    context = Context(actor(Role.FRONT_DESK), REQUEST, cast(Any, None), prepared, plan, LIMITS)
    found = {root.key: outcomes(root) for root in prepared.roots}
    compiled = prepared.respond(found, context, variables)
    return Tried(text, compiled, await complete(prepared, context, found), prepared)


def drawn(schema: GraphQLSchema, kind: str, seed: int, without: frozenset[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Operations of one kind with their variables, for ever; every 25th is validated."""
    dice = random.Random(seed)
    operations = Operations(schema, dice)
    parent: Any = getattr(schema, f"{kind}_type")
    number = 0
    while True:
        text = operations.draw(kind, parent, without)
        if number % 25 == 0:
            assert validate(schema, parse(text)) == [], text
        number += 1
        yield text, {"yes": dice.random() < 0.8} | ({"no": dice.random() < 0.3} if dice.random() < 0.5 else {})


def same(it: Tried) -> bool:
    """Whether graphql-core gives, octet by octet, what the compiled function gave; a text that tells of it if not."""
    assert it.reference.errors is None, (it.text, it.reference.errors)
    assert orjson.dumps(it.compiled) == orjson.dumps(it.reference.data), it.text
    return True


@pytest.mark.parametrize(("kind", "count"), [("query", 700), ("mutation", 300)])
async def test_answers_are_those_of_graphql_core(kind: str, count: int) -> None:
    """Of what services give when all is well: octet by octet, and without giving up."""
    values = Values(SCHEMA, random.Random(1), 0.0, MADE)
    ready = Ready(SCHEMA, RULES, count=2, size=10**6)
    operations = drawn(SCHEMA, kind, 2, frozenset({"_service"}))
    kept = 0
    for _ in range(count):
        text, sent = next(operations)
        it = await tried(ready, text, lambda root: values.draw(root.definition.type), sent)
        if it.compiled is None:
            assert "proof" in text, (text, it.reference.errors)  # its resolver waits, and is left to graphql-core
            continue
        kept += same(it)
    assert kept > count * 0.9


@pytest.mark.parametrize(("kind", "count"), [("query", 700), ("mutation", 300)])
async def test_whatever_is_odd_is_left_to_graphql_core(kind: str, count: int) -> None:
    """Nulls, errors and values of other kinds at every depth: no answer that graphql-core would not give."""
    values = Values(SCHEMA, random.Random(3), 0.03, MADE)
    ready = Ready(SCHEMA, RULES, count=2, size=10**6)
    # Beside a failure, graphql-core leaves the resolver of `proof` unawaited.
    operations = drawn(SCHEMA, kind, 4, frozenset({"_service", "myAccessLog"}))
    answered = failed = 0
    for _ in range(count):
        text, sent = next(operations)
        it = await tried(ready, text, lambda root: values.draw(root.definition.type), sent)
        if it.compiled is not None:
            answered += same(it)
        failed += it.reference.errors is not None
    assert min(answered, failed) > count / 8, "each is met often"


class _Colour(graphene.Enum):  # type: ignore[misc]  # graphene has no types
    RED = 1
    BLUE = "blue"


class _Named(graphene.Interface):  # type: ignore[misc]  # graphene has no types
    """Something with a name, which says itself what it is."""

    name = graphene.String(required=True)

    @classmethod
    def resolve_type(cls, instance: Any, info: Any) -> Any:
        return {"person": _Person, "thing": _Thing}.get(instance["is"])


class _Person(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    class Meta:
        interfaces = (_Named,)

    friends = graphene.List(lambda: _Person)
    said = graphene.String(word=graphene.String(required=True), times=graphene.Int(default_value=2))

    @staticmethod
    def resolve_said(_root: Any, _info: Any, word: str, times: int) -> str:
        return word * times


class _Thing(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    class Meta:
        interfaces = (_Named,)

    weight = graphene.Float()
    colours = graphene.List(graphene.List(graphene.NonNull(_Colour)), required=True)
    where = graphene.String()

    @staticmethod
    def resolve_where(_root: Any, info: Any) -> str:
        return ".".join(str(step) for step in info.path.as_list())


class _Root(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    named = graphene.Field(_Named)
    all = graphene.List(graphene.NonNull(_Named), required=True)
    number = graphene.Int(required=True)


class _Changes(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    changed = graphene.Field(_Named)
    colour = graphene.Field(_Colour)


OWN = graphene.Schema(query=_Root, subscription=_Changes, types=[_Person, _Thing]).graphql_schema
OWN_MADE: dict[str, Make] = {
    "_Person": lambda values: {"is": "person", **values.members(cast(Any, OWN.type_map["_Person"]))},
    "_Thing": lambda values: {"is": "thing", **values.members(cast(Any, OWN.type_map["_Thing"]))},
}


@pytest.mark.parametrize(("kind", "odd"), [("query", 0.0), ("query", 0.04), ("subscription", 0.0)])
async def test_what_our_own_schema_does_not_have(kind: str, odd: float) -> None:
    """Interfaces, lists of lists, arguments below the roots, paths, other enums, and payloads of subscriptions."""
    values = Values(OWN, random.Random(5), odd, OWN_MADE)
    rules = dict.fromkeys(("named", "all", "number", "changed", "colour"), Rule())
    ready = Ready(OWN, rules, count=2, size=10**6)
    operations = drawn(OWN, kind, 6, frozenset())
    answered = 0
    for _ in range(100):
        text, sent = next(operations)
        it = await tried(ready, text, lambda root: values.draw(root.definition.type), sent)
        if it.compiled is not None:
            answered += same(it)
        elif not odd:
            assert "where" in text, "the path is all that has to be left to graphql-core here"
    assert answered > 30
