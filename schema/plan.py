"""The plan of one operation: its root fields with coerced arguments, what each asks of a patient, and what it costs.

Made before anything is executed, so that a whole operation is refused before any row is read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphene.utils.str_converters import to_camel_case
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    Undefined,
    get_argument_values,
    get_named_type,
    type_from_ast,
    value_from_ast,
)
from graphql.utilities import coerce_input_value

from auth.policy import Action
from crm.audit.event import Act
from crm.errors import BatchTooLarge, Invalid
from schema import selection
from schema.errors import Code, Refused
from schema.settings import Limits

__all__ = ["Plan", "RootField", "coerce_variables", "make_plan"]

Arguments = Mapping[str, Any]


class TooManyIds(BatchTooLarge):
    """More ids in one call than the limit; `ids` is how many there were, for the access log."""

    def __init__(self, limit: int, ids: int) -> None:
        super().__init__(limit)
        self.ids = ids


class TooManyRecords(Refused):
    """An operation that may touch more records than the limit; `ids` is how many it names, for the access log."""

    def __init__(self, ids: int) -> None:
        super().__init__(Code.QUERY_TOO_COSTLY, "The operation may touch too many records.")
        self.ids = ids or None


@dataclass(frozen=True, slots=True)
class RootField:
    """One root field. `action` is None where no patient is touched; `records` is its cost.

    `act` is how a refusal is recorded, where the action alone does not tell.
    """

    name: str
    asked: frozenset[str]
    action: Action | None
    ids: tuple[str, ...]
    records: int
    act: Act | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Root fields by response key, in the order in which they are executed."""

    operation: OperationDefinitionNode
    roots: Mapping[str, RootField]
    variables: Mapping[str, Any]

    @property
    def records(self) -> int:
        """How many records the operation may touch."""
        return sum(root.records for root in self.roots.values())

    @property
    def introspects(self) -> bool:
        """Whether it asks for the schema itself; `__typename` does not count."""
        return any(root.name in {"__schema", "__type", "_service"} for root in self.roots.values())


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a root field touches patients: by which action, which ones, and how many records at most; what it seeks.

    `act` as in `RootField`.
    """

    action: Action | None = None
    ids: Callable[[Arguments], Sequence[str]] = lambda _: ()
    records: Callable[[Arguments, Limits], int] = lambda _, __: 1
    sought: tuple[str, ...] = ()
    act: Act | None = None


def _one(arguments: Arguments) -> Sequence[str]:
    return (arguments["id"],)


def _of_patient(arguments: Arguments) -> Sequence[str]:
    return (arguments["patient_id"],)


def _target(arguments: Arguments) -> Sequence[str]:
    return (arguments["input"]["patient_id"],)


def _page(arguments: Arguments, limits: Limits) -> int:
    first = arguments.get("first")
    return limits.page_default if first is None else max(first, 1)


_CHANGE = _Rule(Action.UPDATE, _target)
_LOG = _Rule(Action.AUDIT_READ)
_DECIDE = _Rule(Action.DECIDE, _of_patient, act=Act.DECIDE)
_RULES: Mapping[str, _Rule] = {
    "viewer": _Rule(records=lambda _, __: 0),
    "contactDecision": _DECIDE,
    "contactDecisions": _Rule(
        Action.DECIDE,
        lambda arguments: arguments["patient_ids"],
        lambda arguments, _: len(arguments["patient_ids"]),
        act=Act.DECIDE,
    ),
    "explainContact": _DECIDE,
    "me": _Rule(Action.SELF_READ),
    "patient": _Rule(Action.READ, _one),
    "patientByIdentifier": _Rule(Action.SEARCH, sought=("system", "value")),
    "patients": _Rule(Action.READ, lambda arguments: arguments["ids"], lambda arguments, _: len(arguments["ids"])),
    "searchPatients": _Rule(Action.SEARCH, records=_page, sought=("by",)),
    "accessEvents": _Rule(Action.AUDIT_READ, records=_page),
    "accessSummary": _LOG,
    "accessAnomalies": _LOG,
    "accountingOfDisclosures": _Rule(Action.AUDIT_READ, _of_patient),
    "auditCheckpoint": _LOG,
    "auditInclusionProof": _LOG,
    "auditConsistencyProof": _LOG,
    "auditCompleteness": _LOG,
    "myAccessLog": _Rule(Action.SELF_AUDIT, records=_page),
    "registerPatient": _Rule(Action.REGISTER),
    "updatePreferences": _CHANGE,
    "updateIdentity": _CHANGE,
    "addContactPoint": _CHANGE,
    "updateContactPoint": _CHANGE,
    "retireContactPoint": _CHANGE,
    "recordConsent": _Rule(Action.CONSENT, _target),
    "setConfidentialCommunication": _Rule(Action.CONFIDE, _target),
    "clearConfidentialCommunication": _Rule(Action.CONFIDE, _target),
    "restrictRecord": _Rule(Action.RESTRICT, _target),
    "liftRestriction": _Rule(Action.RESTRICT, _target),
    "addRelatedPerson": _CHANGE,
    "updateRelatedPerson": _CHANGE,
    "endRelatedPerson": _CHANGE,
    "recordInboundMessage": _Rule(Action.INBOUND),
    "resolveMessage": _Rule(Action.RESOLVE, _target),
    "waitingMessages": _Rule(Action.RESOLVE, records=_page, act=Act.QUERY),
    "startContactVerification": _CHANGE,
    "confirmContactVerification": _CHANGE,
    "attestContactPoint": _Rule(Action.ATTEST, _target),
    "reportDelivery": _Rule(Action.INBOUND, _target),
    "reviewNeed": _CHANGE,
    "recordNeedOutcome": _CHANGE,
    "overdueReviews": _Rule(Action.SEARCH, records=_page),
    "unmetNeeds": _Rule(Action.SEARCH, records=_page),
    "erasePatient": _Rule(Action.ERASE, _target),
    "erasureReceipts": _Rule(Action.HOLD, _of_patient, act=Act.READ),
    "legalHolds": _Rule(Action.HOLD, _of_patient, act=Act.READ),
    "placeLegalHold": _Rule(Action.HOLD, _target, act=Act.HOLD),
    "liftLegalHold": _Rule(Action.HOLD, _target, act=Act.RELEASE),
    "requestBreakGlass": _Rule(Action.BREAK_GLASS, _target),
    "reviewBreakGlass": _Rule(Action.REVIEW),
    "breakGlassGrants": _Rule(Action.REVIEW, records=_page, act=Act.AUDIT_READ),
    "_service": _Rule(records=lambda _, __: 0),
    "_entities": _Rule(
        Action.READ,
        lambda arguments: arguments["representations"],
        lambda arguments, _: len(arguments["representations"]),
    ),
}
"""Every root field must stand here. A mutation is admitted when its role may make it, and read what it answers."""


def make_plan(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    submitted: Mapping[str, Any],
    limits: Limits,
) -> Plan:
    """The plan of a validated operation.

    Raises Refused: VALIDATION_FAILED for variables that do not fit, QUERY_TOO_COSTLY; BatchTooLarge; and Invalid for
    a criterion of a search that is too long.
    """
    root_type = schema.mutation_type if operation.operation is OperationType.MUTATION else schema.query_type
    if root_type is None or operation.operation is OperationType.SUBSCRIPTION:
        raise Refused(Code.GRAPHQL_VALIDATION_FAILED, "Subscriptions are not served here.")
    variables = coerce_variables(schema, operation, submitted)
    fields = selection.fields_of(schema, operation.selection_set, root_type, fragments, variables)
    if len(fields) > limits.root_fields:
        raise Refused(Code.QUERY_TOO_COSTLY, "The operation has too many root fields.")
    roots: dict[str, RootField] = {}
    for key, nodes in fields.items():
        name = nodes[0].name.value
        if name.startswith("__"):
            roots[key] = RootField(name, frozenset(), None, (), 0)
            continue
        definition = root_type.fields[name]
        arguments = _arguments(definition, nodes[0], variables)
        rule = _RULES[name]
        for argument in rule.sought:
            _check_length(arguments[argument], argument, limits.criterion)
        ids = tuple(rule.ids(arguments))
        if len(ids) > limits.batch:
            raise TooManyIds(limits.batch, len(ids))
        asked = selection.asked(schema, nodes, get_named_type(definition.type), fragments, variables)
        roots[key] = RootField(name, asked, rule.action, ids, rule.records(arguments, limits), rule.act)
    plan = Plan(operation, roots, variables)
    if plan.records > limits.records:
        raise TooManyRecords(sum(len(root.ids) for root in roots.values()))
    return plan


def _check_length(criterion: Any, path: str, limit: int) -> None:
    """Bound what a search looks for before anything compares, folds or parses it. Raises `Invalid`."""
    if isinstance(criterion, Mapping):
        for name, value in criterion.items():
            _check_length(value, f"{path}.{to_camel_case(name)}", limit)
    elif isinstance(criterion, str) and len(criterion) > limit:
        raise Invalid(path, "too_long")


def _arguments(definition: Any, node: FieldNode, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments under the names that resolvers know; a null variable where null is not allowed ends here."""
    try:
        return get_argument_values(definition, node, dict(variables))
    except GraphQLError:
        raise Refused(Code.VALIDATION_FAILED, field=node.name.value) from None


