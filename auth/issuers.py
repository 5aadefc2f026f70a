"""Issuers: whose tokens are believed, and the public keys that prove them.

Owns the checks of a JWK Set and keeps its keys in memory. A request never causes any reading or fetching: keys change
only by `IssuerKeys.refresh`, which a timer calls.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from auth.strict_json import parse_object

__all__ = ["ALGORITHMS", "MAX_JWKS_OCTETS", "Fetch", "Issuer", "IssuerKeys", "UnsafeIssuer", "load_jwks"]

ALGORITHMS: Mapping[tuple[str, str | None], str] = MappingProxyType(
    {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
)
"""The one signature algorithm that a key of each type (`kty`, `crv`) may verify."""

MAX_JWKS_OCTETS = 262_144
MAX_JWKS_KEYS = 64
MAX_KID_CHARACTERS = 255
RSA_BITS = range(2048, 8193)  # below: ASVS 11.2.3; above: an issuer could make each verification slow

_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})  # RFC 7518, 6.2.2, 6.3.2 and 6.4.1
_LOG = logging.getLogger(__name__)

Fetch = Callable[[str, int], Awaitable[bytes]]
"""Gets the document at an address, refusing more than so many octets; raises OSError or TimeoutError when it cannot."""


class UnsafeIssuer(Exception):
    """An issuer, or its key set, that must not be trusted. The text says which and why, and holds no key material."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """One entry of `HEED_ISSUERS`.

    Its tokens carry exactly `issuer` as `iss` and `audience` as `aud`, and are signed by one of `algorithms` with a key
    of the JWK Set in `jwks_file` or at `jwks_url` (exactly one of the two). Raises UnsafeIssuer.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    jwks_file: Path | None = None
    jwks_url: str | None = None

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise UnsafeIssuer("an issuer needs a non-empty `issuer` and `audience`")
        unknown = set(self.algorithms) - set(ALGORITHMS.values())
        if unknown or not self.algorithms:
            raise UnsafeIssuer(f"issuer {self.issuer}: `algorithms` must be among {', '.join(ALGORITHMS.values())}")
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise UnsafeIssuer(f"issuer {self.issuer}: give either `jwks_file` or `jwks_url`")


class IssuerKeys:
    """The verification keys of one issuer, by `kid`.

    A file is read at once, so that a bad one stops the start; an address is fetched by the first `refresh`, until then
    `keys` is empty and every token of the issuer is refused. `development` permits plain http to this very machine.
    """

    def __init__(self, issuer: Issuer, fetch: Fetch | None = None, *, development: bool = False) -> None:
        self.issuer = issuer
        self.keys: Mapping[str, jwt.PyJWK] = MappingProxyType({})
        self._fetch = fetch
        self._seen: object = None
        if issuer.jwks_url is not None:
            if fetch is None:
                raise UnsafeIssuer(f"issuer {issuer.issuer}: nothing to fetch `jwks_url` with")
            _check_address(issuer, issuer.jwks_url, development=development)
        else:
            try:
                self._reread()
            except OSError as error:
                raise UnsafeIssuer(f"issuer {issuer.issuer}: cannot read {issuer.jwks_file}") from error

    async def refresh(self) -> bool:
        """Load the key set again; True when the keys changed. A failure is logged and leaves the keys as they are."""
        try:
            if self.issuer.jwks_url is None:
                return self._reread()
            assert self._fetch is not None
            return self._replace(await self._fetch(self.issuer.jwks_url, MAX_JWKS_OCTETS))
        except (OSError, UnsafeIssuer) as error:
            _LOG.warning("keys of issuer %s not refreshed: %s", self.issuer.issuer, error)
            return False

    def _reread(self) -> bool:
        """Read the file if it was touched since the last reading."""
        assert self.issuer.jwks_file is not None
        status = self.issuer.jwks_file.stat()
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen == self._seen:
            return False
        with self.issuer.jwks_file.open("rb") as file:
            octets = file.read(MAX_JWKS_OCTETS + 1)
        self._seen = seen  # before the check, so that a bad file is complained about once
        return self._replace(octets)

    def _replace(self, octets: bytes) -> bool:
        before = self.keys
        self.keys = load_jwks(octets, self.issuer)
        return {kid: key.key for kid, key in before.items()} != {kid: key.key for kid, key in self.keys.items()}


