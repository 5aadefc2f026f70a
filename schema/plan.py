"""The plan of one operation: its root fields with coerced arguments, what each asks of a patient, and what it costs.

Made before anything is executed, so that a whole operation is refused before any row is read. Owns the rule of each
root field, and reads no document.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphene.utils.str_converters import to_camel_case

from auth.policy import Action
from crm.audit.event import Act
from crm.errors import BatchTooLarge, Invalid
from crm.services.duplicates import NEAREST
from schema.errors import Code, Refused
from schema.settings import Limits

__all__ = ["RULES", "Plan", "RootField", "Rule", "planned"]

Arguments = Mapping[str, Any]


class TooManyIds(BatchTooLarge):
    """More ids in one call than the limit; `ids` is how many there were, for the access log."""

    def __init__(self, limit: int, ids: int) -> None:
        super().__init__(limit)
        self.ids = ids


class TooManyRecords(Refused):
    """An operation that may touch more records than the limit; `ids` is how many it names, for the access log."""

    def __init__(self, limit: int, ids: int) -> None:
        super().__init__(Code.QUERY_TOO_COSTLY, "The operation may touch too many records.", limit=limit)
        self.ids = ids or None


@dataclass(frozen=True, slots=True)
class RootField:
    """One root field with its arguments. `action` is None where no patient is touched; `records` is its cost.

    `act` is how a refusal is recorded, where the action alone does not tell.
    """

    name: str
    asked: frozenset[str]
    action: Action | None
    ids: tuple[str, ...]
    records: int
    act: Act | None = None
    arguments: Arguments = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Root fields by response key, and the coerced variables."""

    roots: Mapping[str, RootField]
    variables: dict[str, Any] = field(repr=False)

    @property
    def introspects(self) -> bool:
        """Whether it asks for the schema itself; `__typename` does not count."""
        return any(root.name in {"__schema", "__type", "_service"} for root in self.roots.values())

    def check(self, limits: Limits) -> None:
        """Raises Refused: QUERY_TOO_COSTLY for more records than the limit."""
        records = 0
        for root in self.roots.values():
            records += root.records
        if records > limits.records:
            raise TooManyRecords(limits.records, sum(len(root.ids) for root in self.roots.values()))


@dataclass(frozen=True, slots=True)
class Rule:
    """How a root field touches patients: by which action, which ones, and how many records at most; what it seeks.

    `past` is the action where the arguments ask for a record as it was.

    `act` as in `RootField`.
    """

    action: Action | None = None
    ids: Callable[[Arguments], Sequence[str]] = lambda _: ()
    records: Callable[[Arguments, Limits], int] = lambda _, __: 1
    sought: tuple[str, ...] = ()
    act: Act | None = None
    past: Action | None = None

    def action_of(self, arguments: Arguments) -> Action | None:
        """The action by which a root field with these arguments is admitted."""
        if self.past is None or (arguments.get("as_of") is None and arguments.get("as_of_version") is None):
            return self.action
        return self.past


def _one(arguments: Arguments) -> Sequence[str]:
    return (arguments["id"],)


def _of_patient(arguments: Arguments) -> Sequence[str]:
    return (arguments["patient_id"],)


def _target(arguments: Arguments) -> Sequence[str]:
    return (arguments["input"]["patient_id"],)


def _pair(arguments: Arguments) -> Sequence[str]:
    return (arguments["input"]["patient_id"], arguments["input"]["duplicate_id"])


def _two(arguments: Arguments) -> Sequence[str]:
    return (arguments["input"]["patient_id"], arguments["input"]["other_id"])


def _maybe_of_patient(arguments: Arguments) -> Sequence[str]:
    return (arguments["patient_id"],) if arguments.get("patient_id") else ()


def _page(arguments: Arguments, limits: Limits) -> int:
    first = arguments.get("first")
    return limits.page_default if first is None else max(first, 1)


def _pairs(arguments: Arguments, limits: Limits) -> int:
    """Two records of each pair that is looked at; or the record that is named, and all that it is compared with."""
    return 1 + NEAREST if arguments.get("patient_id") else 2 * _page(arguments, limits)


