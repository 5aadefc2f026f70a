"""GraphQL over WebSocket: the protocol `graphql-transport-ws`, to the letter. Owns its messages and close codes only.

The text is PROTOCOL.md of the npm package `graphql-ws`; where it leaves a choice, docs/transports.md says which.
"""

import asyncio
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from enum import IntEnum
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from starlette.types import Receive, Scope, Send

from auth.errors import AuthError
from crm.errors import AuditUnavailable, Overloaded
from crm.services.request import Request
from schema.body import parameters_of_json, read_json
from schema.context import Services
from schema.doorstep import Doorstep
from schema.errors import RETRY_AFTER, Code, RateLimited, Refused, problem_of
from schema.execution import Answer, Parameters, SubscriptionAsked, record_unasked
from schema.settings import Settings
from schema.streams import Caller, Ended, Expired, Left, Stopping, Streams, written

__all__ = ["SUBPROTOCOL", "CloseCode", "WebSocketEndpoint"]

SUBPROTOCOL = "graphql-transport-ws"
OPERATION = "websocket"
"""How the access log names an attempt that never became an operation."""

MAX_ID = 128
"""Characters in the id of an operation, which every answer to it repeats."""

MAX_REASON = 123
"""Octets in the reason of a close frame."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,48}")
_TOKEN, _PURPOSE = "authorization", "x-purpose-of-use"


class CloseCode(IntEnum):
    """Why a socket is closed: those of the protocol, and of RFC 6455 with the registry that it founded."""

    GOING_AWAY = 1001
    MESSAGE_TOO_BIG = 1009
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL_NOT_ACCEPTABLE = 4406
    INITIALISATION_TIMEOUT = 4408
    SUBSCRIBER_ALREADY_EXISTS = 4409
    TOO_MANY_INITIALISATIONS = 4429
    INTERNAL_SERVER_ERROR = 4500


_GONE = (TimeoutError, OSError, RuntimeError)
"""What sending raises when nobody is there: uvicorn says RuntimeError once it closed a socket for a broken frame."""


class _Closed(Ended):
    """This side closes the socket. `reason` is one of our own sentences, or repeats the id of an operation."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


class _Head(NamedTuple):
    """The head of a handshake: headers by name, the subprotocols offered, and the address it came from."""

    headers: Mapping[str, Sequence[str]]
    subprotocols: Sequence[str]
    peer: str | None

    @property
    def foreign(self) -> bool:
        """Whether a page of another origin asks; browsers always say which, and programs need not."""
        origins, hosts = self.headers.get("origin", ()), self.headers.get("host", ())
        try:
            return any([urlsplit(origin).netloc.lower()] != [host.lower() for host in hosts] for origin in origins)
        except ValueError:
            return True


class WebSocketEndpoint:
    """The ASGI application of WebSockets at `/graphql`."""

    def __init__(self, streams: Streams, services: Services, settings: Settings) -> None:
        self._streams = streams
        self._services = services
        self._settings = settings
        self._doorstep = Doorstep(settings.in_flight, settings.stream_init)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one socket from the handshake to its end."""
        head = _read_head(scope)
        await receive()  # that somebody wants to connect
        if head.foreign:
            await _turn_away(scope, send, 403)
        elif self._streams.stopping:
            await _turn_away(scope, send, 503)
        else:
            socket = _Socket(self._streams, self._services, self._settings, head, receive, send)
            await socket.serve(self._doorstep)


def _read_head(scope: Scope) -> _Head:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    client = scope.get("client")
    return _Head(headers, scope.get("subprotocols", ()), client[0] if client else None)


async def _turn_away(scope: Scope, send: Send, status: int) -> None:
    """Refuses a handshake with an HTTP status, which ASGI servers without that extension make a 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    headers = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER).encode("ascii")))
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})


