"""The settings: their defaults, what is refused and how, and that their page is true."""

import ast
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from auth import development
from auth.vocabulary import Group
from commands import serving
from commands.settings_page import settings_page
from crm.crypto.cosignature import Cosigner
from crm.crypto.note import Signer
from crm.crypto.provider import USES
from crm.domain.precedence import SourceRules
from crm.errors import Unsafe
from crm.settings import Environment, KeyProvider, LogLevel, Settings, load

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = {
    "HEED_ENV",
    "HEED_DATA_DIR",
    "HEED_DATABASE_URL",
    "HEED_KEYSTORE_URL",
    "HEED_KEY_PROVIDER",
    "HEED_ISSUERS",
    "HEED_LOG_LEVEL",
    "HEED_GRAPHQL_GET",
}
WITNESS = {"url": "https://w.test", "key": Cosigner("w.test/w1", bytes(32)).verifier_key}
ISSUER = {
    "issuer": "https://id.example.org",
    "audience": "heed",
    "jwks_url": "https://id.example.org/jwks",
    "algorithms": ["ES256"],
}


_ADDRESS = "{}: must be https://host, with port and path where there are any"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test without any `HEED_` variable."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HEED_{name.upper()}", raising=False)


def test_order_of_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word the patient comes first; the configured order and its exceptions reach the domain as they are."""
    assert load().sources.rules == SourceRules()
    said = {"order": ["PATIENT", "STAFF"], "groups": {"LEGAL_NAME": ["import:pas", "PATIENT"]}}
    monkeypatch.setenv("HEED_SOURCES", json.dumps(said))
    rules = load().sources.rules
    assert rules.order == ("PATIENT", "STAFF")
    assert dict(rules.groups) == {Group.LEGAL_NAME: ("import:pas", "PATIENT")}


def test_defaults() -> None:
    """Without any variable it is development, with everything in one folder and nothing switched on."""
    settings = load()
    assert settings.env is Environment.DEVELOPMENT
    assert settings.key_provider is KeyProvider.KEYRING
    assert settings.log_level is LogLevel.INFO
    assert (settings.data_dir, settings.keyring) == (Path("var"), Path("var/keyring.json"))
    assert settings.database_url == settings.keystore_url == "sqlite:///var/heed.db"
    assert not settings.graphql_get
    assert not settings.open_introspection
    assert settings.issuers == ()


def test_derived_defaults_follow_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database and the key ring are in the data folder, unless they have a place of their own."""
    monkeypatch.setenv("HEED_DATA_DIR", "/srv/heed")
    assert load().database_url == "sqlite:////srv/heed/heed.db"
    assert load().keyring == Path("/srv/heed/keyring.json")
    monkeypatch.setenv("HEED_DATABASE_URL", "postgresql://db/heed")
    monkeypatch.setenv("HEED_KEYRING", "/etc/heed/keyring.json")
    assert load().keystore_url == "postgresql://db/heed"
    assert load().keyring == Path("/etc/heed/keyring.json")


def test_command_line_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value given by the caller wins over the environment."""
    monkeypatch.setenv("HEED_PORT", "9000")
    assert load().port == 9000
    assert load(port=9001).port == 9001


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable means the default, also where JSON or a number is expected."""
    for name in Settings.model_fields:
        monkeypatch.setenv(f"HEED_{name.upper()}", "")
    empty = load()
    monkeypatch.undo()
    assert empty == load()


def test_limits_by_name() -> None:
    """The limits of a document come as plain numbers under the names the transport knows."""
    assert load().limits() == {
        "source": 50_000,
        "comments": 250,
        "tokens": 1_000,
        "operations": 10,
        "depth": 10,
        "fields": 400,
        "aliases": 15,
        "directives": 20,
        "records": 1_000,
        "batch": 1_000,
        "page": 100,
    }


def test_frozen() -> None:
    """Nobody changes a setting of a running process."""
    with pytest.raises(ValidationError):
        load().port = 1  # type: ignore[misc]  # that it is read-only is the point


