"""The policy against a table written apart from it, for every role, purpose, group and action there is."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError, Forbidden, ForbiddenField, PurposeNotPermitted, PurposeRequired
from auth.policy import (
    Action,
    Grant,
    Group,
    decide,
    decide_read,
    decide_write,
    scope,
    withheld_when_restricted,
)
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role

ROOT = Path(__file__).resolve().parents[2]
LETTERS = {
    "R": Action.READ,
    "S": Action.SEARCH,
    "G": Action.REGISTER,
    "U": Action.UPDATE,
    "I": Action.IMPORT,
    "E": Action.EXPORT,
    "A": Action.AUDIT_READ,
    "M": Action.SELF_READ,
    "L": Action.SELF_AUDIT,
    "X": Action.SCHEMA_READ,
    "D": Action.ERASE,
    "H": Action.HOLD,
    "B": Action.BREAK_GLASS,
    "V": Action.REVIEW,
    "C": Action.DECIDE,
    "N": Action.CONSENT,
    "F": Action.CONFIDE,
    "T": Action.RESTRICT,
    "Q": Action.INBOUND,
    "O": Action.RESOLVE,
    "Y": Action.ATTEST,
    "P": Action.HISTORY,
    "W": Action.FOLLOW,
    "Z": Action.MERGE,
}
READING = (Action.READ, Action.SEARCH, Action.EXPORT, Action.SELF_READ)
WRITING = (Action.REGISTER, Action.UPDATE, Action.IMPORT)


class Expected(NamedTuple):
    """One line of the table: a letter for each group, the actions, what a restricted record does, and a condition."""

    cells: dict[Group, str]
    actions: frozenset[Action]
    restricted: str
    needs: str


def table() -> dict[tuple[Role, Purpose], Expected]:
    """The hand-written table."""
    rows: dict[tuple[Role, Purpose], Expected] = {}
    for line in Path(__file__).with_name("policy_matrix.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, *cells, actions, restricted, needs = line.split()
        role, purpose = name.split("/")
        granted = frozenset(LETTERS[letter] for letter in actions)
        rows[Role(role), Purpose(purpose)] = Expected(dict(zip(Group, cells, strict=True)), granted, restricted, needs)
    return rows


EXPECTED = table()
NOTHING = Expected(dict.fromkeys(Group, "."), frozenset(), "withheld", "-")
PAIRS = [(role, purpose) for role in Role for purpose in Purpose]


def actor(*roles: Role, purpose: Purpose | None) -> Actor:
    """An actor in these roles, bound to patient `p-1` when one of them is personal."""
    bound = "p-1" if PERSONAL.intersection(roles) else None
    return Actor("u-1", "https://issuer.test", "org-1", frozenset(roles), purpose, None, "t-1", bound, 2_000_000_000)


def read_letter(who: Actor, group: Group, action: Action) -> str:
    """What the policy answers for one path of one group: `r`, `m`, or `.`."""
    try:
        grant = decide_read(who, {"some.path": group}, action)
    except ForbiddenField:
        return "."
    assert grant.clear | grant.masked == {"some.path"}
    assert not grant.clear & grant.masked
    return "r" if grant.clear else "m"


def may_write(who: Actor, group: Group, action: Action) -> bool:
    """Whether the policy lets one path of one group be changed."""
    try:
        decide_write(who, {"some.path": group}, action)
    except ForbiddenField:
        return False
    return True


def test_table_has_a_row_for_each_role() -> None:
    """No role is forgotten, and the table has no row that the policy lacks."""
    assert {role for role, _ in EXPECTED} == set(Role)
    assert {(row.role, row.purpose) for row in policy.matrix()} == EXPECTED.keys()


@pytest.mark.parametrize(("role", "purpose"), PAIRS)
def test_every_action_of_every_role_and_purpose(role: Role, purpose: Purpose) -> None:
    """Each action is allowed where the table says so, with the row's name, and refused everywhere else."""
    who, row = actor(role, purpose=purpose), EXPECTED.get((role, purpose))
    for action in Action:
        if row is None:
            with pytest.raises(PurposeNotPermitted):
                decide(who, action)
        elif action in row.actions:
            assert decide(who, action) == f"{role}/{purpose}"
        else:
            with pytest.raises(Forbidden) as refusal:
                decide(who, action)
            assert refusal.value.rule == f"{role}/{purpose}"


