"""The ASGI application: GraphQL, health, readiness and metrics at their addresses. Composes this room, nothing else."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
from graphql import GraphQLSchema
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from crm.domain.gateways import Gateway
from schema import graphiql
from schema.callers import Callers
from schema.context import Services, Verifier
from schema.execution import Engine
from schema.feed_metrics import FeedState
from schema.hooks import MessageHook
from schema.http import GraphQLEndpoint
from schema.metrics import CONTENT_TYPE, Logs, Metrics
from schema.places import Places
from schema.sdl import build_schema
from schema.settings import Settings
from schema.streams import Streams
from schema.webhook_metrics import Hooks
from schema.websocket import WebSocketEndpoint

__all__ = ["Lifespan", "Readiness", "create_app"]

Readiness = Callable[[], Awaitable[Mapping[str, bool]]]
"""Tells for each thing the service depends on (database, keys, log) whether it is ready."""

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def create_app(
    services: Services,
    verifier: Verifier,
    settings: Settings,
    readiness: Readiness,
    *,
    lifespan: Lifespan | None = None,
    logs: Logs = lambda: (),
    gateways: Sequence[Gateway] = (),
    hooks: Hooks | None = None,
    feed: FeedState | None = None,
    schema: GraphQLSchema | None = None,
) -> Starlette:
    """`/graphql`, `/healthz` (alive), `/readyz` (200, or 503 and what is missing), `/metrics` (Prometheus text).

    And `/hooks/messages/{gateway}` for the gateways that bring messages of patients. `state.streams` are the lasting
    connections, to be told to `stop` before the server does. `schema` is the product's own unless another is given.
    """
    engine = Engine(schema or build_schema(), services, settings)
    metrics = _metrics(services, engine, logs, hooks, feed)
    streams = Streams(engine, Callers(verifier, services), settings, metrics, Places(settings.in_flight))
    endpoint = GraphQLEndpoint(engine, services, verifier, settings, metrics, streams)

    async def healthz(_: Request) -> Response:
        return _json(200, {"status": "alive"})

    async def readyz(_: Request) -> Response:
        try:
            ready = dict(await readiness())
        except Exception:  # noqa: BLE001 - whatever keeps us from knowing keeps us from being ready
            ready = {"checks": False}
        return _json(200 if all(ready.values()) else 503, ready)

    async def numbers(_: Request) -> Response:
        return Response(metrics.page(), headers={**_HEADERS, "content-type": CONTENT_TYPE})

    routes = [
        Route("/graphql", endpoint),
        WebSocketRoute("/graphql", WebSocketEndpoint(streams, services, settings)),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", numbers),
        Route("/hooks/messages/{gateway}", MessageHook(services, gateways, settings).take, methods=["POST"]),
    ]
    if settings.development:
        routes.append(Route("/graphiql/{name}", _page_asset))
    app = _Application(endpoint, routes=routes, exception_handlers={404: _unknown, 405: _unknown}, lifespan=lifespan)
    app.state.streams = streams
    app.router.redirect_slashes = False  # a redirect would repeat the caller's Host header
    return app


def _metrics(services: Services, engine: Engine, logs: Logs, hooks: Hooks | None, feed: FeedState | None) -> Metrics:
    """The numbers of all that counts something; each is asked when they are read."""
    waiting, told = (lambda: services.break_glass.waiting), (lambda: services.retries.told)
    return Metrics(logs, waiting, lambda: engine.made, hooks, feed, told)


class _Application(Starlette):
    """Starlette with a short way to `/graphql`: what it does for other addresses, the endpoint does for itself."""

    def __init__(self, endpoint: ASGIApp, **parts: Any) -> None:
        super().__init__(**parts)
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/graphql":
            await self._endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def _page_asset(request: Request) -> Response:
    found = graphiql.asset(request.path_params["name"])
    if found is None:
        return _json(404, {"status": "not found"})
    kind, content = found
    return Response(content, headers={**_HEADERS, **graphiql.HEADERS, "content-type": f"{kind}; charset=utf-8"})


async def _unknown(_: Request, error: Any) -> Response:
    status = error.status_code
    return _json(status, {"status": "not found" if status == 404 else "method not allowed"}, error.headers or {})


def _json(status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    more = {**_HEADERS, **(headers or {}), "content-type": "application/json; charset=utf-8"}
    return Response(orjson.dumps(content), status, headers=more)
