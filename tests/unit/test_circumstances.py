"""What is remarkable of a look at a record: hours, names, homes, teams and ages, with what cannot be decided."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.audit.event import FLAGS
from crm.catalogue import BY_NAME
from crm.domain.circumstances import ALWAYS, Caller, Onlooker, Watch, office_hours

TODAY = "2026-11-22"
MINUTE = 60_000_000


def at(text: str) -> int:
    """Microseconds since 1970 of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def flags(caller: Caller, **values: Any) -> frozenset[str]:
    """The flags of a look today at the patient `p-1`, of whom these values are known."""
    return Onlooker(caller).flags("p-1", values, TODAY)


# --- office hours ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "moment", "within"),
    [
        ("Mo-Fr 07:00-19:00", "2026-11-20T07:00", True),  # a Friday
        ("Mo-Fr 07:00-19:00", "2026-11-20T06:59", False),
        ("Mo-Fr 07:00-19:00", "2026-11-20T18:59", True),
        ("Mo-Fr 07:00-19:00", "2026-11-20T19:00", False),
        ("Mo-Fr 07:00-19:00", "2026-11-21T12:00", False),
        ("Mo-Fr 07:00-19:00, Sa 08:00-12:00", "2026-11-21T08:00", True),
        ("Mo-Fr 07:00-12:00,Mo-Fr 13:00-19:00", "2026-11-20T12:30", False),
        ("Fr 22:00-06:00", "2026-11-21T05:59", True),
        ("Fr 22:00-06:00", "2026-11-21T06:00", False),
        ("Fr 22:00-06:00", "2026-11-20T21:59", False),
        ("Su 20:00-04:00", "2026-11-23T03:00", True),  # round the end of the week
        ("Sa-Mo 10:00-11:00", "2026-11-22T10:30", True),
        ("Sa-Mo 10:00-11:00", "2026-11-24T10:30", False),
        ("We 00:00-24:00", "2026-11-25T23:59", True),
        ("We 00:00-24:00", "2026-11-26T00:00", False),
    ],
)
def test_office_hours(hours: str, moment: str, within: bool) -> None:
    """The beginning of a range belongs to it and the end does not; ranges may go on into the next day or week."""
    assert office_hours(hours, "UTC").cover(at(moment)) is within


def test_office_hours_are_those_of_the_clocks_there() -> None:
    """Seven in London is six in UTC in summer and seven in winter."""
    hours = office_hours("Mo-Fr 07:00-19:00", "Europe/London")
    assert hours.cover(at("2026-07-01T06:00"))
    assert not hours.cover(at("2026-07-01T05:59"))
    assert not hours.cover(at("2026-01-07T06:59"))
    assert hours.cover(at("2026-01-07T07:00"))


@pytest.mark.parametrize(
    "text",
    [
        "", "Mo-Fr", "07:00-19:00", "Mo-Fr 7:00-19:00", "Mo-Fr 07:00-19:60", "Mo-Fr 07:00-25:00", "Mo-Fr 24:01-24:02",
        "Mo-Fr 24:00-02:00", "Mo-Fr 09:00-09:00", "mo-fr 07:00-19:00", "Mo-Fr 07:00-19:00;", "Mo-Fr 07:00-19:00,",
        "Mo,We 07:00-19:00", "Xx 07:00-19:00", "Mo–Fr 07:00-19:00", "Mo-Fr ٠٧:00-19:00", "Mo-Fr 07:00-19:00 Sa",
    ],
)  # fmt: skip
def test_office_hours_are_strict(text: str) -> None:
    """What is not exactly a range is refused, so that nobody believes in hours that are not kept."""
    with pytest.raises(ValueError, match=r"^(must be|has a)"):
        office_hours(text, "UTC")


_CLOCKS = st.integers(0, 24 * 60 - 1)


