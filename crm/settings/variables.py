"""The settings: every `HEED_` environment variable, its default, and what its value may be.

`docs/settings.md` is generated from here. Messages never name a value: several of them hold passwords.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from phonenumbers import SUPPORTED_REGIONS
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from auth.issuers import Issuer
from crm.crypto.provider import USES
from crm.domain.circumstances import BULK, office_hours
from crm.settings.codes import CodeSettings
from crm.settings.conflicts import ConflictSettings
from crm.settings.contact import ContactSettings
from crm.settings.documents import DocumentSettings
from crm.settings.feed import FeedSettings
from crm.settings.limits import LimitSettings
from crm.settings.retries import RetrySettings
from crm.settings.serving import ServingSettings
from crm.settings.sources import SourceSettings
from crm.settings.streams import StreamSettings
from crm.settings.webhooks import WebhookSettings
from crm.settings.witnesses import Witness

__all__ = ["PREFIX", "Environment", "KeyProvider", "LogLevel", "Settings", "StaffShown"]

PREFIX = "HEED_"
_NONE: dict[str, Any] = {"shown": "none"}


class Environment(StrEnum):
    """Where this process runs: `development` is for trying things out, `production` refuses what is unsafe."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class KeyProvider(StrEnum):
    """Who guards the key that wraps all other keys."""

    KEYRING = "keyring"
    ENV = "env"
    VAULT = "vault"
    AWS_KMS = "aws-kms"


