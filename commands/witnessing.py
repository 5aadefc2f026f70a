"""A witness as a process: `POST /add-checkpoint` (C2SP tlog-witness) and `GET /checkpoint/<origin>` over HTTP.

`GET /checkpoint/<origin, percent-encoded>` answers the newest checkpoint of a log with the witness's cosignature, as a
signed note; 404 where it has none. The specification leaves open how a witness tells what it saw: this is our own.
"""

import asyncio
import sys
import time
from asyncio import BaseTransport
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from commands.protocol import BoundedHttp
from commands.witness import MOST_OCTETS, Answer, Witness, folder
from crm.errors import Unsafe

__all__ = ["MOST_OF_ONE", "WitnessHttp", "caller", "configuration", "key", "serve"]

BODY_SECONDS = 5.0
"""Within which a request's body must have come."""

MOST_CONNECTIONS = 256
MOST_OF_ONE = 16
"""Connections at once: altogether, and from one address. A gateway in front has one address, and bounds of its own."""


def key(state: Path, name: str | None) -> str:
    """The witness's verifier key, for `HEED_WITNESSES`; made now where there is none yet. Raises Unsafe."""
    with folder(state, name) as cosigner:
        return cosigner.verifier_key


def serve(listen: str, state: Path, logs: Sequence[str], name: str | None) -> None:
    """Serves on `HOST:PORT` until SIGINT or SIGTERM. Raises Unsafe before anybody is answered."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise Unsafe("--listen is HOST:PORT, such as 127.0.0.1:8100")
    if not logs:
        raise Unsafe("a witness needs at least one log: state --log, with what `audit checkpoint` prints")
    with folder(state, name) as cosigner:
        witness = Witness(state, cosigner, logs, lambda: int(time.time()))
        print(f"witness {cosigner.name} answers at {listen}", file=sys.stderr, flush=True)
        uvicorn.Server(configuration(witness, host.strip("[]"), int(port))).run()


class WitnessHttp(BoundedHttp):
    """HTTP with bounds on what anybody may hold open: connections are few, and one caller may not take them all."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Counts who is there; closes at once what is one too many of one address."""
        super().connection_made(transport)
        ours = caller(self.client)
        if (
            sum(isinstance(each, WitnessHttp) and caller(each.client) == ours for each in self.connections)
            > MOST_OF_ONE
        ):
            transport.close()


def caller(client: tuple[str, int] | None) -> str:
    """The address of a caller; of IPv6 the network, since whoever has one address there has them all."""
    if client is None:
        return ""
    address = ip_address(client[0].partition("%")[0])
    return str(address if address.version == 4 else ip_network((address, 64), strict=False))


def configuration(witness: Witness, host: str, port: int) -> uvicorn.Config:
    """How a witness is served."""
    return uvicorn.Config(
        _application(witness),
        host=host,
        port=port,
        http=WitnessHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
    )


def _application(witness: Witness) -> Starlette:
    """The HTTP side of a witness."""

    async def add(request: Request) -> Response:
        try:
            body = await asyncio.wait_for(_body(request), BODY_SECONDS)
        except (TimeoutError, ClientDisconnect):
            return _answer(Answer(400, "the request did not come to its end\n"))
        if body is None:
            return _answer(Answer(413, "the request is too large\n"))
        return _answer(await asyncio.to_thread(witness.add, body))

    async def latest(request: Request) -> Response:
        note = await asyncio.to_thread(witness.latest, request.path_params["origin"])
        return _answer(Answer(404, "nothing was seen of this log\n") if note is None else Answer(200, note))

    async def alive(_: Request) -> Response:
        return _answer(Answer(200, "alive\n"))

    routes = [
        Route("/add-checkpoint", add, methods=["POST"]),
        Route("/checkpoint/{origin:path}", latest, methods=["GET"]),
        Route("/healthz", alive, methods=["GET"]),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


async def _body(request: Request) -> bytes | None:
    """The whole body; None for one that is too large, of which no more than that is held."""
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > MOST_OCTETS:
            return None
    return bytes(parts)


def _answer(answer: Answer) -> Response:
    headers = {"content-type": answer.media_type, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(answer.text, answer.status, headers)