def coerce_variables(
    schema: GraphQLSchema, operation: OperationDefinitionNode, submitted: Mapping[str, Any]
) -> dict[str, Any]:
    """Variables as the GraphQL specification coerces them (6.1.2); a refusal names the path, never the value."""
    variables: dict[str, Any] = {}
    for definition in operation.variable_definitions:
        name = definition.variable.name.value
        kind: Any = type_from_ast(schema, definition.type)
        if name not in submitted:
            if definition.default_value:
                variables[name] = value_from_ast(definition.default_value, kind)
            elif str(kind).endswith("!"):
                raise Refused(Code.VALIDATION_FAILED, "A required variable is missing.", field=name)
            continue
        value = submitted[name]
        if value is None and str(kind).endswith("!"):
            raise Refused(Code.VALIDATION_FAILED, "A required variable is null.", field=name)
        variables[name] = _coerced(name, value, kind)
    return variables


class _Misfit(Exception):
    """A value that does not fit its type, at this path below the variable."""

    def __init__(self, path: list[str | int]) -> None:
        super().__init__()
        self.path = path


def _coerced(name: str, value: Any, kind: Any) -> Any:
    def refuse(path: list[str | int], _value: Any, _error: GraphQLError) -> None:
        raise _Misfit(path)

    try:
        coerced = coerce_input_value(value, kind, refuse)
    except _Misfit as misfit:
        place = ".".join(str(step) for step in (name, *misfit.path))
    else:
        return None if coerced is Undefined else coerced
    raise Refused(Code.VALIDATION_FAILED, "A variable does not fit its type.", field=place)
