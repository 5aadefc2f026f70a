"""Somebody who writes grants and reviews into the database: what still opens nothing, and what verification finds."""

from typing import Any
from uuid import uuid4

import pytest

from auth.roles import Role
from crm.audit.damage import LogFault
from crm.domain.break_glass import UNREVIEWED
from crm.services.log_verification import verify_log
from tests.breaking import REQUEST, looked, queue, request, restricted, review
from tests.house import ORG
from tests.intruder import Intruder
from tests.logs import verifier_key
from tests.scene import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR = 3_600_000_000
COLUMNS = (
    "org", "id", "subject", "issuer", "actor", "role", "reason", "requested_at", "expires_at", "reviewer_issuer",
    "reviewer", "reviewed_at", "verdict",
)  # fmt: skip
Row = dict[str, Any]


async def faults(scene: Scene) -> dict[LogFault, int]:
    """What `audit verify` counts."""
    database = scene.it.house.services.store.database
    found = await verify_log(database, ORG, "heed.test", verifier_key, (), {}, lambda _done, _of: None)
    return dict(found.damages.counts)


async def stored(intruder: Intruder, name: str) -> Row:
    """The row of a grant."""
    [row] = await intruder.run(f"SELECT {', '.join(COLUMNS)} FROM break_glass WHERE id = ?", name)
    return dict(zip(COLUMNS, row, strict=True))


async def write(intruder: Intruder, row: Row) -> None:
    """A row in place of the one with its id, if there is one."""
    await intruder.run("DELETE FROM break_glass WHERE id = ?", row["id"])
    places = ", ".join("?" for _ in COLUMNS)
    await intruder.run(f"INSERT INTO break_glass ({', '.join(COLUMNS)}) VALUES ({places})", *row.values())


async def opens(scene: Scene, patient: str, **who: Any) -> bool:
    """Whether a look under break-glass is answered."""
    answer, _ = await looked(scene.it, patient, **who)
    return "errors" not in answer.json()


