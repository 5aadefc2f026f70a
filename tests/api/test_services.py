"""The use cases as importers and commands call them, below GraphQL and its limits, on both engines."""

from dataclasses import replace
from pathlib import Path

import pytest

from auth.errors import Forbidden, ForbiddenField, PurposeRequired
from auth.roles import Role
from crm.errors import BatchTooLarge, Invalid
from crm.services.exports import EVERYTHING, Exports
from tests.house import REQUEST, actor, house

ASKED = frozenset({"displayName", "pronouns", "languages", "contactPoints", "culturalNeeds.handling"})


async def test_a_registered_patient_reads_back(database_url: str, tmp_path: Path) -> None:
    """A profile holds what was asked for under the names of the catalogue, and nothing else."""
    async with house(database_url, tmp_path) as it:
        patient = await it.register()
        profile = await it.services.profiles.read(actor(Role.FRONT_DESK), REQUEST, patient["id"], ASKED)
        names = {"display_name", "pronouns", "languages", "contact_points", "cultural_need_handling"}
        assert profile.keys() == {"id", "version", *names}
        assert (profile["display_name"], profile["version"]) == ("Sam", 1)
        assert profile["cultural_need_handling"][0]["handling"] == "Offer a chaperone."
        events = await it.events(patient_id=patient["id"])
        assert [event["action"] for event in events] == ["read", "create"]
        assert events[0]["fields_returned"] == sorted(ASKED)


async def test_too_many_ids(database_url: str, tmp_path: Path) -> None:
    """The service holds to its own limit: nothing is read, and one event says so, not a thousand."""
    async with house(database_url, tmp_path) as it:
        patient = await it.register()
        with pytest.raises(BatchTooLarge):
            await it.services.profiles.read_many(actor(Role.FRONT_DESK), REQUEST, [patient["id"]] * 1001, ASKED)
        [leaf] = await it.leaves(outcome="denied")
        assert (leaf["why"], "pat" in leaf) == ("BATCH_TOO_LARGE", False)


async def test_exports_are_recorded_for_every_patient(database_url: str, tmp_path: Path) -> None:
    """Each patient who leaves the house has an event with all fields; who may not export leaves one too."""
    async with house(database_url, tmp_path) as it:
        ids = sorted([(await it.register())["id"] for _ in range(3)])
        exports = Exports(it.services.store, actor(Role.INTEGRATION), REQUEST)
        chunks = [[profile["id"] for profile in chunk] async for chunk in exports.patients(chunk=2)]
        assert chunks == [ids[:2], ids[2:]]
        leaves = await it.leaves(act="export")
        assert len({leaf["pat"] for leaf in leaves}) == 3
        assert all(frozenset(leaf["fld"]) == EVERYTHING for leaf in leaves)
        with pytest.raises(Forbidden):
            await Exports(it.services.store, actor(Role.CLINICIAN), REQUEST).patient(ids[0])
        assert [leaf["why"] for leaf in await it.leaves(act="export", outcome="denied")] == ["FORBIDDEN"]


async def test_no_purpose_no_data(database_url: str, tmp_path: Path) -> None:
    """Without a purpose of use nothing is decided but that."""
    async with house(database_url, tmp_path) as it:
        patient = await it.register()
        idle = replace(actor(Role.CLINICIAN), purpose=None)
        with pytest.raises(PurposeRequired):
            await it.services.profiles.read(idle, REQUEST, patient["id"], ASKED)
        with pytest.raises(ForbiddenField):
            await it.services.profiles.read(actor(Role.MESSAGING), REQUEST, patient["id"], ASKED)
        assert [leaf["why"] for leaf in await it.leaves(outcome="denied")] == ["PURPOSE_REQUIRED", "FORBIDDEN_FIELD"]


async def test_a_field_without_a_form_cannot_be_submitted(database_url: str, tmp_path: Path) -> None:
    """Computed and clear fields are not written by naming them."""
    async with house(database_url, tmp_path) as it:
        for name in ("display_name", "restricted", "provenance", "no_such_field"):
            with pytest.raises(Invalid) as refused:
                await it.services.changes.register(actor(Role.INTEGRATION), REQUEST, {name: "x"}, frozenset())
            assert refused.value.rule == "unknown_field"