@pytest.mark.parametrize(("role", "purpose"), PAIRS)
def test_every_group_of_every_role_and_purpose(role: Role, purpose: Purpose) -> None:
    """Each group is clear, masked, writable or refused exactly as the table says, for every action."""
    who, row = actor(role, purpose=purpose), EXPECTED.get((role, purpose))
    for group in Group:
        letter = row.cells[group] if row else "."
        for action in READING:
            if row and action in row.actions:
                assert read_letter(who, group, action) == {"w": "r"}.get(letter, letter)
            else:
                with pytest.raises((Forbidden, PurposeNotPermitted)):
                    decide_read(who, {"some.path": group}, action)
        for action in WRITING:
            if row and action in row.actions:
                assert may_write(who, group, action) == (letter == "w")
            else:
                with pytest.raises((Forbidden, PurposeNotPermitted)):
                    decide_write(who, {"some.path": group}, action)


@pytest.mark.parametrize(("role", "purpose"), PAIRS)
def test_restricted_records(role: Role, purpose: Purpose) -> None:
    """Only the rows marked `seen` still get where a person is and how to reach them."""
    row = EXPECTED.get((role, purpose))
    seen = row is not None and row.restricted == "seen"
    withheld = withheld_when_restricted(actor(role, purpose=purpose))
    assert withheld == (frozenset() if seen else {Group.CONTACT, Group.ADDRESS, Group.CASE_MANAGER, Group.RELATED})


@pytest.mark.parametrize(("role", "purpose"), PAIRS)
def test_what_needs_a_grant(role: Role, purpose: Purpose) -> None:
    """A read says whether it needs a break-glass grant for each record, also beside roles that lend nothing to it."""
    row = EXPECTED.get((role, purpose))
    if row is None or Action.READ not in row.actions:
        return
    beside = () if role in PERSONAL else (Role.OPERATOR,)
    for who in (actor(role, purpose=purpose), actor(role, *beside, purpose=purpose)):
        assert decide_read(who, {}).needs_grant == (row.needs == "grant")
        assert decide_read(who, {"some.path": Group.RECORD}).needs_grant == (row.needs == "grant")


def test_breaking_the_glass_is_for_one_patient_at_a_time() -> None:
    """What needs a grant neither searches nor changes nor copies, and nobody who may ask for one may review one."""
    asking = {role for (role, _), row in EXPECTED.items() if Action.BREAK_GLASS in row.actions}
    reviewing = {role for (role, _), row in EXPECTED.items() if Action.REVIEW in row.actions}
    assert asking == {Role.CLINICIAN}
    assert reviewing == {Role.COMPLIANCE_OFFICER, Role.PRIVACY_OFFICER}
    for row in EXPECTED.values():
        if row.needs == "grant":
            assert row.actions == {Action.READ, Action.BREAK_GLASS, Action.DECIDE}
            assert "w" not in row.cells.values()


def test_the_condition_of_one_row_holds_for_the_union() -> None:
    """A row without the condition does not lift that of another: it would open every record of the organisation."""
    bound = Grant(Role.CLINICIAN, frozenset({Purpose.TRAIN}), frozenset({Action.READ}), needs_grant=True)
    free = replace(bound, role=Role.OPERATOR, needs_grant=False)
    assert policy._union([bound, free], Purpose.TRAIN, Action.READ).needs_grant
    assert not policy._union([free], Purpose.TRAIN, Action.READ).needs_grant


def test_restricted_record_without_a_purpose() -> None:
    """No purpose, no exception from the restriction."""
    assert withheld_when_restricted(actor(Role.PATIENT, purpose=None)) == policy.WITHHELD_WHEN_RESTRICTED


@pytest.mark.parametrize("group", Group)
def test_each_group_is_readable_by_somebody(group: Group) -> None:
    """A group that nobody may read would be data nobody needs."""
    assert any(row.cells[group] in "rw" for row in EXPECTED.values())


def test_whoever_reads_patients_reads_the_record_itself() -> None:
    """`id`, `version` and the clear columns come with every right to read patients."""
    for row in EXPECTED.values():
        assert (row.cells[Group.RECORD] in "rw") == (Action.READ in row.actions)


def test_nobody_who_collects_data_may_erase_it() -> None:
    """Only privacy officers erase, and only those who may erase or answer for evidence hold: none who collects data.

    Privacy officers protect people by restrictions and confidential communications, which is all that they write.
    """
    protecting = {Group.GOVERNANCE, Group.RESTRICTION, Group.CONFIDENTIAL}
    rows = {action: {row for row, given in EXPECTED.items() if action in given.actions} for action in Action}
    assert {role for role, _ in rows[Action.ERASE]} == {Role.PRIVACY_OFFICER}
    assert rows[Action.HOLD] - rows[Action.ERASE] == {(Role.COMPLIANCE_OFFICER, Purpose.HCOMPL)}
    for row in rows[Action.HOLD]:
        written = {group for group, cell in EXPECTED[row].cells.items() if cell == "w"}
        assert written == (protecting if row in rows[Action.ERASE] else set())


