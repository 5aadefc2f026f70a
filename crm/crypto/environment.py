"""Root keys in environment variables, for development only: everybody who may look at the process may read them.

One variable for each use, `HEED_ROOT_KEY_CONTACT` and so on: base64 of 32 octets; several, newest first, with commas.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from crm.crypto.provider import USES, Destruction, Wrapped
from crm.crypto.root_key import RootKey, octets
from crm.crypto.secret import Secret
from crm.errors import KeyUnavailable, Unsafe

__all__ = ["EnvironmentKeys"]


class EnvironmentKeys(Secret):
    """A provider of root keys (`KeyProvider`) that was told them. It changes none: only the variables' owner can.

    A key's id is its use and the first 8 octets of SHA-256("heed root" ‖ key), so that the order in a variable can
    change. A key that is gone from the variable is one that was never there.
    """

    name: ClassVar[str] = "env"
    __slots__ = ("_keys", "_roots")

    def __init__(self, values: Mapping[str, str], given: Collection[str] = ()) -> None:
        """`values` is the text of each use's variable; an empty one counts as none. Raises Unsafe, without the text.

        `given` restricts it to these uses; empty means all that have a key.
        """
        self._roots: dict[str, tuple[str, ...]] = {}
        self._keys: dict[str, RootKey] = {}
        for use in USES:
            if values.get(use, "").strip() and (not given or use in given):
                found = [_root(use, place, text) for place, text in enumerate(values[use].split(","), start=1)]
                self._roots[use] = tuple(reversed([root.id for root in found]))
                self._keys |= {root.id: root for root in found}
        if len({root_id.partition("-")[2] for root_id in self._keys}) < sum(map(len, self._roots.values())):
            raise Unsafe("two of HEED_ROOT_KEY_… are the same key: make each with `openssl rand -base64 32`")

    def uses(self) -> frozenset[str]:
        return frozenset(self._roots)

    def found(self, uses: Collection[str]) -> None:
        for use in USES:
            if use in uses and use not in self._roots:
                raise Unsafe(f"{_variable(use)} is empty: set it to what `openssl rand -base64 32` prints")

    def roots(self, use: str) -> Sequence[str]:
        if use not in self._roots:
            raise KeyUnavailable(f"the environment has no root key for {use}")
        return self._roots[use]

    def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        root = self._keys[self.roots(context["use"])[-1]]
        return Wrapped(self.name, root.id, root.wrap(key, context))

    def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        self.roots(context["use"])
        root = self._keys.get(wrapped.key_ref)
        if root is None or wrapped.provider != self.name:
            raise KeyUnavailable("the environment does not have this root key")
        return root.unwrap(wrapped.blob, context)

    def rewrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> Wrapped:
        return self.wrap(self.unwrap(wrapped, context), context)

    def rotate(self, use: str) -> str:
        raise Unsafe(
            f"a key in the environment is rotated by hand: put what `openssl rand -base64 32` prints before the others "
            f"in {_variable(use)}, with a comma, and start again"
        )

    def destroy(self, key_ref: str) -> Destruction:
        variable = _variable(self._keys[key_ref].use) if key_ref in self._keys else "HEED_ROOT_KEY_…"
        raise Unsafe(
            f"a key in the environment is destroyed by hand: remove it from {variable} wherever that is set, and start "
            "again"
        )

    def probe(self) -> None:
        """Returns: the keys are in this process."""


def _variable(use: str) -> str:
    return f"HEED_ROOT_KEY_{use.upper()}"


def _root(use: str, place: int, text: str) -> RootKey:
    try:
        secret = octets(text.strip())
    except ValueError as error:
        raise Unsafe(f"key {place} of {_variable(use)} {error}: make one with `openssl rand -base64 32`") from None
    return RootKey.of(f"{use}-{hashlib.sha256(b'heed root' + secret).digest()[:8].hex()}", use, secret)
