"""What the log says of the circumstances of a look: planted needles for each flag, and nothing of what was compared."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from auth.actor import Actor
from auth.errors import Forbidden, PurposeNotPermitted
from auth.purposes import Purpose
from auth.roles import Role
from crm.catalogue import KeyClass
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.domain.circumstances import Watch, office_hours
from crm.domain.erasure import ErasureReason
from crm.errors import NotFound
from crm.services.exports import Exports
from crm.services.request import Request
from tests.house import REQUEST, House, actor, house
from tests.intruder import Intruder
from tests.keys import ENV, partial_ring
from tests.planted import MARK, found_in

ASKED = frozenset({"languages"})
"""Of another class than most of what is compared."""

HOME = {"postal_code": "LS1 1AA", "lines": [f"17 {MARK} Street"]}
NEEDLES: dict[str, tuple[dict[str, Any], Role, dict[str, Any]]] = {
    "same_surname": ({"names": [{"family": MARK}]}, Role.FRONT_DESK, {"family_name": MARK.upper()}),
    "same_address": (
        {"addresses": [HOME]}, Role.FRONT_DESK, {"postal_code": "ls11aa", "street_address": HOME["lines"][0]},
    ),
    "vip": ({"sensitivity": ["CELEBRITY"]}, Role.COMPLIANCE_OFFICER, {}),
    "coworker": ({"sensitivity": ["EMPLOYEE"]}, Role.PRIVACY_OFFICER, {}),
    "no_relationship": ({"care_team": ["nurse-1"]}, Role.CARE_COORDINATOR, {}),
    "minor": ({"birth_date": str(datetime.now(UTC).year - 3)}, Role.CLINICIAN, {}),
    "deceased": ({"deceased": True}, Role.FRONT_DESK, {}),
}  # fmt: skip
"""For each flag: the record, and who looks at it."""

STRANGER = {"family_name": "Zzz", "postal_code": "X", "street_address": "Y", "own_record": "else", "subject": "nurse-1"}


@pytest_asyncio.fixture
async def it(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A house that sees many in more than three patients."""
    async with house(database_url, tmp_path, watch=Watch(bulk=3)) as opened:
        yield opened


def person(role: Role, **facts: Any) -> Actor:
    """A member of staff of whom the token says these things."""
    return replace(actor(role), **facts)


def _instead(keys: KeySet, _: KeySet) -> KeySet:
    return keys


