"""The service's own keys as `crypto_key` rows hold them: made, wrapped by a root key, unwrapped. Keeps none."""

import os
from dataclasses import dataclass, field, replace
from hmac import compare_digest

from crm.catalogue import KeyClass
from crm.crypto.aead import KEY, Alg
from crm.crypto.provider import KeyProvider, Wrapped
from crm.errors import KeyUnavailable, ProviderUnavailable, Tampered, Unsafe

__all__ = ["Name", "StoredKey", "new_index_key", "new_signing_key", "new_wrap_key", "rewrapped", "unwrapped"]

APP = "heed"
_INDEX_ALG = 0x10
_SIGN_ALG = 0x20
_ALGS = {"wrap": tuple(Alg), "index": (_INDEX_ALG,), "sign": (_SIGN_ALG,)}
_USE_OF = {"index": "index", "sign": "log"}

Name = tuple[str, int]
"""A stored key's use and number."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One `crypto_key` row: a wrap key's epoch of one class, a version of the index key, or a signing key.

    `kind` is `wrap`, `index` or `sign`; `key_class` is set for a wrap key only; `no` counts from 1. `state` is
    `pending` (everybody must know it before anybody needs it), `active` (exactly one of a use), `retiring` (still
    read) or `destroyed`.
    """

    kind: str
    key_class: str
    no: int
    state: str
    provider: str
    key_ref: str
    wrapped: bytes | None = field(repr=False)

    @property
    def use(self) -> str:
        """The use whose root key wraps it."""
        return self.key_class if self.kind == "wrap" else _USE_OF[self.kind]

    @property
    def name(self) -> Name:
        """Use and number, which tell it from every other key."""
        return self.use, self.no


def new_wrap_key(
    provider: KeyProvider, env: str, key_class: KeyClass, no: int, state: str, alg: Alg = Alg.GCM_SIV
) -> StoredKey:
    """A fresh epoch of one class, ready to be stored. `alg` is the cipher that wraps data keys in this epoch."""
    return _made(provider, env, "wrap", key_class, no, state, alg)


def new_index_key(provider: KeyProvider, env: str, no: int, state: str) -> StoredKey:
    """A fresh version of the index key, ready to be stored."""
    return _made(provider, env, "index", "index", no, state, _INDEX_ALG)


def new_signing_key(provider: KeyProvider, env: str, no: int, state: str) -> StoredKey:
    """A fresh key for signing receipts, ready to be stored."""
    return _made(provider, env, "sign", "log", no, state, _SIGN_ALG)


def rewrapped(provider: KeyProvider, env: str, row: StoredKey) -> StoredKey:
    """The same key under the newest root key of its use, proved by unwrapping it. Raises what the provider raises."""
    secret = unwrapped(provider, env, row)
    wrapped = provider.rewrap(_wrapped(row), _context(env, row))
    moved = replace(row, provider=wrapped.provider, key_ref=wrapped.key_ref, wrapped=wrapped.blob)
    if not compare_digest(unwrapped(provider, env, moved), secret):
        raise Tampered("stored key")
    return moved


def _context(env: str, row: StoredKey) -> dict[str, str]:
    return {"app": APP, "env": env, "purpose": row.kind, "use": row.use, "no": str(row.no)}


def _wrapped(row: StoredKey) -> Wrapped:
    if row.wrapped is None:
        raise Tampered("stored key")
    return Wrapped(row.provider, row.key_ref, row.wrapped)


def _made(provider: KeyProvider, env: str, kind: str, use: str, no: int, state: str, alg: int) -> StoredKey:
    """A fresh random key. The root key wraps alg u8 ‖ key 32, so that nobody can change the algorithm."""
    plain = StoredKey(kind, use if kind == "wrap" else "", no, state, "", "", None)
    wrapped = provider.wrap(bytes((alg,)) + os.urandom(KEY), _context(env, plain))
    return replace(plain, provider=wrapped.provider, key_ref=wrapped.key_ref, wrapped=wrapped.blob)


def unwrapped(provider: KeyProvider, env: str, row: StoredKey) -> bytes:
    """The algorithm's octet and the key. Raises Unsafe when the provider and the database do not belong together."""
    try:
        secret = provider.unwrap(_wrapped(row), _context(env, row))
        if len(secret) != 1 + KEY or secret[0] not in _ALGS[row.kind]:
            raise Tampered("stored key")
    except ProviderUnavailable:
        raise
    except (KeyUnavailable, Tampered):
        raise Unsafe(
            f"the {provider.name} does not fit this database: it cannot unwrap the {row.kind} key {row.no} for "
            f"{row.use}. Give the {provider.name} that `keys init` made for it, and the HEED_ENV in which it was first "
            f"started (now: {env})"
        ) from None
    return secret
