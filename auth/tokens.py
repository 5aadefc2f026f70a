"""Tokens: from an `Authorization` header to an actor, or to one refusal that looks the same for every cause.

Owns the hardening that PyJWT leaves to its caller (RFC 8725). Decides nothing about permissions, and does no I/O: keys
come from `auth.issuers`, which no token can reach.
"""

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jwt
from jwt.types import Options

from auth.actor import Actor
from auth.errors import PurposeNotPermitted, Revoked, Unauthenticated
from auth.issuers import IssuerKeys, UnsafeIssuer
from auth.purposes import Purpose
from auth.roles import PERSONAL, STAFF, Role
from auth.strict_json import parse_object

__all__ = ["LEEWAY", "MAX_LIFETIME", "MAX_TOKEN_CHARACTERS", "IsRevoked", "TokenVerifier", "nothing_revoked"]

IsRevoked = Callable[[Actor, int], bool]
"""Tells of the actor of a good token, and the time when it was issued (Unix seconds), whether it was revoked since."""

MAX_TOKEN_CHARACTERS = 8192
MAX_LIFETIME = 86_400
"""Seconds between `iat` and `exp`; a token that lives longer is refused."""
LEEWAY = 30
"""Seconds by which the issuer's clock may differ from ours."""
MAX_REMEMBERED = 4096
MAX_CLAIM_CHARACTERS = 255
MAX_ROLES = 32
LATEST = 2**33 - 1  # seconds; the year 2242

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)")
_ORG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")
_LINE = re.compile(r".{1,255}")

_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})  # RFC 7519, 5.1 and RFC 9068, 2.1; compared in lower case
_REFUSED_MEMBERS = frozenset({"crit", "b64", "jku", "jwk", "x5u", "x5c"})
_KNOWN_ROLES = frozenset(Role)
_PURPOSES: Mapping[str, Purpose] = {purpose.value: purpose for purpose in Purpose}
_OPTIONS: Options = {
    "require": ["iss", "sub", "aud", "exp", "iat", "jti"],
    "strict_aud": True,
    "enforce_minimum_key_length": True,
}
_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (  # the first that fits
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.MissingRequiredClaimError, "missing_claim"),
    (jwt.InvalidSignatureError, "signature"),
    (jwt.InvalidAlgorithmError, "algorithm"),
    (jwt.PyJWTError, "malformed"),
)


def nothing_revoked(_actor: Actor, _issued_at: int) -> bool:
    """For a verifier that believes every good token until it expires."""
    return False


class _Verified(NamedTuple):
    """What one good token says: the actor before any purpose, and the code in `purpose_of_use`, if any.

    `acting` are the actors with the purposes that were stated so far, of which there are as many as `Purpose` has.
    """

    actor: Actor
    issued_at: int
    purpose: str | None
    acting: dict[Purpose, Actor]


