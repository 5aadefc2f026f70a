"""What a process that begins to serve warns of, although it is allowed."""

from pathlib import Path

import pytest

from commands.serving import hazards
from crm.crypto.cosignature import Cosigner
from crm.crypto.keyset import KeySet
from crm.settings import Environment, Settings
from crm.settings.witnesses import Witness
from tests.keys import ENV, key_set, partial_ring


@pytest.mark.parametrize(
    ("env", "journal", "warned"),
    [
        ("production", "erasures.ndjson", True),
        ("production", "elsewhere/../erasures.ndjson", True),
        ("production", "elsewhere/erasures.ndjson", False),
        ("development", "erasures.ndjson", False),
    ],
)
def test_journal_beside_the_database(tmp_path: Path, env: str, journal: str, warned: bool) -> None:
    """In production, where one copy of a folder would carry both, and nothing could tell of the erasures since."""
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    settings = Settings(
        env=Environment(env),
        database_url=url,
        erasure_journal=tmp_path / journal,
        checkpoint_journal=tmp_path / "elsewhere" / "checkpoints.ndjson",
    )
    lines = hazards(settings, key_set(tmp_path))
    assert [f"are both in {tmp_path}: " in line for line in lines] == [True] * warned


@pytest.mark.parametrize(("place", "witnessed"), [("", False), ("", True), ("elsewhere", False)])
def test_nobody_would_notice_an_older_copy(tmp_path: Path, place: str, witnessed: bool) -> None:
    """Where the checkpoints would be put back together with the database, and no witness remembers."""
    known = Witness(url="https://w.test", key=Cosigner("w.test/w1", bytes(32)).verifier_key)
    settings = Settings(
        env=Environment.PRODUCTION,
        database_url=f"sqlite:///{tmp_path / 'heed.db'}",
        erasure_journal=tmp_path / "elsewhere" / "erasures",
        checkpoint_journal=tmp_path / place / "checkpoints.ndjson",
        witnesses=(known,) if witnessed else (),
    )
    warned = not place and not witnessed
    assert ["no witness is set" in line for line in hazards(settings, key_set(tmp_path))] == [True] * warned


def test_a_server_s_database_lies_in_no_folder(tmp_path: Path) -> None:
    """PostgreSQL is copied by other means than the journal's folder."""
    url = "postgresql://db.test/heed?sslmode=verify-full"
    settings = Settings(env=Environment.PRODUCTION, database_url=url, erasure_journal=tmp_path / "erasures.ndjson")
    assert hazards(settings, key_set(tmp_path)) == []


def test_keys_that_were_not_given(tmp_path: Path) -> None:
    """Classes and the index key are named; the signing key, without which everything is answered, is not."""
    key_set(tmp_path)
    whole = tmp_path / "keyring.json"
    rows = KeySet.bootstrap(partial_ring(whole, "identity", "contact", "preference", "sensitive", "index", "log"), ENV)
    settings = Settings(database_url="postgresql://db.test/heed")
    for uses, named in (
        (("contact", "preference", "sensitive", "log"), ["identity, index"]),
        (("identity", "contact", "preference", "sensitive", "index"), []),
    ):
        lines = hazards(settings, KeySet.load(partial_ring(whole, *uses), ENV, rows))
        assert [line.split(":")[0] for line in lines] == [f"this process was given no keys for {one}" for one in named]
