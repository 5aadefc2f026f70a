"""Bundles of real logs in the hands of a stranger who has one file of ours, and in those of a forger."""

import base64
import json
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from auth.errors import Forbidden
from auth.roles import Role
from crm.audit.bundle import proof
from crm.audit.checkpoint import Checkpoint
from crm.audit.event import Act, Outcome, leaf_hash
from crm.audit.tree import Frontier
from crm.crypto.note import Signer
from crm.errors import Unsafe
from crm.store import proofs
from tests.archive import COSIGNER, KEY, ORG, Archive, archive
from tests.conftest import Databases
from tests.intruder import Intruder
from tests.logs import signer
from tests.offline import check, run

pytestmark = pytest.mark.asyncio(loop_scope="module")

WITNESS = COSIGNER.verifier_key
SIZE = 331
"""Events in the bundle: 300 that were witnessed, 30 more, and that of the export."""


@pytest.fixture(scope="module")
def url(shared_engine: str, databases: Databases) -> Iterator[str]:
    """A database for the whole module, on each engine in turn."""
    made = databases.create(shared_engine)
    yield made
    databases.drop(made)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bundled(url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Archive]:
    """A log of 300 witnessed events and 30 more, and its bundle."""
    async with archive(url, tmp_path_factory.mktemp("archive")) as it:
        await it.log(300)
        await it.cosign()
        await it.log(30, 300)
        await it.bundle()
        yield it


@pytest.fixture
def copy(bundled: Archive, tmp_path: Path) -> Path:
    """A copy of the bundle to do things to."""
    return Path(shutil.copytree(bundled.folder / "bundle", tmp_path / "copy"))


def files_of(folder: Path) -> list[Path]:
    """All files in a folder and below it."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


async def test_a_stranger_checks_it_with_what_is_in_it(copy: Path, tmp_path: Path) -> None:
    """In an empty folder, with Python alone and the program out of the bundle; by the bundle's key only if told so."""
    (tmp_path / "empty").mkdir()
    words = ["bundle", copy, "--key", KEY, "--witness", WITNESS, "--earlier", copy / "witnessed"]
    ended = run(tmp_path / "empty", *words, verifier=copy / "audit-verify.py")
    assert ended.status == 0, ended.said
    assert ended.said.endswith("ALL WELL\n")
    assert f"log {KEY.partition('+')[0]}: {SIZE} events" in ended.said
    assert "witness witness.test/w1, named by you, of 300 events: saw it at 2026-11-21T18:55:03Z" in ended.said
    assert f"events 300 to {SIZE - 1} rest on the word of the log's key alone" in ended.said
    assert (check("bundle", copy).status, check("bundle", copy, "--key", "nonsense").status) == (2, 2)
    trusting = check("bundle", copy, "--trust-bundle-key")
    assert (trusting.status, "WARNING" in trusting.said) == (0, True)


async def test_the_export_is_in_the_log_once(bundled: Archive) -> None:
    """Who took the log out, as one event, which is the last one of the bundle."""
    [exported] = await bundled.it.leaves(org=ORG, act="audit.export")
    assert (exported["op"], exported["cnt"], exported["who"]["roles"]) == (
        "command:audit-bundle", SIZE, ["compliance_officer"],
    )  # fmt: skip
    octets = (bundled.folder / f"bundle/tile/entries/001.p/{SIZE - 256}").read_bytes()
    assert octets.endswith(json.dumps(exported, separators=(",", ":"), sort_keys=True).encode())


async def test_every_byte_counts(copy: Path) -> None:
    """In every file, at its ends and at random places between: a changed byte is found."""
    drawn = random.Random(33)
    files = files_of(copy)
    assert len(files) == 12
    for file in files:
        octets = file.read_bytes()
        for place in {0, len(octets) - 1, *(drawn.randrange(len(octets)) for _ in range(3))}:
            changed = bytearray(octets)
            changed[place] ^= 1 << drawn.randrange(8)
            file.write_bytes(changed)
            ended = check("bundle", copy, "--key", KEY)
            assert (ended.status, "ALL WELL" in ended.said) == (1, False), (file, place, ended)
        file.write_bytes(octets)
    assert check("bundle", copy, "--key", KEY).status == 0