def load_jwks(octets: bytes, issuer: Issuer) -> Mapping[str, jwt.PyJWK]:
    """The keys of a JWK Set (RFC 7517) that may verify tokens of `issuer`, by `kid`, each bound to one algorithm.

    A key plainly meant for something else (another `use`, `key_ops` or `alg`) is passed over, as issuers publish their
    encryption keys in the same set. Everything that makes the set itself doubtful refuses all of it with UnsafeIssuer:
    secret or private members, a `kid` twice or missing, weak or malformed keys, no usable key, too large.
    """
    try:
        if len(octets) > MAX_JWKS_OCTETS:
            raise UnsafeIssuer("larger than allowed")
        members = parse_object(octets).get("keys")
        if not isinstance(members, list) or not 0 < len(members) <= MAX_JWKS_KEYS:
            raise UnsafeIssuer(f"`keys` must list 1 to {MAX_JWKS_KEYS} keys")
        return _usable_keys(members, issuer.algorithms)
    except UnsafeIssuer as error:
        raise UnsafeIssuer(f"issuer {issuer.issuer}: key set refused: {error}") from None
    except ValueError:
        raise UnsafeIssuer(f"issuer {issuer.issuer}: key set refused: not strict JSON") from None


def _usable_keys(members: list[Any], algorithms: tuple[str, ...]) -> Mapping[str, jwt.PyJWK]:
    usable: dict[str, jwt.PyJWK] = {}
    kids: set[str] = set()
    for member in members:
        if not isinstance(member, dict):
            raise UnsafeIssuer("a key is not an object")
        if member.get("kty") == "oct" or not _SECRET_MEMBERS.isdisjoint(member):
            raise UnsafeIssuer("it holds a symmetric or private key")
        kid = member.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARACTERS:
            raise UnsafeIssuer("a key has no proper `kid`")
        if kid in kids:
            raise UnsafeIssuer("two keys have the same `kid`")
        kids.add(kid)
        algorithm = _algorithm_of(member)
        if algorithm in algorithms:
            usable[kid] = _key(member, algorithm)
    if not usable:
        raise UnsafeIssuer(f"it holds no key for {', '.join(algorithms)}")
    return MappingProxyType(usable)


def _algorithm_of(member: dict[str, Any]) -> str | None:
    """The algorithm this key may verify, or None when it says that it is for something else."""
    kty, curve = member.get("kty"), member.get("crv")
    if not isinstance(kty, str) or not isinstance(curve, str | None):
        return None
    natural = ALGORITHMS.get((kty, curve))
    operations = member.get("key_ops", ["verify"])
    meant_for_this = (
        member.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and member.get("alg", natural) == natural
    )
    return natural if meant_for_this else None


def _key(member: dict[str, Any], algorithm: str) -> jwt.PyJWK:
    try:
        key = jwt.PyJWK(member, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise UnsafeIssuer("a key is malformed") from None
    if isinstance(key.key, RSAPublicKey):
        if key.key.key_size not in RSA_BITS:
            raise UnsafeIssuer(f"an RSA key is not between {RSA_BITS.start} and {RSA_BITS.stop - 1} bits")
        if _is_roca(key.key.public_numbers().n):
            raise UnsafeIssuer("an RSA key can be factored (ROCA, CVE-2017-15361)")
    return key


_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA_RESIDUES = {prime: {pow(65537, k, prime) for k in range(prime)} for prime in _ROCA_PRIMES}


def _is_roca(modulus: int) -> bool:
    """Whether a modulus bears the fingerprint of the broken generator: modulo small primes it is a power of 65537."""
    return all(modulus % prime in residues for prime, residues in _ROCA_RESIDUES.items())


def _check_address(issuer: Issuer, url: str, *, development: bool) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise UnsafeIssuer(f"issuer {issuer.issuer}: `jwks_url` is not an address") from None
    if parts.username is not None or parts.password is not None:
        raise UnsafeIssuer(f"issuer {issuer.issuer}: `jwks_url` must not hold credentials")
    if parts.scheme == "https" and host:
        return
    if not (development and parts.scheme == "http" and _is_loopback(host)):
        raise UnsafeIssuer(f"issuer {issuer.issuer}: `jwks_url` must be https")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
