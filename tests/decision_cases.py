"""Made-up questions for the contact decision: people, senders and rules drawn from a generator, as they are stored.

Most of what is drawn is ordinary, and every ingredient that may matter comes up often enough to meet every other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import Any

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.rules import PURPOSES, ContactRules, LegalClass, LegalHours, Sender
from crm.domain.decision.verdict import ContactDecision
from crm.domain.need_codes import CATEGORIES, AccessNeedKind
from crm.domain.times import instant, micros

__all__ = ["DAY", "HOUR", "Case", "case", "cases", "directive", "window"]

Row = dict[str, Any]

MINUTE = 60 * 1_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

WEEK = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
DAYS = ("2026-11-22", "2026-11-01", "2027-03-14", "2027-03-28", "2026-12-31", "2027-01-15")
ZONES = ("UTC", "Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
TAGS = ("en", "en-GB", "es-MX", "pt", "pt-BR", "zh-Hant", "bfi", "so")
FORMATS = ("EASY_READ", "LARGE_PRINT", "BRAILLE")
METHODS = ("CONTACT_BY_EMAIL", "CONTACT_BY_LETTER", "CONTACT_BY_SMS", "CONTACT_BY_TELEPHONE", "CONTACT_BY_TEXT_RELAY",
           "CONTACT_VIA_CARER", "STEP_FREE_ACCESS", "AUDIBLE_ALERT")  # fmt: skip
NUMBERS = tuple(f"+4477009001{number}" for number in range(10, 30))
MAILBOXES = ("a@example.org", "b@example.org", "c@example.org")
GIVERS = (
    {"role": "PATIENT"},
    {"role": "PARENT"},
    {"role": "PATIENT", "related_person_id": "r0"},
    {"role": "OTHER", "related_person_id": "r1"},
)
LENIENT = {"PHONE": "ask at the desk", "SMS": "+44 7700 see notes", "FAX": "0113 496 0000", "EMAIL": "none"}
"""What an import may have kept where a number or a mailbox should be."""
USES = ("COC", "TREAT", "HMARKT", "PATRQT", "HPAYMT")


def _rules() -> tuple[ContactRules, ...]:
    telephone = frozenset({Channel.SMS, Channel.VOICE})
    sales = LegalHours("US", "2012-01-01", 8 * 60, 21 * 60, frozenset({LegalClass.TELEMARKETING}), telephone, "federal")
    stricter = replace(
        sales,
        jurisdiction="US-XX",
        start=9 * 60,
        end=20 * 60,
        days=frozenset(range(6)),
        until="2027-01-01",
        source="old",
    )
    strictest = replace(stricter, end=17 * 60 + 15, since="2027-01-01", until=None, source="new")
    everything = LegalHours(
        "XY", "2020-01-01", 6 * 60, 21 * 60, frozenset(LegalClass) - {LegalClass.EMERGENCY}, frozenset(Channel), "all"
    )
    relaxed = MappingProxyType(
        {
            **PURPOSES,
            CommunicationPurpose.BILLING: replace(PURPOSES[CommunicationPurpose.BILLING], quiet_hours=False),
            CommunicationPurpose.EMERGENCY: replace(
                PURPOSES[CommunicationPurpose.EMERGENCY], quiet_hours=True, verified=True
            ),
        }
    )
    return (
        ContactRules("contact:plain", zones=("Europe/London",)),
        ContactRules(
            "contact:law",
            zones=("America/New_York", "America/Los_Angeles"),
            jurisdictions=("US", "US-XX"),
            legal_hours=(sales, stricter, strictest),
        ),
        ContactRules(
            "contact:long",
            purposes=relaxed,
            zones=("Asia/Kolkata", "America/New_York", "Pacific/Auckland"),
            quiet_from=13 * 60,
            quiet_to=14 * 60,
            lasting=3 * HOUR,
        ),
        ContactRules(
            "contact:all",
            zones=("UTC", "Pacific/Chatham"),
            jurisdictions=("XY",),
            legal_hours=(everything, sales),
            quiet_from=0,
            quiet_to=0,
            lasting=HOUR,
        ),
    )


RULES = _rules()
SENDERS = (
    Sender("default", (Channel.SMS, Channel.EMAIL)),
    Sender("clinic", (Channel.SMS, Channel.EMAIL, Channel.VOICE, Channel.LETTER), ("en", "es"), frozenset()),
    Sender("post", (Channel.LETTER, Channel.EMAIL), ("en-US", "pt-BR"), frozenset({"BRAILLE", "LARGE_PRINT"})),
    Sender("desk", (Channel.IN_PERSON, Channel.VOICE, Channel.PORTAL), ("en", "bfi")),
    Sender("campaign", (Channel.EMAIL, Channel.SMS), ("EN",), frozenset({"EASY_READ"})),
    Sender("relay", (Channel.TEXTPHONE, Channel.VOICE, Channel.FAX), ("so",)),
    Sender("app", (Channel.PUSH, Channel.CHAT, Channel.PORTAL, Channel.SMS)),
    Sender("everything", tuple(Channel), ("en", "zh", "pt")),
)


@dataclass(frozen=True)
class Case:
    """One question; `asked_of` puts it to `decide` or to whatever answers like it."""

    values: Row
    purpose: CommunicationPurpose
    sender: Sender
    rules: ContactRules
    now: int
    more: Row

    def asked_of(self, decide: Callable[..., ContactDecision]) -> ContactDecision:
        return decide(self.values, self.purpose, self.sender, self.rules, self.now, **self.more)

    def with_values(self, **changed: Any) -> "Case":
        """The same question about somebody of whom something else is known."""
        return replace(self, values={**self.values, **changed})

    def with_more(self, name: str, rows: Sequence[Any]) -> "Case":
        """The same question with `rows` added to the list `name`."""
        return self.with_values(**{name: [*self.values.get(name, []), *rows]})


def cases(count: int, seed: int) -> Iterator[Case]:
    """The same cases for the same seed, on every machine."""
    random = Random(seed)
    for _ in range(count):
        yield case(random)


def case(random: Random) -> Case:
    """One question about one person, both made up by `random`."""
    now = micros(random.choice(DAYS)) + random.randrange(48 * 60) * MINUTE + random.choice((0, 0, 1, 30 * 1_000_000))
    purpose = random.choice((*CommunicationPurpose, CommunicationPurpose.EMERGENCY))
    sender = random.choice(SENDERS)
    values: Row = {"names": [{"given": ["Maya"], "family": "Osei", "prefix": [], "suffix": []}]}
    points = [_point(random, number) for number in range(random.choice((0, 1, 2, 2, 3, 4)))]
    addresses = [_address(random, number) for number in range(random.choice((0, 0, 1, 2, 3)))]
    persons = [_person(random, number) for number in range(random.choice((0, 0, 0, 0, 1, 1, 2, 3)))]
    values |= {"contact_points": points, "addresses": addresses, "related_persons": persons}
    _record(random, values)
    _speech(random, values)
    if random.random() < 0.15:
        values["confidential_communication"] = _confidential(random, now)
    ids = [row["id"] for row in points + addresses] + [
        point["id"] for one in persons for point in one["contact_points"]
    ]
    ids += ["confidential"]
    values["consents"] = [
        _said(random, number, now, ids) for number in range(random.choice((0, 0, 0, 0, 1, 1, 2, 3, 5)))
    ]
    if PURPOSES[purpose].opt_in and random.random() < 0.6:
        opted_in = directive("opted-in", "PERMIT", now - 100 * DAY, {"purpose": purpose.value})
        values["consents"].append(opted_in | {"seq": 9})
    if random.random() < 0.12:
        values["restrictions"] = [_restriction(random, number, now) for number in range(random.choice((1, 1, 2)))]
    if random.random() < 0.06:
        values["suspensions"] = [_suspension(random, number) for number in range(2)]
    more: Row = {"use": "PATRQT" if random.random() < 0.9 else random.choice(USES), "reach": random.random() < 0.5}
    more |= {"status": "merged"} if random.random() < 0.01 else {}
    more |= {"erased": True} if random.random() < 0.01 else {}
    more |= {"restricted": True} if random.random() < 0.06 else {}
    if random.random() < 0.1:
        more["channels"] = frozenset(random.sample(list(Channel), random.choice((0, 1, 4, 7))))
    if random.random() < 0.1:
        more["suppressed"] = frozenset(random.sample(NUMBERS + MAILBOXES, 6))
    return Case(values, purpose, sender, random.choice(RULES), now, more)


# --- the person ------------------------------------------------------------------------------------------------------


def _record(random: Random, values: Row) -> None:
    for name, value, chance in (
        ("deceased", True, 0.01),
        ("deceased", False, 0.05),
        ("deceased_at", "2026-05", 0.02),
        ("active", False, 0.01),
        ("active", True, 0.3),
        ("preferred_name", "Mai", 0.3),
        ("time_zone", random.choice(ZONES), 0.7),
    ):
        if random.random() < chance:
            values[name] = value


def _speech(random: Random, values: Row) -> None:
    values["languages"] = [_language(random) for _ in range(random.choice((0, 1, 1, 2, 3)))]
    if random.random() < 0.25:
        values["accessible_formats"] = random.sample(FORMATS, random.choice((1, 2)))
    if random.random() < 0.3:
        values["access_needs"] = _needs(random)
    if random.random() < 0.5:
        purposes = random.sample(tuple(CommunicationPurpose), 7)
        values["channel_preferences"] = [
            {"purpose": purpose.value, "channels": _words(random, Channel, (1, 2, 4))} for purpose in purposes
        ]
    if random.random() < 0.16:
        values["contact_windows"] = [_window(random) for _ in range(random.choice((1, 1, 2, 3)))]


def _period(random: Random, row: Row) -> Row:
    if random.random() < 0.25:
        row["period"] = random.choice((
            {"start": "2020"},
            {"start": "2026-01-15", "end": "2027-06"},
            {"end": "2026-11-22"},
            {"end": "2026-12"},
            {"end": "2025"},
            {"start": "2027-02-01"},
            {"start": "2020-01-01", "end": "2026-10-31T10:00:00Z"},
            {"end": "2027-03-14"},
        ))  # fmt: skip
    return row


def _point(random: Random, number: int, owner: str = "p") -> Row:
    system = random.choice(("PHONE", "PHONE", "PHONE", "SMS", "SMS", "EMAIL", "EMAIL", "EMAIL", "FAX", "URL", "OTHER",
                            "PAGER"))  # fmt: skip
    row: Row = {"id": f"{owner}{number}", "system": system}
    if system in {"PHONE", "SMS", "FAX"}:
        row["value"] = random.choice(NUMBERS)
    else:
        row["value"] = {"EMAIL": random.choice(MAILBOXES), "URL": "https://chat.example.org/1"}.get(system, "4711")
    if random.random() < 0.05:
        row["value"] = LENIENT.get(system, row["value"])
    row["capabilities"] = {"SMS": ["SMS"], "FAX": ["FAX"]}.get(system, [])
    if system == "PHONE":
        row["capabilities"] = random.choice(
            (["VOICE", "SMS"], ["VOICE", "SMS"], ["VOICE"], [], ["SMS"], ["FAX"], ["TTY"])
        )
    if system == "OTHER":
        row["capabilities"] = random.choice(([], ["TTY"]))
    if random.random() < 0.6:
        row["use"] = random.choice(("HOME", "WORK", "MOBILE", "TEMP", "OLD"))
    if random.random() < 0.5:
        row["rank"] = random.choice((1, 2, 3))
    row["text_permitted"] = random.choice(("UNKNOWN", "UNKNOWN", "YES", "NO"))
    row |= {"voicemail_ok": random.choice(("YES", "NO", "UNKNOWN")), "detailed_message_ok": "UNKNOWN"}
    row["verified"] = random.random() < 0.5
    row["verification"] = {"status": "VERIFIED" if row["verified"] else random.choice(("UNVERIFIED", "FAILED"))}
    if random.random() < 0.12:
        row["undeliverable"] = {"since": "2026-10-01", "reason": "UNKNOWN", "count": 3}
    return _period(random, row)


def _address(random: Random, number: int) -> Row:
    row: Row = {"id": f"a{number}", "lines": [f"{number} High Street"], "city": "Leeds"}
    if random.random() < 0.8:
        row["use"] = random.choice(("HOME", "WORK", "TEMP", "OLD", "BILLING"))
    if random.random() < 0.4:
        row["type"] = random.choice(("POSTAL", "PHYSICAL", "BOTH"))
    return _period(random, row)


def _person(random: Random, number: int) -> Row:
    row: Row = {
        "id": f"r{number}",
        "name": f"Relative {number}",
        "relationship": "PARENT",
        "contact": random.choice(("INSTEAD", "INSTEAD", "BESIDE", "BESIDE", "NONE")),
        "purposes": random.choice(([], [], _words(random, CommunicationPurpose, (3, 6)))),
        "contact_points": [_point(random, one, f"r{number}p") for one in range(random.choice((0, 1, 2, 3)))],
        "languages": [_language(random) for _ in range(random.choice((0, 1, 2)))],
        "accessible_formats": random.choice(([], [], ["EASY_READ"], ["BRAILLE", "LARGE_PRINT"])),
        "access_needs": _needs(random) if random.random() < 0.3 else [],
    }
    if random.random() < 0.5:
        row["rank"] = random.choice((1, 2))
    return _period(random, row)


def _confidential(random: Random, now: int) -> Row:
    channel = random.choice((Channel.EMAIL, Channel.SMS, Channel.VOICE, Channel.LETTER, Channel.PORTAL))
    row: Row = {
        "id": "confidential",
        "channel": channel.value,
        "purposes": random.choice(([], [], _words(random, CommunicationPurpose, (2, 5)))),
        "set_at": instant(now - random.choice((1, 10, 90)) * DAY),
    }
    if channel is Channel.LETTER:
        row["address"] = _address(random, 9)
    elif channel is not Channel.PORTAL:
        row["value"] = random.choice(MAILBOXES if channel is Channel.EMAIL else NUMBERS)
    if random.random() < 0.3:
        row["language"] = random.choice(TAGS)
    return row


def _language(random: Random) -> Row:
    tag = random.choice(TAGS)
    row: Row = {"tag": tag, "modes": random.choice(([], ["SPOKEN"], ["WRITTEN"], ["SPOKEN", "WRITTEN"]))}
    if tag == "bfi":
        row["modes"] = ["SIGNED"]
    if random.random() < 0.5:
        row["rank"] = random.choice((1, 2, 3))
    if random.random() < 0.3:
        row["preferred"] = random.random() < 0.7
    return row


def _needs(random: Random) -> list[Row]:
    kinds = random.sample(METHODS, random.choice((1, 1, 2, 3)))
    return [
        {"id": f"n{number}", "kind": kind, "category": CATEGORIES[AccessNeedKind(kind)].value, "flag_visible": True}
        for number, kind in enumerate(kinds)
    ]


def _window(random: Random) -> Row:
    start, end = random.choice((
        ("09:00", "17:00"), ("21:00", "08:00"), ("00:00", "24:00"), ("18:30", "20:45"), ("22:00", "00:00"),
        ("10:07", "23:59"), ("22:00", "06:00"), ("21:00", "24:00"), ("08:00", "21:00"),
    ))  # fmt: skip
    days = [day for day in WEEK if random.random() < 0.8] or ["MON"]
    return window(start, end, days, random.choice(ZONES), quiet=random.random() < 0.3)


def window(start: str, end: str, days: Sequence[str], zone: str, *, quiet: bool) -> Row:
    """A contact window as it is stored."""
    row: Row = {"days": list(days), "from": start, "to": end, "time_zone": zone}
    return row | {"quiet": True} if quiet else row


# --- what was said, and what binds -----------------------------------------------------------------------------------


def directive(
    name: str, decision: str, since: int, scope: Row, until: int | None = None, giver: Mapping[str, str] = GIVERS[0]
) -> Row:
    """A consent directive as it is stored, in force from `since` to `until`; the patient's own."""
    row = {
        "id": name,
        "seq": 1,
        "decision": decision,
        "scope": scope,
        "giver": dict(giver),
        "capture": {"at": instant(since)},
        "effective_from": instant(since),
        "received_at": instant(since),
    }
    return row if until is None else row | {"effective_to": instant(until)}


