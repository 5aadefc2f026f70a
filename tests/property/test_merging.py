"""Merging people at random: the same comes of the same, nothing forbidden becomes permitted, and it can be undone."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from auth.vocabulary import Group
from crm.catalogue import BY_NAME, FIELDS
from crm.domain import values
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.consent_history import appended
from crm.domain.decision import consent, record
from crm.domain.decision.verdict import Reason
from crm.domain.merging import RULED, Merged, Side, merge
from crm.domain.precedence import Note, SourceRules, Voice
from crm.domain.times import instant, micros
from crm.domain.unmerging import unmerge
from crm.errors import Invalid

NOW = micros("2026-11-01")
DAY = 86_400_000_000
NUMBERS = [f"+4477009005{number:02}" for number in range(4)]
CHANNELS = [Channel.SMS, Channel.VOICE]
PURPOSES = [CommunicationPurpose.APPOINTMENT_REMINDER, CommunicationPurpose.EMERGENCY, CommunicationPurpose.MARKETING]
DIRECTIVES = frozenset({"consents", "restrictions", "restricted", "suspensions"})


def parsed(name: str, value: Any) -> Any:
    """The value as the catalogue's type has it."""
    return values.parse(BY_NAME[name].kind, value, name, lenient=True)


SINGLE: dict[str, list[Any]] = {
    "preferred_name": ["Ada", "Zoe"], "birth_date": ["1971", "1971-02-03"], "time_zone": ["Europe/London"],
    "interpreter_needed": ["YES", "NO", "UNKNOWN"], "deceased": [True, False], "deceased_at": ["2026-01-01"],
    "active": [True, False], "religion": ["Quaker", "Quietist"], "religion_code": ["1020"],
}  # fmt: skip


def lists(side: str) -> dict[str, list[Any]]:
    """Entries of each list, some alike on both sides, with ids of their own on each."""
    return {
        "names": [{"family": "Nwosu", "given": [given]} for given in ("Ada", "Adele")],
        "identifiers": [{"system": "urn:a", "value": "1"}, {"system": "urn:a", "value": "2"}, {"value": "3"}],
        "languages": [{"tag": "en"}, {"tag": "ig", "modes": ["SPOKEN"], "rank": 1}, {"tag": "bfi", "rank": 2}],
        "accessible_formats": ["LARGE_PRINT", "BRAILLE"],
        "sensitivity": ["EMPLOYEE", "CELEBRITY"],
        "care_team": ["nurse-1", "nurse-2"],
        "source_records": [{"source": "pas", "id": side}, {"source": "lab", "id": "9"}],
        "channel_preferences": [{"purpose": each, "channels": ["SMS"]} for each in ("BILLING", "SURVEY")],
        "contact_windows": [
            {"days": ["MON"], "from": "09:00", "to": "12:00", "time_zone": "Europe/London"},
            {"days": ["TUE"], "from": "09:00", "to": "12:00", "time_zone": "Europe/London", "quiet": True},
        ],
        "access_needs": [{"id": f"{side}-n1", "kind": "HEARING_LOOP"}, {"id": f"{side}-n2", "kind": "BSL_USER"}],
        "cultural_need_handling": [{"id": f"{side}-h", "handling": "Ask before serving."}],
        "related_persons": [
            {"id": f"{side}-r", "name": "Kai", "relationship": "SIBLING",
             "contact_points": [{"id": f"{side}-rp", "system": "PHONE", "value": NUMBERS[0]}]}
        ],
        "restrictions": [
            {"id": f"{side}-x", "kind": "CONTACT", "basis": "OBJECTION", "channels": ["SMS"], "placed_by": "o",
             "placed_at": "2026-02-01T00:00:00Z"},
        ],
        "suspensions": [
            {"id": f"{side}-s", "kind": "UNCLEAR", "message_id": "m", "gateway": "g", "channel": "SMS", "text": "Hm.",
             "received_at": "2026-02-01T00:00:00Z"},
        ],
    }  # fmt: skip


def person(side: str, by: Random) -> dict[str, Any]:
    """Canonical values of somebody, with an absent value here and there."""
    found: dict[str, Any] = {name: by.choice(values) for name, values in SINGLE.items() if by.random() < 0.6}
    for name, entries in lists(side).items():
        if chosen := by.sample(entries, by.randint(0, len(entries))):
            found[name] = parsed(name, chosen)
    if "cultural_need_handling" in found and by.random() < 0.5:
        found["cultural_need_detail"] = parsed("cultural_need_detail", [{"id": f"{side}-h", "kind": "DIET"}])
    if by.random() < 0.2:
        way = {"id": f"{side}-c", "channel": "SMS", "value": NUMBERS[3], "set_at": _moment(by)}
        found["confidential_communication"] = parsed("confidential_communication", way)
    if points := [_point(f"{side}-{number[-2:]}", number, by) for number in by.sample(NUMBERS, by.randint(0, 3))]:
        found["contact_points"] = parsed("contact_points", points)
    if history := _consents(side, [point["id"] for point in points], by):
        found["consents"] = history
    return found | {"restricted": by.random() < 0.3}


def _point(name: str, value: str, by: Random) -> dict[str, Any]:
    more = {"rank": by.randint(1, 3)} if by.random() < 0.5 else {"text_permitted": by.choice(["YES", "NO"])}
    return {"id": name, "system": by.choice(["PHONE", "SMS"]), "value": value, **more}


