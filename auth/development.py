"""The development issuer: signs tokens for trying things out. Whoever composes the server must refuse it in production.

To the verifier it is an issuer like any other, with its public key in a JWKS file.
"""

import base64
import json
import os
import secrets
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from auth.issuers import Issuer, UnsafeIssuer
from auth.purposes import Purpose
from auth.roles import Role
from auth.strict_json import parse_object
from auth.tokens import MAX_LIFETIME

__all__ = ["AUDIENCE", "DEFAULT_PURPOSES", "ISSUER", "DevelopmentIssuer"]

ISSUER = "https://development.heed.invalid"  # RFC 2606: a name that can never be anybody's
AUDIENCE = "heed"
KEY_FILE = "development-issuer.json"
JWKS_FILE = "development-jwks.json"

DEFAULT_PURPOSES: Mapping[Role, Purpose] = MappingProxyType(
    {
        Role.FRONT_DESK: Purpose.PATADMIN,
        Role.CLINICIAN: Purpose.TREAT,
        Role.CARE_COORDINATOR: Purpose.CAREMGT,
        Role.MESSAGING: Purpose.COC,
        Role.PATIENT: Purpose.PATRQT,
        Role.PROXY: Purpose.FAMRQT,
        Role.COMPLIANCE_OFFICER: Purpose.HCOMPL,
        Role.PRIVACY_OFFICER: Purpose.RECORDMGT,
        Role.INTEGRATION: Purpose.PATADMIN,
        Role.OPERATOR: Purpose.HSYSADMIN,
    }
)
"""The purpose that a signed token states when none is asked for."""


class DevelopmentIssuer:
    """An Ed25519 key in `data_dir`, created on first use with mode 0600, and the JWKS file beside it.

    Raises UnsafeIssuer when the key file is damaged or open to others.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        key_file = data_dir / KEY_FILE
        if not key_file.exists():
            _create(key_file, json.dumps(_new_key()))
        private = _read_private(key_file)
        self._key = jwt.PyJWK(private, "EdDSA")
        self._key_id: str = private["kid"]
        self._jwks_file = data_dir / JWKS_FILE
        public = {name: value for name, value in private.items() if name != "d"}
        _overwrite(self._jwks_file, json.dumps({"keys": [public]}, indent=2))

    @property
    def issuer(self) -> Issuer:
        """How a verifier is told to trust this issuer."""
        return Issuer(ISSUER, AUDIENCE, ("EdDSA",), jwks_file=self._jwks_file)

    def sign(
        self,
        role: Role,
        subject: str,
        *,
        org: str = "demo",
        purpose: Purpose | None = None,
        patient: str | None = None,
        family_name: str | None = None,
        ttl: int = 900,
        client_id: str = "heed-development",
    ) -> str:
        """A token for `subject` in `role`, good for `ttl` seconds; raises ValueError for more than a day."""
        if not 0 < ttl <= MAX_LIFETIME:
            raise ValueError(f"a token lives 1 to {MAX_LIFETIME} seconds")
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": subject,
            "aud": AUDIENCE,
            "exp": now + ttl,
            "iat": now,
            "jti": secrets.token_hex(16),
            "roles": [role],
            "org": org,
            "purpose_of_use": purpose or DEFAULT_PURPOSES[role],
            "client_id": client_id,
        }
        if patient is not None:
            claims["patient"] = patient
        if family_name is not None:
            claims["family_name"] = family_name
        return jwt.encode(claims, self._key, headers={"kid": self._key_id})


def _new_key() -> dict[str, Any]:
    """A private JWK whose `kid` is the thumbprint of its public half (RFC 7638, RFC 8037 appendix A.3)."""
    key = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    canonical = json.dumps({name: key[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    thumbprint = base64.urlsafe_b64encode(sha256(canonical.encode()).digest()).rstrip(b"=").decode()
    return {"kty": key["kty"], "crv": key["crv"], "x": key["x"], "d": key["d"], "kid": thumbprint, "use": "sig"}


def _read_private(path: Path) -> dict[str, Any]:
    if path.stat().st_mode & 0o077:
        raise UnsafeIssuer(f"{path} is open to others: chmod 600 it, or delete it to get a new key")
    try:
        private = parse_object(path.read_bytes())
        if private["kty"] != "OKP" or not isinstance(private["kid"], str):
            raise ValueError("another kind of key")
        jwt.PyJWK(private, "EdDSA")
    except (ValueError, KeyError, jwt.PyJWTError):
        raise UnsafeIssuer(f"{path} is damaged: delete it to get a new key") from None
    return private


def _create(path: Path, text: str) -> None:
    """Write a new file of mode 0600, whole or not at all; when another process was quicker, its file stays."""
    draft = _draft(path, text)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _overwrite(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        _draft(path, text).replace(path)


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return draft
