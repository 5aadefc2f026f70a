"""The ciphers and the HMAC of the library we ship against the Wycheproof vectors (C2SP/wycheproof, Apache-2.0).

Every vector of the three files is run: those of the sizes that the stored formats use (keys of 256 bits, nonces of 96,
tags of 128) through this project's own door to the ciphers, the others straight through the library. Signatures and key
sets of tokens have their own module, `test_jose_vectors.py`.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from crm.crypto import index
from crm.crypto.aead import Alg, InvalidTag, cipher

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "../shared/data/vectors"
OURS = {"keySize": 256, "ivSize": 96, "tagSize": 128}
NONCES = range(8, 129)
"""Octets of the nonces that the library takes for AES-GCM at all; ours have 12."""


@cache
def _vectors(name: str) -> dict[str, Any]:
    path = FOLDER / f"wycheproof_{name}_test.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not in ../shared/data/vectors beside the project")
    vectors: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return vectors


def _cases(name: str) -> Iterator[dict[str, Any]]:
    """Every case of a file, its octets read, with the sizes of its group."""
    vectors = _vectors(name)
    assert sum(len(group["tests"]) for group in vectors["testGroups"]) == vectors["numberOfTests"]
    for group in vectors["testGroups"]:
        sizes = {name: size for name, size in group.items() if name.endswith("Size")}
        for case in group["tests"]:
            octets = {
                name: bytes.fromhex(case[name]) for name in case.keys() & {"key", "iv", "aad", "msg", "ct", "tag"}
            }
            yield {**case, **octets, "sizes": sizes}


@pytest.mark.parametrize(
    ("alg", "name", "all_of_them", "of_our_sizes"),
    [(Alg.GCM, "aes_gcm", 316, 66), (Alg.GCM_SIV, "aes_gcm_siv", 202, 103)],
)
def test_ciphers(alg: Alg, name: str, all_of_them: int, of_our_sizes: int) -> None:
    """Valid vectors open and are what encryption gives; invalid ones are refused; and none is left out."""
    ran = ours = 0
    for case in _cases(name):
        ran += 1
        if OURS.items() <= case["sizes"].items():
            ours += 1
            key: Any = cipher(alg, case["key"])
        else:
            key = (AESGCM if alg is Alg.GCM else AESGCMSIV)(case["key"])
        sealed = case["ct"] + case["tag"]
        if alg is Alg.GCM and len(case["iv"]) not in NONCES:
            with pytest.raises(ValueError, match="Nonce"):
                key.decrypt(case["iv"], sealed, case["aad"])
        elif case["result"] == "valid":
            assert key.decrypt(case["iv"], sealed, case["aad"]) == case["msg"], case["tcId"]
            assert key.encrypt(case["iv"], case["msg"], case["aad"]) == sealed, case["tcId"]
        else:
            with pytest.raises(InvalidTag):
                key.decrypt(case["iv"], sealed, case["aad"])
    assert (ran, ours) == (all_of_them, of_our_sizes)


def test_hmac_sha256() -> None:
    """Valid tags are what the blind index computes, whole or truncated; invalid ones are not."""
    ran = 0
    for case in _cases("hmac_sha256"):
        ran += 1
        mac = index.value(HMAC(case["key"], SHA256()), case["msg"], case["sizes"]["tagSize"])
        assert (mac == case["tag"]) == (case["result"] == "valid"), case["tcId"]
    assert ran == 174


def test_the_library_is_the_one_that_is_shipped(record_property: Any) -> None:
    """What was run is the pinned wheel with the OpenSSL that it brings, and not one of the machine's own."""
    [pinned] = re.findall(
        r"^cryptography==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert version("cryptography") == pinned
    record_property("openssl", backend.openssl_version_text())
    assert backend.openssl_version_text().startswith("OpenSSL 4.")


def test_every_file_of_vectors_is_run() -> None:
    """A file that is added beside the project fails this until something runs it."""
    files = {
        path.name.removeprefix("wycheproof_").removesuffix("_test.json") for path in FOLDER.glob("wycheproof_*.json")
    }
    assert files <= {"aes_gcm", "aes_gcm_siv", "hmac_sha256", "json_web_key", "json_web_signature"}
