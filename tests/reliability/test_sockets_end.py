"""Sockets and streams of a real process: one that is told to end says so to whoever is connected, and ends in order."""

import json
import signal
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from auth.development import DevelopmentIssuer
from auth.roles import Role
from tests.conftest import Databases
from tests.processes import PATIENCE, founded, serving
from tests.sockets import SUBPROTOCOL

EVENTS = {"accept": "text/event-stream"}


@pytest.mark.slow
def test_a_process_that_ends_tells_its_sockets(databases: Databases, tmp_path: Path) -> None:
    """Answers come over both transports until SIGTERM; then 1012, an exit status of 0, and no word of a failure."""
    url = databases.create("sqlite")
    place = founded(tmp_path, url)
    with serving("serve", until="/readyz", **place) as process:
        token = DevelopmentIssuer(tmp_path).sign(Role.FRONT_DESK, "f-1")
        asked = {"query": "{ viewer { subject } }"}
        answer = {"data": {"viewer": {"subject": "f-1"}}}
        bearer = {"authorization": f"Bearer {token}"}
        events = httpx.post(f"{process.address}/graphql", json=asked, headers={**bearer, **EVENTS}, timeout=PATIENCE)
        assert events.text.startswith(f"event: next\ndata: {json.dumps(answer, separators=(',', ':'))}\n\n")
        address = process.address.replace("http:", "ws:")
        with connect(f"{address}/graphql", subprotocols=[SUBPROTOCOL], compression=None) as socket:
            socket.send(json.dumps({"type": "connection_init", "payload": bearer}))
            assert json.loads(socket.recv(PATIENCE))["type"] == "connection_ack"
            socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": asked}))
            assert json.loads(socket.recv(PATIENCE)) == {"id": "1", "type": "next", "payload": answer}
            assert json.loads(socket.recv(PATIENCE)) == {"id": "1", "type": "complete"}
            process.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                socket.recv(PATIENCE)
            assert socket.protocol.close_code == 1012
        assert process.stop() == 0
        assert "error" not in process.said.lower()
    databases.drop(url)
