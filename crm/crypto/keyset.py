"""The keys this process may use, unwrapped once from `crypto_key` rows; which rows there are is the store's business.

A wrap key per class and epoch, and an index key per version. What the provider does not hold is absent, and asking for
it raises KeyUnavailable: a deployment may be given only some classes. Data keys are never kept.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crm.catalogue import KeyClass
from crm.crypto import index, wrapping
from crm.crypto.aead import KEY, Alg, cipher
from crm.crypto.data_key import ENTITY, DataKey
from crm.crypto.lengths import uuid_octets
from crm.crypto.provider import KeyProvider, Wrapped
from crm.crypto.secret import Secret
from crm.crypto.wrapping import WrapKey
from crm.errors import KeyUnavailable, Tampered, Unsafe

__all__ = ["KeySet", "NewKey", "StoredKey", "new_index_key", "new_wrap_key"]

APP = "heed"
_INDEX_ALG = 0x10
_TEMPLATES = 4096


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One `crypto_key` row: a wrap key's epoch of one class, or a version of the index key.

    `kind` is `wrap` or `index`; `key_class` is empty for an index key; `no` counts from 1. `state` is `pending`
    (readers know it, nobody uses it yet), `active` (exactly one of a use), `retiring` (still read) or `destroyed`.
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
        return self.key_class if self.kind == "wrap" else "index"


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a `patient_key` row needs to know of a data key just made."""

    epoch: int
    wrapped: bytes = field(repr=False)


def new_wrap_key(
    provider: KeyProvider, env: str, key_class: KeyClass, no: int, state: str, alg: Alg = Alg.GCM_SIV
) -> StoredKey:
    """A fresh epoch of one class, ready to be stored. `alg` is the cipher that wraps data keys in this epoch."""
    return _made(provider, env, "wrap", key_class, no, state, alg)


def new_index_key(provider: KeyProvider, env: str, no: int, state: str) -> StoredKey:
    """A fresh version of the index key, ready to be stored."""
    return _made(provider, env, "index", "index", no, state, _INDEX_ALG)


