"""How alike two records are: duplicates as they happen, and the people who must not be taken for one."""

from typing import Any

import pytest

from crm.domain.likeness import Agreement, Band, Fact, Likeness, Traits, compare

PHONE = "+447700900123"
NATIONAL = "https://fhir.nhs.uk/Id/nhs-number"


def person(given: str = "Samantha Jane", family: str = "Okafor", born: str | None = "1984-07-03", **more: Any) -> Any:
    """Values as they are stored; `phone`, `email` and `number` stand for whole entries."""
    names = [{"use": "OFFICIAL", "family": family, "given": given.split()}] if given or family else []
    points = [
        {"system": system, "value": more.pop(name)}
        for name, system in (("phone", "PHONE"), ("email", "EMAIL"))
        if name in more
    ]
    known: dict[str, Any] = {"names": [*names, *more.pop("also", [])], "birth_date": born, "contact_points": points}
    if "number" in more:
        known["identifiers"] = [{"system": NATIONAL, "value": more.pop("number"), "type": {"code": "NI"}}]
    return known | more


def likeness(one: Any, other: Any) -> Likeness:
    """Both ways round, which must not matter."""
    found = compare(Traits.of(one), Traits.of(other))
    back = compare(Traits.of(other), Traits.of(one))
    assert (round(found.bits, 9), found.facts, found.band) == (round(back.bits, 9), back.facts, back.band)
    return found


SAM = person(phone=PHONE)


@pytest.mark.parametrize(
    ("other", "band"),
    [
        pytest.param(person(phone=PHONE), Band.PROBABLE, id="the same again"),
        pytest.param(person(), Band.PROBABLE, id="without the number"),
        pytest.param(person("Samantha"), Band.PROBABLE, id="no second name"),
        pytest.param(person("SAMANTHA", "O'KAFOR"), Band.PROBABLE, id="capitals and an apostrophe"),
        pytest.param(person("Sámantha", "Okáfor"), Band.PROBABLE, id="diacritics"),
        pytest.param(person("Okafor", "Samantha Jane"), Band.PROBABLE, id="the wrong way round"),
        pytest.param(person(born="1984-03-07"), Band.PROBABLE, id="day and month swapped"),
        pytest.param(person(born="1984-03-07", phone=PHONE), Band.PROBABLE, id="swapped, with the number"),
        pytest.param(person(born="1948-07-03", phone=PHONE), Band.PROBABLE, id="digits of the year swapped"),
        pytest.param(person(born="1984-07-08", phone=PHONE), Band.PROBABLE, id="one digit"),
        pytest.param(person(born="1984"), Band.PROBABLE, id="only the year"),
        pytest.param(person(family="Meyer", phone=PHONE), Band.PROBABLE, id="married"),
        pytest.param(person(family="Meyer"), Band.POSSIBLE, id="married, and moved"),
        pytest.param(person(family="Okafor-Meyer", phone=PHONE), Band.PROBABLE, id="two surnames now"),
        pytest.param(person(family="Okafro"), Band.PROBABLE, id="letters swapped in the family name"),
        pytest.param(person("Sam"), Band.POSSIBLE, id="short form"),
        pytest.param(person("Smaantha", phone=PHONE), Band.POSSIBLE, id="letters swapped in the given name"),
        pytest.param(person("Jane", phone=PHONE), Band.POSSIBLE, id="goes by the second name"),
        pytest.param(person(born=None, phone=PHONE), Band.PROBABLE, id="no birth date, the number"),
    ],
)
def test_the_same_person_again(other: Any, band: Band) -> None:
    """What reception enters of somebody who is there already."""
    assert likeness(SAM, other).band is band


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(person("Daniel", phone=PHONE, email="us@example.org"), id="twin"),
        pytest.param(person("Daniel", "Okafor", "1986-01-20", phone=PHONE, email="us@example.org"), id="brother"),
        pytest.param(person(born="1951-02-11", phone=PHONE, email="us@example.org"), id="mother of the same name"),
        pytest.param(person(born="1954-07-03", phone=PHONE), id="mother of the same name and day"),
        pytest.param(person("Ravi", "Patel", "1984-07-03"), id="born on the same day"),
        pytest.param(person("Ravi", "Patel", "1971-09-30", phone=PHONE), id="former holder of the number"),
        pytest.param(person("Samantha", "Reed", "1971-09-30"), id="same given name"),
        pytest.param(person("Joy", "Okafor", "1999-12-12"), id="same family name"),
        pytest.param(person("", "", None, phone=PHONE), id="nobody known, the number"),
    ],
)
def test_people_who_are_not_one(other: Any) -> None:
    """A household shares names, numbers and mailboxes; a birth date or a name alone is shared by many."""
    assert likeness(person(phone=PHONE, email="us@example.org"), other).band is Band.UNLIKELY


