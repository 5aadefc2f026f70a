"""What tests of consent directives ask: the mutation, what it answers, and the history of a patient."""

from typing import Any

from auth.roles import Role
from tests.asking import question, whole
from tests.client import Client

__all__ = ["HISTORY", "RECORD", "history", "record"]

HISTORY = whole("consents")
"""Every member of every directive."""

RECORD = f"mutation($input: RecordConsentInput!) {{ recordConsent(input: $input) {{ version {HISTORY} }} }}"


async def record(
    served: Client, patient_id: str, version: int, decision: str = "DENY", *, role: Role = Role.FRONT_DESK, **said: Any
) -> dict[str, Any]:
    """The record after a directive that must be taken."""
    variables = {"input": {"patientId": patient_id, "expectedVersion": version, "decision": decision, **said}}
    bound = patient_id if role is Role.PATIENT else None
    found = await served.data(RECORD, role, variables=variables, patient=bound)
    answered: dict[str, Any] = found["recordConsent"]
    return answered


async def history(served: Client, patient_id: str) -> list[dict[str, Any]]:
    """The directives of a patient, as whoever moves whole records reads them."""
    found = await served.data(question(HISTORY), Role.INTEGRATION, variables={"id": patient_id})
    return found["patient"]["consents"] or []
