"""The clients of docs/contact-decisions.md, run as they stand there against a service that listens on a socket."""

import asyncio
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from auth.development import DevelopmentIssuer
from auth.issuers import IssuerKeys
from auth.roles import Role
from auth.tokens import TokenVerifier
from schema.app import create_app
from schema.errors import Code, Problem
from schema.settings import Settings
from tests.conftest import Databases
from tests.deciding import ANN, directive
from tests.house import ORG, House, house

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contact-decisions.md"
NODE = shutil.which("node")
NOBODY = "0199c0de-0000-7000-8000-000000000001"


def example(language: str) -> str:
    """The one program of the page in this language."""
    [text] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return str(text)


def busy_at_first(app: ASGIApp) -> ASGIApp:
    """The service behind somebody who answers the first request as it does when it cannot answer now."""
    problem = Problem(Code.OVERLOADED, "The server has too much to do.", {"retryAfter": 0})
    first: list[ASGIApp] = [JSONResponse({"errors": [problem.as_json()]}, 503)]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await (first.pop() if first else app)(scope, receive, send)

    return answer


@asynccontextmanager
async def listening(url: str, folder: Path) -> AsyncIterator[tuple[House, str, str]]:
    """A service on a port of its own: the house, its address, and a token of a sender."""
    issuer = DevelopmentIssuer(folder)
    verifier = TokenVerifier([IssuerKeys(issuer.issuer, development=True)])

    async def ready() -> dict[str, bool]:
        return {"log": True}

    async with house(url, folder) as it:
        app = create_app(it.services, verifier, Settings(), ready)
        listener = socket.create_server(("127.0.0.1", 0))  # who connects before the server runs waits for it
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(busy_at_first(app), log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield it, f"http://127.0.0.1:{port}/graphql", issuer.sign(Role.MESSAGING, "sender", org=ORG)
        server.should_exit = True
        await serving


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_the_client_of_the_page(language: str, databases: Databases, tmp_path: Path) -> None:
    """It asks a busy service again, sends to who may be reached, puts off who wants another hour, and leaves others."""
    if language == "javascript" and NODE is None:
        pytest.skip("no Node.js here")
    url = databases.create("sqlite")
    program = tmp_path / ("client.py" if language == "python" else "client.mjs")
    program.write_text(example(language), encoding="utf-8")
    runner = sys.executable if language == "python" else str(NODE)
    async with listening(url, tmp_path / "house") as (it, address, token):
        later = datetime.now(UTC) + timedelta(hours=2)
        window = {"days": ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"], "time_zone": "UTC",
                  "from": f"{later:%H}:00", "to": f"{later + timedelta(hours=1):%H}:00"}  # fmt: skip
        ann = await it.store(ANN)
        opted_out = await it.store({**ANN, "consents": [directive("DENY")]})
        waits = await it.store({**ANN, "contact_windows": [window]})
        process = await asyncio.create_subprocess_exec(
            runner, str(program), ann, opted_out, waits, NOBODY,
            env={**os.environ, "CLINIC_URL": address, "CLINIC_TOKEN": token}, stdout=-1, stderr=-1,
        )  # fmt: skip
        said, complained = await process.communicate()
    databases.drop(url)
    assert (process.returncode, complained.decode()) == (0, "")
    lines = said.decode().splitlines()
    assert lines[0] == f"send {ann} EMAIL nl LARGE_PRINT"
    assert lines[1] == f"leave {opted_out} DENY OPTED_OUT"
    assert re.fullmatch(rf"wait {waits} \S+Z", lines[2])
    assert lines[3:] == [f"leave {NOBODY} NOT_FOUND"]
