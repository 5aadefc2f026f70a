"""What the service asks of whoever keeps the root keys: when a key set is made or loaded, never while answering."""

from collections.abc import Collection, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Destruction:
    """The end of a root key: its reference, and from when on nobody can use it, microseconds since 1970, UTC.

    That time lies ahead where the provider keeps a waiting period, in which the order can be taken back.
    """

    key_ref: str
    at: int


class KeyProvider(Protocol):
    """A keeper of root keys, such as the key-ring file. Calls may block: they load or rotate keys, and answer nobody.

    `context` names what is wrapped (`app`, `env`, `purpose`, `use`, `no`); the same context must be given to unwrap.
    Every call may raise ProviderUnavailable (try again later) and KeyUnavailable (it holds no key for that use).
    """

    @property
    def name(self) -> str:
        """The provider's name as `crypto_key` rows carry it."""
        ...

    def uses(self) -> frozenset[str]:
        """The uses (of `USES`) for which this process was given root keys."""
        ...

    def found(self, uses: Collection[str]) -> None:
        """Makes the first root key of each of these uses, where there is none yet. Raises Unsafe where it cannot."""
        ...

    def roots(self, use: str) -> Sequence[str]:
        """References to the root keys of a use that still exist, oldest first; the last is the one `wrap` takes."""
        ...

    def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        """The key (up to 64 octets) under the newest root key of `context["use"]`."""
        ...

    def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        """The key again. Raises Tampered when it does not fit, KeyDestroyed when its root key was destroyed."""
        ...

    def rewrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> Wrapped:
        """The same key under the newest root key. Raises what `unwrap` raises."""
        ...

    def rotate(self, use: str) -> str:
        """A new root key for a use, which becomes the newest; its reference. Raises Unsafe where it cannot be made."""
        ...

    def destroy(self, key_ref: str) -> Destruction:
        """Destroys a root key for good; a provider that numbers versions destroys the older ones of that use with it.

        The caller makes sure that nothing in use is still under any of them. Raises Unsafe for the newest of a use.
        """
        ...

    def probe(self) -> None:
        """Returns when the provider answers. Raises ProviderUnavailable."""
        ...