def test_whatever_is_writable_is_readable() -> None:
    """Nobody changes blindly what they may not see."""
    for grant in policy.GRANTS:
        assert grant.write <= grant.read
        assert not grant.read & grant.masked


def test_nobody_is_granted_a_role_twice_for_one_purpose() -> None:
    """One row for each role and purpose, so that the table can be read top to bottom."""
    names = [(row.role, row.purpose) for row in policy.matrix()]
    assert len(names) == len(set(names))


def test_no_purpose() -> None:
    """Without a purpose of use everything is refused, whatever the role."""
    for role in Role:
        for action in Action:
            with pytest.raises(PurposeRequired):
                decide(actor(role, purpose=None), action)


def test_no_role_means_no() -> None:
    """An actor without any role has no purpose that would be permitted."""
    for purpose in Purpose:
        with pytest.raises(PurposeNotPermitted):
            decide(actor(purpose=purpose), Action.READ)


def test_all_paths_to_blame_are_named_sorted() -> None:
    """A refusal names every field outside the grant, sorted, and none inside it."""
    asked = {"religion": Group.CULTURE, "displayName": Group.ADDRESSING, "administrativeGender": Group.GENDER}
    with pytest.raises(ForbiddenField) as refusal:
        decide_read(actor(Role.FRONT_DESK, purpose=Purpose.PATADMIN), asked)
    assert refusal.value.paths == ("administrativeGender", "religion")
    with pytest.raises(ForbiddenField) as refusal:
        decide_write(actor(Role.FRONT_DESK, purpose=Purpose.PATADMIN), asked, Action.UPDATE)
    assert refusal.value.paths == ("administrativeGender", "religion")


def test_clear_and_masked_in_one_answer() -> None:
    """The compliance officer's read says which paths come masked."""
    asked = {"displayName": Group.ADDRESSING, "recordedAt": Group.RECORD, "contactPoints": Group.CONTACT}
    grant = decide_read(actor(Role.COMPLIANCE_OFFICER, purpose=Purpose.HCOMPL), asked)
    masked = frozenset({"displayName", "contactPoints"})
    assert grant[:3] == ("compliance_officer/HCOMPL", frozenset({"recordedAt"}), masked)


def test_nothing_asked_still_needs_the_action() -> None:
    """A read of only `id` and `version` names no group, and is still refused to whoever may not read patients."""
    assert decide_read(actor(Role.MESSAGING, purpose=Purpose.COC), {}).rule == "messaging/COC"
    with pytest.raises(Forbidden):
        decide_read(actor(Role.OPERATOR, purpose=Purpose.HSYSADMIN), {})


def staff() -> Iterator[tuple[Role, Role, Purpose, Action]]:
    """Two roles that may come in one token, with every purpose and action."""
    for one, other in combinations(sorted(set(Role) - PERSONAL), 2):
        for purpose in Purpose:
            for action in Action:
                yield one, other, purpose, action


def test_several_roles_add_up() -> None:
    """Two roles get the union of what each gets for that action and purpose, and clear beats masked."""
    for one, other, purpose, action in staff():
        rows = [row for role in (one, other) if (row := EXPECTED.get((role, purpose))) and action in row.actions]
        who = actor(one, other, purpose=purpose)
        if not rows:
            with pytest.raises((Forbidden, PurposeNotPermitted)):
                decide(who, action)
            continue
        for group in Group:
            letters = {row.cells[group] for row in rows}
            assert read_letter(who, group, action) == ("r" if letters & {"r", "w"} else "m" if "m" in letters else ".")
            assert may_write(who, group, action) == ("w" in letters)


def test_several_roles_are_named_together() -> None:
    """The rule's name lists the rows that granted, in the table's order."""
    who = actor(Role.PRIVACY_OFFICER, Role.COMPLIANCE_OFFICER, Role.FRONT_DESK, purpose=Purpose.HCOMPL)
    assert decide(who, Action.AUDIT_READ) == "compliance_officer/HCOMPL+privacy_officer/HCOMPL"
    assert decide(who, Action.SEARCH) == "privacy_officer/HCOMPL"