def test_connection_strings_are_not_shown() -> None:
    """The representation holds neither connection string: they may carry passwords."""
    settings = load(database_url="postgresql://heed:hunter2@localhost/heed")
    assert "hunter2" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HEED_POTR", "8000", "HEED_POTR is not a setting; did you mean HEED_PORT?"),
        ("HEED_ZZZZZZZZZZ", "1", "HEED_ZZZZZZZZZZ is not a setting; docs/settings.md lists all of them"),
        ("HEED_PORT", "70000", "HEED_PORT: Input should be less than or equal to 65535"),
        ("HEED_ENV", "prod", "HEED_ENV: Input should be 'development' or 'production'"),
        (
            "HEED_KEY_PROVIDER",
            "vault",
            "HEED_VAULT_ADDR is empty: HEED_KEY_PROVIDER=vault needs the address of the vault",
        ),
        ("HEED_KEY_USES", "contact,marketing", f"HEED_KEY_USES: each must be one of {', '.join(USES)}"),
        ("HEED_VAULT_ADDR", "vault.example.org", _ADDRESS.format("HEED_VAULT_ADDR")),
        ("HEED_VAULT_ADDR", "https://root:s3cret@vault.example.org", _ADDRESS.format("HEED_VAULT_ADDR")),
        ("HEED_KMS_ENDPOINT", "file:///etc", _ADDRESS.format("HEED_KMS_ENDPOINT")),
        ("HEED_KMS_PENDING_DAYS", "6", "HEED_KMS_PENDING_DAYS: Input should be greater than or equal to 7"),
        ("HEED_DATABASE_URL", "mysql://h/heed", "HEED_DATABASE_URL: must start with sqlite:/// or postgresql://"),
        ("HEED_ISSUERS", "{", "HEED_ISSUERS is not JSON; docs/settings.md shows its shape"),
        ("HEED_WITNESSES", "{", "HEED_WITNESSES is not JSON; docs/settings.md shows its shape"),
        ("HEED_SOURCES", "pas", "HEED_SOURCES: is not JSON; docs/settings.md shows its shape"),
        ("HEED_SOURCES", '{"ordr": []}', "HEED_SOURCES: ordr: Extra inputs are not permitted"),
        ("HEED_SOURCES", '{"order": ["STAFF", "STAFF"]}', "HEED_SOURCES: order: names something twice"),
        (
            "HEED_SOURCES",
            '{"groups": {"BIRTH": ["pas"]}}',
            (
                "HEED_SOURCES: groups.BIRTH: each must be a voice such as STAFF, "
                "or a system as `import:name` or `api:name`"
            ),
        ),
        ("HEED_WITNESSES", '[{"url": "https://w.test"}]', "HEED_WITNESSES.0.key: Field required"),
        ("HEED_WITNESSES", json.dumps([WITNESS | {"url": "w.test"}]), _ADDRESS.format("HEED_WITNESSES.0.url")),
        (
            "HEED_WITNESSES",
            json.dumps([WITNESS | {"key": Signer("log.test/north/1", bytes(32)).verifier_key}]),
            "HEED_WITNESSES.0.key: is not the verifier key of a witness: `audit witness --show-key` prints it",
        ),
        (
            "HEED_SMTP_FROM",
            "Codes <codes>",
            "HEED_SMTP_FROM: must be an e-mail address, such as `codes@example.org`",
        ),
        ("HEED_ISSUERS", '[{"issuer": "a"}]', "HEED_ISSUERS.0.audience: Field required"),
        ("HEED_ISSUERS", json.dumps([ISSUER | {"jwks": 1}]), "HEED_ISSUERS.0.jwks: Unexpected keyword argument"),
        (
            "HEED_ISSUERS",
            json.dumps([ISSUER | {"jwks_file": "k.json"}]),
            "HEED_ISSUERS: issuer https://id.example.org: give either `jwks_file` or `jwks_url`",
        ),
    ],
    ids=lambda part: part[:24],
)
def test_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    """An unknown or malformed variable stops the start with one line that names it."""
    monkeypatch.setenv(name, value)
    with pytest.raises(Unsafe) as refused:
        load()
    assert str(refused.value) == said


