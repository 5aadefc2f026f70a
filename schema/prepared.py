"""Operations made ready once: root fields, what they ask of a patient, how variables become arguments, and the answer.

Owns the cache of them, which is bounded and holds nothing of a caller or a patient. What is ready depends on the text
of the document, the operation's name and the values of those variables that decide a @skip or an @include, and on
nothing else: neither on other variables, nor on who asks, so the policy is put to the question anew each time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DirectiveNode,
    FieldNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    Visitor,
    get_named_type,
    visit,
)
from graphql.pyutils import Path

from schema import selection
from schema.compiled import Completion, Uncompilable, is_awaitable
from schema.documents import Document
from schema.errors import Code, Refused
from schema.limits import TooCostly
from schema.plan import Plan, RootField, Rule, planned
from schema.recent import Recent
from schema.settings import Limits
from schema.variables import Variables, arguments_of

__all__ = ["Operation", "Operations", "Prepared", "Root"]

PER_CHARACTER = 8
"""Octets of memory that a compiled function takes for each character of its source."""

Conditions = tuple[Any, ...]


class Operation:
    """One operation of a document, before its variables are known. `label` is how the access log names it."""

    def __init__(self, schema: GraphQLSchema, document: Document, name: str | None) -> None:
        self.document = document
        self.definition: OperationDefinitionNode = document.operation(name)
        self.kind: OperationType = self.definition.operation
        self.label = document.label(self.definition)
        self._variables = Variables(schema, self.definition)
        self._deciding = _deciding(document, self.definition)

    def coerced(self, submitted: Mapping[str, Any]) -> dict[str, Any]:
        """The variables as GraphQL coerces them. Raises Refused."""
        return self._variables.coerced(submitted)

    def conditions(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the coerced variables that decide what is selected."""
        return {name: variables[name] for name in self._deciding if name in variables}


def _deciding(document: Document, operation: OperationDefinitionNode) -> tuple[str, ...]:
    """The names of the variables in @skip and @include, of the operation and of whatever it may spread."""
    names: dict[str, None] = {}

    class Conditions(Visitor):
        """Meets every directive."""

        @staticmethod
        def enter_directive(node: DirectiveNode, *_: Any) -> None:
            names.update(
                (each.value.name.value, None) for each in node.arguments if isinstance(each.value, VariableNode)
            )

    for definition in (operation, *document.fragments.values()):
        visit(definition, Conditions())
    return tuple(names)


@dataclass(frozen=True, slots=True)
class Root:
    """One root field by its response key. `arguments` makes its arguments from coerced variables."""

    key: str
    name: str
    nodes: list[FieldNode]
    definition: GraphQLField
    rule: Rule
    asked: frozenset[str]
    arguments: Callable[[dict[str, Any]], Mapping[str, Any]]
    path: Path


