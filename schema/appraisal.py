"""What a document would cost, and to whom it would be refused: found without asking, for whoever registers it.

Takes the longest lists and pages that variables may bring, and every field that a @skip or an @include may leave in.
The same plan and the same policy decide as for a request, so nothing here is a second rule.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from graphql import (
    REMOVE,
    DirectiveNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    GraphQLSyntaxError,
    Lexer,
    Source,
    StringValueNode,
    TokenKind,
    Visitor,
    is_required_input_field,
    parse,
    type_from_ast,
    visit,
)

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError, ForbiddenField
from auth.policy import GRANTS, Action
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.services.profiles import groups
from schema.documents import Document
from schema.errors import Code, Refused, code_of
from schema.limits import check
from schema.plan import RULES, Plan
from schema.prepared import Operation, Prepared
from schema.settings import Limits

__all__ = ["Appraisal", "Refusal", "appraise", "counted"]

_UNBOUNDED = 2**53
_CONDITIONS = frozenset({"skip", "include"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a role asking for a purpose of use is refused: the operation, because of one root field (a response key).

    `fields` are the catalogue paths to blame; none where the role may not do this at all.
    """

    role: Role
    purpose: Purpose
    root: str
    code: Code
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Appraisal:
    """One operation. `records` is how many it may touch at most; above `most` it is answered QUERY_TOO_COSTLY.

    `literals` is how many texts stand in the document: values of patients belong into variables.
    """

    name: str | None
    kind: str
    fields: int
    depth: int
    records: int
    most: int
    literals: int
    refusals: tuple[Refusal, ...]


def appraise(
    schema: GraphQLSchema, document: Document, limits: Limits, *, open_introspection: bool = False
) -> list[Appraisal]:
    """The operations of a valid document, in their order; with `open_introspection` as in the transport's settings.

    Raises Refused, BatchTooLarge and Invalid for what no variables could make acceptable.
    """
    whole = _unconditional(document)
    literals = _texts(document)
    found = []
    for (name, definition), size in zip(whole.operations.items(), check(document.tree, limits), strict=True):
        operation = Operation(schema, whole, name)
        submitted = {
            each.variable.name.value: _longest(type_from_ast(schema, each.type), limits)  # type: ignore[arg-type]
            for each in definition.variable_definitions
        }
        prepared = Prepared(schema, operation, {}, RULES)
        plan = prepared.plan(operation.coerced(submitted), replace(limits, records=_UNBOUNDED))
        records = sum(root.records for root in plan.roots.values())
        cost = (size.fields, max(size.depth, size.introspection_depth), records, limits.records, literals)
        refusals = tuple(_refusals(plan, open_introspection=open_introspection))
        found.append(Appraisal(name, operation.kind.value, *cost, refusals))
    return found


def counted(text: str, name: str) -> int | None:
    """How much a document holds of what a limit of `Limits` counts.

    None where a text that is broken behind that place does not tell, and for what is not counted in a document.

    Reads to the end, so it is for texts of the deployment itself and not for those of requests.
    """
    if name == "source":
        return len(text)
    try:
        if name in {"tokens", "comments"}:
            return _lexed(text, comments=name == "comments")
        sizes = check(parse(text), Limits(**{each.name: _UNBOUNDED for each in fields(Limits)}))
    except (GraphQLSyntaxError, Refused):
        return None
    if name == "operations":
        return len(sizes)
    if name == "root_fields":
        return None
    each = [getattr(size, name) for size in sizes]
    return max(each, default=0) if name in {"depth", "introspection_depth"} else sum(each)


def _lexed(text: str, *, comments: bool) -> int:
    """The tokens of a text, or its comments, which stand between tokens."""
    lexer = Lexer(Source(text))
    while lexer.advance().kind is not TokenKind.EOF:
        pass
    kinds = []
    token = lexer.token.prev
    while token is not None and token.kind is not TokenKind.SOF:
        kinds.append(token.kind)
        token = token.prev
    return sum((kind is TokenKind.COMMENT) is comments for kind in kinds)


def _unconditional(document: Document) -> Document:
    """The document without @skip and @include, so that everything it may ever select is selected."""

    class Conditions(Visitor):
        """Takes the conditions away."""

        @staticmethod
        def enter_directive(node: DirectiveNode, *_: Any) -> Any:
            return REMOVE if node.name.value in _CONDITIONS else None

    remover = Conditions()
    operations = {name: visit(each, remover) for name, each in document.operations.items()}
    fragments = {name: visit(each, remover) for name, each in document.fragments.items()}
    return replace(document, operations=operations, fragments=fragments)


def _texts(document: Document) -> int:
    """How many literal texts a document holds."""
    count = 0

    class Texts(Visitor):
        """Counts them."""

        @staticmethod
        def enter_string_value(_: StringValueNode, *__: Any) -> None:
            nonlocal count
            count += 1

    visit(document.tree, Texts())
    return count


def _longest(kind: GraphQLInputType, limits: Limits) -> Any:
    """A value of an input type, as JSON has it, that asks for as much as a value of that type can."""
    of: Any = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    if isinstance(of, GraphQLList):
        return [_one(of.of_type, limits)] * limits.batch
    return _one(kind, limits)


def _one(kind: GraphQLInputType, limits: Limits) -> Any:
    """Any value of an input type: what nothing depends on is short."""
    of: Any = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    if isinstance(of, GraphQLList):
        return [_one(of.of_type, limits)]
    if isinstance(of, GraphQLEnumType):
        return next(iter(of.values))
    if isinstance(of, GraphQLInputObjectType):
        return {name: _one(part.type, limits) for name, part in of.fields.items() if is_required_input_field(part)}
    return _SCALARS.get(of.name, "x") if of.name != "Int" else limits.page


_SCALARS: Mapping[str, Any] = {
    "Boolean": True,
    "Float": 1.0,
    "LogIndex": 1,
    "_Any": {"__typename": "Patient", "id": "x"},
}


def _refusals(plan: Plan, *, open_introspection: bool) -> Iterator[Refusal]:
    """For each role and purpose of the policy, every root field for which the operation is refused."""
    for grant in GRANTS:
        for purpose in sorted(grant.purposes):
            actor = _actor(grant.role, purpose)
            for key, root in plan.roots.items():
                closed = Plan({key: root}, {}).introspects and not open_introspection
                action = Action.SCHEMA_READ if closed else root.action
                if action is None:
                    continue
                try:
                    policy.decide_read(actor, groups(root.asked), action)
                except AuthError as error:
                    fields = tuple(sorted(error.paths)) if isinstance(error, ForbiddenField) else ()
                    yield Refusal(grant.role, purpose, key, code_of(error), fields)


def _actor(role: Role, purpose: Purpose) -> Actor:
    """Somebody in a role; patients and proxies are bound to a record."""
    bound = "x" if role in PERSONAL else None
    return Actor("x", "x", "x", frozenset({role}), purpose, None, "x", bound, 2**40)
