"""Break-glass as a client asks for it: the operations, and somebody restricted to ask about."""

from typing import Any

from auth.purposes import Purpose
from auth.roles import Role
from tests.client import Client
from tests.people import WHOLE

__all__ = [
    "GRANTS",
    "LOOK",
    "PARTS",
    "REQUEST",
    "REVIEW",
    "WORDS",
    "looked",
    "queue",
    "request",
    "restricted",
    "review",
]

WORDS = "Found unconscious, next of kin unknown."
PARTS = (
    "id patientId reason text note requestedBy requestedAt expiresAt openings reviewedBy reviewedAt verdict ageMinutes "
    "overdue"
)
REQUEST = f"mutation Q($i: RequestBreakGlassInput!) {{ requestBreakGlass(input: $i) {{ {PARTS} }} }}"
REVIEW = f"mutation Q($i: ReviewBreakGlassInput!) {{ reviewBreakGlass(input: $i) {{ {PARTS} }} }}"
GRANTS = f"""query Q($reviewed: Boolean, $first: Int, $after: String) {{
  breakGlassGrants(reviewed: $reviewed, first: $first, after: $after) {{
    edges {{ node {{ {PARTS} }} }} pageInfo {{ hasNextPage endCursor }} }} }}"""
LOOK = "query Look($id: ID!) { patient(id: $id) { restricted displayName contactPoints { value } } }"


async def restricted(served: Client, org: str = "north-clinic") -> str:
    """The id of somebody with a value in every field, restricted."""
    return await served.house.store({**WHOLE, "restricted": True}, org=org)


async def request(served: Client, patient_id: str, role: Role = Role.CLINICIAN, **more: Any) -> dict[str, Any]:
    """A new grant; `more` overrides the input, and says who asks."""
    given = {"patientId": patient_id, "reason": "EMERGENCY_TREATMENT", "text": WORDS}
    given |= {name: more.pop(name) for name in ("reason", "text", "minutes") if name in more}
    found = await served.data(REQUEST, role, variables={"i": given}, **more)
    return dict(found["requestBreakGlass"])


async def review(
    served: Client, grant_id: str, verdict: str = "JUSTIFIED", note: str | None = None, **who: Any
) -> dict[str, Any]:
    """The grant after its review by a privacy officer."""
    given = {"grantId": grant_id, "verdict": verdict, **({"note": note} if note else {})}
    found = await served.data(REVIEW, who.pop("role", Role.PRIVACY_OFFICER), variables={"i": given}, **who)
    return dict(found["reviewBreakGlass"])


async def queue(served: Client, *, reviewed: bool = False, **who: Any) -> list[dict[str, Any]]:
    """Every grant that waits for a review, or every one that had one, page by page."""
    nodes: list[dict[str, Any]] = []
    after = None
    while True:
        asked = {"reviewed": reviewed, "first": 100, "after": after}
        page = (await served.data(GRANTS, who.get("role", Role.PRIVACY_OFFICER), variables=asked, **who))[
            "breakGlassGrants"
        ]
        nodes += [edge["node"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            return nodes
        after = page["pageInfo"]["endCursor"]


async def looked(served: Client, patient_id: str, **who: Any) -> Any:
    """The answer and the leaves of a look under break-glass."""
    given = {"role": Role.CLINICIAN, "purpose": Purpose.BTG, **who}
    return await served.watched(LOOK, given.pop("role"), variables={"id": patient_id}, **given)