class LogLevel(StrEnum):
    """How much the process says; no level ever says a patient's value."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class StaffShown(StrEnum):
    """What patients are told of the members of staff who looked at their record."""

    ROLES = "roles"
    NAMES = "names"


def _root_key(use: str) -> Any:
    text = f"For `env`: root keys for `{use}` as `openssl rand -base64 32` prints them, newest first, with commas."
    return Field(default=SecretStr(""), json_schema_extra=_NONE, description=text)


class Settings(
    CodeSettings,
    ContactSettings,
    DocumentSettings,
    FeedSettings,
    LimitSettings,
    RetrySettings,
    ConflictSettings,
    ServingSettings,
    SourceSettings,
    StreamSettings,
    WebhookSettings,
):
    """One value for each `HEED_` variable, checked and frozen; build it with `load`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    env: Environment = Field(
        default=Environment.DEVELOPMENT,
        description="`development` or `production`. Production refuses to start on any setting that is unsafe there.",
    )
    data_dir: Path = Field(
        default=Path("var"),
        json_schema_extra={"shown": "`./var`"},
        description="The folder for what this process keeps: the SQLite file, the key ring, the development issuer.",
    )

    # --- where records and keys are ---
    database_url: str = Field(
        default="",
        repr=False,
        json_schema_extra={"shown": "`sqlite:///` and `heed.db` in `HEED_DATA_DIR`"},
        description="The database: `sqlite:///path/to/file.db` for one process, or "
        "`postgresql://user:password@host/database` for several.",
    )
    database_connections: int = Field(
        default=10, ge=2, le=200, description="PostgreSQL connections that each process opens at most."
    )
    keystore_url: str = Field(
        default="",
        repr=False,
        json_schema_extra={"shown": "`HEED_DATABASE_URL`"},
        description="The database that holds wrapped keys. Apart from the records, so that a copy of one is not a copy "
        "of both.",
    )
    key_provider: KeyProvider = Field(
        default=KeyProvider.KEYRING,
        description="Who guards the root keys: `keyring` (a file), `env` (development only), `vault` (HashiCorp Vault, "
        "OpenBao) or `aws-kms`. The last two need `requirements-extras.txt`.",
    )
    key_uses: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        json_schema_extra={"shown": "all that the provider has"},
        description="What this process may use root keys for, with commas: any of "
        f"{', '.join(f'`{use}`' for use in USES)}. Fields of a class that is not among them answer `KEY_UNAVAILABLE`; "
        "`log` is always needed.",
    )
    keyring: Path = Field(
        default=Path(),
        json_schema_extra={"shown": "`keyring.json` in `HEED_DATA_DIR`"},
        description="The key-ring file, created by `server.py keys init`; only its owner may read it (mode 0600).",
    )
    provider_timeout: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="Seconds to wait for a connection to `vault` or `aws-kms`, and again for its answer: when keys are "
        "loaded or changed, never while a request waits.",
    )
    root_key_identity: SecretStr = _root_key("identity")
    root_key_contact: SecretStr = _root_key("contact")
    root_key_preference: SecretStr = _root_key("preference")
    root_key_sensitive: SecretStr = _root_key("sensitive")
    root_key_index: SecretStr = _root_key("index")
    root_key_log: SecretStr = _root_key("log")
    vault_addr: str = Field(
        default="",
        json_schema_extra=_NONE,
        description="The vault's address, such as `https://vault.example.org:8200`.",
    )
    vault_token: SecretStr = Field(
        default=SecretStr(""), json_schema_extra=_NONE, description="The token for the vault. Better in a file."
    )
    vault_token_file: Path | None = Field(
        default=None,
        json_schema_extra=_NONE,
        description="The file that has the token, read before each call, so that an agent may renew it.",
    )
    vault_mount: str = Field(
        default="transit", pattern=r"^[\w./-]+$", description="Where the vault's Transit engine is mounted."
    )
    vault_namespace: str = Field(default="", json_schema_extra=_NONE, description="The vault's namespace, if any.")
    kms_region: str = Field(
        default="",
        json_schema_extra={"shown": "that of the AWS configuration"},
        description="The AWS region of the root keys. Credentials come by AWS's ordinary chain.",
    )
    kms_endpoint: str = Field(
        default="",
        json_schema_extra={"shown": "AWS's own for the region"},
        description="The address of AWS KMS, where it is a private one.",
    )
    kms_pending_days: int = Field(
        default=7, ge=7, le=30, description="Days in which AWS KMS can still bring back a root key that was destroyed."
    )
    keys_refresh: float = Field(
        default=10.0,
        ge=0.1,
        le=300,
        description="Seconds between two looks at the key store, by which a process learns of new and destroyed keys "
        "and says which it has.",
    )
    keys_max_age: float = Field(
        default=300.0,
        ge=1,
        le=86_400,
        description="Seconds without a successful look after which a process changes no record any more "
        "(`KEY_UNAVAILABLE`). A rotation waits a quarter longer than this for a replica that has gone silent.",
    )
    wrap_days: int = Field(
        default=30, ge=1, le=3_650, description="Days after which the keys that wrap patients' keys are due."
    )
    index_days: int = Field(default=365, ge=1, le=3_650, description="Days after which the index key is due.")
    root_days: int = Field(
        default=365, ge=1, le=3_650, description="Days after which the provider's root keys are due."
    )
    backup_days: int = Field(
        default=30,
        ge=0,
        le=3_650,
        description="Days that copies of the database are kept. A retired key is destroyed this long after nothing "
        "needed it any more: from then on older copies cannot be read, by anyone.",
    )
    erasure_journal: Path = Field(
        default=Path(),
        json_schema_extra={"shown": "`erasures.ndjson` in `HEED_DATA_DIR`"},
        description="The file that repeats the erasure ledger outside the database, so that a database put back from "
        "an old copy does not bring erased patients back.",
    )

    # --- who may ask ---
    issuers: tuple[Issuer, ...] = Field(
        default=(),
        json_schema_extra={"shown": "none; in development the embedded issuer"},
        description="Token issuers as a JSON list of `{issuer, audience, jwks_url | jwks_file, algorithms}`. "
        "Algorithms are any of RS256, ES256 and EdDSA.",
    )
    jwks_refresh: int = Field(
        default=300,
        ge=10,
        le=86_400,
        description="Seconds between two looks at each `jwks_url`; a token never causes one.",
    )

    # --- how it is served ---
    host: str = Field(default="127.0.0.1", description="The address to listen on; `0.0.0.0` or `::` for all.")
    port: int = Field(default=8000, ge=0, le=65_535, description="The port to listen on; 0 lets the system choose.")
    log_level: LogLevel = Field(default=LogLevel.INFO, description="`debug`, `info`, `warning` or `error`.")
    graphql_get: bool = Field(
        default=False, description="Whether queries may also come by `GET /graphql`, where addresses end up in logs."
    )
    open_introspection: bool = Field(
        default=False,
        description="Whether every caller may ask for the schema. Otherwise, outside development, only roles with "
        "`schema:read` may.",
    )
    default_region: str | None = Field(
        default=None,
        pattern=r"^[A-Z]{2}$",
        json_schema_extra=_NONE,
        description="The country (ISO 3166-1 alpha-2, such as `GB`) of telephone numbers written without `+`. "
        "Without it such a number is kept as it was written.",
    )

    # --- what one request may take ---
    request_bytes: int = Field(default=102_400, ge=1_024, le=10_485_760, description="Octets in a request's body.")
    request_deadline: float = Field(default=10.0, gt=0, le=300, description="Seconds until a request is given up.")
    request_concurrency: int = Field(
        default=256, ge=1, le=10_000, description="Requests at work in one process; one more is answered `OVERLOADED`."
    )

    # --- the log ---
    log_origin: str = Field(
        default="heed.invalid",
        pattern=r"^[!-*,-~]{1,200}$",
        description="What the names of the logs begin with, such as `heed.clinic.example`: an organisation's log is "
        "`ORIGIN/ORGANISATION/1`. Auditors and witnesses know a log by its name: choose it once.",
    )
    office_hours: str = Field(
        default="Mo-Fr 07:00-19:00",
        description="When staff are at work; their events at other times are flagged `after_hours`. Days (`Mo Tu We Th "
        "Fr Sa Su`) and times, and more after commas: `Mo-Fr 07:00-19:00, Sa 08:00-12:00`. A range that ends before it "
        "starts goes on into the next day (`Fr 22:00-06:00`); `Mo-Su 00:00-24:00` is always.",
    )
    time_zone: str = Field(default="UTC", description="The IANA time zone of the office hours, as `Europe/London`.")
    bulk: int = Field(
        default=BULK,
        ge=1,
        le=1_000_000,
        description="Patients in one search, batch or change above which events of staff are flagged `bulk`.",
    )
    patients_see_staff: StaffShown = Field(
        default=StaffShown.ROLES,
        description="What `myAccessLog` tells patients of the people who looked at their record: `roles`, or `names`: "
        "also the subject of their token, and the leaf that the proof of an entry is about, which holds it.",
    )
    checkpoint_every: float = Field(
        default=10.0,
        ge=0.1,
        le=600,
        description="Seconds between two published checkpoints of a log that grows.",
    )
    checkpoint_journal: Path = Field(
        default=Path(),
        json_schema_extra={"shown": "`checkpoints.ndjson` in `HEED_DATA_DIR`"},
        description="The file that repeats the newest checkpoint of each log outside the database, so that a database "
        "put back to an older state is noticed at the start.",
    )
    witnesses: tuple[Witness, ...] = Field(
        default=(),
        max_length=15,
        json_schema_extra=_NONE,
        description="Who cosigns checkpoints (C2SP tlog-witness), as a JSON list of `{url, key}`: the address before "
        "`/add-checkpoint`, and the key that `audit witness --show-key` prints.",
    )
    witness_every: float = Field(
        default=30.0,
        ge=0.1,
        le=3_600,
        description="Seconds between two visits to the witnesses. What happened since the last one is known to nobody "
        "outside.",
    )
    witness_max_age: float = Field(
        default=86_400.0,
        ge=1,
        le=2_592_000,
        description="Seconds that a published checkpoint may wait for a first witness; then answers are refused with "
        "`AUDIT_UNAVAILABLE`. Only where there are witnesses.",
    )
    break_glass_minutes: int = Field(
        default=60, ge=5, le=480, description="Minutes that a break-glass grant lasts at most."
    )
    break_glass_review_hours: int = Field(
        default=72, ge=1, le=720, description="Hours after which a break-glass grant without a review is overdue."
    )
    audit_deadline: float = Field(
        default=2.0,
        gt=0,
        le=60,
        description="Seconds that an answer waits for its access events to be stored; then it is refused with "
        "`AUDIT_UNAVAILABLE`.",
    )
    audit_queue: int = Field(
        default=16_384, ge=16, le=1_000_000, description="Access events that may wait to be stored in one process."
    )
    audit_batch: int = Field(
        default=512, ge=1, le=10_000, description="Access events stored in one transaction at most."
    )
    audit_days: int = Field(
        default=2_282,
        ge=2_190,
        le=36_500,
        description="Days that access events are kept at least: six years (45 CFR 164.316(b)(2)(i)) and 90 days. "
        "`audit prune` takes away none that is younger.",
    )

    @field_validator("database_url", "keystore_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:///", "postgresql://")):
            raise ValueError("must start with sqlite:/// or postgresql://")
        return value

    @field_validator("key_uses", mode="before")
    @classmethod
    def _known_uses(cls, value: Any) -> Any:
        uses = [use.strip() for use in value.split(",")] if isinstance(value, str) else list(value)
        if not set(uses) <= set(USES):
            raise ValueError(f"each must be one of {', '.join(USES)}")
        return uses

    @field_validator("vault_addr", "kms_endpoint")
    @classmethod
    def _known_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query):
            raise ValueError("must be https://host, with port and path where there are any")
        return value

    @field_validator("office_hours")
    @classmethod
    def _known_hours(cls, value: str) -> str:
        office_hours(value, "UTC")
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError):
            raise ValueError("is not a key of the IANA time zone database, such as `Europe/London`") from None
        return value

    @field_validator("default_region")
    @classmethod
    def _known_region(cls, value: str | None) -> str | None:
        if value is not None and value not in SUPPORTED_REGIONS:
            raise ValueError("is not a country with telephone numbers (ISO 3166-1 alpha-2)")
        return value

    @model_validator(mode="before")
    @classmethod
    def _derived_defaults(cls, given: Any) -> Any:
        """Fill in the defaults that depend on another setting."""
        values = dict(given)
        folder = Path(values.get("data_dir", cls.model_fields["data_dir"].default))
        values.setdefault("database_url", f"sqlite:///{folder / 'heed.db'}")
        values.setdefault("keystore_url", values["database_url"])
        values.setdefault("keyring", folder / "keyring.json")
        values.setdefault("erasure_journal", folder / "erasures.ndjson")
        values.setdefault("checkpoint_journal", folder / "checkpoints.ndjson")
        return values
