"""The key-ring file: made once, whole and private, and refused in every unsafe state."""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from crm.crypto.keyring import KeyRing
from crm.crypto.provider import USES, Wrapped
from crm.errors import KeyUnavailable, Tampered, Unsafe
from tests.keys import partial_ring

CONTEXT = {"app": "heed", "env": "test", "purpose": "wrap", "use": "contact", "no": "1"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key ring on disk."""
    place = tmp_path / "keys" / "keyring.json"
    KeyRing.create(place)
    return place


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    ring = orjson.loads(path.read_bytes())
    change(ring)
    path.write_bytes(orjson.dumps(ring))


def test_created_ring_is_private_and_whole(path: Path) -> None:
    """The file has mode 0600, one key for every use, and nothing is left beside it."""
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["keyring.json"]
    assert KeyRing.load(path).uses() == frozenset(USES)


def test_ring_is_never_overwritten(path: Path) -> None:
    """Creating again is refused, leaves no draft behind, and keeps every octet of the first ring."""
    before = path.read_bytes()
    with pytest.raises(Unsafe, match="never overwritten"):
        KeyRing.create(path)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_ring_is_not_written_through_a_dangling_link(tmp_path: Path) -> None:
    """A symbolic link at the ring's place is not followed on creation."""
    place = tmp_path / "keyring.json"
    place.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(Unsafe):
        KeyRing.create(place)
    assert not (tmp_path / "elsewhere.json").exists()


def test_ring_that_cannot_be_written_is_a_clear_refusal(tmp_path: Path) -> None:
    """Where a file stands in the place of the folder, the refusal says what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Unsafe, match="writable"):
        KeyRing.create(tmp_path / "file" / "keyring.json")


def test_wrapped_keys_unwrap_in_their_context_only(path: Path) -> None:
    """Every change of the context, of the blob or of its length is refused."""
    ring = KeyRing.load(path)
    wrapped = ring.wrap(b"k" * 33, CONTEXT)
    assert KeyRing.load(path).unwrap(wrapped, CONTEXT) == b"k" * 33
    for name in CONTEXT:
        with pytest.raises(Tampered):
            ring.unwrap(wrapped, CONTEXT | {name: "identity"})
    for bit in range(len(wrapped.blob) * 8):
        flipped = bytearray(wrapped.blob)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Tampered):
            ring.unwrap(Wrapped(wrapped.provider, wrapped.key_ref, bytes(flipped)), CONTEXT)
    for end in range(len(wrapped.blob)):
        with pytest.raises(Tampered):
            ring.unwrap(Wrapped(wrapped.provider, wrapped.key_ref, wrapped.blob[:end]), CONTEXT)


def test_foreign_root_keys_are_unavailable(path: Path) -> None:
    """A reference to another provider's or another ring's key is not tried with the keys at hand."""
    ring = KeyRing.load(path)
    wrapped = ring.wrap(b"k" * 33, CONTEXT)
    for foreign in (Wrapped("vault", wrapped.key_ref, wrapped.blob), Wrapped("keyring", "contact-0", wrapped.blob)):
        with pytest.raises(KeyUnavailable):
            ring.unwrap(foreign, CONTEXT)


def test_partial_ring_holds_its_uses_only(path: Path) -> None:
    """A ring cut down to one use wraps for that use and for no other."""
    ring = partial_ring(path, "contact")
    assert ring.uses() == {"contact"}
    assert ring.unwrap(KeyRing.load(path).wrap(b"k", CONTEXT), CONTEXT) == b"k"
    with pytest.raises(KeyUnavailable):
        ring.wrap(b"k", CONTEXT | {"use": "identity"})


def test_retiring_key_still_unwraps(path: Path) -> None:
    """After the root key changed, the old one opens what it wrapped, and the new one wraps."""
    old = KeyRing.load(path).wrap(b"k", CONTEXT)

    def rotate(ring: dict[str, Any]) -> None:
        entry = next(key for key in ring["keys"] if key["use"] == "contact")
        fresh = dict(entry, id="contact-2", key=base64.b64encode(os.urandom(32)).decode())
        entry["state"] = "retiring"
        ring["keys"].append(fresh)

    _edit(path, rotate)
    ring = KeyRing.load(path)
    assert ring.unwrap(old, CONTEXT) == b"k"
    assert ring.wrap(b"k", CONTEXT).key_ref == "contact-2"


def _first(**members: object) -> Callable[[dict[str, Any]], object]:
    return lambda ring: ring["keys"][0].update(members)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (lambda ring: ring.update(version=2), "version 1"),
        (lambda ring: ring.update(more=1), "not a key ring"),
        (lambda ring: ring.update(keys={}), "not a key ring"),
        (lambda ring: ring["keys"].append(ring["keys"][0]), "repeats"),
        (lambda ring: ring["keys"][1].update(id=ring["keys"][0]["id"]), "repeats"),
        (lambda ring: ring["keys"][1].update(key=ring["keys"][0]["key"]), "repeats"),
        (lambda ring: ring["keys"][1].update(use=ring["keys"][0]["use"]), "two active"),
        (lambda ring: ring["keys"].append("text"), "members"),
        (lambda ring: ring["keys"][0].pop("created"), "members"),
        (_first(key=5), "members"),
        (_first(use="marketing"), "unknown use"),
        (_first(alg="AES-128-CBC"), "unknown use, alg"),
        (_first(state="destroyed"), "unknown use, alg or state"),
        (_first(state="retiring"), "no active"),
        (_first(id=""), "empty id"),
        (_first(key=base64.b64encode(bytes(range(31))).decode()), "32 octets"),
        (_first(key=base64.b64encode(bytes(range(33))).decode()), "32 octets"),
        (_first(key=base64.b64encode(bytes(32)).decode()), "32 octets"),
        (_first(key="!" * 44), "base64"),
    ],
)
def test_malformed_rings_are_refused(path: Path, fault: Callable[[dict[str, Any]], object], text: str) -> None:
    """Each fault is named, with what to do, and no key is ever part of the text."""
    _edit(path, fault)
    with pytest.raises(Unsafe, match=text) as refusal:
        KeyRing.load(path)
    keys = [key["key"] for key in orjson.loads(path.read_bytes())["keys"] if isinstance(key, dict)]
    assert not [key for key in keys if str(key) in str(refusal.value) and key != 5]
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"version": 1, "keys": 1}'])
def test_what_is_no_ring_is_refused(path: Path, content: bytes) -> None:
    """An empty, half-written or foreign file is refused as malformed."""
    path.write_bytes(content)
    with pytest.raises(Unsafe, match="malformed"):
        KeyRing.load(path)


def test_half_written_ring_is_refused(path: Path) -> None:
    """A ring cut off anywhere is refused, however much of it is left."""
    content = path.read_bytes()
    for end in range(0, len(content) - 1, 37):
        path.write_bytes(content[:end])
        with pytest.raises(Unsafe, match="malformed"):
            KeyRing.load(path)


def test_ring_does_not_show_its_keys(path: Path) -> None:
    """Printing a ring shows nothing."""
    assert f"{KeyRing.load(path)!r} {KeyRing.load(path)}" == "*** ***"
