"""The rules of a key's life that need no database: who is waited for, what is due, and how a command words it."""

from dataclasses import replace
from typing import Any

import pytest

from commands import key_report
from commands.keys import Done
from crm.crypto.stored_key import StoredKey
from crm.services.key_life.data_keys import Resealed
from crm.services.key_life.ends import Ending, Verdict
from crm.services.key_life.roots import Rerooted
from crm.services.key_life.status import KeyStatus, Periods, RootStatus, Status, due_of
from crm.services.key_life.wraps import Rotated
from crm.store.keystore import KeyRow
from crm.store.reindexing import Page
from crm.store.replicas import Holds, Replica

DAY = 86_400 * 1_000_000
PERIODS = Periods(wrap=30 * DAY, index=365 * DAY, root=365 * DAY, backup=7 * DAY)


@pytest.mark.parametrize(
    ("holds", "knows", "relies_on_older"),
    [
        (None, False, True),
        ({}, True, False),
        ({"contact": {1: "active"}}, True, False),
        ({"identity": {1: "active"}}, False, True),
        ({"identity": {1: "active", 2: "pending"}}, True, True),
        ({"identity": {1: "retiring", 2: "active"}}, True, False),
        ({"identity": {2: "retiring", 3: "active"}}, True, False),
    ],
    ids=["has not said", "holds nothing", "lacks the class", "behind", "knows it", "uses it", "ahead"],
)
def test_who_is_waited_for(holds: Holds | None, knows: bool, relies_on_older: bool) -> None:
    """A replica that starts, or lacks the key, or may still write under an older one."""
    replica = Replica("r", 0, 0, holds)
    assert replica.knows("identity", 2) is knows
    assert replica.relies_on_older("identity", 2) is relies_on_older


def row(kind: str, key_class: str, state: str, **times: Any) -> KeyRow:
    """A stored key that was created at day 1."""
    key = StoredKey(kind, key_class, 1, state, "keyring", "root", b"")
    return replace(KeyRow(key, DAY, None, None, None, None, None), **times)


@pytest.mark.parametrize(
    ("key", "due"),
    [
        (row("wrap", "identity", "active", activated_at=2 * DAY), 32 * DAY),
        (row("wrap", "identity", "active"), 31 * DAY),
        (row("index", "", "active", activated_at=2 * DAY), 367 * DAY),
        (row("sign", "", "active"), None),
        (row("wrap", "identity", "pending"), None),
        (row("wrap", "identity", "retiring"), None),
        (row("wrap", "identity", "retiring", drained_at=9 * DAY), 16 * DAY),
        (row("wrap", "identity", "destroyed", drained_at=9 * DAY, destroyed_at=20 * DAY), None),
    ],
)
def test_what_is_due_when(key: KeyRow, due: int | None) -> None:
    """An active key by its age in use, a drained one by the age of copies; others never."""
    assert due_of(key, PERIODS) == due


def test_who_lacks_which_version_of_the_index() -> None:
    """Older values alone lack the new one; beside it they are superseded; newer ones are neither."""
    page = Page({"a": {1: {1}}, "b": {1: {1, 2}}, "c": {1: {2}}, "d": {1: {3}}, "e": {1: {1, 2}, 2: {1}}}, "")
    assert page.lacking(2) == ["a", "e"]
    assert page.superseded(2) == ["b", "e"]


def test_rotations_in_words() -> None:
    """One line for each, with the rate where there was work; what was left out or resumed is said."""
    done = Done([
        Rotated("identity", 2, resumed=False, moved=100, seconds=2.0),
        Rotated("index", 3, resumed=True, moved=10, left_out=1, seconds=1.0),
        Resealed(0, patients=4, moved=16, seconds=2.0),
    ])  # fmt: skip
    resumed = "; an unfinished rotation was finished, and no other one begun"
    assert not done.whole
    assert key_report.rotated(done) == [
        "identity 2: 100 rows moved in 2.0 s (50 per second)",
        f"index 3: 10 rows moved in 1.0 s (10 per second){resumed}; 1 could not be opened and stay as they were",
        "data keys: 16 replaced, of 4 patients in 2.0 s (2 per second)",
    ]
    assert Done([Rerooted("log", "log-1", resumed=False, moved=1)]).whole
    assert "has to be copied to the other machines" in key_report.rotated(
        Done([Rerooted("log", "log-1", resumed=False, moved=1)])
    )[-1]  # fmt: skip


def test_columns_stay_apart() -> None:
    """However long a reference, a provider or a number is, two spaces stand before the next column."""
    key = KeyStatus("identity", 1, "active", "a-provider", "r", 0, 0, None, None, 12_345_678_901, 30 * DAY)
    roots = [
        RootStatus("preference", "heed-production-preference:v12", 2 * DAY, 11, 400 * DAY),
        RootStatus("log", "log-1", None, 0, None),
    ]
    told = Status((key, replace(key, use="log", references=0, due=None)), tuple(roots), (), {"contact": 1}, (), 3 * DAY)
    assert key_report.status_lines(told)[:7] == [
        "key         state   age         rows  provider    due",
        "identity 1  active  3 d  12345678901  a-provider  rotate by 1970-01-31",
        "log 1       active  3 d            0  a-provider  -",
        "",
        "root key                                   since       older  due",
        "preference heed-production-preference:v12  1970-01-03     11  1971-02-05",
        "log log-1                                  -               0  -",
    ]
    assert key_report.status_lines(replace(told, keys=(), roots=()))[0] == "key  state  age  rows  provider  due"


def test_endings_in_words() -> None:
    """What was destroyed, and for each other old key the reason why not."""
    gone = Ending("identity", 1, "r", Verdict.READY)
    kept = [
        Ending("contact", 1, "r", Verdict.NEEDED, references=7),
        Ending("index", 1, "r", Verdict.UNFINISHED),
        Ending("log", None, "log-1", Verdict.YOUNG, due=31 * DAY),
    ]
    lines = key_report.endings([gone], kept)
    assert lines[0] == "destroyed: identity 1"
    assert lines[1].startswith("kept: contact 1: 7 rows are under it")
    assert lines[2].startswith("kept: index 1: its rotation is not finished")
    assert lines[3].startswith("kept: root key log-1 of log: copies that need it are kept until 1970-02-01")
    assert lines[4].startswith("copy the key store and the root keys now")
    assert key_report.endings([], []) == ["there is no old key"]
    assert "however new they are" in "\n".join(key_report.warning([gone], hurry=True))
    assert "however new they are" not in "\n".join(key_report.warning([gone], hurry=False))
