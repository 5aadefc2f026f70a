"""Appending never changes what was there, whatever is appended, and saying a thing twice is saying it once."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from crm.domain.codes import Channel, CommunicationPurpose, GiverRole
from crm.domain.consent_history import appended, honour_by
from crm.domain.consents import ConsentDirectives
from crm.domain.shape import parse
from crm.domain.times import instant, micros
from crm.errors import Invalid

START = micros("2026-01-01")
YEAR = 366 * 86_400_000_000

MOMENTS = st.integers(START, START + YEAR)
TIMES = MOMENTS.map(instant)
SCOPES = st.fixed_dictionaries(
    {},
    optional={
        "channel": st.sampled_from([*Channel][:3]).map(str),
        "purpose": st.sampled_from([*CommunicationPurpose][:2]).map(str),
        "sender": st.sampled_from(["clinic", "lab"]),
        "contact_point_id": st.sampled_from(["c1", "c2"]),
    },
)
SAID = st.fixed_dictionaries(
    {"decision": st.sampled_from(["PERMIT", "DENY"]), "scope": SCOPES},
    optional={
        "giver": st.fixed_dictionaries({"role": st.sampled_from([*GiverRole]).map(str)}),
        "capture": st.fixed_dictionaries({}, optional={"at": TIMES, "wording_version": st.sampled_from("12")}),
        "effective_from": TIMES,
        "effective_to": TIMES,
        "confirmed_at": TIMES,
        "note": st.text(max_size=5),
    },
)
STEPS = st.lists(st.tuples(st.integers(0, YEAR // 10), SAID), max_size=12)


def tried(history: list[Mapping[str, Any]], said: dict[str, Any], now: int) -> list[Mapping[str, Any]]:
    """The history after an attempt, which may be refused."""
    try:
        return appended(history, [said], now)
    except Invalid:
        return history


@given(STEPS)
def test_appending_never_changes_what_was_there(steps: list[tuple[int, dict[str, Any]]]) -> None:
    """Octet by octet each history begins with the one before, grows by one at most, and counts from 1."""
    history: list[Mapping[str, Any]] = []
    now = START
    for pause, said in steps:
        now += pause
        before = json.dumps(history)
        after = tried(history, said, now)
        assert json.dumps(history) == before
        assert json.dumps(after[: len(history)]) == before
        assert len(after) - len(history) in (0, 1)
        history = after
    assert [entry["seq"] for entry in history] == list(range(1, len(history) + 1))
    assert parse(ConsentDirectives, history, "consents") == history


@given(STEPS, SAID, st.integers(0, YEAR))
def test_saying_it_twice_is_saying_it_once(
    steps: list[tuple[int, dict[str, Any]]], said: dict[str, Any], pause: int
) -> None:
    """The same words again, entered later as said at the same moment, add nothing."""
    history: list[Mapping[str, Any]] = []
    now = START
    for step, other in steps:
        now += step
        history = tried(history, other, now)
    stated = {"effective_from": instant(now), **said, "capture": {"at": instant(now), **said.get("capture", {})}}
    try:
        once = appended(history, [stated], now)
    except Invalid:  # which may be valid later: what was said in the future
        assume(False)
    assert tried(once, stated, now + pause) == once


@given(MOMENTS, st.sampled_from([None, "America/New_York", "Pacific/Kiritimati", "Asia/Kathmandu"]))
def test_a_deadline_is_never_later_than_ten_business_days(received: int, zone: str | None) -> None:
    """It lies between twelve and fourteen days after receipt, an hour more or less where clocks change."""
    days = (honour_by(received, zone) - received) / 86_400_000_000
    assert 11.9 < days < 14.1