@pytest.mark.parametrize(
    "name",
    [
        "HEED_ENV",
        "HEED_KEY_USES",
        "HEED_VAULT_ADDR",
        "HEED_DATABASE_URL",
        "HEED_PORT",
        "HEED_ISSUERS",
        "HEED_DEFAULT_REGION",
    ],
)
def test_refusal_does_not_repeat_the_value(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A refused value is not said, nor kept as the cause: it may be a password in the wrong place."""
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(Unsafe) as refused:
        load()
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_variables_of_the_test_suite_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HEED_TEST_…` belongs to the test suite and does not stop the server."""
    monkeypatch.setenv("HEED_TEST_POSTGRES_URL", "postgresql://localhost/postgres")
    load()


SAFE = {"env": "production", "issuers": [ISSUER]}
MAIL = {"code_sender": "smtp", "smtp_host": "mail.example.org", "smtp_from": "codes@example.org"}


def test_safe_in_production() -> None:
    """A named issuer is all that production needs; SQLite and listening on every address are allowed there."""
    settings = load(**SAFE, host="0.0.0.0")
    assert settings.issuers[0].audience == "heed"
    assert settings.database_url.startswith("sqlite:")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"issuers": []}, "HEED_ISSUERS is empty", id="no issuer"),
        pytest.param(
            {"issuers": [ISSUER | {"issuer": development.ISSUER}]},
            "HEED_ISSUERS.0 is the development",
            id="development",
        ),
        pytest.param(
            {"issuers": [ISSUER, ISSUER | {"issuer": "b", "jwks_url": "http://id.example.org/jwks"}]},
            "HEED_ISSUERS.1.jwks_url is not https",
            id="plain http",
        ),
        pytest.param({"log_level": "debug"}, "HEED_LOG_LEVEL is debug", id="debug"),
        pytest.param({"persisted_queries": True}, "HEED_PERSISTED_QUERIES is true", id="texts of anybody"),
        pytest.param({"code_sender": "log"}, "HEED_CODE_SENDER is log", id="codes in the log"),
        pytest.param(MAIL | {"smtp_tls": "none"}, "HEED_SMTP_TLS is none", id="codes in clear"),
        pytest.param({"key_provider": "env"}, "HEED_KEY_PROVIDER is env", id="keys in the environment"),
        pytest.param({"root_key_log": "AAAA"}, "HEED_ROOT_KEY_LOG is set", id="key left in the environment"),
        pytest.param(
            {"key_provider": "vault", "vault_addr": "http://vault.example.org:8200", "vault_token": "t"},
            "HEED_VAULT_ADDR is not https",
            id="vault",
        ),
        pytest.param(
            {"key_provider": "aws-kms", "kms_endpoint": "http://kms.example.org"},
            "HEED_KMS_ENDPOINT is not https",
            id="kms",
        ),
        pytest.param(
            {"witnesses": [WITNESS | {"url": "http://w.example.org"}]},
            "HEED_WITNESSES.0.url is not https",
            id="witness",
        ),
        pytest.param(
            {"database_url": "postgresql://u:p@db.example.org/heed"},
            "HEED_DATABASE_URL leads to another",
            id="database",
        ),
        pytest.param(
            {"keystore_url": "postgresql://u:p@keys.example.org/heed?sslmode=prefer"},
            "HEED_KEYSTORE_URL leads to another",
            id="keystore",
        ),
    ],
)
def test_unsafe_in_production(given: dict[str, object], said: str) -> None:
    """What development forgives stops the start of production, with a line that says which setting and why."""
    load(**SAFE | given | {"env": "development"})
    with pytest.raises(Unsafe, match=f"^{said}"):
        load(**SAFE | given)


def test_trusted_documents_and_texts_of_anybody_exclude_each_other() -> None:
    """A process that executes only trusted documents does not remember what callers send."""
    with pytest.raises(Unsafe, match=r"^HEED_PERSISTED_QUERIES is true and"):
        load(documents="trusted", persisted_queries=True)
    assert load(documents="trusted").documents == "trusted"
    assert serving.transport(load(documents="trusted")).trusted_documents
    assert serving.transport(load(persisted_queries=True)).persisted_queries
    assert not serving.transport(load()).trusted_documents
    assert not serving.transport(load()).persisted_queries


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db.example.org/heed?sslmode=verify-full",
        "postgresql://localhost/heed",
        "postgresql:///heed?host=/run/postgresql",
    ],
)
def test_database_connections_that_production_trusts(url: str) -> None:
    """TLS, loopback and Unix sockets are fine in production."""
    assert load(**SAFE, database_url=url).keystore_url == url


