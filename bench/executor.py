"""The executor alone: compiled functions beside graphql-core, on ordinary resolvers that give dicts out of memory.

    python -m bench.executor [--rounds N]

Nothing is parsed, validated, admitted, read or recorded here. Both sides coerce the same variables, call the same root
resolver and make the same response; a round runs them one right after the other, and what counts is the ratio within a
round, of processor time.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import graphene
import orjson
from graphql import DocumentNode, GraphQLSchema, OperationDefinitionNode, execute_sync, parse, validate

from auth.actor import Actor
from bench.reads import QUERIES
from crm.services.request import Request
from schema.completion import complete, resolve
from schema.context import Context
from schema.documents import Document
from schema.plan import Rule
from schema.prepared import Operations
from schema.settings import Limits
from schema.types import Patient, PatientResult

__all__ = ["Case", "cases", "lines"]

PATIENT: dict[str, Any] = {
    "id": "0193a6b1-7d1c-7cc0-9d5e-000000000001", "version": 3, "display_name": "Sam Okafor", "preferred_name": "Sam",
    "birth_date": "1984-07-03", "pronouns": "they/them", "interpreter_needed": "YES", "time_zone": "Europe/London",
    "communication_style": "PLAIN_LANGUAGE",
    "languages": [
        {"tag": "so", "modes": ["SPOKEN"], "rank": 1}, {"tag": "en", "modes": ["SPOKEN", "WRITTEN"], "rank": 2},
    ],
    "contact_points": [
        {
            "id": f"c{number}", "system": "PHONE", "value": "+447700900123", "use": "MOBILE", "rank": number,
            "capabilities": ["SMS", "VOICE"], "verification": {"status": "VERIFIED"},
        }
        for number in (1, 2, 3)
    ],
    "channel_preferences": [
        {"purpose": "APPOINTMENT_REMINDER", "channels": ["SMS", "EMAIL"]},
        {"purpose": "BILLING", "channels": ["LETTER"]},
    ],
}  # fmt: skip
COUNT = 100


class _Query(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """The two reads of `bench.reads`, out of memory."""

    patient = graphene.Field(Patient, id=graphene.ID(required=True))
    patients = graphene.List(
        graphene.NonNull(PatientResult), required=True, ids=graphene.List(graphene.NonNull(graphene.ID), required=True)
    )

    @staticmethod
    def resolve_patient(_root: Any, _info: Any, id: str) -> dict[str, Any]:
        """One patient."""
        return PATIENT

    @staticmethod
    def resolve_patients(_root: Any, _info: Any, ids: list[str]) -> list[dict[str, Any]]:
        """As many as were asked for."""
        return [PATIENT] * len(ids)


@dataclass(frozen=True)
class Case:
    """One read, answered by either side. `core` is graphql-core's whole executor, `completed` its completion alone."""

    title: str
    compiled: Callable[[], Any]
    core: Callable[[], Any]
    responded: Callable[[], Any]
    completed: Callable[[], Any]


def cases() -> list[Case]:
    """Both reads. Raises RuntimeError where the two sides do not give the same octets."""
    schema = graphene.Schema(query=_Query).graphql_schema
    sent: dict[str, dict[str, Any]] = {"one": {"id": PATIENT["id"]}, "many": {"ids": [PATIENT["id"]] * COUNT}}
    titles = {"one": "one patient", "many": f"{COUNT} patients"}
    return [_case(schema, titles[read], parse(QUERIES[read]), sent[read]) for read in ("one", "many")]


def _case(schema: GraphQLSchema, title: str, tree: DocumentNode, sent: dict[str, Any]) -> Case:
    if validate(schema, tree):
        raise RuntimeError(f"{title}: not a valid document")
    definition = cast(OperationDefinitionNode, tree.definitions[0])
    operations = Operations(schema, dict.fromkeys(("patient", "patients"), Rule()), count=10, size=1_000_000)
    operation = operations.get(Document(tree, {None: definition}, {}, "", size=0), None)
    operations.prepared(operation, {})
    caller: Any = cast(Actor, None)

    def begun() -> Context:
        variables = operation.coerced(sent)
        prepared = operations.prepared(operation, variables)
        plan = prepared.plan(variables, Limits())
        return Context(caller, Request("bench", "Bench"), cast(Any, None), prepared, plan, Limits())

    def compiled() -> Any:
        context = begun()
        outcomes = _finished(resolve(context.operation, context))
        return context.operation.respond(outcomes, context, context.plan.variables)

    def core() -> Any:
        return execute_sync(schema, tree, variable_values=sent).data

    context = begun()
    outcomes = _finished(resolve(context.operation, context))
    if orjson.dumps(compiled()) != orjson.dumps(core()):
        raise RuntimeError(f"{title}: the two sides answer differently")
    return Case(
        title,
        compiled,
        core,
        lambda: context.operation.respond(outcomes, context, context.plan.variables),
        lambda: _finished(complete(context.operation, context, outcomes)),
    )


def _finished(coroutine: Any) -> Any:
    """What a coroutine gives that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waited")


def _taken(ask: Callable[[], Any], count: int) -> float:
    """µs of processor time of one answer."""
    start = time.process_time()
    for _ in range(count):
        ask()
    return 1e6 * (time.process_time() - start) / count


def lines(rounds: int) -> list[str]:
    """For each read, with and without variables and resolvers: median µs of either side, and the ratio in a round."""
    found = [f"{'':<44}{'compiled':>12}{'graphql-core':>16}{'times as fast':>24}"]
    for case in cases():
        count = 1000 if case.title == "one patient" else 20
        for what, ours, theirs in (
            ("variables, resolver and response", case.compiled, case.core),
            ("the response alone", case.responded, case.completed),
        ):
            _taken(ours, count), _taken(theirs, count // 10)
            pairs = [(_taken(ours, count), _taken(theirs, count // 10)) for _ in range(rounds)]
            ratios = sorted(slow / fast for fast, slow in pairs)
            fast, slow = (statistics.median(each) for each in zip(*pairs, strict=True))
            span = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f}-{ratios[-1]:.1f})"
            found.append(f"{case.title}, {what:<32}{fast:10.1f} µs{slow:13.1f} µs{span:>24}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    print(*lines(parser.parse_args().rounds), sep="\n")
