"""The hook for gateways: who is let in, who is turned away and recorded, and what a signed message comes to."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import orjson
import pytest
import pytest_asyncio

from auth.roles import Role
from auth.tokens import TokenVerifier
from crm.crypto.webhook import standard, twilio
from crm.domain.gateways import Gateway, GatewayKind
from schema.app import create_app
from schema.hooks import LIMIT
from schema.settings import Settings
from tests.client import Client
from tests.house import ORG

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "https://heed.example.org/hooks/messages/texts"
TEXTS = Gateway("texts", GatewayKind.TWILIO, ORG, (b"an auth token of Twilio", b"the one before"), URL)
CALLS = Gateway("calls", GatewayKind.JSON, ORG, (b"a secret of the other gateway",))
BARE = Gateway("bare", GatewayKind.JSON, ORG, CALLS.secrets, plus=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hook(served: Client) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token, of a service with two gateways."""

    async def ready() -> dict[str, bool]:
        return {}

    app = create_app(served.house.services, TokenVerifier([]), Settings(), ready, gateways=[TEXTS, CALLS, BARE])
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://heed.test/hooks/messages") as http:
        yield http


def form(text: str, **more: str) -> tuple[bytes, dict[str, str]]:
    """A message as Twilio sends it, with its signature."""
    fields = {"MessageSid": f"SM{uuid4().hex}", "AccountSid": "AC1", "From": "+447700900123", "To": "+447700900100",
              "Body": text, "NumMedia": "0", **more}  # fmt: skip
    headers = {"x-twilio-signature": twilio(TEXTS.secrets[0], URL, fields.items())}
    return urlencode(fields).encode(), {**headers, "content-type": "application/x-www-form-urlencoded"}