class _Socket:
    """One socket. A task for each operation; whatever ends the socket is raised, and met in `serve`."""

    def __init__(
        self, streams: Streams, services: Services, settings: Settings, head: _Head, receive: Receive, send: Send
    ) -> None:
        self._streams = streams
        self._services = services
        self._settings = settings
        self._head = head
        self._receive = receive
        self._raw_send = send
        self._id = _connection_id(head)
        self._numbered = 0
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._lasting: set[asyncio.Task[None]] = set()

    async def serve(self, doorstep: Doorstep) -> None:
        """Speaks the protocol until either side has enough."""
        acceptable = SUBPROTOCOL in self._head.subprotocols
        await self._raw_send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if acceptable else None})
        try:
            if not acceptable:
                raise _Closed(CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE, "Subprotocol not acceptable")
            await self._connected(await self._initialised(doorstep))
        except Exception as error:  # noqa: BLE001 - whatever happened, the client is told by a code of the protocol
            await self._close(_decisive(error))

    async def _initialised(self, doorstep: Doorstep) -> Caller:
        """The caller named by `connection_init` and the handshake, which must come in time."""
        try:
            async with doorstep.standing(self._head.peer):
                while (message := await self._next())["type"] != "connection_init":
                    if message["type"] == "subscribe":
                        raise _Closed(CloseCode.UNAUTHORIZED, "Unauthorized")
                    await self._answer_ping(message)
        except TimeoutError:
            raise _Closed(CloseCode.INITIALISATION_TIMEOUT, "Connection initialisation timeout") from None
        said = message.get("payload") or {}
        tokens, purposes = (_stated(self._head, said, name) for name in (_TOKEN, _PURPOSE))
        try:
            return await self._streams.recognise(tokens, purposes, Request(self._id, OPERATION))
        except AuthError as refused:
            raise _Closed(CloseCode.FORBIDDEN, f"Forbidden: {problem_of(refused).code.value}") from None
        except (AuditUnavailable, Overloaded) as later:
            raise _Closed(CloseCode.TRY_AGAIN_LATER, problem_of(later).code.value) from None

    async def _connected(self, caller: Caller) -> None:
        """Takes messages until the socket ends; the group ends with the first task that raises."""
        try:
            with self._streams.opened("websocket", caller):
                await self._tell({"type": "connection_ack", "payload": {"requestId": self._id}})
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._watch(caller))
                    while True:
                        await self._take(await self._next(caller), caller, tasks)
        except (RateLimited, Overloaded) as full:
            raise _Closed(CloseCode.TRY_AGAIN_LATER, problem_of(full).code.value) from None

    async def _take(self, message: dict[str, Any], caller: Caller, tasks: asyncio.TaskGroup) -> None:
        match message["type"]:
            case "subscribe":
                await self._subscribe(message, caller, tasks)
            case "complete":
                task = self._operations.pop(message["id"], None)
                if task is not None:
                    task.cancel()
            case "connection_init":
                raise _Closed(CloseCode.TOO_MANY_INITIALISATIONS, "Too many initialisation requests")
            case _:
                await self._answer_ping(message)

    async def _subscribe(self, message: dict[str, Any], caller: Caller, tasks: asyncio.TaskGroup) -> None:
        """Begins an operation, unless this socket has as many as it may have. Each has its id until all is sent."""
        name = message["id"]
        if name in self._operations:
            raise _Closed(CloseCode.SUBSCRIBER_ALREADY_EXISTS, _fitting(f"Subscriber for {name} already exists"))
        try:
            parameters = parameters_of_json(message["payload"])
        except Refused as refused:
            raise _Closed(CloseCode.BAD_REQUEST, _reason(refused)) from None
        full = len(self._operations) >= self._settings.stream_operations
        if full or self._streams.stopping:
            refusal = Answer([problem_of(RateLimited() if full else Overloaded())])
            await self._tell_answer(name, refusal)
            return
        self._numbered += 1
        request = Request(f"{self._id}.{self._numbered}", OPERATION)
        self._operations[name] = tasks.create_task(self._operate(name, caller, request, parameters))

    async def _operate(self, name: str, caller: Caller, request: Request, parameters: Parameters) -> None:
        """One operation from its question to its last answer. Its id is free again before the client learns of it."""
        try:
            try:
                finished = await self._tell_answer(name, await self._streams.answer(caller, request, parameters))
            except SubscriptionAsked:
                finished = await self._follow(name, caller, request, parameters)
            self._forget(name)
            if finished:
                await self._tell({"id": name, "type": "complete"})
        finally:
            self._forget(name)

    async def _follow(self, name: str, caller: Caller, request: Request, parameters: Parameters) -> bool:
        """Tells the answers to a subscription; whether it came to its natural end."""
        task = self._operations[name]
        self._lasting.add(task)
        try:
            async with aclosing(self._streams.answers(caller, request, parameters)) as answers:
                async for answer in answers:
                    if not await self._tell_answer(name, answer):
                        return False
            return True
        finally:
            self._lasting.discard(task)

    def _forget(self, name: str) -> None:
        """Frees the id, unless it is that of another operation by now."""
        if self._operations.get(name) is asyncio.current_task():
            del self._operations[name]

    async def _watch(self, caller: Caller) -> None:
        """Raises when the socket must end; when the process does, once what is being answered was answered."""
        try:
            await self._streams.watch(caller)
        except Stopping:
            for task in self._lasting:
                task.cancel()
            if self._operations:
                await asyncio.wait(set(self._operations.values()), timeout=self._settings.deadline)
            raise

    async def _next(self, caller: Caller | None = None) -> dict[str, Any]:
        """The next message. What is none of the protocol's ends the socket; what is too much is on record before."""
        await asyncio.sleep(0)  # who sends without a pause does not keep others waiting
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise Left
        text = event.get("text")
        if text is None:
            raise _Closed(CloseCode.BAD_REQUEST, "Send messages as text.")
        octets = text.encode("utf-8", "surrogatepass")
        try:
            if len(octets) > self._settings.body:
                raise Refused(Code.QUERY_TOO_COSTLY, "The message has too many octets.")
            return _message(read_json(octets, self._settings.limits.variables_depth + 1))
        except Refused as refused:
            if caller is not None:
                await record_unasked(self._services.access_log, caller.actor, Request(self._id, OPERATION), refused)
            large = len(octets) > self._settings.body
            raise _Closed(CloseCode.MESSAGE_TOO_BIG if large else CloseCode.BAD_REQUEST, _reason(refused)) from None

    async def _answer_ping(self, message: dict[str, Any]) -> None:
        if message["type"] == "ping":
            said = message.get("payload")
            await self._tell({"type": "pong"} if said is None else {"type": "pong", "payload": said})

    async def _tell_answer(self, name: str, answer: Answer) -> bool:
        """Sends an answer as `next`, or as the `error` that ends the operation; whether it goes on."""
        answer, octets = written(answer)
        self._streams.told("websocket", answer)
        if answer.executed:
            await self._tell({"id": name, "type": "next", "payload": orjson.Fragment(octets)})
        else:
            self._forget(name)
            errors = [problem.as_json() for problem in answer.problems]
            await self._tell({"id": name, "type": "error", "payload": errors})
        return answer.executed

    async def _tell(self, message: Mapping[str, Any]) -> None:
        """Sends a message. Who takes none for as long as a request may last is not waited for."""
        try:
            async with asyncio.timeout(self._settings.deadline):
                await self._raw_send({"type": "websocket.send", "text": orjson.dumps(message).decode("utf-8")})
        except _GONE:
            raise Left from None

    async def _close(self, ended: Exception) -> None:
        match ended:
            case Left():
                return
            case _Closed(code=code, reason=reason):
                pass
            case Expired():
                code, reason = CloseCode.FORBIDDEN, f"Forbidden: {Code.UNAUTHENTICATED.value}"
            case Stopping():
                code, reason = CloseCode.SERVICE_RESTART, "Service restart"
            case _:
                problem = problem_of(ended)  # logged with its place
                code, reason = CloseCode.INTERNAL_SERVER_ERROR, f"Internal server error: {problem.code.value}"
        try:
            async with asyncio.timeout(self._settings.deadline):
                await self._raw_send({"type": "websocket.close", "code": int(code), "reason": reason})
        except _GONE:
            return  # the other side was faster, or takes nothing any more


