"""Following changes as a client does: the operations, and short ways to change somebody and to find a position."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from auth.roles import Role
from tests.client import Client
from tests.following import Follower, following
from tests.house import ORG, REQUEST, actor

__all__ = ["CHANGES", "FOLLOW", "SINCE", "change", "followed", "newest", "since"]

_CHANGE = "id version changedFields kind position changedAt"
FOLLOW = f"""subscription Follow($ids: [ID!], $after: String) {{
  profileChanged(patientIds: $ids, after: $after) {{ {_CHANGE} }} }}"""
CHANGES = f"""query Changes($first: Int, $after: String) {{
  recordChanges(first: $first, after: $after) {{
    edges {{ node {{ {_CHANGE} }} cursor }} pageInfo {{ hasNextPage endCursor }} newest }} }}"""
SINCE = """query Since($known: [KnownRecord!]!) {
  changedSince(known: $known) {
    ... on ChangedRecord { id version changedFields } ... on Refusal { id code } } }"""


async def change(it: Client, patient_id: str, version: int, org: str = ORG, **values: Any) -> None:
    """Changes a record, by somebody who may change all of it."""
    clerk = actor(Role.INTEGRATION, org=org, subject="clerk")
    await it.house.services.changes.update(clerk, REQUEST, patient_id, version, values, frozenset())


async def newest(it: Client, org: str = ORG) -> str:
    """The position of the newest change of all."""
    found = await it.data("{ recordChanges(first: 1) { newest } }", Role.INTEGRATION, org=org, subject="where")
    position: str = found["recordChanges"]["newest"]
    return position


async def since(it: Client, known: Mapping[str, int], role: Role = Role.FRONT_DESK, **who: Any) -> list[dict[str, Any]]:
    """What `changedSince` answers about records that are known in a version."""
    variables = {"known": [{"id": name, "version": version} for name, version in known.items()]}
    found: list[dict[str, Any]] = (await it.data(SINCE, role, variables=variables, **who))["changedSince"]
    return found


def followed(
    it: Client, role: Role, ids: list[str] | None, after: str | None, **who: Any
) -> AbstractAsyncContextManager[Follower]:
    """A subscription to the changes of these patients, or of all, behind a position."""
    return following(it, FOLLOW, role, {"ids": ids, "after": after}, **who)
