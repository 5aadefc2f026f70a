"""What the service asks of whoever keeps the root keys: when a key set is made or loaded, never while answering."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

USES = ("identity", "contact", "preference", "sensitive", "index", "log")
"""What a root key may be for: one of the key classes, the blind indexes, or the access log. One key per use, so that a
deployment can be given only some."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A key under a root key: the provider's name, its reference to the root key, and octets only it understands."""

    provider: str
    key_ref: str
    blob: bytes = field(repr=False)


class KeyProvider(Protocol):
    """A keeper of root keys, such as the key-ring file.

    `context` names what is wrapped (`app`, `env`, `purpose`, `use`, `no`); the same context must be given to unwrap.
    """

    @property
    def name(self) -> str:
        """The provider's name as `crypto_key` rows carry it."""
        ...

    def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        """The key under the newest root key of `context["use"]`. Raises KeyUnavailable when it holds none."""
        ...

    def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        """The key again. Raises KeyUnavailable when it does not hold that root key, Tampered when it does not fit."""
        ...

    def uses(self) -> frozenset[str]:
        """The uses (of `USES`) for which it holds an active root key."""
        ...
