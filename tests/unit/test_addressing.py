"""The one rule for how to address a person, case by case."""

from itertools import permutations
from typing import Any

import pytest

from crm.domain import addressing

TODAY = "2025-06-15"
USES = ("NICKNAME", "USUAL", "OFFICIAL", None, "TEMP", "ANONYMOUS")
LEFT_BEHIND = ("MAIDEN", "OLD")


def name(use: str | None, start: str | None = None, end: str | None = None, **parts: Any) -> dict[str, Any]:
    """A name that says its own use, as parsed."""
    period = {key: bound for key, bound in (("start", start), ("end", end)) if bound}
    shown = parts or {"text": f"the {use} one"}
    return {"given": [], "prefix": [], "suffix": [], **shown} | ({"use": use} if use else {}) | {"period": period}


def shown(*names: dict[str, Any], preferred: str | None = None, on: str = TODAY) -> str:
    """The display name on a day."""
    return addressing.display_name(names, preferred, on)


def test_the_preferred_name_beats_every_name() -> None:
    """What the person says goes, exactly as they say it."""
    assert shown(*[name(use) for use in (*USES, *LEFT_BEHIND)], preferred="DJ  Zoë") == "DJ  Zoë"


@pytest.mark.parametrize("first", range(len(USES)))
def test_current_names_by_use(first: int) -> None:
    """Among current names the use decides, in any order of the list."""
    rest = [name(use) for use in USES[first:]]
    for names in permutations(rest) if len(rest) < 5 else (rest, rest[::-1]):
        assert shown(*names) == f"the {USES[first]} one"


@pytest.mark.parametrize("use", USES)
def test_any_current_name_beats_any_that_is_over(use: str | None) -> None:
    """A nickname that ended loses against whatever holds today."""
    assert shown(name("NICKNAME", end="2025-06-14", text="over"), name(use)) == f"the {use} one"
    assert shown(name("NICKNAME", start="2025-06-16", text="not yet"), name(use)) == f"the {use} one"


@pytest.mark.parametrize("left", LEFT_BEHIND)
@pytest.mark.parametrize("use", USES)
def test_names_left_behind_come_last(left: str, use: str | None) -> None:
    """A former name is not used while there is any other, even one whose period is over."""
    assert shown(name(left), name(use, end="1999")) == f"the {use} one"


def test_a_name_left_behind_is_better_than_none() -> None:
    """Where nothing else is known the maiden name is used, then the old one."""
    assert shown(name("OLD"), name("MAIDEN")) == "the MAIDEN one"
    assert shown(name("OLD", end="1999")) == "the OLD one"


def test_the_name_that_began_last_wins() -> None:
    """Of two official names the newer one counts; without dates the first in the list."""
    assert (
        shown(name("OFFICIAL", "2001", text="a"), name("OFFICIAL", "2001-05", text="b"), name("OFFICIAL", text="c"))
        == "b"
    )
    assert shown(name("OFFICIAL", text="a"), name("OFFICIAL", text="b")) == "a"


@pytest.mark.parametrize(
    ("start", "end", "current"),
    [
        (None, None, True),
        ("2025", None, True),
        ("2025-06", None, True),
        ("2025-06-15", None, True),
        ("2025-06-16", None, False),
        ("2025-07", None, False),
        ("2026", None, False),
        (None, "2025", True),
        (None, "2025-06", True),
        (None, "2025-06-15", True),
        (None, "2025-06-14", False),
        (None, "2025-05", False),
        (None, "2024", False),
        ("2025-06-15T23:59:59-11:00", None, True),
        ("2025-06-16T00:00:00+14:00", None, False),
        (None, "2025-06-15T00:00:00Z", True),
        (None, "2025-06-14T23:59:59Z", False),
    ],
)
def test_periods_by_precision(start: str | None, end: str | None, current: bool) -> None:
    """A period holds on a day that it may include: unknown parts speak for it, and times count by their own day."""
    official = name("OFFICIAL", start, end, text="dated")
    assert shown(official, name("ANONYMOUS", text="other")) == ("dated" if current else "other")
    assert (addressing.legal_name_of({"names": [official]}, TODAY) is not None) == current


