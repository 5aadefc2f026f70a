"""Receives webhooks: checks signature and age of each message, handles each once, prints it as one line of JSON.

CLINIC_WEBHOOK_SECRET is what `webhooks add` printed (several, with spaces, while one is replaced). Needs nothing but
Python; put something that speaks HTTPS in front of it.

python receive_webhooks.py [PORT]
"""

import base64
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLERANCE = 300
"""Seconds by which a message may be older or newer than our clock: an old one that somebody recorded is refused."""

LARGEST = 65_536

_SEEN: dict[str, None] = {}
"""Ids of what was handled lately. Where you keep what you learn, keep these beside it."""


def genuine(headers: Any, body: bytes) -> bool:
    """Whether a message was signed under one of our secrets, and lately (https://www.standardwebhooks.com)."""
    name, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (at.isascii() and at.isdigit() and abs(time.time() - int(at)) <= TOLERANCE):
        return False
    signed = f"{name}.{at}.".encode() + body
    given = headers.get("webhook-signature", "").encode().split(b" ")
    for secret in os.environ["CLINIC_WEBHOOK_SECRET"].split():
        key = base64.b64decode(secret.removeprefix("whsec_"))
        right = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
        if any(hmac.compare_digest(right, each) for each in given):
            return True
    return False


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 once a message is handled; whatever else it answers brings the message again."""

    timeout = 20

    def do_POST(self) -> None:
        """Takes one message."""
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > LARGEST:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        if not genuine(self.headers, body):
            self.send_error(401)
            return
        name = self.headers["webhook-id"]
        if name not in _SEEN:
            print(json.dumps(json.loads(body)), flush=True)  # here: read the record, and take what you read
            _SEEN[name] = None
            if len(_SEEN) > 10_000:
                del _SEEN[next(iter(_SEEN))]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is said of requests: paths may hold secrets."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Receiver) as server:
        print(f"listening on port {server.server_port}", file=sys.stderr, flush=True)
        server.serve_forever()
