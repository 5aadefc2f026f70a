"""From a request to an answer: document, plan, admission, execution. Owns the order of these steps, and no transport.

Nothing is executed before every root field was admitted by the policy, so a forbidden field refuses the whole operation
before any row is read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLError, GraphQLSchema, OperationType

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError
from auth.policy import Action
from crm.errors import AuditUnavailable, Erased, Invalid
from crm.services.request import Request
from schema.completion import Outcomes, complete, resolve
from schema.conflicts import merges_told
from schema.context import AccessLog, Context, Services
from schema.documents import Documents, Invalidities, label_of
from schema.errors import LATER, UNAVAILABLE, Code, Problem, Refused, code_of, problem_of
from schema.plan import RULES, Plan, Rule
from schema.prepared import Operations, Prepared
from schema.repeating import Key, retry_of
from schema.settings import Settings
from schema.trusted import NotTrusted, Source

__all__ = ["Answer", "Engine", "MutationByGet", "Parameters", "SubscriptionAsked", "record_unasked"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """A GraphQL request: the document's text, the operation's name, and variables as they came.

    `document_id` is the SHA-256 (hex) by which a document was named; `query` is "" where it was named and not sent.
    `automatic` means that it was named in Apollo's way: its clients send the text after it where it is not known.
    `key` is what a mutation is known by when it comes again.
    """

    query: str = field(repr=False)
    operation_name: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    document_id: str | None = None
    automatic: bool = False
    key: Key | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A GraphQL response. `executed` is false for request errors: then there is no `data` entry at all."""

    problems: Sequence[Problem] = ()
    data: Any = field(default=None, repr=False)
    executed: bool = False
    extensions: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The response map: `errors` first where there are any, so that a reader meets them first."""
        entries: dict[str, Any] = {}
        if self.problems:
            entries["errors"] = [problem.as_json() for problem in self.problems]
        if self.executed:
            entries["data"] = self.data
        if self.extensions:
            entries["extensions"] = self.extensions
        return entries


UNASKED = frozenset({Code.QUERY_TOO_COSTLY, Code.BATCH_TOO_LARGE})
"""Codes of questions that may have named patients and were never put to the policy."""


_OF_THE_LOG = frozenset({Action.AUDIT_READ, Action.SELF_AUDIT})
"""What is asked of the access log, and of no patient."""

_SERVED = (OperationType.QUERY, OperationType.MUTATION)


class Engine:
    """Executes operations for actors. `made` counts responses by the executor that made them."""

    def __init__(
        self, schema: GraphQLSchema, services: Services, settings: Settings, rules: Mapping[str, Rule] = RULES
    ) -> None:
        self._services = services
        self._settings = settings
        self.made: Counter[str] = Counter()
        self.documents = Documents(
            schema,
            settings.limits,
            count=settings.documents,
            size=settings.documents_size,
            refused=settings.refused_documents,
        )
        self.source = Source(self.documents, services.documents, settings)
        self.operations = Operations(schema, rules, count=settings.documents, size=settings.documents_size)

    async def answer(self, actor: Actor, request_id: str, parameters: Parameters, *, reading: bool = False) -> Answer:
        """The response to one request; whatever goes wrong is told in it. `reading` (GET) raises MutationByGet."""
        begun = await self.begin(actor, request_id, parameters, _SERVED, reading=reading)
        if isinstance(begun, Answer):
            return begun
        return await self.complete(begun, await resolve(begun.prepared, begun.context))

    async def begin(
        self,
        actor: Actor,
        request_id: str,
        parameters: Parameters,
        kinds: Sequence[OperationType],
        *,
        reading: bool = False,
    ) -> "Execution | Answer":
        """The operation, planned and admitted, or the answer that refuses it. Nothing was read yet.

        Operations that are none of `kinds` are refused, a subscription by raising SubscriptionAsked, because other
        transports serve it. `reading` raises MutationByGet for whatever is not a query.
        """
        request: Request | None = None
        try:
            named, automatic = parameters.document_id, parameters.automatic
            document = await self.source.find(parameters.query, named, automatic=automatic)
            operation = self.operations.get(document, parameters.operation_name)
            retry = retry_of(operation, parameters.key, parameters.variables)
            request = Request(request_id, operation.label, retry)
            if reading and operation.kind is not OperationType.QUERY:
                raise MutationByGet
            if operation.kind is OperationType.SUBSCRIPTION and operation.kind not in kinds:
                raise SubscriptionAsked
            if operation.kind not in kinds:
                raise Refused(Code.GRAPHQL_VALIDATION_FAILED, f"A {operation.kind.value} is not served here.")
            variables = operation.coerced(parameters.variables)
            prepared = self.operations.prepared(operation, variables)
            plan = prepared.plan(variables, self._settings.limits)
            await self._admit(actor, request, plan)
        except (MutationByGet, SubscriptionAsked):
            raise
        except Exception as error:  # noqa: BLE001 - the closed table decides what is told about it
            return await self._refusal(actor, request or Request(request_id, _label(parameters)), error)
        return Execution(prepared, Context(actor, request, self._services, prepared, plan, self._settings.limits))

    async def _refusal(self, actor: Actor, request: Request, error: Exception) -> Answer:
        """The answer to an operation that is not executed; what asked for too much is recorded before it is told."""
        try:
            await record_unasked(self._services.access_log, actor, request, error)
        except AuditUnavailable as unavailable:
            error = unavailable
        return Answer(self._shown(actor, error) if isinstance(error, Invalidities) else [problem_of(error)])

    def may_introspect(self, actor: Actor) -> bool:
        """Whether `actor` may see the schema, by introspection or through what validation says about a document."""
        if self._settings.development or self._settings.open_introspection:
            return True
        try:
            policy.decide(actor, Action.SCHEMA_READ)
        except AuthError:
            return False
        return True

    def _shown(self, actor: Actor, found: Invalidities) -> list[Problem]:
        """What validation found; for those who may not see the schema, only that it found something."""
        if self.may_introspect(actor) or found.too_costly:
            return [problem_of(each) for each in found.public]
        return [problem_of(Refused(Code.GRAPHQL_VALIDATION_FAILED))]

    async def _admit(self, actor: Actor, request: Request, plan: Plan) -> None:
        """Ask the policy about every root field; the service records a refusal before it raises it."""
        if plan.introspects and not self.may_introspect(actor):
            raise Refused(Code.FORBIDDEN, "Introspection is closed for your role.")
        for root in plan.roots.values():
            if root.action in _OF_THE_LOG:
                await self._services.access_log.admit(actor, request, root.action, root.ids)
            elif root.action is not None:
                await self._services.profiles.admit(actor, request, root.asked, root.ids, root.action, root.act)

    async def complete(self, execution: "Execution", outcomes: Outcomes) -> Answer:
        """The response made of what the root fields came to."""
        extensions = merges_told(outcomes)
        data = execution.prepared.respond(outcomes, execution.context, execution.context.plan.variables)
        if data is not None:
            self.made["compiled"] += 1
            return Answer((), data, executed=True, extensions=extensions)
        self.made["graphql-core"] += 1
        result = await complete(execution.prepared, execution.context, outcomes)
        problems = [problem_of(error) for error in _worth_telling(result.errors or [])]
        for problem in problems:
            if problem.code in UNAVAILABLE or problem.code in LATER:
                return Answer([problem])  # nothing derived from patient data may stand beside it
        return Answer(problems, result.data, executed=True, extensions=extensions)


@dataclass(frozen=True, slots=True)
class Execution:
    """An operation that was planned and admitted, for one caller and one request."""

    prepared: Prepared
    context: Context


def _label(parameters: Parameters) -> str:
    """How the access log names a request whose operation is not known."""
    return f"sha256:{parameters.document_id}" if parameters.document_id else label_of(parameters.query)


async def record_unasked(log: AccessLog, actor: Actor, request: Request, error: Exception) -> None:
    """Records a refusal that came before the question could be put to the policy: too much, or too long a criterion.

    Malformed requests, and documents that do not fit the schema, name no patient and are not recorded. What is not
    executed because it is no trusted document was not even looked at, and is.
    """
    too_costly = isinstance(error, Invalidities) and error.too_costly
    if too_costly or isinstance(error, Invalid | NotTrusted) or code_of(error) in UNASKED:
        why = Code.QUERY_TOO_COSTLY if too_costly else code_of(error)
        await log.unasked(why.value, actor, request, getattr(error, "ids", None))


class MutationByGet(Exception):
    """GET must not execute a mutation; HTTP answers 405 (GraphQL over HTTP)."""


class SubscriptionAsked(Exception):
    """A subscription has many answers, which `schema.subscriptions` gives; a transport of one answer refuses it."""


def _worth_telling(errors: Sequence[GraphQLError]) -> Sequence[GraphQLError]:
    """At most a hundred failures: a batch that fails in every element repeats itself.

    Every erased field is told of, since null without an error would mean that nothing was recorded.
    """
    erased = [error for error in errors if isinstance(error.original_error, Erased)]
    others = [error for error in errors if not isinstance(error.original_error, Erased)]
    return [*others[:100], *erased]
