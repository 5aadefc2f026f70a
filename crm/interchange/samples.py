"""Owns the demo's generated patients: believable, diverse, and the same for the same seed. Nobody here is real.

Values are by catalogue field name, in the shapes of `crm.domain.values`, and pass its strict rules.
"""

import re
import unicodedata
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import count as numbers
from random import Random
from typing import Any, Final

from crm.interchange.sample_contact import give_contact
from crm.interchange.sample_needs import give_needs
from crm.interchange.sample_people import BELIEFS, PEOPLES, People, Word
from crm.interchange.sample_places import PLACES, Place

__all__ = ["FIRST_PHONE", "HOSPITAL_NUMBER", "TODAY", "first_patient", "generate"]

HOSPITAL_NUMBER: Final = "urn:heed:demo:hospital-number"
NHS_NUMBER: Final = "https://fhir.nhs.uk/Id/nhs-number"
US_SSN: Final = "http://hl7.org/fhir/sid/us-ssn"

FIRST_PHONE: Final = "+447700900123"
"""The first patient's mobile; no other patient of the demo has it."""

TODAY: Final = date(2026, 11, 1)
"""The day on which the demo's patients are as old as they look: samples may not depend on the clock."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:heed:demo")
_SHORT: Mapping[str, str] = {
    "Alasdair": "Ally", "Alejandro": "Alex", "Agnieszka": "Aga", "Bernadette": "Bernie", "Charlotte": "Charlie",
    "Dorothy": "Dot", "Esperanza": "Espe", "Guadalupe": "Lupita", "Harold": "Harry", "Harpreet": "Harry",
    "Ignacio": "Nacho", "Jesse": "Jess", "Katarzyna": "Kasia", "Kateryna": "Katia", "Krzysztof": "Krzysiek",
    "Lakshmi": "Lucky", "Leonard": "Len", "Madison": "Maddie", "Małgorzata": "Gosia", "Margaret": "Peggy",
    "Matthäus": "Matti", "Oleksandr": "Sasha", "Oliver": "Ollie", "Precious": "Presh", "Shirley": "Shirl",
    "Stanisław": "Staszek", "Stanley": "Stan", "Thiago": "Thi", "Ursula": "Uschi", "Valentina": "Vale",
    "Winston": "Win",
}  # fmt: skip
"""What some people are called instead of their given name."""

_WEIGHTS = tuple(people.weight for people in PEOPLES)
_PRONOUNS = ("they/them", "she/they", "he/they", "xe/xem", "ze/hir", "fae/faer", "any pronouns")
_PRONOUN_WEIGHTS = (12, 4, 4, 1, 1, 1, 2)


def generate(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`count` patients, the first of them always the same; with `restricted` beside the catalogue's fields.

    Members of a family come one after the other and share a name, an address and a telephone number. The first n of a
    longer series are the series of n.
    """
    if count > 0:
        yield first_patient()
    rng = Random(seed)  # noqa: S311 - for variety, not for secrets
    made = 1
    while made < count:
        for patient in _household(rng, made):
            if made < count:
                yield patient
            made += 1


def first_patient() -> dict[str, Any]:
    """The patient of the documentation's first query."""
    return _who_sam_is() | _what_sam_needs() | {"restricted": False}


def _who_sam_is() -> dict[str, Any]:
    return {
        "preferred_name": "Sam",
        "names": [
            {"use": "OFFICIAL", "family": "Okafor", "given": ["Samantha"], "prefix": ["Mx"]},
            {"use": "MAIDEN", "family": "Warsame", "given": ["Samantha"], "period": {"end": "2015-06-20"}},
        ],
        "pronouns": "they/them",
        "birth_date": "1988-04-17",
        "administrative_gender": "FEMALE",
        "deceased": False,
        "active": True,
        "identifiers": [
            _identifier(HOSPITAL_NUMBER, "H0000001", "USUAL", "MR"),
            _identifier(NHS_NUMBER, nhs_number(1), "OFFICIAL", "NI"),
        ],
        "contact_points": [
            {
                "id": _id(0, "mobile"), "system": "PHONE", "value": FIRST_PHONE, "use": "MOBILE", "rank": 1,
                "capabilities": ["VOICE", "SMS"], "text_permitted": "YES", "voicemail_ok": "NO",
            },
            {"id": _id(0, "email"), "system": "EMAIL", "value": "sam.okafor@example.org", "use": "HOME", "rank": 2},
        ],
        "addresses": [
            {
                "id": _id(0, "home"), "use": "HOME", "type": "BOTH", "lines": ["14 Larkspur Road"], "city": "London",
                "postal_code": "E19 4QD", "country": "GB", "period": {"start": "2019-03-01"},
            },
        ],
    }  # fmt: skip


