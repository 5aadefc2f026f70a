"""Break-glass by the log alone: when a look was still allowed, and what may be believed where the beginning is gone."""

from typing import Any
from uuid import UUID

import pytest

from crm.audit.emergencies import Emergencies
from crm.audit.event import rfc3339
from crm.domain.break_glass import AGAIN, DRIFT, LASTING, LATE, MINUTE

NOW = 1_795_287_303_000_000
PERSON = {"iss": "https://idp.example", "sub": "dr-1", "roles": ["clinician"]}


def grant_id(micros: int, last: int = 1) -> str:
    """A UUIDv7 of that time."""
    return str(UUID(int=(micros // 1_000 << 80) | (7 << 76) | (2 << 62) | last))


GRANT = grant_id(NOW)


def leaf(act: str, at: int, **more: Any) -> dict[str, Any]:
    """The members of a leaf that matter here."""
    common = {"id": grant_id(at, 2), "t": rfc3339(at), "act": act, "out": "ok", "pat": "a" * 32, "who": PERSON}
    return {**common, "flg": ["break_glass"], "ref": GRANT, **more}


def unknown(*leaves: dict[str, Any], pruned: bool = False) -> list[int]:
    """Which of the leaves is a look that no grant allowed, by its place."""
    log = Emergencies()
    for seq, each in enumerate(leaves):
        log.note(seq, each)
    return list(log.unknown(pruned=pruned))


GIVEN = leaf("breakglass", NOW, cnt=30)
END = NOW + 30 * MINUTE + LATE + DRIFT


@pytest.mark.parametrize(
    ("at", "allowed"),
    [(NOW, True), (END, True), (END + 1, False), (NOW - LATE - DRIFT, True), (NOW - LATE - DRIFT - 1, False)],
)
def test_a_look_is_within_the_minutes_of_the_leaf(at: int, allowed: bool) -> None:
    """Whatever the row says: from the event on and as long as it says, with room for clocks and slow requests."""
    assert unknown(GIVEN, leaf("read", at)) == ([] if allowed else [1])


def test_nothing_that_comes_later_makes_it_longer() -> None:
    """Not asking again, not a second event of the same grant, and none that says no minutes."""
    late = leaf("read", END + 1)
    assert unknown(GIVEN, leaf("breakglass", NOW + MINUTE, why=AGAIN), late) == [2]
    assert unknown(GIVEN, leaf("breakglass", NOW + MINUTE, cnt=480), late) == [2]
    assert unknown(leaf("breakglass", NOW + MINUTE, why=AGAIN), leaf("read", NOW)) == [1]
    assert unknown(leaf("breakglass", NOW), late) == [1]


@pytest.mark.parametrize(("verdict", "ends"), [("JUSTIFIED", False), ("UNJUSTIFIED", True), ("NEEDS_FOLLOW_UP", True)])
def test_a_finding_ends_it(verdict: str, ends: bool) -> None:
    """A look behind a review that did not justify the grant was not allowed, whatever row there was."""
    review = leaf("review", NOW + MINUTE, flg=[], why=verdict)
    assert unknown(GIVEN, review, leaf("read", NOW + MINUTE + LATE + DRIFT + 1)) == ([2] if ends else [])
    assert unknown(GIVEN, review, leaf("read", NOW + MINUTE)) == []


@pytest.mark.parametrize(
    ("grant", "believed"),
    [
        (grant_id(NOW - MINUTE), True),
        (grant_id(NOW - LASTING - LATE), True),
        (grant_id(NOW - LASTING - LATE - MINUTE), False),
        ("00000000-0000-7000-8000-000000000000", False),
        ("0-no-uuid", False),
        (grant_id(NOW + 2 * MINUTE), False),
    ],
)
def test_where_the_beginning_was_pruned(grant: str, believed: bool) -> None:
    """A grant that may have been given by what is gone is believed, as far as one can last; never in a whole log."""
    first, look = leaf("read", NOW, flg=[], ref=""), leaf("read", NOW, ref=grant)
    assert unknown(first, look, pruned=True) == ([] if believed else [1])
    assert unknown(first, look) == [1]