_CHANGE = Rule(Action.UPDATE, _target)
_LOG = Rule(Action.AUDIT_READ)
_DECIDE = Rule(Action.DECIDE, _of_patient, act=Act.DECIDE)
RULES: Mapping[str, Rule] = {
    "viewer": Rule(records=lambda _, __: 0),
    "contactDecision": _DECIDE,
    "contactDecisions": Rule(
        Action.DECIDE,
        lambda arguments: arguments["patient_ids"],
        lambda arguments, _: len(arguments["patient_ids"]),
        act=Act.DECIDE,
    ),
    "explainContact": _DECIDE,
    "me": Rule(Action.SELF_READ),
    "patient": Rule(Action.READ, _one, past=Action.HISTORY),
    "history": Rule(Action.HISTORY, _of_patient, _page),
    "compareVersions": Rule(Action.READ, _of_patient, lambda _, __: 2),  # and what the service asks for
    "patientByIdentifier": Rule(Action.SEARCH, sought=("system", "value")),
    "patients": Rule(Action.READ, lambda arguments: arguments["ids"], lambda arguments, _: len(arguments["ids"])),
    "searchPatients": Rule(Action.SEARCH, records=_page, sought=("by",)),
    "accessEvents": Rule(Action.AUDIT_READ, records=_page),
    "accessEventAppended": Rule(Action.AUDIT_READ, records=lambda _, limits: limits.page),
    "accessSummary": _LOG,
    "accessAnomalies": _LOG,
    "accountingOfDisclosures": Rule(Action.AUDIT_READ, _of_patient),
    "auditCheckpoint": _LOG,
    "auditInclusionProof": _LOG,
    "auditConsistencyProof": _LOG,
    "auditCompleteness": _LOG,
    "myAccessLog": Rule(Action.SELF_AUDIT, records=_page),
    "registerPatient": Rule(Action.REGISTER),
    "updatePreferences": _CHANGE,
    "updateIdentity": _CHANGE,
    "addContactPoint": _CHANGE,
    "updateContactPoint": _CHANGE,
    "retireContactPoint": _CHANGE,
    "recordConsent": Rule(Action.CONSENT, _target),
    "setConfidentialCommunication": Rule(Action.CONFIDE, _target),
    "clearConfidentialCommunication": Rule(Action.CONFIDE, _target),
    "restrictRecord": Rule(Action.RESTRICT, _target),
    "liftRestriction": Rule(Action.RESTRICT, _target),
    "addRelatedPerson": _CHANGE,
    "updateRelatedPerson": _CHANGE,
    "endRelatedPerson": _CHANGE,
    "recordInboundMessage": Rule(Action.INBOUND),
    "resolveMessage": Rule(Action.RESOLVE, _target),
    "waitingMessages": Rule(Action.RESOLVE, records=_page, act=Act.QUERY),
    "startContactVerification": _CHANGE,
    "confirmContactVerification": _CHANGE,
    "attestContactPoint": Rule(Action.ATTEST, _target),
    "reportDelivery": Rule(Action.INBOUND, _target),
    "reviewNeed": _CHANGE,
    "recordNeedOutcome": _CHANGE,
    "overdueReviews": Rule(Action.SEARCH, records=_page),
    "unmetNeeds": Rule(Action.SEARCH, records=_page),
    "erasePatient": Rule(Action.ERASE, _target),
    "erasureReceipts": Rule(Action.HOLD, _of_patient, act=Act.READ),
    "legalHolds": Rule(Action.HOLD, _of_patient, act=Act.READ),
    "placeLegalHold": Rule(Action.HOLD, _target, act=Act.HOLD),
    "liftLegalHold": Rule(Action.HOLD, _target, act=Act.RELEASE),
    "requestBreakGlass": Rule(Action.BREAK_GLASS, _target),
    "reviewBreakGlass": Rule(Action.REVIEW),
    "breakGlassGrants": Rule(Action.REVIEW, records=_page, act=Act.AUDIT_READ),
    "mergePatients": Rule(Action.MERGE, _pair, act=Act.MERGE),
    "unmergePatients": Rule(Action.MERGE, _pair, act=Act.UNMERGE),
    "possibleDuplicates": Rule(Action.MERGE, _maybe_of_patient, _pairs, act=Act.QUERY),
    "reviewDuplicate": Rule(Action.MERGE, _two, act=Act.UPDATE),
    "merges": Rule(Action.MERGE, _of_patient, act=Act.READ),
    "changedSince": Rule(
        Action.READ,
        lambda arguments: [each["id"] for each in arguments["known"]],
        lambda arguments, _: len(arguments["known"]),
        act=Act.NOTIFY,
    ),
    "recordChanges": Rule(Action.FOLLOW, records=_page, act=Act.NOTIFY),
    "profileChanged": Rule(Action.READ, lambda arguments: arguments.get("patient_ids") or (), act=Act.NOTIFY),
    "_service": Rule(records=lambda _, __: 0),
    "_entities": Rule(
        Action.READ,
        lambda arguments: arguments["representations"],
        lambda arguments, _: len(arguments["representations"]),
    ),
}
"""Every root field must stand here. A mutation is admitted when its role may make it, and read what it answers."""


def planned(name: str, rule: Rule, asked: frozenset[str], arguments: Arguments, limits: Limits) -> RootField:
    """One root field with these arguments. Raises BatchTooLarge; and Invalid for a criterion that is too long."""
    for argument in rule.sought:
        _check_length(arguments[argument], argument, limits.criterion)
    ids = tuple(rule.ids(arguments))
    if len(ids) > limits.batch:
        raise TooManyIds(limits.batch, len(ids))
    action = rule.action_of(arguments)
    return RootField(name, asked, action, ids, rule.records(arguments, limits), rule.act, arguments)


def _check_length(criterion: Any, path: str, limit: int) -> None:
    """Bound what a search looks for before anything compares, folds or parses it. Raises `Invalid`."""
    if isinstance(criterion, Mapping):
        for name, value in criterion.items():
            _check_length(value, f"{path}.{to_camel_case(name)}", limit)
    elif isinstance(criterion, str) and len(criterion) > limit:
        raise Invalid(path, "too_long")
