"""Attacks on the erasure ledger and its copies, E-35: edited, cut or computed anew, the next start refuses it."""

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import bindparam, delete, update

from crm.crypto.note import open_note
from crm.errors import Tampered, Unsafe
from crm.store.ledger import chain_hash
from crm.store.statements import prepare
from crm.store.tables import erasure_ledger
from tests.conftest import Databases
from tests.house import ORG, OTHER_ORG
from tests.intruder import Intruder
from tests.people import WHOLE
from tests.premises import Place, opened


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A place of its own, with keys and records in one database."""
    return Place(database_url, tmp_path)


@pytest.fixture
def two(engine: str, databases: Databases, tmp_path: Path) -> Iterator[Place]:
    """A place whose keys lie in a database of their own, as production has it."""
    urls = [databases.create(engine) for _ in range(2)]
    yield Place(urls[0], tmp_path, urls[1])
    for url in urls:
        databases.drop(url)


# --- E-35 -----------------------------------------------------------------------------------------------------------

Tamper = Callable[[Intruder], Awaitable[Any]]

_REASON = "UPDATE erasure_ledger SET entry = replace(entry, 'PATIENT_REQUEST', 'LEGAL_OBLIGATION') WHERE seq = 2"


async def _edit(intruder: Intruder) -> None:
    await intruder.run(_REASON)


async def _edit_and_rehash(intruder: Intruder) -> None:
    """The whole chain computed anew: there is no secret in it, so only copies can tell."""
    await intruder.run(_REASON)
    before = b""
    for seq, text in await intruder.run("SELECT seq, entry FROM erasure_ledger ORDER BY seq"):
        before = chain_hash(before, text)
        await intruder.run("UPDATE erasure_ledger SET hash = ? WHERE seq = ?", before, seq)


async def _delete(intruder: Intruder) -> None:
    await intruder.run("DELETE FROM erasure_ledger WHERE seq = 2")


async def _delete_and_renumber(intruder: Intruder) -> None:
    await intruder.run("DELETE FROM erasure_ledger WHERE seq = 2")
    await intruder.run("UPDATE erasure_ledger SET seq = 2 WHERE seq = 3")


async def _other_patient(intruder: Intruder) -> None:
    await intruder.run("UPDATE erasure_ledger SET hash = ? WHERE seq = 3", bytes(32))


async def _truncate(intruder: Intruder) -> None:
    await intruder.run("DELETE FROM erasure_ledger WHERE seq >= 3")


async def _empty(intruder: Intruder) -> None:
    await intruder.run("DELETE FROM erasure_ledger")


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_edit, "in the database was edited, cut or damaged behind entry 1"),
        (_delete, "in the database was edited, cut or damaged behind entry 1"),
        (_delete_and_renumber, "in the database was edited, cut or damaged behind entry 1"),
        (_other_patient, "in the database was edited, cut or damaged behind entry 2"),
        (_edit_and_rehash, "tell different stories of erasure 2"),
        (_truncate, "1 erasures are missing"),
        (_empty, "3 erasures are missing"),
    ],
)
async def test_e35_the_ledger_is_tampered_with(place: Place, tamper: Tamper, said: str) -> None:
    """Edited, cut, renumbered, computed anew or emptied: the next start refuses it; untouched, it is accepted."""
    await _three_erasures(place)
    async with opened(place):
        pass
    await tamper(Intruder(place.url))
    with pytest.raises(Unsafe, match=said):
        async with opened(place):
            pass


@pytest.mark.parametrize("tamper", [_edit, _delete, _edit_and_rehash])
async def test_e35_the_key_stores_copy(two: Place, tamper: Tamper) -> None:
    """The same in the copy that the key store keeps."""
    await _three_erasures(two)
    two.journal.path.unlink()
    async with opened(two):
        pass
    assert two.keystore_url
    await tamper(Intruder(two.keystore_url))
    with pytest.raises(Unsafe, match="the key store"):
        async with opened(two):
            pass


async def test_e35_the_journal(place: Place) -> None:
    """Edited, or with a line taken out of the middle: refused. Cut at its end, it is brought up to date again."""
    await _three_erasures(place)
    path = place.journal.path
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for broken in (
        whole.replace(b"PATIENT_REQUEST", b"LEGAL_OBLIGATION", 1),
        lines[0] + lines[2],
        lines[1] + lines[0] + lines[2],
        lines[0] + b"something else\n" + lines[1] + lines[2],
    ):
        path.write_bytes(broken)
        with pytest.raises(Unsafe, match="the erasure journal"):
            async with opened(place):
                pass
    for cut in (lines[0] + lines[1], lines[0], b"", whole[:-1], lines[0] + lines[1][:40]):
        path.write_bytes(cut)
        async with opened(place):
            pass
        assert path.read_bytes() == whole


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(_pipe, "is not a regular file", id="pipe"),
        pytest.param(_folder, "is not a regular file|Is a directory", id="folder"),
        pytest.param(lambda path: path.symlink_to(path.rename(path.with_name("x"))), "is a symbolic link", id="link"),
        pytest.param(lambda path: path.chmod(0o620), "is open to other users", id="writable by a group"),
        pytest.param(lambda path: path.chmod(0o602), "is open to other users", id="writable by all"),
        pytest.param(
            lambda path: os.chown(path, 65_534, -1),
            "belongs to another user",
            id="another's",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away"),
        ),
    ],
)
async def test_e35_a_journal_that_others_can_reach(place: Place, spoil: Callable[[Path], object], said: str) -> None:
    """It is neither read nor written, nobody waits for it, and the refusal says why; others may read it."""
    await _three_erasures(place)
    chains = place.journal.chains()
    place.journal.path.chmod(0o644)
    async with opened(place):
        pass
    spoil(place.journal.path)
    with pytest.raises(Unsafe, match=said):
        async with opened(place):
            pass
    with pytest.raises((Unsafe, IsADirectoryError), match=said):
        place.journal.follow(chains)


@pytest.mark.parametrize(
    "members",
    [
        {"org": ["north"]}, {"org": None}, {"org": {}}, {"seq": "1"}, {"seq": 1.0}, {"seq": True}, {"seq": [1]},
        {"entry": ["{}"]}, {"entry": None}, {"hash": 1}, {"hash": [0]}, {"hash": "zz"},
    ],
    ids=str,
)  # fmt: skip
async def test_e35_a_line_of_wrong_types(place: Place, members: dict[str, Any]) -> None:
    """A line that is JSON, and has a member of another type, is refused by its number."""
    await _three_erasures(place)
    chains = place.journal.chains()
    lines = place.journal.path.read_bytes().splitlines(keepends=True)
    lines[1] = orjson.dumps(orjson.loads(lines[1]) | members, option=orjson.OPT_APPEND_NEWLINE)
    place.journal.path.write_bytes(b"".join(lines))
    for attempt in (place.journal.chains, lambda: place.journal.follow(chains)):
        with pytest.raises(Unsafe, match="is damaged at line 2: "):
            attempt()


async def test_e35_no_statement_of_the_service_changes_the_ledger(place: Place) -> None:
    """The service's own role may not change or remove an entry, and a trigger stops whoever may."""
    await _three_erasures(place)
    async with opened(place) as it:
        mine = erasure_ledger.c.org == bindparam("org")
        for statement in (update(erasure_ledger).where(mine).values(entry="{}"), delete(erasure_ledger).where(mine)):
            with pytest.raises(RuntimeError):
                async with it.house.database.transaction(ORG) as connection:
                    await connection.execute(prepare(statement))
    async with opened(place):
        pass


async def _three_erasures(place: Place) -> None:
    async with opened(place) as it:
        for _ in range(3):
            await it.erase((await it.house.register(WHOLE))["id"])


async def test_e35_a_receipt_is_tampered_with(place: Place) -> None:
    """A receipt that was changed, or signed for another organisation, does not open; the true one does."""
    async with opened(place) as it:
        note = (await it.erase((await it.house.register(WHOLE))["id"])).note
        key, foreign = it.erasures.verifier_key(ORG), it.erasures.verifier_key(OTHER_ORG)
        assert key
        assert foreign
        assert "erased: the whole record" in open_note(note, key)
        for wrong, verifier_key in ((note.replace("the whole record", "nothing"), key), (note, foreign)):
            with pytest.raises(Tampered):
                open_note(wrong, verifier_key)
