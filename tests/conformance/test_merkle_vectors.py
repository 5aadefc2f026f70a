"""Merkle trees and signed checkpoints against what others published, by our own code and by the offline program.

Proofs: the 196 probes of transparency-dev/merkle. Roots: RFC 6962 as its reference implementation has them. Notes: one
of a log of 70,003 leaves that the Go reference tools opened.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from crm.audit.checkpoint import parse
from crm.audit.event import leaf_hash
from crm.audit.tree import EMPTY, Frontier, consistency_ranges, hashed, verify_consistency, verify_inclusion
from crm.crypto.note import Signer, open_note
from crm.errors import Tampered
from tests.offline import program

VECTORS = Path(__file__).parent / "vectors"

SHORT = "additional/sizes are equal (one) and proof is empty"
"""The one probe that ours refuse where its authors accept: its roots, which are equal, have 12 octets and not 32."""

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The trees over the first 0 to 8 of `LEAVES` (google/certificate-transparency, transparency-dev/merkle)."""

NOTE = """\
audit.example.org/log1
70003
Vf4U1Vczeo4SfTlsJccHVLlBAGdz6NtH/580mTRCDHk=

— audit.example.org/log1 \
dizDXtQy/qfp7SaK5pYRDup8ZgA4Yv7DqoY0SD0+53JbBE5rwqssJQQ2HJaYhaLk7AaiwyADjXam8Eax3qliDBQ4EQg=
"""
KEY = "audit.example.org/log1+762cc35e+AXAEHwil62R8FENKktwnkz4G4Rl0b6jzwtiSbqQUPd9R"


def probes(kind: str) -> list[dict[str, Any]]:
    """The vectors of one file, hashes in octets."""
    vectors: list[dict[str, Any]] = json.loads((VECTORS / f"merkle_{kind}.json").read_text())["vectors"]
    for vector in vectors:
        vector["proof"] = [base64.b64decode(each) for each in vector["proof"]]
        for name in vector.keys() & {"root", "root1", "root2", "leafHash"}:
            vector[name] = base64.b64decode(vector[name])
    return vectors


def accepted(verify: Any, *arguments: Any) -> bool:
    """Whether a verification of ours passes."""
    try:
        verify(*arguments)
    except Tampered:
        return False
    return True


def test_proofs_of_inclusion() -> None:
    """All 98, by the service's code and by the offline program."""
    vectors = probes("inclusion")
    assert len(vectors) == 98
    offline = program()
    for each in vectors:
        place = (each["leafHash"], each["leafIdx"], each["treeSize"], each["proof"], each["root"])
        assert accepted(verify_inclusion, *place) is not each["wantErr"], each["file"]
        assert offline.includes(*place) is not each["wantErr"], each["file"]


def test_proofs_of_consistency() -> None:
    """All 98; ours is stricter in one, and says the same once its roots have the length of a hash."""
    vectors = probes("consistency")
    assert len(vectors) == 98
    for each in vectors:
        place = (each["size1"], each["size2"], each["proof"], each["root1"], each["root2"])
        wanted = not each["wantErr"] and each["file"] != SHORT
        assert accepted(verify_consistency, *place) is wanted, each["file"]
    [short] = [each for each in vectors if each["file"] == SHORT]
    assert short["root1"] == short["root2"]
    verify_consistency(short["size1"], short["size2"], short["proof"], EMPTY, EMPTY)


def test_roots() -> None:
    """The published roots of the published leaves, by the frontier and by the offline program."""
    tree, offline = Frontier(), program()
    hashes = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]
    for size, root in enumerate(ROOTS):
        assert tree.root().hex() == root
        assert offline.root_of(size, lambda _level, start, count: hashes[start : start + count]).hex() == root
        if size < len(hashes):
            tree.append(hashes[size])


def test_consistency_by_recomputation() -> None:
    """What the offline program recomputes for every pair of sizes is what proofs say."""
    hashes = [leaf_hash(b"%d" % n) for n in range(70)]

    def node(level: int, n: int) -> bytes:
        return bytes(offline.perfect(hashes[n << level : (n + 1) << level]))

    offline = program()
    roots = [
        offline.root_of(size, lambda _level, start, count: hashes[start : start + count])
        for size in range(len(hashes) + 1)
    ]
    for second in range(1, len(hashes) + 1):
        for first in range(1, second):
            proof = [hashed(leaves, node) for leaves in consistency_ranges(first, second)]
            verify_consistency(first, second, proof, roots[first], roots[second])


def test_the_golden_note() -> None:
    """It opens, here and offline, says what it should, and is signed again octet for octet."""
    text = open_note(NOTE, KEY)
    known = parse(text)
    assert (known.origin, known.size) == ("audit.example.org/log1", 70_003)
    signer = Signer("audit.example.org/log1", hashlib.sha256(b"interop").digest())
    assert (signer.verifier_key, signer.sign(text)) == (KEY, NOTE)
    offline = program()
    opened = offline.opened(NOTE.encode(), [offline.Key.parse(KEY)])
    assert (opened.origin, opened.size, opened.root) == (known.origin, known.size, known.root)


@pytest.mark.parametrize("place", range(0, len(NOTE.encode()), 5))
def test_the_golden_note_changed(place: int) -> None:
    """With a bit turned over anywhere it does not open offline."""
    offline = program()
    octets = bytearray(NOTE.encode())
    octets[place] ^= 1
    with pytest.raises(offline.Wrong):
        offline.opened(bytes(octets), [offline.Key.parse(KEY)])


SPECIMEN = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 \
jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""


def test_the_specimen_of_the_specification() -> None:
    """The cosigned checkpoint in c2sp.org/tlog-cosignature has a form that the offline program reads."""
    opened = program().Checkpoint.parse(SPECIMEN.encode())
    assert (opened.origin, opened.size) == ("example.com/behind-the-sofa", 20_852_163)
    name, _, octets = opened.lines[1]
    assert (name, int.from_bytes(octets[:8], "big"), len(octets)) == ("witness.example.com/w1", 1_679_315_147, 72)