def _what_sam_needs() -> dict[str, Any]:
    return {
        "languages": [
            {"tag": "so", "modes": ["SPOKEN"], "rank": 1, "preferred": True, "proficiency": "EXCELLENT"},
            {"tag": "en", "modes": ["WRITTEN"], "rank": 1, "proficiency": "GOOD"},
        ],
        "interpreter_needed": "YES",
        "accessible_formats": ["LARGE_PRINT"],
        "access_needs": [
            {"id": _id(0, "loop"), "kind": "HEARING_LOOP", "identified_at": "2024-02-12", "review_due_at": "2027-02"},
        ],
        "cultural_need_handling": [
            {"id": _id(0, "fasting"), "handling": "Offer appointments after sunset during Ramadan."},
        ],
        "cultural_need_detail": [
            {"id": _id(0, "fasting"), "kind": "FASTING_OR_CALENDAR", "detail": "Fasts in Ramadan."},
        ],
        "religion": "Muslim",
        "religion_code": "1023",
        "channel_preferences": [
            {"purpose": "APPOINTMENT_REMINDER", "channels": ["SMS", "EMAIL"]},
            {"purpose": "TEST_RESULT", "channels": ["VOICE"]},
        ],
        "contact_windows": [
            {"days": ["MON", "TUE", "WED", "THU", "FRI"], "from": "17:30", "to": "20:00", "time_zone": "Europe/London"},
        ],
        "time_zone": "Europe/London",
        "communication_style": "PLAIN_LANGUAGE",
        "instructions": "Please say who is calling before asking for Sam. Leave no message with others in the house.",
        "appointment_preferences": {"times": ["EVENING"], "days": ["TUE", "THU"], "clinician_gender": "NO_PREFERENCE"},
        "case_manager": {"name": "Farida Bello", "organisation": "Riverside Community Team", "since": "2023-09-04"},
    }  # fmt: skip


def nhs_number(serial: int) -> str:
    """A number of the NHS range for tests (999...), with its modulus 11 check digit."""
    for body in numbers(999_000_000 + serial * 3):
        digits = f"{body:09d}"
        check = 11 - sum(int(digit) * weight for digit, weight in zip(digits, range(10, 1, -1), strict=True)) % 11
        if check != 10:
            return digits + str(check % 11)
    raise AssertionError


def _household(rng: Random, first: int) -> Iterator[dict[str, Any]]:
    people = rng.choices(PEOPLES, _WEIGHTS)[0]
    place = PLACES[rng.choice(people.places)]
    family = rng.choice(people.families)
    size = rng.choices((1, 2, 3, 4), (78, 10, 8, 4))[0]
    home, phone = _address(rng, place), _number(rng, place.landline)
    ages = [rng.choices((rng.randint(0, 17), rng.randint(18, 64), rng.randint(65, 101)), (1, 6, 4))[0]]
    ages += [rng.randint(0, 17) if member > 1 else rng.randint(24, 70) for member in range(1, size)]
    for member, age in enumerate(ages):
        yield _Patient(rng, first + member, people, place, family, age).values(home, phone, shared=size > 1)