async def look(it: House, who: Actor, patient_id: str, asked: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The leaf of one look at one record."""
    await it.services.profiles.read(who, Request("look", "Look"), patient_id, asked)
    return (await it.leaves(request="look"))[-1]


@pytest.mark.parametrize("flag", NEEDLES)
async def test_each_needle_is_flagged(it: House, flag: str) -> None:
    """Whatever of the record is asked, the flag is there, and no other; a stranger's look at it is not flagged so."""
    values, role, facts = NEEDLES[flag]
    patient_id = await it.store(values)
    other = await it.store({"preferred_name": "Sam"})
    for asked in (frozenset[str](), frozenset({"recordedAt"})):
        leaf = await look(it, person(role, **facts), patient_id, asked)
        assert leaf["flg"] == [flag]
        assert leaf.get("fld", []) == sorted(asked)  # what was opened for the flags was not answered
    if facts or flag == "no_relationship":
        assert "flg" not in await look(it, person(role, **STRANGER), patient_id)
    assert "flg" not in await look(it, person(role, **facts), other)


@pytest.mark.parametrize("role", [Role.FRONT_DESK, Role.CLINICIAN, Role.PRIVACY_OFFICER])
async def test_the_own_record(it: House, role: Role) -> None:
    """Who looks at the record that their token names as their own is flagged, and is bound to nothing by it."""
    mine, other = await it.store({"preferred_name": "Me"}), await it.store({"preferred_name": "Sam"})
    who = person(role, own_record=mine)
    assert (await look(it, who, mine))["flg"] == ["self_access"]
    assert "flg" not in await look(it, who, other)


async def test_after_hours(database_url: str, tmp_path: Path) -> None:
    """Whatever people do outside the hours is flagged, also what found nothing or was refused; programs have none."""
    yesterday = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")[datetime.now(UTC).weekday() - 2]
    async with house(database_url, tmp_path, watch=Watch(office_hours(f"{yesterday} 00:00-00:01", "UTC"))) as it:
        patient_id = await it.store({"preferred_name": "Sam"})
        desk, read = actor(Role.FRONT_DESK), it.services.profiles.read
        assert (await look(it, desk, patient_id))["flg"] == ["after_hours"]
        await it.services.profiles.search(desk, REQUEST, {"phone": "+447700900999"}, 1, None, frozenset())
        with pytest.raises(NotFound):
            await read(desk, REQUEST, "nobody", frozenset())
        await read(actor(Role.MESSAGING), REQUEST, patient_id, frozenset())
        await read(actor(Role.PATIENT, patient_id=patient_id), REQUEST, patient_id, frozenset())
        leaves = (await it.leaves())[-4:]
        assert [leaf.get("flg") for leaf in leaves] == [["after_hours"], ["after_hours"], None, None]


async def test_many_patients_share_a_question(it: House) -> None:
    """Each patient of a batch has an event of their own; they share an id, and together they are many."""
    ids = [await it.store({"preferred_name": f"P{number}"}) for number in range(4)]
    read, desk = it.services.profiles.read_many, actor(Role.FRONT_DESK)
    for asked, flags in ((ids[:3], None), (ids, ["bulk"])):
        await read(desk, Request(f"ask-{len(asked)}", "Ask"), [*asked, "nobody"], ASKED)
        leaves = await it.leaves(request=f"ask-{len(asked)}")
        assert len(leaves) == len(asked) + 1
        assert len({leaf["qid"] for leaf in leaves}) == 1
        assert all(leaf.get("flg") == flags for leaf in leaves if leaf["out"] == "ok")
    await read(actor(Role.MESSAGING), Request("program", "Ask"), ids, ASKED)
    leaves = await it.leaves(request="program")
    assert len({leaf["qid"] for leaf in leaves}) == 1
    assert not any("flg" in leaf for leaf in leaves)


async def test_a_search_and_its_patients_share_a_question(it: House) -> None:
    """N patients on a page leave N + 1 events with one id; the next page is another question, a single look none."""
    number = {"contact_points": [{"system": "PHONE", "value": "+447700900555"}]}
    for _ in range(3):
        await it.store({**number, "sensitivity": ["CELEBRITY"]})
    desk, by = actor(Role.FRONT_DESK), {"phone": "+447700900555"}
    page = await it.services.profiles.search(desk, Request("one", "S"), by, 2, None, ASKED)
    await it.services.profiles.search(desk, Request("two", "S"), by, 2, page.cursors[-1], ASKED)
    one, two = await it.leaves(request="one"), await it.leaves(request="two")
    assert (len(one), len(two)) == (3, 2)
    assert len({leaf["qid"] for leaf in one}) == len({leaf["qid"] for leaf in two}) == 1
    assert one[0]["qid"] != two[0]["qid"]
    assert [leaf.get("flg") for leaf in one if "pat" in leaf] == [["vip"], ["vip"]]
    assert [leaf["cnt"] for leaf in one if "pat" not in leaf] == [2]
    assert "qid" not in await look(it, desk, page.nodes[0]["id"])


async def test_programs_and_patients_are_not_watched(it: House) -> None:
    """Their looks have no flags, whatever their tokens say of them, and nothing is opened to decide any."""
    values = {"sensitivity": ["CELEBRITY"], "birth_date": "2024", "deceased": True, "care_team": ["nurse-1"]}
    patient_id = await it.store(values)
    for role, bound in ((Role.MESSAGING, None), (Role.INTEGRATION, None), (Role.PATIENT, patient_id)):
        who = replace(actor(role, patient_id=bound), own_record=patient_id, family_name="Okafor")
        assert "flg" not in await look(it, who, patient_id)
    both = replace(actor(Role.INTEGRATION), roles=frozenset({Role.INTEGRATION, Role.CLINICIAN}))
    assert (await look(it, both, patient_id))["flg"] == ["deceased", "minor", "no_relationship", "vip"]


async def test_flags_do_not_follow_the_record(it: House) -> None:
    """The leaf keeps what held when it was written; who changes the reason away was flagged for the change."""
    sam = await it.store({"names": [{"family": "Okafor"}], "sensitivity": ["EMPLOYEE"]})
    clerk = person(Role.FRONT_DESK, family_name="Okafor")
    before = await look(it, clerk, sam)
    assert before["flg"] == ["coworker", "same_surname"]
    change = {"names": [{"family": "Adeyemi"}]}
    await it.services.changes.update(clerk, Request("change", "C"), sam, 1, change, frozenset())
    [changed] = await it.leaves(request="change")
    assert (changed["act"], changed["flg"]) == ("update", ["coworker", "same_surname"])
    again = await look(it, clerk, sam)
    assert again["flg"] == ["coworker"]
    assert before in await it.leaves(request="look")


async def test_a_new_record_and_an_export_are_looks(it: House) -> None:
    """Registering is flagged by what was entered, giving out by what is given."""
    clerk = person(Role.FRONT_DESK, family_name="Okafor")
    values = {"names": [{"family": "Okafor"}], "birth_date": str(datetime.now(UTC).year - 1)}
    sam = (await it.services.changes.register(clerk, Request("new", "R"), values, frozenset()))["id"]
    [created] = await it.leaves(request="new")
    assert (created["act"], created["flg"]) == ("create", ["minor", "same_surname"])
    await Exports(it.services.store, person(Role.PRIVACY_OFFICER, own_record=sam), Request("out", "E")).patient(sam)
    [given] = await it.leaves(request="out")
    assert (given["act"], given["flg"]) == ("export", ["minor", "self_access"])


async def test_holds_and_erasures_are_looks(it: House) -> None:
    """An officer who erases their own record is flagged; that it was a celebrity's is told only while it is there."""
    sam = await it.store({"sensitivity": ["CELEBRITY"]})
    officer = person(Role.PRIVACY_OFFICER, own_record=sam)
    await it.services.holds.of(officer, Request("holds", "H"), sam)
    await it.services.erasures.erase(officer, Request("gone", "E"), sam, 1, None, ErasureReason.PATIENT_REQUEST)
    for request, flags in (("holds", ["self_access", "vip"]), ("gone", ["self_access"])):
        [leaf] = [leaf for leaf in await it.leaves(request=request) if "pat" in leaf]
        assert leaf["flg"] == flags, request


async def test_a_refusal_opens_no_record(it: House) -> None:
    """What is refused says so of the own record, which takes no look inside, and of nothing else."""
    sam = await it.store({"sensitivity": ["CELEBRITY"], "birth_date": "2024"})
    other = await it.store({"sensitivity": ["CELEBRITY"]})
    who = replace(person(Role.FRONT_DESK, own_record=sam), purpose=Purpose.TREAT)
    with pytest.raises(PurposeNotPermitted):
        await it.services.profiles.read_many(who, Request("no", "N"), [sam, other, "nobody"], frozenset())
    leaves = await it.leaves(request="no")
    assert {leaf["out"] for leaf in leaves} == {"denied"}
    assert sorted(leaf.get("flg", []) for leaf in leaves) == [[], [], ["self_access"]]


async def test_what_cannot_be_opened_decides_nothing(it: House, database_url: str) -> None:
    """An erased class, and one that was damaged, leave the flags of the others, and fail no look at them."""
    values = {"preferred_name": "Sam", "sensitivity": ["EMPLOYEE"], "care_team": ["nurse-1"], "religion": "Quaker"}
    nurse = person(Role.CLINICIAN)
    for patient_id, damage in [(await it.store(values), way) for way in ("erase", "edit")]:
        assert (await look(it, nurse, patient_id, frozenset({"religion"})))["flg"] == ["coworker", "no_relationship"]
        if damage == "erase":
            officer, identity = actor(Role.PRIVACY_OFFICER), frozenset({KeyClass.IDENTITY})
            reason = ErasureReason.PATIENT_REQUEST
            await it.services.erasures.erase(officer, REQUEST, patient_id, 1, identity, reason)
        else:
            await Intruder(database_url).write(patient_id, "identity", seal=bytes(64))
        leaf = await look(it, nurse, patient_id, frozenset({"religion"}))
        assert (leaf["out"], leaf["fld"], leaf["flg"]) == ("ok", ["religion"], ["no_relationship"])


async def test_a_process_without_the_class_decides_what_it_can(database_url: str, tmp_path: Path) -> None:
    """A replica that was not given the identity class answers what it may, and flags what it knows."""
    (tmp_path / "apart").mkdir()
    ring = KeyRing.create(tmp_path / "apart/keyring.json")
    rows = KeySet.bootstrap(ring, ENV)
    whole = KeySet.load(ring, ENV, rows)
    part = KeySet.load(partial_ring(tmp_path / "apart/keyring.json", "preference", "log"), ENV, rows)
    values = {"sensitivity": ["EMPLOYEE"], "care_team": ["nurse-1"], "languages": [{"tag": "so"}]}
    sam = ""
    for keys, flags in ((whole, ["coworker", "no_relationship"]), (part, ["no_relationship"])):
        (tmp_path / str(len(flags))).mkdir()
        async with house(database_url, tmp_path / str(len(flags)), keys=partial(_instead, keys)) as it:
            sam = sam or await it.store(values)
            leaf = await look(it, person(Role.CLINICIAN), sam, ASKED)
            assert (leaf["fld"], leaf["flg"]) == (["languages"], flags)


async def test_nothing_of_the_facts_is_written_down(
    it: House, database_url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the caller's name and home nor the patient's are in a leaf, a line of the log, an error or a repr."""
    caplog.set_level(0)
    sam = await it.store({"names": [{"family": MARK}], "addresses": [HOME]})
    who = person(Role.CLINICIAN, family_name=MARK, postal_code="LS1 1AA", street_address=HOME["lines"][0])
    assert (await look(it, who, sam))["flg"] == ["same_address", "same_surname"]
    with pytest.raises(NotFound):
        await it.services.profiles.read(who, REQUEST, MARK.lower(), frozenset())
    leaves = orjson.dumps(await it.leaves())
    said = capfd.readouterr()
    for heap in (leaves, caplog.text, said.out, said.err, repr(who), repr(REQUEST.context(who))):
        assert found_in(heap) == []
        assert "LS1 1AA" not in (heap if isinstance(heap, str) else heap.decode())
    assert found_in(repr(who.family_name))  # the control


async def test_officers_ask_for_flags(it: House) -> None:
    """The flags are what officers of the own organisation see, and nobody else."""
    sam = await it.store({"sensitivity": ["CELEBRITY"]})
    await look(it, actor(Role.FRONT_DESK), sam)
    assert [event["flags"] for event in await it.events(request_id="look")] == [["vip"]]
    with pytest.raises(Forbidden):
        await it.services.access_log.events(actor(Role.FRONT_DESK), REQUEST, {}, 10, None)
    assert await it.events(org="south-clinic") == []
