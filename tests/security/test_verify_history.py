"""What `keys verify` finds in histories: each flaw, planted by somebody with the database's password, and no other."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import KeyClass
from crm.domain.erasure import ErasureReason
from crm.domain.superseding import MergeReason, UnmergeReason
from crm.services.merging import Which
from crm.store import resealing
from tests.clinic import Clinic, Found, opened
from tests.conftest import Databases
from tests.house import REQUEST, House, actor, now
from tests.intruder import Intruder

pytestmark = pytest.mark.asyncio(loop_scope="module")

_V = "patient_version"
_S = "sealed_version"

PLANTS: dict[str, tuple[str, Found]] = {
    "a version gone": (f"DELETE FROM {_V} WHERE version = 2 AND patient_id = ?", {("version_missing", _V)}),
    "all versions gone": (f"DELETE FROM {_V} WHERE patient_id = ?", {("version_missing", _V)}),
    "an unreadable version": (
        f"UPDATE {_V} SET changed = 'nonsense' WHERE version = 2 AND patient_id = ?", {("version_missing", _V)},
    ),
    "the first versions gone": (f"DELETE FROM {_V} WHERE version < 3 AND patient_id = ?", {("version_missing", _V)}),
    "one version too many": (
        f"""INSERT INTO {_V} (org, patient_id, version, at, status, restricted, classes, changed)
        SELECT org, patient_id, 9, at, status, restricted, classes, changed
        FROM {_V} WHERE version = 5 AND patient_id = ?""",
        {("version_surplus", _V)},
    ),
    "another time": (
        f"UPDATE {_V} SET at = at - 86400000000 WHERE version = 1 AND patient_id = ?", {("version_changed", _V)},
    ),
    "a time that goes back": (
        f"UPDATE {_V} SET at = at + 60000000 WHERE version = 2 AND patient_id = ?", {("version_changed", _V)},
    ),
    "another author": (
        f"UPDATE {_V} SET subject = 'somebody else' WHERE version = 2 AND patient_id = ?", {("version_changed", _V)},
    ),
    "another field": (
        f"""UPDATE {_V} SET changed = '["instructions"]' WHERE version = 2 AND patient_id = ?""",
        {("version_changed", _V)},
    ),
    "a former row gone": (
        f"DELETE FROM {_S} WHERE version = 1 AND key_class = 'preference' AND patient_id = ?",
        {("version_row_missing", _S)},
    ),
    "a former row too many": (
        f"""INSERT INTO {_S} (org, patient_id, key_class, version, dek_no, provenance)
        SELECT org, patient_id, 'contact', 4, 1, '{{}}' FROM {_V} WHERE version = 4 AND patient_id = ?""",
        {("version_surplus", _S), ("box_broken", _S)},
    ),
    "a row of no class": (
        f"""INSERT INTO {_S} (org, patient_id, key_class, version, dek_no, provenance)
        SELECT org, patient_id, 'nonsense', 4, 1, '{{}}' FROM {_V} WHERE version = 4 AND patient_id = ?""",
        {("version_surplus", _S)},
    ),
    "another provenance": (
        f"UPDATE {_S} SET provenance = '{{}}' WHERE version = 1 AND key_class = 'preference' AND patient_id = ?",
        {("seal_broken", _S)},
    ),
    "a box that was cut": (
        f"""UPDATE {_S} SET cells = substr(cells, 1, 20)
        WHERE version = 1 AND key_class = 'preference' AND patient_id = ?""",
        {("box_broken", _S)},
    ),
    "another clear row": (
        f"UPDATE {_V} SET restricted = 1 WHERE version = 1 AND patient_id = ?",
        {("seal_broken", _S), ("version_row_missing", _S)},
    ),
    "something of what was erased": (
        f"UPDATE {_S} SET seal = cast('x' AS bytea) WHERE key_class = 'sensitive' AND patient_id = ?",
        {("erased_remains", _S)},
    ),
    "a key that nobody has": (
        f"UPDATE {_S} SET dek_no = 7 WHERE version = 1 AND key_class = 'preference' AND patient_id = ?",
        {("key_missing", _S)},
    ),
}  # fmt: skip
"""What somebody does to a history with SQL, and what is found."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[House, Intruder]]:
    """One service for the module, on each engine in turn."""
    url = databases.create(shared_engine)
    async with opened(url, tmp_path_factory.mktemp("verified")) as both:
        yield both
    databases.drop(url)


