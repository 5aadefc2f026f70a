"""Tokens with several roles: what they add up to is allowed, and recorded like everything else."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from auth.errors import AuthError
from auth.policy import GRANTS, Action
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.errors import NotFound
from tests.conftest import Databases
from tests.house import REQUEST, actor, house

PAIRS = sorted(
    {
        (frozenset({one.role, other.role}), purpose)
        for one, other in combinations(GRANTS, 2)
        for purpose in one.purposes & other.purposes
        if one.role is not other.role and PERSONAL.isdisjoint({one.role, other.role})
    },
    key=lambda pair: (sorted(pair[0]), pair[1]),
)


def test_there_are_pairs() -> None:
    """The table has roles that share a purpose; else the test below would test nothing."""
    assert len(PAIRS) >= 4


@pytest.mark.parametrize(("roles", "purpose"), PAIRS, ids=["+".join(sorted(roles)) + f"/{why}" for roles, why in PAIRS])
async def test_what_two_roles_may_is_recorded_with_both_rules(
    databases: Databases, tmp_path: Path, roles: frozenset[Role], purpose: Purpose
) -> None:
    """A read, a refusal and a look that finds nobody each leave their event, naming the rules that decided."""
    url = databases.create("sqlite")
    async with house(url, tmp_path) as it:
        patient = (await it.register())["id"]
        asker = replace(actor(min(roles)), roles=roles, purpose=purpose, subject="both")
        reading = all(
            Action.READ in grant.actions for grant in GRANTS if grant.role in roles and purpose in grant.purposes
        )
        try:
            await it.services.profiles.read(asker, REQUEST, patient, frozenset({"recordedAt"}))
            with pytest.raises(NotFound):
                await it.services.profiles.read(asker, REQUEST, "00000000-0000-7000-8000-000000000000", frozenset())
        except AuthError:
            assert not reading
        found = [event for event in await it.events() if event["actor"]["subject"] == "both"]
        assert [event["outcome"] for event in found] == ["denied", "ok"]
        assert found[1]["policy_rules"] == sorted(f"{role}/{purpose}" for role in roles) or not reading
    databases.drop(url)
