"""Keeps a copy of what a system needs of every record, by asking now and then what changed since it asked last.

The copy is a JSON file with a position, and records by id. Who was away for longer than changes are kept asks which of
the records that it knows have changed.

python keep_a_copy.py copy.json
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asking import Refused, ask

AT_ONCE = 1_000

CHANGES = """query Changes($after: String) {
  recordChanges(first: 100, after: $after) {
    edges { node { id kind } } pageInfo { hasNextPage endCursor } newest } }"""
SINCE = """query Since($known: [KnownRecord!]!) {
  changedSince(known: $known) { ... on ChangedRecord { id } ... on Refusal { id code } } }"""
READ = """query Read($ids: [ID!]!) {
  patients(ids: $ids) { ... on Patient { id version displayName languages { tag } } ... on Refusal { id code } } }"""


def parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """As many at a time as one request may name."""
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def changed(copy: dict[str, Any]) -> list[str]:
    """The ids of the records that changed since the copy's position, which is moved on."""
    ids: dict[str, None] = {}
    while True:
        page = ask(CHANGES, after=copy["position"])["recordChanges"]
        ids.update((edge["node"]["id"], None) for edge in page["edges"])
        copy["position"] = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return list(ids)


def changed_meanwhile(copy: dict[str, Any]) -> list[str]:
    """The same, where the position is not kept any more: of the records that the copy knows."""
    copy["position"] = ask(CHANGES, after=None)["recordChanges"]["newest"]
    known = [{"id": name, "version": record["version"]} for name, record in copy["records"].items()]
    return [each["id"] for part in parts(known) for each in ask(SINCE, known=part)["changedSince"]]


def refresh(place: Path) -> None:
    """Brings the copy up to date. Nothing of it is kept where this fails halfway, so that it can be begun again."""
    copy = json.loads(place.read_text()) if place.exists() else {"position": None, "records": {}}
    try:
        ids = changed(copy)
    except Refused as refusal:
        if refusal.code != "POSITION_EXPIRED":
            raise
        ids = changed_meanwhile(copy)
    for part in parts(ids):
        for record in ask(READ, ids=part)["patients"]:
            if "code" in record:  # erased, or not to be known of any more: the copy must not know it either
                copy["records"].pop(record["id"], None)
            else:
                copy["records"][record["id"]] = record
    place.write_text(json.dumps(copy, indent=2))
    print(f"{len(ids)} records were changed, {len(copy['records'])} are known")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: keep_a_copy.py FILE")
    try:
        refresh(Path(sys.argv[1]))
    except Refused as refusal:
        sys.exit(f"refused: {refusal.code}")
