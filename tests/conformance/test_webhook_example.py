"""The receiver of docs/webhooks.md does what the page says, as somebody runs it: real messages, forged and old ones."""

import asyncio
import json
import time
from pathlib import Path

import httpx

from crm.crypto.webhook import read_secret, standard
from tests.conftest import Databases
from tests.hooked import OPERATOR, hooked
from tests.house import REQUEST
from tests.pages import Reader, put, shell_lines
from tests.processes import free_port


async def test_the_receiver(databases: Databases, tmp_path: Path) -> None:
    """It prints what the service tells, once each; what is forged, changed or old is refused and not printed."""
    url, port = databases.create("sqlite"), free_port()
    async with hooked(url, tmp_path, start=False) as it:
        known = it.endpoint.registration
        await it.hooks.disable(OPERATOR, REQUEST, it.endpoint.id)
        _, secret = await it.hooks.add(
            OPERATOR, REQUEST, url=f"http://127.0.0.1:{port}/", role=known.role, purpose=known.purpose
        )
        [line] = [each for each in shell_lines("webhooks.md") if "receive_webhooks.py" in each]
        assert line.removesuffix(" 8080") in shell_lines("integrating.md")
        reader = Reader.of(tmp_path / "reader")
        async with reader.started(put(line, {"whsec_…": secret, "8080": str(port)})) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            async with asyncio.timeout(30):
                await process.stderr.readline()
                it.couriers()
                sam = (await it.house.register())["id"]
                await it.number()
                first = json.loads(await process.stdout.readline())
                assert (first["type"], first["data"]["id"], first["data"]["version"]) == ("patient.changed", sam, 1)
                await _refused(port, secret)
                assert json.loads(await process.stdout.readline())["data"] == {}  # the genuine one among them, once
                await it.change(sam, "Sammy")
                assert json.loads(await process.stdout.readline())["data"]["version"] == 2
    databases.drop(url)


async def _refused(port: int, secret: str) -> None:
    """Messages of nobody, of another time, with another body, and of somebody who has only the public part."""
    body, at = b'{"type":"patient.changed","data":{}}', str(int(time.time()))
    right = standard(read_secret(secret), "msg_1", at, body)
    old = str(int(at) - 600)
    async with httpx.AsyncClient() as http:
        for name, moment, signature, content in (
            ("msg_2", at, right, body),
            ("msg_1", at, right, body + b" "),
            ("msg_1", old, standard(read_secret(secret), "msg_1", old, body), body),
            ("msg_1", at, standard(b"another secret", "msg_1", at, body), body),
            ("msg_1", at, right.removeprefix("v1,"), body),
            ("msg_1", "now", right, body),
            ("msg_1", at, "", body),
        ):
            headers = {"webhook-id": name, "webhook-timestamp": moment, "webhook-signature": signature}
            answer = await http.post(f"http://127.0.0.1:{port}/", content=content, headers=headers)
            assert answer.status_code == 401
        headers = {"webhook-id": "msg_1", "webhook-timestamp": at, "webhook-signature": f"v1,AAAA {right}"}
        for _ in range(2):
            answer = await http.post(f"http://127.0.0.1:{port}/", content=body, headers=headers)
            assert answer.status_code == 204