class TokenVerifier:
    """Verifies bearer tokens of the given issuers.

    Tokens found good are remembered for as long as they live (at most `MAX_REMEMBERED` of them, by SHA-256), because a
    signature costs more than a look-up; a change of any issuer's keys forgets all of them. Whether one `is_revoked` is
    asked each time, of remembered ones too; whatever that raises goes on to the caller.
    """

    def __init__(self, issuers: Iterable[IssuerKeys], is_revoked: IsRevoked = nothing_revoked) -> None:
        self._is_revoked = is_revoked
        self._issuers: dict[str, IssuerKeys] = {}
        for keys in issuers:
            if self._issuers.setdefault(keys.issuer.issuer, keys) is not keys:
                raise UnsafeIssuer(f"issuer {keys.issuer.issuer} is configured twice")
        self._remembered: dict[bytes, _Verified] = {}

    @property
    def ready(self) -> bool:
        """Whether there is an issuer, and each has keys; until then some good tokens are refused."""
        return bool(self._issuers) and all(keys.keys for keys in self._issuers.values())

    async def refresh(self) -> None:
        """Load every issuer's keys again; one that fails keeps the keys it had."""
        changed = await asyncio.gather(*(keys.refresh() for keys in self._issuers.values()))
        if any(changed):
            self._remembered.clear()

    async def keep_fresh(self, every: float) -> None:
        """Refresh at once and then each `every` seconds, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(every)

    def verify(self, authorization: str | None, purpose: str | None = None) -> Actor:
        """The actor behind an `Authorization` header, with the purpose of `X-Purpose-Of-Use` or else of the token.

        Raises Unauthenticated for whatever is wrong with the token, of which Revoked has the actor, and
        PurposeNotPermitted (with the actor) when the purpose is no code we know. Whether the actor's roles may use that
        purpose is for the policy.
        """
        token = _bearer(authorization)
        digest = hashlib.sha256(token.encode("ascii")).digest()
        verified = self._remembered.get(digest)
        if verified is None:
            verified = self._examine(token)
            if len(self._remembered) >= MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[digest] = verified
        elif verified.actor.expires_at <= time.time() - LEEWAY:
            del self._remembered[digest]
            raise Unauthenticated("expired")
        if self._is_revoked(verified.actor, verified.issued_at):
            raise Revoked(verified.actor)
        return _acting(verified, verified.purpose if purpose is None else purpose)

    def _examine(self, token: str) -> _Verified:
        try:
            header, claims = (parse_object(_octets(part)) for part in token.split(".")[:2])
        except ValueError:
            raise Unauthenticated("malformed") from None
        key_id = _key_id(header)
        issuer = claims.get("iss")
        trusted = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if trusted is None:
            raise Unauthenticated("issuer")
        key = trusted.keys.get(key_id)
        if key is None:
            raise Unauthenticated("key")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                options=_OPTIONS,
                audience=trusted.issuer.audience,
                issuer=trusted.issuer.issuer,
                leeway=LEEWAY,
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(next(reason for kind, reason in _REASONS if isinstance(error, kind))) from None
        return _read_claims(claims)


def _bearer(header: str | None) -> str:
    """The token of `Bearer TOKEN` (RFC 6750, 2.1), in the one spelling of a compact JWS."""
    if header is None:
        raise Unauthenticated("missing")
    if len(header) > MAX_TOKEN_CHARACTERS + len("Bearer "):
        raise Unauthenticated("length")
    match = _BEARER.fullmatch(header)
    if match is None:
        raise Unauthenticated("scheme")
    return match[1]


def _octets(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _key_id(header: dict[str, Any]) -> str:
    """The `kid` of a header in which nothing but `alg`, `kid` and `typ` matters."""
    if not _REFUSED_MEMBERS.isdisjoint(header):
        raise Unauthenticated("header")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Unauthenticated("type")
    key_id = header.get("kid")
    if not isinstance(key_id, str):
        raise Unauthenticated("key")
    return key_id


def _read_claims(claims: dict[str, Any]) -> _Verified:
    """The actor in claims whose signature, issuer, audience and times PyJWT has found good."""
    if claims.get("token_use", "access") != "access":
        raise Unauthenticated("token_use")
    expires_at, issued_at = _seconds(claims, "exp"), _seconds(claims, "iat")
    if "nbf" in claims:
        _seconds(claims, "nbf")
    if not 0 < expires_at - issued_at <= MAX_LIFETIME:
        raise Unauthenticated("lifetime")
    roles = _roles(claims)
    actor = Actor(
        subject=_text(claims, "sub"),
        issuer=claims["iss"],
        org=_matching(claims, "org", _ORG),
        roles=roles,
        purpose=None,
        client_id=_text(claims, "client_id") if "client_id" in claims else None,
        token_id=_text(claims, "jti"),
        patient_id=_matching(claims, "patient", _PATIENT) if roles & PERSONAL and "patient" in claims else None,
        expires_at=expires_at,
        **(_as_a_person(claims) if roles & STAFF else {}),
    )
    return _Verified(actor, issued_at, _text(claims, "purpose_of_use") if "purpose_of_use" in claims else None, {})


def _as_a_person(claims: dict[str, Any]) -> dict[str, str | None]:
    """What a token of staff says of its bearer as a person; what is malformed is passed over, for it permits nothing.

    `family_name` and `address` are standard claims (OpenID Connect Core 1.0, 5.1), `patient` is their own record.
    """
    address = claims.get("address")
    place = address if isinstance(address, dict) else {}
    street = place.get("street_address")
    lines = street.strip().splitlines() if isinstance(street, str) else []
    return {
        "own_record": _known(claims.get("patient"), _PATIENT),
        "family_name": _known(claims.get("family_name"), _LINE),
        "postal_code": _known(place.get("postal_code"), _LINE),
        "street_address": _known(lines[0] if lines else None, _LINE),
    }


def _known(value: Any, pattern: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) and value.isprintable() else None


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) is not int or not 0 <= value <= LATEST:
        raise Unauthenticated(name)
    return value


def _text(claims: dict[str, Any], name: str) -> str:
    """A claim that may stand in a log line or an event: no controls, no direction marks, no lone surrogates."""
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CLAIM_CHARACTERS or not value.isprintable():
        raise Unauthenticated(name)
    return value


def _matching(claims: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise Unauthenticated(name)
    return value


def _roles(claims: dict[str, Any]) -> frozenset[Role]:
    """The roles we know; others belong to other services and are passed over, but one must remain."""
    names = claims.get("roles")
    if not isinstance(names, list) or len(names) > MAX_ROLES or not all(isinstance(name, str) for name in names):
        raise Unauthenticated("roles")
    roles = frozenset(Role(name) for name in names if name in _KNOWN_ROLES)
    if not roles:
        raise Unauthenticated("roles")
    return roles


def _acting(verified: _Verified, code: str | None) -> Actor:
    """The same actor each time, since whatever is worked out about one is found again by it."""
    if code is None:
        return verified.actor
    purpose = _PURPOSES.get(code)
    if purpose is None:
        raise PurposeNotPermitted(verified.actor)
    actor = verified.acting.get(purpose)
    if actor is None:
        actor = verified.acting[purpose] = replace(verified.actor, purpose=purpose)
    return actor
