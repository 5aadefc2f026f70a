"""`serve` on a bad day: it does not start, and one line on standard error says what is wrong and what to do."""

import base64
import json
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from crm.crypto.keyring import KeyRing
from tests.conftest import Databases
from tests.postgres import Postgres
from tests.processes import command, done, founded, free_port, serving

ISSUER = {"issuer": "https://id.test", "audience": "heed", "algorithms": ["RS256"]}
GOOD = json.dumps([{**ISSUER, "jwks_url": "https://id.test/jwks"}])

Place = dict[str, Any]


@pytest.fixture
def place(tmp_path: Path, databases: Databases) -> Iterator[Place]:
    """The settings of a place in order: a key ring, and a migrated SQLite database."""
    url = databases.create("sqlite")
    yield founded(tmp_path / "data", url)
    databases.drop(url)


def ring(place: Place) -> Path:
    """Where the key ring is."""
    path: Path = place["data_dir"] / "keyring.json"
    return path


def database(place: Place) -> Path:
    """Where the SQLite database is."""
    return Path(place["database_url"].removeprefix("sqlite:///"))


@contextmanager
def tables(place: Place) -> Iterator[sqlite3.Connection]:
    """The SQLite database, to break something in it."""
    with closing(sqlite3.connect(database(place))) as connection, connection:
        yield connection


def without_ring(place: Place) -> None:
    """No file."""
    ring(place).unlink()


def readable_ring(place: Place) -> None:
    """A file that everybody may read."""
    ring(place).chmod(0o644)


def broken_ring(place: Place) -> None:
    """A file that was cut off."""
    ring(place).write_text('{"version": 1, "keys": [')


def other_ring(place: Place) -> None:
    """Keys were founded with one ring; then the file is another one's."""
    done("export", "fhir", **place)
    ring(place).unlink()
    KeyRing.create(ring(place))


def unmigrated(place: Place) -> None:
    """No tables."""
    database(place).unlink()


def newer(place: Place) -> None:
    """Tables of a revision that this program does not know."""
    with tables(place) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def no_database(place: Place) -> None:
    """A file of another kind."""
    database(place).write_bytes(b"this is no database, it is a text that is long enough to be one" * 20)


