"""Watches the access log as it grows, as a privacy officer: prints one line of JSON for each event.

Goes on where it was when the connection breaks; the position is kept in a file. With words behind it, only events with
one of these circumstances.

python watch_the_log.py position.txt [VIP SELF_ACCESS …]
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asking import Refused, answer, checked

PAUSE = 1.0
"""Seconds before a stream that broke is asked for anew."""

LATER = {"OVERLOADED", "AUDIT_UNAVAILABLE", "RATE_LIMITED"}
"""Codes after which the same question may be answered; others need a human, or a fresh token."""

WATCH = """subscription Watch($flags: [AccessFlag!], $after: String) {
  accessEventAppended(filter: { flags: $flags }, after: $after) {
    position
    edges { node { seq recordedAt action outcome actor { subject roles } patientId fieldsReturned flags } } } }"""


def answers(flags: list[str] | None, after: str | None) -> Iterator[dict[str, Any]]:
    """What is appended behind a position until the stream ends; first of all where that is. Raises Refused, OSError."""
    with answer(WATCH, {"flags": flags, "after": after}, "text/event-stream") as stream:
        for line in stream:
            if line.startswith(b"data: {"):
                yield checked(json.loads(line.removeprefix(b"data: ")))["accessEventAppended"]


def watch(place: Path, flags: list[str] | None) -> None:
    """Prints events without end. They count as seen once the position behind them is in the file."""
    while True:
        try:
            for told in answers(flags, place.read_text() if place.exists() else None):
                for edge in told["edges"]:
                    print(json.dumps(edge["node"]), flush=True)
                place.write_text(told["position"])
        except OSError:
            pass  # cut off: by the end of a process, or the network
        except Refused as refusal:
            if refusal.code not in LATER:
                raise
        time.sleep(PAUSE)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: watch_the_log.py POSITION_FILE [CIRCUMSTANCE…]")
    try:
        watch(Path(sys.argv[1]), sys.argv[2:] or None)
    except Refused as refusal:
        sys.exit(f"refused: {refusal.code}")
