"""Looks up one person at the moment they are spoken to: how to address them, in which language, and what they need.

python look_up.py 0198f0c2-7a00-7000-8000-000000000001
"""

import json
import sys

from asking import Refused, ask

QUERY = """query LookUp($id: ID!) {
  patient(id: $id) { version displayName pronouns languages { tag modes } interpreterNeeded accessNeeds { kind } } }"""

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: look_up.py ID")
    try:
        print(json.dumps(ask(QUERY, id=sys.argv[1])["patient"], indent=2))
    except Refused as refusal:
        sys.exit(f"refused: {refusal.code}")