@pytest.mark.parametrize(
    "address", ["https://vault.example.org:8200", "http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost:8200"]
)
def test_vaults_that_production_trusts(address: str) -> None:
    """TLS is fine in production, and so is an agent on the same machine."""
    assert load(**SAFE, key_provider="vault", vault_addr=address, vault_token="t").vault_addr == address


@pytest.mark.parametrize("url", ["https://w.example.org", "http://127.0.0.1:8100/", "http://[::1]:8100"])
def test_witnesses_that_production_trusts(url: str) -> None:
    """TLS, or the same machine; a slash at the end is no part of the address."""
    [witness] = load(**SAFE, witnesses=[WITNESS | {"url": url}]).witnesses
    assert witness.url == url.rstrip("/")


@pytest.mark.parametrize(
    "given", [{}, {"smtp_tls": "implicit", "smtp_port": 465}, {"smtp_host": "localhost", "smtp_tls": "none"}]
)
def test_mail_servers_that_production_trusts(given: dict[str, object]) -> None:
    """TLS of either kind, or a server on the same machine."""
    assert load(**SAFE | MAIL | given).code_sender == "smtp"


@pytest.mark.parametrize("name", ["smtp_host", "smtp_from"])
def test_a_mail_server_needs_a_name_and_an_address(name: str) -> None:
    """Without either, codes would fail one by one; so the server does not start."""
    with pytest.raises(Unsafe, match=f"^HEED_{name.upper()} is empty"):
        load(**MAIL | {name: ""})


@pytest.mark.parametrize("given", [{}, {"vault_token": "t", "vault_token_file": "/run/token"}])
def test_vault_needs_exactly_one_token(given: dict[str, object]) -> None:
    """No token, or two that may differ, stop the start."""
    with pytest.raises(Unsafe, match="needs either HEED_VAULT_TOKEN_FILE or HEED_VAULT_TOKEN"):
        load(key_provider="vault", vault_addr="https://vault.example.org", **given)


def test_uses_come_as_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process may use keys for is written with commas, with blanks or without."""
    monkeypatch.setenv("HEED_KEY_USES", "identity, contact,preference")
    assert load().key_uses == ("identity", "contact", "preference")


def test_secrets_are_not_shown() -> None:
    """The representation holds neither a token nor a root key."""
    settings = load(vault_token="hunter2", root_key_contact="hunter3", smtp_password="hunter4")
    assert "hunter" not in repr(settings) + str(settings) + repr(settings.model_dump())


def test_every_setting_of_the_contract_exists() -> None:
    """The names that clients and operators rely on are there."""
    assert {f"HEED_{name.upper()}" for name in Settings.model_fields} >= CONTRACT


def test_every_setting_is_described() -> None:
    """Each setting says what it means in a sentence of its own."""
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


def test_every_setting_is_used() -> None:
    """No setting is decoration: the composition hands each of them to somebody."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in [ROOT / "server.py", *ROOT.glob("commands/*.py")]]
    used = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "limits" in used
    assert {name for name in Settings.model_fields if not name.startswith("limit_")} - used == set()


def test_page_is_generated_from_the_settings() -> None:
    """`docs/settings.md` is what the code says; `make generate` writes it."""
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == settings_page()


def test_no_command_loosens_production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment says production, a development command such as the demo refuses to run."""
    monkeypatch.setenv("HEED_ENV", "production")
    with pytest.raises(Unsafe, match="for development only"):
        load(env=Environment.DEVELOPMENT)


def test_a_region_is_a_country_with_telephones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that no number can be read in is refused."""
    monkeypatch.setenv("HEED_DEFAULT_REGION", "XX")
    with pytest.raises(Unsafe, match="HEED_DEFAULT_REGION"):
        load()
