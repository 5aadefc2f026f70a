"""The provider that the settings name: loaded only when it is wanted, and refused with what to do."""

import base64
import sys
from pathlib import Path

import pytest

from commands import keys
from commands.providers import provider
from crm.crypto.keyring import KeyRing
from crm.crypto.provider import USES
from crm.errors import ProviderUnavailable, Unsafe
from crm.settings import Settings, load

VAULT = {"key_provider": "vault", "vault_addr": "http://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test without any `HEED_` variable."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HEED_{name.upper()}", raising=False)


def test_first_keys_of_a_ring_are_those_of_the_settings(tmp_path: Path) -> None:
    """`keys init` makes a ring for every use, or for those of HEED_KEY_USES, and never a second one."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    keys.init(load(data_dir=whole))
    assert provider(load(data_dir=whole)).uses() == frozenset(USES)
    keys.init(load(data_dir=part, key_uses=("contact", "log")))
    assert provider(load(data_dir=part)).uses() == {"contact", "log"}
    with pytest.raises(Unsafe, match="never overwritten"):
        keys.init(load(data_dir=whole))


def test_ring_is_restricted_to_the_uses_of_the_settings(tmp_path: Path) -> None:
    """A process gets the uses that it was told, and does not start when the ring lacks one of them."""
    KeyRing.create(tmp_path / "keyring.json", {"contact", "log"})
    assert provider(load(data_dir=tmp_path, key_uses=("contact",))).uses() == {"contact"}
    with pytest.raises(Unsafe, match=r"HEED_KEY_USES names what the keyring has no key for: identity, index$"):
        provider(load(data_dir=tmp_path, key_uses=("index", "contact", "identity")))


def test_keys_in_the_environment(tmp_path: Path) -> None:
    """Each use has a variable; `keys init` has nothing to make there, and says which is missing."""
    values = {f"root_key_{use}": base64.b64encode(bytes((place,)) * 32).decode() for place, use in enumerate(USES, 1)}
    settings = load(key_provider="env", **values)
    chosen = provider(settings)
    assert {use: len(chosen.roots(use)) for use in USES} == dict.fromkeys(USES, 1)
    assert chosen.name in keys.init(settings)[0]
    assert not [line for line in keys.init(settings) for value in values.values() if value in line]
    with pytest.raises(Unsafe, match="HEED_ROOT_KEY_LOG is empty"):
        keys.init(load(key_provider="env", **values | {"root_key_log": ""}))


@pytest.mark.parametrize(
    ("given", "extra", "library"),
    [(VAULT | {"vault_token": "t"}, "vault", "hvac"), ({"key_provider": "aws-kms"}, "aws-kms", "boto3")],
)
def test_missing_extra_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, object], extra: str, library: str
) -> None:
    """Where the library of a provider is not installed, the refusal names the extra and how to install it."""
    monkeypatch.setitem(sys.modules, library, None)
    for module in ("crm.crypto.vault", "crm.crypto.aws_kms"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(Unsafe, match=f"needs the extra `{extra}`, and {library} is not installed") as refusal:
        provider(load(**given))
    assert "\n" not in str(refusal.value)
    assert "requirements-extras.txt" in str(refusal.value)


def test_settings_reach_aws_kms() -> None:
    """Region, endpoint and uses are those of the settings."""
    chosen = provider(load(key_provider="aws-kms", kms_region="eu-north-1", key_uses=("contact",)))
    assert (chosen.name, chosen.uses()) == ("aws-kms", frozenset({"contact"}))
    with pytest.raises(Unsafe, match="look at HEED_KMS_ENDPOINT"):
        provider(load(key_provider="aws-kms", kms_region="not a region"))


@pytest.mark.parametrize(
    ("content", "mode", "kind", "said"),
    [
        ("token", 0o644, Unsafe, "is open to every user"),
        ("", 0o600, ProviderUnavailable, "is empty"),
        (None, 0o600, ProviderUnavailable, "cannot be read"),
    ],
)
def test_token_file_that_cannot_be_used(
    tmp_path: Path, content: str | None, mode: int, kind: type[Exception], said: str
) -> None:
    """A token that others can read, or that is not there, stops the start with what to do."""
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(kind, match=f"HEED_VAULT_TOKEN_FILE {said}"):
        provider(load(**VAULT, vault_token_file=file))


def test_nothing_is_asked_before_it_is_needed(tmp_path: Path) -> None:
    """Making a provider reaches for no vault: that the vault is away is told by the first call."""
    file = tmp_path / "token"
    file.write_text("token\n")
    file.chmod(0o640)
    chosen = provider(load(**VAULT, vault_token_file=file, provider_timeout=1))
    with pytest.raises(ProviderUnavailable):
        chosen.probe()
