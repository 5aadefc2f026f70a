"""For every mutation a situation in which it does something: who asks it, with which input, for the whole answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

from graphql import GraphQLObjectType, get_named_type

from auth.roles import Role
from schema.sdl import build_schema
from tests import breaking
from tests.asking import EVERYTHING, MUTATIONS, OTHER_MUTATIONS
from tests.client import Client
from tests.people import ENTRIES, INPUTS, RIGHTS, WHOLE
from tests.postbox import planted

__all__ = ["ALL", "Situation", "situation"]

ALL: tuple[str, ...] = (*MUTATIONS, *OTHER_MUTATIONS)
"""Every mutation of the schema."""

_ROLES = {
    "confidential:set": Role.PRIVACY_OFFICER,
    "patient:restrict": Role.PRIVACY_OFFICER,
    "message:resolve": Role.CLINICIAN,
    "contact:attest": Role.CLINICIAN,
}


@dataclass(frozen=True)
class Situation:
    """A mutation that somebody may make now. `patient` is whom it is about, where there is such a record already."""

    query: str
    role: Role
    input: dict[str, Any]
    patient: str | None

    async def ask(self, served: Client, **more: Any) -> dict[str, Any]:
        """The answer to it."""
        answer: dict[str, Any] = (await served.ask(self.query, self.role, variables={"i": self.input}, **more)).json()
        return answer

    async def watched(self, served: Client, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The answer, and the leaves that it left."""
        answer, leaves = await served.watched(self.query, self.role, variables={"i": self.input}, **more)
        return answer.json(), leaves


async def situation(served: Client, mutation: str) -> Situation:
    """A situation for one mutation, with a patient of its own. KeyError for a mutation that is not known here."""
    patient = None if mutation == "registerPatient" else await _person(served)
    if mutation in MUTATIONS and mutation not in _OTHERS:
        return await _change(served, mutation, patient)
    role, given = await _OTHERS[mutation](served, str(patient))
    return Situation(_query(mutation), role, given, patient)


async def _person(served: Client) -> str:
    return str((await served.house.register({**WHOLE, "identifiers": []}))["id"])


async def _change(served: Client, mutation: str, patient: str | None) -> Situation:
    given: dict[str, Any] = {**INPUTS[mutation]}
    if patient is not None:
        given |= {"patientId": patient, "expectedVersion": 1}
        if mutation == "confirmContactVerification":
            await planted(served.house, patient, INPUTS[mutation]["code"])
        if mutation in ENTRIES:
            member, field = ENTRIES[mutation]
            given[member] = await _first(served, patient, field)
    return Situation(_query(mutation), _ROLES.get(RIGHTS[mutation][0], Role.INTEGRATION), given, patient)


async def _first(served: Client, patient: str, field: str, place: int = 0) -> str:
    query = f'{{ patient(id: "{patient}") {{ {field} {{ id }} }} }}'
    found = await served.data(query, Role.PRIVACY_OFFICER)
    return str(found["patient"][field][place]["id"])


_Asked = tuple[Role, dict[str, Any]]


async def _message(_: Client, __: str) -> _Asked:
    number = WHOLE["contact_points"][0]["value"]
    return Role.INTEGRATION, {"messageId": uuid4().hex, "from": number, "channel": "SMS", "text": "STOP"}


async def _code(served: Client, _: str) -> _Asked:
    # Whoever asked to be reached in one place alone gets no codes anywhere else.
    reached = {
        name: value for name, value in WHOLE.items() if name not in {"identifiers", "confidential_communication"}
    }
    patient = str((await served.house.register(reached))["id"])
    return Role.FRONT_DESK, {"patientId": patient, "contactPointId": await _first(served, patient, "contactPoints", 1)}


async def _report(served: Client, patient: str) -> _Asked:
    point = await _first(served, patient, "contactPoints")
    return Role.MESSAGING, {"patientId": patient, "contactPointId": point, "delivered": False}


async def _erasure(_: Client, patient: str) -> _Asked:
    return Role.PRIVACY_OFFICER, {"patientId": patient, "expectedVersion": 1, "reason": "PATIENT_REQUEST"}


async def _hold(_: Client, patient: str) -> _Asked:
    return Role.PRIVACY_OFFICER, {"patientId": patient, "reason": "LITIGATION"}


async def _lifting(served: Client, patient: str) -> _Asked:
    _, given = await _hold(served, patient)
    placed = await served.data(_query("placeLegalHold"), Role.PRIVACY_OFFICER, variables={"i": given})
    return Role.PRIVACY_OFFICER, {"patientId": patient, "holdId": placed["placeLegalHold"]["id"]}


async def _grant(_: Client, patient: str) -> _Asked:
    return Role.CLINICIAN, {"patientId": patient, "reason": "EMERGENCY_TREATMENT", "text": breaking.WORDS}


async def _verdict(served: Client, patient: str) -> _Asked:
    grant = await breaking.request(served, patient)
    return Role.PRIVACY_OFFICER, {"grantId": grant["id"], "verdict": "JUSTIFIED", "note": "Looked at it with the ward."}


async def _merging(served: Client, _: str) -> _Asked:
    ids = [str((await served.house.register({"preferred_name": name}))["id"]) for name in ("Kit", "Kitty")]
    given = {"patientId": ids[0], "expectedVersion": 1, "duplicateId": ids[1], "duplicateVersion": 1}
    return Role.PRIVACY_OFFICER, {**given, "reason": "REGISTERED_TWICE"}


async def _parting(served: Client, patient: str) -> _Asked:
    role, given = await _merging(served, patient)
    done = await served.data(_query("mergePatients"), role, variables={"i": given})
    given |= {"expectedVersion": done["mergePatients"]["version"], "reason": "TWO_PEOPLE"}
    return role, {name: value for name, value in given.items() if name != "duplicateVersion"}


async def _pair(served: Client, patient: str) -> _Asked:
    alike = await _person(served)
    return Role.PRIVACY_OFFICER, {"patientId": patient, "otherId": alike, "verdict": "NOT_DUPLICATE"}


_OTHERS: dict[str, Callable[[Client, str], Awaitable[_Asked]]] = {
    "recordInboundMessage": _message,
    "startContactVerification": _code,
    "reportDelivery": _report,
    "erasePatient": _erasure,
    "placeLegalHold": _hold,
    "liftLegalHold": _lifting,
    "requestBreakGlass": _grant,
    "reviewBreakGlass": _verdict,
    "mergePatients": _merging,
    "unmergePatients": _parting,
    "reviewDuplicate": _pair,
}


@cache
def _query(mutation: str) -> str:
    kind = build_schema().mutation_type
    assert kind is not None
    answer = get_named_type(kind.fields[mutation].type)
    body = EVERYTHING if answer.name == "Patient" else _whole(answer)
    name = get_named_type(kind.fields[mutation].args["input"].type).name
    return f"mutation Again($i: {name}!) {{ {mutation}(input: $i) {{ {body} }} }}"


def _whole(kind: Any) -> str:
    """Everything below a type, but for patients."""
    assert isinstance(kind, GraphQLObjectType)
    parts = []
    for name, field in kind.fields.items():
        below = get_named_type(field.type)
        if isinstance(below, GraphQLObjectType):
            parts.append(f"{name} {{ id }}" if below.name == "Patient" else f"{name} {{ {_whole(below)} }}")
        else:
            parts.append(name)
    return " ".join(parts)