def webhook(at: int | None = None, secret: bytes = CALLS.secrets[0], **content: Any) -> tuple[bytes, dict[str, str]]:
    """A message as Standard Webhooks has it, with its signature."""
    body = orjson.dumps({"from": "+447700900124", "channel": "SMS", "text": "Stop", **content})
    message_id, timestamp = f"msg_{uuid4().hex}", str(at or int(time.time()))
    signature = standard(secret, message_id, timestamp, body)
    return body, {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


async def person(served: Client, number: str) -> str:
    """A new patient with this number."""
    point = {"system": "PHONE", "value": number, "use": "MOBILE"}
    return str((await served.house.register({"preferred_name": "Ada", "contact_points": [point]}))["id"])


async def denied(served: Client, patient_id: str) -> list[str]:
    """The channels on which a patient is left alone."""
    query = f'{{ patient(id: "{patient_id}") {{ consents {{ scope {{ channel }} capture {{ system by }} }} }} }}'
    found = (await served.data(query, Role.PRIVACY_OFFICER))["patient"]["consents"] or []
    assert {(one["capture"]["system"], one["capture"]["by"]) for one in found} <= {
        ("texts", "texts"),
        ("calls", "calls"),
    }
    return [one["scope"]["channel"] for one in found]


async def test_twilio(served: Client, hook: httpx.AsyncClient) -> None:
    """A signed STOP ends texts, calls and chats, is answered with nothing, and again alike; either secret will do."""
    patient_id = await person(served, "+447700900123")
    body, headers = form("Stop")
    answer = await hook.post("/texts", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert answer.text.endswith("<Response/>")
    assert await denied(served, patient_id) == ["SMS", "VOICE", "CHAT"]
    again = await hook.post("/texts", content=body, headers=headers)
    assert (again.status_code, again.content) == (200, answer.content)
    fields = {"MessageSid": f"MM{uuid4().hex}", "From": "+447700900123", "Body": "hello"}
    headers = {"x-twilio-signature": twilio(TEXTS.secrets[1], URL, fields.items())}
    assert (await hook.post("/texts", content=urlencode(fields), headers=headers)).status_code == 200


async def test_keyword_of_the_gateway(served: Client, hook: httpx.AsyncClient) -> None:
    """What the gateway itself took for STOP, by a word of the organisation's own, is one."""
    patient_id = await person(served, "+447700900131")
    body, headers = form("ENOUGH", From="+447700900131", OptOutType="STOP")
    assert (await hook.post("/texts", content=body, headers=headers)).status_code == 200
    assert await denied(served, patient_id) == ["SMS", "VOICE", "CHAT"]


async def test_chat(served: Client, hook: httpx.AsyncClient) -> None:
    """A message by WhatsApp is of the number's holder, and ends calls and texts as well as chats."""
    patient_id = await person(served, "+447700900132")
    body, headers = form("Stop", From="whatsapp:+447700900132", To="whatsapp:+447700900100")
    assert (await hook.post("/texts", content=body, headers=headers)).status_code == 200
    assert await denied(served, patient_id) == ["SMS", "VOICE", "CHAT"]


async def test_standard_webhook(served: Client, hook: httpx.AsyncClient) -> None:
    """A signed JSON message is answered as the mutation answers."""
    patient_id = await person(served, "+447700900124")
    body, headers = webhook(messageId="J-1")
    answer = await hook.post("/calls", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["kind"] == "STOP"
    assert answer.json()["honourBy"] > answer.json()["confirmation"]["until"]
    assert await denied(served, patient_id) == ["SMS", "VOICE", "CHAT"]
    body, headers = webhook(messageId="J-1", text="Start")
    refused = await hook.post("/calls", content=body, headers=headers)
    assert refused.status_code == 400
    assert refused.json() == {"code": "VALIDATION_FAILED", "field": "input.messageId", "rule": "other_content"}


def _forgeries() -> dict[str, tuple[str, bytes, dict[str, str]]]:
    body, headers = form("Stop")
    standard_body, standard_headers = webhook()
    late = webhook(at=int(time.time()) - 3_000)
    other_secret = webhook(secret=b"another secret of somebody")
    return {
        "unsigned form": ("texts", body, {}),
        "changed form": ("texts", body + b"&Body=Start", headers),
        "another gateway's form": ("calls", body, headers),
        "no form": ("texts", b"\xff\xfe", headers),
        "unsigned object": ("calls", standard_body, {}),
        "changed object": ("calls", standard_body + b" ", standard_headers),
        "another gateway's object": ("texts", standard_body, standard_headers),
        "another id": ("calls", standard_body, {**standard_headers, "webhook-id": "msg_1"}),
        "too late": ("calls", *late),
        "another secret": ("calls", *other_secret),
        "unknown gateway": ("nobody", body, headers),
    }


@pytest.mark.parametrize("name", _forgeries())
async def test_turned_away(served: Client, hook: httpx.AsyncClient, name: str) -> None:
    """Whoever does not sign as the gateway gets 403 and no word, is on record, and changes nothing."""
    patient_id = await person(served, "+447700900126")
    gateway, body, headers = _forgeries()[name]
    body, request_id = body.replace(b"7700900123", b"7700900126").replace(b"7700900124", b"7700900126"), uuid4().hex
    answer = await hook.post(f"/{gateway}", content=body, headers={**headers, "x-request-id": request_id})
    assert (answer.status_code, answer.content) == (403, b"")
    [leaf] = await served.house.leaves(org="_", request=request_id)
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("login", "denied", "gateway_signature")
    assert "who" not in leaf
    assert await denied(served, patient_id) == []


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"from": None}, "input.from"),
        ({"text": 7}, "input.text"),
        ({"channel": "PIGEON"}, "input.channel"),
        ({"inReplyTo": "X"}, "input.inReplyTo"),
        ({"from": "nobody"}, "input.from"),
        ({"channel": "LETTER"}, "input.channel"),
        ({"messageId": "é" * 201}, "input.messageId"),
    ],
)
async def test_malformed(served: Client, hook: httpx.AsyncClient, changed: dict[str, Any], field: str) -> None:
    """A signed message that is malformed is refused with the member to blame and nothing of it, and is on record."""
    body, headers = webhook(**changed)
    request_id = uuid4().hex
    answer = await hook.post("/calls", content=body, headers={**headers, "x-request-id": request_id})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "VALIDATION_FAILED", field)
    [leaf] = await served.house.leaves(request=request_id)
    assert (leaf["out"], leaf["why"], leaf["who"]["sub"]) == ("denied", "VALIDATION_FAILED", "calls")


async def test_numbers_without_plus(served: Client, hook: httpx.AsyncClient) -> None:
    """Half a number is refused, and so not answered as stopped; a gateway that leaves out `+` says so in the policy."""
    patient_id = await person(served, "+12025550134")
    half: dict[str, Any] = {"from": "12025550134"}
    body, headers = webhook(**half)
    refused = await hook.post("/calls", content=body, headers=headers)
    assert (refused.status_code, refused.json()["rule"]) == (400, "e164")
    assert (await hook.post("/bare", content=body, headers=headers)).json()["kind"] == "STOP"
    query = f'{{ patient(id: "{patient_id}") {{ consents {{ scope {{ channel }} }} }} }}'
    assert (await served.data(query, Role.PRIVACY_OFFICER))["patient"]["consents"]


