"""Provenance notes: who spoke for each field group, and whose other word was not taken. Opens no cell, decides nothing.

A note stands in clear beside the sealed cells of its group's class, and the row seal vouches for it. It holds names of
systems, subjects of tokens, times and codes, never a value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from auth.vocabulary import Group
from crm.catalogue import BY_NAME, KeyClass
from crm.domain.precedence import Note, Rule, SourceRules, Voice, may_replace
from crm.store.history import Maker
from crm.store.record import Record

__all__ = ["MOST_OVERRULED", "Source", "confirmed", "noted", "notes", "stored", "told", "unheard"]

Raw = dict[str, Any]
"""A note as it is stored."""

MOST_OVERRULED: Final = 5
"""Words that were not taken of which a note keeps the newest: as many systems rarely speak of one person."""

_VOICES: Final = {"api": Voice.STAFF, "import": Voice.SYSTEM}
"""Who spoke through a channel where the note does not say.

Notes of the API of earlier releases do not: whoever spoke there, a feed must not overwrite it.
"""

_RULES: Final = {True: Rule.ONLY_WORD, False: Rule.IN_PERSON}
"""By which rule a system's word, and a person's, was taken where the note does not say."""

_ORDER: Final = {voice: place for place, voice in enumerate(Voice)}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a change comes from: the word that is given, whose it is, who makes the new version, and by which rules.

    Provenance names `recorded_by`, the subject of whoever makes the change, as their token has it; `recorded_at` is in
    microseconds, UTC. With `speaks` false the change is a mark beside what somebody said, such as that a number was
    verified: their note stays. `overruled` are the groups in which the word was not taken, with the rule; `carried` are
    notes, as they are stored, that come from another record with the values they are about.
    """

    word: Note
    recorded_by: str
    recorded_at: int
    maker: Maker
    rules: SourceRules = SourceRules()  # noqa: RUF009 - frozen
    speaks: bool = True
    overruled: Mapping[Group, Rule] = field(default_factory=dict)
    carried: Mapping[Group, Raw] = field(default_factory=dict)

    def note(self, rule: Rule) -> Raw:
        """The note of a group for which this source speaks from now on, by `rule`. No default stands in it."""
        word = self.word
        note = {"source": word.source, "recorded_by": self.recorded_by, "recorded_at": word.recorded_at}
        if word.channel != "api":
            note["channel"] = word.channel
        if word.voice is not _VOICES[word.channel]:
            note["voice"] = word.voice.value
        if rule is not _RULES[word.voice is Voice.SYSTEM]:
            note["rule"] = rule.value
        return note


def noted(before: Mapping[str, Raw], spoken: Iterable[Group], source: Source) -> dict[str, Raw]:
    """The notes of one class, by group, after `source` gave values of the groups `spoken`."""
    after = dict(before)
    for group in spoken:
        old = before.get(group.value)
        if group in source.carried:
            after[group.value] = source.carried[group]
        elif old is None or source.speaks:
            stored = None if old is None else _word(old)
            after[group.value] = source.note(may_replace(group, stored, source.word, source.rules).rule)
    for group, rule in source.overruled.items():
        old = after.get(group.value)
        if old is not None and not _heard(old, source.word):
            after[group.value] = {
                **old,
                "overruled": [_refused(source, rule), *old.get("overruled", ())][:MOST_OVERRULED],
            }
    return after


def unheard(record: Record, source: Source) -> frozenset[KeyClass]:
    """The classes in which a word that is not taken is to be remembered: once a system, until somebody speaks anew."""
    if not source.overruled:
        return frozenset()
    found = set()
    for key_class, row in record.rows.items():
        stored = orjson.loads(row.provenance)
        if any(group.value in stored and not _heard(stored[group.value], source.word) for group in source.overruled):
            found.add(key_class)
    return frozenset(found)


def confirmed(record: Record, names: Iterable[str], source: Source) -> list[str]:
    """Those of the sealed fields `names` for which a person speaks by giving the very value that a lower voice gave."""
    if source.word.voice is Voice.SYSTEM or not source.speaks:
        return []
    known = notes(record)
    return sorted(
        name
        for name in names
        if (entry := BY_NAME[name]).key_class is not None
        and entry.group in known
        and _ORDER[source.word.voice] < _ORDER[known[entry.group].voice]
    )


def notes(record: Record) -> dict[Group, Note]:
    """For each field group that somebody filled in the loaded classes: whose word stands."""
    return {Group(group): _word(note) for group, note in stored(record).items()}


def told(record: Record) -> list[dict[str, Any]]:
    """The same as it is shown: sorted by group, with voice and rule spelled out, and the words that were not taken."""
    known = stored(record)
    return [{"group": group, **_spelled_out(known[group])} for group in sorted(known)]


def stored(record: Record) -> dict[str, Raw]:
    """The notes of the loaded classes as they are stored, by group: for who takes them along to another record."""
    groups: dict[str, Raw] = {}
    for row in record.rows.values():
        groups.update(orjson.loads(row.provenance))
    return groups


def _word(note: Raw) -> Note:
    channel = note.get("channel", "api")
    return Note(Voice(note.get("voice", _VOICES[channel])), channel, note["source"], note["recorded_at"])


def _heard(note: Raw, word: Note) -> bool:
    return any((each.get("channel", "api"), each["source"]) == word[1:3] for each in note.get("overruled", ()))


def _refused(source: Source, rule: Rule) -> Raw:
    word = source.word
    refused = {"source": word.source, "recorded_at": word.recorded_at, "rule": rule.value}
    return refused if word.channel == "api" else {**refused, "channel": word.channel}


def _spelled_out(note: Raw) -> dict[str, Any]:
    voice = _word(note).voice
    rule = note.get("rule", _RULES[voice is Voice.SYSTEM])
    return {"channel": "api", **note, "voice": voice.value, "rule": rule, "overruled": note.get("overruled", [])}
