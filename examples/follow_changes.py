"""Follows changes as they happen, as a stream of events, and goes on where it was when the connection breaks.

Prints one line of JSON for each change; the position of the last one is kept in a file. Without ids all records are
followed, which is for programs. With ids it begins with the first change from now on: read the records once it runs.

python follow_changes.py position.txt [ID…]
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asking import Refused, answer, ask, checked

PAUSE = 1.0
"""Seconds before a stream that broke is asked for anew."""

LATER = {"OVERLOADED", "AUDIT_UNAVAILABLE", "KEY_UNAVAILABLE", "RATE_LIMITED"}
"""Codes after which the same question may be answered; others need a human, or a fresh token."""

NEWEST = "query Newest { recordChanges(first: 1) { newest } }"
FOLLOW = """subscription Follow($ids: [ID!], $after: String) {
  profileChanged(patientIds: $ids, after: $after) { id version changedFields kind position changedAt } }"""


def changes(ids: list[str] | None, after: str | None) -> Iterator[dict[str, Any]]:
    """What happens behind a position until the stream ends. Raises Refused and OSError."""
    with answer(FOLLOW, {"ids": ids, "after": after}, "text/event-stream") as stream:
        for line in stream:  # a comment comes every twelve seconds, so silence means that the connection is lost
            if line.startswith(b"data: {"):
                yield checked(json.loads(line.removeprefix(b"data: ")))["profileChanged"]


def follow(place: Path, ids: list[str] | None) -> None:
    """Prints changes without end. A change counts as handled once its position is in the file."""
    if ids is None and not place.exists():  # so that nothing is missed between this moment and the first event
        place.write_text(ask(NEWEST)["recordChanges"]["newest"])
    while True:
        try:
            for change in changes(ids, place.read_text() if place.exists() else None):
                print(json.dumps(change), flush=True)
                place.write_text(change["position"])
        except OSError:
            pass  # cut off: by the end of a process, or the network
        except Refused as refusal:
            if refusal.code not in LATER:
                raise
        time.sleep(PAUSE)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: follow_changes.py POSITION_FILE [ID…]")
    try:
        follow(Path(sys.argv[1]), sys.argv[2:] or None)
    except Refused as refusal:
        sys.exit(f"refused: {refusal.code}")
