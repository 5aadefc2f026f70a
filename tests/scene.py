"""A service and somebody in its database: what the attacks by SQL share, and what must come of them."""

from dataclasses import dataclass

from auth.roles import Role
from tests.asking import EVERYTHING, question
from tests.client import Client
from tests.intruder import Intruder
from tests.people import WHOLE

__all__ = ["Scene"]

SECRETS = ("Zoe", "Wanjiru", "447700", "Quay", "Ring", "New", "ze/zir", "Quietist", "spring", "Nairobi")
"""Parts of what the people of a scene have in their sealed fields."""


@dataclass(frozen=True)
class Scene:
    """A service, an intruder in its database, and how to make somebody with a value in every field."""

    it: Client
    intruder: Intruder

    async def person(self, org: str = "north-clinic") -> str:
        """The id of a fresh patient."""
        return str((await self.it.house.register(WHOLE, org=org))["id"])

    async def change(self, patient_id: str, version: int) -> None:
        """A change of the service's own, in every class but one."""
        query = """mutation C($id: ID!, $version: Int) {
          a: updatePreferences(input: {patientId: $id, expectedVersion: $version, instructions: "New.",
            pronouns: "ze/zir", preferredName: "Neu"}) { version } }"""
        await self.it.data(query, Role.INTEGRATION, variables={"id": patient_id, "version": version})

    async def refused(self, patient_id: str, selection: str = EVERYTHING) -> None:
        """Every way to the record ends in an incident; the attempt is on record as an error; the record stays."""
        stored = "SELECT version, updated_at FROM patient WHERE id = ?"
        before = await self.intruder.run(stored, patient_id)
        queries = (
            question(selection),
            f"query B($id: ID!) {{ patients(ids: [$id]) {{ ... on Patient {{ {selection} }} }} }}",
            f"""mutation C($id: ID!) {{ updatePreferences(input: {{
              patientId: $id, expectedVersion: {before[0][0]}, timeZone: "UTC", pronouns: "no", preferredName: "No"
            }}) {{ {selection} }} }}""",
        )
        for query in queries:
            await self.incident(query, patient_id)
        assert await self.intruder.run(stored, patient_id) == before

    async def incident(self, query: str, patient_id: str, role: Role = Role.INTEGRATION) -> None:
        """One question about the patient, answered by an incident and recorded as an error, without any value."""
        answer, [leaf] = await self.it.watched(query, role, variables={"id": patient_id})
        [error] = answer.json()["errors"]
        assert error["extensions"].keys() == {"code", "incident"}
        assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert not any((answer.json()["data"] or {}).values())
        assert not any(secret in answer.text for secret in SECRETS)
        assert (leaf["out"], leaf["why"], "pat" in leaf, "fld" in leaf) == ("error", "TAMPERED", True, False)

    async def whole_again(self, patient_id: str) -> None:
        """The control: with everything in its place, the record is answered."""
        found = await self.it.data(question(EVERYTHING), Role.INTEGRATION, variables={"id": patient_id})
        assert found["patient"]["id"] == patient_id
        assert found["patient"]["timeZone"]