async def test_nothing_may_be_missing_or_added(copy: Path) -> None:
    """A file less, cut, longer, or one more: found. What witnesses saw may not be left out either."""
    for file in files_of(copy):
        octets = file.read_bytes()
        file.unlink()
        missing = check("bundle", copy, "--key", KEY, "--witness", WITNESS)
        assert missing.status == 1, (file, missing)
        for wrong in (octets[:-1], octets + b"\n"):
            file.write_bytes(wrong)
            assert check("bundle", copy, "--key", KEY).status == 1, file
        file.write_bytes(octets)
    (copy / "tile/0/002").write_bytes(b"more")
    ended = check("bundle", copy, "--key", KEY)
    assert (ended.status, ended.said) == (1, "WRONG: tile/0/002: does not belong into this bundle\n")


@pytest.mark.parametrize("number", [0, 17, 255, 256, 299, SIZE - 1])
async def test_the_first_bad_event_is_named(copy: Path, number: int) -> None:
    """An event that was edited, and everything behind it that was swapped: the first one is named."""
    file = copy / f"tile/entries/{'000' if number < 256 else f'001.p/{SIZE - 256}'}"
    octets, at = file.read_bytes(), 0
    for _ in range(number % 256):
        at += 2 + int.from_bytes(octets[at : at + 2])
    assert octets[at + 2 : at + 3] == b"{"
    file.write_bytes(octets[: at + 20] + bytes([octets[at + 20] ^ 1]) + octets[at + 21 :])
    ended = check("bundle", copy, "--key", KEY)
    assert (ended.status, ended.said) == (1, f"WRONG: event {number}: not the event that was logged there\n")