class Prepared:
    """One operation under certain conditions. `roots` are in the order in which they are executed."""

    def __init__(
        self, schema: GraphQLSchema, operation: Operation, conditions: dict[str, Any], rules: Mapping[str, Rule]
    ) -> None:
        self.schema = schema
        self.operation = operation
        self.conditions = conditions
        self.fragments = dict(operation.document.fragments)
        self.type = _root_type(schema, operation.kind)
        selected = operation.definition.selection_set
        self.fields = selection.fields_of(schema, selected, self.type, self.fragments, conditions)
        names = {key: nodes[0].name.value for key, nodes in self.fields.items()}
        self.roots = [self._root(key, rules) for key, name in names.items() if not name.startswith("__")]
        self._meta = {
            key: RootField(name, frozenset(), None, (), 0) for key, name in names.items() if name.startswith("__")
        }
        self._selected: dict[tuple[str, str], frozenset[str]] = {}
        self._completion: Completion | None = None
        self.tried = False

    def _root(self, key: str, rules: Mapping[str, Rule]) -> Root:
        nodes = self.fields[key]
        name = nodes[0].name.value
        definition = self.type.fields[name]
        returns = get_named_type(definition.type)
        asked = selection.asked(self.schema, nodes, returns, self.fragments, self.conditions)
        path = Path(None, key, self.type.name)
        return Root(key, name, nodes, definition, rules[name], asked, arguments_of(definition, nodes), path)

    def plan(self, variables: dict[str, Any], limits: Limits) -> Plan:
        """What the operation asks with these coerced variables.

        Raises Refused: QUERY_TOO_COSTLY, or VALIDATION_FAILED for a null where none may be; BatchTooLarge; and Invalid
        for a criterion of a search that is too long.
        """
        if len(self.fields) > limits.root_fields:
            raise TooCostly("root_fields", limits)
        roots = self._meta.copy()
        for root in self.roots:
            roots[root.key] = planned(root.name, root.rule, root.asked, root.arguments(variables), limits)
        plan = Plan(roots, variables)
        plan.check(limits)
        return plan

    def info(self, root: Root, context: Any, variables: dict[str, Any]) -> GraphQLResolveInfo:
        """What the resolver of a root field is told, as graphql-core tells it."""
        return GraphQLResolveInfo(
            root.name,
            root.nodes,
            root.definition.type,
            self.type,
            root.path,
            self.schema,
            self.fragments,
            None,
            self.operation.definition,
            variables,
            context,
            is_awaitable,
        )

    def compile(self) -> int:
        """Has responses made by a compiled function from now on, where there can be one; the size of its source."""
        self.tried = True
        definition = self.operation.definition
        try:
            self._completion = Completion(
                self.schema, definition, self.fragments, self.conditions, self.type, self.fields
            )
        except Uncompilable:
            return 0
        return self._completion.size

    def respond(self, outcomes: Mapping[str, Any], context: Any, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The `data` of a complete response without an error, or None where graphql-core has to make the response."""
        return None if self._completion is None else self._completion.respond(outcomes, context, variables)

    def selected(self, key: str, kind: str) -> frozenset[str]:
        """The fields of the type `kind` that a root field selects, wherever in its answer."""
        found = self._selected.get((key, kind))
        if found is None:
            nodes = self.fields[key]
            returns = get_named_type(self.type.fields[nodes[0].name.value].type)
            found = selection.selected(self.schema, nodes, returns, self.fragments, self.conditions, kind)
            self._selected[key, kind] = found
        return found


def _root_type(schema: GraphQLSchema, kind: OperationType) -> GraphQLObjectType:
    found = schema.get_root_type(kind)
    if found is None:
        raise Refused(Code.GRAPHQL_VALIDATION_FAILED, f"There are no {kind.value}s here.")
    return found


class Operations:
    """What was made ready, the least recently used forgotten first.

    At most `count` operations are kept, and as many under conditions; and of either at most `size` octets of memory, as
    estimated, where each counts with its document, which it keeps. An operation is compiled when it is seen for the
    second time under the same conditions, so that one that never comes again costs nothing of that.
    """

    def __init__(self, schema: GraphQLSchema, rules: Mapping[str, Rule], *, count: int, size: int) -> None:
        self._schema = schema
        self._rules = rules
        self._operations = Recent[tuple[Document, str | None], Operation](count, size)
        self._prepared = Recent[tuple[Operation, Conditions], Prepared](count, size)

    def __len__(self) -> int:
        return len(self._prepared)

    def get(self, document: Document, name: str | None) -> Operation:
        """The operation of that name. Raises Refused."""
        key = (document, name)
        operation = self._operations.get(key)
        if operation is None:
            operation = Operation(self._schema, document, name)
            self._operations.put(key, operation, document.size)
        return operation

    def prepared(self, operation: Operation, variables: Mapping[str, Any]) -> Prepared:
        """The operation under the conditions that these coerced variables make. Raises Refused for one that is null."""
        conditions = operation.conditions(variables)
        key = (operation, tuple(conditions.items()))
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = Prepared(self._schema, operation, conditions, self._rules)
            self._prepared.put(key, prepared, operation.document.size)
        elif not prepared.tried:
            self._prepared.put(key, prepared, operation.document.size + PER_CHARACTER * prepared.compile())
        return prepared
