"""Root keys in AWS KMS: they never leave it, and it does the wrapping.

One KMS key for each root key, found by its alias `alias/heed-<env>-<use>-<n>`; the highest number is the newest. Keys
are not rotated by KMS itself, because its older versions cannot be destroyed one by one.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from crm.crypto.provider import USES, Destruction, Wrapped
from crm.crypto.secret import Secret
from crm.errors import KeyDestroyed, KeyUnavailable, ProviderUnavailable, Tampered, Unsafe

__all__ = ["AwsKms"]

_LONGEST = 6_144
"""Octets of a ciphertext that Decrypt and ReEncrypt take."""
_FOREIGN = {"InvalidCiphertextException", "IncorrectKeyException"}
_ENDING = {"PendingDeletion", "PendingReplicaDeletion"}


class AwsKms(Secret):
    """A provider of root keys (`KeyProvider`) that asks AWS KMS with the ordinary chain of AWS credentials.

    `key_ref` is the alias without `alias/`, such as `heed-production-contact-2`. An alias is looked up in the account
    and region of this process, so a record cannot lead to a stranger's key as it could with an ARN. The blob is KMS's
    ciphertext. May be used from several threads.
    """

    name: ClassVar[str] = "aws-kms"
    __slots__ = ("_client", "_env", "_given", "_held", "_pending_days")

    def __init__(
        self,
        env: str,
        *,
        given: Collection[str] = (),
        region: str | None = None,
        endpoint: str | None = None,
        timeout: float = 5.0,
        pending_days: int = 7,
    ) -> None:
        """`timeout` is in seconds, for the connection and again for the answer, and both once more at a second try.

        `given` empty means all uses that have an alias; `pending_days` (7 to 30) is how long a destroyed key can be
        brought back. Raises Unsafe when boto3 cannot make a client of these, such as without a region.
        """
        self._env = env
        self._given = frozenset(given)
        self._held: frozenset[str] = frozenset()
        self._pending_days = pending_days
        config = Config(
            connect_timeout=timeout,
            read_timeout=timeout,
            retries={"mode": "standard", "total_max_attempts": 2},
            ignore_configured_endpoint_urls=True,  # AWS_ENDPOINT_URL would go round what the settings refuse
        )
        try:
            self._client = boto3.session.Session().client(
                "kms", region_name=region, endpoint_url=endpoint, config=config
            )
        except (BotoCoreError, ValueError) as error:
            raise Unsafe(
                f"AWS KMS cannot be asked ({type(error).__name__}): set HEED_KMS_REGION, and look at HEED_KMS_ENDPOINT "
                "and the AWS configuration"
            ) from None

    def uses(self) -> frozenset[str]:
        """As given; otherwise those that have an alias, which are remembered once there are any."""
        if self._given:
            return self._given
        if not self._held:
            self._held = frozenset(use for use, numbers in self._numbered().items() if numbers)
        return self._held

    def found(self, uses: Collection[str]) -> None:
        numbered = self._numbered()
        for use in USES:
            if use in uses and not numbered[use]:
                self._make(use, 1)
                self._held = frozenset()

    def roots(self, use: str) -> Sequence[str]:
        self._check_given(use)
        refs = [self._ref(use, number) for number in sorted(self._numbered()[use])]
        living = [ref for ref in refs if self._described(ref)["KeyState"] not in _ENDING]
        if not living:
            raise KeyUnavailable(f"AWS KMS has no root key for {use}: run `keys init`")
        return living

    def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        ref = self.roots(context["use"])[-1]
        answer = self._asked(
            "encrypt", "CiphertextBlob", KeyId=f"alias/{ref}", Plaintext=key, EncryptionContext=dict(context)
        )
        return Wrapped(self.name, ref, answer["CiphertextBlob"])

    def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        ref = self._openable(wrapped, context["use"])
        try:
            answer = self._asked(
                "decrypt",
                "Plaintext",
                KeyId=f"alias/{ref}",
                CiphertextBlob=wrapped.blob,
                EncryptionContext=dict(context),
            )
        except _Refused as refusal:
            raise self._judged(ref, context["use"], refusal) from None
        return bytes(answer["Plaintext"])

    def rewrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> Wrapped:
        ref = self._openable(wrapped, context["use"])
        newest = self.roots(context["use"])[-1]
        try:
            answer = self._asked(
                "re_encrypt",
                "CiphertextBlob",
                SourceKeyId=f"alias/{ref}",
                DestinationKeyId=f"alias/{newest}",
                CiphertextBlob=wrapped.blob,
                SourceEncryptionContext=dict(context),
                DestinationEncryptionContext=dict(context),
            )
        except _Refused as refusal:
            raise self._judged(ref, context["use"], refusal) from None
        return Wrapped(self.name, newest, answer["CiphertextBlob"])

    def rotate(self, use: str) -> str:
        self.roots(use)
        return self._make(use, max(self._numbered()[use]) + 1)

    def destroy(self, key_ref: str) -> Destruction:
        """Orders the deletion of one key; older ones stay. Until the returned time the order can be cancelled."""
        use, number = self._parsed(key_ref)
        if key_ref == self.roots(use)[-1]:
            raise Unsafe(f"{key_ref} is the newest root key for {use}: rotate it before you destroy it")
        try:
            described = self._described(key_ref)
            if described["KeyState"] not in _ENDING:
                # This call alone takes no alias.
                described = self._asked(
                    "schedule_key_deletion",
                    "DeletionDate",
                    KeyId=described["KeyId"],
                    PendingWindowInDays=self._pending_days,
                )
        except _Refused as refusal:
            if refusal.code == "NotFoundException" and number < max(self._numbered()[use]):
                return Destruction(key_ref, time.time_ns() // 1000)  # gone before: the alias went with the key
            raise Unsafe(f"AWS KMS has no key {key_ref}, or keeps it: nothing was destroyed") from None
        return Destruction(key_ref, int(described["DeletionDate"].timestamp() * 1_000_000))

    def probe(self) -> None:
        self._asked("list_aliases", "Aliases", Limit=1)

    def _ref(self, use: str, number: int) -> str:
        return f"heed-{self._env}-{use}-{number}"

    def _parsed(self, key_ref: str) -> tuple[str, int]:
        """Use and number. Raises Unsafe for what is no reference to one of these keys."""
        found = re.fullmatch(rf"heed-{re.escape(self._env)}-([a-z]+)-([1-9][0-9]*)", key_ref)
        if found is None or found[1] not in USES:
            raise Unsafe(f"{key_ref} is no root key of this environment")
        return found[1], int(found[2])

    def _numbered(self) -> dict[str, list[int]]:
        """The numbers of every use's aliases, those of keys that wait for deletion included."""
        numbered: dict[str, list[int]] = {use: [] for use in USES}
        more: dict[str, str] = {}
        while True:
            answer = self._asked("list_aliases", "Aliases", **more)
            for alias in answer["Aliases"]:
                try:
                    use, number = self._parsed(alias["AliasName"].removeprefix("alias/"))
                except Unsafe:
                    continue
                numbered[use].append(number)
            if not answer.get("Truncated"):
                return numbered
            more = {"Marker": answer["NextMarker"]}

    def _described(self, ref: str) -> dict[str, Any]:
        metadata: dict[str, Any] = self._asked("describe_key", "KeyMetadata", KeyId=f"alias/{ref}")["KeyMetadata"]
        return metadata

    def _make(self, use: str, number: int) -> str:
        """A new key under that number. Raises ProviderUnavailable when somebody else has just made one."""
        ref = self._ref(use, number)
        tags = [{"TagKey": name, "TagValue": value} for name, value in (("app", "heed"), ("heed-root-key", ref))]
        made = self._asked("create_key", "KeyMetadata", Description=f"Heed: root key for {use}", Tags=tags)[
            "KeyMetadata"
        ]["KeyId"]
        try:
            self._asked("create_alias", "ResponseMetadata", AliasName=f"alias/{ref}", TargetKeyId=made)
        except _Refused:
            self._asked("schedule_key_deletion", "DeletionDate", KeyId=made, PendingWindowInDays=self._pending_days)
            raise ProviderUnavailable(f"somebody else has made {ref} at this moment: look at `keys status`") from None
        return ref

    def _check_given(self, use: str) -> None:
        if self._given and use not in self._given:
            raise KeyUnavailable(f"this process was given no root key for {use}")

    def _openable(self, wrapped: Wrapped, use: str) -> str:
        """The reference, where it makes sense to ask KMS. Raises KeyUnavailable, Tampered."""
        self._check_given(use)
        try:
            named, _ = self._parsed(wrapped.key_ref)
        except Unsafe:
            named = ""
        if not named or wrapped.provider != self.name:
            raise KeyUnavailable("AWS KMS does not have this root key")
        if named != use or not 0 < len(wrapped.blob) <= _LONGEST:
            raise Tampered("stored key")
        return wrapped.key_ref

    def _judged(self, ref: str, use: str, refusal: "_Refused") -> KeyUnavailable | Tampered:
        """What a refusal to decrypt means. A key is in its last days, disabled, or gone and then so is its alias."""
        if refusal.code in _FOREIGN:
            return Tampered("stored key")
        if refusal.code == "NotFoundException":
            later = max(self._numbered()[use], default=0) > self._parsed(ref)[1]
            return KeyDestroyed("this root key was destroyed") if later else KeyUnavailable("AWS KMS lacks this key")
        if self._described(ref)["KeyState"] in _ENDING:
            return KeyDestroyed("this root key was destroyed; until its last day AWS KMS can cancel that")
        return ProviderUnavailable(f"the root key for {use} is disabled in AWS KMS")

    def _asked(self, call: str, needed: str, **parameters: Any) -> dict[str, Any]:
        """An answer that has the member `needed`. Raises ProviderUnavailable; `_Refused` where that has a meaning."""
        try:
            answer: dict[str, Any] = getattr(self._client, call)(**parameters)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _Refused.CODES:
                raise _Refused(code) from None
            raise ProviderUnavailable(f"AWS KMS refuses {call} ({code})") from None
        except BotoCoreError as error:
            raise ProviderUnavailable(f"AWS KMS does not answer ({type(error).__name__})") from None
        except Exception:  # noqa: BLE001 - what botocore's parsers raise over an answer that is none has no base class
            answer = {}
        if needed not in answer:
            raise ProviderUnavailable("AWS KMS answers something else than was asked: is HEED_KMS_ENDPOINT right?")
        return answer


class _Refused(ProviderUnavailable):
    """KMS answered, and says no: `code` is its word for why."""

    CODES: ClassVar[set[str]] = {
        *_FOREIGN,
        "NotFoundException",
        "DisabledException",
        "KMSInvalidStateException",
        "AlreadyExistsException",
    }

    def __init__(self, code: str) -> None:
        super().__init__(f"AWS KMS refuses ({code})")
        self.code = code
