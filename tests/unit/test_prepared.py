"""What is kept of operations, and how their root fields are resolved: once, in order, and in the right company."""

import asyncio
import gc
import tracemalloc
from typing import Any, cast

import graphene
import pytest
from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode, parse

from auth.roles import Role
from crm.errors import NotFound
from schema.completion import complete, resolve
from schema.context import Context
from schema.documents import Document, Documents, Invalidities
from schema.errors import Code, Refused
from schema.plan import Rule
from schema.prepared import Operation, Operations, Prepared
from schema.recent import Recent
from schema.sdl import build_schema
from schema.settings import Limits
from tests.house import REQUEST, actor

LOG: list[str] = []


async def _step(name: str) -> str:
    LOG.append(f"{name} begins")
    await asyncio.sleep(0)
    LOG.append(f"{name} ends")
    return name


class Roots(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """Fields that say when they are resolved."""

    one = graphene.String()
    two = graphene.String()
    sure = graphene.String(required=True)
    plain = graphene.String()

    @staticmethod
    async def resolve_one(_root: Any, _info: Any) -> str:
        """Waits."""
        return await _step("one")

    @staticmethod
    async def resolve_two(_root: Any, _info: Any) -> str:
        """Waits."""
        return await _step("two")

    @staticmethod
    async def resolve_sure(_root: Any, _info: Any) -> str:
        """Fails."""
        LOG.append("sure")
        raise NotFound

    @staticmethod
    def resolve_plain(_root: Any, info: Any) -> str:
        """Does not wait, and looks at what it is told."""
        assert (info.path.as_list(), info.field_name, info.parent_type.name) == (["plain"], "plain", "Roots")
        return "plain"


SCHEMA = graphene.Schema(query=Roots, mutation=Roots).graphql_schema
RULES = dict.fromkeys(("one", "two", "sure", "plain"), Rule())


def document(text: str) -> Document:
    """A document, which is not validated."""
    tree: DocumentNode = parse(text)
    named = [each for each in tree.definitions if isinstance(each, OperationDefinitionNode)]
    fragments = {each.name.value: each for each in tree.definitions if isinstance(each, FragmentDefinitionNode)}
    return Document(tree, {each.name.value if each.name else None: each for each in named}, fragments, text, len(text))


def operations(count: int = 10, size: int = 10_000) -> Operations:
    """An empty cache."""
    return Operations(SCHEMA, RULES, count=count, size=size)


def ready(text: str) -> tuple[Prepared, Context]:
    """An operation that was never seen before, and its context."""
    made = operations()
    prepared = made.prepared(made.get(document(text), None), {})
    plan = prepared.plan({}, Limits())
    return prepared, Context(actor(Role.FRONT_DESK), REQUEST, cast(Any, None), prepared, plan, Limits())


async def resolved(text: str) -> dict[str, Any]:
    """What the root fields come to; `LOG` says when."""
    LOG.clear()
    prepared, context = ready(text)
    return dict(await resolve(prepared, context))


async def test_a_query_asks_for_everything_at_once() -> None:
    """Both have begun before either ends."""
    assert await resolved("{ one two plain }") == {"one": "one", "two": "two", "plain": "plain"}
    assert LOG == ["one begins", "two begins", "one ends", "two ends"]


async def test_a_mutation_goes_step_by_step() -> None:
    """In the order in which the specification collects fields, through fragments too."""
    text = "mutation { ...F one } fragment F on Roots { two ... { it: one } }"
    assert list(await resolved(text)) == ["two", "it", "one"]
    assert LOG == ["two begins", "two ends", "one begins", "one ends", "one begins", "one ends"]


async def test_a_failure_keeps_the_others() -> None:
    """It is the outcome of its own field; graphql-core makes null and an error of it."""
    found = await resolved("{ sure one }")
    assert (type(found["sure"]), found["one"]) == (NotFound, "one")


async def test_a_mutation_ends_where_there_is_no_answer_any_more() -> None:
    """After a field that may not be null nothing else is changed, as nobody would be told."""
    prepared, context = ready("mutation { one sure two }")
    LOG.clear()
    outcomes = await resolve(prepared, context)
    assert (list(outcomes), LOG) == (["one", "sure"], ["one begins", "one ends", "sure"])
    answer = await complete(prepared, context, outcomes)
    assert (answer.data, [error.path for error in answer.errors or ()]) == (None, [["sure"]])


async def test_a_cancelled_request_cancels_its_fields() -> None:
    """Nothing goes on behind a caller who has left."""
    LOG.clear()
    prepared, context = ready("{ one two }")
    task = asyncio.create_task(resolve(prepared, context))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert LOG == ["one begins", "two begins"]


def test_conditions_make_an_operation_another_one() -> None:
    """Only variables that decide what is selected are told apart, and each has its own plan."""
    made = operations()
    text = "query ($yes: Boolean!, $other: ID) { one @include(if: $yes) two @skip(if: $yes) }"
    operation = made.get(document(text), None)
    with_it = made.prepared(operation, {"yes": True, "other": "x"})
    assert made.prepared(operation, {"yes": True, "other": "y"}) is with_it
    without = made.prepared(operation, {"yes": False})
    assert [[root.key for root in each.roots] for each in (with_it, without)] == [["one"], ["two"]]
    assert len(made) == 2


def test_a_condition_that_is_null() -> None:
    """It is refused, and nothing is kept of it."""
    made = operations()
    operation = made.get(document("query ($yes: Boolean = true) { one @include(if: $yes) }"), None)
    with pytest.raises(Refused):
        made.prepared(operation, {"yes": None})
    assert len(made) == 0


def test_an_operation_is_compiled_when_it_comes_again() -> None:
    """Not at first sight, so that a text that never comes again costs no more than with graphql-core alone."""
    made = operations()
    operation = made.get(document("{ one }"), None)
    prepared = made.prepared(operation, {})
    assert prepared.respond({"one": "x"}, None, {}) is None
    assert made.prepared(operation, {}) is prepared
    assert prepared.respond({"one": "x"}, None, {}) == {"one": "x"}


def test_what_is_kept_is_bounded() -> None:
    """By number, and by the size of documents and compiled sources; the least recently used goes first."""
    made = operations(count=2)
    documents = [document("{ one }"), document("{ two }"), document("{ plain }")]
    kept: list[Operation] = [made.get(each, None) for each in documents]
    for operation in kept:
        made.prepared(operation, {})
    assert len(made) == 2
    assert made.get(documents[2], None) is kept[2]
    assert made.get(documents[0], None) is not kept[0]
    small = operations(size=len("{ one }") + 10)
    operation = small.get(documents[0], None)
    assert len(small) == 0
    small.prepared(operation, {})
    assert len(small) == 1
    small.prepared(operation, {})
    assert len(small) == 0, "its source is larger than all that may be kept"


def test_a_condition_on_the_root_of_a_subscription() -> None:
    """graphql-core raises what it finds there; it is an invalid document like any other."""
    schema = graphene.Schema(query=Roots, subscription=Roots).graphql_schema
    documents = Documents(schema, Limits(), count=1, size=10_000, refused=1)
    with pytest.raises(Invalidities) as found:
        documents.get("subscription ($yes: Boolean!) { one @include(if: $yes) }")
    assert [each.code for each in found.value.public] == [Code.GRAPHQL_VALIDATION_FAILED]


FIELDS = "id displayName pronouns birthDate languages { tag rank } contactPoints { system value use verified }"
NUMBERS = range(15)
SHAPES = {
    "short": "query Q%d($id: ID!) { patient(id: $id) { id displayName languages { tag rank } } }",
    "many fields": 'query Q%d { patient(id: "x") { ' + " ".join([FIELDS] * 20) + " } }",
    "many aliases": "query Q%d { " + " ".join(f'a{n}: patient(id: "x{n}") {{ {FIELDS} }}' for n in NUMBERS) + " }",
    "a long text": 'query Q%d { patient(id: "' + "x" * 40_000 + '") { id } }',
    "long names": "query Q%d { " + " ".join("x" * 1_000 + f"{n}: viewer {{ org }}" for n in NUMBERS) + " }",
    "conditions": "query Q%d("
    + " ".join(f"$v{n}: Boolean = true" for n in range(9))
    + ") { viewer { "
    + " ".join(f"org @skip(if: $v{n})" for n in range(9))
    + " } }",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_documents_weigh_what_they_take(shape: str) -> None:
    """What a document is said to take is no less than what it takes, and not twice as much."""
    tracemalloc.start()
    try:
        documents = Documents(build_schema(), Limits(), count=10, size=10**7, refused=1)
        said = sum(documents.get(SHAPES[shape] % number).size for number in range(3))
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        del documents
        gc.collect()
        taken = before - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken <= said <= 2 * taken


def test_documents_are_forgotten_by_what_they_take() -> None:
    """The bound is one of memory, however few characters a document has."""
    text = SHAPES["many fields"]
    size = Documents(build_schema(), Limits(), count=10, size=10**7, refused=1).get(text % 1).size
    documents = Documents(build_schema(), Limits(), count=10, size=2 * size + 1_000, refused=1)
    for number in range(5):
        documents.get(text % number)
    assert len(documents) == 2


def test_recent() -> None:
    """Use and weight decide what is forgotten; a value in place of another is weighed once."""
    recent = Recent[str, int](count=3, weight=10)
    for number, name in enumerate("abc"):
        recent.put(name, number, 3)
    assert recent.get("a") == 0
    recent.put("d", 3, 3)
    assert [recent.get(name) for name in "abcd"] == [0, None, 2, 3]
    recent.put("d", 4, 4)
    assert [recent.get(name) for name in "acd"] == [0, 2, 4]
    recent.put("d", 5, 9)
    assert [recent.get(name) for name in "acd"] == [None, None, 5]
    recent.put("e", 6, 11)
    assert (recent.get("e"), len(recent)) == (None, 1)
