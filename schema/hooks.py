"""The hook for gateways that bring messages of patients: signatures in, one use case, and an answer in their form.

`POST /hooks/messages/{gateway}`. Who does not sign as a configured gateway is turned away with 403 and not told why,
and is on record. Until the signature is checked, a request has no part in the places of the gateway that it names. No
octet of a body is in any answer or log line.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from graphene.utils.str_converters import to_camel_case
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Incoming
from starlette.responses import Response

from auth.actor import Actor
from auth.purposes import Purpose
from auth.roles import Role
from crm.crypto.webhook import signed_as_standard, signed_by_twilio
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.gateways import ISSUER, Gateway, GatewayKind
from crm.errors import Invalid
from crm.services.request import Request
from schema.contact_services import Reply
from schema.context import Services
from schema.doorstep import Doorstep
from schema.errors import UNAVAILABLE, Code, problem_of
from schema.places import Places
from schema.settings import Settings

__all__ = ["LIMIT", "MessageHook"]

LIMIT: Final = 65_536
"""Octets that a body may have: a message of any gateway is far shorter."""

OPERATION: Final = "hooks/messages"
_MOST_FIELDS: Final = 200
_FOREVER: Final = 2**53
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_NOTHING_TO_SAY: Final = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
_MESSAGE_ID: Final = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PATIENCE: Final = 2.0
"""Seconds within which a body must have come, from whom nobody knows yet."""
_CHATS: Final = ("whatsapp:", "messenger:", "rcs:")
_DECLARED: Final = frozenset({"STOP", "START", "HELP"})


class _Turned(Exception):
    """The request ends here with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class MessageHook:
    """Answers gateways. Each is let in by its own signature, and counted as one caller."""

    def __init__(self, services: Services, gateways: Iterable[Gateway], settings: Settings) -> None:
        self._services = services
        self._gateways = {gateway.name: gateway for gateway in gateways}
        self._settings = settings
        self._doorstep = Doorstep(settings.in_flight // 4, min(_PATIENCE, settings.body_deadline))
        self._places = Places(settings.in_flight)

    async def take(self, incoming: Incoming) -> Response:
        """One message taken in, or turned away."""
        request = Request(_request_id(incoming), OPERATION)
        try:
            async with asyncio.timeout(self._settings.deadline):
                return await self._answer(incoming, request)
        except _Turned as turned:
            return _told(turned.status)
        except TimeoutError:
            return _told(503)
        except Exception as error:  # noqa: BLE001 - the closed table decides what is told about it
            problem = problem_of(error)
            busy = problem.code in UNAVAILABLE or problem.code is Code.RATE_LIMITED
            status = 503 if busy else 500 if problem.code is Code.INTERNAL_SERVER_ERROR else 400
            return _told(status, {"code": problem.code.value, **problem.extensions})

    async def _answer(self, incoming: Incoming, request: Request) -> Response:
        body = await self._body(incoming)
        gateway = self._gateways.get(incoming.path_params["gateway"])
        if gateway is None or not _is_signed(gateway, incoming, body):
            await self._services.access_log.refused("gateway_signature", request)
            raise _Turned(403)
        actor = _actor(gateway)
        with self._places.taken(actor):
            try:
                message = _form(body) if gateway.kind is GatewayKind.TWILIO else _object(incoming, body)
            except Invalid:
                await self._services.access_log.unasked(Code.VALIDATION_FAILED.value, actor, request, None)
                raise
            if message["channel"] != Channel.EMAIL:
                message["from"] = gateway.dialled(message["from"])
            if gateway.sender is not None:
                message["sender"] = gateway.sender
            reply = await self._services.messages.take(actor, request, {**message, "gateway": gateway.name})
        if gateway.kind is GatewayKind.TWILIO:  # who replies, and with which words, is configured at the gateway
            return Response(_NOTHING_TO_SAY, headers={**_HEADERS, "content-type": "text/xml; charset=utf-8"})
        return _told(200, _shown(reply))

    async def _body(self, incoming: Incoming) -> bytes:
        octets = bytearray()
        try:
            async with self._doorstep.standing(incoming.client.host if incoming.client else None):
                async for chunk in incoming.stream():
                    octets += chunk
                    if len(octets) > LIMIT:
                        raise _Turned(413)
        except TimeoutError:
            raise _Turned(408) from None
        except ClientDisconnect:
            raise _Turned(400) from None
        return bytes(octets)


def _request_id(incoming: Incoming) -> str:
    given = incoming.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _actor(gateway: Gateway) -> Actor:
    """A gateway as a caller."""
    return Actor(
        subject=gateway.name,
        issuer=ISSUER,
        org=gateway.org,
        roles=frozenset({Role.MESSAGING}),
        purpose=Purpose.COC,
        client_id=gateway.name,
        token_id="",
        patient_id=None,
        expires_at=_FOREVER,
    )


def _is_signed(gateway: Gateway, incoming: Incoming, body: bytes) -> bool:
    headers = incoming.headers
    if gateway.kind is GatewayKind.JSON:
        message_id, at, signature = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        now = int(time.time())
        return bool(message_id) and signed_as_standard(gateway.secrets, message_id, at, signature, body, now=now)
    pairs = _pairs(body)
    url, signature = gateway.url or "", headers.get("x-twilio-signature", "")
    return pairs is not None and signed_by_twilio(gateway.secrets, url, pairs, signature)


def _pairs(body: bytes) -> list[tuple[str, str]] | None:
    """The fields of a form; None for what is none, and where a name comes twice.

    Twilio signs names and values without anything between them, and of a name that comes twice would sign either once.
    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None
    return pairs if len(dict(pairs)) == len(pairs) else None


def _form(body: bytes) -> dict[str, Any]:
    """A message in Twilio's form. What its own opt-out took for a keyword is one.

    Raises `Invalid`, with the path that the member has in the mutation, as everything does that takes messages in.
    """
    fields = dict(_pairs(body) or ())
    message_id = fields.get("MessageSid") or fields.get("SmsSid")
    origin, to = fields.get("From", ""), fields.get("To", "")
    if not message_id or "Body" not in fields:
        raise Invalid("input.text" if message_id else "input.messageId", "missing")
    if not _MESSAGE_ID.fullmatch(message_id):  # else the signed text could be cut anew, and come under another id
        raise Invalid("input.messageId", "message_sid")
    declared = fields.get("OptOutType", "")
    chat = origin.startswith(_CHATS)
    return {
        "message_id": message_id,
        "from": _bare(origin),
        "to": _bare(to) or None,
        "channel": (Channel.CHAT if chat else Channel.SMS).value,
        "text": declared if declared in _DECLARED else fields["Body"],
    }


def _bare(address: str) -> str:
    return address.partition(":")[2] if address.startswith(_CHATS) else address


def _object(incoming: Incoming, body: bytes) -> dict[str, Any]:
    """A message as a JSON object; without `messageId` it has the id of the webhook. Raises `Invalid` as `_form`."""
    try:
        content = orjson.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Invalid("input", "type")
    message: dict[str, Any] = {
        "message_id": _text(content, "messageId", incoming.headers["webhook-id"]),
        "from": _text(content, "from"),
        "to": _text(content, "to", None),
        "channel": _text(content, "channel", Channel.SMS.value),
        "text": _text(content, "text"),
        "received_at": _text(content, "receivedAt", None),
        "sender": _text(content, "sender", None),
        "in_reply_to": _text(content, "inReplyTo", None),
    }
    if message["channel"] not in Channel.__members__:
        raise Invalid("input.channel", "unknown_code")
    if message["in_reply_to"] is not None and message["in_reply_to"] not in CommunicationPurpose.__members__:
        raise Invalid("input.inReplyTo", "unknown_code")
    return message


_NEEDED: Final = object()


def _text(content: Mapping[str, Any], name: str, absent: Any = _NEEDED) -> Any:
    value = content.get(name)
    if value is None and absent is not _NEEDED:
        return absent
    if not isinstance(value, str):
        raise Invalid(f"input.{name}", "missing" if value is None else "type")
    return value


def _shown(reply: Reply) -> dict[str, Any]:
    """The answer with the names that GraphQL has for its members."""
    content = {"kind": reply.kind, "honour_by": reply.honour_by, "confirmation": reply.confirmation}
    return {to_camel_case(name): value for name, value in content.items()}


def _told(status: int, content: Mapping[str, Any] | None = None) -> Response:
    if content is None:
        return Response(b"", status, headers=_HEADERS)
    return Response(orjson.dumps(content), status, headers={**_HEADERS, "content-type": "application/json"})
