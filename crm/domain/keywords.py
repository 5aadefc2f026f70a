"""Owns what a message of a patient is taken for: words that stop, start or ask for help, and hints of stopping.

A message is a keyword when nothing else is left of it without accents, case, punctuation, emoji, invisible characters,
courtesies and the signature of a telephone. Whatever else hints at stopping is for a person to read.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from crm.domain.stop_words import AMBIGUOUS, COURTESIES, HELP, HINTS, MESSAGES, PHRASES, SIGNATURES, SIGNS, START, STOP

__all__ = ["Meaning", "Reading", "excerpt", "read"]


class Meaning(StrEnum):
    """What a message is taken for. START never permits anything; OTHER is about something else."""

    STOP = "STOP"
    START = "START"
    HELP = "HELP"
    UNCLEAR = "UNCLEAR"
    OTHER = "OTHER"


class Reading(NamedTuple):
    """A meaning, and the language of the keyword where only one language has it (BCP 47)."""

    meaning: Meaning
    language: str | None = None


_WORD = re.compile(r"[^\W_]+")
_GAP = re.compile(r"\s+")
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0]"
)
_REPEATED = re.compile(r"(.)\1+")
_LONGEST: Final = 4_000
_NO_LETTERS: Final = frozenset({"Mn", "Mc", "Me", "Cf"})
"""Marks on letters, such as accents and the vowel signs of Indic scripts, and what is not seen."""
_PLAIN: Final = str.maketrans({"\u0131": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe"})


def read(text: str) -> Reading:
    """What `text` is taken for; of a long one the first 4,000 characters are looked at, gaps counting as one each."""
    return _read(_narrowed(text))


def excerpt(text: str, most: int) -> str:
    """At most so many characters of `text` in which its keyword or hint is, or its beginning; gaps are one character.

    For staff, who judge by the words that are kept.
    """
    text = _narrowed(text)
    for start in range(0, max(len(text) - most // 2, 1), most // 2):
        part = text[start : start + most]
        if _read(part).meaning in {Meaning.STOP, Meaning.UNCLEAR}:
            return part
    return text[:most]


def _narrowed(text: str) -> str:
    """The beginning of `text` with gaps and characters that nobody sees as one each, so that they push nothing out."""
    return _GAP.sub(lambda gap: "\n" if "\n" in gap[0] else " ", _UNSEEN.sub("", text)).strip()[:_LONGEST]


def _read(text: str) -> Reading:
    words = _words(text)
    said = _without_courtesy(words)
    for meaning, keywords in _KEYWORDS:
        for key in (" ".join(said), "".join(said)):  # also `S.T.O.P.` and `un subscribe`
            if key in keywords:
                return Reading(meaning, keywords[key])
    hints = _hints(words) or (not words and any(sign in text for sign in SIGNS))
    return Reading(Meaning.UNCLEAR if hints else Meaning.OTHER)


def _words(text: str) -> list[str]:
    """The words in their plainest form, one for several equal ones in a row."""
    lines = [_plain(line) for line in text.splitlines()]
    own = _WORD.findall(" ".join(line for line in lines if not _is_foreign(line)))
    found: list[str] = []
    for word in own or _WORD.findall(" ".join(lines)):  # where all is foreign, somebody wrote like that
        if (short := _squeezed(word)) not in found[-1:]:
            found.append(short)
    return found


def _plain(text: str) -> str:
    """`text` without accents, case, and characters that nobody sees."""
    apart = unicodedata.normalize("NFKD", text)[: 4 * len(text)]  # one character may be eighteen
    seen = "".join(mark for mark in apart if unicodedata.category(mark) not in _NO_LETTERS)
    return seen.casefold().translate(_PLAIN).replace("'", "").replace("\u2019", "")


def _squeezed(word: str) -> str:
    """`word` with each letter once where it comes several times in a row: `stoppp` is `stop`."""
    return _REPEATED.sub(r"\1", word)


def _is_foreign(line: str) -> bool:
    """Whether a line is not what the person wrote: a quotation, or the signature of a device."""
    return line.lstrip().startswith(">") or any(line.strip(" -\u2013\u2014").startswith(each) for each in SIGNATURES)


def _without_courtesy(words: list[str]) -> list[str]:
    kept = [word for word in words if word not in _COURTESIES]
    return [word for place, word in enumerate(kept) if word not in kept[max(place - 1, 0) : place]]


def _hints(words: list[str]) -> bool:
    text = f" {' '.join(words)} "
    if any(f" {phrase} " in text for phrase in _PHRASES) or not _HINTS.isdisjoint(words):
        return True
    if any(hint in text for hint in _UNSPACED) or any(map(_is_disguised, words)):
        return True
    return not _AMBIGUOUS.isdisjoint(words) and (len(words) == 1 or not _MESSAGES.isdisjoint(words))


def _is_disguised(word: str) -> bool:
    """Whether a word is a hint to the eye: digits or foreign letters for Latin ones, figures or another word attached.

    `St0p`, `STOP1`, STOP in Cyrillic letters, `stoptexting`; not `stopwatch`.
    """
    seen = word.translate(_LIKE_LATIN)
    readings = {_squeezed(seen), _squeezed(seen.translate(_LIKE_LETTERS)), seen.strip("0123456789")}
    return not _HINTS.isdisjoint(readings - {word}) or any(
        seen.startswith(verb) and seen[len(verb) :] in _MESSAGES for verb in _VERBS
    )


def _form(words: str) -> str:
    """A word or phrase of the lists as it is compared."""
    return " ".join(map(_squeezed, _WORD.findall(_plain(words))))


def _forms(words: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_form, words))


def _by_word(lists: Mapping[str, Iterable[str]]) -> Mapping[str, str | None]:
    """The language of each keyword, None where several have it or it belongs to none; spaces in it may be left out."""
    found: dict[str, str | None] = {}
    for language, words in lists.items():
        for form in {each for word in words for each in (_form(word), _squeezed(_form(word).replace(" ", "")))}:
            found[form] = None if form in found or not language else language
    return found


_KEYWORDS: Final = (
    (Meaning.STOP, _by_word(STOP)),
    (Meaning.START, _by_word(START)),
    (Meaning.HELP, _by_word(HELP)),
)
_COURTESIES: Final = _forms(COURTESIES)
_PHRASES: Final = _forms(PHRASES) | {word for word in _KEYWORDS[0][1] if " " in word}
_AMBIGUOUS: Final = _forms(AMBIGUOUS)
_HINTS: Final = (_forms(HINTS) | frozenset(_KEYWORDS[0][1])) - _AMBIGUOUS
_MESSAGES: Final = _forms(MESSAGES)
_VERBS: Final = ("stop", "quit", "end", "cancel")
_LIKE_LETTERS: Final = str.maketrans("013457", "oieast")
_LIKE_LATIN: Final = str.maketrans("асеорхуѕткмнвіјαεορτυικνη", "aceopxystkmhbijaeoptuikvn")
"""Cyrillic and Greek letters that look like Latin ones."""
_UNSPACED: Final = frozenset(word for word in _HINTS if re.match("[\u3040-\u9fff]", word))
"""Words of languages that are written without spaces."""
