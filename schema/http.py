"""GraphQL over HTTP: headers and octets in, status and octets out. Owns the transport's rules, and nothing of GraphQL.

The rules are those of the GraphQL-over-HTTP specification; where it leaves a choice, docs/decisions/0011 says which.
"""

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.types import Message, Receive, Scope, Send

from auth.actor import Actor
from crm.domain.retries import KEY, REQUEST_ID, checked, is_request_id
from crm.errors import Overloaded
from crm.services.request import Request
from schema import graphiql, media, sse
from schema.body import parameters_of_json, parameters_of_query, read_json
from schema.callers import Callers
from schema.context import Services, Verifier
from schema.errors import FORBIDDEN, LATER, UNAVAILABLE, Code, Problem, Refused, problem_of
from schema.execution import Answer, Engine, MutationByGet, Parameters, SubscriptionAsked, record_unasked
from schema.metrics import Metrics
from schema.places import Places
from schema.repeating import Key
from schema.settings import Settings
from schema.sse import EventStream
from schema.streams import Caller, Streams

__all__ = ["GraphQLEndpoint", "Reply", "refusal"]

OPERATION = "http"
"""How the access log names an attempt that never became an operation."""

_ASKS = re.compile(rb"(?:^|&)(?:query|documentId|extensions)=")
_HEADERS: Mapping[bytes, str] = {
    name.encode(): name
    for name in (
        "accept",
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        KEY,
        "x-purpose-of-use",
        REQUEST_ID,
    )
}
"""Headers of a request that mean something here."""

_BY_GET = (media.JSON, media.GRAPHQL_RESPONSE)
_BY_POST = (*_BY_GET, media.EVENT_STREAM)
_ACCEPT_BY_GET = f"Accept {media.GRAPHQL_RESPONSE} or {media.JSON}; event streams go by POST only."
_ACCEPT_BY_POST = f"Accept {media.GRAPHQL_RESPONSE}, {media.JSON} or {media.EVENT_STREAM}."
_SAID_IN_EVENTS = frozenset({200, 400, 403})
_NONE: Mapping[str, str] = MappingProxyType({})
_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""Nothing of an answer may be kept anywhere on its way."""
_ENCODE = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response with a whole body; `code` is the first error code in it, for the metrics."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = f"{media.JSON}; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str = "none"

    async def send(self, send: Send, request_id: str) -> None:
        """Writes the response."""
        raw = [
            (b"content-length", b"%d" % len(self.body)),
            *_ALWAYS,
            (b"x-request-id", request_id.encode("ascii")),
        ]
        if self.body:
            raw.append((b"content-type", _latin(self.content_type)))
        if self.headers:
            raw += [(_latin(name), _latin(value)) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": self.body})


@cache
def _latin(text: str) -> bytes:
    """A header's name or value that we wrote; there are few different ones."""
    return text.encode("latin-1")