def _consents(side: str, points: list[str], by: Random) -> list[Any]:
    """A history of directives, as they would have been appended."""
    history: list[Any] = []
    for number in range(by.randint(0, 4)):
        members = {"channel": [str(each) for each in CHANNELS], "purpose": [str(each) for each in PURPOSES]}
        members |= {"contact_point_id": points} if points else {}
        scope = {name: by.choice(choices) for name, choices in members.items() if by.random() < 0.4}
        giver = {"role": by.choice(["PATIENT", "PATIENT", "PARENT"])}
        at = _moment(by)
        said = {"id": f"{side}-d{number}", "decision": by.choice(["PERMIT", "DENY"]), "scope": scope, "giver": giver}
        history = appended(history, [{**said, "capture": {"at": at}, "effective_from": at}], NOW)
    return history


def _moment(by: Random) -> str:
    return instant(NOW - by.randint(1, 300) * DAY)


def two(seed: int) -> tuple[dict[str, Any], dict[str, Any], Mapping[Side, Note]]:
    """Two records, and who spoke in each."""
    by = Random(seed)
    return person("s", by), person("d", by), notes(_moment(by), _moment(by))


def notes(one: str, other: str) -> Mapping[Side, Note]:
    """Who spoke for every group of each record, and when."""
    return {
        Side.SURVIVOR: Note(Voice.STAFF, "api", "desk", one),
        Side.DUPLICATE: Note(Voice.STAFF, "api", "desk", other),
    }


def united(one: dict[str, Any], other: dict[str, Any], said: Mapping[Side, Note]) -> Merged:
    """The merge of two people, or nothing of this example where a person has to settle something."""
    try:
        return merge(
            one, other, lambda _, side: said[side], lambda name: BY_NAME[name].group, SourceRules(), NOW, "clerk"
        )
    except Invalid:
        assume(False)
        raise


def after(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values after changes, canonical."""
    new = {**values, **changes}
    return {name: value for name, value in new.items() if value not in (None, [])}


SEEDS = st.integers(0, 2**48)


def test_every_field_has_a_rule() -> None:
    """A new field of the catalogue needs a rule for merging, but for those that merging itself writes."""
    sealed = {row.name for row in FIELDS if row.key_class} | {"restricted"}
    assert sealed - RULED == {"superseded_ids", "merged_into"}
    assert sealed >= RULED


@given(SEEDS)
@settings(max_examples=200)
def test_the_same_comes_of_the_same(seed: int) -> None:
    """Merged again, octet for octet the same; and what comes of it is canonical, and says which word was taken."""
    one, other, said = two(seed)
    found = united(one, other, said)
    assert united(one, other, said) == found
    for name, value in found.values.items():
        if name != "restricted" and value is not None:
            assert parsed(name, value) == value
    assert {choice.name for choice in found.choices} <= RULED
    for name in ("source_records", "identifiers", "names", "accessible_formats", "care_team"):
        both = [*one.get(name, ()), *other.get(name, ())]
        assert all(entry in after(one, found.values)[name] for entry in both)
    assert all(isinstance(group, Group) for group in found.sides)


@given(SEEDS)
@settings(max_examples=200)
def test_undone_it_gives_both_back(seed: int) -> None:
    """Of everything but directives each record says what it said before; of those it has lost none of its own."""
    one, other, said = two(seed)
    joined = after(one, united(one, other, said).values)
    parted = unmerge(one, joined, joined, other, NOW + DAY, "clerk")
    for before, back in ((one, after(joined, parted.survivor)), (other, after(other, parted.duplicate))):
        assert {n: v for n, v in back.items() if n not in DIRECTIVES} == {
            n: v for n, v in before.items() if n not in DIRECTIVES
        }
        own = before.get("consents") or []
        assert (back.get("consents") or [])[: len(own)] == own
        assert all(each in back.get("restrictions", []) for each in before.get("restrictions", []))
        assert back.get("suspensions") == before.get("suspensions")
    assert parted.left == ()


@given(SEEDS, st.booleans())
@settings(max_examples=400)
def test_nothing_forbidden_becomes_permitted(seed: int, undone: bool) -> None:
    """Wherever one of the records said no to a contact, the merged record says no, and so do both if it is undone."""
    one, other, said = two(seed)
    joined = after(one, united(one, other, said).values)
    results = [joined]
    if undone:
        parted = unmerge(one, joined, joined, other, NOW + DAY, "clerk")
        results = [after(joined, parted.survivor), after(other, parted.duplicate)]
    for result in results:
        for before in (one, other):
            _require_no_looser(before, result, moment=NOW + 2 * DAY)


def _require_no_looser(before: Mapping[str, Any], result: Mapping[str, Any], moment: int) -> None:
    at = instant(moment)
    assert result.get("restricted") or not before.get("restricted")
    for purpose in PURPOSES:
        shut, now_shut = record.barred(before, purpose, at), record.barred(result, purpose, at)
        assert now_shut is None or (shut is not None and shut <= now_shut)
        for channel, value, own in _contacts(before, result):
            if _refused(before, purpose, channel, own, at):
                here = next(p["id"] for p in result.get("contact_points", []) if p["value"] == value)
                assert _refused(result, purpose, channel, here, at), (purpose, channel, value)


def _contacts(before: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[tuple[Channel, str, str | None]]:
    """Each contact that the result has, and the id of the same number in the record before, if it had it."""
    known = {point["value"]: point["id"] for point in before.get("contact_points", [])}
    for point in result.get("contact_points", []):
        for channel in CHANNELS:
            yield channel, point["value"], known.get(point["value"])


def _refused(
    values: Mapping[str, Any], purpose: CommunicationPurpose, channel: Channel, point: str | None, at: str
) -> bool:
    stated = consent.directives(values, purpose, "clinic", at, None, opt_in=False)
    return consent.refusal(stated, channel, point, opt_in=False) is Reason.OPTED_OUT
