"""Shortcuts that would undo the design: keys tried out, data keys or values remembered, root keys asked in between.

Counted on real reads, because a promise such as "one decryption for each cell" is otherwise only a sentence.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from crm.catalogue import BY_NAME, KeyClass
from crm.crypto.box import unpack
from crm.crypto.data_key import DataKey
from crm.crypto.keyset import KeySet
from crm.store.record import Record
from tests.asking import EVERYTHING, question
from tests.client import Client, client
from tests.intruder import Intruder
from tests.keys import CountingCipher
from tests.people import WHOLE
from tests.scene import Scene

CHANGE = """mutation C($id: ID!, $version: Int, $text: String) {
  updatePreferences(input: {patientId: $id, expectedVersion: $version, instructions: $text}) { version } }"""


class SpiedKeys(KeySet):
    """A key set in which every cipher counts: those that wrap data keys, and those of the data keys it opens."""

    __slots__ = ("cells", "wraps")

    def __init__(self, inner: KeySet) -> None:
        for name in KeySet.__slots__:
            setattr(self, name, getattr(inner, name))
        self.wraps: list[CountingCipher] = []
        self.cells: list[CountingCipher] = []
        self._keys = {name: self._spied(key) for name, key in self._keys.items()}
        # The same keys again, as they are found by what stands before a wrapped one.
        self._headers = {place: self._keys[place[0], key.epoch] for place, key in self._headers.items()}

    def _spied(self, key: Any) -> Any:
        if isinstance(key, bytes):
            return key
        counting = CountingCipher(key.cipher)
        self.wraps.append(counting)
        return replace(key, cipher=counting)

    def data_key(self, *place: Any) -> DataKey:
        """The real key, with a cipher that counts."""
        key = super().data_key(*place)
        counting = CountingCipher(key._cipher)
        self.cells.append(counting)
        key._cipher = counting
        return key

    def forget(self) -> None:
        """Begin to count anew."""
        self.cells.clear()
        for wrap in self.wraps:
            wrap.encrypted = wrap.decrypted = 0

    def counted(self) -> tuple[int, int]:
        """Data keys unwrapped, and decryptions under data keys."""
        return sum(wrap.decrypted for wrap in self.wraps), sum(cell.decrypted for cell in self.cells)


@asynccontextmanager
async def spied(url: str, folder: Path) -> AsyncIterator[tuple[Client, SpiedKeys, str]]:
    """A service that is spied on, and a patient with a value in every field."""
    spies: list[SpiedKeys] = []

    def watch(keys: KeySet) -> KeySet:
        spies.append(SpiedKeys(keys))
        return spies[0]

    async with client(url, folder, keys=watch) as it:
        patient_id = (await it.house.register(WHOLE))["id"]
        spies[0].forget()
        yield it, spies[0], patient_id


async def _cells(intruder: Intruder, patient_id: str) -> int:
    rows = [await intruder.row(patient_id, key_class) for key_class in KeyClass]
    return sum(len(unpack(row["cells"])) for row in rows)


async def test_e12_one_decryption_for_each_cell(database_url: str, tmp_path: Path) -> None:
    """A read unwraps one data key for each class and decrypts each wanted cell once, and one seal for each class."""
    async with spied(database_url, tmp_path) as (it, spy, patient_id):
        stored = await _cells(Intruder(database_url), patient_id)
        assert stored > 20
        for selection, keys, cells in (
            ("timeZone", 1, 1),
            ("displayName pronouns", 2, 3),  # the name is made of two cells
            ("id version", 0, 0),
            (EVERYTHING, len(KeyClass), stored),
        ):
            spy.forget()
            await it.data(question(selection), Role.INTEGRATION, variables={"id": patient_id})
            assert spy.counted() == (keys, cells + keys), selection


@pytest.mark.parametrize("place", ["wrapped", "seal", "cells"])
async def test_e12_what_fails_is_not_tried_again(database_url: str, tmp_path: Path, place: str) -> None:
    """A refusal costs no more than the decryption that refused: no other key, class or algorithm is tried."""
    async with spied(database_url, tmp_path) as (it, spy, patient_id):
        scene = Scene(it, Intruder(database_url))
        row = await scene.intruder.row(patient_id, "preference")
        octets = bytearray(row[place])
        # The last octet of a box belongs to the tag of its last cell, which the row seal covers.
        octets[-1] ^= 1
        await scene.intruder.write(patient_id, "preference", **{place: bytes(octets)})
        await scene.incident(question("timeZone"), patient_id)
        assert spy.counted() == ((1, 0) if place == "wrapped" else (1, 1))


async def test_e12_a_search_decrypts_each_candidate_once(database_url: str, tmp_path: Path) -> None:
    """To compare a candidate costs its data key, its seal and the compared cell; to answer it, its own."""
    async with spied(database_url, tmp_path) as (it, spy, patient_id):
        query = '{ searchPatients(by: {phone: "+447700900321"}) { edges { node { id } } } }'
        found = await it.data(query, Role.INTEGRATION)
        assert [edge["node"]["id"] for edge in found["searchPatients"]["edges"]] == [patient_id]
        assert spy.counted() == (1, 2)
        spy.forget()
        # The flags of a clinician's look: four cells of the identity class, two of the preferences, and their seals.
        await it.data(query, Role.CLINICIAN)
        assert spy.counted() == (3, 10)


async def test_e12_a_data_key_is_unwrapped_at_each_read(database_url: str, tmp_path: Path) -> None:
    """No data key is remembered: a second read unwraps again, and a key that was exchanged meanwhile is noticed."""
    async with spied(database_url, tmp_path) as (it, spy, patient_id):
        scene, ask = Scene(it, Intruder(database_url)), question("timeZone")
        for reads in (1, 2, 3):
            await it.data(ask, Role.INTEGRATION, variables={"id": patient_id})
            assert spy.counted() == (reads, 2 * reads)
        other = await scene.person()
        row, theirs = [await scene.intruder.row(one, "preference") for one in (patient_id, other)]
        await scene.intruder.write(patient_id, "preference", wrapped=theirs["wrapped"])
        await scene.incident(ask, patient_id)
        await scene.intruder.write(patient_id, "preference", wrapped=row["wrapped"])
        await it.data(ask, Role.INTEGRATION, variables={"id": patient_id})
        shred = "UPDATE patient_key SET state = 'shredded', wrapped = NULL WHERE patient_id = ?"
        await scene.intruder.run(shred, patient_id)
        answer = await it.ask(ask, Role.INTEGRATION, variables={"id": patient_id})
        assert [error["extensions"]["code"] for error in answer.json()["errors"]] == ["ERASED"]


async def test_e12_no_value_is_remembered(database_url: str, tmp_path: Path) -> None:
    """What another process changed, and what was put back in SQL, is what the very next read answers."""
    async with spied(database_url, tmp_path) as (here, spy, patient_id):
        (tmp_path / "there").mkdir()
        async with client(database_url, tmp_path / "there", keys=lambda _: spy) as there:
            intruder, ask = Intruder(database_url), question("instructions version")
            rows = await intruder.row(patient_id, "preference")
            [clear] = await intruder.run("SELECT version, updated_at FROM patient WHERE id = ?", patient_id)
            answers = []
            for step in range(3):
                answers.append(await here.data(ask, Role.INTEGRATION, variables={"id": patient_id}))
                if step == 0:
                    told = {"id": patient_id, "version": 1, "text": "Ring once."}
                    await there.data(CHANGE, Role.INTEGRATION, variables=told)
                if step == 1:
                    # A whole row put back with its version is not for a read to notice, but for the access log.
                    await intruder.write(patient_id, "preference", **rows)
                    back = "UPDATE patient SET version = ?, updated_at = ? WHERE id = ?"
                    await intruder.run(back, *clear, patient_id)
            assert [answer["patient"]["instructions"] for answer in answers] == [
                WHOLE["instructions"], "Ring once.", WHOLE["instructions"],
            ]  # fmt: skip
            assert [answer["patient"]["version"] for answer in answers] == [1, 2, 1]


def test_e12_nothing_that_opens_remembers() -> None:
    """The objects through which values pass have no room for any: no member besides those listed here."""
    assert set(DataKey.__slots__) == {
        "_cipher",
        "_frames",
        "_org",
        "_owner",
        "_patient",
        "_where",
        "dek_no",
        "key_class",
    }
    keys = {"_active", "_gone", "_headers", "_keys", "_lasting", "_missed", "_signers", "_states", "_templates"}
    assert set(KeySet.__slots__) == keys | {"good_until", "held"}
    assert not hasattr(Record, "values")
    # Frames of fields, names of cells, and which fields a question needs: all the same for every patient.
    remembering = {"crm/store/opening.py": {"_plan"}, "crm/crypto/data_key.py": {"_shelf", "_numbered"}}
    for module in (*remembering, "crm/store/codec.py", "crm/crypto/envelope.py"):
        source = Path(__file__).resolve().parents[2].joinpath(module).read_text(encoding="utf-8")
        cached = set(re.findall(r"^@(?:lru_)?cache\b.*\ndef (\w+)", source, re.MULTILINE))
        assert cached == remembering.get(module, set()), module


async def test_e40_reads_and_changes_cost_what_was_promised(database_url: str, tmp_path: Path) -> None:
    """Twelve cells cost twelve decryptions, a seal and an unwrapped key; a change seals what it changes and one row.

    How long that takes, as ratios to the bare ciphers, is measured by the bench. No root key is needed for any of it:
    the key set knows no provider, and none of its members is one.
    """
    twelve = [
        "accessibleFormats", "accessNeeds { kind }", "channelPreferences { purpose }", "timeZone", "instructions",
        "communicationStyle", "contactWindows { from }", "caseManager { name }", "interpreterNeeded",
        "appointmentPreferences { times }", "languages { tag }", "culturalNeeds { handling }",
    ]  # fmt: skip
    assert len(twelve) == 12
    async with spied(database_url, tmp_path) as (it, spy, patient_id):
        await it.data(question(" ".join(twelve)), Role.INTEGRATION, variables={"id": patient_id})
        assert spy.counted() == (1, 13)
        spy.forget()
        await it.data(CHANGE, Role.INTEGRATION, variables={"id": patient_id, "version": 1, "text": "Knock."})
        sealed = sum(cell.encrypted for cell in spy.cells)
        assert sealed == 2, "one cell and the seal of its row"
        assert not [name for name in KeySet.__slots__ if "provider" in name]
        assert BY_NAME["instructions"].key_class is KeyClass.PREFERENCE
