"""Documents made ready once: parsed, limited, validated, and kept by their text. Owns that cache, and executes nothing.

A document's text may hold literals, so the cache never leaves the process, and nothing here logs any of it.
"""

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    NameNode,
    Node,
    ObjectFieldNode,
    OperationDefinitionNode,
    Token,
    TokenKind,
    ValueNode,
    VariableNode,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged
from graphql.validation.validate import ValidationAbortedError

from schema.errors import Code, Refused
from schema.limits import check, parse_within
from schema.recent import Recent
from schema.settings import Limits

__all__ = ["Document", "Documents", "Invalidities", "label_of"]

overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 10_000
"""A fiftieth of graphql-core's own budget: honest documents need far less, and attacks cost no more than they."""

MAX_REPORTED = 20
MAX_MESSAGE = 200
OPERATION_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,63}")


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A validated document; one is equal to itself alone."""

    tree: DocumentNode = field(repr=False)
    operations: Mapping[str | None, OperationDefinitionNode] = field(repr=False)
    fragments: Mapping[str, FragmentDefinitionNode] = field(repr=False)
    digest: str
    size: int
    """How many octets of memory it takes, estimated by the number of its nodes."""

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation to execute (GraphQL specification, GetOperation). Raises Refused."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        if name is not None and name in self.operations:
            return self.operations[name]
        if name is None:
            raise Refused(Code.GRAPHQL_VALIDATION_FAILED, "The document has not exactly one operation; name one.")
        raise Refused(Code.GRAPHQL_VALIDATION_FAILED, "The document has no operation of that name.")

    def label(self, operation: OperationDefinitionNode) -> str:
        """How the access log names the operation: by its name, or by the digest of the document; never by a literal."""
        name = operation.name.value if operation.name else ""
        return name if OPERATION_NAME.fullmatch(name) else f"sha256:{self.digest}"


class Invalidities(Exception):
    """What validation found; `public` are the same problems in words that quote no literal of the document."""

    def __init__(self, public: list[Refused]) -> None:
        super().__init__(len(public))
        self.public = public

    @property
    def too_costly(self) -> bool:
        """Whether all that was found is that validation would take too much."""
        return all(each.code is Code.QUERY_TOO_COSTLY for each in self.public)


def label_of(text: str) -> str:
    """How the access log names a document that has no operation to name: by its digest."""
    return f"sha256:{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Documents:
    """Validated documents by text, the least recently used forgotten first.

    Of those that validation refused only digest and problems are kept, apart from the others, so that the same document
    costs its validation once and nobody pushes out honest ones by being refused.
    """

    def __init__(self, schema: GraphQLSchema, limits: Limits, *, count: int, size: int, refused: int) -> None:
        self._schema = schema
        self._limits = limits
        self._kept = Recent[str, Document](count, size)
        self._refused = Recent[str, list[Refused]](refused, refused)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def refused(self) -> int:
        """How many refused documents are remembered."""
        return len(self._refused)

    def get(self, text: str) -> Document:
        """The document of `text`. Raises Refused when it cannot be parsed or is too much, else Invalidities."""
        kept = self._kept.get(text)
        if kept is not None:
            return kept
        digest = _digest(text)
        problems = self._refused.get(digest)
        if problems is not None:
            raise Invalidities(problems)
        document = self._prepare(text, digest)
        self._kept.put(text, document, document.size)
        return document

    def _prepare(self, text: str, digest: str) -> Document:
        tree = parse_within(text, self._limits)
        check(tree, self._limits)
        try:
            errors = validate(self._schema, tree, max_errors=MAX_REPORTED, hide_suggestions=True)
        except GraphQLError as error:  # raised by the rule on subscriptions, for a condition on what is a root field
            errors = [error]
        if errors:
            problems = [_public(error) for error in errors]
            self._refused.put(digest, problems, 1)
            raise Invalidities(problems)
        operations: dict[str | None, OperationDefinitionNode] = {}
        fragments: dict[str, FragmentDefinitionNode] = {}
        for definition in tree.definitions:
            if isinstance(definition, OperationDefinitionNode):
                operations[definition.name.value if definition.name else None] = definition
            elif isinstance(definition, FragmentDefinitionNode):
                fragments[definition.name.value] = definition
        size = PER_DOCUMENT + _slimmed(tree) * PER_NODE + 2 * sys.getsizeof(text)  # literals are copied from the text
        return Document(tree, operations, fragments, digest, size)


PER_DOCUMENT, PER_NODE = 2_000, 250
"""Octets that a document takes, and each node of its syntax tree, with its place in the text."""

_NO_TOKEN = Token(TokenKind.SOF, 0, 0, 0, 0)


def _slimmed(tree: DocumentNode) -> int:
    """How many nodes a validated tree has, after what only a parser needs was dropped.

    Tokens are chained, so that one keeps all others alive: half of what a tree takes. Errors in an answer point at
    fields, by their places in the text; nothing points at a name.
    """
    count = 0
    stack: list[Node] = [tree]
    while stack:
        node = stack.pop()
        count += 1
        if isinstance(node, NameNode):
            node.value = sys.intern(node.value)
            node.loc = None
            continue
        if node.loc is not None:
            node.loc.start_token = node.loc.end_token = _NO_TOKEN
        for key in node.keys:
            value = getattr(node, key)
            if isinstance(value, Node):
                stack.append(value)
            elif isinstance(value, tuple):
                stack.extend(each for each in value if isinstance(each, Node))
    return count


_HINT = re.compile(r" Did you mean .*$", re.DOTALL)


def _public(error: GraphQLError) -> Refused:
    """A validation error without literals: rules that look at values get a fixed sentence; others speak of names."""
    locations = [(place.line, place.column) for place in error.locations or ()]
    if isinstance(error, ValidationAbortedError):
        return Refused(Code.QUERY_TOO_COSTLY, "The document takes too much to validate.")
    about = error.nodes[0] if error.nodes else None
    if isinstance(about, ValueNode) and not isinstance(about, VariableNode):
        text = "A literal does not fit the type of its argument or input field."
    elif isinstance(about, ObjectFieldNode):
        text = "An input object has a field that its type does not have."
    else:
        text = _HINT.sub("", error.message)[:MAX_MESSAGE]
    return Refused(Code.GRAPHQL_VALIDATION_FAILED, text, locations=locations)