@pytest.fixture
def clinic(place: tuple[House, Intruder]) -> Clinic:
    """An organisation of its own for each test."""
    return Clinic(*place, f"clinic-{uuid4().hex[:8]}")


async def with_a_past(clinic: Clinic) -> str:
    """Somebody with five versions: entered, changed, a class of theirs erased and filled again, and changed again."""
    one = await clinic.person()
    await clinic.change(one, 1, time_zone="UTC", instructions="Knock.")
    await clinic.erase(one, KeyClass.SENSITIVE)
    await clinic.change(one, 3, pronouns="ze/zir")
    await clinic.change(one, 4, time_zone="Asia/Tokyo")
    return one


@pytest.mark.parametrize("name", PLANTS)
async def test_each_flaw_is_found(clinic: Clinic, name: str) -> None:
    """One plant in one history: these findings, of this patient, and a second patient gives none."""
    plant, expected = PLANTS[name]
    await with_a_past(clinic)
    one = await with_a_past(clinic)
    assert await clinic.found(one) == set()
    await clinic.run(plant if "postgres" in str(clinic.intruder.__dict__) else plant.replace("bytea", "blob"), one)
    assert await clinic.found(one) == expected


async def test_what_is_left_of_an_erased_patient_is_found(clinic: Clinic) -> None:
    """Versions and rows that come back, as from a copy, after the patient was erased."""
    one = await with_a_past(clinic)
    copy = await clinic.copy(one, (_V, _S))
    await clinic.erase(one)
    assert await clinic.found(one) == set()
    erased = await clinic.copy(one, (_V, _S))
    await clinic.put_back(one, {_V: [*erased[_V], *copy[_V]]})
    assert await clinic.found(one) == {("erased_remains", _V)}
    await clinic.put_back(one, {_S: copy[_S]})
    assert await clinic.found(one) == {("erased_remains", _S)}


async def test_new_data_keys_give_no_finding(clinic: Clinic) -> None:
    """Former rows are found sound under a new key, and those that were erased as erased."""
    one = await with_a_past(clinic)
    at, keys = now() + 1, clinic.it.services.store.keys
    assert await resealing.reseal(clinic.it.database, keys, clinic.org, one, at, at) == (len(KeyClass), 0)
    assert await clinic.found(one) == set()


async def test_a_record_from_before_history_gives_no_finding(clinic: Clinic) -> None:
    """What a revision leaves of a record that was there already: one version that nobody describes."""
    one = await with_a_past(clinic)
    await clinic.run(f"DELETE FROM {_V} WHERE version < 5 AND patient_id = ?", one)
    await clinic.run(f"DELETE FROM {_S} WHERE patient_id = ?", one)
    nobody = "act = NULL, issuer = NULL, subject = NULL, roles = NULL, channel = NULL, changed = '[]'"
    await clinic.run(f"UPDATE {_V} SET {nobody} WHERE patient_id = ?", one)
    assert await clinic.found(one) == set()
    await clinic.change(one, 5, instructions="Ring.")
    assert await clinic.found(one) == set()


async def test_a_class_erased_before_history_gives_no_finding(clinic: Clinic) -> None:
    """It is no row that is missing where a later change of the clear row seals all others anew."""
    one = await clinic.person()
    await clinic.erase(one, KeyClass.SENSITIVE)
    await clinic.run(f"DELETE FROM {_V} WHERE version < 2 AND patient_id = ?", one)
    await clinic.run(f"UPDATE {_V} SET act = NULL, changed = '[]' WHERE patient_id = ?", one)
    for restricted in (True, False):
        await restrict(clinic, one, restricted)
        assert await clinic.found(one) == set()
    await clinic.change(one, 4, pronouns="ze/zir")
    await clinic.erase(one, KeyClass.CONTACT)
    assert await clinic.found(one) == set()


