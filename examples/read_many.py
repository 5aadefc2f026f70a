"""Reads many people at once, such as tomorrow's appointments: a thousand ids in one request, one line of JSON for each.

python read_many.py < ids.txt
"""

import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from asking import Refused, ask

AT_ONCE = 1_000

QUERY = """query ReadMany($ids: [ID!]!) {
  patients(ids: $ids) {
    ... on Patient { id version displayName languages { tag modes } accessNeeds { kind } }
    ... on Refusal { id code } } }"""


def read(ids: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Each person, or the refusal of one, in the order of the ids."""
    while part := list(islice(ids, AT_ONCE)):
        yield from ask(QUERY, ids=part)["patients"]


if __name__ == "__main__":
    try:
        for person in read(line.strip() for line in sys.stdin if line.strip()):
            print(json.dumps(person))
    except Refused as refusal:
        sys.exit(f"refused: {refusal.code}")
