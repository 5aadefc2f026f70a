"""What only a vault can do wrong: policies, versions, keys made by others, outages, answers of something else."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from crm.crypto.provider import KeyProvider, Wrapped
from crm.crypto.vault import VaultTransit
from crm.errors import KeyDestroyed, KeyUnavailable, ProviderUnavailable, Unsafe
from tests.answering import answering, nobody, silence
from tests.openbao import OpenBao, running
from tests.processes import ROOT, command, done, serving
from tests.root_keys import ENV, Vault

CONTEXT = {"app": "heed", "env": "test", "purpose": "wrap", "use": "contact", "no": "1"}
KEY = bytes(range(33))
TOKEN = "s.never-shown"
STALE = Wrapped("vault", "heed-test-contact:v1", b"\x00" * 61)
LONG = 30.0
"""Seconds that no call with a timeout below one second takes, on any machine."""


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    """One server for all tests of this module; each has an engine of its own."""
    with running() as server:
        yield server


@pytest.fixture
def vault(bao: OpenBao) -> Vault:
    """An engine with keys for contact and preference."""
    return Vault(bao, ["contact", "preference"])


def _at(address: str, timeout: float = 5.0) -> VaultTransit:
    return VaultTransit(ENV, address, lambda: TOKEN, timeout=timeout)


CALLS: list[Callable[[KeyProvider], object]] = [
    lambda provider: provider.probe(),
    lambda provider: provider.uses(),
    lambda provider: provider.roots("contact"),
    lambda provider: provider.wrap(KEY, CONTEXT),
    lambda provider: provider.unwrap(STALE, CONTEXT),
    lambda provider: provider.rewrap(STALE, CONTEXT),
    lambda provider: provider.rotate("contact"),
    lambda provider: provider.found(["contact"]),
    lambda provider: provider.destroy(STALE.key_ref),
]


@pytest.mark.parametrize("outage", [nobody, silence], ids=["nobody", "silence"])
def test_outage_is_told_in_time(outage: Callable[[], AbstractContextManager[str]]) -> None:
    """Where nobody listens or nobody answers, every call ends after its timeout, as ProviderUnavailable."""
    with outage() as address:
        provider = _at(address, timeout=0.1)
        for call in CALLS:
            began = time.monotonic()
            with pytest.raises(ProviderUnavailable) as refusal:
                call(provider)
            assert time.monotonic() - began < LONG
            assert TOKEN not in str(refusal.value)
            assert refusal.value.__cause__ is None


@pytest.mark.parametrize("status", [401, 403, 412, 429, 472, 473, 500, 501, 502, 503, 504])
def test_refusing_server_is_unavailable(status: int) -> None:
    """Whatever a server says that is not about the key means: not now. Its words are not repeated."""
    with answering(status, json.dumps({"errors": ["told in confidence"]})) as server:
        for call in CALLS:
            with pytest.raises(ProviderUnavailable) as refusal:
                call(_at(server.address))
            assert "confidence" not in str(refusal.value)


@pytest.mark.parametrize(
    "body", ["", "hello", "[]", "null", '{"data": []}', '{"data": {"ciphertext": "vault:v0:AAAA", "plaintext": "?"}}']
)
def test_something_else_is_unavailable(body: str) -> None:
    """What answers with 200 and is no vault gives nothing that is taken for a key."""
    with answering(200, body) as server:
        provider = _at(server.address)
        for attempt in (lambda: provider.unwrap(STALE, CONTEXT), lambda: provider.rewrap(STALE, CONTEXT)):
            with pytest.raises(ProviderUnavailable):
                attempt()


def test_redirect_is_not_followed() -> None:
    """A redirect does not make the provider take its token to another server."""
    with answering(200, "{}") as other, answering(307, headers={"location": f"{other.address}/v1/x"}) as server:
        for call in CALLS:
            with pytest.raises(ProviderUnavailable):
                call(_at(server.address))
        assert server.asked[0][2]["x-vault-token"] == TOKEN
        assert other.asked == []


def test_sealed_vault_is_unavailable() -> None:
    """A sealed server opens nothing, and what it wrapped opens again once it is unsealed."""
    with running() as bao:
        provider = Vault(bao, ["contact"]).provider()
        wrapped = provider.wrap(KEY, CONTEXT)
        bao.client().sys.seal()
        for attempt in (lambda: provider.unwrap(wrapped, CONTEXT), provider.probe):
            with pytest.raises(ProviderUnavailable):
                attempt()


def test_policy_decides_what_a_process_has(vault: Vault) -> None:
    """A token for one use has that use, opens and wraps for it, and gets nothing of another."""
    whole = vault.provider()
    contact = whole.wrap(KEY, CONTEXT)
    preference = whole.wrap(KEY, CONTEXT | {"use": "preference"})
    token = vault.bao.token_for(
        f'path "{vault.mount}/keys/heed-test-contact" {{ capabilities = ["read"] }}\n'
        f'path "{vault.mount}/encrypt/heed-test-contact" {{ capabilities = ["update"] }}\n'
        f'path "{vault.mount}/decrypt/heed-test-contact" {{ capabilities = ["update"] }}'
    )
    part = vault.provider(token=token)
    assert part.uses() == {"contact"}
    assert part.unwrap(contact, CONTEXT) == KEY
    assert part.unwrap(part.wrap(KEY, CONTEXT), CONTEXT) == KEY
    for attempt in (
        lambda: part.unwrap(preference, CONTEXT | {"use": "preference"}),
        lambda: part.wrap(KEY, CONTEXT | {"use": "preference"}),
        lambda: part.rotate("contact"),
    ):
        with pytest.raises(ProviderUnavailable):
            attempt()
    assert len(whole.roots("contact")) == 1


def test_token_that_is_not_valid_is_no_empty_policy(vault: Vault) -> None:
    """A process whose token expired learns so, and does not take itself for one that was given no class."""
    with pytest.raises(ProviderUnavailable):
        vault.provider(token="expired").uses()


def test_renewed_token_is_used(vault: Vault) -> None:
    """The token is asked for before each call, so that one renewed meanwhile counts."""
    tokens = iter([vault.bao.token, "expired", vault.bao.token])
    provider = VaultTransit(ENV, vault.bao.address, lambda: next(tokens), mount=vault.mount)
    provider.probe()
    with pytest.raises(ProviderUnavailable):
        provider.probe()
    provider.probe()


def test_missing_engine_is_named(bao: OpenBao) -> None:
    """Where no Transit engine is mounted, the refusal says which setting to look at."""
    provider = VaultTransit(ENV, bao.address, lambda: bao.token, mount="nowhere")
    for call in CALLS[1:]:
        with pytest.raises(ProviderUnavailable, match="HEED_VAULT_MOUNT"):
            call(provider)


def test_wrapping_makes_no_key(vault: Vault) -> None:
    """The server would make a key that it lacks when asked to encrypt; the provider does not let it."""
    provider = vault.provider("log", "contact")
    with pytest.raises(KeyUnavailable):
        provider.wrap(KEY, CONTEXT | {"use": "log"})
    made = vault.bao.client().secrets.transit.list_keys(mount_point=vault.mount)["data"]["keys"]
    assert sorted(made) == ["heed-test-contact", "heed-test-preference"]


@pytest.mark.parametrize("fault", [{"derived": False}, {"derived": True, "exportable": True}])
def test_key_made_by_others_is_refused(vault: Vault, fault: dict[str, bool]) -> None:
    """A key that ignores the context, or that can be carried away, is not used."""
    vault.bao.client().secrets.transit.create_key("heed-test-log", mount_point=vault.mount, **fault)
    provider = vault.provider("log")
    for attempt in (
        lambda: provider.wrap(KEY, CONTEXT | {"use": "log"}),
        lambda: provider.roots("log"),
        lambda: provider.found(["log"]),
    ):
        with pytest.raises(Unsafe, match="derived"):
            attempt()


def test_version_nought_is_not_the_first(vault: Vault) -> None:
    """The server takes version 0 for 1; a record that names it names no root key."""
    provider = vault.provider()
    wrapped = provider.wrap(KEY, CONTEXT)
    with pytest.raises(KeyUnavailable):
        provider.unwrap(Wrapped("vault", "heed-test-contact:v0", wrapped.blob), CONTEXT)


def test_destroyed_versions_are_trimmed(vault: Vault) -> None:
    """Destroying a version takes it and the older ones from the server for good, in whatever order it is asked."""
    provider = vault.provider()
    old = provider.wrap(KEY, CONTEXT)
    for _ in range(3):
        provider.rotate("contact")
    provider.destroy("heed-test-contact:v2")
    provider.destroy("heed-test-contact:v1")
    assert provider.roots("contact") == ["heed-test-contact:v3", "heed-test-contact:v4"]
    with pytest.raises(KeyDestroyed):
        provider.unwrap(old, CONTEXT)
    said = vault.bao.client().secrets.transit.read_key("heed-test-contact", mount_point=vault.mount)["data"]
    assert (said["min_available_version"], sorted(said["keys"])) == (3, ["3", "4"])


def test_destruction_that_broke_off_is_finished(vault: Vault) -> None:
    """After a crash between the two steps the destruction can be ordered again, and trims."""
    provider = vault.provider()
    provider.rotate("contact")
    minima = {"min_decryption_version": 2, "min_encryption_version": 2}
    vault.bao.client().write_data(f"{vault.mount}/keys/heed-test-contact/config", data=minima)
    provider.destroy("heed-test-contact:v1")
    said = vault.bao.client().secrets.transit.read_key("heed-test-contact", mount_point=vault.mount)["data"]
    assert said["min_available_version"] == 2


@pytest.fixture
def settings(vault: Vault, tmp_path: Path) -> dict[str, object]:
    """The settings of a service whose root keys are in the vault."""
    (tmp_path / "token").write_text(vault.bao.token)
    (tmp_path / "token").chmod(0o600)
    return {
        "data_dir": tmp_path,
        "key_provider": "vault",
        "vault_addr": vault.bao.address,
        "vault_token_file": tmp_path / "token",
        "vault_mount": vault.mount,
    }


def test_commands_use_the_vault(vault: Vault, settings: dict[str, object]) -> None:
    """`keys init` makes the missing keys in the vault that the settings name, and may be run again."""
    said = done("keys", "init", **settings)
    assert "heed-development-sensitive:v1" in said
    assert done("keys", "init", **settings) == said
    assert vault.bao.token not in said


@pytest.mark.slow
def test_service_starts_with_the_vault_and_says_when_it_cannot(settings: dict[str, object]) -> None:
    """A service founds its keys under those of the vault and is ready; with a token that is none it does not start."""
    done("keys", "init", **settings)
    done("migrate", **settings)
    with serving("serve", until="/readyz", **settings) as service:
        assert service.get("/readyz").status_code == 200
    Path(str(settings["vault_token_file"])).write_text("expired")
    refused = command("serve", "--port", 0, cwd=ROOT, **settings)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "refuses this token" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
