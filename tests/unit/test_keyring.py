"""The key-ring file: made once, changed whole or not at all, private, and refused in every unsafe state."""

import base64
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from commands.key_sharing import share
from crm.crypto.keyring import KeyRing
from crm.crypto.provider import USES, Wrapped
from crm.errors import KeyDestroyed, KeyUnavailable, ProviderUnavailable, Tampered, Unsafe
from crm.settings import Settings
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


def _tombstone(**members: object) -> dict[str, object]:
    ended = {"id": "contact-0", "use": "contact", "state": "destroyed", "created": "2026-01-01T00:00:00+00:00"}
    return ended | {"destroyed": "2026-02-01T00:00:00+00:00"} | members


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _first(**members: object) -> Callable[[dict[str, Any]], object]:
    return lambda ring: ring["keys"][0].update(members)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (lambda ring: ring.update(version=3), "version 1 or 2"),
        (lambda ring: ring.update(more=1), "not a key ring"),
        (lambda ring: ring.update(keys={}), "not a key ring"),
        (lambda ring: ring.update(part=False), "`part` is there and not true"),
        (lambda ring: ring.update(part=1), "`part` is there and not true"),
        (lambda ring: ring.update(part=True, version=1), "in a version before 2"),
        (lambda ring: ring["keys"].append(ring["keys"][0]), "repeats"),
        (lambda ring: ring["keys"][1].update(id=ring["keys"][0]["id"]), "repeats"),
        (lambda ring: ring["keys"][1].update(key=ring["keys"][0]["key"]), "repeats"),
        (lambda ring: ring["keys"][1].update(use=ring["keys"][0]["use"]), "two active"),
        (lambda ring: ring["keys"].append("text"), "members"),
        (lambda ring: ring["keys"][0].pop("created"), "members"),
        (_first(key=5), "members"),
        (_first(use="marketing"), "unknown use"),
        (_first(alg="AES-128-CBC"), "unknown use, alg"),
        (_first(state="destroyed"), "members created, destroyed"),
        (_first(state="pending"), "unknown use, alg or state"),
        (lambda ring: ring["keys"].append(_tombstone(destroyed="yesterday")), "destroyed at no time"),
        (lambda ring: ring["keys"].append(_tombstone(id=ring["keys"][0]["id"])), "repeats"),
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
    keys = [key["key"] for key in orjson.loads(path.read_bytes())["keys"] if isinstance(key, dict) and "key" in key]
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


def test_first_version_of_the_file_still_loads(path: Path) -> None:
    """A ring written before keys could be destroyed is read, and written as the newer version once it changes."""
    _edit(path, lambda ring: ring.update(version=1))
    wrapped = KeyRing.load(path).wrap(b"k", CONTEXT)
    KeyRing.load(path).rotate("contact")
    assert orjson.loads(path.read_bytes())["version"] == 2
    assert KeyRing.load(path).unwrap(wrapped, CONTEXT) == b"k"


def test_destroyed_key_leaves_its_name_and_no_octet(path: Path) -> None:
    """The file keeps the id and the times of a destroyed key, so that it is told from one that was never there."""
    ring = KeyRing.load(path)
    (old,) = ring.roots("contact")
    secret = next(key["key"] for key in orjson.loads(path.read_bytes())["keys"] if key["id"] == old)
    ring.rotate("contact")
    ended = ring.destroy(old)
    assert secret.encode() not in path.read_bytes()
    (tombstone,) = [key for key in orjson.loads(path.read_bytes())["keys"] if key["id"] == old]
    assert set(tombstone) == {"id", "use", "state", "created", "destroyed"}
    assert ring.destroy(old) == ended
    with pytest.raises(Unsafe, match="no key contact-x"):
        ring.destroy("contact-x")


def test_change_replaces_the_file_whole_and_private(path: Path) -> None:
    """After a rotation the file is another one of mode 0600, and no draft is left."""
    before = path.stat().st_ino
    KeyRing.load(path).rotate("contact")
    assert (path.stat().st_mode & 0o777, path.stat().st_ino != before) == (0o600, True)
    assert {entry.name for entry in path.parent.iterdir()} == {"keyring.json", ".keyring.json.lock"}


@pytest.mark.parametrize("failing", ["write", "replace"])
def test_change_that_fails_leaves_the_old_ring(path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """A full disk or a broken rename while the new file is written changes nothing, and leaves no draft."""
    ring, before = KeyRing.load(path), path.read_bytes()

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", broken) if failing == "write" else (Path, "replace", broken)))
    with pytest.raises(Unsafe, match="cannot be written"):
        ring.rotate("contact")
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} == {"keyring.json", ".keyring.json.lock"}


def test_two_commands_at_once_lose_no_key(path: Path) -> None:
    """Rotations by several rings of one file, all at the same time, each leave their key in it."""
    rings = [KeyRing.load(path) for _ in range(8)]
    with ThreadPoolExecutor(len(rings)) as pool:
        made = list(pool.map(lambda ring: ring.rotate("contact"), rings))
    ids = [key["id"] for key in orjson.loads(path.read_bytes())["keys"] if key["use"] == "contact"]
    assert len(ids) == len(rings) + 1
    assert set(made) < set(ids)


