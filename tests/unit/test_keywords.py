"""What messages of patients are taken for: spellings, languages, and what only hints at stopping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.domain.keywords import Meaning, Reading, excerpt, read
from crm.domain.stop_words import HELP, START, STOP

PER_SE = ("stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe")
GATEWAYS = ("STOPALL", "ARRET", "OPT-OUT", "OPTOUT", "REMOVE", "TD", "halt", "detener", "parar", "ferma", "ZATRZYMAJ",
            "ОСТАНОВИТЬ", "SALIR", "CANCELAR")  # fmt: skip


@pytest.mark.parametrize("word", PER_SE)
@pytest.mark.parametrize(
    "dress", ["{}", " {} ", "{}.", "{}!!!", '"{}"', "{} 😡", "\ufeff{}\u200b", "{}, please", "{}\n"]
)
def test_words_that_always_revoke(word: str, dress: str) -> None:
    """The seven words of 47 CFR 64.1200(a)(10) stop, in whatever case and dress."""
    for spelling in (word, word.upper(), word.capitalize()):
        assert read(dress.format(spelling)).meaning is Meaning.STOP


@pytest.mark.parametrize("word", GATEWAYS)
def test_words_of_gateways(word: str) -> None:
    """So do the words that gateways document."""
    assert read(word).meaning is Meaning.STOP


@pytest.mark.parametrize(
    "text",
    ["S.T.O.P.", "s\u200bt\u200co\u2060p", "ＳＴＯＰ", "STOOOP", "Stopp", "STOP STOP STOP", "stop stop", "Sto p",
     "Ar\u0302re\u0302t", "un-subscribe", "opt_out", "STOP\nSent from my iPhone", "stop\n> Reply STOP to end",
     "por favor parar", "Bitte abmelden", "«STOP»", "stop \N{OCTAGONAL SIGN}", "> STOP", " " * 5_000 + "stop",
     "\u200b" * 5_000 + "stop", "रोकें", "बंद"],
)  # fmt: skip
def test_spellings(text: str) -> None:
    """Spelled out, drawn out, split, said several times, with invisible characters, signatures and courtesies."""
    assert read(text).meaning is Meaning.STOP


@pytest.mark.parametrize(("text", "language"), [("ARRÊT", "fr"), ("detener", "es"), ("STOP", None), ("parar", None)])
def test_language(text: str, language: str | None) -> None:
    """A keyword tells its language where only one has it."""
    assert read(text) == Reading(Meaning.STOP, language)


@pytest.mark.parametrize(
    "text",
    ["please stop texting me", "don't stop", "Should I stop taking my tablets?", "STOP 12345", "wrong number",
     "I want to unsubscribe from this", "cancel these texts", "no more messages pls", "ne plus m'envoyer de sms",
     "keine Nachrichten mehr", "请停止发送", "не пишите мне", "take me off your list", "annuler", "\N{OCTAGONAL SIGN}",
     "STOP1", "St0p", "stoptexting", "Cease", "never contact me again", "ЅТОР", "ST\u039fP", "कृपया बंद करें",
     "Sent from my phone STOP", "> Reply STOP to end", " " * 1_200 + "leave me alone"],
)  # fmt: skip
def test_hints(text: str) -> None:
    """What hints at stopping, and is not just a keyword, is for a person to read."""
    assert read(text).meaning is Meaning.UNCLEAR


@pytest.mark.parametrize(
    "text",
    ["", "ok", "Thanks!", "yes", "YES", "Y", "1", "fine", "See you on Monday", "Please cancel my appointment",
     "the end of the week is fine", "I quit smoking", "ok\n> Reply STOP to unsubscribe", "😀", "😀😀", "C", "stopwatch",
     "Appelez-moi stp", "I have no more questions", "\n\nSent from my iPhone", "BP 120 over 80", "Спасибо, хорошо"],
)  # fmt: skip
def test_everything_else(text: str) -> None:
    """Answers, thanks, and words that only look alike are about something else; YES never means more messages."""
    assert read(text).meaning is Meaning.OTHER


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("START", Meaning.START), ("unstop", Meaning.START), ("Un-stop!", Meaning.START), ("HELP", Meaning.HELP),
     ("info?", Meaning.HELP), ("Aide", Meaning.HELP), ("ayuda por favor", Meaning.HELP)],
)  # fmt: skip
def test_start_and_help(text: str, meaning: Meaning) -> None:
    """The other keywords."""
    assert read(text).meaning is meaning


def test_no_word_has_two_meanings() -> None:
    """Every word of the lists is read as what its list says."""
    for lists, meaning in ((STOP, Meaning.STOP), (START, Meaning.START), (HELP, Meaning.HELP)):
        for words in lists.values():
            assert {read(word).meaning for word in words} == {meaning}


@given(st.text(max_size=300))
def test_whatever_is_written(text: str) -> None:
    """Any text has a meaning; only keywords of a list tell a language."""
    assert read(text).meaning in Meaning
    assert read(text).language is None or read(text).meaning in {Meaning.STOP, Meaning.START, Meaning.HELP}


def test_only_the_beginning_of_a_long_text() -> None:
    """A text of any length is read at once."""
    assert read("word " * 1_000_000 + "stop").meaning is Meaning.OTHER


@pytest.mark.parametrize("before", [" " * 1_200, "\n" * 1_200, "lorem ipsum " * 150, "\u200b" * 1_200])
def test_an_excerpt_has_the_hint(before: str) -> None:
    """What is kept for staff to read is the part that hints at stopping, wherever it stands."""
    kept = excerpt(f"{before}please leave me alone", 1_000)
    assert "leave me alone" in kept
    assert len(kept) <= 1_000
    assert excerpt("lorem " * 500, 1_000) == ("lorem " * 500)[:1_000]
