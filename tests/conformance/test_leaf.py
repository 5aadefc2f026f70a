"""A leaf is RFC 8785, octet for octet: against an independent implementation, and against vectors that never change."""

import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from crm.audit.event import Event, Who, leaf, leaf_hash

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors/leaf.json").read_text("ascii"))


def built(vector: dict[str, Any]) -> bytes:
    """The leaf of a vector's event."""
    facts = dict(vector["event"])
    who = Who(**facts.pop("who", {}))
    return leaf(Event(who=who, **facts), **vector["place"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_golden_leaf(vector: dict[str, Any]) -> None:
    """Octets and hash of each golden event are those frozen in the vectors: stored evidence depends on them."""
    octets = built(vector)
    assert octets.decode("ascii") == vector["leaf"]
    assert leaf_hash(octets).hex() == vector["leaf_hash"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_leaf_is_canonical(vector: dict[str, Any]) -> None:
    """Parsing a leaf and writing it with the `rfc8785` library gives the same octets."""
    octets = built(vector)
    assert rfc8785.dumps(json.loads(octets)) == octets


def test_vectors_cover_every_member() -> None:
    """Each member of the format occurs in some vector."""
    seen = {name for vector in VECTORS for name in json.loads(vector["leaf"])}
    assert seen >= {
        *("v", "id", "t", "src", "act", "op", "req", "qid", "who", "pou", "pat"),
        *("fld", "msk", "chg", "obj", "cnt", "flg", "out", "why", "pol", "cut", "ref", "sealed"),
    }
