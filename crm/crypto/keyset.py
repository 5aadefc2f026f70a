"""The keys this process may use, unwrapped once from `crypto_key` rows; which rows there are is the store's business.

A wrap key per class and epoch, an index key per version, and a signing key. What the provider does not hold is absent,
and asking for it raises KeyUnavailable: a deployment may be given only some classes. Data keys are never kept.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crm.catalogue import KeyClass
from crm.crypto import index, wrapping
from crm.crypto.aead import KEY, Aead, Alg, cell_cipher, cipher
from crm.crypto.data_key import ENTITY, DataKey
from crm.crypto.lengths import lp, uuid_octets
from crm.crypto.note import Signer, derived
from crm.crypto.provider import USES, KeyProvider
from crm.crypto.secret import Secret
from crm.crypto.stored_key import Name, StoredKey, new_index_key, new_signing_key, new_wrap_key, unwrapped
from crm.crypto.wrapping import WrapKey
from crm.errors import KeyDestroyed, KeyUnavailable, ProviderUnavailable, Tampered, UnknownKey, Unsafe

__all__ = ["KeySet", "NewKey"]

_TEMPLATES = 4096


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a `patient_key` row needs to know of a data key just made."""

    epoch: int
    wrapped: bytes = field(repr=False)


class KeySet(Secret):
    """Makes and opens data keys, and computes blind indexes. Its content is replaced in place, by `adopt`.

    `held` are the classes that this process was given. `good_until` (seconds of the monotonic clock) is when what it
    knows is too old to change records by.
    """

    __slots__ = (
        "_active", "_gone", "_headers", "_keys", "_lasting", "_missed", "_signers", "_states", "_templates",
        "good_until", "held",
    )  # fmt: skip

    def __init__(self, rows: Sequence[StoredKey], keys: Mapping[Name, Any], held: frozenset[KeyClass]) -> None:
        self._keys = dict(keys)
        self._states = {row.name: row.state for row in rows if row.name in keys}
        self._gone = frozenset(row.name for row in rows if row.state == "destroyed")
        self._missed = frozenset(row.name for row in rows) - self._gone - keys.keys()
        self._active = {name[0]: name[1] for name, state in self._states.items() if state == "active"}
        self._headers = {(name[0], key.header): key for name, key in keys.items() if isinstance(key, WrapKey)}
        self._templates: dict[tuple[int, bytes], index.HMAC] = {}
        self._signers: dict[tuple[int, str], Signer] = {}
        self._lasting: dict[tuple[str, str], index.HMAC] = {}
        self.held = held
        self.good_until = math.inf

    @classmethod
    def load(cls, provider: KeyProvider, env: str, rows: Sequence[StoredKey]) -> "KeySet":
        """Unwraps every row whose use the provider holds; `env` is the environment the keys were made for.

        Raises Unsafe when a row of a use that it holds cannot be unwrapped, or a use has not exactly one active key.
        """
        return cls._loaded(provider, env, rows, {})

    def renewed(self, provider: KeyProvider, env: str, rows: Sequence[StoredKey]) -> "KeySet":
        """A key set of these rows that asks the provider only for keys which this one does not hold. See `load`."""
        return self._loaded(provider, env, rows, self._keys)

    def adopt(self, fresh: "KeySet") -> None:
        """Takes over the content of another key set; whoever holds this object uses it from now on."""
        for name in set(KeySet.__slots__) - {"good_until"}:
            setattr(self, name, getattr(fresh, name))

    @classmethod
    def _loaded(cls, provider: KeyProvider, env: str, rows: Sequence[StoredKey], known: Mapping[Name, Any]) -> "KeySet":
        held = provider.uses()
        keys: dict[Name, Any] = {}
        active: set[str] = set()
        for row in rows:
            if row.use not in held or row.state == "destroyed":
                continue
            try:
                keys[row.name] = known[row.name] if row.name in known else _opened(row, unwrapped(provider, env, row))
            except (ProviderUnavailable, Unsafe):
                if row.state != "pending":
                    raise
                continue  # nobody needs it yet, and whoever published it waits until it is held here
            if row.state == "active":
                if row.use in active:
                    raise Unsafe(f"the database has two active keys for {row.use}: restore crypto_key")
                active.add(row.use)
        for use in sorted((held & {*KeyClass, "index"}) - active):
            raise Unsafe(f"the database has no active key for {use}: run `keys init`, or restore crypto_key")
        return cls(rows, keys, frozenset(key_class for key_class in KeyClass if key_class in held))

    @staticmethod
    def bootstrap(provider: KeyProvider, env: str, alg: Alg = Alg.GCM_SIV) -> list[StoredKey]:
        """The first epoch of every class, index key and signing key, all active, wrapped and ready to be stored.

        `alg` is the cipher that wraps data keys in these epochs. Raises Unsafe unless the provider holds every use.
        """
        missing = set(USES) - provider.uses()
        if missing:
            raise Unsafe(f"the first keys need a provider that holds every use; it lacks {', '.join(sorted(missing))}")
        wraps = [new_wrap_key(provider, env, key_class, 1, "active", alg) for key_class in KeyClass]
        return [
            *wraps, new_index_key(provider, env, 1, "active"), new_signing_key(provider, env, 1, "active")
        ]  # fmt: skip

    def states(self) -> dict[str, dict[int, str]]:
        """What this process holds: the state of each key by use and number, without the keys."""
        found: dict[str, dict[int, str]] = {}
        for (use, no), state in self._states.items():
            found.setdefault(use, {})[no] = state
        return found

    @property
    def fresh(self) -> bool:
        """Whether this process has seen the key store lately enough to change records."""
        return time.monotonic() <= self.good_until

    def check_age(self) -> None:
        """Raises KeyUnavailable when this process has not seen the key store for too long to change records."""
        if not self.fresh:
            raise KeyUnavailable("the key store was not seen for too long")

    def knows(self, key_class: KeyClass, wrapped: bytes) -> bool:
        """False where the key store has to be asked for an epoch that others have begun since."""
        if (key_class, wrapping.header_of(wrapped)) in self._headers:
            return True
        try:
            name = key_class.value, wrapping.epoch_of(wrapped)
        except Tampered:  # told to whoever opens it
            return True
        return name in self._keys or name in self._gone or key_class not in self.held

    def new_data_key(self, org: str, patient_id: str, key_class: KeyClass, dek_no: int) -> tuple[DataKey, NewKey]:
        """A fresh random data key, and the same wrapped under the active epoch. Raises KeyUnavailable, ValueError."""
        patient, secret = uuid_octets(patient_id), os.urandom(KEY)
        new = self._wrap(wrapping.place(org, patient, key_class, dek_no), key_class, secret)
        return DataKey(cipher(Alg.GCM, secret), org, patient, key_class, dek_no), new

    def data_key(self, org: str, patient_id: str, key_class: KeyClass, dek_no: int, wrapped: bytes) -> DataKey:
        """The data key of a `patient_key` row, by exactly one decryption under the epoch that its header names.

        Raises KeyUnavailable when this process lacks the class, UnknownKey or KeyDestroyed for the epoch, and Tampered
        when it does not authenticate.
        """
        patient, _, secret = self._unwrap(org, patient_id, key_class, dek_no, wrapped)
        return DataKey(cell_cipher(secret), org, patient, key_class, dek_no)

    def rewrap(self, org: str, patient_id: str, key_class: KeyClass, dek_no: int, wrapped: bytes) -> NewKey:
        """The same data key under the active epoch of its class. Raises what `data_key` raises."""
        _, whose, secret = self._unwrap(org, patient_id, key_class, dek_no, wrapped)
        return self._wrap(whose, key_class, secret)

    def _wrap(self, whose: bytes, key_class: KeyClass, secret: bytes) -> NewKey:
        if key_class not in self.held:
            raise KeyUnavailable(f"no wrap key for {key_class}")
        wrap_key: WrapKey = self._keys[key_class.value, self._active[key_class.value]]
        return NewKey(wrap_key.epoch, wrapping.wrap(wrap_key, whose, secret))

    def _unwrap(
        self, org: str, patient_id: str, key_class: KeyClass, dek_no: int, wrapped: bytes
    ) -> tuple[bytes, bytes, bytes]:
        """Patient, place and secret of a stored data key."""
        wrap_key = self._headers.get((key_class, wrapping.header_of(wrapped)))
        if wrap_key is None:
            raise self._unknown(key_class, wrapped)
        try:
            patient = uuid_octets(patient_id)
            whose = wrapping.place(org, patient, key_class, dek_no)
        except (ValueError, OverflowError):
            raise Tampered("data key") from None
        return patient, whose, wrapping.unwrap(wrap_key, whose, wrapped)

    def _unknown(self, key_class: KeyClass, wrapped: bytes) -> Exception:
        """Why no wrap key here opens what is wrapped like that."""
        if key_class not in self.held:
            return KeyUnavailable(f"no wrap key for {key_class}")
        name = key_class.value, wrapping.epoch_of(wrapped)
        if name in self._keys:  # under another cipher than its epoch has
            return Tampered("data key")
        listed = ProviderUnavailable if name in self._missed else UnknownKey
        kind = KeyDestroyed if name in self._gone else listed
        return kind(f"no wrap key for epoch {name[1]} of {key_class}")

    @property
    def index_version(self) -> int:
        """The active version of the index key. Raises KeyUnavailable."""
        if "index" not in self._active:
            raise KeyUnavailable("no index key")
        return self._active["index"]

    def index_versions(self) -> tuple[int, ...]:
        """The versions under which stored index values may be found, ascending; none without an index key."""
        return tuple(sorted(no for use, no in self._states if use == "index"))

    def index_versions_written(self) -> tuple[int, ...]:
        """The versions under which new values are stored: the active and the pending ones. Raises KeyUnavailable.

        A version that is being filled in must miss nothing that is written meanwhile.
        """
        pending = [no for (use, no), state in self._states.items() if use == "index" and state == "pending"]
        return tuple(sorted({self.index_version, *pending}))

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

    def signer(self) -> tuple[int, bytes]:
        """Number and Ed25519 seed (32 octets) of the active signing key. Raises KeyUnavailable."""
        if "log" not in self._active:
            raise KeyUnavailable("no signing key")
        no = self._active["log"]
        return no, self._keys["log", no]

    def log_signer(self, origin: str) -> Signer:
        """Signs the checkpoints of the log of this name, under a key of its own. Raises KeyUnavailable.

        The key is derived from the active signing key, HKDF-SHA256 with the info "heed/log/1" || lp(origin), so that no
        signature of one log or of a receipt can be taken for one of another log.
        """
        no, seed = self.signer()
        signer = self._signers.get((no, origin))
        if signer is None:
            signer = self._signers[no, origin] = Signer(origin, derived(seed, b"heed/log/1" + lp(origin)))
        return signer

    def lasting_digest(self, org: str, purpose: str, data: bytes) -> bytes:
        """A keyed digest, 32 octets, that is the same for ever: for what must be recognised and cannot be made anew.

        The key is derived from the first signing key, HKDF-SHA256 with the info "heed/digest/1" || lp(org) ||
        lp(purpose): like those of the logs it is not rotated, and every process has it. Raises KeyUnavailable.
        """
        template = self._lasting.get((org, purpose))
        if template is None:
            first = self._first_signing_key()
            if len(self._lasting) >= _TEMPLATES:
                self._lasting.clear()
            info = b"heed/digest/1" + lp(org) + lp(purpose)
            template = self._lasting[org, purpose] = index.started(first, info)
        return index.value(template, data)

    def lasting_cipher(self, org: str, purpose: str) -> Aead:
        """A cipher for settings that belong to an organisation and to no patient; erasing a patient does not end it.

        AES-256-GCM-SIV under a key derived from the first signing key, HKDF-SHA256 with the info "heed/seal/1" ||
        lp(org) || lp(purpose): every process that may answer has it. Raises KeyUnavailable.
        """
        return cipher(Alg.GCM_SIV, derived(self._first_signing_key(), b"heed/seal/1" + lp(org) + lp(purpose)))

    def _first_signing_key(self) -> bytes:
        first = min((no for use, no in self._keys if use == "log"), default=None)
        if first is None:
            raise KeyUnavailable("no signing key")
        key: bytes = self._keys["log", first]
        return key

    def _started(self, version: int, info: bytes) -> index.HMAC:
        template = self._templates.get((version, info))
        if template is None:
            if ("index", version) not in self._keys:
                raise KeyUnavailable(f"no index key of version {version}")
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            template = self._templates[version, info] = index.started(self._keys["index", version], info)
        return template


def _opened(row: StoredKey, secret: bytes) -> Any:
    """The key as it is used: a wrap key, or the octets of an index or signing key."""
    if row.kind != "wrap":
        return secret[1:]
    alg = Alg(secret[0])
    return WrapKey(row.no, alg, cipher(alg, secret[1:]))
