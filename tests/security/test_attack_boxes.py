"""Cells and keys rearranged in the database itself, one move at a time, and tables renamed under what they hold."""

from collections.abc import Callable
from pathlib import Path

import pytest

from auth.roles import Role
from crm.catalogue import BY_NAME, KeyClass
from crm.crypto.box import pack, unpack
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.crypto.stored_key import new_wrap_key
from tests.asking import EVERYTHING, question
from tests.client import client
from tests.intruder import Intruder
from tests.keys import ENV
from tests.people import WHOLE
from tests.scene import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

Cells = dict[int, bytes]

_ZONE, _STYLE = (BY_NAME[name].number for name in ("time_zone", "communication_style"))
_LANGUAGES = BY_NAME["languages"].number

MOVES: dict[str, Callable[[Cells], Cells]] = {
    "two texts change places": lambda cells: {**cells, _ZONE: cells[_STYLE], _STYLE: cells[_ZONE]},
    "one text in two places": lambda cells: {**cells, _STYLE: cells[_ZONE]},
    "a text where a list belongs": lambda cells: {**cells, _LANGUAGES: cells[_ZONE]},
    "a field of another class": lambda cells: {**cells, BY_NAME["religion"].number: cells[_ZONE]},
}


@pytest.mark.parametrize("move", MOVES)
async def test_e01_cells_moved_within_a_row(scene: Scene, move: str) -> None:
    """A cell answers for the field that it was sealed for, and for no other, whatever number stands before it."""
    one = await scene.person()
    row = await scene.intruder.row(one, "preference")
    await scene.intruder.write(one, "preference", cells=pack(MOVES[move](unpack(row["cells"]))))
    await scene.refused(one)
    await scene.intruder.write(one, "preference", cells=row["cells"])
    await scene.whole_again(one)


@pytest.mark.parametrize("key_class", list(KeyClass))
async def test_e03_another_patients_wrapped_key(scene: Scene, key_class: str) -> None:
    """A wrapped key that stands at another patient unwraps for neither of them."""
    one, two = await scene.person(), await scene.person()
    mine, theirs = await scene.intruder.row(one, key_class), await scene.intruder.row(two, key_class)
    await scene.intruder.write(one, key_class, wrapped=theirs["wrapped"])
    await scene.refused(one)
    await scene.intruder.write(one, key_class, wrapped=mine["wrapped"])
    await scene.whole_again(one)


async def test_e03_another_number_of_the_same_key(scene: Scene) -> None:
    """Key and row renumbered together: the number is part of what both were sealed with."""
    one = await scene.person()
    for number in (2, 1):
        for table in ("patient_key", "sealed_row"):
            sql = f"UPDATE {table} SET dek_no = {number} WHERE patient_id = ? AND key_class = 'contact'"
            await scene.intruder.run(sql, one)
        await (scene.refused if number == 2 else scene.whole_again)(one)


async def test_e03_another_epoch_that_exists(database_url: str, tmp_path: Path) -> None:
    """A wrapped key whose header and column name another epoch of its class does not unwrap under that one."""

    def two_epochs(_: KeySet) -> KeySet:
        ring = KeyRing.load(tmp_path / "keyring.json")
        pending = [new_wrap_key(ring, ENV, key_class, 2, "pending") for key_class in KeyClass]
        return KeySet.load(ring, ENV, [*KeySet.bootstrap(ring, ENV), *pending])

    async with client(database_url, tmp_path, keys=two_epochs) as it:
        scene = Scene(it, Intruder(database_url))
        one = await scene.person()
        row = await scene.intruder.row(one, "identity")
        for epoch in (2, 1):
            wrapped = row["wrapped"][:2] + epoch.to_bytes(4) + row["wrapped"][6:]
            await scene.intruder.write(one, "identity", wrapped=wrapped)
            await scene.intruder.run(f"UPDATE patient_key SET epoch = {epoch} WHERE patient_id = ?", one)
            await (scene.refused if epoch == 2 else scene.whole_again)(one)


def _with_octet(cell: bytes, place: int, value: int) -> bytes:
    return cell[:place] + bytes((value,)) + cell[place + 1 :]


HEADERS = {"format": (0, 0xE2), "the other algorithm": (1, 2), "no algorithm": (1, 9), "codec": (2, 3), "key": (6, 2)}


@pytest.mark.parametrize("part", HEADERS)
async def test_e07_another_header(scene: Scene, part: str) -> None:
    """A header that names another format, algorithm, codec or key is not believed; the row seal does not cover it."""
    one = await scene.person()
    row = await scene.intruder.row(one, "preference")
    cells = unpack(row["cells"])
    edited = {**cells, _ZONE: _with_octet(cells[_ZONE], *HEADERS[part])}
    await scene.intruder.write(one, "preference", cells=pack(edited))
    await scene.refused(one)
    await scene.intruder.write(one, "preference", cells=row["cells"])
    await scene.whole_again(one)


async def test_e07_a_wrapped_key_of_another_algorithm(scene: Scene) -> None:
    """Which cipher wraps is the epoch's choice: a data key that claims another one does not unwrap."""
    one = await scene.person()
    row = await scene.intruder.row(one, "contact")
    for place, value in ((0, 0xD2), (1, 1), (1, 9)):
        await scene.intruder.write(one, "contact", wrapped=_with_octet(row["wrapped"], place, value))
        await scene.refused(one)
    await scene.intruder.write(one, "contact", wrapped=row["wrapped"])
    await scene.whole_again(one)


RENAMED = (
    "ALTER TABLE sealed_row RENAME TO cell_store",
    "ALTER TABLE cell_store RENAME COLUMN cells TO box",
    """CREATE VIEW sealed_row AS SELECT org, patient_id, key_class, version, dek_no, box AS cells, seal, provenance
       FROM cell_store""",
    "ALTER TABLE patient_key RENAME TO data_key",
    "CREATE VIEW patient_key AS SELECT * FROM data_key",
)


async def test_e15_renamed_tables_and_columns(database_url: str, tmp_path: Path) -> None:
    """What is stored is bound to logical names: with its tables and columns renamed, old data read as before."""
    async with client(database_url, tmp_path) as it:
        patient_id = (await it.house.register(WHOLE))["id"]
        before = await it.data(question(EVERYTHING), Role.INTEGRATION, variables={"id": patient_id})
        keys = it.house.services.store.keys
    intruder = Intruder(database_url)
    for sql in RENAMED:
        await intruder.run(sql)
    if database_url.startswith("postgres"):
        await intruder.run("GRANT SELECT ON sealed_row, patient_key TO heed_app")
    (tmp_path / "again").mkdir()
    async with client(database_url, tmp_path / "again", keys=lambda _: keys) as it:
        after = await it.data(question(EVERYTHING), Role.INTEGRATION, variables={"id": patient_id})
    assert after == before
