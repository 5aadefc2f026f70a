"""Merging and undoing it while others write under both ids: nothing acknowledged is lost, and nobody waits for ever."""

import asyncio
from pathlib import Path
from typing import Any

from auth.purposes import Purpose
from auth.roles import Role
from crm.domain.superseding import MergeReason, UnmergeReason
from crm.errors import Invalid, VersionConflict
from crm.services.merging import Which
from tests.clinic import Clinic, opened
from tests.house import ORG, REQUEST, House, actor

CLERK = actor(Role.INTEGRATION, purpose=Purpose.RECORDMGT)
TEAM = frozenset({"careTeam"})
ROUNDS = 6
MERGES = 2


async def read(it: House, patient_id: str) -> dict[str, Any]:
    """The care team under an id, and whose it is."""
    return await it.services.profiles.read(CLERK, REQUEST, patient_id, TEAM)


async def enter(it: House, patient_id: str, name: str) -> None:
    """Adds somebody to the care team under an id, however often others were faster."""
    while True:
        seen = await read(it, patient_id)
        team = {"care_team": [*(seen.get("care_team") or ()), name]}
        try:
            await it.services.changes.update(CLERK, REQUEST, patient_id, seen["version"], team, TEAM)
        except VersionConflict:
            continue
        return


async def write(it: House, ids: list[str], name: str) -> list[str]:
    """What was acknowledged: an entry for each round, under the ids in turn."""
    entered = []
    for turn in range(ROUNDS):
        await enter(it, ids[turn % 2], f"{name}-{turn}")
        entered.append(f"{name}-{turn}")
    return entered


async def join_and_part(it: House, survivor: str, duplicate: str) -> None:
    """Merges these two and parts them, twice, however often others were faster."""
    merging, nothing = it.services.merging, frozenset[str]()
    done = 0
    while done < MERGES:
        one, other = await read(it, survivor), await read(it, duplicate)
        which = Which(survivor, one["version"], duplicate, other["version"])
        try:
            await merging.merge(CLERK, REQUEST, which, MergeReason.REVIEWED, nothing)
        except (VersionConflict, Invalid):  # somebody wrote, or the other clerk has merged them
            await asyncio.sleep(0.005)
            continue
        while True:
            which = Which(survivor, (await read(it, survivor))["version"], duplicate)
            try:
                await merging.unmerge(CLERK, REQUEST, which, UnmergeReason.TWO_PEOPLE, nothing)
            except VersionConflict:
                continue
            break
        done += 1


async def test_writers_and_mergers_at_once(database_url: str, tmp_path: Path) -> None:
    """Two clerks merge the same two records in opposite directions and part them, while others write under both ids."""
    async with opened(database_url, tmp_path) as (it, intruder):
        ids = [(await it.register({"preferred_name": name}))["id"] for name in ("Ada", "Adele")]
        async with asyncio.timeout(60):
            writers = asyncio.gather(*(write(it, ids if n % 2 else ids[::-1], f"w{n}") for n in range(4)))
            await asyncio.gather(join_and_part(it, ids[0], ids[1]), join_and_part(it, ids[1], ids[0]))
            written = await writers
        known = {name for patient_id in ids for name in (await read(it, patient_id)).get("care_team") or ()}
        assert {name for entered in written for name in entered} <= known
        assert (await Clinic(it, intruder, ORG).verified()).findings == []
