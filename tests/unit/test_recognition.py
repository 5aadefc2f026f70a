"""The rule by which a record is recognised, where stored records of that kind cannot be made yet."""

from crm.services.recognition import Candidate, Incoming, Obstacle, Person, recognise

PAIR = ("urn:example:mrn", "7")
PERSON = Person(frozenset({PAIR}), frozenset({"smith"}), "1950-01")


def incoming(person: Person = PERSON, source_id: str | None = "1") -> Incoming:
    """A record about `person`."""
    return Incoming("fhir", None, source_id, (PAIR,), b"", person)


def test_a_merged_patient_takes_no_news() -> None:
    """What was merged into another record is not changed behind its back; the survivor goes before."""
    merged = Candidate("a", PERSON, named=True, obstacle=Obstacle.PATIENT_MERGED)
    survivor = Candidate("b", PERSON, named=True)
    assert recognise(incoming(), [merged]) is Obstacle.PATIENT_MERGED
    assert recognise(incoming(), [merged, survivor]) is survivor


def test_whoever_cannot_be_opened_may_be_the_one() -> None:
    """Only an identifier that is shared with somebody else settles it."""
    shut = Candidate("a", None, obstacle=Obstacle.PATIENT_DAMAGED)
    other = Candidate("b", Person(families=frozenset({"smith"})), named=True)
    assert recognise(incoming(), [shut, other]) is Obstacle.PATIENT_DAMAGED
    assert recognise(incoming(), [shut, Candidate("b", PERSON, named=True)]) == Candidate("b", PERSON, named=True)


def test_dates_are_equal_as_far_as_both_are_known() -> None:
    """A year does not contradict a day in it."""
    day, year = Person(birth_date="1950-01-31", families=frozenset({"a"})), Person(birth_date="1950")
    assert PERSON.agrees(day)
    assert PERSON.agrees(year)
    assert not PERSON.contradicts(day)
    assert Person(birth_date="1951", families=frozenset({"b"})).contradicts(day)
    assert not Person(birth_date="1951").contradicts(day)


def test_no_two_pairs_look_alike() -> None:
    """Where a system ends and its number begins is part of the key, and no key is a resource id."""
    keys = [
        Incoming("s", None, None, (pair,), b"").key for pair in (("urn:a", "b|c"), ("urn:a|b", "c"), ("urn:ab", "|c"))
    ]
    assert len(set(keys)) == 3
    assert all(":" in key for key in keys)
