"""Loading the settings from the environment, and what makes one unsafe to start with.

Messages name a setting and what to do about it, never its value: several of them hold passwords.
"""

import difflib
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError
from pydantic_settings import SettingsError

from auth import development
from auth.issuers import UnsafeIssuer
from crm.domain.transport import Tls
from crm.errors import Unsafe
from crm.settings.codes import CodeSender
from crm.settings.documents import DocumentsAllowed
from crm.settings.variables import PREFIX, Environment, KeyProvider, LogLevel, Settings

__all__ = ["load"]

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_TESTS_ONLY = "HEED_TEST_"  # read by the test suite, so that a developer may leave them exported


def load(unless_set: Mapping[str, Any] = MappingProxyType({}), /, **given: Any) -> Settings:
    """The settings of this process: `given` (from the command line), then the environment, then the defaults.

    `unless_set` are defaults of the caller's own, by name, for what the environment does not say.
    Raises `crm.errors.Unsafe` with one line when a variable is unknown or malformed, or unsafe in production.
    """
    _refuse_unknown(os.environ)
    declared = os.environ.get(f"{PREFIX}ENV")
    if declared == Environment.PRODUCTION and given.get("env", declared) != declared:
        raise Unsafe("HEED_ENV is production: this command is for development only")
    own = {name: value for name, value in unless_set.items() if PREFIX + name.upper() not in os.environ}
    try:
        settings = Settings(**{**own, **given})
    except SettingsError as error:
        name = "HEED_WITNESSES" if '"witnesses"' in str(error) else "HEED_ISSUERS"
        raise Unsafe(f"{name} is not JSON; docs/settings.md shows its shape") from None
    except UnsafeIssuer as error:
        raise Unsafe(f"HEED_ISSUERS: {error}") from None
    except ValidationError as error:
        raise Unsafe(_first_problem(error)) from None
    _refuse_incomplete(settings)
    if settings.env is Environment.PRODUCTION:
        _refuse_unsafe(settings)
    return settings


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(environment):
        if name.startswith(PREFIX) and not name.startswith(_TESTS_ONLY) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists all of them"
            raise Unsafe(f"{name} is not a setting; {hint}")


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name, *inside = (str(part) for part in problem["loc"])
    path = "".join(f".{part}" for part in inside)
    return f"{PREFIX}{name.upper()}{path}: {problem['msg'].removeprefix('Value error, ')}"


def _refuse_incomplete(settings: Settings) -> None:
    """What a provider cannot do without, in development either."""
    if settings.key_provider is KeyProvider.VAULT:
        if not settings.vault_addr:
            raise Unsafe("HEED_VAULT_ADDR is empty: HEED_KEY_PROVIDER=vault needs the address of the vault")
        if bool(settings.vault_token.get_secret_value()) == (settings.vault_token_file is not None):
            raise Unsafe("HEED_KEY_PROVIDER=vault needs either HEED_VAULT_TOKEN_FILE or HEED_VAULT_TOKEN, and not both")
    if settings.persisted_queries and settings.documents is DocumentsAllowed.TRUSTED:
        raise Unsafe("HEED_PERSISTED_QUERIES is true and HEED_DOCUMENTS is trusted: only one of them can hold")
    if settings.code_sender is CodeSender.SMTP:
        for name in ("smtp_host", "smtp_from"):
            if not getattr(settings, name):
                raise Unsafe(f"{PREFIX}{name.upper()} is empty: HEED_CODE_SENDER=smtp needs it")


def _refuse_unsafe(settings: Settings) -> None:
    """What development forgives and production must not. SQLite is not among it: it suits a single process."""
    if not settings.issuers:
        raise Unsafe("HEED_ISSUERS is empty: in production name the issuer of your tokens")
    for number, issuer in enumerate(settings.issuers):
        name = f"HEED_ISSUERS.{number}"
        if issuer.issuer == development.ISSUER:
            raise Unsafe(f"{name} is the development issuer, whose signing key lies in the data folder: remove it")
        if issuer.jwks_url is not None and urlsplit(issuer.jwks_url).scheme != "https":
            raise Unsafe(f"{name}.jwks_url is not https: whoever sits on the network could replace the keys")
    if settings.log_level is LogLevel.DEBUG:
        raise Unsafe("HEED_LOG_LEVEL is debug: libraries may then log what they handle; use info or less in production")
    if settings.persisted_queries:
        raise Unsafe("HEED_PERSISTED_QUERIES is true: it is for development; register documents instead")
    if settings.code_sender is CodeSender.LOG:
        raise Unsafe("HEED_CODE_SENDER is log: whoever reads the log could verify contact points; use smtp or none")
    open_mail = settings.code_sender is CodeSender.SMTP and settings.smtp_tls is Tls.NONE
    if open_mail and settings.smtp_host not in _LOOPBACK:
        raise Unsafe(
            "HEED_SMTP_TLS is none: whoever sits on the network could read the codes; use starttls or implicit"
        )
    if settings.key_provider is KeyProvider.ENV:
        raise Unsafe("HEED_KEY_PROVIDER is env: whoever may look at the process may read its environment; use another")
    for name, value in settings:
        if name.startswith("root_key_") and value.get_secret_value():
            raise Unsafe(
                f"{PREFIX}{name.upper()} is set: in production no root key stands in the environment; unset it"
            )
    for name, address in (("HEED_VAULT_ADDR", settings.vault_addr), ("HEED_KMS_ENDPOINT", settings.kms_endpoint)):
        parts = urlsplit(address)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise Unsafe(f"{name} is not https: whoever sits on the network could read the keys")
    for number, witness in enumerate(settings.witnesses):
        parts = urlsplit(witness.url)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise Unsafe(f"HEED_WITNESSES.{number}.url is not https: whoever sits on the network could keep it away")
    _refuse_open_wire("HEED_DATABASE_URL", settings.database_url)
    _refuse_open_wire("HEED_KEYSTORE_URL", settings.keystore_url)


def _refuse_open_wire(name: str, url: str) -> None:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = query.get("host", [parts.hostname or ""])[0]
    if parts.scheme != "postgresql" or not host or host.startswith("/") or host in _LOOPBACK:
        return
    if query.get("sslmode", [""])[0] not in {"require", "verify-ca", "verify-full"}:
        raise Unsafe(f"{name} leads to another machine without TLS: add ?sslmode=verify-full")
