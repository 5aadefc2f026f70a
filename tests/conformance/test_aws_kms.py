"""What only AWS KMS can do wrong, and what moto would forgive: the very requests, and every answer with a meaning."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from crm.crypto.aws_kms import AwsKms
from crm.crypto.provider import KeyProvider, Wrapped
from crm.errors import KeyDestroyed, KeyUnavailable, ProviderUnavailable, Tampered, Unsafe
from tests.answering import answering, nobody, silence
from tests.root_keys import ENV, REGION, Aws

CONTEXT = {"app": "heed", "env": "test", "purpose": "wrap", "use": "contact", "no": "1"}
KEY = bytes(range(33))
WRAPPED = Wrapped("aws-kms", "heed-test-contact-1", b"\x01" * 185)
ID = "0198f0c2-7a00-4000-8000-000000000001"
LONG = 60.0
"""Seconds that no call with a timeout below one second takes, on any machine."""


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are none, so that nothing looks for others."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "never-shown")
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture
def aws() -> Iterator[Aws]:
    """An account with keys for contact and preference."""
    with mock_aws():
        yield Aws(["contact", "preference"])


@pytest.fixture
def stubbed() -> Iterator[tuple[AwsKms, Stubber]]:
    """A provider whose requests are compared with what is expected, and answered as told."""
    provider = AwsKms(ENV, region=REGION)
    with Stubber(provider._client) as stubber:
        yield provider, stubber
        stubber.assert_no_pending_responses()


def _described(stubber: Stubber, state: str, number: int = 1, **more: Any) -> None:
    metadata = {"KeyId": ID, "KeyState": state, **more}
    stubber.add_response("describe_key", {"KeyMetadata": metadata}, {"KeyId": f"alias/heed-test-contact-{number}"})


def _listed(stubber: Stubber, *numbers: int) -> None:
    aliases = [{"AliasName": f"alias/heed-test-contact-{number}", "TargetKeyId": ID} for number in numbers]
    stubber.add_response("list_aliases", {"Aliases": aliases, "Truncated": False}, {})


def test_requests_are_what_kms_documents(stubbed: tuple[AwsKms, Stubber]) -> None:
    """Every request names the key and carries the whole context, since moto looks at neither closely enough."""
    provider, stubber = stubbed
    alias, newer = "alias/heed-test-contact-1", "alias/heed-test-contact-2"
    _listed(stubber, 1)
    _described(stubber, "Enabled")
    sent = {"KeyId": alias, "Plaintext": KEY, "EncryptionContext": CONTEXT}
    stubber.add_response("encrypt", {"CiphertextBlob": b"sealed"}, sent)
    assert provider.wrap(KEY, CONTEXT) == Wrapped("aws-kms", "heed-test-contact-1", b"sealed")
    sent = {"KeyId": alias, "CiphertextBlob": WRAPPED.blob, "EncryptionContext": CONTEXT}
    stubber.add_response("decrypt", {"Plaintext": KEY}, sent)
    assert provider.unwrap(WRAPPED, CONTEXT) == KEY
    _listed(stubber, 2, 1)
    _described(stubber, "Enabled", 1)
    _described(stubber, "Enabled", 2)
    sent = {
        "SourceKeyId": alias,
        "DestinationKeyId": newer,
        "CiphertextBlob": WRAPPED.blob,
        "SourceEncryptionContext": CONTEXT,
        "DestinationEncryptionContext": CONTEXT,
    }
    stubber.add_response("re_encrypt", {"CiphertextBlob": b"again"}, sent)
    assert provider.rewrap(WRAPPED, CONTEXT) == Wrapped("aws-kms", "heed-test-contact-2", b"again")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InvalidCiphertextException", Tampered),
        ("IncorrectKeyException", Tampered),
        ("AccessDeniedException", ProviderUnavailable),
        ("ThrottlingException", ProviderUnavailable),
        ("KeyUnavailableException", ProviderUnavailable),
        ("DependencyTimeoutException", ProviderUnavailable),
        ("KMSInternalException", ProviderUnavailable),
        ("ExpiredTokenException", ProviderUnavailable),
        ("ValidationException", ProviderUnavailable),
    ],
)
@pytest.mark.parametrize("call", ["decrypt", "re_encrypt"])
def test_refusals_are_told_apart(
    stubbed: tuple[AwsKms, Stubber], monkeypatch: pytest.MonkeyPatch, call: str, code: str, kind: type[Exception]
) -> None:
    """Only a ciphertext that does not fit is tampered; whatever else KMS refuses may be answered later."""
    provider, stubber = stubbed
    monkeypatch.setattr(AwsKms, "roots", lambda *_: ["heed-test-contact-1"])
    stubber.add_client_error(call, code, "told in confidence")
    with pytest.raises(kind) as refusal:
        (provider.unwrap if call == "decrypt" else provider.rewrap)(WRAPPED, CONTEXT)
    assert "confidence" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("code", "state", "kind"),
    [
        ("DisabledException", "Disabled", ProviderUnavailable),
        ("KMSInvalidStateException", "PendingDeletion", KeyDestroyed),
        ("KMSInvalidStateException", "PendingReplicaDeletion", KeyDestroyed),
        ("KMSInvalidStateException", "Unavailable", ProviderUnavailable),
        ("KMSInvalidStateException", "PendingImport", ProviderUnavailable),
    ],
)
def test_state_of_the_key_decides(
    stubbed: tuple[AwsKms, Stubber], code: str, state: str, kind: type[KeyUnavailable]
) -> None:
    """A key that waits for its deletion is destroyed; one that is disabled may come back."""
    provider, stubber = stubbed
    stubber.add_client_error("decrypt", code)
    _described(stubber, state)
    with pytest.raises(KeyUnavailable) as refusal:
        provider.unwrap(WRAPPED, CONTEXT)
    assert type(refusal.value) is kind


@pytest.mark.parametrize(("numbers", "kind"), [((2, 3), KeyDestroyed), ((1,), KeyUnavailable), ((), KeyUnavailable)])
def test_key_that_is_gone(
    stubbed: tuple[AwsKms, Stubber], numbers: tuple[int, ...], kind: type[KeyUnavailable]
) -> None:
    """After its deletion a key's alias is gone too: it was destroyed if newer ones are there, and else never was."""
    provider, stubber = stubbed
    stubber.add_client_error("decrypt", "NotFoundException")
    _listed(stubber, *numbers)
    with pytest.raises(KeyUnavailable) as refusal:
        provider.unwrap(WRAPPED, CONTEXT)
    assert type(refusal.value) is kind