class _Turned(Exception):
    """The request ends here with this status, in every media type; it never became a GraphQL request."""

    def __init__(self, status: int, error: Exception, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.error = error
        self.headers = headers or {}


class _Incoming:
    """A request's head, of which only the headers in `_HEADERS` are read."""

    __slots__ = ("headers", "method", "query")

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope["method"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: dict[str, Sequence[str]] = {}
        for octets, value in scope["headers"]:
            name = _HEADERS.get(octets) or _HEADERS.get(octets.lower())
            if name is not None:
                text = value.decode("latin-1")
                self.headers[name] = (*self.headers[name], text) if name in self.headers else (text,)

    def one(self, name: str) -> str | None:
        """A header's value, several of them joined as RFC 9110 has it."""
        values = self.headers.get(name)
        return None if values is None else values[0] if len(values) == 1 else ", ".join(values)

    def request_id(self) -> str:
        """X-Request-Id if it is fit to be repeated, else a new one."""
        given = self.one(REQUEST_ID)
        return given if given and is_request_id(given) else os.urandom(16).hex()

    def key(self, stated: Key | None) -> Key | None:
        """What a mutation is known by when it comes again: Idempotency-Key, else `stated`, else X-Request-Id.

        Raises `Invalid` for a key that is none; whether an X-Request-Id is one is asked of mutations only (`retry_of`).
        """
        key, own = self.one(KEY), self.one(REQUEST_ID)
        if key is not None:
            return KEY, checked(key)
        return stated or (None if own is None else (REQUEST_ID, own))


class GraphQLEndpoint:
    """The ASGI application of `/graphql`."""

    def __init__(
        self,
        engine: Engine,
        services: Services,
        verifier: Verifier,
        settings: Settings,
        metrics: Metrics,
        streams: Streams,
    ) -> None:
        self._engine = engine
        self._services = services
        self._callers = Callers(verifier, services)
        self._settings = settings
        self._metrics = metrics
        self._readers = Places(4 * settings.in_flight)
        self._places = streams.at_work
        self._streams = streams
        self._patience = min(settings.deadline, settings.body_deadline)
        self._methods = ("POST", "OPTIONS", *(("GET", "HEAD") if settings.graphql_get else ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever happens, the caller gets a typed answer without a value in it."""
        incoming = _Incoming(scope)
        request_id = incoming.request_id()
        begun = self._metrics.begun()
        try:
            reply = await self._reply(incoming, request_id, receive)
            self._metrics.answered(reply.status, reply.code)
            if isinstance(reply, Reply):
                if incoming.method == "HEAD":
                    reply = Reply(reply.status, b"", reply.content_type, reply.headers, reply.code)
                await reply.send(send, request_id)
        finally:
            self._metrics.ended(begun)
        if isinstance(reply, EventStream):
            await reply.send(receive, send)

    async def _reply(self, incoming: _Incoming, request_id: str, receive: Receive) -> Reply | EventStream:
        wanted = media.JSON
        try:
            if incoming.method == "OPTIONS":
                return Reply(204, headers={"allow": ", ".join(self._methods)})
            if self._wants_page(incoming):
                return Reply(200, graphiql.page(), f"{media.HTML}; charset=utf-8", graphiql.HEADERS)
            chosen = self._negotiate(incoming)
            events = chosen == media.EVENT_STREAM
            wanted = media.GRAPHQL_RESPONSE if events else chosen
            answer = await self._answer(incoming, request_id, receive, events=events)
            if isinstance(answer, EventStream):
                return answer
            return _as_events(answer) if events else _written(answer, wanted)
        except _Turned as turned:
            return refusal(turned.error, status=turned.status, wanted=wanted, headers=turned.headers)
        except MutationByGet:
            error = Refused(Code.VALIDATION_FAILED, "Send mutations by POST.")
            return refusal(error, status=405, wanted=wanted, headers={"allow": "POST"})
        except SubscriptionAsked:
            text = "Ask for subscriptions over WebSocket, or as an event stream."
            return refusal(Refused(Code.VALIDATION_FAILED, text, field="accept"), wanted=wanted)
        except TimeoutError:
            return refusal(Overloaded(), wanted=wanted)
        except Exception as error:  # noqa: BLE001 - the closed table decides what is told about it
            return refusal(error, wanted=wanted)

    async def _answer(
        self, incoming: _Incoming, request_id: str, receive: Receive, *, events: bool
    ) -> Answer | EventStream:
        """The engine's answer, after the whole request has come; one timer serves both in turn.

        With `events` a subscription is answered too. Raises SubscriptionAsked for it without.
        """
        if self._places.full:  # what is refused must cost next to nothing, or nobody would be served
            raise Overloaded
        actor: Actor | None = None
        parameters: Parameters | None = None
        try:
            async with asyncio.timeout(self._patience) as time:
                actor = await self._authenticate(incoming, request_id)
                self._places.look(actor)
                parameters = await self._received(actor, incoming, request_id, receive)
                with self._places.taken(actor):
                    time.reschedule(asyncio.get_running_loop().time() + self._settings.deadline)
                    return await self._engine.answer(actor, request_id, parameters, reading=incoming.method != "POST")
        except SubscriptionAsked:
            if not events or actor is None or parameters is None:
                raise
            caller = Caller(actor, incoming.one("authorization") or "", incoming.one("x-purpose-of-use"))
            return EventStream(self._streams, self._settings, caller, Request(request_id, OPERATION), parameters)
        except TimeoutError:
            if actor is None or parameters is not None:
                raise
            raise _Turned(408, Overloaded(), {"connection": "close"}) from None

    async def _received(self, actor: Actor, incoming: _Incoming, request_id: str, receive: Receive) -> Parameters:
        """What was sent. Who is still sending has no place among those who are answered."""
        try:
            with self._readers.taken(actor):
                return await self._parameters(incoming, receive)
        except _Turned as turned:
            request = Request(request_id, OPERATION)
            await record_unasked(self._services.access_log, actor, request, turned.error)
            raise

    def _wants_page(self, incoming: _Incoming) -> bool:
        """Whether a browser asks for the page to try queries with, which only development serves."""
        asks = _ASKS.search(incoming.query) is not None
        if not self._settings.development or incoming.method not in {"GET", "HEAD"} or asks:
            return False
        offered = (media.JSON, media.GRAPHQL_RESPONSE, media.HTML)
        return media.accepted(incoming.one("accept"), offered) == media.HTML

    def _negotiate(self, incoming: _Incoming) -> str:
        by_post = incoming.method == "POST"
        if not by_post and not (self._settings.graphql_get and incoming.method in {"GET", "HEAD"}):
            error = Refused(Code.VALIDATION_FAILED, "Send GraphQL requests by POST.")
            raise _Turned(405, error, {"allow": ", ".join(self._methods)})
        wanted = media.accepted(incoming.one("accept"), _BY_POST if by_post else _BY_GET)
        if wanted is None:
            error = Refused(Code.VALIDATION_FAILED, _ACCEPT_BY_POST if by_post else _ACCEPT_BY_GET, field="accept")
            raise _Turned(406, error)
        return wanted

    async def _authenticate(self, incoming: _Incoming, request_id: str) -> Actor:
        tokens, purposes = (incoming.headers.get(name, ()) for name in ("authorization", "x-purpose-of-use"))
        return await self._callers.recognise(tokens, purposes, Request(request_id, OPERATION))

    async def _parameters(self, incoming: _Incoming, receive: Receive) -> Parameters:
        depth = self._settings.limits.variables_depth
        if incoming.method != "POST":
            try:
                text = incoming.query.decode("ascii")
                pairs = parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=20)
                return parameters_of_query(pairs, depth)
            except Refused as error:
                raise _Turned(400, error) from None
            except ValueError:
                raise _Turned(400, Refused(Code.GRAPHQL_PARSE_FAILED, "The query string is malformed.")) from None
        if not media.content_type_is_json(incoming.one("content-type")):
            text = f"Send the body as {media.JSON} in UTF-8."
            raise _Turned(415, Refused(Code.VALIDATION_FAILED, text, field="content-type"), {"accept": media.JSON})
        if (incoming.one("content-encoding") or "identity").lower() != "identity":
            text = "Send the body without a content encoding."
            raise _Turned(415, Refused(Code.VALIDATION_FAILED, text, field="content-encoding"))
        body = await self._body(incoming, receive)
        try:
            parameters = parameters_of_json(read_json(body, depth))
            return replace(parameters, key=incoming.key(parameters.key))
        except Refused as error:
            raise _Turned(400, error) from None

    async def _body(self, incoming: _Incoming, receive: Receive) -> bytes:
        """The octets of the body, refused as soon as they are too many."""
        limit = self._settings.body
        declared = incoming.one("content-length") or "0"
        if declared.isdecimal() and int(declared[:12]) > limit:
            raise _too_large(limit)
        octets = bytearray()
        while True:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                raise _Turned(400, Refused(Code.GRAPHQL_PARSE_FAILED, "The body ended early."))
            octets += message.get("body", b"")
            if len(octets) > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                return bytes(octets)


def _too_large(limit: int) -> _Turned:
    error = Refused(Code.QUERY_TOO_COSTLY, "The body has too many octets.", limit=limit)
    return _Turned(413, error, {"connection": "close"})


def refusal(
    error: Exception, *, status: int | None = None, wanted: str = media.JSON, headers: Mapping[str, str] | None = None
) -> Reply:
    """A reply that holds one error and no `data`; `status` is given where HTTP itself says no."""
    return _written(Answer([problem_of(error)]), wanted, status, headers)


def _written(answer: Answer, wanted: str, status: int | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    """The reply of an answer. An answer that cannot be written as JSON is a failure of ours, and not shown."""
    try:
        body = orjson.dumps(answer.as_json(), option=_ENCODE)
    except TypeError as error:
        answer = Answer([problem_of(error)])
        body = orjson.dumps(answer.as_json(), option=_ENCODE)
    first = answer.problems[0] if answer.problems else None
    extra = headers or _NONE
    if first is not None and not answer.executed:
        extra = {**extra, **_headers_of(first)}
    return Reply(
        status or _status_of(answer, wanted),
        body,
        f"{wanted}; charset=utf-8",
        extra,
        first.code.value if first else "none",
    )


def _as_events(answer: Answer) -> Reply:
    """An answer as events (GraphQL over SSE); a refusal that is no word about the document keeps its status."""
    if _status_of(answer, media.GRAPHQL_RESPONSE) not in _SAID_IN_EVENTS:
        return _written(answer, media.GRAPHQL_RESPONSE)
    code = answer.problems[0].code.value if answer.problems else "none"
    return Reply(200, sse.events(answer), f"{media.EVENT_STREAM}; charset=utf-8", sse.HEADERS, code)


def _headers_of(problem: Problem) -> dict[str, str]:
    if problem.code is Code.UNAUTHENTICATED:
        return {"www-authenticate": "Bearer"}
    after: Any = problem.extensions.get("retryAfter")
    return {} if after is None else {"retry-after": str(after)}


def _status_of(answer: Answer, wanted: str) -> int:
    """The HTTP status of an answer to a well-formed request."""
    if answer.executed:
        return 200
    code = answer.problems[0].code
    if code is Code.UNAUTHENTICATED:
        return 401
    if code in UNAVAILABLE:
        return 503
    if code in LATER:
        return 429 if code is Code.RATE_LIMITED else 409
    if code is Code.INTERNAL_SERVER_ERROR:
        return 500
    if wanted == media.JSON:
        return 200
    return 403 if code in FORBIDDEN else 400
