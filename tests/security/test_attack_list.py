"""The attack list is complete, on both engines where a database takes part, and its page is true."""

import pytest

from tests.attacks import ATTACKS, ROOT, Attack, page, trials


def test_the_list_has_every_number() -> None:
    """E-01 to E-40, in order, and no test of an attack that is not on the list."""
    assert [attack.id for attack in ATTACKS] == [f"E-{number:02}" for number in range(1, 41)]
    assert {test.attack for test in trials()} <= {attack.id for attack in ATTACKS}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_each_attack_is_tried(attack: Attack) -> None:
    """By at least one test; where a database takes part, by one that runs on SQLite and on PostgreSQL."""
    tried = [test for test in trials() if test.attack == attack.id]
    assert tried
    assert any(test.both for test in tried) or not attack.stored


def test_the_page_is_true() -> None:
    """`docs/attacks.md` is what the list and the tests say; `python -m tests.attacks > docs/attacks.md` writes it."""
    assert (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8") == page()
