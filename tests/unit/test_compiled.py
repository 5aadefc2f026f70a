"""What a compiled function has to know of values: each is a way in which it could differ from graphql-core."""

import gc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, cast

import graphene
import pytest
from graphql import GraphQLEnumType, OperationDefinitionNode, parse

from auth.roles import Role
from schema.compiled import Completion, Uncompilable
from schema.compiled.leaves import names_of
from schema.completion import complete
from schema.context import Context
from schema.documents import Document
from schema.plan import Rule
from schema.prepared import Operations, Prepared
from schema.settings import Limits
from tests.house import REQUEST, actor


class Way(StrEnum):
    """Values are not names, and one value is the name of another member."""

    PHONE = "phone"
    LETTER = "PAPER"
    PAPER = "sheet"


class Plain(Enum):
    """Members that are no strings."""

    PHONE = "phone"
    PAPER = "sheet"


class Other(StrEnum):
    """Its member is equal to one of `Way`, which counts as that, and to a value of `Plain`, which does not."""

    PHONE = "phone"


Ways = graphene.Enum.from_enum(Way, name="Ways")
Plains = graphene.Enum.from_enum(Plain, name="Plains")
CALLS: list[str] = []


class Child(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """A part, with a resolver that waits and one that answers a coroutine without saying so."""

    name = graphene.String(required=True)
    late = graphene.String()
    later = graphene.String()
    where = graphene.String()
    said = graphene.String(word=graphene.String())

    @staticmethod
    async def resolve_late(_root: Any, _info: Any) -> str:
        """Waits."""
        return "late"

    @staticmethod
    def resolve_later(_root: Any, _info: Any) -> Any:
        """Answers a coroutine."""
        CALLS.append("later")
        return Child.resolve_late(None, None)

    @staticmethod
    def resolve_where(_root: Any, info: Any) -> str:
        """Asks where it is."""
        return str(info.path.as_list())

    @staticmethod
    def resolve_said(_root: Any, info: Any, word: str | None = None) -> str:
        """Uses all that it is told."""
        assert (info.field_name, info.parent_type.name, str(info.return_type)) == ("said", "Child", "String")
        assert (info.root_value, info.is_awaitable(1), info.operation.name.value) == (None, False, "Asked")
        assert (list(info.fragments), info.schema.query_type.name, len(info.field_nodes)) == ([], "Root", 1)
        return f"{word} {info.variable_values['word']} {info.context.actor.subject}"


class Root(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """What is asked."""

    child = graphene.Field(Child)
    children = graphene.List(Child)
    way = graphene.Field(Ways)
    plain = graphene.Field(Plains)
    word = graphene.String(of=graphene.String())
    count = graphene.Int()
    parts = graphene.List(graphene.NonNull(graphene.String))


SCHEMA = graphene.Schema(query=Root).graphql_schema
RULES = dict.fromkeys(("child", "children", "way", "plain", "word", "count", "parts"), Rule())


def made_ready(text: str, sent: dict[str, Any] | None = None) -> tuple[Prepared, Context]:
    """A query that is compiled, and its context."""
    tree = parse(text)
    definition = cast(OperationDefinitionNode, tree.definitions[0])
    operations = Operations(SCHEMA, RULES, count=1, size=10_000)
    operation = operations.get(Document(tree, {None: definition}, {}, "", 0), None)
    variables = operation.coerced(sent or {})
    operations.prepared(operation, variables)
    prepared = operations.prepared(operation, variables)
    plan = prepared.plan(variables, Limits())
    return prepared, Context(actor(Role.FRONT_DESK), REQUEST, cast(Any, None), prepared, plan, Limits())


def compiled(text: str, outcomes: dict[str, Any], sent: dict[str, Any] | None = None) -> Any:
    """The compiled answer, None where it is given up."""
    prepared, context = made_ready(text, sent)
    return prepared.respond(outcomes, context, context.plan.variables)


async def both(text: str, outcomes: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The compiled answer, and graphql-core's with its errors."""
    prepared, context = made_ready(text)
    found = prepared.respond(outcomes, context, {})
    reference = await complete(prepared, context, outcomes)
    return found, reference.data, reference.errors


@pytest.mark.parametrize("field", ["way", "plain"])
@pytest.mark.parametrize("value", [*Way, *(way.value for way in Way), *(way.name for way in Way), *Plain, Other.PHONE])
async def test_members_of_enums(field: str, value: Any) -> None:
    """Members, values, names, and members of other enums that are equal to one of these, as graphql-core takes them."""
    found, reference, errors = await both(f"{{ {field} }}", {field: value})
    assert (found is None) == (errors is not None)
    assert found == (reference if errors is None else None)


def test_an_enum_without_python_behind_it() -> None:
    """Values of an enum that graphene did not make; a name that is no value is left to graphql-core."""
    usual, classes = names_of(GraphQLEnumType("Size", {"S": "small", "L": 12, "M": "M"}))
    assert usual == {"small": "S", "M": "M"}
    assert classes == frozenset({str})


async def test_a_value_that_is_read_once_is_read_by_graphql_core() -> None:
    """The compiled function leaves an iterator alone, so that the answer is still whole."""

    def each() -> Iterator[str]:
        yield from ("a", "b")

    found, reference, errors = await both("{ parts }", {"parts": each()})
    assert (found, reference, errors) == (None, {"parts": ["a", "b"]}, None)


async def test_a_coroutine_that_nobody_waits_for_is_closed() -> None:
    """A resolver that turns out to wait is called again by graphql-core, and the first coroutine ends quietly."""
    CALLS.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, reference, errors = await both("{ child { later } }", {"child": {"name": "x"}})
        gc.collect()
    assert (found, reference, errors, CALLS) == (None, {"child": {"later": "late"}}, None, ["later", "later"])


async def test_a_resolver_that_waits_is_not_compiled() -> None:
    """Nor one that wants the path; graphql-core answers both."""
    for field, answer in (("late", "late"), ("where", "['child', 'where']")):
        found, reference, errors = await both(f"{{ child {{ {field} }} }}", {"child": {"name": "x"}})
        assert (found, reference, errors) == (None, {"child": {field: answer}}, None)


def test_what_asks_for_the_schema_is_not_compiled() -> None:
    """Introspection is graphql-core's own."""
    prepared, _ = made_ready("{ __schema { queryType { name } } }")
    definition = prepared.operation.definition
    with pytest.raises(Uncompilable):
        Completion(SCHEMA, definition, {}, {}, prepared.type, prepared.fields)


def test_only_the_name_of_the_type() -> None:
    """Nothing of the value is read, and it still has to be one."""
    text = "{ it: __typename child { __typename } children { __typename } }"
    whole = {"it": "Root", "child": {"__typename": "Child"}, "children": [{"__typename": "Child"}, None]}
    assert compiled(text, {"child": {}, "children": [object(), None]}) == whole
    assert compiled(text, {"child": ValueError("x"), "children": []}) is None


@dataclass
class Stored:
    """An object with attributes, as some services answer."""

    name: Any = "x"


class Keeper(dict[str, Any]):
    """A dict of a class of its own."""


@pytest.mark.parametrize("source", [{"name": "x"}, Stored(), Keeper(name="x"), Keeper()])
async def test_sources(source: Any) -> None:
    """Members by key and by name; what is missing is null, which fails where null may not be."""
    found, reference, errors = await both("{ child { name } }", {"child": source})
    assert found == (None if errors else reference)
    assert (errors is None) == bool(source)


@pytest.mark.parametrize("value", [None, 1, True, 1.5, 2.0, 2**31, "7", b"7", ValueError("x")])
@pytest.mark.parametrize("field", ["word", "count", "way"])
async def test_leaves(field: str, value: Any) -> None:
    """Every value is written as graphql-core writes it, or left to it."""
    found, reference, errors = await both(f"{{ {field} }}", {field: value})
    assert found == (None if errors else reference)


def test_arguments_and_what_a_resolver_is_told() -> None:
    """Arguments of fields below the roots, from literals and variables, and all of `info` but the path."""
    text = 'query Asked($word: String) { child { said(word: $word) plain: said(word: "b") } }'
    found = compiled(text, {"child": {"name": "x"}}, {"word": "a"})
    assert found == {"child": {"said": "a a u-1", "plain": "b a u-1"}}


def test_no_literal_is_in_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text of a document that could be code, or a patient's, stays out of what is compiled."""
    sources: list[str] = []

    def kept(source: str, *rest: Any) -> Any:
        sources.append(source)
        return compile(source, *rest)

    monkeypatch.setattr("schema.compiled.selection.compile", kept, raising=False)
    text = 'query Asked { word(of: "\\"); canary51c9(\\"") child { said(word: "canary51c9") } }'
    made_ready(text)
    assert len(sources) == 1
    assert "canary51c9" not in sources[0]
    assert "def respond(outcomes, run):" in sources[0]