async def test_nobody_takes_the_ids_of_a_gateway(served: Client, hook: httpx.AsyncClient) -> None:
    """What an application brings in the name of a gateway counts as its own, and is not in the gateway's way."""
    taken = """mutation R($input: RecordInboundMessageInput!) { recordInboundMessage(input: $input) { kind } }"""
    patient_id = await person(served, "+447700900135")
    message = {"gateway": "calls", "messageId": "J-9", "from": "+447700900136", "channel": "SMS", "text": "hello"}
    await served.data(taken, Role.MESSAGING, variables={"input": message})
    theirs: dict[str, Any] = {"messageId": "J-9", "from": "+447700900135"}
    body, headers = webhook(**theirs)
    assert (await hook.post("/calls", content=body, headers=headers)).json()["kind"] == "STOP"
    assert await denied(served, patient_id)
    for name in ("calls/J", "x" * 200):
        answer = await served.ask(taken, Role.MESSAGING, variables={"input": {**message, "gateway": name}})
        assert answer.json()["errors"][0]["extensions"]["field"] == "input.gateway"


async def test_no_object(hook: httpx.AsyncClient) -> None:
    """A signed body that is no object is refused."""
    headers = webhook()[1]
    signature = standard(CALLS.secrets[0], headers["webhook-id"], headers["webhook-timestamp"], b"[1]")
    answer = await hook.post("/calls", content=b"[1]", headers={**headers, "webhook-signature": signature})
    assert (answer.status_code, answer.json()["field"]) == (400, "input")


@pytest.mark.parametrize(
    ("absent", "field"), [("MessageSid", "input.messageId"), ("Body", "input.text"), ("From", "input.from")]
)
async def test_malformed_form(hook: httpx.AsyncClient, absent: str, field: str) -> None:
    """A form without what a message needs is refused with the path that it has in the mutation, not with its own."""
    fields = {"MessageSid": f"SM{uuid4().hex}", "From": "+447700900133", "Body": "Stop"}
    del fields[absent]
    headers = {"x-twilio-signature": twilio(TEXTS.secrets[0], URL, fields.items())}
    answer = await hook.post("/texts", content=urlencode(fields), headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "VALIDATION_FAILED", field)


async def test_bounds(hook: httpx.AsyncClient) -> None:
    """A body of any length is read no further than the limit; other methods are not served."""
    assert (await hook.post("/calls", content=b"x" * (LIMIT + 1))).status_code == 413
    assert (await hook.post("/calls", content=b"x" * LIMIT)).status_code == 403
    assert (await hook.get("/calls")).status_code == 405


@pytest.mark.parametrize("sid", ["", "SM1", "SM" + "0" * 31, "SM" + "0" * 32 + "AccountSidAC1", "sm" + "0" * 32])
async def test_ids_of_another_form(hook: httpx.AsyncClient, sid: str) -> None:
    """Twilio signs names and values joined: what is no id of theirs may be a signed text that was cut anew."""
    body, headers = form("Stop", MessageSid=sid)
    answer = await hook.post("/texts", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["field"] == "input.messageId"


async def test_a_name_that_comes_twice(served: Client, hook: httpx.AsyncClient) -> None:
    """Twilio sends none, and the signature does not tell which of the two it meant: turned away."""
    patient_id = await person(served, "+447700900133")
    fields = [("MessageSid", f"SM{uuid4().hex}"), ("From", "+447700900133"), ("Body", "hello"), ("Body", "Stop")]
    headers = {"x-twilio-signature": twilio(TEXTS.secrets[0], URL, fields)}
    assert (await hook.post("/texts", content=urlencode(fields), headers=headers)).status_code == 403
    assert await denied(served, patient_id) == []


@pytest.mark.parametrize("peers", [1, 100], ids=["one address", "many addresses"])
async def test_slow_strangers_close_no_gateway(served: Client, hook: httpx.AsyncClient, peers: int) -> None:
    """While more bodies trickle in than there are places, unsigned, a signed STOP passes; the oldest are let go."""
    number = f"+44770090014{len(str(peers))}"
    patient_id = await person(served, number)

    async def endless() -> AsyncIterator[bytes]:
        yield b"From="
        await asyncio.Event().wait()

    async def slow(n: int) -> int:
        transport = httpx.ASGITransport(app=hook._transport.app, client=(f"192.0.2.{n % peers}", n))  # type: ignore[attr-defined]
        async with httpx.AsyncClient(transport=transport, base_url=hook.base_url) as http:
            return (await http.post("/texts", content=endless())).status_code

    strangers = [asyncio.create_task(slow(n)) for n in range(100)]
    await asyncio.sleep(0.05)
    body, headers = form("Stop", From=number)
    assert (await hook.post("/texts", content=body, headers=headers)).status_code == 200
    assert await denied(served, patient_id) == ["SMS", "VOICE", "CHAT"]
    gone = [one for one in strangers if one.done()]
    assert 0 < len(gone) < 100
    assert {one.result() for one in gone} == {408}
    for one in strangers:
        one.cancel()


async def test_secrets_stay_unseen() -> None:
    """A gateway shows none of its secrets when it is printed."""
    assert "token" not in repr(TEXTS)
