"""An application, or a whole service, that listens in the test's process, on a socket of its own, as `serve` has it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from auth.development import DevelopmentIssuer
from auth.issuers import IssuerKeys
from auth.roles import Role
from auth.tokens import TokenVerifier
from commands.serving import _config
from crm.delivery.bell import Bell
from crm.delivery.revocations import learning
from schema.app import create_app
from schema.settings import Settings
from tests.house import ORG, House, house


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[str]:
    """The address of `app`, such as http://127.0.0.1:40123, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:  # who connects before the server runs waits for it
        server = uvicorn.Server(_config(cast(Starlette, app)))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@dataclass(frozen=True)
class Reachable:
    """A whole service that listens: the `address` of its GraphQL endpoint, and the house behind it."""

    address: str
    house: House
    issuer: DevelopmentIssuer

    def token(self, role: Role, subject: str, *, org: str = ORG, ttl: int = 900) -> str:
        """A signed token of `role`, good for `ttl` seconds."""
        return self.issuer.sign(role, subject, org=org, ttl=ttl)


@asynccontextmanager
async def reachable(url: str, folder: Path, settings: Settings | None = None) -> AsyncIterator[Reachable]:
    """A service on the migrated database at `url`, for clients that speak real HTTP. It tells of changes, too."""
    issuer = DevelopmentIssuer(folder)
    async with house(url, folder, live=True) as it, learning(Bell(it.database, url), it.services.revocations):
        verifier = TokenVerifier([IssuerKeys(issuer.issuer, development=True)], it.services.revocations.revoked)

        async def ready() -> dict[str, bool]:
            return {"log": it.log.healthy}

        app = create_app(it.services, verifier, settings or Settings(), ready)
        it.services.revocations.told = app.state.streams.look
        async with listening(app) as address:
            yield Reachable(f"{address}/graphql", it, issuer)
