"""Source precedence: ranks of voices and systems, age among equals, persons, and orders of single groups."""

from types import MappingProxyType

import pytest

from auth.roles import Role
from auth.vocabulary import Group
from crm.domain.precedence import Note, Rule, SourceRules, Verdict, Voice, may_replace, voice_of, wins

DEFAULT = SourceRules()
EARLY, LATE = "2026-01-01T00:00:00.000000Z", "2026-06-01T00:00:00.000000Z"


def note(voice: Voice, source: str = "app", at: str = EARLY, channel: str = "api") -> Note:
    """A word of this voice."""
    return Note(voice, channel, source, at)


def feed(source: str, at: str = EARLY) -> Note:
    """A word of an imported source."""
    return note(Voice.SYSTEM, source, at, "import")


@pytest.mark.parametrize("at", [EARLY, LATE])
def test_a_higher_voice_stands_whatever_its_age(at: str) -> None:
    """Patient, proxy, staff, system, in this order: each wins over all behind it and over none before it."""
    voices = list(Voice)
    for higher, one in enumerate(voices):
        for other in voices[higher + 1 :]:
            assert wins(Group.LANGUAGE, note(other, at=EARLY), note(one, at=at), DEFAULT) == (True, Rule.HIGHER_SOURCE)
            assert wins(Group.LANGUAGE, note(one, at=EARLY), note(other, at=at), DEFAULT) == (False, Rule.HIGHER_SOURCE)


def test_among_equals_the_newest_stands() -> None:
    """The later of two equals, and of two that came at the same time the one that is there."""
    assert wins(Group.CONTACT, feed("a"), feed("b", LATE), DEFAULT) == Verdict(True, Rule.NEWEST)
    assert wins(Group.CONTACT, feed("a", LATE), feed("b"), DEFAULT) == Verdict(False, Rule.NEWEST)
    assert wins(Group.CONTACT, feed("a"), feed("b"), DEFAULT) == Verdict(False, Rule.NEWEST)
    assert wins(Group.CONTACT, None, feed("b"), DEFAULT) == Verdict(True, Rule.ONLY_WORD)


def test_systems_are_ranked_by_channel_and_name() -> None:
    """A named system ranks where it is named; an application of the same name does not, and is one of the rest."""
    rules = SourceRules(("PATIENT", "import:pas", "STAFF", "import:lab"))
    assert wins(Group.CONTACT, note(Voice.STAFF, at=LATE), feed("pas"), rules) == (True, Rule.HIGHER_SOURCE)
    assert not wins(Group.CONTACT, note(Voice.STAFF), note(Voice.SYSTEM, "pas", LATE), rules).takes
    assert not wins(Group.CONTACT, feed("pas"), feed("lab", LATE), rules).takes
    assert wins(Group.CONTACT, feed("other"), feed("lab"), rules) == (True, Rule.HIGHER_SOURCE)
    # Staff in an application of that name remain staff.
    assert wins(Group.CONTACT, note(Voice.STAFF, "pas"), note(Voice.PATIENT), rules).takes


def test_a_group_may_have_an_order_of_its_own() -> None:
    """The registration system's legal name beats the patient's, and its telephone number does not."""
    groups = MappingProxyType({Group.LEGAL_NAME: ("import:pas",)})
    rules = SourceRules(groups=groups)
    patient = note(Voice.PATIENT, at=LATE)
    assert may_replace(Group.LEGAL_NAME, patient, feed("pas"), rules) == (True, Rule.HIGHER_SOURCE)
    assert may_replace(Group.CONTACT, patient, feed("pas"), rules) == (False, Rule.HIGHER_SOURCE)
    assert may_replace(Group.LEGAL_NAME, patient, feed("lab"), rules) == (False, Rule.HIGHER_SOURCE)


def test_a_person_replaces_whatever_they_saw() -> None:
    """Whoever changes a record in person is taken, also over a higher voice: they saw the version that they change."""
    for stored in Voice:
        for voice in (Voice.PATIENT, Voice.PROXY, Voice.STAFF):
            verdict = may_replace(Group.CHANNEL, note(stored, at=LATE), note(voice), DEFAULT)
            assert verdict == Verdict(True, Rule.IN_PERSON)


def test_a_feed_corrects_its_equals_whatever_the_clock_says() -> None:
    """A correction is taken where the clock of the machine that stores it runs behind that of the one before."""
    assert may_replace(Group.CONTACT, feed("a", LATE), feed("a", EARLY), DEFAULT) == Verdict(True, Rule.NEWEST)


@pytest.mark.parametrize(
    ("roles", "voice"),
    [
        ({Role.PATIENT}, Voice.PATIENT),
        ({Role.PROXY}, Voice.PROXY),
        ({Role.FRONT_DESK}, Voice.STAFF),
        ({Role.CLINICIAN, Role.PRIVACY_OFFICER}, Voice.STAFF),
        ({Role.INTEGRATION}, Voice.SYSTEM),
        ({Role.MESSAGING}, Voice.SYSTEM),
        ({Role.FRONT_DESK, Role.INTEGRATION}, Voice.SYSTEM),
        (set(), Voice.SYSTEM),
    ],
)
def test_who_speaks_follows_from_the_roles(roles: set[Role], voice: Voice) -> None:
    """A program never speaks as a person, whatever else its token may do."""
    assert voice_of(frozenset(roles)) is voice
