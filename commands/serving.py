"""The server process: the ASGI application over an opened house, and uvicorn around it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from commands.house import House, house, verifier
from crm.errors import Unsafe
from crm.services import Services
from crm.settings import Environment, Settings
from schema.app import create_app
from schema.settings import Limits
from schema.settings import Settings as Transport

GRACE = 10
"""Seconds that requests in flight get to finish when the server is told to stop."""


def transport(settings: Settings) -> Transport:
    """The part of the settings that the transport needs."""
    development = settings.env is Environment.DEVELOPMENT
    return Transport(
        development=development,
        open_introspection=settings.open_introspection or development,
        graphql_get=settings.graphql_get,
        deadline=settings.request_deadline,
        body=settings.request_bytes,
        in_flight=settings.request_concurrency,
        limits=replace(Limits(), **settings.limits()),
    )


class _Tenant:
    """The use cases of a house that opens when the application's lifespan begins."""

    def __init__(self) -> None:
        self.house: House | None = None

    def _services(self) -> Services:
        if self.house is None:
            raise RuntimeError("the application was asked before its lifespan began")
        return self.house.services

    profiles = property(lambda self: self._services().profiles)
    changes = property(lambda self: self._services().changes)
    access_log = property(lambda self: self._services().access_log)


def application(settings: Settings, opened: Callable[[House], None] = lambda _: None) -> Starlette:
    """The ASGI application; its house opens and closes with its lifespan. `opened` is told when it is ready to serve."""
    tokens = verifier(settings)
    tenant = _Tenant()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with house(settings) as it:
            tenant.house = it
            await tokens.refresh()
            refreshing = asyncio.create_task(tokens.keep_fresh(settings.jwks_refresh), name="issuer keys")
            opened(it)
            try:
                yield
            finally:
                refreshing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await refreshing

    async def readiness() -> Mapping[str, bool]:
        ready = await tenant.house.ready() if tenant.house else {}
        return {**ready, "issuers": tokens.ready}

    return create_app(tenant, tokens, transport(settings), readiness, lifespan=lifespan)


def serve(settings: Settings, *, workers: int = 1, opened: Callable[[House], None] = lambda _: None) -> None:
    """Serves until SIGINT or SIGTERM; what is in flight then gets `GRACE` seconds.

    Raises `Unsafe` before the port is opened when something is not in order.
    """
    asyncio.run(_rehearse(settings))
    with _listening(settings.host, settings.port) as listener:
        if workers == 1:
            _work(settings, opened, [listener])
        else:
            config = _config(settings, "commands.serving:application", workers)
            Multiprocess(config, partial(_work, settings, opened), [listener]).run()


async def _rehearse(settings: Settings) -> None:
    """Opens the house once, so that a refusal is one clear line instead of a dying worker."""
    async with house(settings):
        verifier(settings)


def _work(settings: Settings, opened: Callable[[House], None], sockets: list[socket.socket] | None = None) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(_config(settings, application(settings, opened))).run(sockets)


def _config(settings: Settings, app: Starlette | str, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        workers=workers,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_level=settings.log_level.value,
        access_log=False,  # addresses and query strings are the audit log's business, which keeps no values
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=16_384,
    )


def _listening(host: str, port: int) -> socket.socket:
    """A bound socket that worker processes may share. Raises `Unsafe` when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Unsafe(f"cannot listen on {host} port {port}: {error.strerror}") from None
    listener.set_inheritable(True)
    return listener