@pytest.mark.parametrize("length", [0, 6_145])
def test_impossible_ciphertext_is_not_sent(stubbed: tuple[AwsKms, Stubber], length: int) -> None:
    """What KMS would refuse as a malformed request is tampered, and no sign that KMS is away."""
    provider, _ = stubbed
    for attempt in (provider.unwrap, provider.rewrap):
        with pytest.raises(Tampered):
            attempt(Wrapped("aws-kms", WRAPPED.key_ref, bytes(length)), CONTEXT)


def test_destruction_waits(stubbed: tuple[AwsKms, Stubber]) -> None:
    """The order goes to the key itself, with the waiting period, and the answer says when that ends."""
    provider, stubber = stubbed
    end = datetime(2027, 1, 8, 12, 0, 0, 250_000, tzinfo=UTC)
    _listed(stubber, 1, 2)
    _described(stubber, "Enabled", 1)
    _described(stubber, "Enabled", 2)
    _described(stubber, "Enabled", 1)
    sent = {"KeyId": ID, "PendingWindowInDays": 7}
    stubber.add_response("schedule_key_deletion", {"KeyId": ID, "DeletionDate": end}, sent)
    assert provider.destroy("heed-test-contact-1").at == 1_799_409_600_250_000
    _listed(stubber, 1, 2)
    _described(stubber, "PendingDeletion", 1)
    _described(stubber, "Enabled", 2)
    _described(stubber, "PendingDeletion", 1, DeletionDate=end)
    assert provider.destroy("heed-test-contact-1").at == 1_799_409_600_250_000


def test_destruction_after_the_end_is_no_error(stubbed: tuple[AwsKms, Stubber]) -> None:
    """A command that resumes long after finds the key gone, which is what it wanted."""
    provider, stubber = stubbed
    _listed(stubber, 2)
    _described(stubber, "Enabled", 2)
    stubber.add_client_error("describe_key", "NotFoundException")
    _listed(stubber, 2)
    assert provider.destroy("heed-test-contact-1").at <= time.time_ns() // 1000


def test_waiting_period_is_chosen(aws: Aws) -> None:
    """The days in which the order can be cancelled are those of the settings."""
    provider = AwsKms(ENV, region=REGION, pending_days=30)
    provider.rotate("contact")
    end = datetime.fromtimestamp(provider.destroy("heed-test-contact-1").at / 1_000_000, UTC)
    assert abs(end - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)


def test_disabled_key_comes_back(aws: Aws) -> None:
    """A key that somebody disables is unavailable, not destroyed, and opens again once it is enabled."""
    provider = aws.provider()
    wrapped = provider.wrap(KEY, CONTEXT)
    key_id = aws.kms.describe_key(KeyId="alias/heed-test-contact-1")["KeyMetadata"]["KeyId"]
    aws.kms.disable_key(KeyId=key_id)
    for attempt in (lambda: provider.unwrap(wrapped, CONTEXT), lambda: provider.wrap(KEY, CONTEXT)):
        with pytest.raises(ProviderUnavailable):
            attempt()
    aws.kms.enable_key(KeyId=key_id)
    assert provider.unwrap(wrapped, CONTEXT) == KEY