def _decisive(error: Exception) -> Exception:
    """What ended the socket, of all that a group of tasks ended with."""
    if not isinstance(error, ExceptionGroup):
        return error
    found = [_decisive(each) for each in error.exceptions]
    return next((each for each in found if not isinstance(each, Ended)), found[0])


def _connection_id(head: _Head) -> str:
    """X-Request-Id if it is fit to be repeated, else a new one; the operations of the socket are numbered behind it."""
    given = head.headers.get("x-request-id", ())
    return given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else uuid.uuid4().hex


def _stated(head: _Head, payload: Mapping[str, Any], name: str) -> Sequence[str]:
    """What handshake and payload say under the name of a header, in whatever case clients write it."""
    said = [value for key, value in payload.items() if key.lower() == name and value is not None]
    if not all(isinstance(value, str) for value in said):
        raise _Closed(CloseCode.BAD_REQUEST, f"{name} must be a string.")
    return [*head.headers.get(name, ()), *said]


_SHAPES: Mapping[str, bool] = {
    "connection_init": False,
    "ping": False,
    "pong": False,
    "subscribe": True,
    "complete": True,
}
"""What a client may send, and whether it is about an operation."""


def _message(value: Any) -> dict[str, Any]:
    """A message of a client. Raises Refused for what the protocol does not know."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _SHAPES:
        raise Refused(Code.VALIDATION_FAILED, "The type of the message is not known.")
    payload = value.get("payload")
    if _SHAPES[kind]:
        name = value.get("id")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_ID:
            raise Refused(Code.VALIDATION_FAILED, f"The id must be a string of 1 to {MAX_ID} characters.")
        if kind == "subscribe" and not isinstance(payload, dict):
            raise Refused(Code.VALIDATION_FAILED, "The payload must be an object.")
    elif not (payload is None or isinstance(payload, dict)):
        raise Refused(Code.VALIDATION_FAILED, "The payload must be an object.")
    return dict(value)


def _fitting(reason: str) -> str:
    """A reason that fits into a close frame (RFC 6455, 5.5.1)."""
    return reason if len(reason.encode("utf-8")) <= MAX_REASON else "Subscriber already exists"


def _reason(refused: Refused) -> str:
    """One of our own sentences, which fit into a close frame; what HTTP calls a body is a message here."""
    return (refused.text or refused.code.value).replace("The body", "The message")