class _Patient:
    """One patient being made up."""

    def __init__(self, rng: Random, serial: int, people: People, place: Place, family: Word, age: int) -> None:
        self._rng = rng
        self._serial = serial
        self._people = people
        self._place = place
        self._family = family
        self._age = age
        self._woman = rng.random() < 0.5
        self._given = rng.choice(people.women if self._woman else people.men)
        self._born = TODAY - timedelta(days=age * 365 + rng.randint(0, 364))

    def values(self, home: dict[str, Any], phone: str, *, shared: bool) -> dict[str, Any]:
        rng = self._rng
        patient: dict[str, Any] = {
            "names": self._names(),
            "birth_date": self._born.isoformat() if rng.random() < 0.97 else str(self._born.year),
            "administrative_gender": "FEMALE" if self._woman else "MALE",
            "deceased": False,
            "active": True,
            "identifiers": self._identifiers(),
            "addresses": [home | {"id": _id(self._serial, "home")}],
            "contact_points": self._contact_points(phone, shared=shared),
            "languages": self._languages(),
            "interpreter_needed": self._interpreter(),
            "time_zone": self._place.time_zone,
            "restricted": rng.random() < 0.015,
        }
        self._say_who(patient)
        if rng.random() < 0.55:
            words, code = BELIEFS[rng.choice(self._people.beliefs)]
            patient |= {"religion": words} | ({"religion_code": code} if code else {})
        give_needs(rng, patient, signs=self._people.signs, new_id=lambda what: _id(self._serial, what))
        if self._age > 60 and rng.random() < 0.08:
            died = TODAY - timedelta(days=rng.randint(20, 900))
            patient |= {"deceased": True, "deceased_at": died.isoformat(), "active": False}
        if rng.random() < 0.02:
            patient["sensitivity"] = [rng.choice(("CELEBRITY", "EMPLOYEE"))]
        own_dice = Random(f"{self._serial}/contact")  # noqa: S311
        give_contact(own_dice, patient, lambda what: _id(self._serial, what), f"{self._mailbox()}@example.org")
        return patient

    def _names(self) -> list[dict[str, Any]]:
        people, rng = self._people, self._rng
        latin, native = self._family
        if people.gendered and self._woman and latin.endswith("ski"):
            latin, native = latin[:-1] + "a", native[:-1] + "a"
        if people.two_families:
            second = rng.choice(people.families)[0]
            latin = native = latin if second == latin else f"{latin} {second}"
        official: dict[str, Any] = {"use": "OFFICIAL", "family": latin, "given": [self._given[0]]}
        if self._age > 20 and rng.random() < 0.15:
            usual = "Ms" if self._woman else "Mr"
            official["prefix"] = [rng.choice(("Dr", "Prof.", "Mx", usual, usual, usual))]
        names = [official]
        if (latin, self._given[0]) != (native, self._given[1]):
            names.append({"use": "USUAL", "text": self._written(native), "family": native, "given": [self._given[1]]})
        if self._woman and self._age > 25 and rng.random() < 0.15:
            married = self._born + timedelta(days=rng.randint(21, self._age) * 365)
            before = rng.choice(people.families)[0]
            if before not in latin and married < TODAY:
                names.append(
                    {
                        "use": "MAIDEN",
                        "family": before,
                        "given": [self._given[0]],
                        "period": {"end": married.isoformat()},
                    }
                )
                official["period"] = {"start": married.isoformat()}
        return names

    def _written(self, family: str) -> str:
        """The whole name as its people write it."""
        if self._people.joined:
            return family + self._given[1]
        return f"{family} {self._given[1]}" if self._people.family_first else f"{self._given[1]} {family}"

    def _say_who(self, patient: dict[str, Any]) -> None:
        """Preferred name and pronouns, which need not follow the papers."""
        rng = self._rng
        given = self._given[0]
        roll = rng.random()
        if roll < 0.20 and given in _SHORT:
            patient["preferred_name"] = _SHORT[given]
        elif roll < 0.16 and self._given[1] != given:
            patient["preferred_name"] = self._given[1]
        elif roll < 0.19:
            patient["preferred_name"] = rng.choice(
                ("Alex", "Robin", "Sunny", "Kit", "Ash", "Noor", "Bao", "Nana", "Ziggy")
            )
        roll = rng.random()
        if roll < 0.07:
            patient["pronouns"] = rng.choices(_PRONOUNS, _PRONOUN_WEIGHTS)[0]
        elif roll < 0.09:
            patient["pronouns"] = "he/him" if self._woman else "she/her"
        elif roll < 0.80:
            patient["pronouns"] = "she/her" if self._woman else "he/him"

    def _identifiers(self) -> list[dict[str, Any]]:
        found = [_identifier(HOSPITAL_NUMBER, f"H{self._serial + 1:07d}", "USUAL", "MR")]
        if self._place.country == "GB":
            found.append(_identifier(NHS_NUMBER, nhs_number(self._serial + 1), "OFFICIAL", "NI"))
        if self._place.country == "US":
            # 9xx with a group below 50 is neither a social security number nor a taxpayer number.
            serial = self._serial % 900_000
            number = f"9{serial // 10_000 % 100:02d}-{1 + serial // 7 % 49:02d}-{serial % 10_000:04d}"
            found.append(_identifier(US_SSN, number, "OFFICIAL", "SS"))
        return found

    def _contact_points(self, phone: str, *, shared: bool) -> list[dict[str, Any]]:
        rng = self._rng
        points: list[dict[str, Any]] = []
        if self._age >= 12 and rng.random() < 0.9:
            points.append(
                {
                    "id": _id(self._serial, "mobile"), "system": "PHONE", "value": _number(rng, self._place.mobile),
                    "use": "MOBILE", "capabilities": ["SMS"] if self._people.signs else ["VOICE", "SMS"],
                    "text_permitted": rng.choices(("YES", "NO", "UNKNOWN"), (6, 1, 3))[0],
                    "voicemail_ok": rng.choices(("YES", "NO", "UNKNOWN"), (3, 2, 5))[0],
                }
            )  # fmt: skip
        if shared or not points or (self._age > 55 and rng.random() < 0.5):
            home = {"id": _id(self._serial, "landline"), "system": "PHONE", "value": phone, "use": "HOME"}
            points.append(home | {"capabilities": ["TTY"] if self._people.signs else ["VOICE"]})
        if self._age >= 16 and rng.random() < 0.7:
            value = f"{self._mailbox()}@{rng.choice(('example.com', 'example.net', 'example.org'))}"
            points.append({"id": _id(self._serial, "email"), "system": "EMAIL", "value": value, "use": "HOME"})
        if rng.random() < 0.05:
            old = {
                "id": _id(self._serial, "old"),
                "system": "PHONE",
                "value": _number(rng, self._place.mobile),
                "use": "OLD",
            }
            points.append(old | {"period": {"start": "2015", "end": f"20{rng.randint(18, 25)}-0{rng.randint(1, 9)}"}})
        ranked = points if rng.random() < 0.5 else points[::-1]
        return [point | ({"rank": rank} if point["use"] != "OLD" else {}) for rank, point in enumerate(ranked, 1)]

    def _mailbox(self) -> str:
        """A name for e-mail: the person's in ASCII, and a number that keeps it apart."""
        name = unicodedata.normalize("NFKD", f"{self._given[0]}.{self._family[0]}").encode("ascii", "ignore").decode()
        return re.sub(r"[^a-z.]", "", name.lower()) + str(self._serial + 1)

    def _languages(self) -> list[dict[str, Any]]:
        people, rng = self._people, self._rng
        local = self._place.language
        first: dict[str, Any] = {"tag": people.tag, "rank": 1, "preferred": True}
        if people.signs:
            written = {"tag": local, "modes": ["WRITTEN"], "rank": 2, "proficiency": rng.choice(("GOOD", "FAIR"))}
            return [first | {"modes": ["SIGNED"], "proficiency": "EXCELLENT"}, written]
        if people.tag.partition("-")[0] == local:
            return [first | {"modes": ["SPOKEN", "WRITTEN"]}] if rng.random() < 0.8 else [first]
        languages = [first | {"modes": ["SPOKEN", "WRITTEN"] if rng.random() < 0.7 else ["SPOKEN"]}]
        if rng.random() < 0.85:
            level = rng.choices(("EXCELLENT", "GOOD", "FAIR", "POOR"), (2, 3, 3, 3))[0]
            modes: Sequence[str] = ["SPOKEN", "WRITTEN"] if level in {"EXCELLENT", "GOOD"} else ["SPOKEN"]
            languages.append({"tag": local, "modes": list(modes), "rank": 2, "proficiency": level})
        taken = {language["tag"].partition("-")[0] for language in languages}
        more = [tag for tag in people.also if tag.partition("-")[0] not in taken]
        if more and rng.random() < 0.3:
            languages.append({"tag": more[0], "modes": ["SPOKEN"], "rank": 3})
        return languages

    def _interpreter(self) -> str:
        rng = self._rng
        if self._people.signs:
            return "YES"
        if self._people.tag.partition("-")[0] == self._place.language:
            return rng.choices(("NO", "UNKNOWN"), (8, 2))[0]
        return rng.choices(("YES", "NO", "UNKNOWN"), (45, 40, 15))[0]


def _address(rng: Random, place: Place) -> dict[str, Any]:
    code = "".join(
        str(rng.randint(0, 9)) if sign == "#" else rng.choice("ABDEFGHJLNPQRSTUWXYZ") if sign == "@" else sign
        for sign in place.postal_code
    )
    address: dict[str, Any] = {
        "use": "HOME",
        "type": "BOTH",
        "lines": [rng.choice(place.streets).replace("{n}", str(rng.randint(1, 98)))],
        "city": place.city,
        "postal_code": code,
        "country": place.country,
    }
    address |= {"state": place.state} if place.state else {}
    return address | ({"district": place.district} if place.district else {})


def _number(rng: Random, pattern: str) -> str:
    number = FIRST_PHONE
    while number == FIRST_PHONE:
        number = "".join(str(rng.randint(0, 9)) if sign == "#" else sign for sign in pattern)
    return number


def _identifier(system: str, value: str, use: str, code: str) -> dict[str, Any]:
    kind = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": code}
    return {"system": system, "value": value, "use": use, "type": kind}


def _id(serial: int, what: str) -> str:
    """An id that is the same in every run."""
    return str(uuid.uuid5(_NAMESPACE, f"{serial}/{what}"))
