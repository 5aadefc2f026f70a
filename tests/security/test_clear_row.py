"""What stands in clear beside the sealed cells: nobody edits it, or takes a class away, without being noticed."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from auth.roles import Role
from crm.errors import Tampered
from tests.conftest import Databases
from tests.house import REQUEST, SAM, actor, house

ASKED = frozenset({"displayName", "interpreterNeeded", "contactPoints", "restricted"})


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE patient SET restricted = 1 - restricted",
        "UPDATE patient SET status = 'merged'",
        "UPDATE patient SET created_at = created_at - 1",
        "UPDATE patient SET audit_subject = 'ffffffffffffffffffffffffffffffff'",
        """UPDATE patient SET classes = '["identity"]'""",
        "DELETE FROM sealed_row WHERE key_class = 'preference'",
        "DELETE FROM sealed_row",
        "DELETE FROM patient_key WHERE key_class = 'contact'",
        "UPDATE sealed_row SET provenance = '{}' WHERE key_class = 'contact'",
    ],
)
async def test_an_edit_beside_the_cells_is_no_answer(database_url: str, tmp_path: Path, edit: str) -> None:
    """After each of these edits the record is not answered, neither with values nor as if it were empty."""
    async with house(database_url, tmp_path) as it:
        patient = (await it.register())["id"]
        clerk = actor(Role.FRONT_DESK)
        assert (await it.services.profiles.read(clerk, REQUEST, patient, ASKED))["display_name"] == "Sam"
        await edited(database_url, edit)
        with pytest.raises(Tampered):
            await it.services.profiles.read(clerk, REQUEST, patient, ASKED)
        assert (await it.events())[0]["outcome"] == "error"


async def test_the_log_is_not_replaced(databases: Databases, tmp_path: Path) -> None:
    """INSERT OR REPLACE is refused by the table itself, whatever the connection was told about triggers."""
    url = databases.create("sqlite")
    async with house(url, tmp_path) as it:
        await it.register()
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            await edited(url, "INSERT OR REPLACE INTO audit_event SELECT * FROM audit_event WHERE seq = 0")
    databases.drop(url)


async def edited(url: str, statement: str) -> None:
    """Runs SQL behind the service's back, with all the rights of whoever owns the database."""
    if url.startswith("postgresql"):
        owner = await asyncpg.connect(url)
        try:
            await owner.execute(statement)
        finally:
            await owner.close()
        return
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("PRAGMA recursive_triggers = OFF")
        connection.execute(statement)


async def test_provenance_tells_of_readable_groups_only(database_url: str, tmp_path: Path) -> None:
    """Who filled in a group, and when, is told to those who may read the group; on a restricted record to fewer."""
    async with house(database_url, tmp_path) as it:
        patient = (await it.register())["id"]

        async def groups(role: Role) -> set[Any]:
            profile = await it.services.profiles.read(actor(role), REQUEST, patient, frozenset({"provenance"}))
            return {entry["group"] for entry in profile["provenance"]}

        assert {"CULTURE", "CONTACT"} <= await groups(Role.CLINICIAN)
        assert "CULTURE" not in await groups(Role.FRONT_DESK)
        assert "CONTACT" in await groups(Role.FRONT_DESK)
        patient = await it.store({**SAM, "restricted": True})
        assert "CONTACT" not in await groups(Role.FRONT_DESK)
        assert "CONTACT" in await groups(Role.PRIVACY_OFFICER)


async def test_whoever_may_not_know_a_reason_cannot_remove_it(database_url: str, tmp_path: Path) -> None:
    """The front desk may clear what staff should do; why stays until somebody clears it who may know."""
    async with house(database_url, tmp_path) as it:
        patient = (await it.register())["id"]
        changed = {"cultural_needs": None}
        await it.services.changes.update(actor(Role.FRONT_DESK), REQUEST, patient, 1, changed, frozenset())
        asked = frozenset({"culturalNeeds.handling", "culturalNeeds.detail"})
        seen = await it.services.profiles.read(actor(Role.CLINICIAN), REQUEST, patient, asked)
        assert "cultural_need_handling" not in seen
        assert seen["cultural_need_detail"][0]["detail"] == "After a death in the family."
        await it.services.changes.update(actor(Role.CLINICIAN), REQUEST, patient, 2, changed, frozenset())
        seen = await it.services.profiles.read(actor(Role.CLINICIAN), REQUEST, patient, asked)
        assert "cultural_need_detail" not in seen