def test_running_process_sees_what_another_command_did(path: Path) -> None:
    """A ring that was read before follows the file: a rotation, and then a destruction, by somebody else."""
    running, other = KeyRing.load(path), KeyRing.load(path)
    old = running.wrap(b"k", CONTEXT)
    other.rotate("contact")
    new = other.wrap(b"n", CONTEXT)
    assert running.unwrap(new, CONTEXT) == b"n"
    assert running.unwrap(old, CONTEXT) == b"k"
    assert running.wrap(b"k", CONTEXT).key_ref == new.key_ref
    other.destroy(old.key_ref)
    with pytest.raises(KeyDestroyed):
        running.unwrap(old, CONTEXT)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-9]), id="half-written"),
        pytest.param(lambda path: path.chmod(0o644), id="open to others"),
        pytest.param(lambda path: path.symlink_to(path.rename(path.with_name("elsewhere"))), id="link"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes().replace(b"0", b"!")), id="damaged"),
    ],
)
def test_unusable_file_leaves_the_old_content_in_use(
    path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object]
) -> None:
    """A running service keeps what it read when the file is spoiled, warns once, and follows it again when mended."""
    running, content = KeyRing.load(path), path.read_bytes()
    wrapped = running.wrap(b"k", CONTEXT)
    spoil(path)
    assert [running.unwrap(wrapped, CONTEXT) for _ in range(3)] == [b"k"] * 3
    assert len(caplog.records) == 1
    with pytest.raises(Unsafe):
        running.rotate("contact")
    with pytest.raises(ProviderUnavailable):
        running.probe()
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
    KeyRing.load(path).rotate("contact")
    assert running.roots("contact")[0] == wrapped.key_ref
    assert len(running.roots("contact")) == 2


def test_first_keys_are_added_where_they_are_missing(path: Path) -> None:
    """Founding makes a key for each use that has none, and touches no other."""
    whole = KeyRing.load(path)
    part = partial_ring(path, "contact")
    part.found(["contact", "log"])
    assert part.uses() == {"contact", "log"}
    assert part.roots("contact") == whole.roots("contact")
    assert part.roots("log") != whole.roots("log")


def test_part_that_was_shared_is_only_read(path: Path) -> None:
    """It wraps and unwraps, and no key is made or destroyed in it, or in a part of it: the whole ring would lack it."""
    KeyRing.load(path).rotate("contact")
    old, _ = KeyRing.load(path).roots("contact")
    wrapped = KeyRing.load(path).wrap(b"k", CONTEXT)
    for output in (path.with_name("part.json"), path.with_name("part-of-part.json")):
        share(Settings(keyring=path), ["contact", "log"] if output.stem == "part" else ["contact"], output)
        path = output
        content = path.read_bytes()
        ring = KeyRing.load(path)
        assert orjson.loads(content)["part"] is True
        assert ring.unwrap(wrapped, CONTEXT) == b"k"
        assert ring.wrap(b"k", CONTEXT).key_ref == wrapped.key_ref
        attempts: list[tuple[Callable[..., object], object]] = [
            (ring.rotate, "contact"), (ring.destroy, old), (ring.found, ["contact"]), (ring.found, ["identity"]),
        ]  # fmt: skip
        for attempt, what in attempts:
            with pytest.raises(Unsafe, match="this ring is a part of another: change keys where the whole ring is"):
                attempt(what)
        assert path.read_bytes() == content


def test_part_of_a_ring_of_the_first_version(path: Path) -> None:
    """The part is of the newest version, which alone can say that it is one."""
    _edit(path, lambda ring: ring.update(version=1))
    share(Settings(keyring=path), ["contact"], path.with_name("part.json"))
    assert KeyRing.load(path.with_name("part.json")).uses() == {"contact", "log"}


def test_ring_can_be_made_for_some_uses(tmp_path: Path) -> None:
    """A ring is created with keys for the uses that were asked for."""
    assert KeyRing.create(tmp_path / "k.json", {"contact", "log"}).uses() == {"contact", "log"}


def test_link_in_place_of_the_lock_is_not_followed(path: Path) -> None:
    """Nobody makes a change write to another file by a link where the lock is."""
    path.with_name(".keyring.json.lock").symlink_to(path.with_name("elsewhere"))
    with pytest.raises(Unsafe, match="cannot be written"):
        KeyRing.load(path).rotate("contact")
    assert not path.with_name("elsewhere").exists()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        pytest.param(lambda path: path.chmod(0o644), "open to other users", id="readable by all"),
        pytest.param(lambda path: path.chmod(0o640), "open to other users", id="readable by a group"),
        pytest.param(lambda path: path.chmod(0o602), "open to other users", id="writable by all"),
        pytest.param(lambda path: path.parent.chmod(0o777), "anyone may replace", id="folder writable by all"),
        pytest.param(lambda path: path.symlink_to(path.rename(path.with_name("x"))), "symbolic link", id="link"),
        pytest.param(_pipe, "not a regular file", id="pipe"),
        pytest.param(lambda path: path.unlink(), "is missing", id="missing"),
    ],
)
def test_ring_that_others_can_reach_is_refused(path: Path, spoil: Callable[[Path], object], text: str) -> None:
    """A ring that somebody else may have read or replaced is neither read nor changed, and the refusal says why."""
    spoil(path)
    for attempt in (lambda: KeyRing.load(path), lambda: KeyRing.load(path).rotate("contact")):
        with pytest.raises(Unsafe, match=text):
            attempt()


def test_ring_can_be_restricted_to_some_uses(path: Path) -> None:
    """A process that was told its uses neither has nor opens what else is in the file."""
    wrapped = KeyRing.load(path).wrap(b"k", CONTEXT)
    part = KeyRing.load(path, {"identity"})
    assert part.uses() == {"identity"}
    for attempt in (
        lambda: part.unwrap(wrapped, CONTEXT),
        lambda: part.wrap(b"k", CONTEXT),
        lambda: part.rotate("contact"),
        lambda: part.roots("contact"),
    ):
        with pytest.raises(KeyUnavailable):
            attempt()