@given(start=_CLOCKS, end=_CLOCKS, first=st.integers(0, 6), days=st.integers(0, 6), moment=st.integers(0, 7 * 1440 - 1))
def test_any_range_covers_what_it_says(start: int, end: int, first: int, days: int, moment: int) -> None:
    """A minute is covered exactly if it lies within the range as it begins on one of its days."""
    if start == end:
        return
    week = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
    text = f"{week[first]}-{week[(first + days) % 7]} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    lasts = (end - start) % 1440
    expected = any((moment - (day % 7 * 1440 + start)) % (7 * 1440) < lasts for day in range(first, first + days + 1))
    assert office_hours(text, "UTC").cover(at("2026-11-16T00:00") + moment * MINUTE) is expected


def test_the_hour_of_a_program_is_not_remarkable() -> None:
    """Only people have hours; without any hours set every hour is ordinary."""
    closed = Watch(office_hours("Mo 00:00-00:01", "UTC"))
    assert closed.always(None, at(TODAY)) == ()
    assert closed.always(Caller("u-1"), at(TODAY)) == ("after_hours",)
    assert Watch().always(Caller("u-1"), at(TODAY)) == ()
    assert ALWAYS.cover(at(TODAY))


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("Okafor", {"family": "OKAFOR"}),
        ("Müller", {"family": "Muller"}),
        ("O'Brien", {"family": "O\u2019BRIEN"}),
        ("García Márquez", {"family": "Garcia"}),
        ("Marquez", {"family": "García-Márquez"}),
        ("Nguyễn", {"text": "Nguyen, Thi Hoa"}),
        ("Ivanova", {"text": "Maria Ivanova"}),
        ("Иванова", {"family": "ИВАНОВА"}),
        ("王", {"family": "王", "given": ["小明"]}),
        ("الأحمد", {"family": "الأحمد"}),
        ("Ng", {"family": "Ng"}),
        ("van den Berg", {"use": "MAIDEN", "family": "van den Berg", "period": {"end": "1990"}}),
    ],
)
def test_same_surname(mine: str, theirs: dict[str, Any]) -> None:
    """A family name in common, or a longer part of one, in any script, also one that was left behind."""
    assert "same_surname" in flags(Caller("u-1", family_name=mine), names=[{"family": "Zzz"}, theirs])


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("Berg van den", {"family": "van den Heuvel"}),
        ("de la Cruz", {"family": "de la Rosa"}),
        ("Okafor", {"family": "Okaforu"}),
        ("Li", {"family": "Li Wei"}),  # a short part of a longer name does not count alone
        ("Sam", {"given": ["Sam"], "family": "Okafor"}),
        ("", {"family": ""}),
        ("-", {"family": "-"}),
    ],
)
def test_another_surname(mine: str, theirs: dict[str, Any]) -> None:
    """Particles, given names, parts of words and names without a letter are nothing in common."""
    assert "same_surname" not in flags(Caller("u-1", family_name=mine), names=[theirs])


@given(name=st.text(min_size=1, max_size=20))
def test_a_name_is_the_same_as_itself(name: str) -> None:
    """However a name is written, with a letter in it, it is found again in capitals; whatever it is, nothing breaks."""
    same = {"same_surname"} & flags(Caller("u-1", family_name=name), names=[{"family": name}])
    assert same == ({"same_surname"} if Onlooker(Caller("u-1", family_name=name)).fields >= {"names"} else set())


# --- homes -----------------------------------------------------------------------------------------------------------

HOME = Caller("u-1", postal_code="ls1 1aa", street_address="17, Quay Street")


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ({"postal_code": "LS1 1AA", "lines": ["17 Quay Street"]}, True),
        ({"postal_code": "LS11AA", "lines": ["17 QUAY STREET", "Leeds"]}, True),
        ({"postal_code": "LS1 1AA", "lines": ["18 Quay Street"]}, False),
        ({"postal_code": "LS1 1AB", "lines": ["17 Quay Street"]}, False),
        ({"postal_code": "LS1 1AA", "lines": []}, False),
        ({"lines": ["17 Quay Street"]}, False),
        ({"postal_code": "LS1 1AA", "lines": ["17 Quay Street"], "use": "OLD"}, False),
        ({"postal_code": "LS1 1AA", "lines": ["17 Quay Street"], "period": {"end": "2026-11-21"}}, False),
        ({"postal_code": "LS1 1AA", "lines": ["17 Quay Street"], "period": {"end": "2026-11"}}, True),
    ],
)
def test_same_address(address: dict[str, Any], same: bool) -> None:
    """The postal code and the first line, however they are written, of an address in use."""
    assert ("same_address" in flags(HOME, addresses=[{"city": "Leeds"}, address])) is same


