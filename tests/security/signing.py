"""An issuer in the hands of a test: keys of every kind, key sets on disk, and tokens as wrong as one likes."""

import base64
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from auth.errors import Unauthenticated
from auth.issuers import Issuer, IssuerKeys
from auth.tokens import TokenVerifier

ISSUER = "https://issuer.test"
AUDIENCE = "heed-test"
ALGORITHMS = ("RS256", "ES256", "EdDSA")


def encode(octets: bytes) -> str:
    """Base64url without padding, as in RFC 7515."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


@dataclass(frozen=True)
class SigningKey:
    """A private key for one algorithm, and the public JWK under which an issuer shows it."""

    algorithm: str
    private: Any
    jwk: dict[str, Any]

    def sign(self, header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes, algorithm: str | None = None) -> str:
        """A compact JWS over exactly these two parts, whatever they say."""
        parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
        message = ".".join(encode(part) for part in parts)
        signature = jwt.get_algorithm_by_name(algorithm or self.algorithm).sign(message.encode(), self.private)
        return f"{message}.{encode(signature)}"


@cache
def signing_key(algorithm: str, kid: str | None = None, bits: int = 2048) -> SigningKey:
    """A key of this test run; the same for the same arguments, since RSA keys take long to find."""
    makers: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
        "RS256": lambda: _rsa(bits),
        "ES256": lambda: _ec(ec.SECP256R1()),
        "ES384": lambda: _ec(ec.SECP384R1()),
        "EdDSA": _ed25519,
    }
    private, jwk = makers[algorithm]()
    return SigningKey(algorithm, private, {**jwk, "kid": kid or f"{algorithm}-1", "use": "sig", "alg": algorithm})


def _rsa(bits: int) -> tuple[Any, dict[str, Any]]:
    private = rsa.generate_private_key(65537, bits)
    return private, _plain(RSAAlgorithm.to_jwk(private.public_key(), as_dict=True))


def _ec(curve: ec.EllipticCurve) -> tuple[Any, dict[str, Any]]:
    private = ec.generate_private_key(curve)
    return private, _plain(ECAlgorithm.to_jwk(private.public_key(), as_dict=True))


def _ed25519() -> tuple[Any, dict[str, Any]]:
    private = ed25519.Ed25519PrivateKey.generate()
    return private, _plain(OKPAlgorithm.to_jwk(private.public_key(), as_dict=True))


def _plain(jwk: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name != "key_ops"}


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good front-desk token; a change to None leaves the claim out."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "sub": "u-0042",
        "aud": AUDIENCE,
        "exp": now + 600,
        "iat": now - 10,
        "jti": secrets.token_hex(8),
        "roles": ["front_desk"],
        "org": "org-12",
        "purpose_of_use": "PATADMIN",
        "client_id": "desk-web",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def bearer(key: SigningKey, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """An `Authorization` header with a token of `key`; `header` changes its JOSE header, the rest its claims."""
    jose = {"alg": key.algorithm, "typ": "JWT", "kid": key.jwk["kid"], **(header or {})}
    return "Bearer " + key.sign({name: value for name, value in jose.items() if value is not None}, claims(**changes))


def jwks(*keys: SigningKey | dict[str, Any]) -> bytes:
    """A key set as an issuer serves it."""
    return json.dumps({"keys": [key.jwk if isinstance(key, SigningKey) else key for key in keys]}).encode()


def issuer(folder: Path, *keys: SigningKey, name: str = ISSUER, algorithms: tuple[str, ...] = ALGORITHMS) -> Issuer:
    """An issuer whose key set is a file in `folder`."""
    path = folder / f"{secrets.token_hex(8)}.json"
    path.write_bytes(jwks(*keys))
    return Issuer(name, AUDIENCE, algorithms, jwks_file=path)


def verifier(folder: Path, *keys: SigningKey, algorithms: tuple[str, ...] = ALGORITHMS) -> TokenVerifier:
    """A verifier that trusts these keys as those of `ISSUER`."""
    return TokenVerifier([IssuerKeys(issuer(folder, *keys, algorithms=algorithms))])


def refusal(verifying: TokenVerifier, header: str | None, purpose: str | None = None) -> str:
    """The reason for which the header is refused; nothing of the token may be in the error or its causes."""
    with pytest.raises(Unauthenticated) as refused:
        verifying.verify(header, purpose)
    assert refused.value.__cause__ is None
    assert len(str(refused.value)) < 20
    return refused.value.reason