def _said(random: Random, number: int, now: int, ids: Sequence[str]) -> Row:
    scope: Row = {}
    for member, words, chance in (
        ("channel", [channel.value for channel in Channel][:4], 0.6),
        ("contact_point_id", ids, 0.3),
        ("purpose", [purpose.value for purpose in CommunicationPurpose], 0.4),
        ("sender", [sender.id for sender in SENDERS], 0.15),
    ):
        if random.random() < chance:
            scope[member] = random.choice(words)
    since = now + random.choice((-400 * DAY, -30 * DAY, -30 * DAY, -5 * DAY, -HOUR, 0, 5 * MINUTE, 90 * MINUTE, DAY))
    until = random.choice((None, None, None, now - DAY, now, now + 3 * MINUTE, now + 100 * MINUTE, now + 400 * DAY))
    until = None if until is not None and until <= since else until
    giver = random.choice(GIVERS) if random.random() < 0.5 else GIVERS[0]
    said = directive(f"d{number}", random.choice(("PERMIT", "DENY")), since, scope, until, giver) | {"seq": number + 1}
    captured = {"at": instant(since - random.choice((0, 0, 20 * DAY, 3 * DAY)))}
    return said | {"capture": captured | ({"message_id": f"m{number}"} if random.random() < 0.2 else {})}


