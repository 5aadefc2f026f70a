"""Two records of one person, and how tests merge them and undo it."""

from typing import Any

import httpx

from auth.purposes import Purpose
from auth.roles import Role
from tests.client import Client
from tests.house import REQUEST, actor

__all__ = ["ADA", "ADELE", "MERGE", "UNMERGE", "merge", "pair", "undo", "version_of"]

MERGE = """mutation Merge($input: MergePatientsInput!) {
  mergePatients(input: $input) { id version displayName supersededIds }
}"""
UNMERGE = """mutation Unmerge($input: UnmergePatientsInput!) {
  unmergePatients(input: $input) { id version supersededIds }
}"""

ADA: dict[str, Any] = {
    "preferred_name": "Ada",
    "names": [{"use": "OFFICIAL", "family": "Nwosu", "given": ["Adaeze"]}],
    "birth_date": "1971-02-03",
    "identifiers": [{"system": "urn:example:hospital-number", "value": "H-501"}],
    "contact_points": [
        {"system": "PHONE", "value": "+447700900501", "use": "MOBILE", "rank": 1},
        {"system": "EMAIL", "value": "ada@example.test", "rank": 2},
    ],
    "languages": [{"tag": "ig", "modes": ["SPOKEN"], "rank": 1}],
    "access_needs": [{"kind": "HEARING_LOOP"}],
}
"""The record that stays, in these tests."""

ADELE: dict[str, Any] = {
    "names": [{"use": "USUAL", "family": "Nwosu", "given": ["Adele"]}],
    "birth_date": "1971-02-03",
    "identifiers": [{"system": "urn:example:clinic-number", "value": "C-77"}],
    "contact_points": [
        {"system": "PHONE", "value": "+447700900501", "use": "MOBILE", "text_permitted": "NO"},
        {"system": "PHONE", "value": "+447700900502", "use": "HOME", "rank": 1},
    ],
    "languages": [{"tag": "en", "modes": ["WRITTEN"], "rank": 1}],
    "access_needs": [{"kind": "HEARING_LOOP"}, {"kind": "STEP_FREE_ACCESS"}],
    "accessible_formats": ["LARGE_PRINT"],
}
"""The same person, registered a second time."""


async def pair(served: Client, one: dict[str, Any] | None = None, other: dict[str, Any] | None = None) -> list[str]:
    """The ids of two new records: Ada and Adele, unless others are given. The first one is the newer."""
    duplicate, survivor = [(await served.house.register(values))["id"] for values in (other or ADELE, one or ADA)]
    return [survivor, duplicate]


async def version_of(served: Client, patient_id: str) -> int:
    """The version that stands under this id, looked at by a program that may see everything."""
    profiles = served.house.services.profiles
    who = actor(Role.INTEGRATION, purpose=Purpose.RECORDMGT)
    version: int = (await profiles.read(who, REQUEST, patient_id, frozenset({"displayName"})))["version"]
    return version


async def merge(
    served: Client, survivor: str, duplicate: str, role: Role | None = Role.FRONT_DESK, **more: Any
) -> httpx.Response:
    """The answer to a merge of these two as they are now; `more` are members of the input, or who asks."""
    given: dict[str, Any] = {"patientId": survivor, "duplicateId": duplicate, "reason": "REVIEWED"}
    given |= {"expectedVersion": await version_of(served, survivor)}
    given |= {"duplicateVersion": await version_of(served, duplicate)}
    given |= more.pop("given", {})
    return await served.ask(MERGE, role, variables={"input": given}, **more)


async def undo(
    served: Client, survivor: str, duplicate: str, role: Role | None = Role.FRONT_DESK, **more: Any
) -> httpx.Response:
    """The answer to the end of a merge of these two."""
    given: dict[str, Any] = {"patientId": survivor, "duplicateId": duplicate, "reason": "TWO_PEOPLE"}
    given |= {"expectedVersion": await version_of(served, survivor)} | more.pop("given", {})
    return await served.ask(UNMERGE, role, variables={"input": given}, **more)
