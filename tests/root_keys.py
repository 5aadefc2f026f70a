"""The four places where root keys may be kept, as one test sees them: real ones, and moto for AWS KMS."""

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

from crm.crypto.aws_kms import AwsKms
from crm.crypto.environment import EnvironmentKeys
from crm.crypto.keyring import KeyRing
from crm.crypto.provider import USES, KeyProvider
from crm.crypto.vault import VaultTransit
from crm.errors import KeyDestroyed, KeyUnavailable
from tests.openbao import OpenBao

__all__ = ["Aws", "Environment", "Place", "Ring", "Vault"]

ENV = "test"
REGION = "eu-west-1"


class Place(Protocol):
    """A place with root keys for some uses."""

    gone: type[KeyUnavailable]
    """What becomes of asking for a key that was destroyed."""

    def provider(self, *given: str) -> KeyProvider:
        """A provider as a process that starts now would have it, restricted to `given` unless that is empty."""
        ...

    def rotate(self, use: str) -> None:
        """Whoever keeps the keys makes a new one."""
        ...

    def destroy(self, key_ref: str) -> None:
        """Whoever keeps the keys destroys one."""
        ...

    def secrets(self) -> Sequence[str]:
        """What must never be shown: keys, tokens, credentials."""
        ...

    def sealed_part(self, blob: bytes) -> range:
        """The octets of a blob that it authenticates."""
        ...


class Ring:
    """A key-ring file."""

    gone: type[KeyUnavailable] = KeyDestroyed

    def __init__(self, folder: Path, uses: Sequence[str]) -> None:
        self._path = folder / "keyring.json"
        KeyRing.create(self._path, uses)

    def provider(self, *given: str) -> KeyProvider:
        return KeyRing.load(self._path, given)

    def rotate(self, use: str) -> None:
        self.provider().rotate(use)

    def destroy(self, key_ref: str) -> None:
        self.provider().destroy(key_ref)

    def secrets(self) -> Sequence[str]:
        return [entry.secret.hex() for entry in KeyRing.load(self._path)._entries.values() if entry.secret]

    def sealed_part(self, blob: bytes) -> range:
        return range(len(blob))


class Environment:
    """Variables. Their owner rotates and destroys by writing them anew."""

    gone: type[KeyUnavailable] = KeyUnavailable

    def __init__(self, uses: Sequence[str]) -> None:
        self._values = {use: _written() for use in uses}

    def provider(self, *given: str) -> KeyProvider:
        return EnvironmentKeys(self._values, given)

    def rotate(self, use: str) -> None:
        self._values[use] = f"{_written()},{self._values[use]}"

    def destroy(self, key_ref: str) -> None:
        use = key_ref.partition("-")[0]
        kept = [
            value for value in self._values[use].split(",") if EnvironmentKeys({use: value}).roots(use) != (key_ref,)
        ]
        self._values[use] = ",".join(kept)

    def secrets(self) -> Sequence[str]:
        return [value for values in self._values.values() for value in values.split(",")]

    def sealed_part(self, blob: bytes) -> range:
        return range(len(blob))


class Vault:
    """A Transit engine of its own in a real server."""

    gone: type[KeyUnavailable] = KeyDestroyed

    def __init__(self, bao: OpenBao, uses: Sequence[str]) -> None:
        self.bao = bao
        self.mount = bao.mount()
        self.provider().found(uses)

    def provider(self, *given: str, token: str = "") -> KeyProvider:
        used = token or self.bao.token
        return VaultTransit(ENV, self.bao.address, lambda: used, given=given, mount=self.mount)

    def rotate(self, use: str) -> None:
        self.provider().rotate(use)

    def destroy(self, key_ref: str) -> None:
        self.provider().destroy(key_ref)

    def secrets(self) -> Sequence[str]:
        return [self.bao.token]

    def sealed_part(self, blob: bytes) -> range:
        return range(len(blob))


class Aws:
    """KMS as moto has it, except that keys which are disabled or wait for deletion do not work, as in the real one."""

    gone: type[KeyUnavailable] = KeyDestroyed

    def __init__(self, uses: Sequence[str]) -> None:
        self.kms = boto3.client("kms", REGION)
        self.provider().found(uses)

    def provider(self, *given: str) -> KeyProvider:
        provider = AwsKms(ENV, given=given, region=REGION)
        for call, parameter in (("Encrypt", "KeyId"), ("Decrypt", "KeyId"), ("ReEncrypt", "SourceKeyId")):
            provider._client.meta.events.register(f"provide-client-params.kms.{call}", self._strictly(call, parameter))
        return provider

    def rotate(self, use: str) -> None:
        self.provider().rotate(use)

    def destroy(self, key_ref: str) -> None:
        self.provider().destroy(key_ref)

    def secrets(self) -> Sequence[str]:
        return [os.environ["AWS_SECRET_ACCESS_KEY"]]

    def sealed_part(self, blob: bytes) -> range:
        """Moto's blob begins with the id of a key, and it answers differently where there is none of that id."""
        return range(36, len(blob))

    def _strictly(self, call: str, parameter: str) -> Callable[..., None]:
        def refuse(params: dict[str, Any], **_: object) -> None:
            state = self.kms.describe_key(KeyId=params[parameter])["KeyMetadata"]["KeyState"]
            if state != "Enabled":
                code = "DisabledException" if state == "Disabled" else "KMSInvalidStateException"
                raise ClientError({"Error": {"Code": code, "Message": "…"}}, call)

        return refuse


@contextmanager
def opened(kind: str, folder: Path, bao: Callable[[], OpenBao], uses: Sequence[str] = USES) -> Iterator[Place]:
    """A new place of a kind (the provider's name), with a root key for each of the uses."""
    match kind:
        case "keyring":
            yield Ring(folder, uses)
        case "env":
            yield Environment(uses)
        case "vault":
            yield Vault(bao(), uses)
        case "aws-kms":
            with mock_aws():
                yield Aws(uses)


def _written() -> str:
    return base64.b64encode(os.urandom(32)).decode()
