"""The actor is a value: it can be a key, and nobody can change who asked after the fact."""

from dataclasses import FrozenInstanceError

import pytest

from auth.actor import Actor
from auth.purposes import Purpose
from auth.roles import Role


def make() -> Actor:
    """One front-desk actor."""
    roles = frozenset({Role.FRONT_DESK})
    return Actor("u-1", "https://issuer.test", "org-1", roles, Purpose.PATADMIN, "desk", "t-1", None, 2_000_000_000)


def test_actor_is_a_value() -> None:
    """Two actors with equal parts are equal, and hash alike."""
    assert make() == make()
    assert len({make(), make()}) == 1


@pytest.mark.parametrize("part", Actor.__slots__)
def test_actor_cannot_be_changed(part: str) -> None:
    """No part of an actor can be set, and none can be added."""
    with pytest.raises(FrozenInstanceError):
        setattr(make(), part, None)
    assert not hasattr(make(), "__dict__")
