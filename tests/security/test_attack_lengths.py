"""Lengths of what is stored: within a block of padding, answers of different length look alike."""

from pathlib import Path
from typing import Any

import pytest

from crm.catalogue import BY_NAME, FIELDS
from crm.crypto.box import unpack
from crm.crypto.envelope import SHORTEST
from crm.store.codec import encode
from tests.client import client
from tests.intruder import Intruder

POINT = {"system": "PHONE", "use": "MOBILE"}

ALIKE: dict[str, tuple[str, list[Any]]] = {
    "an interpreter": ("interpreter_needed", ["YES", "NO", "UNKNOWN"]),
    "telephones of 12 and 13 digits": (
        "contact_points", [[{**POINT, "value": "+447700900123"}], [{**POINT, "value": "+4915112345678"}]]
    ),
    "gender": ("administrative_gender", ["MALE", "FEMALE", "OTHER", "UNKNOWN"]),
    "dead or alive": ("deceased", [True, False]),
    "a religion": ("religion", ["Sikh", "Roman Catholic", "Latter-day Saint"]),
    "pronouns": ("pronouns", ["he/him", "they/them", "ze/zir"]),
    "first names": ("preferred_name", ["Bo", "Maximiliane"]),
    "how precise a birth date is": ("birth_date", ["1931", "1931-05", "1931-05-09"]),
}  # fmt: skip


async def _stored(url: str, patient_id: str, name: str) -> int:
    field = BY_NAME[name]
    assert field.key_class is not None
    row = await Intruder(url).row(patient_id, field.key_class)
    return len(unpack(row["cells"])[field.number])


async def test_e39_answers_of_one_block_are_stored_alike(database_url: str, tmp_path: Path) -> None:
    """Yes, no and unknown, short and long telephone numbers: nobody tells them apart by the length of the cell."""
    async with client(database_url, tmp_path) as it:
        for what, (name, answers) in ALIKE.items():
            people = [(await it.house.register({name: answer}))["id"] for answer in answers]
            lengths = {await _stored(database_url, patient_id, name) for patient_id in people}
            assert len(lengths) == 1, what
            assert (lengths.pop() - SHORTEST) % BY_NAME[name].block == 0, what


@pytest.mark.parametrize("what", [what for what, (name, _) in ALIKE.items() if name != "deceased"])
def test_e39_without_padding_they_would_differ(what: str) -> None:
    """The control: the plaintexts of the same answers have different lengths, and a cell shows its plaintext's."""
    name, answers = ALIKE[what]
    assert len({len(encode(BY_NAME[name], answer)) for answer in answers}) > 1


def test_e39_every_sealed_field_is_padded() -> None:
    """No field of the catalogue has a block that pads nothing."""
    assert [field.name for field in FIELDS if field.key_class is not None and field.block < 16] == []