CHANGES: dict[str, tuple[Row, LogFault]] = {
    "subject": ({"subject": "b" * 32}, LogFault.GRANT_WRONG),
    "issuer": ({"issuer": "https://other.example"}, LogFault.GRANT_WRONG),
    "actor": ({"actor": "mole"}, LogFault.GRANT_WRONG),
    "role": ({"role": "front_desk"}, LogFault.GRANT_WRONG),
    "reason": ({"reason": "PERSON_AGREES"}, LogFault.GRANT_WRONG),
    "verdict": ({"verdict": "JUSTIFIED"}, LogFault.REVIEW_WRONG),
    "review": ({"reviewed_at": 1, "verdict": "JUSTIFIED", "reviewer": "officer"}, LogFault.REVIEW_WRONG),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_changed_row_is_found(scene: Scene, name: str) -> None:
    """Each column of a grant is held against its event; a review that no officer made is none."""
    changes, fault = CHANGES[name]
    grant = await request(scene.it, await restricted(scene.it), subject=f"changed-{name}")
    honest = await stored(scene.intruder, grant["id"])
    await write(scene.intruder, {**honest, **changes})
    assert await faults(scene) == {fault: 1}
    await write(scene.intruder, honest)
    assert await faults(scene) == {}


async def test_a_longer_grant(scene: Scene) -> None:
    """An end moved too far opens nothing; one moved within the longest grant is found, and so is the late look."""
    served, patient = scene.it, await restricted(scene.it)
    grant = await request(served, patient, minutes=1)
    honest = await stored(scene.intruder, grant["id"])
    asked = honest["requested_at"]
    for forged in (
        {"expires_at": asked + 8 * HOUR + 1},
        {"expires_at": 2**60},
        {"requested_at": asked + HOUR, "expires_at": asked + 2 * HOUR},
    ):
        await write(scene.intruder, {**honest, **forged})
        assert not await opens(scene, patient), forged
        assert await faults(scene) == {LogFault.GRANT_WRONG: 1}
    await write(scene.intruder, {**honest, "expires_at": asked + 8 * HOUR})
    assert await opens(scene, patient)
    assert await faults(scene) == {LogFault.GRANT_WRONG: 1}
    await write(scene.intruder, honest)
    assert await faults(scene) == {}


async def test_a_grant_that_nobody_gave(scene: Scene) -> None:
    """Reviewed in the same stroke, it never waits for anybody; the row alone is found, and the look under it too."""
    served, patient = scene.it, await restricted(scene.it)
    grant = await request(served, patient)
    honest = await stored(scene.intruder, grant["id"])
    said = {"reviewed_at": honest["requested_at"], "verdict": "JUSTIFIED", "reviewer": "officer"}
    forged = {**honest, "id": str(uuid4()), "actor": "mole", **said}
    await write(scene.intruder, forged)
    assert await faults(scene) == {LogFault.GRANT_WRONG: 1, LogFault.REVIEW_WRONG: 1}
    assert await opens(scene, patient, subject="mole")
    await scene.intruder.run("DELETE FROM break_glass WHERE id = ?", forged["id"])
    found = await faults(scene)
    assert found == {LogFault.GRANT_UNKNOWN: 1}
    answer, leaves = await looked(served, patient, subject="mole")
    assert (answer.json()["data"]["patient"], leaves[0]["out"]) == (None, "denied")


async def test_what_was_taken_away(scene: Scene) -> None:
    """The row of a grant, its verdict, or the words that justify it: each is missed by verification."""
    served, patient = scene.it, await restricted(scene.it)
    before = await faults(scene)
    grant = await request(served, patient, subject="taken")
    await review(served, grant["id"], "UNJUSTIFIED", "Nobody asked for this.")
    assert await faults(scene) == before
    honest = await stored(scene.intruder, grant["id"])

    async def more() -> set[LogFault]:
        return {fault for fault, count in (await faults(scene)).items() if count > before.get(fault, 0)}

    await write(scene.intruder, {**honest, "verdict": None, "reviewed_at": None, "reviewer": None})
    assert await opens(scene, patient, subject="taken")
    assert await more() == {LogFault.REVIEW_WRONG}
    await write(scene.intruder, {**honest, "verdict": "JUSTIFIED"})
    assert await more() == {LogFault.REVIEW_WRONG}
    await scene.intruder.run("DELETE FROM break_glass WHERE id = ?", grant["id"])
    assert await more() == {LogFault.GRANT_WRONG, LogFault.REVIEW_WRONG}
    await write(scene.intruder, honest)
    for kind in ("breakglass", "review"):
        words = "FROM audit_detail WHERE id = ? AND kind = ?"
        [(octets,)] = await scene.intruder.run(f"SELECT octets {words}", grant["id"], kind)
        await scene.intruder.run(f"DELETE {words}", grant["id"], kind)
        assert await more() == {LogFault.DETAIL_MISSING}
        await scene.intruder.run("INSERT INTO audit_detail VALUES (?, ?, ?, ?)", ORG, grant["id"], kind, octets)
    assert await faults(scene) == before


async def test_twenty_wait_at_most(scene: Scene) -> None:
    """The next request of one person is refused and recorded, until one is reviewed or a day old; others may ask."""
    served, patient = scene.it, await restricted(scene.it)
    grants = [await request(served, await restricted(served), subject="spammer") for _ in range(UNREVIEWED)]
    before = await queue(served)
    codes, leaf = await _refused(scene, patient)
    assert codes["code"] == "RATE_LIMITED"
    assert 86_300 < codes["retryAfter"] <= 86_400
    assert (leaf["act"], leaf["out"], leaf["why"], "pat" in leaf) == ("breakglass", "denied", "RATE_LIMITED", True)
    assert await queue(served) == before
    assert not await opens(scene, patient, subject="spammer")
    known = await request(served, grants[0]["patientId"], subject="spammer")
    assert known["id"] == grants[0]["id"]  # what there is goes on being answered
    await request(served, patient, subject="somebody-else")
    await review(served, grants[0]["id"])
    await request(served, patient, subject="spammer")
    codes, _ = await _refused(scene, await restricted(served))
    assert codes["code"] == "RATE_LIMITED"
    moved = "UPDATE break_glass SET requested_at = requested_at - ? WHERE id = ?"
    await scene.intruder.run(moved, 24 * HOUR, grants[1]["id"])
    await request(served, await restricted(served), subject="spammer")


async def _refused(scene: Scene, patient: str) -> tuple[Row, Row]:
    """The extensions of a refused request of the spammer's, and its leaf."""
    given = {"patientId": patient, "reason": "PUBLIC_SAFETY", "text": "And another one of these."}
    answer, [leaf] = await scene.it.watched(REQUEST, Role.CLINICIAN, variables={"i": given}, subject="spammer")
    [error] = answer.json()["errors"]
    return error["extensions"], leaf
