"""The policy: the decisions that are drawn from one allow-list of roles and purposes of use (`grants`).

Whatever `GRANTS` does not name is refused, and refused before any row is read. The policy knows groups of fields, not
fields, and no patient: which record exists, and in which organisation, is for the caller's statements.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from auth.actor import Actor
from auth.errors import Forbidden, ForbiddenField, PurposeNotPermitted, PurposeRequired
from auth.grants import GRANTS, USED_UNSEEN, WITHHELD_WHEN_RESTRICTED, Grant
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from auth.vocabulary import Action, Group

__all__ = [
    "GRANTS",
    "POLICY_VERSION",
    "WITHHELD_WHEN_RESTRICTED",
    "Action",
    "Grant",
    "Group",
    "MatrixRow",
    "ReadGrant",
    "Ruling",
    "WriteGrant",
    "decide",
    "decide_read",
    "decide_write",
    "matrix",
    "ruling",
    "scope",
    "withheld_when_restricted",
]


class ReadGrant(NamedTuple):
    """A yes to a read: the `rule` that said so, and which of the asked paths come in `clear` and which `masked`.

    `groups` are all of which the actor may be told, asked or not: what is said *about* other groups is not for them. Of
    what is used unseen, nothing but that it is there is told: not by whom it was entered, nor when.
    With `needs_grant` none of it is a yes for a record for which the actor holds no active break-glass grant.
    """

    rule: str
    clear: frozenset[str]
    masked: frozenset[str]
    groups: frozenset[Group] = frozenset()
    needs_grant: bool = False


class WriteGrant(NamedTuple):
    """A yes to a change, with the `rule` that said so."""

    rule: str


class MatrixRow(NamedTuple):
    """One printable line of the allow-list; several values in a cell are sorted and separated by spaces."""

    role: str
    purpose: str
    actions: str
    read: str
    masked: str
    write: str
    restricted: str
    needs: str


# --- decisions -------------------------------------------------------------------------------------------------------


def decide(actor: Actor, action: Action) -> str:
    """The name of the rule that lets `actor` do `action`, such as `front_desk/PATADMIN`.

    Raises PurposeRequired, PurposeNotPermitted (no grant of the actor's roles has that purpose) or Forbidden.
    """
    return ruling(actor, action).rule


def decide_read(actor: Actor, groups: Mapping[str, Group], action: Action = Action.READ) -> ReadGrant:
    """Which of the asked paths `actor` gets in clear and which masked; `groups` maps each path to its group.

    Paths of filters and sort keys count as read: ask for them too, and treat a masked one as no answer.
    Raises what `decide` raises, and ForbiddenField with every path that is neither clear nor masked.
    """
    return ruling(actor, action).reading(groups)


def decide_write(actor: Actor, groups: Mapping[str, Group], action: Action) -> WriteGrant:
    """A yes if `actor` may change every path of `groups` by `action` (register, update or import).

    Raises what `decide` raises, and ForbiddenField with every path that may not be changed.
    """
    found = ruling(actor, action)
    if refused := [path for path, group in groups.items() if group not in found.write]:
        raise ForbiddenField(refused)
    return WriteGrant(found.rule)


def scope(actor: Actor) -> str | None:
    """The only patient this actor may touch, by id; None means every patient of the actor's organisation.

    Raises Forbidden for a patient or proxy that is bound to no record, or that holds another role besides.
    """
    if actor.roles.isdisjoint(PERSONAL):
        return None
    if len(actor.roles) > 1 or not actor.patient_id:
        raise Forbidden("/".join((*sorted(actor.roles), "unbound")))
    return actor.patient_id


def withheld_when_restricted(actor: Actor) -> frozenset[Group]:
    """The groups that a restricted record keeps from `actor`, although the policy grants them otherwise."""
    if actor.purpose is None or not any(grant.sees_restricted for grant in _rows(actor.roles, actor.purpose)):
        return WITHHELD_WHEN_RESTRICTED
    return frozenset()


class Ruling(NamedTuple):
    """The union of all rows that let one set of roles do one action for one purpose."""

    rule: str
    read: frozenset[Group]
    masked: frozenset[Group]
    write: frozenset[Group]
    needs_grant: bool

    def reading(self, groups: Mapping[str, Group]) -> ReadGrant:
        """What these rows give of the asked paths: see `decide_read`. Follows from the ruling and the paths alone."""
        clear = frozenset(path for path, group in groups.items() if group in self.read)
        masked = frozenset(path for path, group in groups.items() if group in self.masked)
        if refused := groups.keys() - clear - masked:
            raise ForbiddenField(refused)
        return ReadGrant(self.rule, clear, masked, self.read | (self.masked - USED_UNSEEN), self.needs_grant)


def ruling(actor: Actor, action: Action) -> Ruling:
    """All that the policy says of `actor` doing `action`. Raises what `decide` raises."""
    scope(actor)
    if actor.purpose is None:
        raise PurposeRequired
    return _combine(actor.roles, actor.purpose, action)


@lru_cache(maxsize=1024)
def _combine(roles: frozenset[Role], purpose: Purpose, action: Action) -> Ruling:
    rows = _rows(roles, purpose)
    if not rows:
        raise PurposeNotPermitted
    return _union(rows, purpose, action)


def _union(rows: Sequence[Grant], purpose: Purpose, action: Action) -> Ruling:
    """Several roles add up: clear beats masked. Only rows that hold the action itself lend it their fields.

    A condition of one row holds for all that they give together.
    """
    granting = [grant for grant in rows if action in grant.actions]
    rule = "+".join(f"{grant.role}/{purpose}" for grant in granting or rows)
    if not granting:
        raise Forbidden(rule)
    read = frozenset[Group]().union(*(grant.read for grant in granting))
    masked = frozenset[Group]().union(*(grant.masked for grant in granting)) - read
    write = frozenset[Group]().union(*(grant.write for grant in granting))
    return Ruling(rule, read, masked, write, any(grant.needs_grant for grant in granting))


def _rows(roles: frozenset[Role], purpose: Purpose) -> list[Grant]:
    return [grant for grant in GRANTS if grant.role in roles and purpose in grant.purposes]


# --- the allow-list as text ------------------------------------------------------------------------------------------


def matrix() -> tuple[MatrixRow, ...]:
    """The whole allow-list, one row for each role and purpose, in a stable order: printable and diffable."""
    return tuple(
        MatrixRow(
            grant.role,
            purpose,
            _cell(grant.actions),
            _cell(grant.read),
            _cell(grant.masked),
            _cell(grant.write),
            "seen" if grant.sees_restricted else "withheld",
            "grant" if grant.needs_grant else "-",
        )
        for grant in GRANTS
        for purpose in sorted(grant.purposes)
    )


def _cell(values: frozenset[Action] | frozenset[Group]) -> str:
    return " ".join(sorted(values)) or "-"


def _version() -> str:
    lines = ["\t".join(row) for row in matrix()]
    lines.append("withheld when restricted\t" + _cell(WITHHELD_WHEN_RESTRICTED))
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


POLICY_VERSION: str = _version()
"""Names the allow-list in every access event: `sha256:` and the hex digest of its canonical text."""