def test_twins_with_names_that_rhyme_are_never_probable() -> None:
    """Anna and Hanna of one day and one home may be one girl and a slip: a person has to look."""
    anna, hanna = (person(name, phone=PHONE, email="us@example.org") for name in ("Anna", "Hanna"))
    found = likeness(anna, hanna)
    assert (found.facts[Fact.GIVEN_NAME], found.band) == (Agreement.CLOSE, Band.POSSIBLE)
    same = likeness(person("Anna", number="943 476 5919"), person("Hanna", number="9434765919"))
    assert same.band is Band.PROBABLE


def test_identifiers() -> None:
    """One number is nearly proof, 9999999999 is none; two national numbers speak against, two of a hospital do not."""
    one, other = person("", "", None, number="943-476-5919"), person("", "", None, number="9434765919")
    assert likeness(one, other).band is Band.PROBABLE
    assert likeness(person(number="9434765919"), person(number="9434765870")).facts[Fact.IDENTIFIER] == "DIFFERENT"
    filled = likeness(person(number="9999999999"), person("Ravi", "Patel", "1971-09-30", number="9999999999"))
    assert (Fact.IDENTIFIER in filled.facts, filled.band) == (False, Band.UNLIKELY)
    ours = [{"system": "urn:mrn", "value": value, "type": {"code": "MR"}} for value in ("H-1", "H-2")]
    twice = [person(identifiers=[number]) for number in ours]
    found = likeness(*twice)
    assert (Fact.IDENTIFIER in found.facts, found.band) == (False, Band.PROBABLE)


def test_the_first_of_january_says_the_year() -> None:
    """It is entered where nobody knows the day, so that many share it; less is left of it, though it is the same."""
    unknown = likeness(person(born="1984-01-01"), person(born="1984-01-01"))
    known = likeness(person(), person())
    assert unknown.facts == known.facts
    assert known.bits - unknown.bits > 8


def test_former_and_preferred_names_count() -> None:
    """A maiden name on one of the two, and what somebody is called instead of their name."""
    maiden = [{"use": "MAIDEN", "family": "Meyer"}]
    found = likeness(person(also=maiden), person(family="Meyer"))
    assert found.facts[Fact.FAMILY_NAME] is Agreement.SAME
    called = likeness(person("Robert"), person("Bobby", preferred_name="Robert"))
    assert called.facts[Fact.GIVEN_NAME] is Agreement.SAME


def test_names_in_other_scripts() -> None:
    """Names without letters between which a slip could be told apart are the same or not."""
    one = {"names": [{"text": "王小明", "family": "王", "given": ["小明"]}], "birth_date": "1990-05-06"}
    other = {"names": [{"family": "王", "given": ["小红"]}], "birth_date": "1990-05-06"}
    assert likeness(one, one).band is Band.PROBABLE
    assert likeness(one, other).band is Band.UNLIKELY


def test_nothing_is_said_of_what_is_not_known() -> None:
    """Two empty records agree in nothing, and no repr shows what a record says."""
    empty = likeness({}, {})
    assert (empty.bits, empty.facts, empty.band) == (0.0, {}, Band.UNLIKELY)
    assert "Okafor".casefold() not in repr(Traits.of(SAM)).casefold()
