"""Root keys in the Transit engine of HashiCorp Vault or OpenBao: they never leave it, and it does the wrapping.

One key for each use, `heed-<env>-<use>`, whose versions are the root keys. It is a derived key (`derived=true`): only
the context of a derived key is also authenticated when the server rewraps, for a rewrap takes no associated data.
"""

import base64
import binascii
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal

import hvac
import orjson
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized, VaultDown, VaultError
from requests.exceptions import RequestException

from crm.crypto.provider import USES, Destruction, Wrapped
from crm.crypto.secret import Secret
from crm.errors import KeyDestroyed, KeyUnavailable, ProviderUnavailable, Tampered, Unsafe

__all__ = ["VaultTransit"]

_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]*):([A-Za-z0-9+/]+=*)")
_MINIMA = ("min_decryption_version", "min_encryption_version")


class VaultTransit(Secret):
    """A provider of root keys (`KeyProvider`) that asks a server, each time anew.

    `key_ref` is `heed-production-contact:v3`; the blob is what the server calls ciphertext, without its prefix and its
    base64. May be used from several threads, each of which gets a connection of its own.
    """

    name: ClassVar[str] = "vault"
    __slots__ = ("_clients", "_env", "_given", "_held", "_mount", "_settings", "_token")

    def __init__(
        self,
        env: str,
        address: str,
        token: Callable[[], str],
        *,
        given: Collection[str] = (),
        mount: str = "transit",
        namespace: str | None = None,
        timeout: float = 5.0,
    ) -> None:
        """`token` is asked before each call, because an agent may renew it; `given` empty means all it may read.

        `timeout` is in seconds, for the connection and again for the answer. No redirect is followed: it would carry
        the token elsewhere.
        """
        self._env = env
        self._given = frozenset(given)
        self._held: frozenset[str] = frozenset()
        self._mount = mount.strip("/")
        self._token = token
        self._clients = threading.local()
        self._settings = {"url": address, "namespace": namespace, "timeout": timeout, "allow_redirects": False}

    def uses(self) -> frozenset[str]:
        """As given; otherwise those whose key the token may read, which are remembered once there are any."""
        if self._given:
            return self._given
        if not self._held:
            self._held = frozenset(use for use in USES if self._readable(use))
        if not self._held:
            self.probe()  # a token that may read nothing is fine, one that is not valid is not
        return self._held

    def found(self, uses: Collection[str]) -> None:
        for use in USES:
            if use in uses and not self._readable(use):
                self._write(f"keys/{self._key_name(use)}", derived=True, exportable=False, type="aes256-gcm96")
                self._key(use)
                self._held = frozenset()

    def roots(self, use: str) -> Sequence[str]:
        return [self._ref(use, version) for version in sorted(map(int, self._key(use)["keys"]))]

    def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        use = context["use"]
        self._key(use)  # the server would make a key that it lacks by itself, where nobody expects it
        answer = self._write(
            f"encrypt/{self._key_name(use)}",
            plaintext=base64.b64encode(key).decode(),
            context=_derivation(context),
        )
        return self._wrapped(use, answer)

    def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        answer = self._opened("decrypt", wrapped, context)
        try:
            return base64.b64decode(answer["plaintext"], validate=True)
        except (KeyError, TypeError, binascii.Error, ValueError):
            raise _confused() from None

    def rewrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> Wrapped:
        return self._wrapped(context["use"], self._opened("rewrap", wrapped, context))

    def rotate(self, use: str) -> str:
        self._key(use)
        self._write(f"keys/{self._key_name(use)}/rotate")
        return self.roots(use)[-1]

    def destroy(self, key_ref: str) -> Destruction:
        """The server forgets this version and all before it; its own backups keep them for as long as they are kept."""
        use, version = self._parsed(key_ref)
        key, lowest = self._key(use), version + 1
        if lowest > key["latest_version"]:
            raise Unsafe(f"{key_ref} is the newest root key for {use}, or none yet: rotate it before you destroy it")
        name = self._key_name(use)
        # hvac refuses two equal minima, which the server accepts, and needs before it trims.
        self._write(f"keys/{name}/config", **{minimum: max(lowest, key[minimum]) for minimum in _MINIMA})
        if key["min_available_version"] < lowest:
            self._write(f"keys/{name}/trim", min_available_version=lowest)
        if self._key(use)["min_available_version"] < lowest:
            raise _confused()
        return Destruction(key_ref, time.time_ns() // 1000)

    def probe(self) -> None:
        self._asked("get", "auth/token/lookup-self")

    def _key_name(self, use: str) -> str:
        return f"heed-{self._env}-{use}"

    def _ref(self, use: str, version: int) -> str:
        return f"{self._key_name(use)}:v{version}"

    def _parsed(self, key_ref: str) -> tuple[str, int]:
        """Use and version. Raises Unsafe for what is no reference to one of these keys."""
        found = re.fullmatch(rf"heed-{re.escape(self._env)}-([a-z]+):v([1-9][0-9]*)", key_ref)
        if found is None or found[1] not in USES:
            raise Unsafe(f"{key_ref} is no root key of this environment")
        return found[1], int(found[2])

    def _key(self, use: str) -> dict[str, Any]:
        """What the server says of the key of a use. Raises KeyUnavailable, ProviderUnavailable, Unsafe."""
        self._check_given(use)
        name = self._key_name(use)
        try:
            key = self._asked("get", f"{self._mount}/keys/{name}")
        except InvalidPath as error:
            if error.errors:
                raise _no_engine() from None
            raise KeyUnavailable(f"the vault has no root key for {use}: run `keys init`") from None
        except InvalidRequest:
            raise _confused() from None
        if not key.get("derived") or key.get("exportable"):
            raise Unsafe(
                f"the vault's key {name} is not derived, or may be exported: it would bind what it wraps to nothing, "
                "or outlive its destruction. Let `keys init` make it"
            )
        return key

    def _readable(self, use: str) -> bool:
        try:
            self._key(use)
        except ProviderUnavailable as error:
            if isinstance(error, _Denied):
                return False
            raise
        except KeyUnavailable:
            return False
        return True

    def _check_given(self, use: str) -> None:
        if self._given and use not in self._given:
            raise KeyUnavailable(f"this process was given no root key for {use}")

    def _opened(
        self, way: Literal["decrypt", "rewrap"], wrapped: Wrapped, context: Mapping[str, str]
    ) -> dict[str, Any]:
        """The answer about a wrapped key. The version comes from its reference; the server reads v0 as v1."""
        use = context["use"]
        self._check_given(use)
        try:
            named, version = self._parsed(wrapped.key_ref)
        except Unsafe:
            named, version = "", 0
        if not named or wrapped.provider != self.name:
            raise KeyUnavailable("the vault does not have this root key")
        if named != use:
            raise Tampered("stored key")
        ciphertext = f"vault:v{version}:{base64.b64encode(wrapped.blob).decode()}"
        path = f"{self._mount}/{way}/{self._key_name(use)}"
        try:
            return self._asked("post", path, ciphertext=ciphertext, context=_derivation(context))
        except InvalidPath:
            raise _no_engine() from None
        except InvalidRequest as error:
            raise _judged(" ".join(error.errors or ())) from None

    def _wrapped(self, use: str, answer: Mapping[str, Any]) -> Wrapped:
        found = _CIPHERTEXT.fullmatch(str(answer.get("ciphertext")))
        if found is None:
            raise _confused()
        return Wrapped(self.name, self._ref(use, int(found[1])), base64.b64decode(found[2]))

    def _write(self, path: str, **data: Any) -> dict[str, Any]:
        """The answer to a change, or to encryption, below the engine's mount. Raises ProviderUnavailable."""
        try:
            return self._asked("post", f"{self._mount}/{path}", **data)
        except InvalidPath:
            raise _no_engine() from None
        except InvalidRequest:
            raise ProviderUnavailable("the vault refuses what was asked (400)") from None

    def _asked(self, method: Literal["get", "post"], path: str, **data: Any) -> dict[str, Any]:
        """The data of an answer. Raises ProviderUnavailable without the server's words; InvalidRequest, InvalidPath."""
        client = self._client()
        try:
            answer = getattr(client.adapter, method)(f"/v1/{path}", **({"json": data} if data else {}))
        except (InvalidRequest, InvalidPath):
            raise
        except (Forbidden, Unauthorized):
            raise _Denied("the vault refuses this token: it expired, or its policy does not allow this") from None
        except VaultDown:
            raise ProviderUnavailable("the vault is sealed or not ready") from None
        except (VaultError, RequestException, OSError) as error:
            raise ProviderUnavailable(f"the vault does not answer ({type(error).__name__})") from None
        if isinstance(answer, dict) and isinstance(answer.get("data") or {}, dict):
            return answer.get("data") or {}
        if getattr(answer, "status_code", 0) == 204:  # done, and nothing to say
            return {}
        raise _confused()

    def _client(self) -> hvac.Client:
        client = getattr(self._clients, "client", None)
        if client is None:
            # Any token but None keeps hvac from looking for one of its own.
            client = self._clients.client = hvac.Client(token="", **self._settings)
        client.token = self._token()
        return client


class _Denied(ProviderUnavailable):
    """The token may not do this."""


def _derivation(context: Mapping[str, str]) -> str:
    """What the server derives a key by: the context as JSON with sorted keys (RFC 8785 for these texts), in base64."""
    return base64.b64encode(orjson.dumps(dict(context), option=orjson.OPT_SORT_KEYS)).decode()


def _judged(said: str) -> KeyUnavailable | Tampered:
    """What the server means when it refuses to decrypt, by the words of `sdk/helper/keysutil/policy.go`."""
    if "too old" in said:
        return KeyDestroyed("this root key was destroyed")
    if "too new" in said or "not found" in said:
        return KeyUnavailable("the vault does not have this root key")
    return Tampered("stored key")


def _no_engine() -> ProviderUnavailable:
    return ProviderUnavailable("the vault has no Transit engine at HEED_VAULT_MOUNT")


def _confused() -> ProviderUnavailable:
    return ProviderUnavailable("the vault answers something else than was asked: is HEED_VAULT_ADDR right?")