def _restriction(random: Random, number: int, now: int) -> Row:
    row: Row = {"id": f"x{number}", "kind": "CONTACT", "basis": "COURT_ORDER", "channels": [], "purposes": [],
                "placed_by": "officer", "placed_at": instant(now - 9 * DAY)}  # fmt: skip
    if random.random() < 0.1:
        return row | {"kind": "RECORD"}
    row["channels"] = random.choice(([], _words(random, Channel, (1, 2, 5))))
    row["purposes"] = random.choice(([], _words(random, CommunicationPurpose, (3, 8))))
    if random.random() < 0.3:
        row["until"] = instant(now + random.choice((-DAY, 0, 1, DAY)))
    if random.random() < 0.2:
        row |= {"lifted_at": instant(now - HOUR), "lifted_by": "officer"}
    return row


def _suspension(random: Random, number: int) -> Row:
    row: Row = {"id": f"s{number}", "kind": random.choice(("UNCLEAR", "OPT_IN_REQUEST")), "message_id": f"m{number}",
                "gateway": "g", "channel": "SMS", "text": "Who is this?",
                "received_at": "2026-10-01T00:00:00.000000Z"}  # fmt: skip
    if random.random() < 0.3:
        row |= {"verdict": "NOT_STOP", "resolved_by": "officer", "resolved_at": "2026-10-02T00:00:00.000000Z"}
    return row


def _words(random: Random, codes: Any, sizes: Sequence[int]) -> list[str]:
    return [code.value for code in random.sample(list(codes), random.choice(sizes))]