def test_a_masked_field_does_not_become_an_oracle_through_another_role() -> None:
    """A row lends its masked fields only to actions it holds: the compliance officer's do not reach a search."""
    who = actor(Role.COMPLIANCE_OFFICER, Role.PRIVACY_OFFICER, purpose=Purpose.HCOMPL)
    assert decide_read(who, {"contactPoints": Group.CONTACT}, Action.SEARCH).masked == frozenset()


def test_rows_lend_nothing_to_actions_they_do_not_hold() -> None:
    """Of three made-up rows, only the two that hold the action count, and what one gives in clear is not masked."""
    clear = Grant(
        Role.CLINICIAN,
        frozenset({Purpose.TRAIN}),
        frozenset({Action.READ}),
        read=frozenset({Group.RECORD, Group.BIRTH}),
    )
    masking = replace(clear, role=Role.OPERATOR, read=frozenset(), masked=frozenset({Group.BIRTH, Group.CONTACT}))
    idle = Grant(
        Role.MESSAGING,
        frozenset({Purpose.TRAIN}),
        frozenset({Action.UPDATE}),
        read=frozenset({Group.VITAL}),
        masked=frozenset({Group.STYLE}),
        write=frozenset({Group.VITAL}),
    )
    ruling = policy._union([clear, masking, idle], Purpose.TRAIN, Action.READ)
    assert ruling.rule == "clinician/TRAIN+operator/TRAIN"
    assert ruling.read == {Group.RECORD, Group.BIRTH}
    assert ruling.masked == {Group.CONTACT}
    assert ruling.write == frozenset()
    assert policy._union([clear, masking, idle], Purpose.TRAIN, Action.UPDATE).write == {Group.VITAL}


def test_scope() -> None:
    """A patient or proxy is confined to the one record of the token, everybody else to the organisation."""
    for role in Role:
        assert scope(actor(role, purpose=None)) == ("p-1" if role in PERSONAL else None)


@pytest.mark.parametrize("bound", [None, ""])
@pytest.mark.parametrize("role", sorted(PERSONAL))
def test_personal_role_without_a_patient(role: Role, bound: str | None) -> None:
    """A patient or proxy whose token names no record gets nothing at all."""
    who = replace(actor(role, purpose=Purpose.PATRQT), patient_id=bound)
    assert_refused_everything(who)


@pytest.mark.parametrize("role", sorted(PERSONAL))
def test_personal_role_beside_another(role: Role) -> None:
    """A patient's token that also holds another role gets nothing: whose record would it open?"""
    for other in set(Role) - {role}:
        for purpose in Purpose:
            assert_refused_everything(actor(role, other, purpose=purpose))


def assert_refused_everything(who: Actor) -> None:
    """Every question that can be put to the policy is answered with Forbidden."""
    with pytest.raises(Forbidden):
        scope(who)
    for action in Action:
        with pytest.raises(Forbidden):
            decide(who, action)
        with pytest.raises(Forbidden):
            decide_read(who, {"some.path": Group.RECORD}, action)
        with pytest.raises(Forbidden):
            decide_write(who, {"some.path": Group.LANGUAGE}, action)


def test_refusals_say_no_more_than_they_must() -> None:
    """No refusal carries the actor's name, organisation or token id in its text."""
    for role in Role:
        for purpose in Purpose:
            if EXPECTED.get((role, purpose), NOTHING).cells[Group.CULTURE] in "rw":
                continue
            with pytest.raises(AuthError) as refusal:
                decide_read(actor(role, purpose=purpose), {"religion": Group.CULTURE}, Action.READ)
            assert not any(secret in repr(refusal.value) for secret in ("u-1", "org-1", "t-1", "p-1"))


def test_version_is_the_digest_of_the_printed_table() -> None:
    """The version in every event can be recomputed from what `policy show` prints."""
    lines = ["\t".join(row) for row in policy.matrix()]
    lines.append("withheld when restricted\tADDRESS CASE_MANAGER CONTACT RELATED")
    digest = sha256("\n".join(lines).encode()).hexdigest()
    assert policy.POLICY_VERSION == f"sha256:{digest}"


def test_version_is_the_same_in_every_process() -> None:
    """Two replicas name one policy alike, whatever the order in which Python walks a set."""
    command = [sys.executable, "-c", "from auth.policy import POLICY_VERSION; print(POLICY_VERSION)"]
    for seed in ("1", "2"):
        printed = subprocess.run(
            command, cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert printed.stdout.strip() == policy.POLICY_VERSION