async def restrict(clinic: Clinic, one: str, restricted: bool) -> None:
    """Sets the flag itself, as no mutation does."""
    context = REQUEST.context(actor(Role.INTEGRATION, org=clinic.org))
    async with clinic.it.services.store.writing(context, Act.UPDATE) as unit:
        unit.change((await unit.load_for_change([one]))[one], {"restricted": restricted}, "test")


async def test_a_merge_that_was_undone_gives_no_finding(clinic: Clinic) -> None:
    """Versions of merges seal what they change, as others do: at each stage both records are in order."""
    one, other = await with_a_past(clinic), (await clinic.it.register({"preferred_name": "Zo"}, org=clinic.org))["id"]
    officer, nothing = actor(Role.PRIVACY_OFFICER, org=clinic.org), frozenset[str]()
    merging = clinic.it.services.merging
    merged = await merging.merge(officer, REQUEST, Which(one, 5, other, 1), MergeReason.REVIEWED, nothing)
    assert (await clinic.verified()).findings == []
    version = int(merged["version"])
    await merging.unmerge(officer, REQUEST, Which(one, version, other, 2), UnmergeReason.TWO_PEOPLE, nothing)
    assert (await clinic.verified()).findings == []


async def test_what_an_erasure_emptied_after_an_unmerge_gives_no_finding(clinic: Clinic) -> None:
    """The ledger tells which former rows were emptied, also after a rotation; any other, or one put back, is found."""
    one, other = await with_a_past(clinic), (await clinic.it.register({"preferred_name": "Zo"}, org=clinic.org))["id"]
    officer, nothing = actor(Role.PRIVACY_OFFICER, org=clinic.org), frozenset[str]()
    merging = clinic.it.services.merging
    merged = await merging.merge(officer, REQUEST, Which(one, 5, other, 1), MergeReason.REVIEWED, nothing)
    joined = int(merged["version"])
    await merging.unmerge(officer, REQUEST, Which(one, joined, other, 2), UnmergeReason.TWO_PEOPLE, nothing)
    whole = f"SELECT key_class, cells, seal, provenance FROM {_S} WHERE version = {joined} AND patient_id = ?"
    before = await clinic.run(whole, one)
    erase, reason = clinic.it.services.erasures.erase, ErasureReason.PATIENT_REQUEST
    receipt = await erase(officer, REQUEST, other, None, None, reason, any_version=True)
    assert (receipt.former, "held of it before a merge was undone: 1" in receipt.note) == (1, True)
    assert all(tuple(row)[1:] == (None, None, "{}") for row in await clinic.run(whole, one))
    assert before
    assert (await clinic.verified()).findings == []
    back = f"UPDATE {_S} SET cells = ?, seal = ?, provenance = ? WHERE version = {joined} AND patient_id = ?"
    key_class, *cells = tuple(before[0])
    await clinic.run(f"{back} AND key_class = ?", *cells, one, key_class)
    assert ("erased_remains", _S) in await clinic.found(one)
    await clinic.run(f"{back} AND key_class = ?", None, None, "{}", one, key_class)
    at, keys = now() + 1, clinic.it.services.store.keys
    assert (await resealing.reseal(clinic.it.database, keys, clinic.org, one, at, at))[1] == 0
    assert await clinic.found(one) == set()
    await clinic.run(f"UPDATE {_S} SET cells = NULL, seal = NULL, provenance = '{{}}' WHERE version = 2")
    assert await clinic.found(one) != set()


async def test_a_version_gone_before_a_merge_is_found(clinic: Clinic) -> None:
    """A merge goes on above the versions of both, so numbers alone do not tell what is gone before it: the log does."""
    one, other = await clinic.person(), await with_a_past(clinic)
    await clinic.change(one, 1, instructions="Knock.")
    officer, nothing = actor(Role.PRIVACY_OFFICER, org=clinic.org), frozenset[str]()
    which = Which(one, 2, other, 5)
    merged = await clinic.it.services.merging.merge(officer, REQUEST, which, MergeReason.REVIEWED, nothing)
    assert merged["version"] == 6
    assert (await clinic.verified()).findings == []
    await clinic.run(f"DELETE FROM {_V} WHERE version = 2 AND patient_id = ?", one)
    await clinic.run(f"DELETE FROM {_S} WHERE version = 2 AND patient_id = ?", one)
    assert ("version_missing", _V) in await clinic.found(one)
