"""A client of the whole service in one process: real ASGI application, real tokens, real database, no sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from starlette.types import ASGIApp

from auth.development import DevelopmentIssuer
from auth.issuers import IssuerKeys
from auth.purposes import Purpose
from auth.roles import Role
from auth.tokens import TokenVerifier
from schema.app import create_app
from schema.settings import Settings
from tests.house import ORG, House, house


@dataclass(frozen=True)
class Client:
    """Asks as whoever is needed."""

    http: httpx.AsyncClient
    issuer: DevelopmentIssuer
    house: House
    app: ASGIApp

    def token(
        self,
        role: Role,
        *,
        org: str = ORG,
        purpose: Purpose | None = None,
        patient: str | None = None,
        subject: str | None = None,
    ) -> str:
        """A signed token of `role`."""
        return self.issuer.sign(role, subject or f"{role.value}-1", org=org, purpose=purpose, patient=patient)

    async def ask(
        self,
        query: str,
        role: Role | None = Role.FRONT_DESK,
        *,
        variables: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        **who: Any,
    ) -> httpx.Response:
        """The raw answer to one operation; `role=None` asks as nobody."""
        sent = {"accept": "application/json", **(headers or {})}
        if role is not None:
            sent["authorization"] = f"Bearer {self.token(role, **who)}"
        body = {"query": query, "variables": variables or {}}
        return await self.http.post("/graphql", json=body, headers=sent)

    async def data(self, query: str, role: Role = Role.FRONT_DESK, **more: Any) -> dict[str, Any]:
        """The data of an answer that must have no errors."""
        answer = (await self.ask(query, role, **more)).json()
        assert "errors" not in answer, answer
        found: dict[str, Any] = answer["data"]
        return found

    async def watched(
        self, query: str, role: Role | None = Role.FRONT_DESK, *, log: str = ORG, **more: Any
    ) -> tuple[httpx.Response, list[dict[str, Any]]]:
        """The raw answer, and the leaves that this one request left in the log of the organisation `log`."""
        request_id = uuid4().hex
        headers = {**more.pop("headers", {}), "x-request-id": request_id}
        answer = await self.ask(query, role, headers=headers, **more)
        return answer, await self.house.leaves(org=log, request=request_id)

    async def codes(self, query: str, role: Role | None = Role.FRONT_DESK, **more: Any) -> list[str]:
        """The error codes of an answer."""
        answer = (await self.ask(query, role, **more)).json()
        return [error["extensions"]["code"] for error in answer.get("errors", [])]


@asynccontextmanager
async def client(url: str, folder: Path, settings: Settings | None = None, **parts: Any) -> AsyncIterator[Client]:
    """A client of a service on the migrated database at `url`; `parts` as `tests.house.house` takes them."""
    issuer = DevelopmentIssuer(folder)
    verifier = TokenVerifier([IssuerKeys(issuer.issuer, development=True)])
    async with house(url, folder, **parts) as it:

        async def ready() -> dict[str, bool]:
            return {"log": it.log.healthy}

        app = create_app(it.services, verifier, settings or Settings(), ready)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://heed.test") as http:
            yield Client(http, issuer, it, app)