@pytest.mark.parametrize(
    ("spoil", "said", "advice"),
    [
        (without_ring, "is missing", "keys init"),
        (readable_ring, "is open to other users", "chmod 600"),
        (broken_ring, "is malformed", "restore it"),
        (other_ring, "does not fit this database", "that `keys init` made for"),
        (unmigrated, "has no tables yet", "server.py migrate"),
        (newer, "this program is older than the database", "or a newer one"),
        (no_database, "not a SQLite database", ""),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_keys_and_databases(spoil: Callable[[Place], None], said: str, advice: str, place: Place) -> None:
    """Keys or tables that are missing, open, damaged or somebody else's."""
    spoil(place)
    ended = command("serve", "--port", free_port(), **place)
    assert_refused(ended, said, advice)


def assert_refused(ended: subprocess.CompletedProcess[str], *said: str) -> None:
    """Status 1, nothing on standard output, and exactly one line that holds all of `said`."""
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert line.startswith("heed: ")
    for part in said:
        assert part in line


def test_lost_keys_are_not_replaced(place: Place) -> None:
    """Records whose keys are gone: no new ones are made, which would open nothing; restored, all is there."""
    file = place["data_dir"] / "in.ndjson"
    file.write_text(json.dumps({"resourceType": "Patient", "id": "a", "name": [{"family": "Okafor"}]}))
    done("import", "fhir", file, **place)
    with tables(place) as connection:
        kept = connection.execute("SELECT * FROM crypto_key").fetchall()
        connection.execute("DELETE FROM crypto_key")
    assert_refused(command("serve", **place), "holds no keys", "restore the table crypto_key")
    with tables(place) as connection:
        assert connection.execute("SELECT count(*) FROM crypto_key").fetchone() == (0,)
        marks = ", ".join("?" * len(kept[0]))
        connection.executemany(f"INSERT INTO crypto_key VALUES ({marks})", kept)
    assert "Okafor" in done("export", "fhir", **place)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"database_urll": "sqlite:///x"}, "did you mean HEED_DATABASE_URL?"),
        ({"port": "no port"}, "HEED_PORT"),
        ({"issuers": "[{"}, "HEED_ISSUERS is not JSON"),
        ({"key_provider": "vault"}, "HEED_KEY_PROVIDER"),
        ({"database_url": "mysql://x"}, "must start with sqlite:/// or postgresql://"),
        ({"env": "production"}, "HEED_ISSUERS is empty"),
        ({"env": "production", "issuers": GOOD.replace("https://id.test/jwks", "http://id.test/jwks")}, "not https"),
        (
            {"env": "production", "issuers": GOOD.replace('"https://id.test"', '"https://development.heed.invalid"')},
            "is the development issuer",
        ),
        ({"env": "production", "issuers": GOOD, "log_level": "debug"}, "HEED_LOG_LEVEL is debug"),
        (
            {"env": "production", "issuers": GOOD, "database_url": "postgresql://u:SECRET@db.test/x"},
            "HEED_DATABASE_URL leads to another machine without TLS",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_settings(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    """A variable that is unknown, malformed, or unsafe in production; its value is not repeated."""
    ended = command("serve", data_dir=tmp_path, **settings)
    assert_refused(ended, said)
    assert "SECRET" not in ended.stderr


def test_an_issuer_without_keys(place: Place, tmp_path: Path) -> None:
    """A JWKS file that is missing stops the start, because nobody could ever be let in."""
    issuers = json.dumps([{**ISSUER, "jwks_file": str(tmp_path / "missing.json")}])
    ended = command("serve", "--port", free_port(), env="production", issuers=issuers, **place)
    assert_refused(ended, "HEED_ISSUERS: issuer https://id.test: cannot read", "missing.json")


def test_a_port_that_is_taken(place: Place) -> None:
    """Somebody listens there already."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = command("serve", "--port", port, **place)
    assert_refused(ended, f"cannot listen on 127.0.0.1 port {port}: Address already in use", "--port")


def test_a_database_that_is_away(place: Place) -> None:
    """PostgreSQL does not listen; the password in the URL is not repeated."""
    away = {**place, "database_url": f"postgresql://heed:SECRET@127.0.0.1:{free_port()}/heed"}
    ended = command("serve", **away)
    assert_refused(ended, "the database does not answer", "HEED_DATABASE_URL")
    assert "SECRET" not in ended.stderr


def test_a_server_that_may_lose_what_it_acknowledged(place: Place, postgres: Postgres, databases: Databases) -> None:
    """PostgreSQL with fsync off, as this test suite runs it, is good for tests only."""
    url = databases.create("postgresql")
    try:
        ended = command("serve", **{**place, "database_url": url})
    finally:
        databases.drop(url)
    assert_refused(ended, "fsync=off", "may lose what it acknowledged")


def test_several_workers_on_sqlite(place: Place) -> None:
    """SQLite serves one process."""
    assert_refused(command("serve", "--workers", 2, **place), "several workers need PostgreSQL")


def test_production_serves_with_keys_of_an_issuer(place: Place, tmp_path: Path) -> None:
    """What production accepts: a JWKS file with an RS256 and an ES256 key; the development issuer is nobody there."""
    keys: dict[str, Any] = {
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
    }
    jwks = [{**public_jwk(key), "kid": algorithm, "use": "sig"} for algorithm, key in keys.items()]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": jwks}))
    issuer = {**ISSUER, "algorithms": ["RS256", "ES256"], "jwks_file": str(tmp_path / "jwks.json")}
    stranger = done("token", "--role", "front_desk", "--subject", "x", data_dir=tmp_path / "dev").strip()
    with serving("serve", until="/readyz", env="production", issuers=json.dumps([issuer]), **place) as it:
        for algorithm, key in keys.items():
            answer = it.ask(signed(key, algorithm), "{ viewer { subject org roles } }")
            assert answer.json() == {"data": {"viewer": {"subject": "u-1", "org": "north", "roles": ["FRONT_DESK"]}}}
        assert it.ask(stranger, "{ viewer { subject } }").status_code == 401
        assert "text/html" not in it.get("/graphql").headers["content-type"]
        assert it.stop() == 0
    assert it.stdout == []
    assert it.stderr == [f"Heed serves {it.address}/graphql\n"]


def signed(key: Any, algorithm: str) -> str:
    """A token of the test's own issuer, good for two minutes."""
    now = int(time.time())
    claims = {
        "iss": "https://id.test", "aud": "heed", "sub": "u-1", "jti": f"t-{algorithm}", "iat": now, "exp": now + 120,
        "roles": ["front_desk"], "org": "north", "purpose_of_use": "PATADMIN",
    }  # fmt: skip
    return jwt.encode(claims, key, algorithm, headers={"kid": algorithm})


def public_jwk(key: Any) -> dict[str, str]:
    """The public half as a JWK (RFC 7517)."""
    numbers = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {"kty": "RSA", "n": _number(numbers.n, 256), "e": _number(numbers.e, 3)}
    return {"kty": "EC", "crv": "P-256", "x": _number(numbers.x, 32), "y": _number(numbers.y, 32)}


def _number(value: int, octets: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(octets, "big")).rstrip(b"=").decode()
