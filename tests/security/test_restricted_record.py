"""Scenario S5: what each role sees of a restricted record, field by field, as the table of docs/confidential.md has it.

The table is not made from the policy, so that a change of the policy has to be made twice, by somebody who means it.
"""

from pathlib import Path
from typing import Any

import pytest

from auth import policy
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from tests.asking import question, whole
from tests.breaking import request
from tests.client import Client
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELDS = {
    "R": "restricted",
    "p": "contactPoints",
    "a": "addresses",
    "m": "caseManager",
    "s": "relatedPersons",
    "c": "confidentialCommunication",
    "d": "consents",
    "w": "suspensions",
    "r": "restrictions",
    "l": "languages",
    "n": "channelPreferences",
}
"""A letter for each column of `TABLE`."""

PAGE = Path(__file__).resolve().parents[2] / "docs/confidential.md"
TABLE = PAGE.read_text("utf-8").split("```text\n")[1].split("```")[0]
"""`+` in clear, `~` masked, `-` null and on record as withheld, `.` refused before the record is read."""
_HEAD, *_LINES = [line.split(maxsplit=1) for line in TABLE.strip().splitlines()]
COLUMNS = "".join(_HEAD).replace(" ", "")
ROWS = {name: marks.replace(" ", "") for name, marks in _LINES}
CELLS = [
    (name, FIELDS[letter], mark) for name, marks in ROWS.items() for letter, mark in zip(COLUMNS, marks, strict=True)
]
SECRETS = ("447700900321", "17 Quay", "Pat Doe", "Wambui", "zoleka.private")


async def test_every_row_of_the_policy_stands_in_the_table() -> None:
    """No role and purpose is forgotten, and no field."""
    assert set(ROWS) == {f"{row.role}/{row.purpose}" for row in policy.matrix()}
    assert sorted(COLUMNS) == sorted(FIELDS)


@pytest.mark.parametrize("name", ROWS)
async def test_what_a_role_sees(served: Client, name: str) -> None:
    """Each field alone; what is withheld is null, its name on record, and its value nowhere in the answer."""
    role, purpose = name.split("/")
    given = Purpose(purpose)
    patient = await served.house.store({**WHOLE, "identifiers": [], "restricted": True})
    if given is Purpose.BTG:
        await request(served, patient, subject="one")
    truth = (await ask(served, patient, " ".join(map(whole, FIELDS.values()))))["patient"]
    for _, field, mark in (cell for cell in CELLS if cell[0] == name):
        answer, [leaf] = await served.watched(
            question(whole(field)),
            Role(role),
            variables={"id": patient},
            purpose=given,
            patient=patient if role in PERSONAL else None,
            subject="one",
        )
        if mark == ".":
            codes = {error["extensions"]["code"] for error in answer.json()["errors"]}
            assert codes <= {"FORBIDDEN", "FORBIDDEN_FIELD"}, field
            assert ("data" in answer.json(), leaf["out"]) == (False, "denied"), field
        else:
            shown = answer.json()["data"]["patient"][field]
            expected = {"+": shown == truth[field], "-": shown is None, "~": shown not in (None, truth[field])}
            assert expected[mark], (field, shown)
            assert (leaf.get("fld", []), leaf.get("msk", [])) == (
                [] if mark == "-" else [field],
                [] if mark == "+" else [field],
            ), field
        assert mark == "+" or not [secret for secret in SECRETS if secret in answer.text], field


async def ask(served: Client, patient: str, selection: str) -> dict[str, Any]:
    """The truth, as a privacy officer sees it."""
    return await served.data(question(selection), Role.PRIVACY_OFFICER, variables={"id": patient})


@pytest.mark.parametrize("field", FIELDS.values())
async def test_without_a_grant_the_glass_is_whole(served: Client, field: str) -> None:
    """Under break-glass, nothing of the new fields without a grant, and nothing with somebody else's."""
    patient = await served.house.store({**WHOLE, "identifiers": [], "restricted": True})
    await request(served, patient, subject="another")
    answer, [leaf] = await served.watched(
        question(whole(field)), Role.CLINICIAN, variables={"id": patient}, purpose=Purpose.BTG, subject="one"
    )
    [error] = answer.json()["errors"]
    assert (error["extensions"]["code"], leaf["out"]) == ("BREAK_GLASS_REQUIRED", "denied")
    assert not [secret for secret in SECRETS if secret in answer.text]


async def test_no_search_confirms_what_is_withheld(served: Client) -> None:
    """Neither by the number of the record, nor by a stand-in's, nor by the confidential one."""
    patient = await served.house.store({**WHOLE, "identifiers": [], "restricted": True})
    query = "query S($by: PatientSearch!) { searchPatients(by: $by, first: 100) { edges { node { id } } } }"
    for by in ({"phone": "+447700900321"}, {"email": "wambui@example.test"}, {"email": "zoleka.private@example.test"}):
        found = await served.data(query, Role.FRONT_DESK, variables={"by": by})
        assert patient not in str(found)
