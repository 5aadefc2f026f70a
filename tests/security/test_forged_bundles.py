"""Bundles, proofs and policies that were made to mislead whoever checks them, or to keep the program busy for ever."""

import base64
import hashlib
import os
import time
from pathlib import Path

import pytest

from crm.audit.bundle import beside, entries, proof
from crm.audit.checkpoint import Checkpoint
from crm.audit.event import Act, Event, leaf, leaf_hash, rfc3339
from crm.audit.tree import Frontier
from crm.crypto.cosignature import Cosigner
from crm.crypto.note import Signer
from tests.offline import VERIFIER, check, program
from tests.witnesses import COSIGNER

SIGNER = Signer("heed.test/north/1", bytes(range(32)))
KEY, WITNESS = SIGNER.verifier_key, COSIGNER.verifier_key
OTHER = Cosigner("witness.test/w2", bytes(range(2, 34))).verifier_key
ESCAPES = "\r\x1b[2KALL WELL\x1b[8m"


def rooted(leaves: list[bytes]) -> Checkpoint:
    """The checkpoint over these leaves."""
    tree = Frontier()
    for each in leaves:
        tree.append(leaf_hash(each))
    return Checkpoint(SIGNER.name, len(leaves), tree.root())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A good bundle of five events."""
    folder = tmp_path / "bundle"
    leaves = [leaf(Event(act=Act.READ), id=str(n), t=rfc3339(10**15 + n), node="n", n=n + 1) for n in range(5)]
    for name, octets in (("0", b"".join(map(leaf_hash, leaves))), ("entries", entries(leaves))):
        (folder / f"tile/{name}/000.p").mkdir(parents=True)
        (folder / f"tile/{name}/000.p/5").write_bytes(octets)
    (folder / "checkpoint").write_text(SIGNER.sign(rooted(leaves).text()))
    for name, octets in beside(SIGNER.name, 0, 5, KEY, [], VERIFIER.read_bytes()).items():
        (folder / name).write_bytes(octets)
    assert check("bundle", folder, "--key", KEY).status == 0
    return folder


def resummed(folder: Path) -> None:
    """Makes the sums fit again, as anybody can."""
    names = ("README.txt", "audit-verify.py", "policy", "vkeys")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(sums))


@pytest.mark.parametrize(
    "text",
    [
        f"witness w1 {WITNESS}\ngroup g 2 w1 w1\nquorum g\n",
        f"witness w1 {WITNESS}\nwitness w2 {WITNESS}\ngroup g 2 w1 w2\nquorum g\n",
        f"witness w1 {WITNESS}\ngroup a any w1\ngroup b any w1\ngroup g 2 a b\nquorum g\n",
        f"witness w1 {WITNESS}\n" + "\n" * 1_000 + "quorum w1\n",
    ],
)
def test_nobody_counts_twice(text: str) -> None:
    """A policy in which one witness could be two is refused, and one without end is too."""
    with pytest.raises(program().Unusable):
        program().Policy.parse(text)


def test_one_key_named_twice(bundle: Path) -> None:
    """Two witnesses were asked for: the same one twice is no answer to that."""
    ended = check("bundle", bundle, "--key", KEY, "--witness", WITNESS, "--witness", WITNESS)
    assert (ended.status, "one key twice" in ended.said) == (2, True)


def test_deep_policies_are_quick() -> None:
    """Nine hundred groups in each other are worked out in one pass, and say what they mean."""
    groups = "".join(f"group g{n} all g{n - 1}\n" for n in range(1, 900))
    text = f"witness a {WITNESS}\nwitness b {OTHER}\ngroup g0 2 a b\n{groups}quorum g899\n"
    policy = program().Policy.parse(text)
    assert [policy.met(names) for names in (set(), {"a"}, {"a", "b"})] == [False, False, True]


def test_a_hostile_policy_in_the_bundle(bundle: Path) -> None:
    """Forty lines that would take 2^40 steps, and octets that are no text, end at once and without a traceback."""
    towers = "".join(f"group g{n} all g{n - 1} g{n - 1}\n" for n in range(1, 40))
    policy = f"witness w {WITNESS}\ngroup g0 any w w\n{towers}quorum g39\n".encode()
    for octets in (policy, b"\xff\xfe"):
        (bundle / "policy").write_bytes(octets)
        resummed(bundle)
        began = time.monotonic()
        ended = check("bundle", bundle, "--key", KEY)
        assert (ended.status, "ALL WELL" in ended.said, time.monotonic() - began < 5) == (2, False, True)


def test_names_steer_no_terminal(bundle: Path) -> None:
    """A file whose name would erase the line and write another verdict is named harmlessly, on one line."""
    for name in (ESCAPES, "x\nALL WELL"):
        (bundle / name).write_text("x")
        ended = check("bundle", bundle, "--key", KEY)
        assert (ended.status, ended.said.count("\n")) == (1, 1)
        assert ended.said.rstrip("\n").isprintable()
        (bundle / name).unlink()


@pytest.mark.parametrize("octets", [b"ALL WELL\n\x1b[31m", b'{"v":1}', b"\xff", b'{"act":"\x9b2K"}'])
def test_a_proof_shows_events_only(tmp_path: Path, octets: bytes) -> None:
    """What the log signed but never wrote in this form is wrong, and is not put on the screen."""
    file = tmp_path / "one.tlog-proof"
    file.write_text(proof(0, [], SIGNER.sign(rooted([octets]).text()), octets))
    ended = check("proof", file, "--key", KEY)
    assert (ended.status, ended.said.count("\n")) == (1, 1)
    assert ended.said.startswith("WRONG: event 0: not an event as the log writes them")


def test_nothing_leads_out_of_a_bundle(bundle: Path) -> None:
    """A link to a folder or a file, and a pipe in the place of a file, are refused before anything is read."""
    for name, target in (("extra", "/etc"), ("tile/1", "/etc"), ("checkpoint", bundle.parent / "elsewhere")):
        kept = (bundle / name).read_bytes() if (bundle / name).is_file() else None
        if kept is not None:
            (bundle / name).rename(bundle.parent / "elsewhere")
        (bundle / name).symlink_to(target)
        for ended in (check("bundle", bundle, "--key", KEY), check("compare", bundle, bundle, "--key", KEY)):
            assert (ended.status, ended.said) == (
                1,
                f"WRONG: {name}: a link or device, which does not belong into a bundle\n",
            )
        (bundle / name).unlink()
        if kept is not None:
            (bundle / name).write_bytes(kept)
    (bundle / "vkeys").unlink()
    os.mkfifo(bundle / "vkeys")
    assert check("bundle", bundle, "--key", KEY).status == 1


@pytest.mark.parametrize("size", [2**59, 10**19 - 1])
def test_a_size_without_end(bundle: Path, size: int) -> None:
    """A signed size beyond all that is there is told at once, by the first file that is missing."""
    (bundle / "checkpoint").write_text(SIGNER.sign(Checkpoint(SIGNER.name, size, bytes(32)).text()))
    began = time.monotonic()
    ended = check("bundle", bundle, "--key", KEY)
    assert (ended.status, time.monotonic() - began < 5) == (1, True)
    assert ended.said == "WRONG: events from 0 on: their tile is missing\n"


def test_a_file_without_end(bundle: Path) -> None:
    """A file that is larger than any of a bundle is not read into memory."""
    with (bundle / "vkeys").open("r+b") as file:
        file.truncate(2**33)
    assert check("bundle", bundle, "--key", KEY).said == "WRONG: vkeys: larger than any file of a bundle\n"


def test_hashes_that_are_none(tmp_path: Path) -> None:
    """Steps of a proof that have another length than a hash lead nowhere."""
    file = tmp_path / "one.tlog-proof"
    text = proof(0, [], SIGNER.sign(rooted([b"{}"]).text()), b"{}")
    file.write_text(text.replace("index 0\n", f"index 0\n{base64.b64encode(b'short').decode()}\n"))
    assert check("proof", file, "--key", KEY).status == 1