def test_keys_are_found_on_every_page_and_numbers_are_numbers(stubbed: tuple[AwsKms, Stubber]) -> None:
    """Aliases come in pages, among those of others; the tenth root is newer than the ninth."""
    provider, stubber = stubbed
    strangers = [
        {"AliasName": name} for name in ("alias/aws/s3", "alias/heed-test-contact", "alias/heed-live-contact-77")
    ]
    first = {
        "Aliases": [{"AliasName": "alias/heed-test-contact-10"}, *strangers],
        "Truncated": True,
        "NextMarker": "on",
    }
    stubber.add_response("list_aliases", first, {})
    second = {"Aliases": [{"AliasName": "alias/heed-test-contact-9"}], "Truncated": False}
    stubber.add_response("list_aliases", second, {"Marker": "on"})
    _described(stubber, "Enabled", 9)
    _described(stubber, "Enabled", 10)
    assert provider.roots("contact") == ["heed-test-contact-9", "heed-test-contact-10"]


def test_two_rotations_at_once_make_one_key(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes second is told so, and the key that nobody will use is on its way out."""
    provider = AwsKms(ENV, region=REGION)
    before = provider._numbered()
    aws.rotate("contact")
    monkeypatch.setattr(AwsKms, "_numbered", lambda _: before)
    with pytest.raises(ProviderUnavailable, match="somebody else"):
        provider.rotate("contact")
    monkeypatch.undo()
    states = [aws.kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in aws.kms.list_keys()["Keys"]]
    assert [state["KeyState"] for state in states].count("PendingDeletion") == 1
    assert provider.roots("contact") == ["heed-test-contact-1", "heed-test-contact-2"]


def test_keys_are_labelled(aws: Aws) -> None:
    """Whoever looks at the account sees which keys are Heed's, and what each is for."""
    tags = aws.kms.list_resource_tags(
        KeyId=aws.kms.describe_key(KeyId="alias/heed-test-contact-1")["KeyMetadata"]["KeyId"]
    )
    assert {tag["TagKey"]: tag["TagValue"] for tag in tags["Tags"]} == {
        "app": "heed",
        "heed-root-key": "heed-test-contact-1",
    }


CALLS: list[Callable[[KeyProvider], object]] = [
    lambda provider: provider.probe(),
    lambda provider: provider.uses(),
    lambda provider: provider.roots("contact"),
    lambda provider: provider.wrap(KEY, CONTEXT),
    lambda provider: provider.unwrap(WRAPPED, CONTEXT),
    lambda provider: provider.rewrap(WRAPPED, CONTEXT),
    lambda provider: provider.rotate("contact"),
    lambda provider: provider.found(["contact"]),
    lambda provider: provider.destroy(WRAPPED.key_ref),
]


@pytest.mark.parametrize("outage", [nobody, silence], ids=["nobody", "silence"])
def test_outage_is_told_in_time(outage: Callable[[], AbstractContextManager[str]]) -> None:
    """Where nobody listens or nobody answers, every call ends after its timeouts, as ProviderUnavailable."""
    with outage() as address:
        provider = AwsKms(ENV, region=REGION, endpoint=address, timeout=0.1)
        for call in CALLS:
            began = time.monotonic()
            with pytest.raises(ProviderUnavailable) as refusal:
                call(provider)
            assert time.monotonic() - began < LONG
            assert "never-shown" not in str(refusal.value)
            assert refusal.value.__cause__ is None


@pytest.mark.parametrize("status", [403, 500, 503])
def test_refusing_server_is_unavailable(status: int) -> None:
    """Whatever a server says that is not about the key means: not now."""
    with answering(status, '{"__type": "Whatever", "message": "told in confidence"}') as server:
        provider = AwsKms(ENV, region=REGION, endpoint=server.address)
        for call in CALLS:
            with pytest.raises(ProviderUnavailable) as refusal:
                call(provider)
            assert "confidence" not in str(refusal.value)


@pytest.mark.parametrize("body", ["", "hello", "[]", "null", "{}"])
def test_something_else_is_unavailable(body: str) -> None:
    """What answers with 200 and is no KMS gives nothing that is taken for a key."""
    with answering(200, body) as server:
        provider = AwsKms(ENV, region=REGION, endpoint=server.address)
        for call in CALLS:
            with pytest.raises(ProviderUnavailable):
                call(provider)


def test_only_our_endpoint_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint in AWS's own variables would go round what the settings refuse, and is not used."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://kms.example.org")
    assert AwsKms(ENV, region=REGION)._client.meta.endpoint_url == f"https://kms.{REGION}.amazonaws.com"


@pytest.mark.parametrize("given", [{}, {"region": "not a region"}, {"region": REGION, "endpoint": "nonsense"}])
def test_client_that_cannot_be_made_is_a_clear_refusal(given: dict[str, Any]) -> None:
    """Without a region, or with a place that is none, the refusal names the settings."""
    with pytest.raises(Unsafe, match="HEED_KMS_REGION"):
        AwsKms(ENV, **given)


def test_moto_needs_the_strictness(aws: Aws) -> None:
    """Moto itself still opens with a disabled key, which is why the tests here add what the real KMS does."""
    blob = aws.provider().wrap(KEY, CONTEXT).blob
    key_id = aws.kms.describe_key(KeyId="alias/heed-test-contact-1")["KeyMetadata"]["KeyId"]
    aws.kms.disable_key(KeyId=key_id)
    kind = boto3.client("kms", REGION).decrypt(KeyId=key_id, CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert kind["Plaintext"] == KEY
