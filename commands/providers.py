"""The provider of root keys that the settings name. The libraries of those elsewhere are loaded only for them."""

import stat
from pathlib import Path

from crm.crypto.environment import EnvironmentKeys
from crm.crypto.keyring import KeyRing
from crm.crypto.provider import KeyProvider as Provider
from crm.errors import ProviderUnavailable, Unsafe
from crm.settings import KeyProvider, Settings

__all__ = ["provider"]


def provider(settings: Settings) -> Provider:
    """The provider, which was asked nothing yet; a key ring was read. Raises Unsafe, with what to do."""
    match settings.key_provider:
        case KeyProvider.KEYRING:
            return _whole(settings, KeyRing.load(settings.keyring, settings.key_uses))
        case KeyProvider.ENV:
            return _whole(settings, EnvironmentKeys(_environment(settings), settings.key_uses))
        case KeyProvider.VAULT:
            return _vault(settings)
        case KeyProvider.AWS_KMS:
            return _aws_kms(settings)


def _whole(settings: Settings, chosen: Provider) -> Provider:
    lacking = set(settings.key_uses) - chosen.uses()
    if lacking:
        raise Unsafe(f"HEED_KEY_USES names what the {chosen.name} has no key for: {', '.join(sorted(lacking))}")
    return chosen


def _environment(settings: Settings) -> dict[str, str]:
    values = {
        "identity": settings.root_key_identity,
        "contact": settings.root_key_contact,
        "preference": settings.root_key_preference,
        "sensitive": settings.root_key_sensitive,
        "index": settings.root_key_index,
        "log": settings.root_key_log,
    }
    return {use: value.get_secret_value() for use, value in values.items()}


def _vault(settings: Settings) -> Provider:
    try:
        from crm.crypto.vault import VaultTransit
    except ModuleNotFoundError as error:
        raise _without_extra("vault", error) from None
    file = settings.vault_token_file
    if file is not None:
        _token_in(file)
    return VaultTransit(
        settings.env.value,
        settings.vault_addr,
        settings.vault_token.get_secret_value if file is None else lambda: _token_in(file),
        given=settings.key_uses,
        mount=settings.vault_mount,
        namespace=settings.vault_namespace or None,
        timeout=settings.provider_timeout,
    )


def _aws_kms(settings: Settings) -> Provider:
    try:
        from crm.crypto.aws_kms import AwsKms
    except ModuleNotFoundError as error:
        raise _without_extra("aws-kms", error) from None
    return AwsKms(
        settings.env.value,
        given=settings.key_uses,
        region=settings.kms_region or None,
        endpoint=settings.kms_endpoint or None,
        timeout=settings.provider_timeout,
        pending_days=settings.kms_pending_days,
    )


def _without_extra(extra: str, error: ModuleNotFoundError) -> Unsafe:
    return Unsafe(
        f"HEED_KEY_PROVIDER={extra} needs the extra `{extra}`, and {error.name} is not installed: run "
        "`pip install --require-hashes -r requirements-extras.txt`"
    )


def _token_in(file: Path) -> str:
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o007:
            raise Unsafe(f"HEED_VAULT_TOKEN_FILE is open to every user: run `chmod o= {file}`")
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ProviderUnavailable(f"HEED_VAULT_TOKEN_FILE cannot be read ({type(error).__name__})") from None
    if not token:
        raise ProviderUnavailable("HEED_VAULT_TOKEN_FILE is empty")
    return token
