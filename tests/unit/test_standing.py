"""What is worked out once for an actor is that actor's, whoever asked before."""

from dataclasses import replace

import pytest

from auth import policy
from auth.actor import Actor
from auth.errors import ForbiddenField
from auth.policy import Action
from auth.purposes import Purpose
from auth.roles import Role
from crm.catalogue import BY_PATH
from crm.services.held_keys import require
from crm.services.profiles import groups
from crm.services.request import Request

CLERK = Actor(
    subject="clerk-1", issuer="https://issuer.test", org="north", roles=frozenset({Role.FRONT_DESK}),
    purpose=Purpose.PATADMIN, client_id="desk", token_id="t-1", patient_id=None, expires_at=2_000_000_000,
    family_name="Smith",
)  # fmt: skip

OTHERS = [
    replace(CLERK, org="south"),
    replace(CLERK, subject="clerk-2"),
    replace(CLERK, roles=frozenset({Role.CLINICIAN})),
    replace(CLERK, purpose=Purpose.TREAT),
    replace(CLERK, purpose=None),
    replace(CLERK, client_id=None),
    replace(CLERK, token_id="t-2"),
    replace(CLERK, family_name="Jones"),
    replace(CLERK, own_record="p-1"),
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_context_is_of_the_actor_who_asks(other: Actor) -> None:
    """Actors that differ in one claim have contexts that differ, also where the one was asked for before the other."""
    request = Request("r-1", "Card")
    before = request.context(CLERK, "front_desk/PATADMIN")
    found = request.context(other, "front_desk/PATADMIN")
    assert found != before
    assert (found.org, found.who.sub, found.who.jti) == (other.org, other.subject, other.token_id)
    assert found.purpose == (other.purpose.value if other.purpose else None)
    assert found.who.roles == tuple(sorted(other.roles))
    assert found.caller is not None
    assert (found.caller.family_name, found.caller.own_record) == (other.family_name, other.own_record)
    assert request.context(CLERK, "front_desk/PATADMIN") == before


def test_equal_actors_are_one() -> None:
    """Equal actors have equal hashes, or what is kept would be worked out for each request."""
    assert hash(replace(CLERK)) == hash(CLERK)
    assert replace(CLERK) == CLERK


def test_a_ruling_is_asked_for_each_paths_anew() -> None:
    """What a role may read of some paths says nothing about others, nor about another role's."""
    ruling = policy.ruling(CLERK, Action.READ)
    assert ruling.reading(groups(["displayName"])) == policy.decide_read(CLERK, groups(["displayName"]))
    with pytest.raises(ForbiddenField):
        ruling.reading(groups(["displayName", "religion"]))


def test_missing_keys_are_told_for_the_paths_that_need_them() -> None:
    """Whether this process was given a class is looked up by what it holds now, not by what it held before."""

    class Held:
        held = frozenset(row.key_class for row in BY_PATH.values() if row.key_class is not None)

    class Bare:
        held: frozenset[object] = frozenset()

    require(Held(), ["displayName"])  # type: ignore[arg-type]
    with pytest.raises(Exception, match="not given") as refused:
        require(Bare(), ["displayName"])  # type: ignore[arg-type]
    assert refused.value.paths == ("displayName",)  # type: ignore[attr-defined]
    require(Held(), ["displayName"])  # type: ignore[arg-type]