class KeySet(Secret):
    """Makes and opens data keys, and computes blind indexes."""

    __slots__ = ("_active", "_index_keys", "_index_version", "_templates", "_wrap_keys", "held")

    def __init__(
        self,
        wrap_keys: Mapping[KeyClass, Mapping[int, WrapKey]],
        active: Mapping[KeyClass, WrapKey],
        index_keys: Mapping[int, bytes],
        index_version: int | None,
    ) -> None:
        self._wrap_keys = wrap_keys
        self._active = active
        self._index_keys = index_keys
        self._index_version = index_version
        self._templates: dict[tuple[int, bytes], index.HMAC] = {}
        self.held = frozenset(wrap_keys)

    @classmethod
    def load(cls, provider: KeyProvider, env: str, rows: Sequence[StoredKey]) -> "KeySet":
        """Unwraps every row whose use the provider holds; `env` is the environment the keys were made for.

        Raises Unsafe when a row of a use that it holds cannot be unwrapped, or a use has not exactly one active key.
        """
        held = provider.uses()
        secrets: dict[str, dict[int, bytes]] = {}
        active: dict[str, int] = {}
        for row in rows:
            if row.use not in held or row.state == "destroyed":
                continue
            secrets.setdefault(row.use, {})[row.no] = _unwrapped(provider, env, row)
            if row.state == "active":
                if row.use in active:
                    raise Unsafe(f"the database has two active keys for {row.use}: restore crypto_key")
                active[row.use] = row.no
        for use in sorted(held & {*KeyClass, "index"}):
            if use not in active:
                raise Unsafe(f"the database has no active key for {use}: run `keys init`, or restore crypto_key")
        wrap_keys = {
            key_class: {no: _wrap_key(no, secret) for no, secret in secrets[key_class].items()}
            for key_class in KeyClass
            if key_class in held
        }
        newest = {key_class: keys[active[key_class]] for key_class, keys in wrap_keys.items()}
        index_keys = {no: secret[1:] for no, secret in secrets.get("index", {}).items()}
        return cls(wrap_keys, newest, index_keys, active.get("index"))

    @staticmethod
    def bootstrap(provider: KeyProvider, env: str, alg: Alg = Alg.GCM_SIV) -> list[StoredKey]:
        """The first epoch of every class and the first index key, all active, wrapped and ready to be stored.

        `alg` is the cipher that wraps data keys in these epochs. Raises Unsafe unless the provider holds every use.
        """
        missing = {*KeyClass, "index"} - provider.uses()
        if missing:
            raise Unsafe(f"the first keys need a provider that holds every use; it lacks {', '.join(sorted(missing))}")
        wraps = [new_wrap_key(provider, env, key_class, 1, "active", alg) for key_class in KeyClass]
        return [*wraps, new_index_key(provider, env, 1, "active")]

    def new_data_key(self, org: str, patient_id: str, key_class: KeyClass, dek_no: int) -> tuple[DataKey, NewKey]:
        """A fresh random data key, and the same wrapped under the active epoch. Raises KeyUnavailable, ValueError."""
        wrap_key = self._active.get(key_class)
        if wrap_key is None:
            raise KeyUnavailable(f"no wrap key for {key_class}")
        patient, secret = uuid_octets(patient_id), os.urandom(KEY)
        wrapped = wrapping.wrap(wrap_key, wrapping.place(org, patient, key_class, dek_no), secret)
        return DataKey(cipher(Alg.GCM, secret), org, patient, key_class, dek_no), NewKey(wrap_key.epoch, wrapped)

    def data_key(self, org: str, patient_id: str, key_class: KeyClass, dek_no: int, wrapped: bytes) -> DataKey:
        """The data key of a `patient_key` row, by exactly one decryption under the epoch that its header names.

        Raises KeyUnavailable when this process lacks the class or the epoch, Tampered when it does not authenticate.
        """
        epochs = self._wrap_keys.get(key_class)
        if epochs is None:
            raise KeyUnavailable(f"no wrap key for {key_class}")
        epoch = wrapping.epoch_of(wrapped)
        wrap_key = epochs.get(epoch)
        if wrap_key is None:
            raise KeyUnavailable(f"no wrap key for epoch {epoch} of {key_class}")
        try:
            patient = uuid_octets(patient_id)
            whose = wrapping.place(org, patient, key_class, dek_no)
        except (ValueError, OverflowError):
            raise Tampered("data key") from None
        secret = wrapping.unwrap(wrap_key, whose, wrapped)
        return DataKey(cipher(Alg.GCM, secret), org, patient, key_class, dek_no)

    @property
    def index_version(self) -> int:
        """The version under which new index values are written. Raises KeyUnavailable."""
        if self._index_version is None:
            raise KeyUnavailable("no index key")
        return self._index_version

    def index_versions(self) -> tuple[int, ...]:
        """The versions under which stored index values may be found, ascending; none without an index key."""
        return tuple(sorted(self._index_keys))

    def index_value(self, org: str, index_name: str, bits: int, normalised: bytes, version: int | None = None) -> bytes:
        """The blind index of a normalised value, in (bits + 7) // 8 octets, under `version` or the active one.

        Raises KeyUnavailable.
        """
        no = self.index_version if version is None else version
        return index.value(self._started(no, index.search_info(org, ENTITY, index_name)), normalised, bits)

    def digest(self, org: str, purpose: str, data: bytes) -> bytes:
        """A keyed digest, 32 octets, that nobody without the active index key can compute or test a guess against.

        It changes when the index key is rotated, so keep it only for what may be computed again. Raises KeyUnavailable.
        """
        return index.value(self._started(self.index_version, index.digest_info(org, purpose)), data)

    def _started(self, version: int, info: bytes) -> index.HMAC:
        template = self._templates.get((version, info))
        if template is None:
            if version not in self._index_keys:
                raise KeyUnavailable(f"no index key of version {version}")
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            template = self._templates[version, info] = index.started(self._index_keys[version], info)
        return template


def _context(env: str, kind: str, use: str, no: int) -> dict[str, str]:
    return {"app": APP, "env": env, "purpose": kind, "use": use, "no": str(no)}


def _made(provider: KeyProvider, env: str, kind: str, use: str, no: int, state: str, alg: int) -> StoredKey:
    """A fresh random key. The root key wraps alg u8 ‖ key 32, so that nobody can change the algorithm."""
    wrapped = provider.wrap(bytes((alg,)) + os.urandom(KEY), _context(env, kind, use, no))
    key_class = use if kind == "wrap" else ""
    return StoredKey(kind, key_class, no, state, wrapped.provider, wrapped.key_ref, wrapped.blob)


def _unwrapped(provider: KeyProvider, env: str, row: StoredKey) -> bytes:
    """The algorithm's octet and the key. Raises Unsafe when the provider and the database do not belong together."""
    try:
        if row.wrapped is None:
            raise Tampered("stored key")
        stored = Wrapped(row.provider, row.key_ref, row.wrapped)
        secret = provider.unwrap(stored, _context(env, row.kind, row.use, row.no))
        if len(secret) != 1 + KEY or secret[0] not in ((_INDEX_ALG,) if row.kind == "index" else tuple(Alg)):
            raise Tampered("stored key")
    except (KeyUnavailable, Tampered):
        raise Unsafe(
            f"the {provider.name} does not fit this database: it cannot unwrap the {row.kind} key {row.no} for "
            f"{row.use}. Give the {provider.name} that `keys init` made for it, and the HEED_ENV in which it was first "
            f"started (now: {env})"
        ) from None
    return secret


def _wrap_key(no: int, secret: bytes) -> WrapKey:
    alg = Alg(secret[0])
    return WrapKey(no, alg, cipher(alg, secret[1:]))
