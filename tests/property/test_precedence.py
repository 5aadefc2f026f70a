"""Source precedence under any configured order: one of two words stands, whoever asks first, and persons are heard."""

from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from auth.vocabulary import Group
from crm.domain.precedence import DEFAULT_ORDER, Note, Rule, SourceRules, Voice, may_replace, wins

SYSTEMS = ("import:pas", "import:lab", "api:booking", "api:pas")
ORDERS = st.lists(st.sampled_from((*DEFAULT_ORDER, *SYSTEMS)), unique=True).map(tuple)
RULES = st.builds(
    SourceRules, ORDERS, st.dictionaries(st.sampled_from(Group), ORDERS, max_size=3).map(MappingProxyType)
)
NOTES = st.builds(
    Note,
    st.sampled_from(Voice),
    st.sampled_from(("api", "import")),
    st.sampled_from(("pas", "lab", "booking", "other")),
    st.integers(0, 59).map(lambda minute: f"2026-01-01T00:{minute:02}:00.000000Z"),
)


@given(st.sampled_from(Group), NOTES, NOTES, RULES)
def test_one_of_two_stands(group: Group, one: Note, other: Note, rules: SourceRules) -> None:
    """Of two words exactly one stands, but for two equals of one moment, where the one that is there stays."""
    forth, back = wins(group, one, other, rules), wins(group, other, one, rules)
    assert forth.rule is back.rule
    equal = forth.rule is Rule.NEWEST and one.recorded_at == other.recorded_at
    assert (forth.takes, back.takes) == (False, False) if equal else forth.takes is not back.takes


@given(st.sampled_from(Group), st.lists(NOTES, min_size=3, max_size=3), RULES)
def test_it_is_an_order(group: Group, words: list[Note], rules: SourceRules) -> None:
    """Who wins over somebody wins over all whom that one wins over: the turn of several merges decides nothing."""
    a, b, c = words
    if wins(group, b, a, rules).takes and wins(group, c, b, rules).takes:
        assert wins(group, c, a, rules).takes


@given(st.sampled_from(Group), NOTES, NOTES, RULES)
def test_a_feed_never_passes_by_rank(group: Group, stored: Note, new: Note, rules: SourceRules) -> None:
    """A person's change is always taken; a feed's exactly where nothing that is placed higher spoke."""
    verdict = may_replace(group, stored, new, rules)
    if new.voice is not Voice.SYSTEM:
        assert verdict == (True, Rule.IN_PERSON)
    else:
        assert verdict.takes is (rules.rank(group, new) <= rules.rank(group, stored))


@given(st.sampled_from(Group), NOTES, RULES)
def test_every_word_has_a_rank(group: Group, word: Note, rules: SourceRules) -> None:
    """Whatever an order leaves out: nobody falls off its end."""
    assert 0 <= rules.rank(group, word) <= len(DEFAULT_ORDER) + len(SYSTEMS)
