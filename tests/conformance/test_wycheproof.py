"""The ciphers and the HMAC of the library we ship against the Wycheproof vectors (C2SP/wycheproof, Apache-2.0).

Only the sizes that the stored formats use are run: keys of 256 bits, nonces of 96 bits, tags of 128 bits; for HMAC all.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from crm.crypto import index
from crm.crypto.aead import Alg, InvalidTag, cipher

FOLDER = Path(__file__).resolve().parents[2] / "../shared/data/vectors"


@cache
def _groups(name: str) -> list[dict[str, Any]]:
    path = FOLDER / f"wycheproof_{name}_test.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not in ../shared/data/vectors beside the project")
    groups: list[dict[str, Any]] = json.loads(path.read_text())["testGroups"]
    return groups


def _cases(groups: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for group in groups:
        for case in group["tests"]:
            octets = {
                name: bytes.fromhex(case[name]) for name in case.keys() & {"key", "iv", "aad", "msg", "ct", "tag"}
            }
            yield {**case, **octets, "tag_octets": group["tagSize"] // 8}


@pytest.mark.parametrize(("alg", "name", "least"), [(Alg.GCM, "aes_gcm", 60), (Alg.GCM_SIV, "aes_gcm_siv", 90)])
def test_ciphers(alg: Alg, name: str, least: int) -> None:
    """Valid vectors open and are what encryption gives; invalid ones are refused; and not too few were run."""
    sizes = {"keySize": 256, "ivSize": 96, "tagSize": 128}
    cases = list(_cases([group for group in _groups(name) if sizes.items() <= group.items()]))
    assert len(cases) >= least
    for case in cases:
        key, sealed = cipher(alg, case["key"]), case["ct"] + case["tag"]
        if case["result"] == "valid":
            assert key.decrypt(case["iv"], sealed, case["aad"]) == case["msg"], case["tcId"]
            assert key.encrypt(case["iv"], case["msg"], case["aad"]) == sealed, case["tcId"]
        else:
            with pytest.raises(InvalidTag):
                key.decrypt(case["iv"], sealed, case["aad"])


def test_hmac_sha256() -> None:
    """Valid tags are what the blind index computes, whole or truncated; invalid ones are not."""
    cases = list(_cases(_groups("hmac_sha256")))
    assert len(cases) >= 170
    for case in cases:
        template = HMAC(case["key"], SHA256())
        mac = index.value(template, case["msg"], case["tag_octets"] * 8)
        assert (mac == case["tag"]) == (case["result"] == "valid"), case["tcId"]
