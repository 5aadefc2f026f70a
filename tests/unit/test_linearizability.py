"""The checker of the linearizability drill: what it lets pass, and each thing that it must not."""

import itertools
import random

from tests.linearizability import Conflict, Operation, Read, Write, violations

GOOD: list[Operation] = [
    Write("a", 0, 1, 0, 1, "x"),
    Read("a", 0.5, 3, 1, "x"),
    Read("a", 2, 6, 2, "y"),
    Write("a", 2, 5, 1, 2, "y"),
    Conflict("a", 4, 6, 1, 2),
    Read("b", 0, 9, 7, "of a version that somebody else wrote"),
]


def test_what_one_record_would_show() -> None:
    """Operations that overlap may have happened in either order; keys do not concern each other."""
    assert violations(GOOD) == []
    assert violations([]) == []


def test_each_kind_of_violation() -> None:
    """A stale read, a read of another value, a lost update, a version out of nowhere, a refusal of what was right."""
    for bad, said in (
        (Read("a", 7, 8, 1, "x"), "a read of version 1 began after version 2 had been seen"),
        (Read("a", 7, 8, 2, "x"), "read as another value"),
        (Read("b", 7, 8, 7, "another"), "as another value"),
        (Write("a", 4, 8, 1, 2, "z"), "version 2 was made twice"),
        (Write("a", 7, 8, 2, 4, "z"), "a write on version 2 made version 4"),
        (Conflict("a", 7, 8, 2, 2), "a write on version 2 was refused at version 2"),
        (Conflict("a", 7, 8, 0, 1), "a conflict of version 1 began after version 2"),
    ):
        found = violations([*GOOD, bad])
        assert any(said in line for line in found), (bad, found)


def test_against_all_orders() -> None:
    """On random small histories it says the same as trying every order in which the operations can have happened."""
    chance, both = random.Random(7), set[bool]()
    for _ in range(3000):
        history = [_random(chance) for _ in range(chance.randint(1, 5))]
        told = not violations(history)
        assert told == _some_order_works(history), history
        both.add(told)
    assert both == {True, False}


def _random(chance: random.Random) -> Operation:
    began = chance.randint(0, 6)
    ended = began + chance.randint(1, 4) + 0.5
    version = chance.randint(0, 2)
    match chance.choice("rwwc"):
        case "r":
            return Read("a", began, ended, version, str(version))
        case "w":
            return Write("a", began, ended, version, version + 1, str(version + 1))
        case _:
            return Conflict("a", began, ended, chance.randint(0, 2), version)


def _some_order_works(history: list[Operation]) -> bool:
    """Whether an order exists that respects the clock, in which every operation sees what it saw.

    Writes of nobody in the history may stand in between: others write too.
    """
    for order in itertools.permutations(history):
        if any(later.ended < sooner.began for at, sooner in enumerate(order) for later in order[at:]):
            continue
        version, works = -1, True
        for each in order:
            assert isinstance(each, Read | Write | Conflict)
            if isinstance(each, Write):
                works &= each.version > version
            else:
                works &= each.version >= version
                works &= not isinstance(each, Conflict) or each.version > each.based_on
            version = each.version
        if works:
            return True
    return False
