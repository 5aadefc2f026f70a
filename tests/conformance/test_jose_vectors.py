"""Project Wycheproof's vectors for JSON Web Signature and JSON Web Key, as far as RS256 and ES256 go.

The vectors sign texts, not claims, so they run through the checks that come before claims: the bearer syntax, the
token's header, the key set, and the signature.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jwt
import pytest

from auth.errors import Unauthenticated
from auth.issuers import ALGORITHMS, Issuer, UnsafeIssuer, load_jwks
from auth.strict_json import parse_object
from auth.tokens import _bearer, _key_id, _octets

VECTORS = Path(__file__).resolve().parents[2] / "../shared/data/vectors"
TRUSTED = Issuer("https://issuer.test", "heed-test", tuple(ALGORITHMS.values()), jwks_file=Path("unused"))

# Valid as JWS, and refused here on purpose.
_NOT_A_TOKEN = "a payload may be empty in a JWS, never in a JWT"
_OTHER_ALGORITHM = "only RS256, ES256 and EdDSA are accepted"
REFUSED_ON_PURPOSE = {
    259: _NOT_A_TOKEN,
    **dict.fromkeys((*range(264, 276), 287, 288, *range(320, 324), *range(325, 329)), _OTHER_ALGORITHM),
    **dict.fromkeys((346, 347, 350, 351), _OTHER_ALGORITHM),
}


class Vector(NamedTuple):
    """One test: a token, the key set it is checked with, and whether the token is good."""

    number: int
    jws: Any
    jwks: dict[str, Any]
    valid: bool


@cache
def vectors(name: str) -> list[Vector]:
    """The tests of one file that use public keys; those with shared secrets do not apply to us at all."""
    path = VECTORS / f"wycheproof_json_web_{name}_test.json"
    if not path.exists():
        return []
    return list(_read(json.loads(path.read_text(encoding="utf-8"))["testGroups"]))


def _read(groups: list[dict[str, Any]]) -> Iterator[Vector]:
    for group in groups:
        public = group.get("public")
        if public is None:
            continue
        for test in group["tests"]:
            jwks = public if "keys" in public else {"keys": [public]}
            yield Vector(test["tcId"], test["jws"], jwks, test["result"] == "valid")


def accepted(vector: Vector) -> bool:
    """Whether a token gets past everything that comes before its claims."""
    try:
        keys = load_jwks(json.dumps(vector.jwks).encode(), TRUSTED)
        token = _bearer("Bearer " + (vector.jws if isinstance(vector.jws, str) else json.dumps(vector.jws)))
        key = keys.get(_key_id(parse_object(_octets(token.split(".", maxsplit=1)[0]))))
        if key is None:
            return False
        jwt.PyJWS().decode(token, key, algorithms=[key.algorithm_name])
    except (UnsafeIssuer, Unauthenticated, ValueError, jwt.PyJWTError):
        return False
    return True


@pytest.mark.parametrize("name", ["signature", "key"])
def test_wycheproof(name: str) -> None:
    """Every vector is accepted or refused as it should be; what is refused beyond that has its reason above."""
    found = vectors(name)
    if not found:
        pytest.skip("no Wycheproof vectors beside this checkout (../shared/data/vectors)")
    wrongly_accepted = [vector.number for vector in found if accepted(vector) and not vector.valid]
    wrongly_refused = {vector.number for vector in found if vector.valid and not accepted(vector)}
    assert wrongly_accepted == []
    if name == "signature":
        assert wrongly_refused == REFUSED_ON_PURPOSE.keys()
        assert len(found) - len(wrongly_refused) > 300
    else:
        assert wrongly_refused == set()
