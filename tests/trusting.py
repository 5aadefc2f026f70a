"""Requests that name documents, and a list of trusted ones to find them on."""

from typing import Any
from uuid import uuid4

import httpx

from auth.roles import Role
from crm.services.documents import TrustedDocuments, digest
from tests.client import Client
from tests.house import now

CARD = "query Card($id: ID!) { patient(id: $id) { id displayName } }"
"""A document of a client."""


def named(text: str, **variables: Any) -> dict[str, Any]:
    """A request that names a document and does not send it."""
    return {"documentId": f"sha256:{digest(text)}", "variables": variables}


def in_apollos_way(text: str, *, sent: bool = False, **variables: Any) -> dict[str, Any]:
    """A request as Apollo's clients write it: first with the name alone, then with the text as well."""
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": digest(text)}}
    return {"variables": variables, "extensions": extensions} | ({"query": text} if sent else {})


async def registered(it: Client, *texts: str, client: str = "web") -> None:
    """Puts documents on the list, as a process of its own does it."""
    elsewhere = TrustedDocuments(it.house.database, now)
    await elsewhere.register(client, dict.fromkeys(texts, "Test"), "account:tests")


async def retired(it: Client, text: str, *, client: str = "web") -> None:
    """Takes a document off the list, as a process of its own does it."""
    await TrustedDocuments(it.house.database, now).retire(client, [digest(text)], "account:tests")


async def posted(
    it: Client,
    body: dict[str, Any],
    role: Role | None = Role.FRONT_DESK,
    *,
    accept: str = "application/json",
    **who: Any,
) -> httpx.Response:
    """The answer to one body; `role=None` asks as nobody."""
    headers = {"accept": accept, "x-request-id": who.pop("request_id", uuid4().hex)}
    if role is not None:
        headers["authorization"] = f"Bearer {it.token(role, **who)}"
    return await it.http.post("/graphql", json=body, headers=headers)


async def watched(
    it: Client, body: dict[str, Any], role: Role = Role.FRONT_DESK, **who: Any
) -> tuple[httpx.Response, list[dict[str, Any]]]:
    """The answer to one body, and the leaves that this one request left in its organisation's log."""
    request_id = uuid4().hex
    answer = await posted(it, body, role, request_id=request_id, **who)
    return answer, await it.house.leaves(request=request_id)


def told(answer: httpx.Response) -> list[str]:
    """The error codes of an answer."""
    return [error["extensions"]["code"] for error in answer.json().get("errors", [])]
