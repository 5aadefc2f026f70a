"""The files of a bundle for outsiders, as octets (C2SP tlog-tiles, tlog-policy, tlog-proof). Pure; reads no log.

`examples/audit-verify.py` checks what is made here, and knows nothing of this module.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence

__all__ = [
    "CHECKPOINT",
    "PROOF",
    "SUMS",
    "VERIFIER",
    "WITNESSED",
    "beside",
    "entries",
    "proof",
]

CHECKPOINT, WITNESSED, SUMS, VERIFIER = "checkpoint", "witnessed", "SHA256SUMS", "audit-verify.py"
PROOF = "c2sp.org/tlog-proof@v1"

_README = """\
Evidence of the access log {origin}: events {first} to {last}.

Check it with Python 3.11 or newer, on a machine that you trust, without a network. Take the log's key KEY, and the keys
of witnesses, from the people who keep them; the file vkeys only repeats them. Take audit-verify.py from elsewhere too,
or read this copy first: it is one file that uses nothing but Python's own library.

1. Every event, the tree over them, and the log's signature:
     python3 audit-verify.py bundle . --key KEY
2. The same, and that a witness outside saw it:
     python3 audit-verify.py bundle . --key KEY --witness WITNESS_KEY
3. The same, and that it continues a checkpoint that you kept from an earlier time:
     python3 audit-verify.py bundle . --key KEY --earlier OLD_CHECKPOINT
4. That what another person was given is the same history:
     python3 audit-verify.py compare . OTHER_BUNDLE --key KEY
5. That a single event, such as one that a patient was given, stands in the log:
     python3 audit-verify.py proof EVENT.tlog-proof --key KEY

"ALL WELL" and exit status 0, or the number of the first event that is not what was logged, and exit status 1.

checkpoint        what the log signs: its name, its size, the root of its tree (c2sp.org/tlog-checkpoint)
witnessed         the newest checkpoint that witnesses had seen, if it is older than that (c2sp.org/tlog-cosignature)
tile/<L>/<N>      the tree's hashes, 256 to a file (c2sp.org/tlog-tiles); any tool for tlog-tiles reads them
tile/entries/<N>  the events, each behind its length in two octets: JSON with patients under random names, and no value
policy, vkeys     who signed, in the formats c2sp.org/tlog-policy and c2sp.org/signed-note
SHA256SUMS        sums of the files that no signature covers; they show accidents, not forgery
{pruned}"""

_PRUNED = """
Events 0 to {last} are not here: their time was over and they were pruned, which the log itself says in an event with
"act":"prune". Their hashes are still in tile/, so that every proof over them still holds.
"""


def entries(leaves: Iterable[bytes]) -> bytes:
    """An entry bundle: each leaf behind its length as a big-endian u16."""
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def proof(index: int, path: Sequence[bytes], note: str, leaf: bytes | None = None) -> str:
    """A `.tlog-proof` of one event under a signed checkpoint (C2SP tlog-proof); the leaf, if told, is extra data."""
    hashes = "".join(base64.b64encode(each).decode() + "\n" for each in path)
    extra = "" if leaf is None else f"extra {base64.b64encode(leaf).decode()}\n"
    return f"{PROOF}\n{extra}index {index}\n{hashes}\n{note}"


def beside(
    origin: str, first: int, size: int, log_key: str, witnesses: Sequence[str], verifier: bytes
) -> dict[str, bytes]:
    """The files that no signature covers, by name, and the file of their sums.

    `first` is the oldest event in the bundle, `witnesses` are the verifier keys of those who cosigned; `verifier` is
    the program that goes along.
    """
    pruned = _PRUNED.format(last=first - 1) if first else ""
    readme = _README.format(origin=origin, first=first, last=size - 1, pruned=pruned)
    names = [f"w{n}" for n, _ in enumerate(witnesses, 1)]
    policy = [f"log {log_key}"]
    policy += [f"witness {name} {key}" for name, key in zip(names, witnesses, strict=True)]
    policy += [f"group seen all {' '.join(names)}", "quorum seen"] if names else ["quorum none"]
    files = {
        "README.txt": readme.encode(),
        VERIFIER: verifier,
        "policy": "".join(f"{line}\n" for line in policy).encode(),
        "vkeys": "".join(f"{key}\n" for key in (log_key, *witnesses)).encode(),
    }
    sums = "".join(f"{hashlib.sha256(octets).hexdigest()}  {name}\n" for name, octets in sorted(files.items()))
    return {**files, SUMS: sums.encode()}