def forged(copy: Path, leaves: list[bytes], key: Signer) -> None:
    """Writes a bundle of other events over a copy, as somebody with the database and a key would."""
    shutil.rmtree(copy / "tile")
    tree, hashes = Frontier(), [leaf_hash(leaf) for leaf in leaves]
    for each in hashes:
        tree.append(each)
    for n in range(-(-len(leaves) // 256)):
        part = leaves[n * 256 : (n + 1) * 256]
        end = f"{n:03}" + ("" if len(part) == 256 else f".p/{len(part)}")
        for name, octets in (
            (f"tile/0/{end}", b"".join(hashes[n * 256 : (n + 1) * 256])),
            (f"tile/entries/{end}", b"".join(len(leaf).to_bytes(2) + leaf for leaf in part)),
        ):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(octets)
    if full := len(leaves) // 256:
        (copy / "tile/1").mkdir(parents=True)
        roots = []
        for n in range(full):
            whole = Frontier()
            for each in hashes[n * 256 : (n + 1) * 256]:
                whole.append(each)
            roots.append(whole.root())
        (copy / "tile/1/000.p").mkdir()
        (copy / f"tile/1/000.p/{full}").write_bytes(b"".join(roots))
    (copy / "checkpoint").write_text(key.sign(Checkpoint(key.name, len(leaves), tree.root()).text()))


def leaves_of(copy: Path) -> list[bytes]:
    """The events of a bundle."""
    found = []
    for file in files_of(copy / "tile/entries"):
        octets, at = file.read_bytes(), 0
        while at < len(octets):
            size = int.from_bytes(octets[at : at + 2])
            found.append(octets[at + 2 : at + 2 + size])
            at += 2 + size
    return found


async def test_a_forger_with_the_log_key(copy: Path, tmp_path: Path) -> None:
    """Who can sign hides nothing that a witness saw, nor a gap in a run. The rest he can, till two notes meet."""
    whole, honest = leaves_of(copy), Path(shutil.copytree(copy, tmp_path / "honest"))
    own = signer(ORG, 1)
    forged(copy, whole, own)
    assert check("bundle", copy, "--key", KEY).status == 0, "the forger's tools make good bundles of good events"
    for number, leaves, said in (
        (200, whole[:200] + whole[201:], "event 200: 202 of the run"),
        (310, whole[:310] + whole[311:], "event 310: 312 of the run"),
        (40, [*whole[:40], whole[41], whole[40], *whole[42:]], "event 40: 42 of the run"),
        (40, [*whole[:41], *whole[40:]], "event 41: 41 of the run"),
        (299, whole[:299], "event 299: missing: the file witnessed has 300 events"),
        (12, [*whole[:12], whole[12].replace(b'"read"', b'"boot"'), *whole[13:]], "an event before 300: not what"),
        (320, [*whole[:320], b'{"v":1}', *whole[321:]], "event 320: not an event as the log writes them: without act"),
        (320, [*whole[:320], whole[320] + b" ", *whole[321:]], "event 320: not an event as the log writes them"),
    ):
        forged(copy, leaves, own)
        ended = check("bundle", copy, "--key", KEY)
        assert (ended.status, ended.said.startswith(f"WRONG: {said}")) == (1, True), (number, ended)
    forged(copy, whole[:-5], own)
    unseen = check("bundle", copy, "--key", KEY)
    assert (unseen.status, "events 300 to 325 rest on the word of the log's key alone" in unseen.said) == (0, True)
    forged(copy, [*whole[:-1], whole[-1].replace(b"u-1", b"u-2")], own)
    fork = check("compare", honest, copy, "--key", KEY)
    assert fork.status == 1
    assert all((each / "checkpoint").read_text() in fork.said for each in (honest, copy)), "both notes are the proof"


async def test_another_key_opens_nothing(copy: Path) -> None:
    """A bundle forged under a key of one's own convinces only those who take the key from it."""
    stranger = Signer(signer(ORG, 1).name, bytes(32))
    forged(copy, leaves_of(copy), stranger)
    (copy / "witnessed").unlink()
    assert "is not signed by a key that is trusted here" in check("bundle", copy, "--key", KEY).said
    assert check("bundle", copy, "--key", KEY).status == 1


async def test_comparing_and_policies(copy: Path, tmp_path: Path) -> None:
    """One history, as far as it can be seen; a policy that is not met, or means nothing, is not passed over."""
    assert check("compare", copy, copy / "witnessed", "--key", KEY).status == 0
    assert check("compare", copy / "checkpoint", copy / "witnessed", "--key", KEY).status == 3
    assert check("compare", copy / "checkpoint", copy / "checkpoint", "--key", KEY).status == 0
    assert check("compare", copy, tmp_path / "nothing", "--key", KEY).status == 2
    other = "witness.test/w2+" + WITNESS.split("+", 1)[1]
    policy = tmp_path / "policy"
    for text, status in (
        (f"witness a {WITNESS}\nquorum a\n", 0),
        (f"# any of these\nwitness a {WITNESS}\ngroup g any a\ngroup h 1 g\nquorum h\n", 0),
        ("quorum none\n", 0),
        (f"witness a {KEY}\nquorum a\n", 2),
        (f"witness a {other}\nquorum a\n", 2),
        (f"witness a {WITNESS}\n", 2),
        (f"witness a {WITNESS}\ngroup g 2 a\nquorum g\n", 2),
        ("quorum b\n", 2),
    ):
        policy.write_text(text)
        assert check("bundle", copy, "--key", KEY, "--policy", policy).status == status, text
    stranger = type(COSIGNER)("witness.test/w2", bytes(32)).verifier_key
    assert check("bundle", copy, "--key", KEY, "--witness", stranger).status == 1


async def test_a_single_event(bundled: Archive, tmp_path: Path) -> None:
    """A proof in one file, made from the database; not for another event, place or key."""
    head = await proofs.head(bundled.it.database, ORG)
    assert head is not None
    assert head.note is not None
    leaf = leaves_of(bundled.folder / "bundle")[123]
    path = await proofs.inclusion(bundled.it.database, ORG, 123, head.size)
    file = tmp_path / "event.tlog-proof"
    good = proof(123, path, head.note, leaf)
    file.write_text(good)
    ended = run(tmp_path, "proof", file.name, "--key", KEY)
    assert (ended.status, leaf.decode() in ended.said) == (0, True)
    lines = good.split("\n")
    bare = "\n".join([lines[0], *lines[2:]])
    for text, status in (
        (good.replace("index 123", "index 122"), 1),
        (good.replace("index 123", "index 0123"), 1),
        (good.replace(lines[4], lines[5]), 1),
        (good.replace(lines[1], "extra " + base64.b64encode(leaf[:-1]).decode()), 1),
        (good.replace("@v1", "@v2"), 1),
        (bare, 2),
    ):
        file.write_text(text)
        assert check("proof", file, "--key", KEY).status == status, text
    (tmp_path / "leaf").write_bytes(leaf)
    assert check("proof", file, "--key", KEY, "--leaf", tmp_path / "leaf").status == 0
    assert check("proof", file, "--key", Signer("other.test/north/1", bytes(32)).verifier_key).status == 2


async def test_who_may_take_it_and_where_to(bundled: Archive, tmp_path: Path) -> None:
    """A role that may not read the log gets nothing, which is recorded; a folder with something in it is left alone."""
    before = len(await bundled.it.leaves(org=ORG, act="audit.export"))
    with pytest.raises(Forbidden):
        await bundled.bundles(Role.FRONT_DESK).write(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    refused = (await bundled.it.leaves(org=ORG, act="audit.export"))[before:]
    assert [(leaf["out"], leaf["who"]["roles"]) for leaf in refused] == [("denied", ["front_desk"])]
    (tmp_path / "mine").write_text("mine")
    for folder in (tmp_path, tmp_path / "mine"):
        with pytest.raises(Unsafe, match="not an empty folder"):
            await bundled.bundles().write(folder)
    assert [file.name for file in files_of(tmp_path)] == ["mine"]
    assert len(await bundled.it.leaves(org=ORG, act="audit.export")) == before + 1


async def test_a_pruned_log(shared_engine: str, databases: Databases, tmp_path: Path) -> None:
    """What was pruned is missing with a reason that the log itself gives; missing without one is missing."""
    url = databases.create(shared_engine)
    intruder = Intruder(url)
    async with archive(url, tmp_path) as it:
        await it.log(600)
        await it.cosign()
        await intruder.run("DELETE FROM audit_event WHERE org = 'north' AND seq < 256")
        await intruder.run("UPDATE audit_head SET pruned = 256 WHERE org = 'north'")
        await it.bundle("silent")
        await it.log(1, act=Act.PRUNE, cnt=256, out=Outcome.DENIED)
        await it.bundle("denied")
        await it.log(1, act=Act.PRUNE, cnt=256)
        made = await it.bundle("said")
    databases.drop(url)
    for name in ("silent", "denied"):
        ended = check("bundle", tmp_path / name, "--key", KEY)
        assert (ended.status, ended.said) == (
            1, "WRONG: event 0: missing, up to 255, and no event says that they were pruned\n",
        )  # fmt: skip
    ended = check("bundle", tmp_path / "said", "--key", KEY, "--witness", WITNESS)
    assert (ended.status, made.first, "events 0 to 255 were pruned, as the log says" in ended.said) == (0, 256, True)
    assert "Events 0 to 255 are not here" in (tmp_path / "said/README.txt").read_text()
    tile = tmp_path / "said/tile/0/000"
    tile.write_bytes(bytes([tile.read_bytes()[0] ^ 1]) + tile.read_bytes()[1:])
    ended = check("bundle", tmp_path / "said", "--key", KEY)
    assert (ended.status, ended.said) == (1, "WRONG: event 0 or one of the 255 behind it: not what was logged there\n")


async def test_a_damaged_database(url: str, bundled: Archive, tmp_path: Path) -> None:
    """What was done to the rows is there for all to see, or keeps the bundle from being made; nothing half remains."""
    intruder = Intruder(url)
    [(leaf,)] = await intruder.run("SELECT leaf FROM audit_event WHERE org = 'north' AND seq = 77")
    edited = bytes(leaf).replace(b'"read"', b'"boot"')
    await intruder.run("UPDATE audit_event SET leaf = ? WHERE org = 'north' AND seq = 77", edited)
    await bundled.bundles().write(tmp_path / "edited")
    ended = check("bundle", tmp_path / "edited", "--key", KEY)
    assert (ended.status, ended.said) == (1, "WRONG: event 77: not the event that was logged there\n")
    await intruder.run("DELETE FROM audit_event WHERE org = 'north' AND seq = 77")
    with pytest.raises(Unsafe, match="event 77 of the log of north is missing"):
        await bundled.bundles().write(tmp_path / "missing")
    assert {file.relative_to(tmp_path).parts[0] for file in files_of(tmp_path)} == {"edited"}