@pytest.mark.parametrize(
    ("parts", "composed"),
    [
        ({"text": "Dr Ann Ng", "given": ["X"], "family": "Y"}, "Dr Ann Ng"),
        ({"given": ["Ann", "May"], "family": "van der Berg"}, "Ann May van der Berg"),
        ({"given": ["Ann"], "family": "Ng", "prefix": ["Dr"], "suffix": ["PhD"]}, "Ann Ng"),
        ({"given": ["Sukarno"]}, "Sukarno"),
        ({"family": "Sukarno"}, "Sukarno"),
        ({"given": ["太郎"], "family": "山田"}, "山田太郎"),
        ({"given": ["ひろし"], "family": "佐々木"}, "佐々木ひろし"),
        ({"given": ["タロウ"], "family": "ヤマダ"}, "ヤマダ タロウ"),
        ({"given": ["유미"], "family": "강"}, "강유미"),
        ({"given": ["伟"], "family": "欧阳"}, "欧阳伟"),
        ({"given": ["David"], "family": "陳"}, "David 陳"),
        ({"given": ["علي"], "family": "حسن"}, "علي حسن"),
        ({"given": ["István"], "family": "Nagy", "text": "Nagy István"}, "Nagy István"),
    ],
)
def test_composition(parts: dict[str, Any], composed: str) -> None:
    """A text is taken as it stands; parts are put in the order of their script, without titles."""
    assert shown(name("USUAL", **parts)) == composed


def test_a_name_that_says_nothing_is_passed_over() -> None:
    """A name of titles only cannot be shown."""
    assert shown(name("NICKNAME", prefix=["Dr"]), name("OFFICIAL")) == "the OFFICIAL one"
    assert shown(name("NICKNAME", prefix=["Dr"])) == addressing.UNNAMED


@pytest.mark.parametrize("cells", [{}, {"names": []}, {"names": None, "preferred_name": None}])
def test_the_nameless_have_one_placeholder(cells: dict[str, Any]) -> None:
    """Somebody is always addressed, and never by an empty string."""
    assert addressing.display_name_of(cells, TODAY) == "Unnamed patient"
    assert addressing.legal_name_of(cells, TODAY) is None


def test_display_name_of_reads_the_cells() -> None:
    """The catalogue's way in takes the cells as they were opened."""
    cells = {"names": [name("USUAL", given=["Ann"], family="Ng")], "preferred_name": None}
    assert addressing.display_name_of(cells, TODAY) == "Ann Ng"
    assert addressing.display_name_of(cells | {"preferred_name": "Annie"}, TODAY) == "Annie"


def test_the_legal_name_is_never_guessed() -> None:
    """Only an official name that holds today is the legal one."""
    others = [name(use) for use in (*USES, *LEFT_BEHIND) if use != "OFFICIAL"]
    assert addressing.legal_name_of({"names": others}, TODAY) is None


def test_the_legal_name_in_parts() -> None:
    """The newest official name comes in its parts; a text only where the record has one."""
    names = [
        name("OFFICIAL", "1990", "2010", given=["Ann"], family="Ng"),
        name("OFFICIAL", "2010", given=["Ann"], family="Berg", prefix=["Dr"]),
    ]
    legal = {"given": ["Ann"], "family": "Berg", "prefix": ["Dr"], "suffix": []}
    assert addressing.legal_name_of({"names": names}, TODAY) == legal
    assert addressing.legal_name_of({"names": [name("OFFICIAL", text="Ann B")]}, TODAY) == {
        "given": [], "prefix": [], "suffix": [], "text": "Ann B",
    }  # fmt: skip