@pytest.mark.parametrize(
    "half", [{"postal_code": "LS1 1AA"}, {"street_address": "17 Quay Street"}, {"postal_code": "-"}]
)
def test_half_an_address_decides_nothing(half: dict[str, Any]) -> None:
    """Where the token has no whole address, addresses are not even looked at."""
    caller = Caller("u-1", **half)
    assert "addresses" not in Onlooker(caller).fields
    assert flags(caller, addresses=[{"postal_code": "LS1 1AA", "lines": ["17 Quay Street"]}]) == set()


# --- the person, and who cares for them ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("born", "minor"),
    [
        ("2008-11-22", False),
        ("2008-11-23", True),
        ("2008-11", True),  # may be
        ("2008", True),
        ("2007", False),
        ("2008-10", False),
        ("2008-02-29", False),
        ("2026-11-22", True),
        ("0001", False),
    ],
)
def test_minor(born: str, minor: bool) -> None:
    """Who is eighteen today is of age; where the day or the month is unknown, who may be a child counts as one."""
    assert ("minor" in flags(Caller("u-1"), birth_date=born)) is minor


@pytest.mark.parametrize(
    ("values", "died"),
    [
        ({"deceased": True}, True),
        ({"deceased_at": "2024-01"}, True),
        ({"deceased": False, "deceased_at": "2024-01"}, False),
        ({"deceased": False}, False),
        ({}, False),
    ],
)
def test_deceased(values: dict[str, Any], died: bool) -> None:
    """Said so, or by a date, unless it is denied."""
    assert ("deceased" in flags(Caller("u-1"), **values)) is died


@pytest.mark.parametrize(
    ("values", "stranger"),
    [
        ({"care_team": ["u-2", "u-3"]}, True),
        ({"care_team": ["u-2", "u-1"]}, False),
        ({"case_manager": {"name": "Pat", "reference": "u-2"}}, True),
        ({"case_manager": {"name": "Pat", "reference": "u-1"}, "care_team": ["u-2"]}, False),
        ({"case_manager": {"name": "u-1"}}, False),  # a name is not comparable, and names nobody
        ({"care_team": []}, False),
        ({}, False),
    ],
)
def test_no_relationship(values: dict[str, Any], stranger: bool) -> None:
    """Only who treats patients can be no carer of one, and only where the record names those who are."""
    assert ("no_relationship" in flags(Caller("u-1", treats=True), **values)) is stranger
    assert flags(Caller("u-1"), **values) == set()


def test_own_record_celebrities_and_colleagues() -> None:
    """The own record is known by its id, the others by how the record is marked."""
    assert flags(Caller("u-1", own_record="p-1")) == {"self_access"}
    assert flags(Caller("u-1", own_record="p-2")) == set()
    assert flags(Caller("u-1"), sensitivity=["EMPLOYEE", "CELEBRITY"]) == {"coworker", "vip"}


def test_everything_at_once_is_made_of_known_words() -> None:
    """Every flag is one of the log's, every field one of the catalogue's, and a caller's repr says nothing of them."""
    caller = Caller("u-1", True, "p-1", "Okafor", "LS1 1AA", "17 Quay Street")
    found = flags(
        caller, names=[{"family": "Okafor"}], addresses=[{"postal_code": "LS1 1AA", "lines": ["17 Quay Street"]}],
        birth_date="2020", deceased=True, sensitivity=["CELEBRITY", "EMPLOYEE"], care_team=["u-9"],
    )  # fmt: skip
    of_the_act = {"break_glass", "after_hours", "bulk", "clock_skew", "restricted", "need_unmet"}
    assert found == set(FLAGS) - of_the_act
    assert Onlooker(caller).fields <= BY_NAME.keys()
    assert not any(word in repr(caller) for word in ("Okafor", "LS1", "Quay"))
